/* Requests as JSON, written by hand: most of their bytes are base64. */
#include "engine/etcd/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/log.h"
#include "engine/base/base64.h"

void etcd_json_text(struct writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

void etcd_json_number(struct writer *w, const char *name, int64_t value)
{
	char text[96];
	int size = snprintf(text, sizeof(text), ",\"%s\":\"%" PRId64 "\"", name, value);

	put_bytes(w, text, (size_t)size);
}

void etcd_json_bytes(struct writer *w, const char *name, struct etcd_bytes bytes)
{
	put_u8(w, '"');
	etcd_json_text(w, name);
	etcd_json_text(w, "\":\"");
	base64_put(w, bytes.data, bytes.size);
	put_u8(w, '"');
}

void etcd_txn_begin(struct etcd_txn *txn)
{
	*txn = (struct etcd_txn){0};
	writer_init(&txn->json);
	etcd_json_text(&txn->json, "{\"compare\":[");
}

static void compare(struct etcd_txn *txn, struct etcd_bytes key, const char *target)
{
	struct writer *w = &txn->json;

	MUST(!txn->branched);
	etcd_json_text(w, txn->listed++ ? ",{" : "{");
	etcd_json_bytes(w, "key", key);
	etcd_json_text(w, ",\"result\":\"EQUAL\",\"target\":\"");
	etcd_json_text(w, target);
	etcd_json_text(w, "\"");
}

void etcd_txn_compare_created(struct etcd_txn *txn, struct etcd_bytes key, int64_t revision)
{
	compare(txn, key, "CREATE");
	etcd_json_number(&txn->json, "create_revision", revision);
	etcd_json_text(&txn->json, "}");
}

void etcd_txn_compare_value(struct etcd_txn *txn, struct etcd_bytes key, struct etcd_bytes value)
{
	compare(txn, key, "VALUE");
	etcd_json_text(&txn->json, ",");
	etcd_json_bytes(&txn->json, "value", value);
	etcd_json_text(&txn->json, "}");
}

static void branch(struct etcd_txn *txn, const char *name)
{
	etcd_json_text(&txn->json, "],\"");
	etcd_json_text(&txn->json, name);
	etcd_json_text(&txn->json, "\":[");
	txn->operations = txn->listed = 0;
	txn->branched = true;
}

void etcd_txn_then(struct etcd_txn *txn)
{
	branch(txn, "success");
}

void etcd_txn_else(struct etcd_txn *txn)
{
	branch(txn, "failure");
}

static struct writer *operation(struct etcd_txn *txn, const char *name)
{
	MUST(txn->branched);
	if (txn->operations++ == ETCD_OPERATION_MAX)
		txn->beyond = true;
	etcd_json_text(&txn->json, txn->listed++ ? ",{\"" : "{\"");
	etcd_json_text(&txn->json, name);
	etcd_json_text(&txn->json, "\":{");
	return &txn->json;
}

void etcd_txn_put(struct etcd_txn *txn, struct etcd_bytes key, struct etcd_bytes value,
		  int64_t lease)
{
	struct writer *w = operation(txn, "request_put");

	etcd_json_bytes(w, "key", key);
	etcd_json_text(w, ",");
	etcd_json_bytes(w, "value", value);
	if (lease)
		etcd_json_number(w, "lease", lease);
	etcd_json_text(w, "}}");
}

void etcd_txn_delete(struct etcd_txn *txn, struct etcd_bytes key)
{
	etcd_json_bytes(operation(txn, "request_delete_range"), "key", key);
	etcd_json_text(&txn->json, "}}");
}

void etcd_txn_get(struct etcd_txn *txn, struct etcd_bytes key)
{
	etcd_json_bytes(operation(txn, "request_range"), "key", key);
	etcd_json_text(&txn->json, "}}");
}

void etcd_txn_send(struct etcd *etcd, struct etcd_txn *txn, bool repeatable, uint32_t timeout_ms,
		   etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new("/v3/kv/txn", done, context);

	if (!txn->branched)
		etcd_txn_then(txn);
	etcd_json_text(&txn->json, "]}");
	if (call) {
		call->body = txn->json;
		call->repeatable = repeatable;
		/* Base64 is larger than what the server counts. */
		if (txn->beyond || txn->json.size / 4 * 3 > ETCD_REQUEST_MAX)
			call->last = MC_TOO_BIG;
		writer_init(&txn->json);
	}
	writer_fini(&txn->json);
	etcd_call_send(etcd, call, timeout_ms, done, context);
}

void etcd_range(struct etcd *etcd, const struct etcd_range *range, uint32_t timeout_ms,
		etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new("/v3/kv/range", done, context);

	if (call) {
		struct writer *w = &call->body;
		etcd_json_text(w, "{");
		etcd_json_bytes(w, "key", range->key);
		if (range->end.size) {
			etcd_json_text(w, ",");
			etcd_json_bytes(w, "range_end", range->end);
		}
		if (range->revision)
			etcd_json_number(w, "revision", range->revision);
		if (range->limit)
			etcd_json_number(w, "limit", range->limit);
		etcd_json_text(w, "}");
		call->repeatable = true;
	}
	etcd_call_send(etcd, call, timeout_ms, done, context);
}

void etcd_put(struct etcd *etcd, struct etcd_bytes key, struct etcd_bytes value, int64_t lease,
	      uint32_t timeout_ms, etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new("/v3/kv/put", done, context);

	if (call) {
		etcd_json_text(&call->body, "{");
		etcd_json_bytes(&call->body, "key", key);
		etcd_json_text(&call->body, ",");
		etcd_json_bytes(&call->body, "value", value);
		if (lease)
			etcd_json_number(&call->body, "lease", lease);
		etcd_json_text(&call->body, "}");
		call->repeatable = true;
		if (key.size + value.size > ETCD_REQUEST_MAX)
			call->last = MC_TOO_BIG;
	}
	etcd_call_send(etcd, call, timeout_ms, done, context);
}

void etcd_delete(struct etcd *etcd, struct etcd_bytes key, struct etcd_bytes end,
		 uint32_t timeout_ms, etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new("/v3/kv/deleterange", done, context);

	if (call) {
		etcd_json_text(&call->body, "{");
		etcd_json_bytes(&call->body, "key", key);
		if (end.size) {
			etcd_json_text(&call->body, ",");
			etcd_json_bytes(&call->body, "range_end", end);
		}
		etcd_json_text(&call->body, "}");
		call->repeatable = true;
	}
	etcd_call_send(etcd, call, timeout_ms, done, context);
}

static void lease_call(struct etcd *etcd, const char *path, const char *name, int64_t value,
		       uint32_t timeout_ms, etcd_done_fn *done, void *context)
{
	struct etcd_call *call = etcd_call_new(path, done, context);

	if (call) {
		char text[64];
		snprintf(text, sizeof(text), "{\"%s\":\"%" PRId64 "\"}", name, value);
		etcd_json_text(&call->body, text);
		/* A lease granted twice ends by itself. */
		call->repeatable = true;
	}
	etcd_call_send(etcd, call, timeout_ms, done, context);
}

void etcd_lease_grant(struct etcd *etcd, int64_t ttl_s, uint32_t timeout_ms, etcd_done_fn *done,
		      void *context)
{
	lease_call(etcd, "/v3/lease/grant", "TTL", ttl_s, timeout_ms, done, context);
}

void etcd_lease_keepalive(struct etcd *etcd, int64_t lease, uint32_t timeout_ms, etcd_done_fn *done,
			  void *context)
{
	lease_call(etcd, "/v3/lease/keepalive", "ID", lease, timeout_ms, done, context);
}

void etcd_lease_revoke(struct etcd *etcd, int64_t lease, uint32_t timeout_ms, etcd_done_fn *done,
		       void *context)
{
	lease_call(etcd, "/v3/lease/revoke", "ID", lease, timeout_ms, done, context);
}

void etcd_prefix_end(struct etcd_bytes prefix, struct writer *end)
{
	const uint8_t *bytes = prefix.data;
	size_t size = prefix.size;

	while (size > 0 && bytes[size - 1] == 0xff)
		size--;
	if (size == 0) {
		put_u8(end, 0);
		return;
	}
	put_bytes(end, bytes, size - 1);
	put_u8(end, (uint8_t)(bytes[size - 1] + 1));
}
