/*
 * engine/base/options.h -- options as table rows
 *
 * A program names its options once, as rows: name, type, default, range, unit,
 * one sentence, and where the value goes in its own struct.  The command line
 * (`--name value`, `--name=value`, `-x value`), a mount's list (`-o a=b,c`)
 * and the help text all come from the rows.
 *
 *   type       C type of the target   text
 *   STRING     char *                 as given; one of `choices` where there are any
 *   SIZE       uint64_t, bytes        digits and k, m, g or t (powers of 1024)
 *   UINT       uint32_t               digits
 *   BOOL       bool                   on/off, yes/no, true/false, 1/0; alone: on
 *   DURATION   uint32_t, ms           digits (milliseconds), or with ms, s, m, h
 *
 * Ownership   Strings in the target belong to it until options_fini().
 * Threads     One at a time.
 * Errors      MC_INVALID, and a sentence for the user in options->error.
 * Limits      OPTIONS_ROW_MAX rows.
 */
#ifndef ENGINE_BASE_OPTIONS_H
#define ENGINE_BASE_OPTIONS_H

#include <mooncake/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPTIONS_ROW_MAX	   96u
#define OPTIONS_ERROR_SIZE 256u

enum option_type {
	OPTION_STRING,
	OPTION_SIZE,
	OPTION_UINT,
	OPTION_BOOL,
	OPTION_DURATION,
};

struct option_row {
	const char *name;
	char letter; /* -x as well; 0: none */
	enum option_type type;
	const char *initial; /* the default, as text; NULL: zero */
	uint64_t min;	     /* numbers: the range, both ends included; max 0: no upper end */
	uint64_t max;
	const char *choices; /* strings: "one|two"; NULL: any */
	const char *unit;    /* what the help calls the value: "HOST:PORT", "MS"; NULL: by type */
	const char *help;    /* one sentence */
	size_t offset;	     /* of the target in the program's struct */
};

struct options {
	const struct option_row *rows; /* ended by a row without a name */
	void *target;
	/*
	 * Asked about a name of a mount's list that has no row (value NULL: none
	 * was given); true accepts it.  NULL: every such name is an error.
	 */
	bool (*other)(void *target, const char *name, const char *value);
	bool given[OPTIONS_ROW_MAX]; /* by row: set by the user, not by default */
	char error[OPTIONS_ERROR_SIZE];
};

/* Begin with every default in the target.  A default outside its range is a bug. */
void options_init(struct options *options, const struct option_row *rows, void *target);

/* Free the strings in the target. */
void options_fini(struct options *options);

/*
 * Take the options out of a command line: what is left, in order, stands in
 * argv[1] to argv[*left].  `-o LIST` is a mount's list; `--` ends the options.
 */
MC_MUST_CHECK enum mc_status options_parse(struct options *options, int argc, char **argv,
					   int *left);

/* Take a list as in fstab: "a=b,c,d=off"; a backslash makes the next byte literal. */
MC_MUST_CHECK enum mc_status options_parse_list(struct options *options, const char *list);

/* Set one option by name.  value NULL: the name stood alone. */
MC_MUST_CHECK enum mc_status options_set(struct options *options, const char *name,
					 const char *value);

/* The user gave this option a value. */
bool options_given(const struct options *options, const char *name);

/* Write the rows as the lower half of --help; `as_list` writes them as -o takes them. */
void options_help(const struct option_row *rows, bool as_list, FILE *out);

/* Read a number with a suffix k, m, g or t.  False: it is none, or beyond 64 bits. */
bool option_size_read(const char *text, uint64_t *value);

#endif
