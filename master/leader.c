#include "master/leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/failpoint.h"
#include "engine/base/log.h"

#define SECOND_NS   1000000000ull
#define CAMPAIGN_NS (SECOND_NS / 2) /* between campaigns while the key is not there */
#define LOOK_NS	    (SECOND_NS / 2) /* between looks while it is */
#define RENEWALS    4u		    /* in the time of a lease */
#define TICK_MS	    200u
#define VALUE_SIZE  256u

struct leader {
	/* fixed after init */
	struct etcd *etcd;
	struct writer prefix;
	struct writer key;
	uint32_t lease_s;
	unsigned lanes;
	void (*changed)(void *context);
	void *context;
	char address[VALUE_SIZE];

	/* protected by lock */
	pthread_mutex_t lock;
	enum leader_state state;
	enum mc_status trouble; /* what kept it from being elected, as logged */
	char name[LEADER_NAME_SIZE];
	int64_t lease; /* 0: none */
	int64_t token;
	bool followed;	      /* a follower has read all, and tells of the key */
	bool absent;	      /* the key, as far as we know */
	bool looking;	      /* it is asked for */
	bool renewing;	      /* a renewal is under way */
	uint64_t asked_ns;    /* when the renewal or grant under way was asked for */
	uint64_t until_ns;    /* we may write until then */
	uint64_t campaign_ns; /* no campaign before */
	uint64_t look_ns;     /* no look before */
	uint64_t ticked_ns;   /* by the master, last */
};

static struct etcd_bytes written(const struct writer *w)
{
	return (struct etcd_bytes){w->data, w->size};
}

static uint64_t usable_ns(const struct leader *leader)
{
	return leader->lease_s * SECOND_NS / LEADER_MARGIN * (LEADER_MARGIN - 1);
}

static uint32_t timeout_ms(const struct leader *leader)
{
	return leader->lease_s * 1000 / 2;
}

static void nothing(void *context, struct etcd_reply *reply)
{
	(void)context;
	(void)reply;
}

/* Back to the start; the lease ends by itself or at once. */
static void standby_locked(struct leader *leader, bool revoke)
{
	if (revoke && leader->lease)
		etcd_lease_revoke(leader->etcd, leader->lease, timeout_ms(leader), nothing, NULL);
	/* A leader follows nobody, and has to read all again. */
	if (leader->state != LEADER_CAMPAIGN)
		leader->followed = false;
	leader->state = LEADER_STANDBY;
	leader->lease = 0;
	leader->token = 0;
	leader->absent = false;
	leader->campaign_ns = clock_ns() + CAMPAIGN_NS;
}

static void renewed(void *context, struct etcd_reply *reply)
{
	struct leader *leader = context;

	failpoint("lease.answered");
	pthread_mutex_lock(&leader->lock);
	leader->renewing = false;
	bool ours = leader->state == LEADER_LEADER || leader->state == LEADER_UNSURE;
	/* The answer may be about the lease of a lead before. */
	ours = ours && (reply->status != MC_OK || reply->lease == leader->lease);
	if (ours && reply->status == MC_OK && reply->ttl_s > 0) {
		leader->until_ns = leader->asked_ns + usable_ns(leader);
		if (leader->state == LEADER_UNSURE && leader->until_ns > clock_ns()) {
			log_warn("the lease was renewed, took changes up again");
			leader->state = LEADER_LEADER;
		}
	} else if (ours && reply->status == MC_OK) {
		log_error("the lease ended, not the leader any more");
		standby_locked(leader, false);
	}
	pthread_mutex_unlock(&leader->lock);
	leader->changed(leader->context);
}

static void renew_locked(struct leader *leader, uint64_t now_ns)
{
	if (now_ns > leader->until_ns && leader->state == LEADER_LEADER) {
		log_error("can't renew the lease, refusing changes");
		leader->state = LEADER_UNSURE;
	}
	if (leader->renewing || now_ns < leader->asked_ns + leader->lease_s * SECOND_NS / RENEWALS)
		return;
	failpoint("lease.due");
	leader->renewing = true;
	leader->asked_ns = now_ns;
	etcd_lease_keepalive(leader->etcd, leader->lease, timeout_ms(leader), renewed, leader);
}

/* The key in an answer has our name: an answer before was lost. */
static bool pair_is_ours(const struct leader *leader, const struct etcd_reply *reply)
{
	char value[VALUE_SIZE + 1];
	size_t size;

	if (reply->pair_count == 0)
		return false;
	size = reply->pairs[0].value.size < VALUE_SIZE ? reply->pairs[0].value.size : VALUE_SIZE;
	memcpy(value, reply->pairs[0].value.data, size);
	value[size] = '\0';
	return strstr(value, leader->name) != NULL;
}

/* Who could be elected says once why it is not. */
static void trouble_note(struct leader *leader, enum mc_status status)
{
	if (status != MC_OK && status != MC_CANCELLED && status != leader->trouble)
		log_error("etcd elects nobody reason=\"%s\"", mc_status_text(status));
	leader->trouble = status;
}

static void elected_locked(struct leader *leader, int64_t token)
{
	leader->token = token;
	leader->until_ns = leader->asked_ns + usable_ns(leader);
	leader->state = LEADER_LEADER;
	leader->renewing = false;
	log_info("elected leader token=%" PRId64 " lease_s=%u", token, leader->lease_s);
}

static void campaigned(void *context, struct etcd_reply *reply)
{
	struct leader *leader = context;

	failpoint("election.answered");
	pthread_mutex_lock(&leader->lock);
	trouble_note(leader, reply->status);
	if (reply->status == MC_OK && reply->succeeded) {
		elected_locked(leader, reply->revision);
	} else if (reply->status == MC_OK && pair_is_ours(leader, reply)) {
		elected_locked(leader, reply->pairs[0].create_revision);
	} else {
		/* The lease goes with it: should the key have been put, it goes too. */
		standby_locked(leader, true);
	}
	pthread_mutex_unlock(&leader->lock);
	leader->changed(leader->context);
}

static void lanes_put(const struct leader *leader, struct etcd_txn *txn)
{
	char value[LEADER_NAME_SIZE + 4];
	struct writer key;

	snprintf(value, sizeof(value), "%s 0", leader->name);
	writer_init(&key);
	for (unsigned i = 0; i < leader->lanes; i++) {
		char name[32];
		int size = snprintf(name, sizeof(name), "lanes/%u", i);
		writer_reset(&key);
		put_bytes(&key, leader->prefix.data, leader->prefix.size);
		put_bytes(&key, name, (size_t)size);
		etcd_txn_put(txn, written(&key), ETCD_TEXT(value), 0);
	}
	writer_fini(&key);
}

static void campaign_send_locked(struct leader *leader)
{
	char value[VALUE_SIZE + 64];
	struct etcd_txn txn;

	snprintf(value, sizeof(value), "address=%s name=%s", leader->address, leader->name);
	etcd_txn_begin(&txn);
	etcd_txn_compare_created(&txn, written(&leader->key), 0);
	etcd_txn_then(&txn);
	etcd_txn_put(&txn, written(&leader->key), ETCD_TEXT(value), leader->lease);
	lanes_put(leader, &txn);
	etcd_txn_else(&txn);
	etcd_txn_get(&txn, written(&leader->key));
	/* Twice does no harm: the second finds the key. */
	etcd_txn_send(leader->etcd, &txn, true, timeout_ms(leader), campaigned, leader);
}

static void granted(void *context, struct etcd_reply *reply)
{
	struct leader *leader = context;

	WITH_LOCK(&leader->lock);
	if (reply->status == MC_OK && reply->lease) {
		leader->lease = reply->lease;
		failpoint("election.granted");
		campaign_send_locked(leader);
		failpoint("election.sent");
	} else {
		trouble_note(leader, reply->status);
		standby_locked(leader, false);
	}
}

static void campaign_locked(struct leader *leader, uint64_t now_ns)
{
	uint64_t random = now_ns;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		log_debug("no random name");
	snprintf(leader->name, sizeof(leader->name), "%016" PRIx64, random);
	leader->state = LEADER_CAMPAIGN;
	leader->asked_ns = now_ns;
	etcd_lease_grant(leader->etcd, leader->lease_s, timeout_ms(leader), granted, leader);
}

static void looked(void *context, struct etcd_reply *reply)
{
	struct leader *leader = context;

	WITH_LOCK(&leader->lock);
	leader->looking = false;
	if (reply->status == MC_OK && reply->pair_count == 0 && leader->state == LEADER_STANDBY &&
	    leader->followed)
		leader->absent = true;
}

/* What follows may hang at a member that is cut off, and a campaign may have failed. */
static void look_locked(struct leader *leader, uint64_t now_ns)
{
	const struct etcd_range range = {.key = written(&leader->key)};

	if (leader->looking || now_ns < leader->look_ns)
		return;
	leader->looking = true;
	leader->look_ns = now_ns + LOOK_NS;
	etcd_range(leader->etcd, &range, timeout_ms(leader), looked, leader);
}

static void step_locked(struct leader *leader, uint64_t now_ns)
{
	switch (leader->state) {
	case LEADER_STANDBY:
		if (leader->absent && now_ns >= leader->campaign_ns)
			campaign_locked(leader, now_ns);
		else if (leader->followed && !leader->absent)
			look_locked(leader, now_ns);
		break;
	case LEADER_CAMPAIGN:
		break;
	case LEADER_LEADER:
	case LEADER_UNSURE:
		renew_locked(leader, now_ns);
		break;
	}
}

void leader_tick(struct leader *leader)
{
	WITH_LOCK(&leader->lock);
	leader->ticked_ns = clock_ns();
	step_locked(leader, leader->ticked_ns);
}

/* The same by the client's thread, while the master is busy. */
static void ticked(void *context, struct etcd_reply *reply)
{
	struct leader *leader = context;
	uint64_t now_ns = clock_ns();

	if (reply->status != MC_TIMEOUT)
		return;
	pthread_mutex_lock(&leader->lock);
	if (now_ns - leader->ticked_ns < LEADER_PATIENCE_MS * 1000000ull)
		step_locked(leader, now_ns);
	pthread_mutex_unlock(&leader->lock);
	etcd_after(leader->etcd, TICK_MS, ticked, leader);
}

void leader_seen(struct leader *leader, bool there)
{
	WITH_LOCK(&leader->lock);
	leader->followed = true;
	leader->absent = !there;
}

void leader_unseen(struct leader *leader)
{
	WITH_LOCK(&leader->lock);
	leader->followed = leader->absent = false;
}

void leader_lost(struct leader *leader)
{
	pthread_mutex_lock(&leader->lock);
	if (leader->state == LEADER_LEADER || leader->state == LEADER_UNSURE) {
		log_error("another master leads, not the leader any more");
		standby_locked(leader, true);
	}
	pthread_mutex_unlock(&leader->lock);
	leader->changed(leader->context);
}

void leader_resign(struct leader *leader)
{
	WITH_LOCK(&leader->lock);
	if (leader->state != LEADER_LEADER && leader->state != LEADER_UNSURE)
		return;
	log_info("gave the lead up");
	failpoint("resign.begun");
	standby_locked(leader, true);
	failpoint("resign.sent");
	leader->campaign_ns = clock_ns() + leader->lease_s * SECOND_NS;
}

enum leader_state leader_state(struct leader *leader)
{
	WITH_LOCK(&leader->lock);
	/* Time runs out between ticks too. */
	if (leader->state == LEADER_LEADER && clock_ns() > leader->until_ns)
		return LEADER_UNSURE;
	return leader->state;
}

int64_t leader_token(struct leader *leader)
{
	WITH_LOCK(&leader->lock);
	return leader->token;
}

void leader_name(struct leader *leader, char name[LEADER_NAME_SIZE])
{
	WITH_LOCK(&leader->lock);
	memcpy(name, leader->name, LEADER_NAME_SIZE);
}

void leader_announce(struct leader *leader, const char *address)
{
	snprintf(leader->address, sizeof(leader->address), "%s", address);
}

enum mc_status leader_new(const struct leader_config *config, struct leader **leader)
{
	struct leader *l = calloc(1, sizeof(*l));
	pthread_mutexattr_t recursive;

	if (!l)
		return MC_NO_MEMORY;
	/* Recursive: a client that is closing answers a request at once. */
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&l->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	writer_init(&l->prefix);
	writer_init(&l->key);
	put_bytes(&l->prefix, config->prefix.data, config->prefix.size);
	put_bytes(&l->key, config->prefix.data, config->prefix.size);
	put_bytes(&l->key, "leader", 6);
	l->lease_s = config->lease_s < LEADER_LEASE_S_MIN ? LEADER_LEASE_S_MIN : config->lease_s;
	l->lanes = config->lanes;
	l->changed = config->changed;
	l->context = config->context;
	enum mc_status status = l->prefix.failed || l->key.failed
					? MC_NO_MEMORY
					: etcd_open(config->etcd, &l->etcd);
	if (status != MC_OK) {
		leader_free(l);
		return status;
	}
	l->ticked_ns = clock_ns();
	etcd_after(l->etcd, TICK_MS, ticked, l);
	*leader = l;
	return MC_OK;
}

/* Wait for the revocation: another master takes over at once. */
static void lease_end(struct leader *leader)
{
	struct etcd_waiter waiter;

	pthread_mutex_lock(&leader->lock);
	int64_t lease = leader->lease;
	leader->lease = 0;
	leader->state = LEADER_STANDBY;
	pthread_mutex_unlock(&leader->lock);
	if (lease == 0)
		return;
	etcd_waiter_init(&waiter);
	etcd_lease_revoke(leader->etcd, lease, 1000, etcd_waiter_done, &waiter);
	etcd_reply_free(etcd_waiter_wait(&waiter));
}

void leader_free(struct leader *leader)
{
	if (!leader)
		return;
	if (leader->etcd) {
		lease_end(leader);
		etcd_close(leader->etcd);
	}
	writer_fini(&leader->prefix);
	writer_fini(&leader->key);
	pthread_mutex_destroy(&leader->lock);
	free(leader);
}
