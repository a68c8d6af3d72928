#include "master/etcd_text.h"

#include <string.h>

#include "engine/rpc/wire.h"

#define REPLICA_MASK 0xfffu
#define REPLICA_FLAG 0x1000u /* a cached one */

enum field_type {
	FIELD_ID,
	FIELD_U8,
	FIELD_U32,
	FIELD_U64,
	FIELD_OCTAL,
	FIELD_TIME,
	FIELD_TEXT,
	FIELD_LIST, /* of texts */
	FIELD_XATTRS,
	FIELD_REPLICAS,
};

struct field {
	const char *name;
	enum field_type type;
	uint8_t since; /* version of the record that has it first; 0: all have it */
};

static const struct field meta_fields[] = {
	{"cluster", FIELD_ID},
	{"epoch", FIELD_U32},
	{"id_next", FIELD_ID},
	{"id_known", FIELD_ID},
	{NULL},
};

static const struct field node_fields[] = {
	{"id", FIELD_U32},
	{"name", FIELD_TEXT},
	{"host", FIELD_TEXT},
	{"draining", FIELD_U8, 2},
	{NULL},
};

static const struct field policy_fields[] = {
	{"prefix", FIELD_TEXT}, {"replicas", FIELD_U8},	   {"ack", FIELD_U8},
	{"pin", FIELD_U8},	{"preferred", FIELD_LIST}, {NULL},
};

static const struct field deed_fields[] = {
	{"what", FIELD_U8}, {"number", FIELD_U64}, {"request", FIELD_ID}, {"item", FIELD_U32},
	{"id", FIELD_ID},   {"version", FIELD_ID}, {"done", FIELD_U64},	  {NULL},
};

/* Behind parent and sequence and name, which the key and the first word have. */
#define ENTRY_FIELDS                                                                               \
	{"id", FIELD_ID}, {"version", FIELD_ID}, {"size", FIELD_U64}, {"allocated", FIELD_U64},    \
		{"mode", FIELD_OCTAL}, {"uid", FIELD_U32}, {"gid", FIELD_U32},                     \
		{"nlink", FIELD_U32}, {"flags", FIELD_U32}, {"atime", FIELD_TIME},                 \
		{"mtime", FIELD_TIME}, {"ctime", FIELD_TIME},                                      \
	{                                                                                          \
		"xattrs", FIELD_XATTRS                                                             \
	}

static const struct field directory_fields[] = {ENTRY_FIELDS, {NULL}};
static const struct field object_fields[] = {
	ENTRY_FIELDS, {"raised", FIELD_U32}, {"replicas", FIELD_REPLICAS}, {NULL}};

static const struct {
	const char *word;
	const struct field *fields;
	uint8_t version_max; /* of the record, see record.h */
} kinds[] = {
	[RECORD_META] = {"meta", meta_fields, 1},
	[RECORD_NODE] = {"node", node_fields, 2},
	[RECORD_DIRECTORY] = {"directory", directory_fields, 1},
	[RECORD_OBJECT] = {"object", object_fields, 1},
	[RECORD_POLICY] = {"policy", policy_fields, 1},
	[RECORD_DEED] = {"deed", deed_fields, 1},
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* Numbers come from outside: 0 is none, and there may be kinds of tomorrow. */
static bool is_known(enum record_kind kind)
{
	return kind < KIND_COUNT && kinds[kind].word;
}

static bool is_entry(enum record_kind kind)
{
	return kind == RECORD_DIRECTORY || kind == RECORD_OBJECT;
}

/* -- writing -- */

static void put_text(struct writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

static void put_number(struct writer *w, uint64_t value, unsigned base)
{
	char text[24];
	char *at = text + sizeof(text);

	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put_bytes(w, at, (size_t)(text + sizeof(text) - at));
}

static void put_hex(struct writer *w, const uint8_t *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char *to = writer_reserve(w, size * 2);

	for (size_t i = 0; to && i < size; i++) {
		to[2 * i] = digits[bytes[i] >> 4];
		to[2 * i + 1] = digits[bytes[i] & 15];
	}
}

static void put_word(struct writer *w, const char *name)
{
	put_u8(w, ' ');
	put_text(w, name);
	put_u8(w, '=');
}

static void put_nanoseconds(struct writer *w, uint32_t ns)
{
	char text[10] = ".";

	for (int i = 9; i > 0; i--, ns /= 10)
		text[i] = (char)('0' + ns % 10);
	put_bytes(w, text, sizeof(text));
}

static void time_write(struct writer *w, const char *name, struct reader *r)
{
	int64_t s = (int64_t)get_u64(r);
	uint32_t ns = get_u32(r);

	if (ns > 999999999)
		r->failed = true; /* for `raw` */
	if (s == 0 && ns == 0)
		return;
	put_word(w, name);
	if (s < 0)
		put_u8(w, '-');
	put_number(w, s < 0 ? 0 - (uint64_t)s : (uint64_t)s, 10);
	put_nanoseconds(w, ns);
}

static void put_encoded(struct writer *w, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)text[i];
		if (byte > ' ' && byte < 0x7f && byte != '%' && byte != ',') {
			put_u8(w, byte);
		} else {
			put_u8(w, '%');
			put_hex(w, &byte, 1);
		}
	}
}

static void text_write(struct writer *w, const char *name, struct reader *r)
{
	size_t size;
	const char *text = get_string(r, &size);

	if (size == 0)
		return;
	put_word(w, name);
	put_encoded(w, text, size);
}

static void list_write(struct writer *w, const char *name, struct reader *r)
{
	uint8_t count = get_u8(r);
	size_t size;

	if (count)
		put_word(w, name);
	for (uint8_t i = 0; i < count && !r->failed; i++) {
		const char *text = get_string(r, &size);
		if (i)
			put_u8(w, ',');
		put_encoded(w, text, size);
	}
}

static void xattrs_write(struct writer *w, const char *name, struct reader *r)
{
	size_t begin = r->offset;
	size_t size;
	uint16_t count = get_u16(r);

	for (unsigned i = 0; i < 2u * count && !r->failed; i++)
		(void)get_string(r, &size);
	if (count == 0 || r->failed)
		return;
	put_word(w, name);
	put_hex(w, r->data + begin, r->offset - begin);
}

static void replicas_write(struct writer *w, const char *name, struct reader *r)
{
	uint8_t count = get_u8(r);

	if (count)
		put_word(w, name);
	for (uint8_t i = 0; i < count && !r->failed; i++) {
		uint16_t replica = get_u16(r);
		/* Bits that mean nothing here would be lost: then `raw` is used. */
		if (replica & ~(REPLICA_MASK | REPLICA_FLAG))
			r->failed = true;
		if (i)
			put_u8(w, ',');
		put_number(w, (replica & REPLICA_MASK) + 1u, 10);
		if (replica & REPLICA_FLAG)
			put_u8(w, 'c');
	}
}

static void number_write(struct writer *w, const char *name, uint64_t value, unsigned base)
{
	if (value == 0)
		return;
	put_word(w, name);
	put_number(w, value, base);
}

static void field_write(struct writer *w, const struct field *field, struct reader *r)
{
	switch (field->type) {
	case FIELD_ID:
		number_write(w, field->name, get_u64(r), 16);
		break;
	case FIELD_U8:
		number_write(w, field->name, get_u8(r), 10);
		break;
	case FIELD_U32:
		number_write(w, field->name, get_u32(r), 10);
		break;
	case FIELD_U64:
		number_write(w, field->name, get_u64(r), 10);
		break;
	case FIELD_OCTAL:
		number_write(w, field->name, get_u32(r), 8);
		break;
	case FIELD_TIME:
		time_write(w, field->name, r);
		break;
	case FIELD_TEXT:
		text_write(w, field->name, r);
		break;
	case FIELD_LIST:
		list_write(w, field->name, r);
		break;
	case FIELD_XATTRS:
		xattrs_write(w, field->name, r);
		break;
	case FIELD_REPLICAS:
		replicas_write(w, field->name, r);
		break;
	}
}

void etcd_text_place(struct writer *w, uint64_t parent, const char *name, size_t name_size)
{
	put_text(w, "objects/");
	put_number(w, parent, 16);
	put_u8(w, '/');
	put_bytes(w, name, name_size);
}

bool etcd_text_key(struct writer *w, enum record_kind kind, const uint8_t *key, size_t key_size,
		   const uint8_t *value, size_t value_size)
{
	struct reader r;
	size_t name_size;

	if (kind == RECORD_META) {
		put_text(w, "config");
		return true;
	}
	if (is_entry(kind)) {
		reader_init(&r, value, value_size);
		(void)get_u8(&r);
		uint64_t parent = get_u64(&r);
		(void)get_u64(&r);
		const char *name = get_string(&r, &name_size);
		if (r.failed)
			return false;
		etcd_text_place(w, parent, name, name_size);
		return true;
	}
	if (kind == RECORD_NODE) {
		put_text(w, "nodes/");
	} else if (kind == RECORD_POLICY) {
		put_text(w, "policies/");
	} else if (kind == RECORD_DEED) {
		put_text(w, "deeds/");
	} else {
		put_text(w, "records/");
		put_number(w, kind, 10);
		put_u8(w, '/');
	}
	put_hex(w, key, key_size);
	return true;
}

/* False: there is more to it than its fields can say. */
static bool fields_write(struct writer *w, enum record_kind kind, struct reader *r)
{
	size_t name_size;

	if (!is_known(kind))
		return false;
	uint8_t version = get_u8(r);
	if (version == 0 || version > kinds[kind].version_max)
		return false;
	put_text(w, kinds[kind].word);
	if (version > 1)
		number_write(w, "v", version, 10);
	if (is_entry(kind)) {
		(void)get_u64(r);
		number_write(w, "sequence", get_u64(r), 10);
		(void)get_string(r, &name_size);
	}
	for (const struct field *field = kinds[kind].fields; field->name && !r->failed; field++) {
		if (field->since <= version)
			field_write(w, field, r);
	}
	return !r->failed;
}

void etcd_text_value(struct writer *w, enum record_kind kind, const uint8_t *value,
		     size_t value_size)
{
	size_t begin = w->size;
	struct reader r;

	reader_init(&r, value, value_size);
	if (!fields_write(w, kind, &r)) {
		if (!w->failed)
			w->size = begin;
		put_text(w, is_entry(kind) ? kinds[kind].word : "record");
		put_word(w, "raw");
		put_hex(w, value, value_size);
	} else if (r.offset < r.size) {
		put_word(w, "rest");
		put_hex(w, r.data + r.offset, r.size - r.offset);
	}
}

/* -- reading -- */

struct text {
	const char *at;
	const char *end;
	bool failed;
};

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

static uint64_t get_number(struct text *t, unsigned base)
{
	uint64_t value = 0;
	const char *begin = t->at;

	for (; t->at < t->end; t->at++) {
		unsigned digit = (unsigned)digit_of(*t->at);
		if (digit >= base)
			break;
		if (value > (UINT64_MAX - digit) / base)
			t->failed = true;
		value = value * base + digit;
	}
	if (t->at == begin)
		t->failed = true;
	return value;
}

static uint8_t get_number_8(struct text *t)
{
	uint64_t value = get_number(t, 10);

	if (value > UINT8_MAX)
		t->failed = true;
	return (uint8_t)value;
}

static uint32_t get_number_32(struct text *t, unsigned base)
{
	uint64_t value = get_number(t, base);

	if (value > UINT32_MAX)
		t->failed = true;
	return (uint32_t)value;
}

static bool at_word_end(const struct text *t)
{
	return t->at == t->end || *t->at == ' ';
}

static void get_hex(struct text *t, struct writer *w)
{
	for (; !at_word_end(t); t->at += 2) {
		int high = digit_of(t->at[0]);
		int low = t->at + 1 < t->end ? digit_of(t->at[1]) : 99;
		if (high > 15 || low > 15) {
			t->failed = true;
			return;
		}
		put_u8(w, (uint8_t)(high << 4 | low));
	}
}

/* Step over " name=".  False: the next word is another. */
static bool take_word(struct text *t, const char *name)
{
	size_t size = strlen(name);

	if ((size_t)(t->end - t->at) < size + 2 || t->at[0] != ' ' ||
	    memcmp(t->at + 1, name, size) != 0 || t->at[size + 1] != '=')
		return false;
	t->at += size + 2;
	return true;
}

static bool take(struct text *t, const char *bytes)
{
	size_t size = strlen(bytes);

	if ((size_t)(t->end - t->at) < size || memcmp(t->at, bytes, size) != 0)
		return false;
	t->at += size;
	return true;
}

static void time_read(struct writer *w, struct text *t)
{
	bool negative = take(t, "-");
	uint64_t s = get_number(t, 10);

	if (!take(t, "."))
		t->failed = true;
	put_u64(w, negative ? 0 - s : s);
	put_u32(w, get_number_32(t, 10));
}

static void text_read(struct writer *w, struct text *t)
{
	size_t at = w->size;

	put_u16(w, 0);
	while (!at_word_end(t) && *t->at != ',' && !t->failed) {
		if (*t->at != '%') {
			put_u8(w, (uint8_t)*t->at++);
			continue;
		}
		struct text byte = {t->at + 1, t->at + 3, false};
		if (t->end - t->at < 3) {
			t->failed = true;
			return;
		}
		get_hex(&byte, w);
		t->failed = byte.failed;
		t->at += 3;
	}
	if (!w->failed && w->size - at - 2 <= UINT16_MAX)
		patch_u16(w, at, (uint16_t)(w->size - at - 2));
	else
		t->failed = true;
}

static void list_read(struct writer *w, struct text *t)
{
	size_t at = w->size;
	uint8_t count = 0;

	put_u8(w, 0);
	do {
		text_read(w, t);
		if (count++ == UINT8_MAX)
			t->failed = true;
	} while (take(t, ",") && !t->failed);
	if (!w->failed)
		w->data[at] = count;
}

static void replicas_read(struct writer *w, struct text *t)
{
	size_t at = w->size;
	uint8_t count = 0;

	put_u8(w, 0);
	do {
		uint32_t node = get_number_32(t, 10);
		if (node == 0 || node - 1 > REPLICA_MASK || count == UINT8_MAX) {
			t->failed = true;
			return;
		}
		put_u16(w, (uint16_t)((node - 1) | (take(t, "c") ? REPLICA_FLAG : 0)));
		count++;
	} while (take(t, ","));
	if (!w->failed)
		w->data[at] = count;
}

static void field_read(struct writer *w, const struct field *field, struct text *t)
{
	bool there = take_word(t, field->name);

	switch (field->type) {
	case FIELD_ID:
		put_u64(w, there ? get_number(t, 16) : 0);
		break;
	case FIELD_U64:
		put_u64(w, there ? get_number(t, 10) : 0);
		break;
	case FIELD_U8:
		put_u8(w, there ? get_number_8(t) : 0);
		break;
	case FIELD_U32:
		put_u32(w, there ? get_number_32(t, 10) : 0);
		break;
	case FIELD_OCTAL:
		put_u32(w, there ? get_number_32(t, 8) : 0);
		break;
	case FIELD_TIME:
		if (there) {
			time_read(w, t);
		} else {
			put_u64(w, 0);
			put_u32(w, 0);
		}
		break;
	case FIELD_TEXT:
		if (there)
			text_read(w, t);
		else
			put_u16(w, 0);
		break;
	case FIELD_LIST:
		if (there)
			list_read(w, t);
		else
			put_u8(w, 0);
		break;
	case FIELD_XATTRS:
		if (there)
			get_hex(t, w);
		else
			put_u16(w, 0);
		break;
	case FIELD_REPLICAS:
		if (there)
			replicas_read(w, t);
		else
			put_u8(w, 0);
		break;
	}
}

/* What the key of an entry says. */
struct place {
	uint64_t parent;
	const char *name;
	size_t name_size;
};

static enum mc_status key_read(struct text key, struct etcd_record *record, struct place *place)
{
	if (take(&key, "objects/")) {
		record->kind = RECORD_OBJECT; /* or a directory: the value knows */
		place->parent = get_number(&key, 16);
		if (key.failed || !take(&key, "/") || key.end - key.at > UINT16_MAX)
			return MC_IO;
		place->name = key.at;
		place->name_size = (size_t)(key.end - key.at);
		return MC_OK;
	}
	if (take(&key, "config")) {
		record->kind = RECORD_META;
	} else if (take(&key, "nodes/")) {
		record->kind = RECORD_NODE;
		get_hex(&key, &record->key);
	} else if (take(&key, "policies/")) {
		record->kind = RECORD_POLICY;
		get_hex(&key, &record->key);
	} else if (take(&key, "deeds/")) {
		record->kind = RECORD_DEED;
		get_hex(&key, &record->key);
	} else if (take(&key, "records/")) {
		record->kind = (enum record_kind)get_number_32(&key, 10);
		if (!take(&key, "/"))
			return MC_IO;
		get_hex(&key, &record->key);
	} else {
		return MC_NOT_FOUND;
	}
	return key.failed || key.at != key.end || record->key.size > RECORD_KEY_MAX ? MC_IO : MC_OK;
}

static bool value_read(struct text *t, struct etcd_record *record, const struct place *place)
{
	struct writer *w = &record->value;

	if (is_entry(record->kind) && take(t, "directory"))
		record->kind = RECORD_DIRECTORY;
	else if (!take(t, "record") &&
		 (!is_known(record->kind) || !take(t, kinds[record->kind].word)))
		return false;
	if (take_word(t, "raw")) {
		get_hex(t, w);
		return !t->failed && t->at == t->end;
	}
	if (!is_known(record->kind))
		return false;
	uint8_t version = take_word(t, "v") ? get_number_8(t) : 1;
	put_u8(w, version);
	if (is_entry(record->kind)) {
		put_u64(w, place->parent);
		put_u64(w, take_word(t, "sequence") ? get_number(t, 10) : 0);
		put_string(w, place->name, place->name_size);
	}
	for (const struct field *field = kinds[record->kind].fields; field->name && !t->failed;
	     field++) {
		if (field->since <= version)
			field_read(w, field, t);
	}
	if (take_word(t, "rest"))
		get_hex(t, w);
	return !t->failed && t->at == t->end;
}

/* An entry's key is its id: behind version, parent, sequence and name. */
static bool entry_key(struct etcd_record *record)
{
	struct reader r;
	size_t name_size;

	reader_init(&r, record->value.data, record->value.size);
	(void)get_u8(&r);
	(void)get_u64(&r);
	(void)get_u64(&r);
	(void)get_string(&r, &name_size);
	put_u64(&record->key, get_u64(&r));
	return !r.failed;
}

enum mc_status etcd_text_read(const char *key, size_t key_size, const char *value,
			      size_t value_size, struct etcd_record *record)
{
	struct text text = {value, value + value_size, false};
	struct place place = {0};

	writer_reset(&record->key);
	writer_reset(&record->value);
	enum mc_status status = key_read((struct text){key, key + key_size, false}, record, &place);
	if (status != MC_OK)
		return status;
	if (!value_read(&text, record, &place) || (is_entry(record->kind) && !entry_key(record)))
		return MC_IO;
	return record->key.failed || record->value.failed ? MC_NO_MEMORY : MC_OK;
}

enum mc_status etcd_text_removed(const char *key, size_t key_size, const char *value,
				 size_t value_size, struct etcd_record *record)
{
	struct place place = {0};
	uint8_t id[8] = {0};

	if (value_size && etcd_text_read(key, key_size, value, value_size, record) == MC_OK &&
	    is_entry(record->kind))
		memcpy(id, record->key.data, sizeof(id));
	writer_reset(&record->key);
	enum mc_status status = key_read((struct text){key, key + key_size, false}, record, &place);
	if (status != MC_OK || !is_entry(record->kind))
		return status;
	put_bytes(&record->key, id, sizeof(id));
	put_u64(&record->key, place.parent);
	put_bytes(&record->key, place.name, place.name_size);
	return record->key.failed ? MC_NO_MEMORY : MC_OK;
}
