/*
 * Descriptors and addresses from any bytes: what is read must print, and what
 * was printed must read as the same.
 *
 * FUZZ_SEEDS=DIR makes it write valid ones there, and end.
 */
#include "engine/metadata/segment_desc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void check_desc(const char *text, size_t size)
{
	struct segment_desc *desc;
	struct segment_desc *again;
	CLEANUP_FREE char *first = NULL;
	CLEANUP_FREE char *second = NULL;

	if (segment_desc_parse(text, size, &desc) != MC_OK)
		return;
	MUST(segment_desc_print(desc, &first) == MC_OK);
	MUST(segment_desc_parse(first, strlen(first), &again) == MC_OK);
	MUST(segment_desc_print(again, &second) == MC_OK);
	MUST(strcmp(first, second) == 0);
	segment_desc_unref(again);
	segment_desc_unref(desc);
}

static void check_address(const char *text, size_t size)
{
	struct segment_address address;
	struct segment_address again;
	CLEANUP_FREE char *printed = NULL;

	if (segment_address_parse(text, size, &address) != MC_OK)
		return;
	MUST(segment_address_print(&address, &printed) == MC_OK);
	MUST(segment_address_parse(printed, strlen(printed), &again) == MC_OK);
	MUST(memcmp(&address, &again, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_desc((const char *)data, size);
	check_address((const char *)data, size);
	return 0;
}

static const char *const seeds[] = {
	"{\"buffers\":[{\"addr\":4096,\"length\":8192,\"lkey\":[1,2],\"name\":\"cpu:0\","
	"\"rkey\":[3,4]}],\"devices\":[{\"gid\":\"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:"
	"01\","
	"\"lid\":0,\"name\":\"mlx5_0\"},{\"gid\":\"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:"
	"02\","
	"\"lid\":0,\"name\":\"mlx5_1\"}],\"name\":\"n\",\"priority_matrix\":"
	"{\"cpu:0\":[[\"mlx5_0\"],[\"mlx5_1\"]]},\"protocol\":\"rdma\"}",
	"{\"buffers\":[{\"addr\":4096,\"length\":1,\"name\":\"n\"}],\"name\":\"n\","
	"\"protocol\":\"tcp\"}",
	"{\"buffers\":[{\"file_path\":\"/a\",\"length\":1,\"local_path_map\":{\"n\":\"/b\"}}],"
	"\"protocol\":\"nvmeof\",\"server_name\":\"n\"}",
	"{\"ip_or_host_name\":\"10.0.0.1\",\"rpc_port\":15000}",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *directory = getenv("FUZZ_SEEDS");
	char path[4096];

	(void)argc;
	(void)argv;
	log_level_now = LOG_LEVEL_ERROR;
	if (!directory)
		return 0;
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		snprintf(path, sizeof(path), "%s/%zu", directory, i);
		FILE *file = fopen(path, "we");
		MUST(file && fputs(seeds[i], file) >= 0 && fclose(file) == 0);
	}
	exit(0);
}
