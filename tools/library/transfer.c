/*
 * transfer -- two engines, one of which reads the other's memory
 *
 * In one process, so that it runs anywhere; between two it is the same, with the
 * name told by other means.  Built against the installed library:
 *
 *     cc transfer.c $(pkg-config --cflags --libs mooncake) -o transfer
 */
#include <mooncake/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (1u << 20)

static void must(enum mc_status status, const char *what)
{
	if (status == MC_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, mc_status_text(status));
	exit(EXIT_FAILURE);
}

static struct mc_engine *engine_with(void *memory, uint32_t access)
{
	struct mc_engine_config config = {
		.metadata = "P2PHANDSHAKE",
		.listen = "127.0.0.1",
		.announce = "127.0.0.1",
	};
	struct mc_engine *engine;

	must(mc_engine_open(&config, &engine), "open an engine");
	must(mc_engine_register(engine, memory, SIZE, "*", access), "register memory");
	return engine;
}

int main(void)
{
	static char here[SIZE], there[SIZE];
	struct mc_segment_buffer buffer;
	struct mc_batch *batch;
	mc_segment_id segment;
	size_t count = 1;

	memset(there, 'x', sizeof(there));
	struct mc_engine *owner = engine_with(there, MC_REGION_REMOTE_READ);
	struct mc_engine *reader = engine_with(here, MC_REGION_LOCAL);

	must(mc_segment_open(reader, mc_engine_name(owner), 0, &segment), "open the segment");
	must(mc_segment_buffers(reader, segment, &buffer, &count), "see what it has");
	must(mc_batch_new(reader, 1, &batch), "make a batch");
	struct mc_request request = {MC_READ, here, segment, buffer.address, SIZE};
	must(mc_batch_submit(batch, &request, 1), "submit");
	must(mc_batch_wait(batch, 10000), "wait");
	must(mc_batch_free(batch), "free the batch");
	printf("read %u bytes of %s: %s\n", SIZE, mc_engine_name(owner),
	       memcmp(here, there, SIZE) == 0 ? "right" : "wrong");
	mc_engine_close(reader);
	mc_engine_close(owner);
	return memcmp(here, there, SIZE) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
