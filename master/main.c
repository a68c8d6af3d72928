#include <errno.h>
#include <mooncake/master.h>
#include <mooncake/protocol.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"
#include "engine/base/options.h"

/* Exit codes: 0 ended as asked, 1 could not start, 2 the command line makes no sense. */
#define EXIT_USAGE 2

struct settings {
	char *listen;
	char *socket;
	char *journal;
	char *journal_sync;
	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	char *log_level;
	char *log_file;
	bool version;
	bool help;
};

#define AT(field) offsetof(struct settings, field)
static const struct option_row rows[] = {
	{"listen", 0, OPTION_STRING, "0.0.0.0:50051", .unit = "HOST:PORT",
	 .help = "Where nodes and clients connect by TCP; port 0 takes any, \"none\" no TCP.",
	 .offset = AT(listen)},
	{"socket", 0, OPTION_STRING, "auto", .unit = "@NAME",
	 .help = "Unix socket for processes of this host; \"auto\" is @mooncake-master-PORT.",
	 .offset = AT(socket)},
	{"journal", 0, OPTION_STRING, "file:/var/lib/mooncake/master.journal", .unit = "JOURNAL",
	 .help = "What survives a restart: file:PATH, or memory for nothing but nodes' objects.",
	 .offset = AT(journal)},
	{"journal-sync", 0, OPTION_STRING, "interval", .choices = "never|interval|always",
	 .unit = "WHEN",
	 .help = "When the file is forced to disk (interval: once a second); only a crash of "
		 "the machine, not of the master, can lose what was not.",
	 .offset = AT(journal_sync)},
	{"heartbeat-ms", 0, OPTION_DURATION, "1000", .min = 10, .max = 60000,
	 .help = "How often nodes report; shorter than half of ttl-ms.",
	 .offset = AT(heartbeat_ms)},
	{"ttl-ms", 0, OPTION_DURATION, "5000", .min = 100, .max = 600000,
	 .help = "A node that was silent this long is lost, and its objects with it until it "
		 "returns.",
	 .offset = AT(ttl_ms)},
	{"log-level", 0, OPTION_STRING, "info", .choices = "error|warn|info|debug|trace",
	 .unit = "LEVEL", .help = "How much to say.", .offset = AT(log_level)},
	{"log-file", 0, OPTION_STRING, NULL, .unit = "PATH",
	 .help = "Where to say it, or \"syslog\"; standard error without this.",
	 .offset = AT(log_file)},
	{"version", 'V', OPTION_BOOL, NULL, .help = "Print the version and end.",
	 .offset = AT(version)},
	{"help", 'h', OPTION_BOOL, NULL, .help = "Print this and end.", .offset = AT(help)},
	{NULL},
};

static void usage(FILE *out)
{
	fputs("usage: mooncake-master [options]\n\n"
	      "The master of a Mooncake FS cluster: knows which node holds which object.\n"
	      "Ends cleanly on SIGTERM or SIGINT, at once on the second one.\n\n",
	      out);
	options_help(rows, false, out);
}

static bool log_setup(const struct settings *settings)
{
	if (!log_set_level(settings->log_level))
		return false;
	if (settings->log_file && !log_open(settings->log_file)) {
		fprintf(stderr, "mooncake-master: can't write the log file %s: %s\n",
			settings->log_file, strerror(errno));
		return false;
	}
	return true;
}

static const char *unless_none(const char *text)
{
	return strcmp(text, "none") == 0 ? NULL : text;
}

/* A connection takes a descriptor. */
static void limits_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_debug("can't raise the limit of open files");
}

/* Wait for the signal to end; the next one then ends the process at once. */
static void wait_for_signal(const sigset_t *signals)
{
	int signal_number = 0;

	sigwait(signals, &signal_number);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, signals, NULL);
	log_info("stopping signal=%s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
}

static int serve(const struct settings *settings)
{
	struct mc_master_config config = {
		.listen = unless_none(settings->listen),
		.socket = unless_none(settings->socket),
		.journal = settings->journal,
		.journal_sync = settings->journal_sync,
		.heartbeat_ms = settings->heartbeat_ms,
		.ttl_ms = settings->ttl_ms,
		.fresh = true,
	};
	struct mc_master *master;
	sigset_t signals;

	if (!log_setup(settings))
		return EXIT_FAILURE;
	limits_raise();
	/* Blocked before the master's thread begins, so that it never takes them. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	enum mc_status status = mc_master_start(&config, &master);
	if (status != MC_OK) {
		log_error("could not start reason=\"%s\"", mc_status_text(status));
		return EXIT_FAILURE;
	}
	wait_for_signal(&signals);
	mc_master_stop(master);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct options options;
	int left = 0;
	int code;

	options_init(&options, rows, &settings);
	enum mc_status status = options_parse(&options, argc, argv, &left);
	if (status != MC_OK || left > 0) {
		if (status == MC_OK)
			fprintf(stderr, "mooncake-master: %s is not an option\n", argv[1]);
		else
			fprintf(stderr, "mooncake-master: %s\n", options.error);
		fputs("Try mooncake-master --help.\n", stderr);
		code = EXIT_USAGE;
	} else if (settings.help) {
		usage(stdout);
		code = EXIT_SUCCESS;
	} else if (settings.version) {
		puts("mooncake-master " MOONCAKE_VERSION);
		code = EXIT_SUCCESS;
	} else {
		code = serve(&settings);
	}
	options_fini(&options);
	return code;
}
