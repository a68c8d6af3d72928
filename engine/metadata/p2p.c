/*
 * P2PHANDSHAKE: there is no store.  What is put stays here, and is told to
 * whoever connects to our handshake and asks; what others have put is asked of
 * them, since their name is the address of theirs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/metadata/handshake.h"
#include "engine/metadata/segment_desc.h"
#include "engine/metadata/store.h"
#include "engine/metadata/texts.h"

struct p2p {
	struct metadata base;
	/* fixed after open */
	uint32_t timeout_ms;
	enum mc_status (*notified)(void *context, const char *request, char **reply);
	void *context; /* of notified */
	struct handshake *handshake;
	struct texts *texts; /* our own, by key */
	char own_key[METADATA_KEY_SIZE_MAX + 1];
};

static struct p2p *own(const struct metadata *metadata)
{
	return container_of((struct metadata *)metadata, struct p2p, base);
}

static enum mc_status answer(void *context, enum handshake_type type, const char *request,
			     size_t size, char **reply)
{
	struct p2p *p2p = context;
	size_t reply_size;

	(void)size;
	if (type == HANDSHAKE_NOTIFY && p2p->notified)
		return p2p->notified(p2p->context, request, reply);
	if (type != HANDSHAKE_METADATA)
		return MC_NOT_SUPPORTED;
	return texts_get(p2p->texts, p2p->own_key, reply, &reply_size);
}

/* The address in a key of a peer's segment; it must be that very peer's key. */
static bool peer_of(const char *key, bool *is_address, char peer[SEGMENT_NAME_SIZE])
{
	char again[METADATA_KEY_SIZE_MAX + 1];
	const char *name = strrchr(key, '/');

	if (!name || strlen(name + 1) >= SEGMENT_NAME_SIZE)
		return false;
	strcpy(peer, name + 1);
	*is_address =
		segment_address_key(peer, again, sizeof(again)) == MC_OK && strcmp(again, key) == 0;
	if (*is_address)
		return true;
	return segment_key(peer, again, sizeof(again)) == MC_OK && strcmp(again, key) == 0;
}

/* The name of a peer is its address: nobody has to be asked for that. */
static enum mc_status address_text(const char *peer, char **text)
{
	struct segment_address address;
	const char *colon = strrchr(peer, ':');
	char *end;

	if (!colon || colon == peer || (size_t)(colon - peer) >= sizeof(address.host))
		return MC_NOT_FOUND;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end || port == 0 || port > UINT16_MAX)
		return MC_NOT_FOUND;
	bool bracketed = peer[0] == '[' && colon[-1] == ']';
	snprintf(address.host, sizeof(address.host), "%.*s",
		 (int)(colon - peer) - (bracketed ? 2 : 0), peer + bracketed);
	address.port = (uint16_t)port;
	return segment_address_print(&address, text);
}

static enum mc_status ask(struct p2p *p2p, const char *peer, char **text)
{
	CLEANUP_FREE char *ours = NULL;
	size_t size;

	/* Mooncake's engines learn of us by what we ask with. */
	if (texts_get(p2p->texts, p2p->own_key, &ours, &size) != MC_OK)
		ours = NULL;
	enum mc_status status =
		handshake_ask(peer, HANDSHAKE_METADATA, ours ? ours : "{}", p2p->timeout_ms, text);
	/* A name that is no address belongs to nobody. */
	return status == MC_INVALID ? MC_NOT_FOUND : status;
}

static enum mc_status p2p_get(struct metadata *metadata, const char *key, char **text)
{
	struct p2p *p2p = own(metadata);
	char peer[SEGMENT_NAME_SIZE];
	bool is_address;
	size_t size;
	enum mc_status status = texts_get(p2p->texts, key, text, &size);

	if (status != MC_NOT_FOUND)
		return status;
	if (!peer_of(key, &is_address, peer) || strcmp(key, p2p->own_key) == 0)
		return MC_NOT_FOUND;
	return is_address ? address_text(peer, text) : ask(p2p, peer, text);
}

static enum mc_status p2p_put(struct metadata *metadata, const char *key, const char *text)
{
	return texts_put(own(metadata)->texts, key, text, strlen(text));
}

static enum mc_status p2p_remove(struct metadata *metadata, const char *key)
{
	return texts_remove(own(metadata)->texts, key);
}

static const char *p2p_local_name(const struct metadata *metadata)
{
	return handshake_address(own(metadata)->handshake);
}

static void p2p_close(struct metadata *metadata)
{
	struct p2p *p2p = own(metadata);

	handshake_close(p2p->handshake);
	texts_free(p2p->texts);
	free(p2p);
}

static enum mc_status listen_as(struct p2p *p2p, const struct metadata_config *config)
{
	struct handshake_config handshake = {
		.listen_host = config->listen_host,
		.announce_host = config->announce_host,
		.port_first = config->port_first,
		.port_last = config->port_last,
		.answer = answer,
		.context = p2p,
	};
	enum mc_status status = handshake_open(&handshake, &p2p->handshake);

	if (status != MC_OK) {
		log_error("can't listen for the handshake reason=\"%s\"", mc_status_text(status));
		return status;
	}
	status = segment_key(handshake_address(p2p->handshake), p2p->own_key, sizeof(p2p->own_key));
	return status == MC_OK ? handshake_start(p2p->handshake) : status;
}

static enum mc_status p2p_open(const struct metadata_config *config, struct metadata **metadata)
{
	struct p2p *p2p = calloc(1, sizeof(*p2p));

	if (!p2p)
		return MC_NO_MEMORY;
	p2p->base.ops = &metadata_p2p_ops;
	p2p->timeout_ms = config->timeout_ms;
	p2p->notified = config->notified;
	p2p->context = config->context;
	enum mc_status status = texts_new(&p2p->texts);
	if (status == MC_OK)
		status = listen_as(p2p, config);
	if (status != MC_OK) {
		p2p_close(&p2p->base);
		return status;
	}
	*metadata = &p2p->base;
	return MC_OK;
}

const struct metadata_ops metadata_p2p_ops = {
	.open = p2p_open,
	.close = p2p_close,
	.get = p2p_get,
	.put = p2p_put,
	.remove = p2p_remove,
	.local_name = p2p_local_name,
};
