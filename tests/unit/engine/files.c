/*
 * Segments of files, behind the public interface.  With MOONCAKE_NVMEOF_METADATA in
 * the environment the segment is the one that this store knows as nvmeof/disk: three
 * files of 5 MiB, or namespaces in a virtual machine.
 */
#include <check.h>
#include <fcntl.h>
#include <mooncake/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/fabric/fabric.h"
#include "engine/metadata/metadata.h"
#include "engine/metadata/segment_desc.h"
#include "tests/support/suite.h"
#include "tests/unit/engine/move.h"

#define STORE  "memory://files"
#define GIVEN  "MOONCAKE_NVMEOF_METADATA"
#define FILES  3u
#define LENGTH (5u << 20) /* of each file */
#define TOTAL  (FILES * LENGTH)

static char folder[] = "files.XXXXXX";

static void make_file(struct segment_desc *desc, unsigned number)
{
	struct segment_buffer *buffer;
	char path[sizeof(folder) + 16];

	(void)snprintf(path, sizeof(path), "%s/%u", folder, number);
	CLEANUP_FD int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, LENGTH), 0);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "", &buffer), MC_OK);
	buffer->length = LENGTH;
	buffer->file_path = strdup("/elsewhere");
	ck_assert_int_eq(segment_buffer_add_path(buffer, "node", path), MC_OK);
}

/* What `mooncake nvmeof` writes. */
static void publish(struct metadata *store)
{
	CLEANUP_FREE char *text = NULL;
	struct segment_desc *desc;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(segment_desc_new(SEGMENT_NVMEOF, "store1", &desc), MC_OK);
	for (unsigned i = 0; i < FILES; i++)
		make_file(desc, i);
	ck_assert_int_eq(segment_desc_print(desc, &text), MC_OK);
	ck_assert_int_eq(metadata_put(store, "mooncake/nvmeof/disk", text), MC_OK);
	segment_desc_unref(desc);
}

static void remove_files(void)
{
	char path[sizeof(folder) + 16];

	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u", folder, i);
		ck_assert_int_eq(unlink(path), 0);
	}
	ck_assert_int_eq(rmdir(folder), 0);
}

/* What is far in a file has no address but its offset. */
static const void *at(uintptr_t offset)
{
	return (const void *)offset;
}

static void exchange(struct mc_engine *engine, uint8_t *memory)
{
	mc_segment_id segment;
	struct mc_engine_stats stats;

	ck_assert_int_eq(mc_segment_open(engine, "nvmeof/disk", 0, &segment), MC_OK);
	for (size_t i = 0; i < TOTAL; i++)
		memory[i] = (uint8_t)(i * 2654435761u >> 7);
	ck_assert_int_eq(move(engine, MC_WRITE, memory, segment, at(0), TOTAL), MC_OK);
	ck_assert_int_eq(move(engine, MC_READ, memory + TOTAL, segment, at(0), TOTAL), MC_OK);
	ck_assert_mem_eq(memory, memory + TOTAL, TOTAL);
	/* Across the border of two files, from anywhere to anywhere. */
	ck_assert_int_eq(move(engine, MC_READ, memory + TOTAL + 3, segment, at(LENGTH - 777), 2000),
			 MC_OK);
	ck_assert_mem_eq(memory + LENGTH - 777, memory + TOTAL + 3, 2000);
	ck_assert_int_eq(move(engine, MC_READ, memory, segment, at(TOTAL - 10), 11), MC_ACCESS);
	ck_assert_int_eq(mc_segment_close(engine, segment), MC_OK);
	mc_engine_stats(engine, &stats);
	ck_assert_uint_eq(stats.bytes_written, TOTAL);
	ck_assert_uint_eq(stats.slices, 0);
}

START_TEST(a_segment_of_files_is_read_and_written)
{
	const char *given = getenv(GIVEN);
	struct mc_engine_config config = {.metadata = given ? given : STORE,
					  .name = "node",
					  .listen = "127.0.0.1",
					  .announce = "127.0.0.1",
					  .protocols = "tcp,nvmeof"};
	struct metadata *store;
	struct mc_engine *engine;
	uint8_t *memory =
		mmap(NULL, 2 * TOTAL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	ck_assert_int_eq(metadata_open(&(struct metadata_config){.url = STORE}, &store), MC_OK);
	if (!given)
		publish(store);
	ck_assert_int_eq(mc_engine_open(&config, &engine), MC_OK);
	ck_assert_int_eq(mc_engine_register(engine, memory, 2 * TOTAL, "*", MC_REGION_LOCAL),
			 MC_OK);
	exchange(engine, memory);
	ck_assert_int_eq(mc_engine_unregister(engine, memory), MC_OK);
	mc_engine_close(engine);
	metadata_close(store);
	munmap(memory, 2 * TOTAL);
	if (!given)
		remove_files();
}
END_TEST

/* This machine's kernel and this build have the fabric. */
static bool available(void)
{
	const struct fabric_ops *ops = fabric_find("nvmeof");
	struct fabric *fabric;

	if (!ops || ops->open(&(struct fabric_config){.name = "node"}, &fabric) != MC_OK)
		return false;
	ops->close(fabric);
	return true;
}

int main(void)
{
	Suite *suite = suite_create("files");
	TCase *tcase = tcase_create("nvmeof");

	if (!available()) {
		printf("SKIPPED: no NVMe-oF in this build, or no io_uring in this kernel\n");
		return 77;
	}
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_segment_of_files_is_read_and_written);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
