/*
 * tools/mooncake/command.h -- what every command of the program `mooncake` is
 *
 * A command is a row: its name, its options, its text for --help and a
 * function.  The function complains itself, in one sentence, and returns what
 * the program ends with.
 *
 * Threads   The main thread.
 */
#ifndef TOOLS_MOONCAKE_COMMAND_H
#define TOOLS_MOONCAKE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/options.h"

/* What the program ends with; main.c documents them in --help. */
enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_MISSING = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_UNREACHABLE = 3,
	EXIT_CODE_FAILED = 4,
};

struct settings {
	char *mount, *master;
	uint32_t timeout_ms;
	bool json, help, version;
	bool of_master;			    /* stats: --master was given */
	bool details;			    /* ls -l */
	bool recursive;			    /* ls -R, rm -r */
	bool quiet;			    /* put, get */
	bool by_id;			    /* stat --id */
	bool force;			    /* node remove */
	bool cancel;			    /* drain */
	bool detach;			    /* drain */
	char *metadata, *name, *token_file; /* nvmeof */
};

struct cluster;

struct command {
	const char *name;
	const char *operands;	       /* as the usage line writes them */
	const char *summary;	       /* one sentence */
	const char *text;	       /* more for --help, lines */
	const struct option_row *rows; /* options of its own, ended by an empty row; NULL: none */
	int operand_min, operand_max;  /* operand_max -1: any number */
	enum exit_code (*run)(struct cluster *cluster, int count, char **operands);
};

#define COMMAND_OPTION(field, ...)                                                                 \
	{                                                                                          \
		__VA_ARGS__, .offset = offsetof(struct settings, field)                            \
	}

extern const struct command command_status, command_ls, command_stat, command_put, command_get,
	command_rm, command_exists, command_locate, command_stats, command_master, command_policy,
	command_node, command_drain, command_nvmeof, command_journal;

#endif
