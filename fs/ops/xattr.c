#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/fs.h"

#define XATTR_OURS "user.mooncake."
#define XATTR_USER "user."

struct xattr_call {
	fuse_req_t req;
	size_t size; /* the caller's room; 0: how much would it be */
};

static void reply_value(fuse_req_t req, const void *value, size_t value_size, size_t room)
{
	if (room == 0)
		fuse_reply_xattr(req, value_size);
	else if (value_size > room)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, value_size);
}

static void value_done(void *context, enum mc_status status, const void *value, size_t size)
{
	struct xattr_call *call = context;

	if (status)
		reply_status(call->req, status);
	else
		reply_value(call->req, value, size, call->size);
	free(call);
}

/* -- user.mooncake.*: what we know of an object -- */

/* What is told of an object, taken under the lock. */
struct object_look {
	struct mc_attr attr;
	uint32_t flags;
};

static char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *text_of(const char *format, ...)
{
	char *text;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text;
}

/* As it stands now: size and version of what is open for writing change without a request. */
static struct object_look look(fuse_req_t req, struct object *object)
{
	struct node *node = fs_of(req)->node;

	node_lock(node);
	node_sync_locked(node, object);
	struct object_look seen = {.attr = object->attr, .flags = object->flags};
	node_unlock(node);
	return seen;
}

static char *value_version(fuse_req_t req, struct object *object)
{
	return text_of("%" PRIu64, look(req, object).attr.version);
}

static char *value_replicas(fuse_req_t req, struct object *object)
{
	char location[1024];
	unsigned count = 0;
	uint32_t flags = look(req, object).flags;

	if (flags & OBJECT_DIRECTORY)
		return NULL;
	if (flags & OBJECT_PUBLISHED)
		node_location(fs_of(req)->node, object, location, sizeof(location));
	else
		location[0] = '\0';
	for (const char *at = location; *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : "")
		count++;
	return text_of("%u", count);
}

static char *value_location(fuse_req_t req, struct object *object)
{
	char location[1024];

	node_location(fs_of(req)->node, object, location, sizeof(location));
	return text_of("%s", location);
}

static char *value_size(fuse_req_t req, struct object *object)
{
	return text_of("%" PRIu64, look(req, object).attr.size);
}

static char *value_pinned(fuse_req_t req, struct object *object)
{
	return text_of("%u", look(req, object).attr.flags & MC_ATTR_PINNED ? 1u : 0u);
}

static char *value_id(fuse_req_t req, struct object *object)
{
	(void)req;
	return text_of("%" PRIx64, object->attr.id);
}

static char *value_stats(fuse_req_t req, struct object *object)
{
	(void)object;
	return fs_stats(fs_of(req));
}

static char *value_status(fuse_req_t req, struct object *object)
{
	(void)object;
	return fs_status(req);
}

static const struct {
	const char *name;
	bool root; /* of the mount's root only */
	char *(*value)(fuse_req_t req, struct object *object);
} ours[] = {
	{"version", false, value_version},   {"replicas", false, value_replicas},
	{"location", false, value_location}, {"size", false, value_size},
	{"pinned", false, value_pinned},     {"id", false, value_id},
	{"stats", true, value_stats},	     {"status", true, value_status},
};

/* The text of one of our attributes, the caller frees; NULL: no such one here. */
static char *our_value(fuse_req_t req, struct object *object, const char *name)
{
	bool root = object->attr.id == MC_ROOT_ID;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (ours[i].root == root && strcmp(ours[i].name, name) == 0)
			return ours[i].value(req, object);
	}
	return NULL;
}

/* What a put may say of its copies, as attributes of the draft. */
static bool said_of_put(const char *name)
{
	return strcmp(name, XATTR_OURS "ack") == 0 || strcmp(name, XATTR_OURS "preferred") == 0;
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fs_of(req);

	count_request(fs, FS_GETXATTR);
	if (strncmp(name, XATTR_USER, strlen(XATTR_USER)) != 0) {
		fuse_reply_err(req, ENODATA); /* the kernel asks for capabilities at each write */
		return;
	}
	struct object *object = inode_object(fs, ino);
	if (!object) {
		reply_status(req, MC_STALE);
		return;
	}
	if (strncmp(name, XATTR_OURS, strlen(XATTR_OURS)) == 0 && !said_of_put(name)) {
		char *text = our_value(req, object, name + strlen(XATTR_OURS));
		if (text)
			reply_value(req, text, strlen(text), size);
		else
			fuse_reply_err(req, ENODATA);
		free(text);
	} else {
		struct xattr_call *call = malloc(sizeof(*call));
		if (call) {
			*call = (struct xattr_call){req, size};
			node_getxattr(fs->node, object, name, value_done, call);
		} else {
			reply_status(req, MC_NO_MEMORY);
		}
	}
	node_unref(fs->node, object);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object(fs, ino);
	struct xattr_call *call = malloc(sizeof(*call));

	count_request(fs, FS_LISTXATTR);
	if (!object || !call) {
		free(call);
		reply_status(req, object ? MC_NO_MEMORY : MC_STALE);
	} else {
		*call = (struct xattr_call){req, size};
		node_listxattr(fs->node, object, value_done, call);
	}
	node_unref(fs->node, object);
}

static void changed(void *context, enum mc_status status, struct object *object)
{
	(void)object;
	reply_status(context, status);
}

/* Pinning is an attribute of ours that a user may set: "1" or "0". */
static void set_pinned(fuse_req_t req, struct object *object, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct mc_attr attr = {0};

	if (size != 1 || (value[0] != '0' && value[0] != '1')) {
		reply_status(req, MC_INVALID);
		return;
	}
	attr.flags = value[0] == '1' ? MC_ATTR_PINNED : 0;
	node_setattr(fs->node, object, MC_SET_PINNED, &attr, changed, req);
}

/* "1" to "8"; 0: it is not. */
static uint8_t count_read(const char *value, size_t size)
{
	bool valid = size == 1 && value[0] >= '1' && value[0] <= '0' + (char)MC_REPLICA_MAX;

	return valid ? (uint8_t)(value[0] - '0') : 0;
}

/* How many copies to keep: of an object, or of all below a directory.  value NULL: as usual. */
static void set_replicas(fuse_req_t req, struct object *object, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct mc_attr attr = {0};
	uint8_t count = value ? count_read(value, size) : 0;

	if (value && !count) {
		reply_status(req, MC_INVALID);
	} else if (object_is(object, OBJECT_DIRECTORY)) {
		node_set_policy(fs->node, object, count, changed, req);
	} else {
		attr.flags = MC_ATTR_REPLICAS_PUT(count);
		node_setattr(fs->node, object, MC_SET_REPLICAS, &attr, changed, req);
	}
}

/* value NULL removes. */
static void set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		int flags)
{
	struct fs *fs = fs_of(req);
	struct object *object = inode_object(fs, ino);

	if (!object)
		reply_status(req, MC_STALE);
	else if (strncmp(name, XATTR_USER, strlen(XATTR_USER)) != 0)
		reply_status(req, MC_NOT_SUPPORTED);
	else if (strcmp(name, XATTR_OURS "pinned") == 0 && value)
		set_pinned(req, object, value, size);
	else if (strcmp(name, XATTR_OURS "replicas") == 0)
		set_replicas(req, object, value, size);
	else if (strncmp(name, XATTR_OURS, strlen(XATTR_OURS)) == 0 && !said_of_put(name))
		reply_status(req, MC_PERMISSION);
	else if (size > MC_XATTR_VALUE_MAX)
		reply_status(req, MC_NO_SPACE);
	else
		node_setxattr(fs->node, object, name, value, size, flags, changed, req);
	node_unref(fs->node, object);
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags)
{
	static const char empty[1];

	count_request(fs_of(req), FS_SETXATTR);
	set(req, ino, name, value ? value : empty, size, flags);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	count_request(fs_of(req), FS_REMOVEXATTR);
	set(req, ino, name, NULL, 0, 0);
}
