/* Descriptors byte for byte, and what is none. */
#include "engine/metadata/segment_desc.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/metadata/metadata.h"
#include "tests/support/suite.h"

#define GID_A "fe:80:00:00:00:00:00:00:02:42:ac:ff:fe:11:00:02"
#define GID_B "00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:01"

/* As Mooncake's engine writes them. */
static const char *const samples[] = {
	"{\"buffers\":[{\"addr\":140011223344128,\"length\":1073741824,\"lkey\":[4660,22136],"
	"\"name\":\"cpu:0\",\"rkey\":[4294967295,1]}],\"devices\":[{\"gid\":\"" GID_A
	"\",\"lid\":0,\"name\":\"mlx5_0\"},{\"gid\":\"" GID_B
	"\",\"lid\":17,\"name\":\"mlx5_1\"}],\"name\":\"node1:12345\",\"priority_matrix\":"
	"{\"cpu:0\":[[\"mlx5_0\"],[\"mlx5_1\"]],\"cuda:0\":[[\"mlx5_0\"],[]]},"
	"\"protocol\":\"rdma\"}\n",
	"{\"buffers\":[{\"addr\":140011223344128,\"length\":4096,\"name\":\"node1:12345\"},"
	"{\"addr\":9007199254740991,\"length\":1,\"name\":\"node1:12345\"}],"
	"\"name\":\"node1:12345\",\"protocol\":\"tcp\"}\n",
	"{\"buffers\":[],\"name\":\"10.0.0.1:15001\",\"protocol\":\"tcp\"}\n",
	"{\"buffers\":[{\"file_path\":\"/mnt/nvme/a\",\"length\":1048576,\"local_path_map\":"
	"{\"node1\":\"/mnt/far/a\",\"node2\":\"/mnt/a\"}},{\"file_path\":\"/mnt/nvme/b\","
	"\"length\":4096,\"local_path_map\":{}}],\"protocol\":\"nvmeof\","
	"\"server_name\":\"store1\"}\n",
	/* with what is ours alone */
	"{\"buffers\":[{\"addr\":4096,\"key\":\"0123456789abcdef\",\"length\":4096,"
	"\"name\":\"cpu:0\"}],\"endpoints\":[\"tcp:10.0.0.1:15001\"],\"name\":\"n\","
	"\"protocol\":\"tcp\"}\n",
};

static struct segment_desc *parse(const char *text)
{
	struct segment_desc *desc = NULL;

	ck_assert_int_eq(segment_desc_parse(text, strlen(text), &desc), MC_OK);
	return desc;
}

START_TEST(what_mooncake_wrote_comes_out_as_it_went_in)
{
	struct segment_desc *desc = parse(samples[_i]);
	CLEANUP_FREE char *text = NULL;

	ck_assert_int_eq(segment_desc_print(desc, &text), MC_OK);
	ck_assert_str_eq(text, samples[_i]);
	segment_desc_unref(desc);
}
END_TEST

START_TEST(every_member_is_read)
{
	struct segment_desc *desc = parse(samples[0]);

	ck_assert_int_eq(desc->protocol, SEGMENT_RDMA);
	ck_assert_str_eq(desc->name, "node1:12345");
	ck_assert_uint_eq(desc->device_count, 2);
	ck_assert_str_eq(desc->devices[1].name, "mlx5_1");
	ck_assert_uint_eq(desc->devices[1].lid, 17);
	ck_assert_uint_eq(desc->devices[0].gid[0], 0xfe);
	ck_assert_uint_eq(desc->devices[0].gid[15], 2);
	ck_assert_uint_eq(desc->buffer_count, 1);
	ck_assert_uint_eq(desc->buffers[0].addr, 140011223344128);
	ck_assert_uint_eq(desc->buffers[0].rkey[0], 4294967295);
	ck_assert_uint_eq(desc->buffers[0].lkey[1], 22136);
	segment_desc_unref(desc);
	desc = parse(samples[3]);
	ck_assert_str_eq(desc->name, "store1");
	ck_assert_str_eq(desc->buffers[0].local_paths[1].host, "node2");
	ck_assert_str_eq(desc->buffers[0].local_paths[1].path, "/mnt/a");
	segment_desc_unref(desc);
	desc = parse(samples[4]);
	ck_assert_uint_eq(desc->buffers[0].key, 0x0123456789abcdef);
	ck_assert_str_eq(desc->endpoints[0], "tcp:10.0.0.1:15001");
	segment_desc_unref(desc);
}
END_TEST

START_TEST(members_that_are_not_known_are_ignored)
{
	struct segment_desc *desc = parse(
		"{\"name\":\"n\",\"tcp_data_port\":15000,\"timestamp\":\"now\",\"x\":{\"y\":[1]},"
		"\"protocol\":\"tcp\",\"buffers\":[{\"name\":\"n\",\"addr\":1,\"length\":2,"
		"\"offset\":null}]}");

	ck_assert_uint_eq(desc->buffer_count, 1);
	segment_desc_unref(desc);
}
END_TEST

#define RDMA(devices, buffer)                                                                      \
	"{\"name\":\"n\",\"protocol\":\"rdma\",\"devices\":[" devices "],\"buffers\":[" buffer "]" \
	"}"
#define DEVICE	     "{\"name\":\"d\",\"lid\":0,\"gid\":\"" GID_A "\"}"
#define TCP(buffer)  "{\"name\":\"n\",\"protocol\":\"tcp\",\"buffers\":[" buffer "]}"
#define NVME(buffer) "{\"server_name\":\"n\",\"protocol\":\"nvmeof\",\"buffers\":[" buffer "]}"

static const char *const corrupted[] = {
	"",
	"{",
	"[]",
	"null",
	"{}",
	"{\"protocol\":\"tcp\",\"buffers\":[]}",
	"{\"name\":\"\",\"protocol\":\"tcp\",\"buffers\":[]}",
	"{\"name\":7,\"protocol\":\"tcp\",\"buffers\":[]}",
	"{\"name\":\"n\",\"protocol\":\"tcp\"}",
	"{\"name\":\"n\",\"protocol\":\"tcp\",\"buffers\":{}}",
	"{\"name\":\"n\",\"protocol\":\"rdma\",\"buffers\":[]}",
	"{\"name\":\"n\",\"protocol\":\"nvmeof\",\"buffers\":[]}",
	TCP("7"),
	TCP("{\"addr\":1,\"length\":1}"),
	TCP("{\"name\":\"\",\"addr\":1,\"length\":1}"),
	TCP("{\"name\":\"n\",\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":1}"),
	TCP("{\"name\":\"n\",\"addr\":0,\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":1,\"length\":0}"),
	TCP("{\"name\":\"n\",\"addr\":-1,\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":1.5,\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":\"1\",\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":9007199254740994,\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":1e300,\"length\":1}"),
	TCP("{\"name\":\"n\",\"addr\":1,\"length\":1,\"key\":\"12\"}"),
	TCP("{\"name\":\"n\",\"addr\":1,\"length\":1,\"key\":\"0123456789abcdeg\"}"),
	TCP("{\"name\":\"n\",\"addr\":1,\"length\":1,\"key\":1}"),
	RDMA("{\"lid\":0,\"gid\":\"" GID_A "\"}", ""),
	RDMA("{\"name\":\"d\",\"gid\":\"" GID_A "\"}", ""),
	RDMA("{\"name\":\"d\",\"lid\":65536,\"gid\":\"" GID_A "\"}", ""),
	RDMA("{\"name\":\"d\",\"lid\":0}", ""),
	RDMA("{\"name\":\"d\",\"lid\":0,\"gid\":\"\"}", ""),
	RDMA("{\"name\":\"d\",\"lid\":0,\"gid\":\"fe:80\"}", ""),
	RDMA("{\"name\":\"d\",\"lid\":0,\"gid\":\"" GID_A ":00\"}", ""),
	RDMA("{\"name\":\"d\",\"lid\":0,\"gid\":\"gg"
	     "\"}",
	     ""),
	RDMA(DEVICE, "{\"name\":\"n\",\"addr\":1,\"length\":1}"),
	RDMA(DEVICE, "{\"name\":\"n\",\"addr\":1,\"length\":1,\"rkey\":[1],\"lkey\":[]}"),
	RDMA(DEVICE, "{\"name\":\"n\",\"addr\":1,\"length\":1,\"rkey\":[1,2],\"lkey\":[1,2]}"),
	RDMA(DEVICE, "{\"name\":\"n\",\"addr\":1,\"length\":1,\"rkey\":[4294967296],\"lkey\":[1]}"),
	RDMA(DEVICE, "{\"name\":\"n\",\"addr\":1,\"length\":1,\"rkey\":[\"1\"],\"lkey\":[1]}"),
	RDMA("", "{\"name\":\"n\",\"addr\":1,\"length\":1,\"rkey\":[],\"lkey\":[]}"),
	"{\"name\":\"n\",\"protocol\":\"rdma\",\"devices\":[],\"buffers\":[],\"priority_matrix\":[]"
	"}",
	"{\"name\":\"n\",\"protocol\":\"rdma\",\"devices\":[],\"buffers\":[],"
	"\"priority_matrix\":{\"cpu:0\":[[]]}}",
	"{\"name\":\"n\",\"protocol\":\"rdma\",\"devices\":[],\"buffers\":[],"
	"\"priority_matrix\":{\"cpu:0\":[[1],[]]}}",
	NVME("{\"length\":1}"),
	NVME("{\"file_path\":\"/a\"}"),
	NVME("{\"file_path\":\"/a\",\"length\":1,\"local_path_map\":[]}"),
	NVME("{\"file_path\":\"/a\",\"length\":1,\"local_path_map\":{\"h\":1}}"),
	NVME("{\"file_path\":\"/a\",\"length\":1,\"local_path_map\":{\"\":\"/b\"}}"),
	"{\"name\":\"n\",\"protocol\":\"tcp\",\"buffers\":[],\"endpoints\":[1]}",
};

START_TEST(what_lacks_something_is_corrupted)
{
	struct segment_desc *desc = NULL;

	ck_assert_int_eq(segment_desc_parse(corrupted[_i], strlen(corrupted[_i]), &desc),
			 MC_PROTOCOL);
	ck_assert_ptr_null(desc);
}
END_TEST

START_TEST(a_protocol_that_we_lack_is_said_to_be_so)
{
	static const char *const texts[] = {
		"{\"name\":\"n\",\"protocol\":\"cxl\",\"buffers\":[]}",
		"{\"name\":\"n\",\"protocol\":[\"tcp\",\"hip\"],\"buffers\":[]}",
	};
	struct segment_desc *desc = NULL;

	ck_assert_int_eq(segment_desc_parse(texts[_i], strlen(texts[_i]), &desc), MC_NOT_SUPPORTED);
}
END_TEST

START_TEST(a_descriptor_is_bounded)
{
	char name[SEGMENT_NAME_SIZE + 1];
	struct segment_desc *desc = NULL;
	struct segment_device *device;
	struct segment_buffer *buffer;

	memset(name, 'n', SEGMENT_NAME_SIZE);
	name[SEGMENT_NAME_SIZE] = '\0';
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, name, &desc), MC_INVALID);
	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "", &desc), MC_INVALID);
	ck_assert_int_eq(segment_desc_new(SEGMENT_RDMA, "n", &desc), MC_OK);
	for (unsigned i = 0; i < SEGMENT_DEVICE_MAX; i++)
		ck_assert_int_eq(segment_desc_add_device(desc, "d", &device), MC_OK);
	ck_assert_int_eq(segment_desc_add_device(desc, "d", &device), MC_TOO_BIG);
	for (unsigned i = 0; i < SEGMENT_BUFFER_MAX; i++)
		ck_assert_int_eq(segment_desc_add_buffer(desc, "cpu:0", &buffer), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "cpu:0", &buffer), MC_TOO_BIG);
	for (unsigned i = 0; i < SEGMENT_ENDPOINT_MAX; i++)
		ck_assert_int_eq(segment_desc_add_endpoint(desc, "e"), MC_OK);
	ck_assert_int_eq(segment_desc_add_endpoint(desc, "e"), MC_TOO_BIG);
	segment_desc_unref(desc);
	CLEANUP_FREE char *text = calloc(1, METADATA_VALUE_SIZE_MAX + 2u);
	memset(text, ' ', METADATA_VALUE_SIZE_MAX + 1u);
	ck_assert_int_eq(segment_desc_parse(text, METADATA_VALUE_SIZE_MAX + 1u, &desc), MC_TOO_BIG);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
	CLEANUP_FREE char *text = malloc(1000001);
	struct segment_desc *desc;

	memset(text, '[', 1000000);
	text[1000000] = '\0';
	ck_assert_int_eq(segment_desc_parse(text, 1000000, &desc), MC_PROTOCOL);
}
END_TEST

START_TEST(a_buffer_is_found_by_any_part_of_it)
{
	struct segment_desc *desc = NULL;
	struct segment_buffer *buffer;

	ck_assert_int_eq(segment_desc_new(SEGMENT_TCP, "n", &desc), MC_OK);
	ck_assert_int_eq(segment_desc_add_buffer(desc, "a", &buffer), MC_OK);
	buffer->addr = 1000;
	buffer->length = 100;
	ck_assert_int_eq(segment_desc_add_buffer(desc, "b", &buffer), MC_OK);
	buffer->addr = 1100;
	buffer->length = 50;
	ck_assert_str_eq(segment_desc_find(desc, 1000, 100)->name, "a");
	ck_assert_str_eq(segment_desc_find(desc, 1099, 1)->name, "a");
	ck_assert_str_eq(segment_desc_find(desc, 1100, 50)->name, "b");
	ck_assert_ptr_null(segment_desc_find(desc, 999, 1));
	ck_assert_ptr_null(segment_desc_find(desc, 1099, 2));
	ck_assert_ptr_null(segment_desc_find(desc, 1150, 1));
	ck_assert_ptr_null(segment_desc_find(desc, UINT64_MAX, UINT64_MAX));
	ck_assert_ptr_null(segment_desc_find(desc, 1000, UINT64_MAX));
	segment_desc_unref(desc);
}
END_TEST

START_TEST(an_address_is_read_and_printed)
{
	static const char text[] = "{\"ip_or_host_name\":\"10.0.0.1\",\"rpc_port\":15428}\n";
	static const char *const bad[] = {
		"",
		"{}",
		"{\"ip_or_host_name\":\"\",\"rpc_port\":1}",
		"{\"ip_or_host_name\":\"h\"}",
		"{\"ip_or_host_name\":\"h\",\"rpc_port\":0}",
		"{\"ip_or_host_name\":\"h\",\"rpc_port\":65536}",
		"{\"ip_or_host_name\":\"h\",\"rpc_port\":\"1\"}",
	};
	struct segment_address address;
	CLEANUP_FREE char *printed = NULL;

	ck_assert_int_eq(segment_address_parse(text, strlen(text), &address), MC_OK);
	ck_assert_str_eq(address.host, "10.0.0.1");
	ck_assert_uint_eq(address.port, 15428);
	ck_assert_int_eq(segment_address_print(&address, &printed), MC_OK);
	ck_assert_str_eq(printed, text);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(segment_address_parse(bad[i], strlen(bad[i]), &address),
				 MC_PROTOCOL);
}
END_TEST

START_TEST(keys_are_mooncakes)
{
	char key[64];

	ck_assert_int_eq(segment_key("node1:1", key, sizeof(key)), MC_OK);
	ck_assert_str_eq(key, "mooncake/ram/node1:1");
	ck_assert_int_eq(segment_key("nvmeof/disk", key, sizeof(key)), MC_OK);
	ck_assert_str_eq(key, "mooncake/nvmeof/disk");
	ck_assert_int_eq(segment_address_key("node1:1", key, sizeof(key)), MC_OK);
	ck_assert_str_eq(key, "mooncake/rpc_meta/node1:1");
	setenv("MC_METADATA_CLUSTER_ID", "prod", 1);
	ck_assert_int_eq(segment_key("node1", key, sizeof(key)), MC_OK);
	ck_assert_str_eq(key, "mooncake/prod/ram/node1");
	ck_assert_int_eq(segment_key("", key, sizeof(key)), MC_INVALID);
	ck_assert_int_eq(segment_key("node1", key, 5), MC_INVALID);
}
END_TEST

/* Broken bytes must not be read as more than they are; the sanitizers watch. */
START_TEST(changed_samples_never_break_the_reader)
{
	unsigned seed = (unsigned)clock_ns();
	const char *sample = samples[_i];
	size_t size = strlen(sample);

	printf("seed %u\n", seed);
	for (int round = 0; round < 5000; round++) {
		char text[1024];
		struct segment_desc *desc = NULL;
		memcpy(text, sample, size + 1);
		for (int i = 0; i < 1 + round % 4; i++)
			text[(size_t)rand_r(&seed) % size] = (char)rand_r(&seed);
		size_t cut = round % 3 ? size : (size_t)rand_r(&seed) % size;
		if (segment_desc_parse(text, cut, &desc) != MC_OK)
			continue;
		CLEANUP_FREE char *printed = NULL;
		ck_assert_int_eq(segment_desc_print(desc, &printed), MC_OK);
		struct segment_desc *again = parse(printed);
		segment_desc_unref(again);
		segment_desc_unref(desc);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metadata/segment_desc");
	TCase *tcase = tcase_create("descriptors");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, what_mooncake_wrote_comes_out_as_it_went_in, 0,
			    (int)ARRAY_SIZE(samples));
	tcase_add_test(tcase, every_member_is_read);
	tcase_add_test(tcase, members_that_are_not_known_are_ignored);
	tcase_add_loop_test(tcase, what_lacks_something_is_corrupted, 0,
			    (int)ARRAY_SIZE(corrupted));
	tcase_add_loop_test(tcase, a_protocol_that_we_lack_is_said_to_be_so, 0, 2);
	tcase_add_test(tcase, a_descriptor_is_bounded);
	tcase_add_test(tcase, deep_nesting_is_refused);
	tcase_add_test(tcase, a_buffer_is_found_by_any_part_of_it);
	tcase_add_test(tcase, an_address_is_read_and_printed);
	tcase_add_test(tcase, keys_are_mooncakes);
	tcase_add_loop_test(tcase, changed_samples_never_break_the_reader, 0,
			    (int)ARRAY_SIZE(samples));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
