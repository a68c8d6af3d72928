/*
 * mooncake -- look at a cluster, and move objects in and out
 */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/options.h"
#include "tools/mooncake/cluster.h"
#include "tools/mooncake/command.h"
#include "tools/mooncake/complaint.h"

static const struct command *const commands[] = {
	&command_status, &command_ls,	  &command_stat,   &command_put,    &command_get,
	&command_rm,	 &command_exists, &command_locate, &command_stats,  &command_master,
	&command_policy, &command_node,	  &command_drain,  &command_nvmeof, &command_journal,
};

static const struct option_row common_rows[] = {
	COMMAND_OPTION(mount, "mount", 'm', OPTION_STRING, .unit = "DIR",
		       .help = "The mount to use; else $MOONCAKE_MOUNT, else the first one here."),
	COMMAND_OPTION(master, "master", 'M', OPTION_STRING, .unit = "MASTER",
		       .help = "The master to ask: HOST:PORT, a list of them, or etcd://HOST:PORT; "
			       "else $MOONCAKE_MASTER, else the mount's."),
	COMMAND_OPTION(timeout_ms, "timeout", 't', OPTION_DURATION, "5s", 10, 3600000,
		       .help = "Longest wait for any one answer."),
	COMMAND_OPTION(json, "json", 'j', OPTION_BOOL, .help = "Print one JSON document."),
	COMMAND_OPTION(help, "help", 'h', OPTION_BOOL, .help = "Say this and end."),
	COMMAND_OPTION(version, "version", 'V', OPTION_BOOL, .help = "Say the version and end."),
	{0},
};

static void print_exit_codes(void)
{
	printf("exit:\n"
	       "  0  done\n"
	       "  1  a key, file or directory that was named is not there\n"
	       "  2  the command line, or a key or an address in it, makes no sense\n"
	       "  3  the master or the mount can't be reached, or did not answer in time\n"
	       "  4  anything else: no space, no permission, damaged bytes, ...\n");
}

static void print_help(void)
{
	printf("usage: mooncake COMMAND [OPTION...] [OPERAND...]\n\n"
	       "Look at a Mooncake cluster, and move objects in and out.\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	printf("\noptions of every command:\n");
	options_help(common_rows, false, stdout);
	printf("\n"
	       "put and get go through a mount on this machine; the other commands ask the\n"
	       "master, from any machine that reaches it. With --master, the mount that is\n"
	       "used is one of that master's. A key is a path relative to the mount.\n\n");
	print_exit_codes();
	printf("\nexamples:\n"
	       "  mooncake status\n"
	       "  mooncake put model.safetensors models/llama/model.safetensors\n"
	       "  mooncake ls -l -R models\n"
	       "  mooncake --master 10.0.0.1:50051 locate models/llama/model.safetensors\n\n"
	       "mooncake COMMAND --help says more of one command.\n");
}

static void print_command_help(const struct command *command)
{
	printf("usage: mooncake %s [OPTION...]%s%s\n\n%s\n", command->name,
	       command->operands[0] ? " " : "", command->operands, command->summary);
	if (command->text)
		printf("%s", command->text);
	if (command->rows) {
		printf("\noptions of %s:\n", command->name);
		options_help(command->rows, false, stdout);
	}
	printf("\noptions of every command:\n");
	options_help(common_rows, false, stdout);
	printf("\n");
	print_exit_codes();
}

static enum exit_code usage(const struct command *command, const char *what, const char *of)
{
	complain("%s%s%s; see mooncake %s%s--help", what, of[0] ? " " : "", of,
		 command ? command->name : "", command ? " " : "");
	return EXIT_CODE_USAGE;
}

static const struct command *command_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

/* An option of every command whose value is the next word. */
static bool takes_next(const char *word)
{
	for (const struct option_row *row = common_rows; row->name; row++) {
		bool named = strncmp(word, "--", 2) == 0 && strcmp(word + 2, row->name) == 0;
		bool lettered = word[0] == '-' && word[1] == row->letter && !word[2];
		if (row->type != OPTION_BOOL && (named || lettered))
			return true;
	}
	return false;
}

/* Where the command stands: the first word that is no option.  0: nowhere. */
static int command_place(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			return i;
		if (takes_next(argv[i]))
			i++;
	}
	return 0;
}

/* `stats --master` without a value means the named master: take it out. */
static int take_bare_master(int argc, char **argv, struct settings *settings)
{
	int kept = 1;

	for (int i = 1; i < argc; i++) {
		bool bare = strcmp(argv[i], "--master") == 0 &&
			    (i + 1 == argc || argv[i + 1][0] == '-');
		if (bare)
			settings->of_master = true;
		else
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	return kept;
}

/* The options of every command and of this one, in one table. */
static void join_rows(const struct command *command, struct option_row *rows)
{
	for (const struct option_row *row = common_rows; row->name; row++)
		*rows++ = *row;
	for (const struct option_row *row = command ? command->rows : NULL; row && row->name; row++)
		*rows++ = *row;
	*rows = (struct option_row){0};
}

static enum exit_code run(const struct command *command, const struct settings *settings, int count,
			  char **operands)
{
	struct cluster cluster;

	if (count < command->operand_min)
		return usage(command, "an operand is missing:", command->operands);
	if (command->operand_max >= 0 && count > command->operand_max)
		return usage(command, "there are too many operands, beginning with",
			     operands[command->operand_max]);
	cluster_init(&cluster, settings);
	enum exit_code code = command->run(&cluster, count, operands);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("standard output can't be written");
		code = exit_code_graver(code, EXIT_CODE_FAILED);
	}
	cluster_fini(&cluster);
	return code;
}

static enum exit_code parse_and_run(int argc, char **argv, struct settings *settings,
				    struct options *options)
{
	const struct command *command = NULL;
	struct option_row rows[OPTIONS_ROW_MAX];
	int place = command_place(argc, argv);
	int left;

	if (place) {
		command = command_named(argv[place]);
		if (!command)
			return usage(NULL, "there is no command", argv[place]);
		memmove(argv + place, argv + place + 1, (size_t)(argc - place) * sizeof(*argv));
		argc--;
	}
	join_rows(command, rows);
	options_init(options, rows, settings);
	if (command == &command_stats)
		argc = take_bare_master(argc, argv, settings);
	enum exit_code code = EXIT_CODE_OK;
	if (options_parse(options, argc, argv, &left))
		code = usage(command, options->error, "");
	else if (settings->version)
		printf("mooncake %s\n", MOONCAKE_VERSION);
	else if (settings->help && command)
		print_command_help(command);
	else if (settings->help)
		print_help();
	else if (!command)
		code = usage(NULL, "no command is given", "");
	else
		code = run(command, settings, left, argv + 1);
	options_fini(options);
	return code;
}

/* What is opened later must not take the place of a stream that the caller closed. */
static void hold_standard_streams(void)
{
	/* The wrong way round: who uses it is told that it is closed. */
	static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", modes[fd]);
	}
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct options options;

	hold_standard_streams();
	setlocale(LC_CTYPE, "");
	log_set_level("error");
	return (int)parse_and_run(argc, argv, &settings, &options);
}
