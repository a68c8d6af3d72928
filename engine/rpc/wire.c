#include "engine/rpc/wire.h"

#include <string.h>

static const char *const verb_names[MC_VERB_LIMIT] = {
	[MC_VERB_HELLO] = "hello",
	[MC_VERB_HEARTBEAT] = "heartbeat",
	[MC_VERB_LOOKUP] = "lookup",
	[MC_VERB_LOOKUP_PATH] = "lookup_path",
	[MC_VERB_PUBLISH] = "publish",
	[MC_VERB_REMOVE] = "remove",
	[MC_VERB_RENAME] = "rename",
	[MC_VERB_MKDIR] = "mkdir",
	[MC_VERB_RMDIR] = "rmdir",
	[MC_VERB_LIST] = "list",
	[MC_VERB_SETATTR] = "setattr",
	[MC_VERB_STATFS] = "statfs",
	[MC_VERB_REPLICA] = "replica",
	[MC_VERB_ANNOUNCE] = "announce",
	[MC_VERB_ANNOUNCED] = "announced",
	[MC_VERB_RESERVE] = "reserve",
	[MC_VERB_UNRESERVE] = "unreserve",
	[MC_VERB_GRANT_IDS] = "grant_ids",
	[MC_VERB_NODES] = "nodes",
	[MC_VERB_STATS] = "stats",
	[MC_VERB_PATH] = "path",
	[MC_VERB_SETXATTR] = "setxattr",
	[MC_VERB_GETXATTRS] = "getxattrs",
	[MC_VERB_REMOVEXATTR] = "removexattr",
	[MC_VERB_RECALLED] = "recalled",
	[MC_VERB_INVALIDATE] = "invalidate",
	[MC_VERB_DROP] = "drop",
	[MC_VERB_RECALL] = "recall",
	[MC_VERB_EXISTS] = "exists",
	[MC_VERB_STEP_DOWN] = "step_down",
	[MC_VERB_SUCCEEDED] = "succeeded",
	[MC_VERB_POLICY_SET] = "policy_set",
	[MC_VERB_POLICY] = "policy",
	[MC_VERB_POLICIES] = "policies",
	[MC_VERB_AWAIT] = "await",
	[MC_VERB_NODE_SET] = "node_set",
	[MC_VERB_DRAIN] = "drain",
	[MC_VERB_REPLICATE] = "replicate",
	[MC_VERB_KIND] = "kind",
	[MC_VERB_PULL] = "pull",
	[MC_VERB_POLICY_UNSET] = "policy_unset",
	[MC_VERB_RELEASE] = "release",
	[MC_VERB_SHELF] = "shelf",
};

const char *mc_verb_name(unsigned verb)
{
	if (verb < MC_VERB_LIMIT && verb_names[verb])
		return verb_names[verb];
	return "unknown";
}

void frame_encode(uint8_t header[MC_FRAME_HEADER_SIZE], const struct frame *frame)
{
	store_u16(header, MC_FRAME_MAGIC);
	header[2] = MC_FRAME_VERSION;
	header[3] = frame->kind;
	store_u16(header + 4, frame->verb);
	store_u16(header + 6, frame->kind == MC_FRAME_REQUEST ? frame->age_s
							      : (uint16_t)(int16_t)frame->status);
	store_u32(header + 8, frame->size);
	store_u32(header + 12, frame->epoch);
	store_u64(header + 16, frame->request_id);
}

/* A foreign number becomes a member of the list, or MC_PROTOCOL. */
static enum mc_status status_from_wire(uint16_t value)
{
	int number = (int16_t)value;

	if (number == 0)
		return MC_OK;
	if (number > 0 || strcmp(mc_status_text((enum mc_status)number), "unknown status") == 0)
		return MC_PROTOCOL;
	return (enum mc_status)number;
}

enum mc_status frame_decode(const uint8_t header[MC_FRAME_HEADER_SIZE], struct frame *frame)
{
	if (load_u16(header) != MC_FRAME_MAGIC || header[2] != MC_FRAME_VERSION)
		return MC_PROTOCOL;
	if (header[3] > MC_FRAME_PUSH || load_u32(header + 8) > MC_BODY_SIZE_MAX)
		return MC_PROTOCOL;
	frame->kind = header[3];
	frame->verb = load_u16(header + 4);
	bool request = frame->kind == MC_FRAME_REQUEST;
	frame->status = request ? MC_OK : status_from_wire(load_u16(header + 6));
	frame->age_s = request ? load_u16(header + 6) : 0;
	frame->size = load_u32(header + 8);
	frame->epoch = load_u32(header + 12);
	frame->request_id = load_u64(header + 16);
	return MC_OK;
}

size_t frame_begin(struct writer *w)
{
	size_t begin = w->size;

	writer_reserve(w, MC_FRAME_HEADER_SIZE);
	return begin;
}

void frame_finish(struct writer *w, size_t begin, const struct frame *frame)
{
	if (w->failed)
		return;
	struct frame whole = *frame;
	whole.size = (uint32_t)(w->size - begin - MC_FRAME_HEADER_SIZE);
	if (whole.size > MC_BODY_SIZE_MAX) {
		w->failed = true;
		return;
	}
	frame_encode(w->data + begin, &whole);
}

void put_status(struct writer *w, enum mc_status status)
{
	put_u16(w, (uint16_t)(int16_t)status);
}

enum mc_status get_status(struct reader *r)
{
	return status_from_wire(get_u16(r));
}

void put_time(struct writer *w, struct mc_time time)
{
	put_u64(w, (uint64_t)time.s);
	put_u32(w, time.ns);
}

struct mc_time get_time(struct reader *r)
{
	struct mc_time time;

	time.s = (int64_t)get_u64(r);
	time.ns = get_u32(r);
	if (time.ns >= 1000000000)
		r->failed = true;
	return time;
}

void put_attr(struct writer *w, const struct mc_attr *attr)
{
	put_u64(w, attr->id);
	put_u64(w, attr->version);
	put_u64(w, attr->size);
	put_u64(w, attr->allocated);
	put_u32(w, attr->mode);
	put_u32(w, attr->uid);
	put_u32(w, attr->gid);
	put_u32(w, attr->nlink);
	put_u32(w, attr->flags);
	put_time(w, attr->atime);
	put_time(w, attr->mtime);
	put_time(w, attr->ctime);
}

void get_attr(struct reader *r, struct mc_attr *attr)
{
	attr->id = get_u64(r);
	attr->version = get_u64(r);
	attr->size = get_u64(r);
	attr->allocated = get_u64(r);
	attr->mode = get_u32(r);
	attr->uid = get_u32(r);
	attr->gid = get_u32(r);
	attr->nlink = get_u32(r);
	attr->flags = get_u32(r);
	attr->atime = get_time(r);
	attr->mtime = get_time(r);
	attr->ctime = get_time(r);
	if (attr->size > MC_OBJECT_SIZE_MAX || attr->allocated > MC_OBJECT_SIZE_MAX ||
	    attr->id > MC_ID_MAX || attr->version > MC_ID_MAX)
		r->failed = true;
}

void put_entry(struct writer *w, const struct mc_entry *entry)
{
	put_attr(w, &entry->attr);
	put_u8(w, (uint8_t)entry->replica_count);
	for (uint32_t i = 0; i < entry->replica_count; i++) {
		put_u32(w, entry->replicas[i].node);
		put_u8(w, entry->replicas[i].kind);
	}
}

void get_entry(struct reader *r, struct mc_entry *entry)
{
	get_attr(r, &entry->attr);
	entry->replica_count = get_u8(r);
	if (entry->replica_count > MC_REPLICA_MAX) {
		entry->replica_count = 0;
		r->failed = true;
	}
	for (uint32_t i = 0; i < entry->replica_count; i++) {
		entry->replicas[i].node = get_u32(r);
		entry->replicas[i].kind = get_u8(r);
	}
}

void put_node(struct writer *w, const struct mc_node *node)
{
	put_u32(w, node->id);
	put_u8(w, (uint8_t)(node->alive | node->draining << 1 | node->guest << 2));
	put_bytes(w, node->uuid, sizeof(node->uuid));
	put_u64(w, node->capacity);
	put_u64(w, node->used);
	put_u64(w, node->objects);
	put_u32(w, node->silent_ms);
	put_string(w, node->name, strlen(node->name));
	put_string(w, node->host, strlen(node->host));
	put_u8(w, (uint8_t)node->endpoint_count);
	for (uint32_t i = 0; i < node->endpoint_count; i++)
		put_string(w, node->endpoints[i], strlen(node->endpoints[i]));
}

void get_node(struct reader *r, struct mc_node *node)
{
	node->id = get_u32(r);
	uint8_t state = get_u8(r);
	node->alive = state & 1u;
	node->draining = state & 2u;
	node->guest = state & 4u;
	const void *uuid = get_bytes(r, sizeof(node->uuid));
	if (uuid)
		memcpy(node->uuid, uuid, sizeof(node->uuid));
	node->capacity = get_u64(r);
	node->used = get_u64(r);
	node->objects = get_u64(r);
	node->silent_ms = get_u32(r);
	get_text(r, node->name, sizeof(node->name));
	get_text(r, node->host, sizeof(node->host));
	node->endpoint_count = get_u8(r);
	if (node->endpoint_count > MC_ENDPOINT_MAX) {
		node->endpoint_count = 0;
		r->failed = true;
	}
	for (uint32_t i = 0; i < node->endpoint_count; i++)
		get_text(r, node->endpoints[i], sizeof(node->endpoints[i]));
}

void put_placement(struct writer *w, const struct mc_placement *placement)
{
	put_u8(w, placement->replicas);
	put_u8(w, placement->ack);
	put_u8(w, placement->pin);
	put_u8(w, placement->preferred_count);
	for (unsigned i = 0; i < placement->preferred_count; i++)
		put_string(w, placement->preferred[i], strlen(placement->preferred[i]));
}

void get_placement(struct reader *r, struct mc_placement *placement)
{
	placement->replicas = get_u8(r);
	placement->ack = get_u8(r);
	placement->pin = get_u8(r);
	placement->preferred_count = get_u8(r);
	if (placement->replicas > MC_REPLICA_MAX || placement->ack > MC_REPLICA_MAX ||
	    placement->pin > MC_PIN_ON || placement->preferred_count > MC_REPLICA_MAX) {
		placement->preferred_count = 0;
		r->failed = true;
	}
	for (unsigned i = 0; i < placement->preferred_count; i++)
		get_text(r, placement->preferred[i], sizeof(placement->preferred[i]));
}

void get_text(struct reader *r, char *text, size_t size)
{
	size_t length;
	const char *bytes = get_string(r, &length);

	text[0] = '\0';
	if (!bytes)
		return;
	if (length >= size || memchr(bytes, '\0', length)) {
		r->failed = true;
		return;
	}
	memcpy(text, bytes, length);
	text[length] = '\0';
}

const char *get_name(struct reader *r, size_t *size)
{
	const char *name = get_string(r, size);

	if (name && !mc_name_valid(name, *size))
		r->failed = true;
	return r->failed ? NULL : name;
}

uint16_t get_count(struct reader *r)
{
	uint16_t count = get_u16(r);

	if (count == 0 || count > MC_BATCH_MAX) {
		r->failed = true;
		return 0;
	}
	return count;
}
