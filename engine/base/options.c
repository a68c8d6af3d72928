#include "engine/base/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

#define HELP_COLUMN 28 /* where the sentences stand */
#define HELP_WIDTH  80

static enum mc_status refuse(struct options *options, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static enum mc_status refuse(struct options *options, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(options->error, sizeof(options->error), format, args);
	va_end(args);
	return MC_INVALID;
}

static bool digits_read(const char *text, uint64_t *value, const char **rest)
{
	uint64_t number = 0;
	const char *p = text;

	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
			return false;
	}
	*value = number;
	*rest = p;
	return p != text;
}

static bool suffix_multiply(uint64_t *value, uint64_t factor)
{
	return !__builtin_mul_overflow(*value, factor, value);
}

bool option_size_read(const char *text, uint64_t *value)
{
	static const char suffixes[] = "kmgt";
	const char *rest;

	if (!digits_read(text, value, &rest))
		return false;
	if (*rest == '\0')
		return true;
	const char *suffix = strchr(suffixes, tolower((unsigned char)*rest));
	if (!suffix || rest[1] != '\0')
		return false;
	return suffix_multiply(value, 1ull << (10 * (suffix - suffixes + 1)));
}

static bool duration_read(const char *text, uint64_t *value)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	const char *rest;

	if (!digits_read(text, value, &rest))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(rest, units[i].suffix) == 0)
			return suffix_multiply(value, units[i].ms);
	}
	return false;
}

static bool bool_read(const char *text, bool *value)
{
	static const char *const words[][2] = {
		{"off", "on"}, {"no", "yes"}, {"false", "true"}, {"0", "1"}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (int on = 0; on < 2; on++) {
			if (strcasecmp(text, words[i][on]) == 0) {
				*value = on != 0;
				return true;
			}
		}
	}
	return false;
}

static bool choice_known(const char *choices, const char *text)
{
	size_t size = strlen(text);

	for (const char *p = choices; p; p = strchr(p, '|')) {
		p += *p == '|';
		size_t length = strcspn(p, "|");
		if (length == size && memcmp(p, text, size) == 0)
			return true;
	}
	return false;
}

static enum mc_status string_set(struct options *options, const struct option_row *row,
				 const char *text)
{
	char **target = (char **)((char *)options->target + row->offset);

	if (row->choices && !choice_known(row->choices, text))
		return refuse(options, "%s is \"%s\", must be one of %s", row->name, text,
			      row->choices);
	char *copy = strdup(text);
	if (!copy)
		return MC_NO_MEMORY;
	free(*target);
	*target = copy;
	return MC_OK;
}

static enum mc_status number_set(struct options *options, const struct option_row *row,
				 const char *text)
{
	void *target = (char *)options->target + row->offset;
	bool wide = row->type == OPTION_SIZE;
	uint64_t max = row->max ? row->max : wide ? UINT64_MAX : UINT32_MAX;
	uint64_t value;
	const char *rest;
	bool read;

	if (row->type == OPTION_DURATION)
		read = duration_read(text, &value);
	else if (wide)
		read = option_size_read(text, &value);
	else
		read = digits_read(text, &value, &rest) && *rest == '\0';
	if (!read)
		return refuse(options, "%s is \"%s\", must be %s", row->name, text,
			      wide			     ? "a size such as 512m or 16g"
			      : row->type == OPTION_DURATION ? "a time such as 500 (ms) or 5s"
							     : "a number");
	if (value < row->min || value > max)
		return refuse(options, "%s is %s, must be %" PRIu64 " to %" PRIu64, row->name, text,
			      row->min, max);
	if (wide)
		*(uint64_t *)target = value;
	else
		*(uint32_t *)target = (uint32_t)value;
	return MC_OK;
}

static enum mc_status row_set(struct options *options, const struct option_row *row,
			      const char *text)
{
	switch (row->type) {
	case OPTION_STRING:
		return string_set(options, row, text);
	case OPTION_SIZE:
	case OPTION_UINT:
	case OPTION_DURATION:
		return number_set(options, row, text);
	case OPTION_BOOL:
		if (bool_read(text, (bool *)((char *)options->target + row->offset)))
			return MC_OK;
		return refuse(options, "%s is \"%s\", must be on or off", row->name, text);
	}
	return MC_INVALID;
}

void options_init(struct options *options, const struct option_row *rows, void *target)
{
	*options = (struct options){.rows = rows, .target = target};
	for (const struct option_row *row = rows; row->name; row++) {
		MUST((size_t)(row - rows) < OPTIONS_ROW_MAX);
		if (row->type == OPTION_STRING)
			*(char **)((char *)target + row->offset) = NULL;
		if (row->initial)
			MUST(row_set(options, row, row->initial) == MC_OK);
	}
}

void options_fini(struct options *options)
{
	for (const struct option_row *row = options->rows; row->name; row++) {
		if (row->type != OPTION_STRING)
			continue;
		char **target = (char **)((char *)options->target + row->offset);
		free(*target);
		*target = NULL;
	}
}

static const struct option_row *row_named(const struct options *options, const char *name)
{
	for (const struct option_row *row = options->rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

static const struct option_row *row_lettered(const struct options *options, char letter)
{
	for (const struct option_row *row = options->rows; row->name; row++) {
		if (row->letter && row->letter == letter)
			return row;
	}
	return NULL;
}

static enum mc_status row_give(struct options *options, const struct option_row *row,
			       const char *value)
{
	if (!value && row->type != OPTION_BOOL)
		return refuse(options, "%s needs a value", row->name);
	enum mc_status status = row_set(options, row, value ? value : "on");
	if (status == MC_OK)
		options->given[row - options->rows] = true;
	return status;
}

enum mc_status options_set(struct options *options, const char *name, const char *value)
{
	const struct option_row *row = row_named(options, name);

	if (!row)
		return refuse(options, "there is no option %s", name);
	return row_give(options, row, value);
}

bool options_given(const struct options *options, const char *name)
{
	const struct option_row *row = row_named(options, name);

	MUST(row != NULL);
	return options->given[row - options->rows];
}

/* Copy the next item of a list, without its backslashes; returns what follows it. */
static const char *item_next(const char *list, char *item)
{
	while (*list && *list != ',') {
		if (*list == '\\' && list[1])
			list++;
		*item++ = *list++;
	}
	*item = '\0';
	return *list == ',' ? list + 1 : list;
}

enum mc_status options_parse_list(struct options *options, const char *list)
{
	CLEANUP_FREE char *item = malloc(strlen(list) + 1);

	if (!item)
		return MC_NO_MEMORY;
	while (*list) {
		list = item_next(list, item);
		if (*item == '\0')
			continue;
		char *value = strchr(item, '=');
		if (value)
			*value++ = '\0';
		if (!row_named(options, item) && options->other &&
		    options->other(options->target, item, value))
			continue;
		enum mc_status status = options_set(options, item, value);
		if (status != MC_OK)
			return status;
	}
	return MC_OK;
}

/* One "--name", "--name=value" or "--name value"; *used counts the arguments it took. */
static enum mc_status long_parse(struct options *options, char **argv, int *used)
{
	char *name = argv[0] + 2;
	char *equals = strchr(name, '=');

	*used = 1;
	if (equals) {
		CLEANUP_FREE char *copy = strndup(name, (size_t)(equals - name));
		return copy ? options_set(options, copy, equals + 1) : MC_NO_MEMORY;
	}
	const struct option_row *row = row_named(options, name);
	if (row && row->type != OPTION_BOOL && argv[1]) {
		*used = 2;
		return row_give(options, row, argv[1]);
	}
	return options_set(options, name, NULL);
}

/* Letters of one argument: flags may stand together, a value follows or is the next argument. */
static enum mc_status short_parse(struct options *options, char **argv, int *used)
{
	*used = 1;
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct option_row *row = row_lettered(options, *p);
		if (!row && *p != 'o')
			return refuse(options, "there is no option -%c", *p);
		if (row && row->type == OPTION_BOOL) {
			enum mc_status status = row_give(options, row, NULL);
			if (status != MC_OK)
				return status;
			continue;
		}
		const char *value = p[1] ? p + 1 : argv[1];
		*used = p[1] ? 1 : 2;
		if (!value)
			return refuse(options, "-%c needs a value", *p);
		return row ? row_give(options, row, value) : options_parse_list(options, value);
	}
	return MC_OK;
}

enum mc_status options_parse(struct options *options, int argc, char **argv, int *left)
{
	int kept = 0;

	for (int i = 1; i < argc;) {
		enum mc_status status = MC_OK;
		int used = 1;

		if (strcmp(argv[i], "--") == 0) {
			while (++i < argc)
				argv[++kept] = argv[i];
			break;
		}
		if (strncmp(argv[i], "--", 2) == 0)
			status = long_parse(options, argv + i, &used);
		else if (argv[i][0] == '-' && argv[i][1])
			status = short_parse(options, argv + i, &used);
		else
			argv[++kept] = argv[i];
		if (status != MC_OK)
			return status;
		i += used;
	}
	*left = kept;
	return MC_OK;
}

static void size_print(uint64_t value, FILE *out)
{
	static const char suffixes[] = "\0kmgt";
	int step = 0;

	while (step < 4 && value && value % 1024 == 0) {
		value /= 1024;
		step++;
	}
	fprintf(out, "%" PRIu64, value);
	if (step)
		fputc(suffixes[step], out);
}

static void number_print(const struct option_row *row, uint64_t value, FILE *out)
{
	if (row->type == OPTION_SIZE)
		size_print(value, out);
	else
		fprintf(out, "%" PRIu64 "%s", value, row->type == OPTION_DURATION ? " ms" : "");
}

static const char *row_unit(const struct option_row *row)
{
	static const char *const units[] = {
		[OPTION_STRING] = "TEXT", [OPTION_SIZE] = "SIZE",   [OPTION_UINT] = "N",
		[OPTION_BOOL] = NULL,	  [OPTION_DURATION] = "MS",
	};

	return row->unit ? row->unit : units[row->type];
}

/* Print words from the help's column on, wrapped. */
static void words_print(const char *text, FILE *out)
{
	int column = HELP_COLUMN;

	while (*text) {
		int size = (int)strcspn(text, " ");
		if (column > HELP_COLUMN && column + 1 + size > HELP_WIDTH) {
			fprintf(out, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", size, text);
		column += size;
		text += size;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void row_help(const struct option_row *row, bool as_list, FILE *out)
{
	const char *unit = row_unit(row);
	bool number = row->type != OPTION_STRING && row->type != OPTION_BOOL;
	char left[64];
	char letter[5] = "";

	if (row->letter && !as_list)
		snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	if (as_list)
		snprintf(left, sizeof(left), "  %s%s%s", row->name, unit ? "=" : "=on|off",
			 unit ? unit : "");
	else
		snprintf(left, sizeof(left), "  %s--%s%s%s", letter, row->name, unit ? " " : "",
			 unit ? unit : "");
	fprintf(out, "%-*s ", HELP_COLUMN - 1, left);
	words_print(row->help, out);
	bool range = (number && (row->min || row->max)) || row->choices;
	if (!row->initial && !range)
		return;
	fprintf(out, "%*s", HELP_COLUMN, "");
	if (row->initial)
		fprintf(out, "Default %s", row->initial[0] ? row->initial : "none");
	fputs(row->initial && range ? ", " : "", out);
	if (row->choices)
		fprintf(out, "one of %s", row->choices);
	else if (range && row->max) {
		number_print(row, row->min, out);
		fputs(" to ", out);
		number_print(row, row->max, out);
	} else if (range) {
		fputs("at least ", out);
		number_print(row, row->min, out);
	}
	fputs(".\n", out);
}

void options_help(const struct option_row *rows, bool as_list, FILE *out)
{
	for (const struct option_row *row = rows; row->name; row++)
		row_help(row, as_list, out);
}
