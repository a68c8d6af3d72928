/*
 * mooncake/protocol.h -- what crosses the wire, byte by byte
 *
 * One framing for mount to master and for node to node, over TCP or a Unix
 * stream socket.  All integers are little-endian.  A connection carries many
 * requests at once; replies come in any order and are matched by request id.
 *
 * Frame header, 24 bytes
 *
 *   offset size
 *    0     2   magic, 0x434d ("MC")
 *    2     1   protocol version, 1
 *    3     1   kind: 0 request, 1 reply, 2 push (it has no answer)
 *    4     2   verb
 *    6     2   status of a reply: 0 or a negative enum mc_status, as int16; age of
 *              a request: seconds since it was sent first, rounded up, 65535: or
 *              more; 0: it was not sent before
 *    8     4   bytes of body that follow, at most MC_BODY_SIZE_MAX
 *   12     4   epoch of the leader (0: the sender does not know it)
 *   16     8   request id, chosen by the requester, unique among those in flight;
 *              to a master, unique for good: counted up from a random number
 *
 * Validity
 *   V1  magic and version are as above, kind is 0, 1 or 2
 *   V2  the body is within the limit and holds exactly what the verb says
 *   V3  a string is a u16 length and the bytes; a name obeys mc_name_valid()
 *   V4  the first request on a connection to a master is HELLO, or SUCCEEDED
 *   V5  a count of a batch is 1 to MC_BATCH_MAX
 *   V6  id and version are at most MC_ID_MAX, those of PUBLISH, ANNOUNCE and MKDIR
 *       MC_OFFER_MAX, size and allocated MC_OBJECT_SIZE_MAX, the capacity and use of a
 *       node MC_SEGMENT_MAX
 *   Whoever receives a frame that breaks V1 closes the connection: it has lost
 *   the frame boundaries.  A request that breaks V2 to V6 is answered with
 *   MC_PROTOCOL and no body, and the connection goes on.
 *
 * Composite fields
 *   time     s i64, ns u32                                             12 bytes
 *   attr     id u64, version u64, size u64, allocated u64, mode u32,
 *            uid u32, gid u32, nlink u32, flags u32, atime, mtime, ctime  88 bytes
 *   entry    attr, count u8 (<= MC_REPLICA_MAX), count x {node u32, kind u8}
 *   grant    granted u8; when 1: count u32, count x hash u64
 *   node     id u32, state u8 (bit 0 alive, bit 1 draining, bit 2 guest), uuid 16,
 *            capacity u64, used u64, objects u64, silent_ms u32, name string, host string,
 *            count u8, count x string
 *   placement  replicas u8 (<= MC_REPLICA_MAX), ack u8 (<= MC_REPLICA_MAX), pin u8
 *            (enum mc_pin), count u8 (<= MC_REPLICA_MAX), count x {node name string}
 *
 * A batched verb ("xN") has count u16 and that many items in the request, and
 * in the reply the same count u16 and per item status i16 and, where the
 * status is MC_OK (or as noted), the item's result.  Items take effect in
 * order, each by itself.
 *
 * Mount to master
 *
 *   verb          request                                  reply
 *   HELLO         role u8 (enum mc_role), uuid 16,          session u32, node u32, cluster u64,
 *                 name string, host string, capacity u64,  first_id u64, id_count u32,
 *                 used u64, count u8, count x endpoint     heartbeat_ms u32, ttl_ms u32,
 *                 string                                   master version string,
 *                                                          master name string
 *   HEARTBEAT     capacity u64, used u64, objects u64      -
 *   LOOKUP xN     parent u64, name string                  MC_OK: entry; MC_NOT_FOUND: grant
 *   LOOKUP_PATH   path string (xN)                         parent u64, entry
 *   PUBLISH xN    parent u64, name string, flags u32       attr as recorded
 *                 (enum mc_publish_flag), attr,
 *                 placement with MC_PUBLISH_PLACED
 *   REMOVE xN     parent u64, name string                  id u64
 *   RENAME        parent u64, name string, new parent u64, attr of what moved
 *                 new name string, flags u32
 *                 (enum mc_rename_flag)
 *   MKDIR         parent u64, name string, id u64,         attr, grant
 *                 mode u32, uid u32, gid u32
 *   RMDIR         parent u64, name string                  -
 *   LIST          directory u64, cursor u64, count_max u32 end u8, count u16,
 *                                                          count x {cursor u64, name string, entry}
 *   SETATTR       id u64, mask u32 (enum mc_attr_mask),    attr
 *                 attr
 *   STATFS        -                                        capacity u64, used u64, objects u64,
 *                                                          directories u64, nodes u32
 *   REPLICA xN    op u8 (enum mc_replica_op), id u64,      1 byte: 1 when the object has no other
 *                 version u64, kind u8; bad and refuse:    replica left (drop: its name is gone)
 *                 node u32, reason i16
 *   ANNOUNCE xN   path string, kind u8, attr               parent u64, attr
 *   ANNOUNCED     -                                        dropped u64
 *   RESERVE       parent u64, name string, id u64          -
 *   UNRESERVE     parent u64, name string, id u64          -
 *   GRANT_IDS     -                                        first_id u64, id_count u32
 *   NODES         -                                        count u32, count x node
 *   STATS         -                                        string (lines "name value")
 *   PATH          id u64                                   path string
 *   SETXATTR      id u64, name string, flags u32           attr
 *                 (as setxattr(2)), value string
 *   GETXATTRS     id u64                                   count u16, count x {name string,
 *                                                          value string}
 *   REMOVEXATTR   id u64, name string                      attr
 *   RECALLED      directory u64                            -
 *   EXISTS xN     path string                              -
 *   STEP_DOWN     -                                        -
 *   SUCCEEDED     cluster u64, epoch u32                   -
 *   POLICY_SET    prefix string, placement                 -
 *   POLICY_UNSET  prefix string                            -
 *   POLICIES      -                                        count u16, count x {prefix string,
 *                                                          placement}
 *   POLICY        path string                              prefix string, placement
 *   AWAIT         id u64, version u64, count u8            -
 *   NODE_SET      node u32, op u8 (enum mc_node_op)        -
 *   DRAIN         node u32                                 draining u8, done u8, replicas u64,
 *                                                          left u64, coming u64
 *
 * Master to mount, pushed
 *
 *   INVALIDATE    count u16, count x {what u8 (enum mc_invalidate), parent u64, id u64,
 *                 name string}
 *   DROP          count u16, count x {id u64, version u64}
 *   RECALL        directory u64
 *   NODES         count u32, count x node   (all nodes; after HELLO and at each change)
 *   REPLICATE     kind u8, path string, entry
 *   KIND          count u16, count x {id u64, version u64, kind u8}
 *
 * Node to node
 *
 *   PULL          id u64, version u64, offset u64,         attr, offset u64, length u32,
 *                 length u32, flags u32                    crc32c u32, then length bytes
 *                 (enum mc_pull_flag)
 *   RELEASE       id u64, version u64                      -
 *   SHELF         -                                        -
 *
 * What the verbs mean
 *
 * HELLO opens a session.  The reply hands out ids [first_id, first_id +
 * id_count) that this session alone may use; GRANT_IDS hands out more.  A
 * session ends with its connection, or when nothing came over it for ttl_ms.
 * A node's replicas leave the lookups when its last session has ended for
 * ttl_ms, and come back when it announces them.
 *
 * A HEARTBEAT is MC_READ_ONLY while the master refuses changes: it can't reach
 * its journal, and another may lead.
 *
 * LOOKUP yields replicas of live nodes only.  An object without one is
 * MC_NOT_FOUND.  In the first second of a leader (or of a master that was started
 * again) what LOOKUP, LOOKUP_PATH and EXISTS do not find, and LIST and RESERVE as
 * such, wait until every node of the records has announced what it holds.
 *
 * A lookup sees every change that was answered, to whomever, before it was sent;
 * it may overtake others, those of its own connection too.
 *
 * EXISTS is LOOKUP_PATH without the answer's entry: MC_OK where that would be.
 *
 * A directory that one session alone adds names to is granted to it: from then
 * on it may conclude that a name does not exist when it did not add it itself
 * and the FNV-1a 64-bit hash of the name is not among the hashes of the grant
 * (those of all names in the directory when it was granted).  Before anyone
 * else's name appears in that directory the master sends RECALL and waits for
 * RECALLED (or for the end of the session); so a publish that has been
 * answered is seen by every later lookup.  MKDIR by a node grants the new directory.  A
 * session must drop its grants when its connection breaks, or when it heard
 * nothing from the master for ttl_ms / 2.
 *
 * PUBLISH gives a name to an object that the session's node holds (primary
 * replica).  The name may be new, may be the same object's (a new version:
 * older replicas elsewhere are dropped) or another object's (replaced: that
 * one goes).  MC_PUBLISH_EXCLUSIVE: MC_EXISTS if another object has the name.
 * A later version of an object that is gone gives it the name again, as somebody
 * wrote to it; with MC_PUBLISH_STANDING it does not, and the attr has nlink 0.
 * The version recorded is max(the one offered, one more than the name's last).
 * The parent must exist; MC_PUBLISH_PARENTS makes the name a path relative to
 * the parent and creates what is missing.  A reservation of the name by the
 * same session is consumed; by another it is MC_EXISTS with EXCLUSIVE, and is
 * broken without.
 *
 * REMOVE, RENAME and PUBLISH over a name tell each node with a replica to DROP
 * it, except the session that asked, and send INVALIDATE to all other sessions.
 * A master that writes to etcd sends DROP and KIND when etcd has the change.
 * The name may mean another object than the asker knows: REMOVE answers with the
 * id of the one that is gone.
 * REMOVE and RENAME work as well on a name that LOOKUP does not show because all
 * nodes with its object are away.
 *
 * A change whose answer was lost may be sent again, in another session and to
 * another leader, with the same request id and its age.  What had been done then
 * is not done again, whatever became of the names since: REMOVE, RMDIR and RENAME
 * are known by their request ids, PUBLISH by id and version, MKDIR by id, and get
 * the answer of the first time.  Where it is not true any more it says so: the attr
 * of PUBLISH has nlink 0 when the object is gone, that of RENAME has id 0 when what
 * moved is not there any more; after that of MKDIR comes an INVALIDATE of the name.
 * What had failed is tried again.  A master remembers the latest 65 536 removals,
 * replacements and renames, and of an object the last version; it answers MC_TIMEOUT
 * to what was sent first before the oldest of them, and to a PUBLISH of an older
 * version, and may then have done it or not.
 *
 * REPLICA drop is sent before a node frees the memory.  Dropping the last
 * replica removes the name.  REPLICA add of a version that is not the current
 * one is MC_STALE.
 *
 * An object has a wanted number of primary replicas: what its attributes say
 * (MC_ATTR_REPLICAS), else the policy of the longest prefix of its path that
 * says one, else one.  PUBLISH takes the number from the attr; with
 * MC_PUBLISH_PLACED the placement is what the mount would like where neither
 * attr nor policy says (its preferred nodes count before a policy's).  The attr
 * in the reply carries, as MC_ATTR_ACK, how many replicas the writer is to wait
 * for; it then asks AWAIT, which is answered when so many primary replicas can
 * be read, with MC_NO_SPACE when no node is left that could take one, or
 * MC_NOT_FOUND when that version is gone.
 *
 * Copies on a guest don't count: what it publishes is copied to another node,
 * which its writer waits for (MC_ATTR_ACK is at least 1), and then is cache there.
 *
 * REPLICATE makes a node hold an object: it pulls a copy of its own from the
 * replicas named and says REPLICA add, or REPLICA refuse with the reason.  One
 * that it has already only changes its kind.  KIND changes kinds alone.
 *
 * REPLICA bad tells that the copy on another node could not be read: MC_IO its
 * bytes are damaged, MC_NOT_FOUND or MC_STALE it is not there, else the node was
 * not reached.  A damaged or missing copy is dropped when there is another one.
 *
 * NODE_SET: a draining node gets no new copies, and what it holds is copied
 * elsewhere and dropped; DRAIN tells how far that is: replicas it still has, how
 * many of them have no sufficient copies elsewhere as of the last look, and how
 * many objects of the cluster have copies under way or wait for them.
 * Remove is MC_BUSY for a node that is alive, or may be: a leader that has just
 * begun gives it the ttl to come back.  It is MC_NOT_EMPTY when the node has the
 * only copy of something, unless MC_NODE_REMOVE_ALL.
 *
 * ANNOUNCE tells what a pool holds, after HELLO.  Per item: MC_OK and the
 * attributes as recorded (perhaps renamed: then the attr is the truth and
 * PATH tells where), or MC_NOT_FOUND: it was removed or replaced, delete it.
 * An object that the master has never heard of is adopted under its path, and a
 * version that is newer than its own is taken over, if the mode is that of a file:
 * with mode 0 it is only asked for.  HELLO of a node ends the node's session before,
 * and what that one still had to do.
 * ANNOUNCED ends it: replicas of this node that were not announced are gone.
 *
 * STEP_DOWN makes the leader of several masters refuse changes, and give its lead
 * up when its journal has them all; another may take it.  MC_NOT_SUPPORTED: it is
 * alone.
 *
 * SUCCEEDED comes from a master that leads now, with its epoch, to the leader
 * before, which may not know it.  From the answer on that one answers nobody any
 * more.  MC_STALE: it is of another cluster, or its own epoch is not older.
 * MC_NOT_SUPPORTED: it is alone.
 *
 * RESERVE makes a name belong to one draft of one session: MC_EXISTS for every
 * other RESERVE until PUBLISH, UNRESERVE or the end of the session.  It does
 * not show in LOOKUP or LIST.
 *
 * PULL of length 0 asks for the attributes only.  The owner holds the object
 * while a request of this connection is in flight; with MC_PULL_DESCRIPTOR
 * (Unix sockets only) the reply carries the file's descriptor by SCM_RIGHTS
 * with its first byte, has no bytes, and the owner holds the object until
 * RELEASE or the end of the connection.  MC_STALE: the owner has another
 * version.  MC_NOT_FOUND: it has none.  version 0 asks for whatever there is.
 * With MC_PULL_REMOTE the reply's bytes say where the object lies instead
 * (engine/transport/onesided/note.h), and it is held as with MC_PULL_DESCRIPTOR.
 * RELEASE may be sent as a push, and then is not answered.
 *
 * SHELF (Unix sockets only) asks for the directory that the owner's files stand
 * in; the reply carries its descriptor as that of PULL carries a file's.  Who has
 * it opens files of the owner without asking, as engine/node/shelf.h says, and
 * tells by RELEASE of version 0 that it used one.  MC_NOT_SUPPORTED: the owner has none to lend.
 *
 * History
 *   1   first; since then, in what was reserved: placement, REPLICA bad and refuse,
 *       POLICY*, AWAIT, NODE_SET, DRAIN, REPLICATE, KIND, SHELF, SUCCEEDED,
 *       MC_INVALIDATE_MOVED, bits 1 and 2 of a node's state, role 2, age of a request
 */
#ifndef MOONCAKE_PROTOCOL_H
#define MOONCAKE_PROTOCOL_H

#include <mooncake/types.h>

#define MC_FRAME_MAGIC	     0x434du
#define MC_FRAME_VERSION     1u
#define MC_FRAME_HEADER_SIZE 24u
#define MC_BODY_SIZE_MAX     (16u << 20)
#define MC_BATCH_MAX	     1024u
#define MC_ATTR_WIRE_SIZE    88u
#define MC_GRANT_NAMES_MAX   65536u	/* a directory with more names is not granted */
#define MC_PULL_LENGTH_MAX   (4u << 20) /* bytes one PULL may ask for */
#define MC_MASTER_PORT	     50051u	/* where a master listens unless told otherwise */

enum mc_frame_kind { MC_FRAME_REQUEST = 0, MC_FRAME_REPLY = 1, MC_FRAME_PUSH = 2 };

/* Numbers are forever; a verb that goes leaves a hole. */
enum mc_verb {
	MC_VERB_HELLO = 1,
	MC_VERB_HEARTBEAT = 2,
	MC_VERB_LOOKUP = 3,
	MC_VERB_LOOKUP_PATH = 4,
	MC_VERB_PUBLISH = 5,
	MC_VERB_REMOVE = 6,
	MC_VERB_RENAME = 7,
	MC_VERB_MKDIR = 8,
	MC_VERB_RMDIR = 9,
	MC_VERB_LIST = 10,
	MC_VERB_SETATTR = 11,
	MC_VERB_STATFS = 12,
	MC_VERB_REPLICA = 13,
	MC_VERB_ANNOUNCE = 14,
	MC_VERB_ANNOUNCED = 15,
	MC_VERB_RESERVE = 16,
	MC_VERB_UNRESERVE = 17,
	MC_VERB_GRANT_IDS = 18,
	MC_VERB_NODES = 19,
	MC_VERB_STATS = 20,
	MC_VERB_PATH = 21,
	MC_VERB_SETXATTR = 22,
	MC_VERB_GETXATTRS = 23,
	MC_VERB_REMOVEXATTR = 24,
	MC_VERB_RECALLED = 25,
	MC_VERB_EXISTS = 26,
	MC_VERB_STEP_DOWN = 27,
	MC_VERB_SUCCEEDED = 28,
	MC_VERB_POLICY_SET = 30,
	MC_VERB_POLICY_UNSET = 31,
	MC_VERB_POLICIES = 32,
	MC_VERB_POLICY = 33,
	MC_VERB_AWAIT = 34,
	MC_VERB_NODE_SET = 35,
	MC_VERB_DRAIN = 36,

	MC_VERB_INVALIDATE = 40,
	MC_VERB_DROP = 41,
	MC_VERB_RECALL = 42,
	MC_VERB_REPLICATE = 45,
	MC_VERB_KIND = 46,

	MC_VERB_PULL = 60,
	MC_VERB_RELEASE = 61,
	MC_VERB_SHELF = 62,

	MC_VERB_LIMIT = 64,
};

/* The verb in lower case ("lookup"), "unknown" for none. */
const char *mc_verb_name(unsigned verb);

enum mc_role {
	MC_ROLE_CLIENT = 0,
	MC_ROLE_NODE = 1,
	MC_ROLE_GUEST = 2, /* a node that lends nothing: what it puts moves to others */
};

enum mc_publish_flag {
	MC_PUBLISH_EXCLUSIVE = 1u << 0, /* MC_EXISTS if another object has the name */
	MC_PUBLISH_PARENTS = 1u << 1,	/* the name is a path; make its directories */
	MC_PUBLISH_PLACED = 1u << 2,	/* a placement follows the attributes */
	MC_PUBLISH_OWN = 1u << 3,	/* it is this put's own, and counts before a policy */
	MC_PUBLISH_STANDING = 1u << 4,	/* only if the object was not replaced or removed */
};

enum mc_rename_flag {
	MC_RENAME_NOREPLACE = 1u << 0, /* MC_EXISTS if the new name is taken */
};

enum mc_attr_mask {
	MC_SET_MODE = 1u << 0,
	MC_SET_UID = 1u << 1,
	MC_SET_GID = 1u << 2,
	MC_SET_ATIME = 1u << 3,
	MC_SET_MTIME = 1u << 4,
	MC_SET_CTIME = 1u << 5,
	MC_SET_PINNED = 1u << 6,   /* from the flags */
	MC_SET_REPLICAS = 1u << 7, /* from the flags */
};

enum mc_replica_op {
	MC_REPLICA_ADD = 0,
	MC_REPLICA_DROP = 1,
	MC_REPLICA_BAD = 2,    /* another node's: not readable */
	MC_REPLICA_REFUSE = 3, /* a REPLICATE could not be done */
};

enum mc_node_op {
	MC_NODE_SERVE = 0, /* takes new copies again */
	MC_NODE_DRAIN = 1,
	MC_NODE_REMOVE = 2,	/* forget a node that is gone */
	MC_NODE_REMOVE_ALL = 3, /* also what only it held */
};

enum mc_invalidate {
	MC_INVALIDATE_NAME = 1,	 /* the name is gone or means another object */
	MC_INVALIDATE_ATTR = 2,	 /* attributes, version or content of id changed; name is empty */
	MC_INVALIDATE_MOVED = 3, /* as NAME; the object has another name now */
};

enum mc_pull_flag {
	MC_PULL_DESCRIPTOR = 1u << 0, /* pass the descriptor instead of bytes */
	MC_PULL_REMOTE = 1u << 1,     /* say where the bytes lie, for a one-sided READ */
};

/* FNV-1a, 64 bits: the hash of names in a grant. */
static inline uint64_t mc_name_hash(const char *name, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ull;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ull;
	return hash;
}

#endif
