#include "engine/transport/onesided/exhibit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/base/buffer.h"
#include "engine/base/cleanup.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/transport/onesided/note.h"
#include "engine/transport/onesided/showcase.h"

#define COPY_SIZE_MAX (64u << 20)

void exhibit_ref(struct exhibit *exhibit)
{
	atomic_fetch_add(&exhibit->references, 1);
}

void exhibit_unref(struct exhibit *exhibit)
{
	if (!exhibit || atomic_fetch_sub(&exhibit->references, 1) != 1)
		return;
	if (exhibit->map && mc_engine_unregister(exhibit->engine, exhibit->map))
		log_debug("an object was not registered any more");
	if (exhibit->map)
		munmap(exhibit->map, exhibit->size);
	free(exhibit->note);
	free(exhibit);
}

bool exhibit_is_of(const struct exhibit *exhibit, const struct source_hold *hold)
{
	struct stat file;

	return exhibit->version == hold->attr.version && fstat(hold->fd, &file) == 0 &&
	       file.st_dev == exhibit->device && file.st_ino == exhibit->inode;
}

/* To show a hole would be to fill it with memory. */
static bool has_holes(const struct exhibit *exhibit, const struct stat *file)
{
	return (uint64_t)file->st_blocks * 512 < exhibit->size;
}

static bool read_whole(int fd, uint8_t *to, uint64_t size)
{
	uint64_t done = 0;

	while (done < size) {
		ssize_t got = pread(fd, to + done, size - done, (off_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (uint64_t)got;
	}
	return true;
}

/* The file's own pages; of a small one with holes, a copy without. */
static enum mc_status map_object(struct exhibit *exhibit, int fd, const struct stat *file)
{
	bool copy = has_holes(exhibit, file);

	if (copy && exhibit->size > COPY_SIZE_MAX)
		return MC_NOT_SUPPORTED;
	void *map = copy ? mmap(NULL, exhibit->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
			 : mmap(NULL, exhibit->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return mc_status_from_errno(errno);
	if (copy && !read_whole(fd, map, exhibit->size)) {
		munmap(map, exhibit->size);
		return MC_IO;
	}
	exhibit->map = map;
	return MC_OK;
}

struct asking {
	bool (*go_on)(void *context);
	void *context;
};

static enum mc_status sum_pieces(const struct exhibit *exhibit, uint8_t *sums,
				 const struct asking *asking)
{
	for (uint64_t at = 0; at < exhibit->size; at += NOTE_PIECE_SIZE) {
		uint64_t left = exhibit->size - at;
		if (asking->go_on && !asking->go_on(asking->context))
			return MC_AGAIN;
		store_u32(sums, crc32c(0, (const uint8_t *)exhibit->map + at,
				       left < NOTE_PIECE_SIZE ? left : NOTE_PIECE_SIZE));
		sums += 4;
	}
	return MC_OK;
}

/* Summed first: that brings the pages in, a few at a time, and can be left off. */
static enum mc_status show_bytes(struct exhibit *exhibit, uint8_t *sums,
				 const struct asking *asking, char **text)
{
	enum mc_status status = sum_pieces(exhibit, sums, asking);

	if (!status)
		status = mc_engine_register(exhibit->engine, exhibit->map, exhibit->size, NULL,
					    MC_REGION_REMOTE_READ | MC_REGION_QUIET);
	if (status) {
		munmap(STEAL(exhibit->map), exhibit->size);
		return status;
	}
	return engine_region_text(exhibit->engine, exhibit->map, text);
}

static enum mc_status show(struct exhibit *exhibit, int fd, const struct stat *file,
			   const struct asking *asking)
{
	CLEANUP_FREE uint8_t *sums = NULL;
	CLEANUP_FREE char *text = NULL;
	uint64_t pieces = note_pieces(exhibit->size);
	enum mc_status status = MC_OK;

	if (pieces > NOTE_PIECES_MAX)
		return MC_TOO_BIG;
	sums = malloc(pieces * 4 + 1);
	if (!sums)
		return MC_NO_MEMORY;
	if (exhibit->size > 0)
		status = map_object(exhibit, fd, file);
	if (!status && exhibit->size > 0)
		status = show_bytes(exhibit, sums, asking, &text);
	if (!status)
		status = note_write(sums, exhibit->size, text, text ? strlen(text) : 0,
				    &exhibit->note, &exhibit->note_size);
	return status;
}

enum mc_status exhibit_new(struct mc_engine *engine, const struct source_hold *hold,
			   bool (*go_on)(void *context), void *context, struct exhibit **exhibit)
{
	struct asking asking = {go_on, context};
	struct stat file;

	if (fstat(hold->fd, &file) < 0)
		return mc_status_from_errno(errno);
	struct exhibit *made = calloc(1, sizeof(*made));
	if (!made)
		return MC_NO_MEMORY;
	made->engine = engine;
	made->size = hold->attr.size;
	made->version = hold->attr.version;
	made->device = file.st_dev;
	made->inode = file.st_ino;
	atomic_store(&made->references, 1);
	enum mc_status status = show(made, hold->fd, &file, &asking);
	if (status)
		exhibit_unref(made);
	else
		*exhibit = made;
	return status;
}

/* -- for the owner -- */

static enum mc_status exhibit_of(struct visitor *visitor, struct held *held, struct exhibit **found)
{
	if (!held->own) {
		struct exhibit *exhibit;
		enum mc_status status =
			showcase_exhibit(visitor->owner->config.context, &held->hold, &exhibit);
		if (status)
			return status;
		held->own = exhibit;
	}
	*found = held->own;
	return MC_OK;
}

void exhibit_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	struct exhibit *exhibit;
	enum mc_status status = exhibit_of(visitor, held, &exhibit);

	if (status) {
		log_debug("an object can't be shown to a peer id=%lu status=\"%s\"", request->id,
			  mc_status_text(status));
		owner_refuse(visitor, request, status);
		return;
	}
	owner_accept(visitor, request, held, exhibit->note_size,
		     crc32c(0, exhibit->note, exhibit->note_size));
	owner_lend(visitor, held);
	visitor->answer.map = exhibit->note;
	visitor->answer.offset = 0;
	atomic_fetch_add_explicit(&visitor->owner->bytes_served, exhibit->size,
				  memory_order_relaxed);
}

enum mc_status exhibit_send(struct visitor *visitor)
{
	struct answer *answer = &visitor->answer;
	enum mc_status status = owner_send_head(visitor, answer->remaining ? MSG_MORE : 0);

	while (!status && answer->remaining > 0) {
		ssize_t sent = send(visitor->watch.fd, answer->map + answer->offset,
				    answer->remaining, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? MC_AGAIN : MC_UNREACHABLE;
		answer->offset += (uint64_t)sent;
		answer->remaining -= (uint32_t)sent;
	}
	return status;
}

void exhibit_drop(struct held *held)
{
	if (held->own)
		exhibit_unref(STEAL(held->own));
}
