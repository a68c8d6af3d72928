/*
 * master/record.h -- the values of journal records
 *
 * All integers little-endian; attr, time and string as in protocol.h.
 *
 *   meta        version u8 (1), cluster u64, epoch u32, id_next u64, id_known u64
 *   node        version u8 (1), id u32, name string, host string
 *               draining: version u8 (2), the same, draining u8 (1)
 *   directory   version u8 (1), parent u64, sequence u64, name string, attr, xattrs
 *   object      as directory, then raised u32, count u8, count x replica u16
 *   policy      version u8 (1), prefix string, placement
 *   deed        version u8 (1), what u8 (enum deed_what), number u64, request u64,
 *               item u32, id u64, version u64, done_s i64
 *   xattrs      count u16, count x {name string, value string}
 *   replica     bits 0-11 node id - 1, bit 12 kind (the rest is 0)
 *
 * The root is a directory without a name; its parent is 0.
 *
 * Validity
 *   W1  the version is as above, and the value holds exactly what its kind says
 *   W2  an object's or directory's key is 8 bytes and equals attr.id; a node's
 *       is 16 bytes, meta's is empty; a policy's is 8 bytes, the FNV-1a of its
 *       prefix; a deed's is 8 bytes, its number modulo LEDGER_COUNT
 *   W3  the mode is a directory's for a directory, a regular file's for an object
 *   W4  a name obeys mc_name_valid(), but the root's is empty
 *   A record that breaks one is damage: the journal is refused.
 *
 * History
 *   1   first; later node 2, and the kinds policy and deed
 *
 * Threads   The writer.
 */
#ifndef MASTER_RECORD_H
#define MASTER_RECORD_H

#include "master/journal.h"
#include "master/state.h"

/* Put the present state into the journal's group, or, with `snapshot`, into its snapshot. */
MC_MUST_CHECK enum mc_status record_meta(struct mc_master *master, bool snapshot);
MC_MUST_CHECK enum mc_status record_node(struct mc_master *master, const struct node *node,
					 bool snapshot);
MC_MUST_CHECK enum mc_status record_entry(struct mc_master *master, const struct entry *entry,
					  bool snapshot);
MC_MUST_CHECK enum mc_status record_policy(struct mc_master *master, const struct policy *policy,
					   bool snapshot);
MC_MUST_CHECK enum mc_status record_deed(struct mc_master *master, const struct deed *deed,
					 bool snapshot);
void record_policy_gone(struct mc_master *master, uint64_t key);
void record_node_gone(struct mc_master *master, const struct node *node);
void record_gone(struct mc_master *master, uint64_t id, bool directory);

/* Take a record into the master's state: the visit of journal load. */
enum mc_status record_load(void *context, enum record_kind kind, const uint8_t *key,
			   size_t key_size, const uint8_t *value, size_t value_size);

/* About the bytes that all records would take. */
uint64_t record_live_size(const struct mc_master *master);

#endif
