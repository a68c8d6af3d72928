/*
 * master/ledger.h -- what was done, for whoever asks for it again
 *
 * A client whose connection broke sends again what was not answered.  The first
 * time may have been done, and others may have changed the same name since, so
 * doing it once more is wrong.  The ledger remembers as deeds the latest
 * LEDGER_COUNT changes whose effect does not show any more, or not by itself:
 *
 *   gone    an object or a directory lost its name: its id, and the version it had
 *   moved   an object or a directory got another name
 *
 * A deed that is the answer to a request has its id, which no other request
 * ever has, and its item in a batch.  So REMOVE, RMDIR and RENAME are found by
 * their requests, PUBLISH and MKDIR by the id that they brought: it is in the
 * catalog, or it is gone.
 *
 *     request ─┬─► done before: the answer of the first time
 *              ├─► sent first before what the ledger remembers: MC_TIMEOUT
 *              └─► done now ──► catalog, and a deed ──► journal, both or none
 *
 * Deeds have numbers.  One takes the place of the one LEDGER_COUNT before it, in
 * memory as in the journal, so both are bounded and nothing is ever swept.
 *
 * Threads   The writer.
 * Limits    LEDGER_COUNT deeds of 64 bytes; the memory is touched as they come.
 */
#ifndef MASTER_LEDGER_H
#define MASTER_LEDGER_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_COUNT 65536u

/* Numbers are on disk. */
enum deed_what {
	DEED_NONE = 0,
	DEED_GONE = 1,
	DEED_MOVED = 2,
};

struct deed {
	uint64_t number;  /* from 1 */
	uint64_t request; /* 0: nobody asks for it by request */
	uint64_t id;
	uint64_t version;
	int64_t done_s; /* real time */
	uint32_t item;
	uint32_t what;		  /* enum deed_what; DEED_NONE: the slot is empty */
	uint32_t next_by_request; /* slot + 1; 0: none */
	uint32_t next_by_id;
};

struct ledger {
	struct deed *deeds;   /* LEDGER_COUNT */
	uint32_t *by_request; /* slot + 1 */
	uint32_t *by_id;
	uint64_t last;	     /* number of the last deed */
	uint64_t recorded;   /* the last that the journal has been told of */
	int64_t forgotten_s; /* what was done until then may be forgotten; 0: nothing is */
};

MC_MUST_CHECK enum mc_status ledger_init(struct ledger *ledger);
void ledger_fini(struct ledger *ledger);

/* Write down what happens now. */
void ledger_gone(struct ledger *ledger, int64_t now_s, uint64_t id, uint64_t version);
void ledger_moved(struct ledger *ledger, int64_t now_s, uint64_t id, uint64_t version);
/* The last deed is the answer to this. */
void ledger_sign(struct ledger *ledger, uint64_t request, uint32_t item);

/* What a request came to, or NULL. */
const struct deed *ledger_asked(const struct ledger *ledger, uint64_t request, uint32_t item);

/* Whether this version of an id, or a newer one, was named once and is gone. */
bool ledger_knows_gone(const struct ledger *ledger, uint64_t id, uint64_t version);

/* Whether all that was done in the last `age_s` seconds is remembered. */
bool ledger_reaches(const struct ledger *ledger, int64_t now_s, uint32_t age_s);

/*
 * The next deed of an id, after the one of a number, that the journal has not been
 * told of, or NULL.  Settle: it has been told of all.
 */
const struct deed *ledger_unrecorded(const struct ledger *ledger, uint64_t id, uint64_t after);
void ledger_settle(struct ledger *ledger);

/* Take in a deed of the journal.  False: it makes no sense. */
bool ledger_load(struct ledger *ledger, uint64_t slot, const struct deed *deed);
/*
 * All have been taken in.  `stands`: the id is in the catalog with this version or a
 * newer one, so its going did not get into the journal, and is no deed.
 */
void ledger_loaded(struct ledger *ledger,
		   bool (*stands)(void *context, uint64_t id, uint64_t version), void *context);

/* The deed in a slot, or NULL. */
const struct deed *ledger_at(const struct ledger *ledger, uint64_t slot);
static inline uint64_t ledger_slot(const struct deed *deed)
{
	return deed->number % LEDGER_COUNT;
}

#endif
