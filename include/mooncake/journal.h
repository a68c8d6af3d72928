/*
 * mooncake/journal.h -- look into a master's journal, without a master
 *
 * Nothing is changed and nothing is locked: a file is read up to the last group
 * of records that is whole, and of etcd the state of one revision, also while a
 * master writes them.  Each record is read as a master would read it, so what
 * mc_journal_read() finds sound a master takes.
 *
 * Threads   Any thread.
 */
#ifndef MOONCAKE_JOURNAL_H
#define MOONCAKE_JOURNAL_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A record as text, as docs/operations.md describes the keys and values in etcd.
 * Of a file, what is removed is told by its id, "ids/ID", where it had a place.
 */
struct mc_journal_line {
	const char *key; /* not terminated; a name in it may hold any byte but '/' and 0 */
	size_t key_size;
	const char *value;
	size_t value_size; /* 0 where it is removed */
	bool removed;
};

/* False ends the reading. */
typedef bool mc_journal_line_fn(void *context, const struct mc_journal_line *line);

struct mc_journal_found {
	uint64_t bytes;	  /* of the file, or of keys and values in etcd */
	uint64_t records; /* of the file one after another, also those that a later one replaces */
	uint64_t removals;
	uint64_t objects; /* that stand in the end; so the others */
	uint64_t directories;
	uint64_t nodes;
	uint64_t policies;
	uint64_t deeds;	  /* answers to changes, kept for those who ask again */
	uint32_t epoch;	  /* of the last leader */
	uint64_t tail;	  /* bytes at the end that are no whole group: cut off when opened */
	uint64_t orphans; /* entries whose directory is not there: left out when loaded */
	uint64_t strays;  /* replicas at nodes that are not there: the same */
	uint64_t others;  /* keys of etcd beside the records: leader, lanes, journal */
	char damage[256]; /* what no master would take, one sentence; "": nothing */
};

/*
 * Read a journal: a path, "file:PATH", or "etcd://…" as clients name one.  Every
 * record is told to `line`, if not NULL, in the order in which it was written, or
 * of etcd in the order of keys.  *found is filled in also on MC_IO.
 *
 * MC_INVALID       the name makes no sense
 * MC_NOT_FOUND     there is no such file, or no record of that cluster
 * MC_IO            damaged: found->damage says where
 * MC_UNREACHABLE   no etcd answers
 * MC_ACCESS, MC_PERMISSION   the file, or etcd, is not for this user
 */
MC_MUST_CHECK enum mc_status mc_journal_read(const char *journal, mc_journal_line_fn *line,
					     void *context, struct mc_journal_found *found);

#endif
