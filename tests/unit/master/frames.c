/* Frames that break the rules V1 to V6, and random ones. */
#include <time.h>

#include "tests/unit/master/raw.h"

static struct mc_master *master;
static struct raw a;

static void setup(void)
{
	master = raw_master("memory", 60000);
	log_open("/dev/null");
	raw_node(&a, mc_master_socket(master), 1);
}

static void teardown(void)
{
	raw_close(&a);
	mc_master_stop(master);
}

static void send_header(struct raw *raw, uint16_t magic, uint8_t version, uint8_t kind,
			uint16_t verb, uint32_t size)
{
	uint8_t header[MC_FRAME_HEADER_SIZE] = {0};

	store_u16(header, magic);
	header[2] = version;
	header[3] = kind;
	store_u16(header + 4, verb);
	store_u32(header + 8, size);
	store_u64(header + 16, ++raw->request_id);
	raw_write(raw, header, sizeof(header));
}

static const struct {
	uint16_t magic;
	uint8_t version;
	uint8_t kind;
	uint32_t size;
} headers[] = {
	{0x434e, 1, 0, 0},
	{0x434d, 2, 0, 0},
	{0x434d, 1, 3, 0},
	{0x434d, 1, 0, MC_BODY_SIZE_MAX + 1},
};

START_TEST(a_header_that_breaks_v1_closes_the_connection)
{
	send_header(&a, headers[_i].magic, headers[_i].version, headers[_i].kind, MC_VERB_STATFS,
		    headers[_i].size);
	bool ended = false;
	while (!ended) {
		struct frame before = a.frame;
		ended = !raw_receive(&a);
		ck_assert(ended || a.frame.kind == MC_FRAME_PUSH);
		(void)before;
	}
	/* The master goes on. */
	raw_close(&a);
	raw_node(&a, mc_master_socket(master), 1);
	raw_put(&a, MC_ROOT_ID, "key");
}
END_TEST

START_TEST(hello_comes_first)
{
	struct raw c;

	raw_connect(&c, mc_master_address(master));
	ck_assert_int_eq(raw_call(&c, MC_VERB_STATFS), MC_PROTOCOL);
	ck_assert_int_eq(raw_call(&c, 63), MC_PROTOCOL);
	raw_hello(&c, MC_ROLE_CLIENT, "c", 0);
	ck_assert_int_eq(raw_call(&c, MC_VERB_STATFS), MC_OK);
	raw_hello_write(&c, MC_ROLE_CLIENT, "c", 0);
	ck_assert_int_eq(raw_call(&c, MC_VERB_HELLO), MC_INVALID);
	raw_close(&c);
}
END_TEST

/* Bodies that break V2, V3 or V5, for a verb each. */
static void body_short(void)
{
	put_u16(&a.out, 1);
	put_u64(&a.out, 1);
}

static void body_long(void)
{
	put_u16(&a.out, 1);
	raw_name(&a, 1, "x");
	put_u8(&a.out, 0);
}

static void body_none(void)
{
	put_u16(&a.out, 0);
}

static void body_many(void)
{
	put_u16(&a.out, MC_BATCH_MAX + 1);
	for (unsigned i = 0; i <= MC_BATCH_MAX; i++)
		raw_name(&a, 1, "x");
}

static void body_slash(void)
{
	put_u16(&a.out, 1);
	raw_name(&a, 1, "x/y");
}

static void body_dots(void)
{
	put_u16(&a.out, 1);
	raw_name(&a, 1, "..");
}

static void body_nul(void)
{
	put_u16(&a.out, 1);
	put_u64(&a.out, 1);
	put_string(&a.out, "a\0b", 3);
}

static void body_second_bad(void)
{
	put_u16(&a.out, 2);
	raw_name(&a, 1, "keep");
	raw_name(&a, 1, "");
}

static void body_long_name(void)
{
	char name[257];

	memset(name, 'x', 256);
	name[256] = '\0';
	put_u16(&a.out, 1);
	raw_name(&a, 1, name);
}

static void publish_beyond(uint64_t id, uint64_t version, uint64_t allocated)
{
	struct mc_attr attr = raw_attr(id, version, 4096);

	attr.allocated = allocated;
	raw_publish_write(&a, MC_ROOT_ID, "x", 0, &attr);
}

static void body_id_beyond(void)
{
	publish_beyond(MC_OFFER_MAX + 1, 100, 4096);
}

static void body_version_beyond(void)
{
	publish_beyond(a.next_id, MC_OFFER_MAX + 1, 4096);
}

static void body_allocated_beyond(void)
{
	publish_beyond(a.next_id, 100, UINT64_MAX);
}

static void body_directory_beyond(void)
{
	raw_mkdir_write(&a, MC_ROOT_ID, "x", MC_OFFER_MAX + 1);
}

static void body_announced_beyond(void)
{
	struct mc_attr attr = raw_attr(a.next_id, MC_OFFER_MAX + 1, 4096);

	put_u16(&a.out, 1);
	put_string(&a.out, "x", 1);
	put_u8(&a.out, MC_REPLICA_PRIMARY);
	put_attr(&a.out, &attr);
}

static void body_memory_beyond(void)
{
	put_u64(&a.out, 1ull << 63);
	put_u64(&a.out, 0);
	put_u64(&a.out, 0);
}

static const struct {
	enum mc_verb verb;
	void (*write)(void);
} bodies[] = {
	{MC_VERB_LOOKUP, body_short},
	{MC_VERB_LOOKUP, body_long},
	{MC_VERB_LOOKUP, body_none},
	{MC_VERB_LOOKUP, body_many},
	{MC_VERB_LOOKUP, body_slash},
	{MC_VERB_LOOKUP, body_dots},
	{MC_VERB_LOOKUP, body_nul},
	{MC_VERB_REMOVE, body_second_bad},
	{MC_VERB_LOOKUP, body_long_name},
	{MC_VERB_STATFS, body_none},
	{MC_VERB_PUBLISH, body_short},
	{MC_VERB_HELLO, body_short},
	{MC_VERB_RENAME, body_short},
	{MC_VERB_SETATTR, body_short},
	{MC_VERB_SETXATTR, body_short},
	{MC_VERB_ANNOUNCE, body_short},
	{MC_VERB_REPLICA, body_short},
	{MC_VERB_MKDIR, body_short},
	{MC_VERB_PUBLISH, body_id_beyond},
	{MC_VERB_PUBLISH, body_version_beyond},
	{MC_VERB_PUBLISH, body_allocated_beyond},
	{MC_VERB_MKDIR, body_directory_beyond},
	{MC_VERB_ANNOUNCE, body_announced_beyond},
	{MC_VERB_HEARTBEAT, body_memory_beyond},
};

START_TEST(a_body_that_breaks_the_rules_is_answered_and_does_nothing)
{
	raw_put(&a, MC_ROOT_ID, "keep");
	bodies[_i].write();
	ck_assert_int_eq(raw_call(&a, bodies[_i].verb), MC_PROTOCOL);
	ck_assert_uint_eq(a.frame.size, 0);
	ck_assert_int_eq(raw_lookup(&a, MC_ROOT_ID, "keep").status, MC_OK);
}
END_TEST

/* An id that came with a directory is never drawn again. */
START_TEST(a_directory_may_have_an_id_that_was_not_handed_out)
{
	uint64_t next_id = a.next_id + (1u << 20); /* of the master */
	struct mc_attr attr = raw_attr(a.next_id++, 100, 4096);

	ck_assert_int_eq(raw_mkdir_id(&a, MC_ROOT_ID, "d", next_id, NULL), MC_OK);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "new/x", MC_PUBLISH_PARENTS, &attr), MC_OK);
	ck_assert_int_eq(raw_lookup(&a, MC_ROOT_ID, "new").status, MC_OK);
}
END_TEST

START_TEST(verbs_that_are_none_of_a_masters_are_answered)
{
	static const uint16_t verbs[] = {0, 39, MC_VERB_INVALIDATE, MC_VERB_PULL, 64, 65535};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		send_header(&a, MC_FRAME_MAGIC, MC_FRAME_VERSION, MC_FRAME_REQUEST, verbs[i], 0);
		ck_assert_int_eq(raw_reply(&a, a.request_id), MC_NOT_SUPPORTED);
	}
}
END_TEST

START_TEST(frames_may_come_in_pieces_and_many_at_once)
{
	struct writer w;
	uint8_t header[MC_FRAME_HEADER_SIZE];

	writer_init(&w);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct frame frame = {
			.verb = MC_VERB_LOOKUP, .size = 2 + 8 + 2 + 3, .request_id = i};
		frame_encode(header, &frame);
		put_bytes(&w, header, sizeof(header));
		put_u16(&w, 1);
		put_u64(&w, 1);
		put_string(&w, "key", 3);
	}
	size_t at = 0;
	for (size_t piece = 1; at < w.size; piece = piece * 3 / 2 + 1) {
		size_t size = piece < w.size - at ? piece : w.size - at;
		raw_write(&a, w.data + at, size);
		at += size;
		if (piece < 200)
			usleep(1000);
	}
	for (uint64_t i = 1; i <= 1000; i++)
		ck_assert_int_eq(raw_reply(&a, i), MC_OK);
	writer_fini(&w);
}
END_TEST

START_TEST(who_does_not_read_is_closed)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame frame = {.verb = MC_VERB_STATS, .request_id = 1};
	struct raw c;
	int sent = 0;

	raw_connect(&c, mc_master_socket(master));
	raw_hello(&c, MC_ROLE_CLIENT, "c", 0);
	frame_encode(header, &frame);
	while (sent < 1000000 && send(c.fd, header, sizeof(header), MSG_NOSIGNAL) > 0)
		sent++;
	ck_assert_int_lt(sent, 1000000);
	ck_assert_int_eq(raw_call(&a, MC_VERB_STATFS), MC_OK);
	raw_close(&c);
}
END_TEST

static unsigned seed;

static void seed_draw(void)
{
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
}

static void body_random(struct writer *w)
{
	int size = rand_r(&seed) % 200;

	for (int i = 0; i < size; i++)
		put_u8(w, (uint8_t)(rand_r(&seed) % (rand_r(&seed) % 2 ? 4 : 256)));
}

/* Well-formed bodies of several verbs, as the ground for mutations. */
static enum mc_verb body_valid(struct raw *raw)
{
	struct mc_attr attr = raw_attr(raw->next_id + (unsigned)rand_r(&seed) % 20, 5, 5);
	char name[3] = {'a', (char)('a' + rand_r(&seed) % 6), 0};

	switch (rand_r(&seed) % 9) {
	case 0:
		raw_publish_write(raw, 1, name, rand_r(&seed) % 4, &attr);
		return MC_VERB_PUBLISH;
	case 1:
		put_u16(&raw->out, 1);
		raw_name(raw, 1, name);
		return rand_r(&seed) % 2 ? MC_VERB_LOOKUP : MC_VERB_REMOVE;
	case 2:
		raw_mkdir_write(raw, 1, name, attr.id);
		return MC_VERB_MKDIR;
	case 3:
		raw_name(raw, 1, name);
		raw_name(raw, 1, "b");
		put_u32(&raw->out, 0);
		return MC_VERB_RENAME;
	case 4:
		put_u16(&raw->out, 1);
		put_string(&raw->out, name, 2);
		put_u8(&raw->out, 0);
		put_attr(&raw->out, &attr);
		return MC_VERB_ANNOUNCE;
	case 5:
		put_u64(&raw->out, 1);
		put_u64(&raw->out, 0);
		put_u32(&raw->out, 100);
		return MC_VERB_LIST;
	case 6:
		put_u64(&raw->out, attr.id);
		put_u32(&raw->out, 1);
		put_attr(&raw->out, &attr);
		return MC_VERB_SETATTR;
	case 7:
		put_u64(&raw->out, attr.id);
		put_string(&raw->out, name, 2);
		put_u32(&raw->out, 0);
		put_string(&raw->out, name, 2);
		return MC_VERB_SETXATTR;
	default:
		put_u16(&raw->out, 1);
		put_u8(&raw->out, rand_r(&seed) % 2);
		put_u64(&raw->out, attr.id);
		put_u64(&raw->out, 5);
		put_u8(&raw->out, 0);
		return MC_VERB_REPLICA;
	}
}

static void mutate(struct writer *w)
{
	int count = rand_r(&seed) % 4;

	for (int i = 0; i < count && w->size; i++) {
		size_t at = (size_t)rand_r(&seed) % w->size;
		switch (rand_r(&seed) % 3) {
		case 0:
			w->data[at] ^= (uint8_t)(1 << rand_r(&seed) % 8);
			break;
		case 1:
			w->size = at;
			break;
		default:
			put_u8(w, (uint8_t)rand_r(&seed));
		}
	}
}

START_TEST(random_and_mutated_bodies_are_all_answered)
{
	seed_draw();
	for (int i = 0; i < 30000; i++) {
		enum mc_verb verb;
		if (i % 4 == 0) {
			verb = (enum mc_verb)(1 + rand_r(&seed) % 70);
			body_random(&a.out);
		} else {
			verb = body_valid(&a);
			mutate(&a.out);
		}
		raw_call(&a, verb);
		raw_forget_pushes(&a);
	}
	ck_assert_int_eq(raw_call(&a, MC_VERB_STATFS), MC_OK);
}
END_TEST

START_TEST(random_bytes_end_a_connection_and_nothing_else)
{
	seed_draw();
	for (int i = 0; i < 300; i++) {
		uint8_t bytes[512];
		struct raw c;
		raw_connect(&c, mc_master_socket(master));
		struct frame frame = {.verb = 1, .size = (uint32_t)rand_r(&seed) % 100};
		frame_encode(bytes, &frame);
		for (size_t at = 0; at < sizeof(bytes); at++) {
			if (at >= MC_FRAME_HEADER_SIZE || rand_r(&seed) % 16 == 0)
				bytes[at] = (uint8_t)rand_r(&seed);
		}
		send(c.fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
		raw_close(&c);
	}
	ck_assert_int_eq(raw_call(&a, MC_VERB_STATFS), MC_OK);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_header_that_breaks_v1_closes_the_connection, 0,
			    sizeof(headers) / sizeof(headers[0]));
	tcase_add_test(tc, hello_comes_first);
	tcase_add_loop_test(tc, a_body_that_breaks_the_rules_is_answered_and_does_nothing, 0,
			    sizeof(bodies) / sizeof(bodies[0]));
	tcase_add_test(tc, a_directory_may_have_an_id_that_was_not_handed_out);
	tcase_add_test(tc, verbs_that_are_none_of_a_masters_are_answered);
	tcase_add_test(tc, frames_may_come_in_pieces_and_many_at_once);
	tcase_add_test(tc, who_does_not_read_is_closed);
	tcase_add_test(tc, random_and_mutated_bodies_are_all_answered);
	tcase_add_test(tc, random_bytes_end_a_connection_and_nothing_else);
}

int main(void)
{
	return raw_run("frames", add, setup, teardown);
}
