/*
 * master/service.h -- from a request's bytes to its answer
 *
 * Each verb is a row: how to read one item of it, whether the item must wait
 * for a grant to be recalled, and what it does.  A body is read twice: once
 * whole, so that a malformed or a waiting request has no effect at all, then
 * item by item, each of which is applied by itself.
 *
 * Threads   The master's.
 */
#ifndef MASTER_SERVICE_H
#define MASTER_SERVICE_H

#include "engine/rpc/wire.h"
#include "master/state.h"

/* One item of any verb; what a verb does not say stays zero. */
struct item {
	uint64_t parent;
	const char *name;
	size_t name_size;
	uint64_t new_parent;
	const char *new_name;
	size_t new_name_size;
	uint64_t id;
	uint64_t version;
	uint64_t cursor;
	uint32_t flags;
	uint32_t mask;
	uint32_t count_max;
	uint8_t op;
	uint8_t kind;
	struct mc_attr attr;
	struct mc_node node;
	const char *value;
	size_t value_size;
};

struct call {
	struct mc_master *master;
	struct session *session;
	struct writer *w; /* the reply's body goes here */
};

struct verb_row {
	void (*read)(struct reader *r, struct item *item);
	/* False: a grant is being recalled first.  NULL: adds no names. */
	bool (*clear)(struct call *call, const struct item *item);
	/* Write the result; what was written is taken back for an error that has none. */
	enum mc_status (*apply)(struct call *call, const struct item *item);
	bool batched;
	bool changes;	       /* refused while the journal can't be written */
	bool early;	       /* allowed before HELLO */
	bool misses_have_body; /* MC_NOT_FOUND comes with a result */
};

/* The rows; without apply: not a verb for a master. */
extern const struct verb_row service_rows[MC_VERB_LIMIT];

/* members.c */
void hello_read(struct reader *r, struct item *item);
enum mc_status hello_apply(struct call *call, const struct item *item);
void heartbeat_read(struct reader *r, struct item *item);
enum mc_status heartbeat_apply(struct call *call, const struct item *item);
enum mc_status grant_ids_apply(struct call *call, const struct item *item);
enum mc_status nodes_apply(struct call *call, const struct item *item);
enum mc_status statfs_apply(struct call *call, const struct item *item);
enum mc_status stats_apply(struct call *call, const struct item *item);
enum mc_status recalled_apply(struct call *call, const struct item *item);
void nodes_write(struct mc_master *master, struct writer *w);

/* names.c */
enum mc_status lookup_apply(struct call *call, const struct item *item);
enum mc_status lookup_path_apply(struct call *call, const struct item *item);
void list_read(struct reader *r, struct item *item);
enum mc_status list_apply(struct call *call, const struct item *item);
enum mc_status path_apply(struct call *call, const struct item *item);

/* publish.c */
void publish_read(struct reader *r, struct item *item);
bool publish_clear(struct call *call, const struct item *item);
enum mc_status publish_apply(struct call *call, const struct item *item);
void announce_read(struct reader *r, struct item *item);
bool announce_clear(struct call *call, const struct item *item);
enum mc_status announce_apply(struct call *call, const struct item *item);
enum mc_status announced_apply(struct call *call, const struct item *item);

/* changes.c */
enum mc_status remove_apply(struct call *call, const struct item *item);
void rename_read(struct reader *r, struct item *item);
bool rename_clear(struct call *call, const struct item *item);
enum mc_status rename_apply(struct call *call, const struct item *item);
void mkdir_read(struct reader *r, struct item *item);
bool mkdir_clear(struct call *call, const struct item *item);
enum mc_status mkdir_apply(struct call *call, const struct item *item);
enum mc_status rmdir_apply(struct call *call, const struct item *item);
void reserve_read(struct reader *r, struct item *item);
enum mc_status reserve_apply(struct call *call, const struct item *item);
enum mc_status unreserve_apply(struct call *call, const struct item *item);

/* attributes.c */
void setattr_read(struct reader *r, struct item *item);
enum mc_status setattr_apply(struct call *call, const struct item *item);
void setxattr_read(struct reader *r, struct item *item);
enum mc_status setxattr_apply(struct call *call, const struct item *item);
enum mc_status getxattrs_apply(struct call *call, const struct item *item);
void removexattr_read(struct reader *r, struct item *item);
enum mc_status removexattr_apply(struct call *call, const struct item *item);

/* replicas.c */
void replica_read(struct reader *r, struct item *item);
enum mc_status replica_apply(struct call *call, const struct item *item);

#endif
