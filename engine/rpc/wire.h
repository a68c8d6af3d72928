/*
 * engine/rpc/wire.h -- the composite fields of protocol.h, and the frame
 *
 * Writers and readers for what mooncake/protocol.h lays out; both sides of
 * every connection use these and nothing else.  Errors are those of
 * buffer.h: check the writer's or reader's `failed` at the end.  A reader
 * also fails on a value that the protocol forbids (a bad name, a count
 * beyond its limit).
 *
 * Threads   One at a time.
 */
#ifndef ENGINE_RPC_WIRE_H
#define ENGINE_RPC_WIRE_H

#include <mooncake/protocol.h>
#include <mooncake/status.h>

#include "engine/base/buffer.h"

struct frame {
	uint8_t kind; /* enum mc_frame_kind */
	uint16_t verb;
	enum mc_status status; /* of a reply */
	uint16_t age_s;	       /* of a request: seconds since it was sent first; 0: this is that */
	uint32_t size;	       /* of the body */
	uint32_t epoch;
	uint64_t request_id;
};

/* Write the 24 bytes of a header. */
void frame_encode(uint8_t header[MC_FRAME_HEADER_SIZE], const struct frame *frame);

/* Read a header.  MC_PROTOCOL: the bytes break rule V1 or the size limit. */
MC_MUST_CHECK enum mc_status frame_decode(const uint8_t header[MC_FRAME_HEADER_SIZE],
					  struct frame *frame);

/*
 * Begin a frame in a writer: room for the header.  frame_finish() fills it in
 * when the body stands.  Several frames may follow each other in one writer.
 */
size_t frame_begin(struct writer *w);
void frame_finish(struct writer *w, size_t begin, const struct frame *frame);

void put_status(struct writer *w, enum mc_status status);
enum mc_status get_status(struct reader *r);

void put_time(struct writer *w, struct mc_time time);
struct mc_time get_time(struct reader *r);

void put_attr(struct writer *w, const struct mc_attr *attr);
void get_attr(struct reader *r, struct mc_attr *attr);

void put_entry(struct writer *w, const struct mc_entry *entry);
void get_entry(struct reader *r, struct mc_entry *entry);

void put_node(struct writer *w, const struct mc_node *node);
void get_node(struct reader *r, struct mc_node *node);

void put_placement(struct writer *w, const struct mc_placement *placement);
void get_placement(struct reader *r, struct mc_placement *placement);

/* A string into a terminated buffer; fails when it is longer than size - 1 or holds a NUL. */
void get_text(struct reader *r, char *text, size_t size);

/* A name; fails unless mc_name_valid(). */
const char *get_name(struct reader *r, size_t *size);

/* A batch's count; fails unless 1 to MC_BATCH_MAX. */
uint16_t get_count(struct reader *r);

#endif
