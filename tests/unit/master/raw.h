/*
 * tests/unit/master/raw.h -- a client that sends and receives single frames
 *
 * Blocking, with a deadline of raw_timeout_ms on every receive; failures fail
 * the test at once.
 */
#ifndef TESTS_UNIT_MASTER_RAW_H
#define TESTS_UNIT_MASTER_RAW_H

#include <check.h>
#include <errno.h>
#include <mooncake/master.h>
#include <mooncake/protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/rpc/wire.h"

#define RAW_PUSH_MAX 4096

static int raw_timeout_ms = 5000;

struct raw {
	int fd;
	uint64_t request_id;
	uint16_t age_s; /* said of what is sent */
	uint32_t session;
	uint32_t node;
	uint64_t cluster;
	uint64_t next_id;
	uint32_t epoch;
	struct writer out; /* body of the request being made */
	/* the reply received last */
	struct frame frame;
	uint8_t *body;
	struct reader in;
	/* pushes that came while waiting for replies */
	struct {
		uint16_t verb;
		uint32_t size;
		uint8_t *body;
	} pushes[RAW_PUSH_MAX];
	int push_count;
};

static inline void raw_connect(struct raw *raw, const char *address)
{
	struct net_address peer;
	struct timeval timeout = {raw_timeout_ms / 1000, raw_timeout_ms % 1000 * 1000};

	*raw = (struct raw){.fd = -1};
	ck_assert_int_eq(getrandom(&raw->request_id, sizeof(raw->request_id), 0),
			 sizeof(raw->request_id));
	writer_init(&raw->out);
	ck_assert_int_eq(net_resolve(address, &peer), MC_OK);
	ck_assert_int_eq(net_connect(&peer, 3000, &raw->fd), MC_OK);
	setsockopt(raw->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

static inline void raw_forget_pushes(struct raw *raw)
{
	while (raw->push_count > 0)
		free(raw->pushes[--raw->push_count].body);
}

static inline void raw_close(struct raw *raw)
{
	raw_forget_pushes(raw);
	if (raw->fd >= 0)
		close(raw->fd);
	raw->fd = -1;
	free(raw->body);
	raw->body = NULL;
	writer_fini(&raw->out);
}

static inline void raw_write(struct raw *raw, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(raw->fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Send the body gathered in raw->out; returns the request's id. */
static inline uint64_t raw_send(struct raw *raw, enum mc_verb verb)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];
	struct frame frame = {.verb = (uint16_t)verb,
			      .size = (uint32_t)raw->out.size,
			      .request_id = ++raw->request_id,
			      .age_s = raw->age_s};

	ck_assert(!raw->out.failed);
	frame_encode(header, &frame);
	raw_write(raw, header, sizeof(header));
	if (raw->out.size)
		raw_write(raw, raw->out.data, raw->out.size);
	writer_reset(&raw->out);
	return raw->request_id;
}

/* False: end of the connection, or nothing came in time. */
static inline bool raw_fill(struct raw *raw, void *bytes, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = recv(raw->fd, (uint8_t *)bytes + got, size - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

/* Receive one frame into raw->frame and raw->in. */
static inline bool raw_receive(struct raw *raw)
{
	uint8_t header[MC_FRAME_HEADER_SIZE];

	if (!raw_fill(raw, header, sizeof(header)))
		return false;
	ck_assert_int_eq(frame_decode(header, &raw->frame), MC_OK);
	free(raw->body);
	raw->body = malloc(raw->frame.size + 1);
	ck_assert(raw_fill(raw, raw->body, raw->frame.size));
	reader_init(&raw->in, raw->body, raw->frame.size);
	return true;
}

static inline void raw_keep_push(struct raw *raw)
{
	ck_assert_int_lt(raw->push_count, RAW_PUSH_MAX);
	raw->pushes[raw->push_count].verb = raw->frame.verb;
	raw->pushes[raw->push_count].size = raw->frame.size;
	raw->pushes[raw->push_count++].body = raw->body;
	raw->body = NULL;
}

/* Wait for the reply to a request; pushes before it are kept. */
static inline enum mc_status raw_reply(struct raw *raw, uint64_t request_id)
{
	while (true) {
		ck_assert_msg(raw_receive(raw), "no reply: %s", strerror(errno));
		if (raw->frame.kind == MC_FRAME_PUSH) {
			raw_keep_push(raw);
			continue;
		}
		ck_assert_int_eq(raw->frame.kind, MC_FRAME_REPLY);
		ck_assert_uint_eq(raw->frame.request_id, request_id);
		return raw->frame.status;
	}
}

static inline enum mc_status raw_call(struct raw *raw, enum mc_verb verb)
{
	return raw_reply(raw, raw_send(raw, verb));
}

/* Wait for a push of a verb; its body is in raw->in. */
static inline bool raw_push(struct raw *raw, enum mc_verb verb)
{
	for (int i = 0; i < raw->push_count; i++) {
		if (raw->pushes[i].verb != verb)
			continue;
		free(raw->body);
		raw->body = raw->pushes[i].body;
		reader_init(&raw->in, raw->body, raw->pushes[i].size);
		memmove(&raw->pushes[i], &raw->pushes[i + 1],
			(size_t)(--raw->push_count - i) * sizeof(raw->pushes[0]));
		return true;
	}
	while (raw_receive(raw)) {
		ck_assert_int_eq(raw->frame.kind, MC_FRAME_PUSH);
		if (raw->frame.verb == verb)
			return true;
	}
	return false;
}

/* Nothing comes for a while. */
static inline bool raw_quiet(struct raw *raw, int ms)
{
	struct timeval timeout = {ms / 1000, ms % 1000 * 1000};
	struct timeval usual = {raw_timeout_ms / 1000, raw_timeout_ms % 1000 * 1000};
	char byte;

	setsockopt(raw->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	ssize_t got = recv(raw->fd, &byte, 1, MSG_PEEK);
	bool quiet = got < 0 && errno == EAGAIN;
	setsockopt(raw->fd, SOL_SOCKET, SO_RCVTIMEO, &usual, sizeof(usual));
	return quiet;
}

static inline void raw_hello_write(struct raw *raw, enum mc_role role, const char *name,
				   uint8_t uuid)
{
	uint8_t bytes[16] = {uuid};

	put_u8(&raw->out, (uint8_t)role);
	put_bytes(&raw->out, bytes, sizeof(bytes));
	put_string(&raw->out, name, strlen(name));
	put_string(&raw->out, "host", 4);
	put_u64(&raw->out, 1 << 30);
	put_u64(&raw->out, 0);
	put_u8(&raw->out, 1);
	put_string(&raw->out, "tcp:127.0.0.1:1", 15);
}

static inline void raw_hello(struct raw *raw, enum mc_role role, const char *name, uint8_t uuid)
{
	raw_hello_write(raw, role, name, uuid);
	ck_assert_int_eq(raw_call(raw, MC_VERB_HELLO), MC_OK);
	raw->session = get_u32(&raw->in);
	raw->node = get_u32(&raw->in);
	raw->cluster = get_u64(&raw->in);
	raw->next_id = get_u64(&raw->in);
	raw->epoch = raw->frame.epoch;
	ck_assert_uint_ge(get_u32(&raw->in), 1000);
}

/* A node's session. */
static inline void raw_node(struct raw *raw, const char *address, uint8_t uuid)
{
	raw_connect(raw, address);
	raw_hello(raw, MC_ROLE_NODE, "node", uuid);
}

static inline void raw_name(struct raw *raw, uint64_t parent, const char *name)
{
	put_u64(&raw->out, parent);
	put_string(&raw->out, name, strlen(name));
}

struct raw_found {
	enum mc_status status;
	struct mc_entry entry;
	bool granted;
	uint32_t grant_count;
	uint64_t grant_first; /* the first hash */
};

static inline struct raw_found raw_lookup(struct raw *raw, uint64_t parent, const char *name)
{
	struct raw_found found = {0};

	put_u16(&raw->out, 1);
	raw_name(raw, parent, name);
	ck_assert_int_eq(raw_call(raw, MC_VERB_LOOKUP), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 1);
	found.status = get_status(&raw->in);
	if (found.status == MC_OK)
		get_entry(&raw->in, &found.entry);
	if (found.status == MC_NOT_FOUND && get_u8(&raw->in)) {
		found.granted = true;
		found.grant_count = get_u32(&raw->in);
		for (uint32_t i = 0; i < found.grant_count; i++) {
			uint64_t hash = get_u64(&raw->in);
			found.grant_first = i ? found.grant_first : hash;
		}
	}
	ck_assert(reader_done(&raw->in));
	return found;
}

static inline struct mc_attr raw_attr(uint64_t id, uint64_t version, uint64_t size)
{
	return (struct mc_attr){.id = id,
				.version = version,
				.size = size,
				.allocated = size,
				.mode = S_IFREG | 0644,
				.nlink = 1,
				.mtime = {1000, 1},
				.atime = {1000, 2},
				.ctime = {1000, 3}};
}

static inline void raw_publish_write(struct raw *raw, uint64_t parent, const char *name,
				     uint32_t flags, const struct mc_attr *attr)
{
	put_u16(&raw->out, 1);
	raw_name(raw, parent, name);
	put_u32(&raw->out, flags);
	put_attr(&raw->out, attr);
}

/* The answer to a batch of one; attr as recorded when it is MC_OK. */
static inline enum mc_status raw_one_attr(struct raw *raw, struct mc_attr *attr)
{
	struct mc_attr ignored;

	ck_assert_uint_eq(get_u16(&raw->in), 1);
	enum mc_status status = get_status(&raw->in);
	if (status == MC_OK)
		get_attr(&raw->in, attr ? attr : &ignored);
	ck_assert(reader_done(&raw->in));
	return status;
}

static inline enum mc_status raw_publish(struct raw *raw, uint64_t parent, const char *name,
					 uint32_t flags, struct mc_attr *attr)
{
	raw_publish_write(raw, parent, name, flags, attr);
	ck_assert_int_eq(raw_call(raw, MC_VERB_PUBLISH), MC_OK);
	return raw_one_attr(raw, attr);
}

/* Publish under a fresh id; returns it. */
static inline uint64_t raw_put(struct raw *raw, uint64_t parent, const char *name)
{
	struct mc_attr attr = raw_attr(raw->next_id++, 100, 4096);

	ck_assert_int_eq(raw_publish(raw, parent, name, 0, &attr), MC_OK);
	return attr.id;
}

/* id: of what went. */
static inline enum mc_status raw_remove_id(struct raw *raw, uint64_t parent, const char *name,
					   uint64_t *id)
{
	put_u16(&raw->out, 1);
	raw_name(raw, parent, name);
	ck_assert_int_eq(raw_call(raw, MC_VERB_REMOVE), MC_OK);
	ck_assert_uint_eq(get_u16(&raw->in), 1);
	enum mc_status status = get_status(&raw->in);
	if (status == MC_OK)
		*id = get_u64(&raw->in);
	ck_assert(reader_done(&raw->in));
	return status;
}

static inline enum mc_status raw_remove(struct raw *raw, uint64_t parent, const char *name)
{
	uint64_t id;

	return raw_remove_id(raw, parent, name, &id);
}

static inline void raw_mkdir_write(struct raw *raw, uint64_t parent, const char *name, uint64_t id)
{
	raw_name(raw, parent, name);
	put_u64(&raw->out, id);
	put_u32(&raw->out, 0755);
	put_u32(&raw->out, 7);
	put_u32(&raw->out, 8);
}

static inline enum mc_status raw_mkdir_id(struct raw *raw, uint64_t parent, const char *name,
					  uint64_t id, bool *granted)
{
	struct mc_attr attr;

	raw_mkdir_write(raw, parent, name, id);
	enum mc_status status = raw_call(raw, MC_VERB_MKDIR);
	if (status != MC_OK)
		return status;
	get_attr(&raw->in, &attr);
	ck_assert_uint_eq(attr.id, id);
	bool given = get_u8(&raw->in);
	if (given)
		ck_assert_uint_eq(get_u32(&raw->in), 0);
	if (granted)
		*granted = given;
	ck_assert(reader_done(&raw->in));
	return MC_OK;
}

static inline uint64_t raw_mkdir(struct raw *raw, uint64_t parent, const char *name)
{
	uint64_t id = raw->next_id++;

	ck_assert_int_eq(raw_mkdir_id(raw, parent, name, id, NULL), MC_OK);
	return id;
}

static inline enum mc_status raw_rmdir(struct raw *raw, uint64_t parent, const char *name)
{
	raw_name(raw, parent, name);
	return raw_call(raw, MC_VERB_RMDIR);
}

static inline enum mc_status raw_rename(struct raw *raw, uint64_t parent, const char *name,
					uint64_t new_parent, const char *new_name, uint32_t flags)
{
	raw_name(raw, parent, name);
	raw_name(raw, new_parent, new_name);
	put_u32(&raw->out, flags);
	return raw_call(raw, MC_VERB_RENAME);
}

static inline struct mc_attr raw_stat(struct raw *raw, const char *path)
{
	struct mc_entry entry = {0};

	put_u16(&raw->out, 1);
	put_string(&raw->out, path, strlen(path));
	ck_assert_int_eq(raw_call(raw, MC_VERB_LOOKUP_PATH), MC_OK);
	get_u16(&raw->in);
	ck_assert_int_eq(get_status(&raw->in), MC_OK);
	get_u64(&raw->in);
	get_entry(&raw->in, &entry);
	ck_assert(reader_done(&raw->in));
	return entry.attr;
}

/* The value of a line of STATS. */
static inline uint64_t raw_stat_value(struct raw *raw, const char *name)
{
	char text[65536];
	char wanted[80];

	ck_assert_int_eq(raw_call(raw, MC_VERB_STATS), MC_OK);
	get_text(&raw->in, text, sizeof(text));
	ck_assert(reader_done(&raw->in));
	snprintf(wanted, sizeof(wanted), "\n%s ", name);
	const char *line = strstr(text, wanted);
	return line ? strtoull(line + strlen(wanted), NULL, 10) : 0;
}

/* A master in this process, without a file. */
static inline struct mc_master *raw_master(const char *journal, uint32_t ttl_ms)
{
	struct mc_master_config config = {.listen = "127.0.0.1:0",
					  .socket = "auto",
					  .journal = journal,
					  .journal_sync = "never",
					  .heartbeat_ms = 20,
					  .ttl_ms = ttl_ms,
					  .fresh = true};
	struct mc_master *master = NULL;

	/* Set once: a master that runs already reads it. */
	if (log_level_now != LOG_LEVEL_ERROR)
		log_set_level("error");
	ck_assert_int_eq(mc_master_start(&config, &master), MC_OK);
	return master;
}

static inline int raw_run(const char *name, void (*add)(TCase *tc), void (*setup)(void),
			  void (*teardown)(void))
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	if (setup)
		tcase_add_checked_fixture(tc, setup, teardown);
	add(tc);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
