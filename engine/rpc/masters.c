#include "engine/rpc/masters.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/net.h"
#include "engine/etcd/url.h"

#define WAIT_MS	 1000u
#define KEY_SIZE 160u

struct masters {
	char *text; /* cut into pieces */
	const char *addresses[MASTERS_COUNT_MAX];
	size_t count;
	size_t next;

	/* protected by lock: what a look found */
	pthread_mutex_t lock;
	bool asking;
	bool outdated;			  /* what is asked for is of the master before */
	char found[MASTERS_ADDRESS_SIZE]; /* "": nothing */

	struct etcd *etcd; /* NULL: a list */
	struct etcd_url url;
	char key[KEY_SIZE];
};

static enum mc_status list_parse(struct masters *masters)
{
	char *rest = masters->text;

	for (char *word; (word = strsep(&rest, ","));) {
		if (masters->count == MASTERS_COUNT_MAX || !word[0])
			return MC_INVALID;
		masters->addresses[masters->count++] = word;
	}
	return MC_OK;
}

static enum mc_status etcd_take(struct masters *masters)
{
	enum mc_status status = etcd_url_parse(masters->text, &masters->url);

	if (status != MC_OK)
		return status;
	if ((size_t)snprintf(masters->key, KEY_SIZE, "/mooncake/%s/leader", masters->url.cluster) >=
	    KEY_SIZE)
		return MC_INVALID;
	masters->url.config.timeout_ms = WAIT_MS;
	masters->url.config.connections = 1;
	return etcd_open(&masters->url.config, &masters->etcd);
}

enum mc_status masters_open(const char *text, struct masters **masters)
{
	struct masters *m = calloc(1, sizeof(*m));

	if (!m)
		return MC_NO_MEMORY;
	pthread_mutex_init(&m->lock, NULL);
	m->text = strdup(text);
	enum mc_status status = m->text ? MC_OK : MC_NO_MEMORY;
	if (status == MC_OK)
		status = strncmp(text, ETCD_URL_HEAD, strlen(ETCD_URL_HEAD)) == 0 ? etcd_take(m)
										  : list_parse(m);
	if (status != MC_OK) {
		masters_close(m);
		return status;
	}
	*masters = m;
	return MC_OK;
}

void masters_close(struct masters *masters)
{
	if (!masters)
		return;
	etcd_close(masters->etcd);
	etcd_url_fini(&masters->url);
	pthread_mutex_destroy(&masters->lock);
	free(masters->text);
	free(masters);
}

size_t masters_count(const struct masters *masters)
{
	return masters->count;
}

const char *masters_at(const struct masters *masters, size_t index)
{
	return masters->addresses[index];
}

/* "address=ADDRESS name=NAME" */
static enum mc_status leader_parse(const char *text, size_t size,
				   char address[MASTERS_ADDRESS_SIZE])
{
	static const char head[] = "address=";

	if (size < strlen(head) || memcmp(text, head, strlen(head)) != 0)
		return MC_PROTOCOL;
	text += strlen(head);
	size -= strlen(head);
	const char *end = memchr(text, ' ', size);
	if (end)
		size = (size_t)(end - text);
	if (size == 0 || size >= MASTERS_ADDRESS_SIZE)
		return MC_PROTOCOL;
	memcpy(address, text, size);
	address[size] = '\0';
	return MC_OK;
}

/* What a look said, or is about to, was of the master before. */
static void forget_look(struct masters *masters)
{
	WITH_LOCK(&masters->lock);
	masters->found[0] = '\0';
	masters->outdated = masters->asking;
}

enum mc_status masters_next(struct masters *masters, char address[MASTERS_ADDRESS_SIZE])
{
	struct writer value;

	forget_look(masters);
	if (!masters->etcd) {
		snprintf(address, MASTERS_ADDRESS_SIZE, "%s", masters->addresses[masters->next]);
		masters->next = (masters->next + 1) % masters->count;
		return MC_OK;
	}
	writer_init(&value);
	enum mc_status status = etcd_get_wait(masters->etcd, ETCD_TEXT(masters->key), &value);
	if (status == MC_OK)
		status = leader_parse((const char *)value.data, value.size, address);
	writer_fini(&value);
	return status;
}

static void looked(void *context, struct etcd_reply *reply)
{
	struct masters *masters = context;

	WITH_LOCK(&masters->lock);
	bool outdated = masters->outdated;
	masters->asking = masters->outdated = false;
	if (!outdated && reply->status == MC_OK && reply->pair_count == 1 &&
	    leader_parse(reply->pairs[0].value.data, reply->pairs[0].value.size, masters->found) !=
		    MC_OK)
		masters->found[0] = '\0';
}

static void look_in_etcd(struct masters *masters)
{
	struct etcd_range range = {.key = ETCD_TEXT(masters->key)};

	pthread_mutex_lock(&masters->lock);
	bool ask = !masters->asking;
	masters->asking = true;
	pthread_mutex_unlock(&masters->lock);
	if (ask)
		etcd_range(masters->etcd, &range, 0, looked, masters);
}

/* Whoever keeps a connection leads; a standby hangs up. */
static bool keeps_connection(const char *text)
{
	struct net_address address;
	char byte;
	int fd;

	if (strncmp(text, "unix:", 5) == 0 || net_resolve(text, &address) != MC_OK ||
	    net_connect(&address, MASTERS_LOOK_MS, &fd) != MC_OK)
		return false;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	bool silent = poll(&poll_fd, 1, MASTERS_LOOK_MS) == 0;
	bool keeps = silent || recv(fd, &byte, 1, MSG_DONTWAIT) > 0;
	close(fd);
	return keeps;
}

static void look_in_list(struct masters *masters, const char *current)
{
	for (size_t i = 0; i < masters->count; i++) {
		if (strcmp(masters->addresses[i], current) == 0 ||
		    !keeps_connection(masters->addresses[i]))
			continue;
		masters->next = i;
		snprintf(masters->found, sizeof(masters->found), "%s", masters->addresses[i]);
		return;
	}
}

void masters_look(struct masters *masters, const char *current)
{
	if (masters->etcd)
		look_in_etcd(masters);
	else
		look_in_list(masters, current);
}

bool masters_moved(struct masters *masters, const char *current)
{
	WITH_LOCK(&masters->lock);
	bool moved = masters->found[0] && strcmp(masters->found, current) != 0;
	masters->found[0] = '\0';
	return moved;
}

bool masters_untried(const struct masters *masters)
{
	return !masters->etcd && masters->next != 0;
}
