/*
 * master/etcd_text.h -- journal records as keys and values of etcd
 *
 * Everything is text, so that `etcdctl get --prefix /mooncake/CLUSTER/` is of
 * use.  Keys, behind that prefix:
 *
 *   config                   meta
 *   nodes/UUID               node, in hexadecimal
 *   policies/HASH            policy, by the hash of its prefix
 *   deeds/SLOT               deed, by its slot
 *   objects/DIRECTORY/NAME   object or directory: the id of the directory it is
 *                            in, in hexadecimal, and its name, byte for byte
 *   records/KIND/KEY         any other kind, by its number and key in hexadecimal
 *
 * The root is objects/0/.  A name stands under its directory's id and not under
 * its path, so a directory is renamed by one transaction, whatever is in it;
 * `objects/ID/` is still the listing of a directory.  A place has one record,
 * so two entries can never have one name, in whatever order transactions
 * arrive.
 *
 * Values are words: the kind, `v` where the record's version is not 1, then
 * NAME=VALUE in the order of record.h; what is zero is left out.  Ids, versions
 * and bytes are hexadecimal, a mode is octal, times are seconds and nanoseconds,
 * a replica is a node's id with "c" behind it for a cached one, other text is
 * percent-encoded.  What a record has beyond what this file knows stands in
 * `rest`, and a record of another version in `raw`, so nothing is ever lost on
 * the way.
 *
 *   object sequence=12 id=187c… version=187c… size=4194304 mode=100644 nlink=1
 *   mtime=1764115200.000000001 replicas=1,3c
 *
 * Threads   Any thread.
 */
#ifndef MASTER_ETCD_TEXT_H
#define MASTER_ETCD_TEXT_H

#include "engine/base/buffer.h"
#include "master/journal.h"

/* A record as the journal knows it. */
struct etcd_record {
	enum record_kind kind;
	struct writer key;
	struct writer value;
};

/* Write the key of a record.  False: the value is not one that has a place. */
bool etcd_text_key(struct writer *w, enum record_kind kind, const uint8_t *key, size_t key_size,
		   const uint8_t *value, size_t value_size);

/* Write the key of a place. */
void etcd_text_place(struct writer *w, uint64_t parent, const char *name, size_t name_size);

void etcd_text_value(struct writer *w, enum record_kind kind, const uint8_t *value,
		     size_t value_size);

/*
 * Read a key and a value.  MC_NOT_FOUND: the key is not that of a record.
 * MC_IO: one of them is damaged.
 */
MC_MUST_CHECK enum mc_status etcd_text_read(const char *key, size_t key_size, const char *value,
					    size_t value_size, struct etcd_record *record);

/*
 * The same for what was removed, with the value that it had (size 0: not known).
 * An entry's key is {id u64, 0 when it is not known, directory u64, name}; no
 * value is written.
 */
MC_MUST_CHECK enum mc_status etcd_text_removed(const char *key, size_t key_size, const char *value,
					       size_t value_size, struct etcd_record *record);

#endif
