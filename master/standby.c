#include "master/standby.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"
#include "engine/etcd/follow.h"
#include "master/etcd_text.h"
#include "master/leader.h"

#define BATCH	    256u /* records between looks at the clock */
#define STALL_NS    500000000ull
#define PROGRESS_NS 2000000000ull

enum change_kind { CHANGE_PUT, CHANGE_REMOVED, CHANGE_FORGET };

struct change {
	struct change *next;
	enum change_kind what;
	enum record_kind kind;
	uint32_t key_size;
	uint32_t value_size;
	uint8_t bytes[];
};

struct standby {
	/* fixed after init */
	struct etcd_follower *follower;
	size_t prefix_size;
	bool without_objects;
	struct leader *leader;
	void (*wake)(void *context);
	void *context;

	/* protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct change *head;
	struct change **end;
	size_t size;
	bool closing;
	bool settled;
	bool leader_there;
	int64_t revision;
	uint64_t records;
	char mark[STANDBY_MARK_SIZE];

	/* the follower's thread */
	struct etcd_record record;
	int64_t expected;
	uint64_t damaged;
	uint64_t told_ns;

	/* the master's thread */
	uint64_t waits_ns; /* a revision is waited for since */
};

/* Waits for room, unless all ends. */
static void change_add(struct standby *standby, enum change_kind what)
{
	const struct etcd_record *record = &standby->record;
	size_t key_size = what == CHANGE_FORGET ? 0 : record->key.size;
	size_t value_size = what == CHANGE_PUT ? record->value.size : 0;
	struct change *change = malloc(sizeof(*change) + key_size + value_size);

	/* Without it the state would be wrong: better to end. */
	MUST(change != NULL);
	*change = (struct change){.what = what,
				  .kind = record->kind,
				  .key_size = (uint32_t)key_size,
				  .value_size = (uint32_t)value_size};
	if (key_size)
		memcpy(change->bytes, record->key.data, key_size);
	if (value_size)
		memcpy(change->bytes + key_size, record->value.data, value_size);
	WITH_LOCK(&standby->lock);
	while (standby->size >= STANDBY_SIZE_MAX && !standby->closing)
		pthread_cond_wait(&standby->room, &standby->lock);
	*standby->end = change;
	standby->end = &change->next;
	standby->size += sizeof(*change) + key_size + value_size;
	standby->records += what == CHANGE_PUT;
}

static struct etcd_bytes behind_prefix(const struct standby *standby, struct etcd_bytes key)
{
	return (struct etcd_bytes){(const char *)key.data + standby->prefix_size,
				   key.size - standby->prefix_size};
}

static bool is_key(struct etcd_bytes key, const char *text)
{
	return key.size == strlen(text) && memcmp(key.data, text, key.size) == 0;
}

static void mark_take(struct standby *standby, struct etcd_bytes value)
{
	WITH_LOCK(&standby->lock);
	size_t size = value.size < STANDBY_MARK_SIZE ? value.size : STANDBY_MARK_SIZE - 1;
	memcpy(standby->mark, value.data, size);
	standby->mark[size] = '\0';
}

static void leader_take(struct standby *standby, bool there)
{
	pthread_mutex_lock(&standby->lock);
	standby->leader_there = there;
	bool settled = standby->settled;
	pthread_mutex_unlock(&standby->lock);
	if (settled)
		leader_seen(standby->leader, there);
}

static void on_begin(void *context, int64_t expected)
{
	struct standby *standby = context;

	pthread_mutex_lock(&standby->lock);
	standby->settled = false;
	standby->leader_there = false;
	standby->records = 0;
	standby->mark[0] = '\0';
	pthread_mutex_unlock(&standby->lock);
	standby->expected = expected;
	standby->damaged = 0;
	standby->told_ns = clock_ns();
	leader_unseen(standby->leader);
	change_add(standby, CHANGE_FORGET);
}

static void progress_log(struct standby *standby)
{
	uint64_t now_ns = clock_ns();

	if (standby->settled || now_ns - standby->told_ns < PROGRESS_NS)
		return;
	standby->told_ns = now_ns;
	log_info("reading records of etcd records=%lu of=%ld", (unsigned long)standby->records,
		 (long)standby->expected);
}

static void damaged(struct standby *standby, struct etcd_bytes key)
{
	/* Its node tells of it again. */
	if (standby->damaged++ == 0)
		log_error("a record in etcd is damaged, left it out key=%.*s", (int)key.size,
			  (const char *)key.data);
}

static void on_put(void *context, const struct etcd_pair *pair)
{
	struct standby *standby = context;
	struct etcd_bytes key = behind_prefix(standby, pair->key);

	if (is_key(key, "leader")) {
		leader_take(standby, true);
		return;
	}
	if (is_key(key, "journal")) {
		mark_take(standby, pair->value);
		return;
	}
	enum mc_status status = etcd_text_read(key.data, key.size, pair->value.data,
					       pair->value.size, &standby->record);
	if (status == MC_NOT_FOUND)
		return;
	if (status != MC_OK) {
		damaged(standby, pair->key);
		return;
	}
	if (standby->without_objects && standby->record.kind == RECORD_OBJECT)
		return;
	change_add(standby, CHANGE_PUT);
	progress_log(standby);
}

/* Another object may have the name now: the one before goes, if it has no other. */
static void on_replaced(void *context, const struct etcd_pair *before)
{
	struct standby *standby = context;
	struct etcd_bytes key = behind_prefix(standby, before->key);

	if (etcd_text_removed(key.data, key.size, before->value.data, before->value.size,
			      &standby->record) == MC_OK &&
	    (standby->record.kind == RECORD_OBJECT || standby->record.kind == RECORD_DIRECTORY))
		change_add(standby, CHANGE_REMOVED);
}

static void on_removed(void *context, const struct etcd_pair *before)
{
	struct standby *standby = context;
	struct etcd_bytes key = behind_prefix(standby, before->key);

	if (is_key(key, "leader")) {
		leader_take(standby, false);
		standby->wake(standby->context);
	} else if (etcd_text_removed(key.data, key.size, before->value.data, before->value.size,
				     &standby->record) == MC_OK) {
		change_add(standby, CHANGE_REMOVED);
	}
}

static void on_settled(void *context, int64_t revision)
{
	struct standby *standby = context;

	pthread_mutex_lock(&standby->lock);
	standby->settled = true;
	standby->revision = revision;
	bool there = standby->leader_there;
	pthread_mutex_unlock(&standby->lock);
	log_info("read the records of etcd, following records=%lu damaged=%lu",
		 (unsigned long)standby->records, (unsigned long)standby->damaged);
	leader_seen(standby->leader, there);
	failpoint("follow.settled");
	standby->wake(standby->context);
}

static void on_progress(void *context, int64_t revision)
{
	struct standby *standby = context;

	pthread_mutex_lock(&standby->lock);
	standby->revision = revision;
	pthread_mutex_unlock(&standby->lock);
	standby->wake(standby->context);
}

static const struct etcd_follow_events standby_events = {
	.begin = on_begin,
	.put = on_put,
	.removed = on_removed,
	.replaced = on_replaced,
	.settled = on_settled,
	.progress = on_progress,
};

/* Take what waits out of the list. */
static struct change *changes_take(struct standby *standby)
{
	WITH_LOCK(&standby->lock);
	struct change *list = NULL;
	struct change **end = &list;

	for (unsigned i = 0; i < BATCH && standby->head; i++) {
		struct change *change = standby->head;
		standby->head = change->next;
		standby->size -= sizeof(*change) + change->key_size + change->value_size;
		change->next = NULL;
		*end = change;
		end = &change->next;
	}
	if (!standby->head)
		standby->end = &standby->head;
	pthread_cond_signal(&standby->room);
	return list;
}

static enum mc_status change_tell(const struct change *change, const struct journal_reader *reader)
{
	if (change->what == CHANGE_FORGET) {
		if (reader->forget)
			reader->forget(reader->context);
		return MC_OK;
	}
	enum mc_status status =
		reader->visit(reader->context, change->kind, change->bytes, change->key_size,
			      change->what == CHANGE_PUT ? change->bytes + change->key_size : NULL,
			      change->value_size);
	if (status != MC_IO)
		return status;
	/* One record that makes no sense is not the end: its node tells of it again. */
	log_error("a record in etcd makes no sense, left it out kind=%d", change->kind);
	return MC_OK;
}

enum mc_status standby_take(struct standby *standby, const struct journal_reader *reader,
			    uint64_t until_ns)
{
	enum mc_status status = MC_OK;

	while (status == MC_OK) {
		struct change *change = changes_take(standby);
		if (!change)
			return MC_OK;
		failpoint("follow.taken");
		while (change) {
			struct change *next = change->next;
			if (status == MC_OK)
				status = change_tell(change, reader);
			free(change);
			change = next;
		}
		if (status == MC_OK && clock_ns() > until_ns) {
			standby->wake(standby->context);
			return MC_AGAIN;
		}
	}
	return status;
}

bool standby_told(struct standby *standby, int64_t revision)
{
	uint64_t now_ns = clock_ns();

	pthread_mutex_lock(&standby->lock);
	bool told = standby->settled && standby->revision >= revision && !standby->head;
	bool settled = standby->settled;
	pthread_mutex_unlock(&standby->lock);
	if (told || standby->waits_ns == 0) {
		standby->waits_ns = now_ns;
	} else if (settled && now_ns - standby->waits_ns > STALL_NS) {
		/* The watch hangs at a member that is cut off. */
		standby->waits_ns = now_ns;
		etcd_follow_again(standby->follower);
	}
	return told;
}

uint64_t standby_records(struct standby *standby)
{
	WITH_LOCK(&standby->lock);
	return standby->records;
}

void standby_mark(struct standby *standby, char mark[STANDBY_MARK_SIZE])
{
	WITH_LOCK(&standby->lock);
	memcpy(mark, standby->mark, STANDBY_MARK_SIZE);
}

enum mc_status standby_new(const struct standby_config *config, struct standby **standby)
{
	struct standby *s = calloc(1, sizeof(*s));

	if (!s)
		return MC_NO_MEMORY;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->room, NULL);
	s->end = &s->head;
	s->prefix_size = config->prefix.size;
	s->without_objects = config->without_objects;
	s->leader = config->leader;
	s->wake = config->wake;
	s->context = config->context;
	writer_init(&s->record.key);
	writer_init(&s->record.value);
	enum mc_status status =
		etcd_follow(config->etcd, config->prefix, &standby_events, s, &s->follower);
	if (status != MC_OK) {
		standby_free(s);
		return status;
	}
	*standby = s;
	return MC_OK;
}

void standby_free(struct standby *standby)
{
	if (!standby)
		return;
	pthread_mutex_lock(&standby->lock);
	standby->closing = true;
	pthread_cond_signal(&standby->room);
	pthread_mutex_unlock(&standby->lock);
	etcd_unfollow(standby->follower);
	while (standby->head) {
		struct change *next = standby->head->next;
		free(standby->head);
		standby->head = next;
	}
	writer_fini(&standby->record.key);
	writer_fini(&standby->record.value);
	pthread_cond_destroy(&standby->room);
	pthread_mutex_destroy(&standby->lock);
	free(standby);
}
