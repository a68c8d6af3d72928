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
	if (exhibit->registered && mc_engine_unregister(exhibit->engine, exhibit->map))
		log_debug("an object was not registered any more");
	if (exhibit->map)
		munmap(exhibit->map, exhibit->size);
	free(exhibit->sums);
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

/* The file's own pages; of a small one with holes, room for a copy without. */
static enum mc_status map_object(struct exhibit *exhibit, int fd, const struct stat *file)
{
	exhibit->copied = has_holes(exhibit, file);
	if (exhibit->copied && exhibit->size > COPY_SIZE_MAX)
		return MC_NOT_SUPPORTED;
	void *map = exhibit->copied ? mmap(NULL, exhibit->size, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
				    : mmap(NULL, exhibit->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return mc_status_from_errno(errno);
	exhibit->map = map;
	return MC_OK;
}

enum mc_status exhibit_new(struct mc_engine *engine, const struct source_hold *hold,
			   struct exhibit **exhibit)
{
	uint64_t pieces = note_pieces(hold->attr.size);
	struct stat file;

	if (pieces > NOTE_PIECES_MAX)
		return MC_TOO_BIG;
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
	made->sums = malloc(pieces * 4 + 1);
	enum mc_status status = made->sums ? MC_OK : MC_NO_MEMORY;
	if (!status && made->size > 0)
		status = map_object(made, hold->fd, &file);
	if (status)
		exhibit_unref(made);
	else
		*exhibit = made;
	return status;
}

static bool read_piece(int fd, uint8_t *to, uint64_t offset, uint64_t size)
{
	uint64_t done = 0;

	while (done < size) {
		ssize_t got = pread(fd, to + done, size - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (uint64_t)got;
	}
	return true;
}

/* That brings the pages in, too, a few at a time. */
enum mc_status exhibit_sum(struct exhibit *exhibit, const struct source_hold *hold)
{
	uint64_t at = atomic_load(&exhibit->summed), left = exhibit->size - at;
	uint64_t size = left < NOTE_PIECE_SIZE ? left : NOTE_PIECE_SIZE;
	uint8_t *piece = (uint8_t *)exhibit->map + at;

	if (exhibit->copied && !read_piece(hold->fd, piece, at, size))
		return MC_IO;
	store_u32(exhibit->sums + at / NOTE_PIECE_SIZE * 4, crc32c(0, piece, size));
	atomic_store(&exhibit->summed, at + size); /* read by exhibit_adopt() */
	return MC_OK;
}

bool exhibit_summed(const struct exhibit *exhibit)
{
	return atomic_load(&exhibit->summed) == exhibit->size;
}

void exhibit_adopt(struct exhibit *exhibit, const struct exhibit *other)
{
	uint64_t summed = atomic_load(&other->summed);

	if (exhibit->copied)
		return;
	memcpy(exhibit->sums, other->sums, note_pieces(summed) * 4);
	atomic_store(&exhibit->summed, summed);
}

enum mc_status exhibit_show(struct exhibit *exhibit)
{
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = MC_OK;

	MUST(exhibit_summed(exhibit));
	if (exhibit->size > 0 && !exhibit->registered) {
		status = mc_engine_register(exhibit->engine, exhibit->map, exhibit->size, NULL,
					    MC_REGION_REMOTE_READ | MC_REGION_QUIET);
		exhibit->registered = !status;
	}
	if (!status && exhibit->size > 0)
		status = engine_region_text(exhibit->engine, exhibit->map, &text);
	if (!status)
		status = note_write(exhibit->sums, exhibit->size, text, text ? strlen(text) : 0,
				    &exhibit->note, &exhibit->note_size);
	return status;
}

bool exhibit_ready(const struct exhibit *exhibit)
{
	return exhibit->note != NULL;
}

/* -- for the owner -- */

void exhibit_respond(struct visitor *visitor, const struct pull_request *request, struct held *held)
{
	struct exhibit *exhibit = held->own;
	enum mc_status status =
		showcase_exhibit(visitor->owner->config.context, &held->hold, &exhibit);

	held->own = exhibit;
	if (!status && !exhibit_ready(exhibit)) {
		owner_put_off(visitor, request, held);
		return;
	}
	if (status) {
		log_debug("an object can't be shown to a peer id=%lu status=\"%s\"", request->id,
			  mc_status_text(status));
		exhibit_drop(visitor, held);
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

void exhibit_drop(struct visitor *visitor, struct held *held)
{
	showcase_leave(visitor->owner->config.context, STEAL(held->own));
}
