#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "fs/backing.h"
#include "fs/fs.h"

static void inode_backing_close(struct fs *fs, struct inode *inode)
{
	int id = inode->backing_id;

	inode->backing_id = 0;
	backing_close(fs, id);
}

static struct inode *inode_find_locked(struct fs *fs, uint64_t id)
{
	struct object *object = object_find(node_objects(fs->node), id);

	return object ? object->user : NULL;
}

/* Its name was lost since the kernel learnt it: removed, replaced, renamed or evicted. */
static bool adrift_locked(const struct object *object)
{
	return !(object->flags & (OBJECT_NAMED | OBJECT_DIRECTORY)) && object->opens == 0 &&
	       !object->original;
}

static struct object *find_object(struct fs *fs, uint64_t id, bool adrift)
{
	node_lock(fs->node);
	struct object *object = object_find(node_objects(fs->node), id);
	if (object && !adrift && adrift_locked(object))
		object = NULL;
	if (object)
		object_ref(object);
	node_unlock(fs->node);
	return object;
}

struct object *inode_object(struct fs *fs, uint64_t id)
{
	return find_object(fs, id, false);
}

struct object *inode_object_found(struct fs *fs, uint64_t id)
{
	return find_object(fs, id, true);
}

struct inode *inode_get_locked(struct fs *fs, struct object *object)
{
	struct inode *inode = object->user;

	(void)fs;
	if (!inode) {
		inode = calloc(1, sizeof(*inode));
		if (!inode)
			return NULL;
		inode->object = object;
		object_ref(object);
		object->user = inode;
	}
	inode->lookups++;
	return inode;
}

static void inode_free_locked(struct fs *fs, struct inode *inode)
{
	struct object *object = inode->object;

	if (inode->lookups > 0 || inode->passthrough_opens > 0 || inode->cached_opens > 0)
		return;
	inode_backing_close(fs, inode);
	object->user = NULL;
	free(inode);
	node_forget_locked(fs->node, object);
	object_unref(node_objects(fs->node), object);
}

void inode_forget_locked(struct fs *fs, uint64_t id, uint64_t lookups)
{
	struct inode *inode = inode_find_locked(fs, id);

	if (!inode || id == FUSE_ROOT_ID)
		return;
	inode->lookups -= lookups < inode->lookups ? lookups : inode->lookups;
	inode_free_locked(fs, inode);
}

/* What was open when the mount ended. */
static void handles_free(struct inode *inode)
{
	while (inode->handles) {
		struct handle *handle = inode->handles;
		inode->handles = handle->next;
		if (handle->fd >= 0)
			close(handle->fd);
		free(handle);
	}
}

void inodes_close(struct fs *fs)
{
	struct object_table *table = node_objects(fs->node);

	node_lock(fs->node);
	for (uint32_t i = 0; i < table->size; i++) {
		for (struct object *o = table->by_id[i]; o; o = o->next_by_id) {
			if (o->user)
				handles_free(o->user);
			free(o->user);
			o->user = NULL;
		}
	}
	node_unlock(fs->node);
}

void inode_let_go_locked(struct fs *fs, struct object *object)
{
	struct inode *inode = object->user;

	if (inode && inode->passthrough_opens == 0)
		inode_backing_close(fs, inode);
}

/* -- handles -- */

/* Give the inode what the kernel holds the file under, unless it has another.  True: taken. */
static bool backing_take_locked(struct inode *inode, int backing_id)
{
	if (backing_id == 0 || inode->backing_id > 0)
		return false;
	inode->backing_id = backing_id;
	inode->backing_version = inode->object->attr.version;
	return true;
}

/* Hand the kernel the very file that holds the bytes.  0: not this time. */
static int backing_make(struct fs *fs, struct inode *inode)
{
	int fd;
	bool own;

	if (node_file(fs->node, inode->object, &fd, &own))
		return 0;
	int id = backing_open(fs, fd);
	if (own)
		close(fd);
	return id;
}

/*
 * Choose the way that all opens of this inode go until the last is closed.  What the
 * kernel holds the file under, by passthrough; 0: they are cached.
 */
static int choose_way(struct fs *fs, struct inode *inode)
{
	struct counters *counters = node_counters(fs->node);
	enum counter why = COUNTER_OPEN_PASSTHROUGH;
	int backing_id = 0, spare = 0;

	node_lock(fs->node);
	if (!fs->passthrough) {
		why = COUNTER_OPEN_CACHED_OFF;
	} else if (inode->cached_opens > 0) {
		why = COUNTER_OPEN_CACHED_BUSY;
	} else if (node_arriving_locked(fs->node, inode->object)) {
		why = COUNTER_OPEN_CACHED_STREAM;
	} else {
		if (inode->passthrough_opens == 0 &&
		    inode->backing_version != inode->object->attr.version)
			inode_backing_close(fs, inode); /* perhaps of a file that went since */
		inode->passthrough_opens++;		/* from now on nobody opens it cached */
		backing_id = inode->backing_id;
	}
	if (why == COUNTER_OPEN_PASSTHROUGH && backing_id == 0) {
		node_unlock(fs->node);
		spare = backing_make(fs, inode);
		node_lock(fs->node);
		if (backing_take_locked(inode, spare))
			spare = 0;
		/* Another may have been faster, or may have had to open it cached. */
		backing_id = inode->cached_opens > 0 ? 0 : inode->backing_id;
		if (backing_id == 0) {
			inode->passthrough_opens--;
			why = COUNTER_OPEN_CACHED_REFUSED;
		}
	}
	if (why != COUNTER_OPEN_PASSTHROUGH)
		inode->cached_opens++;
	node_unlock(fs->node);
	backing_close(fs, spare);
	counter_add(counters, why, 1);
	return backing_id;
}

enum mc_status handle_open(struct fs *fs, struct object *object, struct fuse_file_info *fi,
			   bool write, int backing_id)
{
	struct handle *handle = malloc(sizeof(*handle));

	node_lock(fs->node);
	struct inode *inode = handle ? inode_get_locked(fs, object) : NULL;
	if (inode) {
		/* The open keeps it; the kernel's own lookups are counted apart. */
		inode->lookups--;
		*handle = (struct handle){
			.next = inode->handles, .inode = inode, .write = write, .fd = -1};
		inode->handles = handle;
		if (backing_take_locked(inode, backing_id))
			backing_id = 0;
	}
	node_unlock(fs->node);
	backing_close(fs, backing_id);
	if (!inode) {
		free(handle);
		node_release(fs->node, object, write);
		return MC_NO_MEMORY;
	}
	fi->backing_id = choose_way(fs, inode);
	handle->passthrough = fi->backing_id != 0;
	atomic_store_explicit(&handle->magic, HANDLE_MAGIC, memory_order_release);
	fi->fh = (uintptr_t)handle;
	fi->noflush = !write;
	if (handle->passthrough)
		return MC_OK;
	int fd; /* now: the name may go while it is open */
	enum mc_status status = handle_descriptor(fs, handle, &fd);
	if (status) {
		handle_close(fs, handle);
		return status;
	}
	node_lock(fs->node);
	fi->keep_cache = inode->cached_version == object->attr.version && object->writers == 0;
	if (!fi->keep_cache) {
		handle->fills = object->attr.version;
		inode->cached_version = 0;
	}
	node_unlock(fs->node);
	return MC_OK;
}

/*
 * The kernel drops what it has cached when it is through with an open that says so.
 * Another open that is told to keep it may overtake: none is until a read shows that
 * the first is through.
 */
void handle_reads_locked(struct handle *handle)
{
	if (handle->fills && handle->fills == handle->inode->object->attr.version)
		handle->inode->cached_version = handle->fills;
	handle->fills = 0;
}

struct handle *handle_of(const struct fuse_file_info *fi)
{
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;

	MUST(atomic_load_explicit(&handle->magic, memory_order_acquire) == HANDLE_MAGIC);
	return handle;
}

void handle_close(struct fs *fs, struct handle *handle)
{
	struct inode *inode = handle->inode;
	struct object *object = inode->object;

	if (handle->fd >= 0)
		close(handle->fd);
	node_lock(fs->node);
	object_ref(object);
	struct handle **at = &inode->handles;
	while (*at != handle)
		at = &(*at)->next;
	*at = handle->next;
	if (handle->passthrough)
		inode->passthrough_opens--;
	else
		inode->cached_opens--;
	/* What is kept open of a file that is no longer the object's holds its memory. */
	if (inode->passthrough_opens == 0 &&
	    (!object_is(object, OBJECT_LOCAL) || object_is(object, OBJECT_REMOVED)))
		inode_backing_close(fs, inode);
	node_unlock(fs->node);
	node_release(fs->node, object, handle->write);
	node_lock(fs->node);
	inode_free_locked(fs, inode);
	object_unref(node_objects(fs->node), object);
	node_unlock(fs->node);
	handle->magic = 0;
	free(handle);
}

enum mc_status handle_descriptor(struct fs *fs, struct handle *handle, int *fd)
{
	int none = -1;
	int fresh;

	if (handle->fd < 0) {
		enum mc_status status =
			node_descriptor(fs->node, handle->inode->object, handle->write, &fresh);
		if (status)
			return status;
		if (!atomic_compare_exchange_strong(&handle->fd, &none, fresh))
			close(fresh);
	}
	*fd = handle->fd;
	return MC_OK;
}
