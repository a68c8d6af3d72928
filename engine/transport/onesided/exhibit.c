#include "engine/transport/onesided/exhibit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/base/cleanup.h"
#include "engine/base/crc32c.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "engine/transport/onesided/note.h"

#define COPY_SIZE_MAX (64u << 20)

struct exhibit {
	struct mc_engine *engine;
	void *map; /* NULL: the object is empty */
	uint64_t size;
	uint8_t *note;
	uint32_t note_size;
};

static void exhibit_free(struct exhibit *exhibit)
{
	if (exhibit->map && mc_engine_unregister(exhibit->engine, exhibit->map))
		log_debug("an object was not registered any more");
	if (exhibit->map)
		munmap(exhibit->map, exhibit->size);
	free(exhibit->note);
	free(exhibit);
}

/* To show a hole would be to fill it with memory. */
static bool has_holes(const struct exhibit *exhibit, int fd)
{
	struct stat file;

	return fstat(fd, &file) < 0 || (uint64_t)file.st_blocks * 512 < exhibit->size;
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
static enum mc_status map_object(struct exhibit *exhibit, int fd)
{
	bool copy = has_holes(exhibit, fd);

	if (copy && exhibit->size > COPY_SIZE_MAX)
		return MC_NOT_SUPPORTED;
	void *map = copy ? mmap(NULL, exhibit->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
			 : mmap(NULL, exhibit->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return mc_status_from_errno(errno);
	enum mc_status status = MC_IO;
	if (!copy || read_whole(fd, map, exhibit->size))
		status = mc_engine_register(exhibit->engine, map, exhibit->size, NULL,
					    MC_REGION_REMOTE_READ | MC_REGION_QUIET);
	if (status)
		munmap(map, exhibit->size);
	else
		exhibit->map = map;
	return status;
}

static enum mc_status show(struct exhibit *exhibit, int fd)
{
	CLEANUP_FREE char *text = NULL;
	enum mc_status status = MC_OK;

	if (exhibit->size > 0)
		status = map_object(exhibit, fd);
	if (!status && exhibit->size > 0)
		status = engine_region_text(exhibit->engine, exhibit->map, &text);
	if (!status)
		status = note_write(exhibit->map, exhibit->size, text, text ? strlen(text) : 0,
				    &exhibit->note, &exhibit->note_size);
	return status;
}

static enum mc_status exhibit_of(struct visitor *visitor, struct held *held, struct exhibit **found)
{
	if (!held->own) {
		struct exhibit *exhibit = calloc(1, sizeof(*exhibit));
		if (!exhibit)
			return MC_NO_MEMORY;
		exhibit->engine = visitor->owner->config.context;
		exhibit->size = held->hold.attr.size;
		enum mc_status status = show(exhibit, held->hold.fd);
		if (status) {
			exhibit_free(exhibit);
			return status;
		}
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
	visitor->answer.held = held;
	visitor->answer.map = exhibit->note;
	visitor->answer.offset = 0;
	held->lent++;
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
		exhibit_free(STEAL(held->own));
}
