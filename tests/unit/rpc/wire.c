/* The fields of protocol.h: golden bytes, round trips, cuts, and what is forbidden. */
#include "engine/rpc/wire.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/suite.h"
#include "tests/unit/node/seed.h"

static const struct mc_attr attr = {
	.id = 0x0102030405060708,
	.version = 0x1112131415161718,
	.size = 0x2122232425,
	.allocated = 0x3132333435,
	.mode = S_IFREG | 0640,
	.uid = 1000,
	.gid = 1001,
	.nlink = 1,
	.flags = MC_ATTR_XATTRS,
	.atime = {1, 2},
	.mtime = {-3, 4},
	.ctime = {INT64_MAX, 999999999},
};

static const uint8_t golden_attr[] = {
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,				/* id */
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,				/* version */
	0x25, 0x24, 0x23, 0x22, 0x21, 0x00, 0x00, 0x00,				/* size */
	0x35, 0x34, 0x33, 0x32, 0x31, 0x00, 0x00, 0x00,				/* allocated */
	0xa0, 0x81, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00,				/* mode, uid */
	0xe9, 0x03, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,				/* gid, nlink */
	0x01, 0x00, 0x00, 0x00,							/* flags */
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, /* atime */
	0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x04, 0x00, 0x00, 0x00, /* mtime */
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xc9, 0x9a, 0x3b, /* ctime */
};

static const struct frame frame = {
	.kind = MC_FRAME_REPLY,
	.verb = 0x0102,
	.status = MC_NOT_FOUND,
	.size = 0x030405,
	.epoch = 0x06070809,
	.request_id = 0x1112131415161718,
};

static const uint8_t golden_frame[MC_FRAME_HEADER_SIZE] = {
	0x4d, 0x43, 0x01, 0x01, 0x02, 0x01, 0xfe, 0xff, /* "MC", version, kind, verb, status */
	0x05, 0x04, 0x03, 0x00, 0x09, 0x08, 0x07, 0x06, /* size, epoch */
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* request id */
};

static struct writer w;

static void setup(void)
{
	writer_init(&w);
}

static void teardown(void)
{
	writer_fini(&w);
}

/* -- the frame -- */

START_TEST(a_frame_header_is_as_documented)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];

	frame_encode(header, &frame);
	ck_assert_mem_eq(header, golden_frame, sizeof(header));
}
END_TEST

START_TEST(a_request_says_how_old_it_is)
{
	const struct frame request = {
		.kind = MC_FRAME_REQUEST, .verb = MC_VERB_REMOVE, .age_s = 0xfeff};
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame read;

	frame_encode(header, &request);
	ck_assert_uint_eq(header[6], 0xff);
	ck_assert_uint_eq(header[7], 0xfe);
	ck_assert_int_eq(frame_decode(header, &read), MC_OK);
	ck_assert_uint_eq(read.age_s, 0xfeff);
	ck_assert_int_eq(read.status, MC_OK);
}
END_TEST

START_TEST(a_frame_header_is_read_back)
{
	struct frame read;

	ck_assert_int_eq(frame_decode(golden_frame, &read), MC_OK);
	ck_assert_uint_eq(read.kind, frame.kind);
	ck_assert_uint_eq(read.verb, frame.verb);
	ck_assert_int_eq(read.status, frame.status);
	ck_assert_uint_eq(read.size, frame.size);
	ck_assert_uint_eq(read.epoch, frame.epoch);
	ck_assert_uint_eq(read.request_id, frame.request_id);
}
END_TEST

static const struct {
	size_t at;
	uint8_t value;
} broken[] = {
	{0, 0x4e}, {1, 0x42}, {2, 0}, {2, 2}, {3, 3}, {3, 0xff}, {11, 1}, {11, 0xff},
};

START_TEST(a_header_that_breaks_a_rule_is_refused)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame read;

	memcpy(header, golden_frame, sizeof(header));
	header[broken[_i].at] = broken[_i].value;
	ck_assert_int_eq(frame_decode(header, &read), MC_PROTOCOL);
}
END_TEST

START_TEST(a_body_may_have_the_largest_size_and_no_more)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame read;

	memcpy(header, golden_frame, sizeof(header));
	store_u32(header + 8, MC_BODY_SIZE_MAX);
	ck_assert_int_eq(frame_decode(header, &read), MC_OK);
	store_u32(header + 8, MC_BODY_SIZE_MAX + 1);
	ck_assert_int_eq(frame_decode(header, &read), MC_PROTOCOL);
}
END_TEST

START_TEST(every_kind_is_read)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame read;

	memcpy(header, golden_frame, sizeof(header));
	header[3] = (uint8_t)_i;
	ck_assert_int_eq(frame_decode(header, &read), MC_OK);
	ck_assert_uint_eq(read.kind, _i);
}
END_TEST

START_TEST(frames_follow_each_other_in_one_writer)
{
	struct frame read;

	size_t first = frame_begin(&w);
	put_u32(&w, 7);
	frame_finish(&w, first, &frame);
	size_t second = frame_begin(&w);
	frame_finish(&w, second, &frame);

	ck_assert_uint_eq(w.size, 2 * MC_FRAME_HEADER_SIZE + 4);
	ck_assert_int_eq(frame_decode(w.data + first, &read), MC_OK);
	ck_assert_uint_eq(read.size, 4);
	ck_assert_uint_eq(load_u32(w.data + MC_FRAME_HEADER_SIZE), 7);
	ck_assert_int_eq(frame_decode(w.data + second, &read), MC_OK);
	ck_assert_uint_eq(read.size, 0);
}
END_TEST

START_TEST(a_body_that_is_too_large_fails_the_writer)
{
	size_t begin = frame_begin(&w);

	memset(writer_reserve(&w, MC_BODY_SIZE_MAX), 0, MC_BODY_SIZE_MAX);
	frame_finish(&w, begin, &frame);
	ck_assert(!w.failed);
	put_u8(&w, 0);
	frame_finish(&w, begin, &frame);
	ck_assert(w.failed);
}
END_TEST

/* -- status -- */

static const enum mc_status statuses[] = {
	MC_OK,
	MC_PERMISSION,
	MC_NOT_FOUND,
	MC_IO,
	MC_AGAIN,
	MC_NO_MEMORY,
	MC_ACCESS,
	MC_BUSY,
	MC_EXISTS,
	MC_CROSS_DEVICE,
	MC_NOT_DIRECTORY,
	MC_IS_DIRECTORY,
	MC_INVALID,
	MC_TOO_BIG,
	MC_NO_SPACE,
	MC_READ_ONLY,
	MC_NAME_TOO_LONG,
	MC_NOT_EMPTY,
	MC_NO_DATA,
	MC_PROTOCOL,
	MC_STALE,
	MC_NOT_SUPPORTED,
	MC_UNREACHABLE,
	MC_TIMEOUT,
	MC_CANCELLED,
};

START_TEST(every_status_is_read_back)
{
	struct reader r;

	put_status(&w, statuses[_i]);
	reader_init(&r, w.data, w.size);
	ck_assert_int_eq(get_status(&r), statuses[_i]);
	ck_assert(reader_done(&r));
}
END_TEST

START_TEST(a_number_that_is_no_status_becomes_protocol)
{
	for (uint32_t value = 0; value <= UINT16_MAX; value++) {
		uint8_t bytes[2];
		struct reader r;
		bool known = false;
		for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
			known |= (uint16_t)(int16_t)statuses[i] == value;
		store_u16(bytes, (uint16_t)value);
		reader_init(&r, bytes, 2);
		enum mc_status status = get_status(&r);
		if (known)
			ck_assert_int_eq((int16_t)value, status);
		else
			ck_assert_int_eq(status, MC_PROTOCOL);
	}
}
END_TEST

/* -- composite fields -- */

static struct mc_attr random_attr(void)
{
	struct mc_attr a = {0};

	a.id = ((uint64_t)draw(1u << 30) << 33) + draw(1u << 30);
	a.version = ((uint64_t)draw(1u << 30) << 33) + draw(1u << 30);
	a.size = (uint64_t)draw(1u << 30) << 30;
	a.allocated = ((uint64_t)draw(1u << 30) << 30) + draw(1u << 30);
	a.mode = draw(1u << 30);
	a.uid = draw(1u << 30) * 4;
	a.gid = draw(1u << 30) * 4;
	a.nlink = draw(1u << 30);
	a.flags = draw(4);
	a.atime = (struct mc_time){(int64_t)draw(1u << 30) - (1 << 29), draw(1000000000)};
	a.mtime = (struct mc_time){(int64_t)draw(1u << 30) << 20, draw(1000000000)};
	a.ctime = (struct mc_time){-(int64_t)draw(1u << 30), draw(1000000000)};
	return a;
}

static void assert_time_eq(struct mc_time a, struct mc_time b)
{
	ck_assert_int_eq(a.s, b.s);
	ck_assert_uint_eq(a.ns, b.ns);
}

static void assert_attr_eq(const struct mc_attr *a, const struct mc_attr *b)
{
	ck_assert_uint_eq(a->id, b->id);
	ck_assert_uint_eq(a->version, b->version);
	ck_assert_uint_eq(a->size, b->size);
	ck_assert_uint_eq(a->allocated, b->allocated);
	ck_assert_uint_eq(a->mode, b->mode);
	ck_assert_uint_eq(a->uid, b->uid);
	ck_assert_uint_eq(a->gid, b->gid);
	ck_assert_uint_eq(a->nlink, b->nlink);
	ck_assert_uint_eq(a->flags, b->flags);
	assert_time_eq(a->atime, b->atime);
	assert_time_eq(a->mtime, b->mtime);
	assert_time_eq(a->ctime, b->ctime);
}

START_TEST(an_attr_is_as_documented)
{
	ck_assert_uint_eq(sizeof(golden_attr), MC_ATTR_WIRE_SIZE);
	put_attr(&w, &attr);
	ck_assert_uint_eq(w.size, sizeof(golden_attr));
	ck_assert_mem_eq(w.data, golden_attr, sizeof(golden_attr));
}
END_TEST

START_TEST(an_attr_is_read_back)
{
	seed_draw();
	for (int round = 0; round < 1000; round++) {
		struct mc_attr in = random_attr(), out;
		struct reader r;
		writer_reset(&w);
		put_attr(&w, &in);
		reader_init(&r, w.data, w.size);
		get_attr(&r, &out);
		ck_assert(reader_done(&r));
		assert_attr_eq(&in, &out);
	}
}
END_TEST

START_TEST(an_entry_is_read_back)
{
	struct mc_entry in = {.attr = attr, .replica_count = (uint32_t)_i}, out;
	struct reader r;

	for (int i = 0; i < _i; i++)
		in.replicas[i] = (struct mc_replica){(uint32_t)(i + 1) << 24, (uint8_t)(i % 2)};
	put_entry(&w, &in);
	ck_assert_uint_eq(w.size, MC_ATTR_WIRE_SIZE + 1 + 5 * (size_t)_i);
	reader_init(&r, w.data, w.size);
	get_entry(&r, &out);
	ck_assert(reader_done(&r));
	assert_attr_eq(&out.attr, &attr);
	ck_assert_uint_eq(out.replica_count, _i);
	for (int i = 0; i < _i; i++) {
		ck_assert_uint_eq(out.replicas[i].node, in.replicas[i].node);
		ck_assert_uint_eq(out.replicas[i].kind, in.replicas[i].kind);
	}
}
END_TEST

static struct mc_node node_of(uint32_t endpoint_count)
{
	struct mc_node node = {.id = 7,
			       .alive = true,
			       .uuid = {1, 2, 3, [15] = 16},
			       .capacity = 1ull << 40,
			       .used = 12345,
			       .objects = 99,
			       .silent_ms = 250,
			       .name = "node-a",
			       .host = "boot-1",
			       .endpoint_count = endpoint_count};

	for (uint32_t i = 0; i < endpoint_count; i++)
		snprintf(node.endpoints[i], sizeof(node.endpoints[i]), "tcp:10.0.0.%u:%u", i,
			 1000 + i);
	return node;
}

START_TEST(a_node_is_read_back)
{
	struct mc_node in = node_of((uint32_t)_i), out;
	struct reader r;

	put_node(&w, &in);
	reader_init(&r, w.data, w.size);
	get_node(&r, &out);
	ck_assert(reader_done(&r));
	ck_assert_uint_eq(out.id, 7);
	ck_assert(out.alive);
	ck_assert_mem_eq(out.uuid, in.uuid, sizeof(in.uuid));
	ck_assert_uint_eq(out.capacity, in.capacity);
	ck_assert_uint_eq(out.used, in.used);
	ck_assert_uint_eq(out.objects, in.objects);
	ck_assert_uint_eq(out.silent_ms, in.silent_ms);
	ck_assert_str_eq(out.name, in.name);
	ck_assert_str_eq(out.host, in.host);
	ck_assert_uint_eq(out.endpoint_count, _i);
	for (int i = 0; i < _i; i++)
		ck_assert_str_eq(out.endpoints[i], in.endpoints[i]);
}
END_TEST

/* -- cuts -- */

static void put_an_attr(void)
{
	put_attr(&w, &attr);
}

static void put_an_entry(void)
{
	struct mc_entry entry = {.attr = attr, .replica_count = 2, .replicas = {{1, 0}, {2, 1}}};

	put_entry(&w, &entry);
}

static void put_a_node(void)
{
	struct mc_node node = node_of(2);

	put_node(&w, &node);
}

static void put_a_time(void)
{
	put_time(&w, attr.mtime);
}

static void put_a_name(void)
{
	put_string(&w, "name", 4);
}

static void put_a_count(void)
{
	put_u16(&w, 1);
}

static void get_an_attr(struct reader *r)
{
	struct mc_attr out;

	get_attr(r, &out);
}

static void get_an_entry(struct reader *r)
{
	struct mc_entry out;

	get_entry(r, &out);
}

static void get_a_node(struct reader *r)
{
	struct mc_node out;

	get_node(r, &out);
	ck_assert_ptr_nonnull(memchr(out.name, '\0', sizeof(out.name)));
	ck_assert_uint_le(out.endpoint_count, MC_ENDPOINT_MAX);
}

static void get_a_time(struct reader *r)
{
	(void)get_time(r);
}

static void get_a_name(struct reader *r)
{
	size_t size;
	const char *name = get_name(r, &size);

	ck_assert(!name == r->failed);
}

static void get_a_text(struct reader *r)
{
	char text[5];

	get_text(r, text, sizeof(text));
	ck_assert_ptr_nonnull(memchr(text, '\0', sizeof(text)));
}

static void get_a_count(struct reader *r)
{
	uint16_t count = get_count(r);

	ck_assert((count == 0) == r->failed);
}

static void get_a_status(struct reader *r)
{
	(void)get_status(r);
}

static const struct {
	void (*put)(void);
	void (*get)(struct reader *r);
} fields[] = {
	{put_an_attr, get_an_attr}, {put_an_entry, get_an_entry}, {put_a_node, get_a_node},
	{put_a_time, get_a_time},   {put_a_name, get_a_name},	  {put_a_name, get_a_text},
	{put_a_count, get_a_count}, {put_a_count, get_a_status},
};

static void read_exactly(int field, const uint8_t *bytes, size_t size, struct reader *r)
{
	uint8_t *exact = malloc(size ? size : 1); /* a sanitizer sees the byte after */

	memcpy(exact, bytes, size);
	reader_init(r, exact, size);
	fields[field].get(r);
	free(exact);
}

START_TEST(a_field_cut_anywhere_fails)
{
	struct reader r;

	fields[_i].put();
	for (size_t size = 0; size < w.size; size++) {
		read_exactly(_i, w.data, size, &r);
		ck_assert(r.failed);
	}
	read_exactly(_i, w.data, w.size, &r);
	ck_assert(!r.failed);
	ck_assert_uint_eq(r.offset, w.size);
}
END_TEST

START_TEST(random_damage_is_read_within_its_bounds)
{
	static uint8_t bytes[4096];
	struct reader r;

	seed_draw();
	fields[_i].put();
	for (int round = 0; round < 20000; round++) {
		memcpy(bytes, w.data, w.size);
		for (unsigned n = draw(6); n > 0; n--)
			bytes[draw((unsigned)w.size)] = (uint8_t)draw(256);
		read_exactly(_i, bytes, draw(2) ? w.size : draw((unsigned)w.size + 1), &r);
	}
}
END_TEST

/* -- what the protocol forbids -- */

static void forbid_ns_of_a_time(void)
{
	put_time(&w, (struct mc_time){1, 1000000000});
}

static void forbid_ns_of_an_attr(void)
{
	struct mc_attr bad = attr;

	bad.ctime.ns = 1000000000;
	put_attr(&w, &bad);
}

static void forbid_size(void)
{
	struct mc_attr bad = attr;

	bad.size = MC_OBJECT_SIZE_MAX + 1;
	put_attr(&w, &bad);
}

static void forbid_allocated(void)
{
	struct mc_attr bad = attr;

	bad.allocated = MC_OBJECT_SIZE_MAX + 1;
	put_attr(&w, &bad);
}

static void forbid_id(void)
{
	struct mc_attr bad = attr;

	bad.id = (uint64_t)MC_ID_MAX + 1;
	put_attr(&w, &bad);
}

static void forbid_version(void)
{
	struct mc_attr bad = attr;

	bad.version = (uint64_t)MC_ID_MAX + 1;
	put_attr(&w, &bad);
}

static void forbid_replicas(void)
{
	put_attr(&w, &attr);
	put_u8(&w, MC_REPLICA_MAX + 1);
	memset(writer_reserve(&w, 500), 0, 500);
}

static void forbid_endpoints(void)
{
	struct mc_node node = node_of(0);

	put_node(&w, &node);
	w.data[w.size - 1] = MC_ENDPOINT_MAX + 1;
	memset(writer_reserve(&w, 500), 0, 500);
}

static void forbid_long_node_name(void)
{
	char name[MC_NODE_NAME_SIZE] = {0};

	memset(writer_reserve(&w, 49), 0, 49); /* all before the name */
	memset(name, 'n', sizeof(name));
	put_string(&w, name, sizeof(name));
	put_string(&w, "", 0);
	put_u8(&w, 0);
}

static void forbid_long_text(void)
{
	put_string(&w, "12345", 5);
}

static void forbid_nul_in_text(void)
{
	put_string(&w, "a\0b", 3);
}

static void forbid_empty_name(void)
{
	put_string(&w, "", 0);
}

static void forbid_dot(void)
{
	put_string(&w, ".", 1);
}

static void forbid_dot_dot(void)
{
	put_string(&w, "..", 2);
}

static void forbid_slash(void)
{
	put_string(&w, "a/b", 3);
}

static void forbid_nul_in_name(void)
{
	put_string(&w, "a\0", 2);
}

static void forbid_long_name(void)
{
	char name[MC_NAME_MAX + 1];

	memset(name, 'n', sizeof(name));
	put_string(&w, name, sizeof(name));
}

static void forbid_count_zero(void)
{
	put_u16(&w, 0);
}

static void forbid_count_large(void)
{
	put_u16(&w, MC_BATCH_MAX + 1);
}

static const struct {
	void (*put)(void);
	void (*get)(struct reader *r);
} forbidden[] = {
	{forbid_ns_of_a_time, get_a_time},
	{forbid_ns_of_an_attr, get_an_attr},
	{forbid_size, get_an_attr},
	{forbid_allocated, get_an_attr},
	{forbid_id, get_an_attr},
	{forbid_version, get_an_attr},
	{forbid_replicas, get_an_entry},
	{forbid_endpoints, get_a_node},
	{forbid_long_node_name, get_a_node},
	{forbid_long_text, get_a_text},
	{forbid_nul_in_text, get_a_text},
	{forbid_empty_name, get_a_name},
	{forbid_dot, get_a_name},
	{forbid_dot_dot, get_a_name},
	{forbid_slash, get_a_name},
	{forbid_nul_in_name, get_a_name},
	{forbid_long_name, get_a_name},
	{forbid_count_zero, get_a_count},
	{forbid_count_large, get_a_count},
};

START_TEST(a_forbidden_value_fails_the_reader)
{
	struct reader r;

	forbidden[_i].put();
	ck_assert(!w.failed);
	reader_init(&r, w.data, w.size);
	forbidden[_i].get(&r);
	ck_assert(r.failed);
}
END_TEST

static const struct {
	const char *name;
	size_t size;
} allowed[] = {
	{"a", 1}, {"...", 3}, {".a", 2}, {"..a", 3}, {"\xff\x01 \n", 4}, {"a.", 2},
};

START_TEST(an_odd_name_is_a_name)
{
	struct reader r;
	size_t size;

	put_string(&w, allowed[_i].name, allowed[_i].size);
	reader_init(&r, w.data, w.size);
	const char *name = get_name(&r, &size);
	ck_assert(reader_done(&r));
	ck_assert_uint_eq(size, allowed[_i].size);
	ck_assert_mem_eq(name, allowed[_i].name, size);
}
END_TEST

START_TEST(limits_are_allowed)
{
	char name[MC_NAME_MAX];
	struct mc_attr large = attr;
	struct reader r;
	size_t size;

	memset(name, 'n', sizeof(name));
	large.size = large.allocated = MC_OBJECT_SIZE_MAX;
	large.id = large.version = MC_ID_MAX;
	put_string(&w, name, sizeof(name));
	put_u16(&w, MC_BATCH_MAX);
	put_attr(&w, &large);
	reader_init(&r, w.data, w.size);
	ck_assert_ptr_nonnull(get_name(&r, &size));
	ck_assert_uint_eq(size, MC_NAME_MAX);
	ck_assert_uint_eq(get_count(&r), MC_BATCH_MAX);
	get_attr(&r, &large);
	ck_assert(reader_done(&r));
}
END_TEST

START_TEST(every_verb_has_one_name)
{
	int known = 0;

	for (unsigned verb = 0; verb < 2 * MC_VERB_LIMIT; verb++) {
		const char *name = mc_verb_name(verb);
		if (strcmp(name, "unknown") == 0)
			continue;
		known++;
		for (unsigned other = 0; other < verb; other++)
			ck_assert_str_ne(mc_verb_name(other), name);
	}
	ck_assert_int_eq(known, 43);
	ck_assert_str_eq(mc_verb_name(MC_VERB_HELLO), "hello");
	ck_assert_str_eq(mc_verb_name(MC_VERB_RELEASE), "release");
	ck_assert_str_eq(mc_verb_name(MC_VERB_SHELF), "shelf");
	ck_assert_str_eq(mc_verb_name(UINT32_MAX), "unknown");
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tc = tcase_create("wire");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_frame_header_is_as_documented);
	tcase_add_test(tc, a_frame_header_is_read_back);
	tcase_add_test(tc, a_request_says_how_old_it_is);
	tcase_add_loop_test(tc, a_header_that_breaks_a_rule_is_refused, 0, ROWS(broken));
	tcase_add_test(tc, a_body_may_have_the_largest_size_and_no_more);
	tcase_add_loop_test(tc, every_kind_is_read, 0, MC_FRAME_PUSH + 1);
	tcase_add_test(tc, frames_follow_each_other_in_one_writer);
	tcase_add_test(tc, a_body_that_is_too_large_fails_the_writer);
	tcase_add_loop_test(tc, every_status_is_read_back, 0, ROWS(statuses));
	tcase_add_test(tc, a_number_that_is_no_status_becomes_protocol);
	tcase_add_test(tc, an_attr_is_as_documented);
	tcase_add_test(tc, an_attr_is_read_back);
	tcase_add_loop_test(tc, an_entry_is_read_back, 0, MC_REPLICA_MAX + 1);
	tcase_add_loop_test(tc, a_node_is_read_back, 0, MC_ENDPOINT_MAX + 1);
	tcase_add_loop_test(tc, a_field_cut_anywhere_fails, 0, ROWS(fields));
	tcase_add_loop_test(tc, random_damage_is_read_within_its_bounds, 0, ROWS(fields));
	tcase_add_loop_test(tc, a_forbidden_value_fails_the_reader, 0, ROWS(forbidden));
	tcase_add_loop_test(tc, an_odd_name_is_a_name, 0, ROWS(allowed));
	tcase_add_test(tc, limits_are_allowed);
	tcase_add_test(tc, every_verb_has_one_name);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
