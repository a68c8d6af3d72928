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
	char *http;
	char *admin_token_file;
	char *metadata_writes;
	char *journal_ack;
	uint64_t journal_queue;
	char *cluster;
	char *address;
	uint32_t lease_ms;
	bool etcd_objects;
	char *etcd_ca;
	char *etcd_certificate;
	char *etcd_key;
	char *etcd_user;
	char *etcd_password_file;
	uint32_t heartbeat_ms;
	uint32_t ttl_ms;
	uint32_t threads;
	char *cpu_latency;
	uint64_t repair_rate;
	uint32_t repair_delay_ms;
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
	 .help = "What survives a restart: file:PATH, etcd://HOST:PORT[,HOST:PORT...] for masters "
		 "that stand by for each other, or memory for nothing but nodes' objects.",
	 .offset = AT(journal)},
	{"journal-sync", 0, OPTION_STRING, "interval", .choices = "never|interval|always",
	 .unit = "WHEN",
	 .help = "When the file is forced to disk (interval: once a second); only a crash of "
		 "the machine, not of the master, can lose what was not.",
	 .offset = AT(journal_sync)},
	{"http", 0, OPTION_STRING, "auto", .unit = "HOST:PORT",
	 .help = "Where HTTP is served (/health, /metrics, /metadata, /api); PORT may be "
		 "FIRST-LAST; \"auto\" is port 50080 beside listen, \"none\" no HTTP.",
	 .offset = AT(http)},
	{"admin-token-file", 0, OPTION_STRING, NULL, .unit = "PATH",
	 .help = "Holds the token (mode 0600) that changes over HTTP must carry.",
	 .offset = AT(admin_token_file)},
	{"metadata-writes", 0, OPTION_STRING, "auto", .choices = "auto|open|token", .unit = "WHO",
	 .help = "Who may put and delete /metadata: anybody or who has the token; auto: "
		 "anybody where no token is given.",
	 .offset = AT(metadata_writes)},
	{"journal-ack", 0, OPTION_STRING, "async", .choices = "async|sync", .unit = "WHEN",
	 .help = "Whether the answer to a change waits until etcd has it.",
	 .offset = AT(journal_ack)},
	{"journal-queue", 0, OPTION_SIZE, "64m", .min = 1 << 16, .max = 1ull << 34,
	 .help = "Records that wait for etcd; beyond it answers wait too, and changes are refused "
		 "when etcd takes nothing.",
	 .offset = AT(journal_queue)},
	{"cluster", 0, OPTION_STRING, "default", .unit = "NAME",
	 .help = "Name of the cluster in etcd: everything is under /mooncake/NAME/.",
	 .offset = AT(cluster)},
	{"address", 0, OPTION_STRING, NULL, .unit = "HOST:PORT",
	 .help = "Where nodes and clients reach this master, as they learn it from etcd; by what "
		 "it listens on without this.",
	 .offset = AT(address)},
	{"lease-ms", 0, OPTION_DURATION, "5000", .min = 1000, .max = 60000,
	 .help = "A leader that etcd has not heard for so long is replaced; whole seconds.",
	 .offset = AT(lease_ms)},
	{"etcd-objects", 0, OPTION_BOOL, "on",
	 .help = "Keep objects in etcd; off for more than it carries: then the nodes' own pools "
		 "tell a new leader of them.",
	 .offset = AT(etcd_objects)},
	{"etcd-ca", 0, OPTION_STRING, NULL, .unit = "PATH",
	 .help = "Certificates that etcd's must be signed by (PEM).", .offset = AT(etcd_ca)},
	{"etcd-certificate", 0, OPTION_STRING, NULL, .unit = "PATH",
	 .help = "Certificate to show to etcd (PEM).", .offset = AT(etcd_certificate)},
	{"etcd-key", 0, OPTION_STRING, NULL, .unit = "PATH", .help = "Its private key (PEM).",
	 .offset = AT(etcd_key)},
	{"etcd-user", 0, OPTION_STRING, NULL, .unit = "NAME", .help = "User of etcd.",
	 .offset = AT(etcd_user)},
	{"etcd-password-file", 0, OPTION_STRING, NULL, .unit = "PATH",
	 .help = "File whose first line is the user's password.", .offset = AT(etcd_password_file)},
	{"heartbeat-ms", 0, OPTION_DURATION, "1000", .min = 10, .max = 60000,
	 .help = "How often nodes report; shorter than ttl-ms.", .offset = AT(heartbeat_ms)},
	{"ttl-ms", 0, OPTION_DURATION, "5000", .min = 100, .max = 600000,
	 .help = "A node that was silent this long is lost, and its objects with it until it "
		 "returns.",
	 .offset = AT(ttl_ms)},
	{"threads", 0, OPTION_UINT, "0", .max = MC_MASTER_THREADS_MAX, .unit = "N",
	 .help = "How many threads answer; 0 takes one for two cores, at most 8.",
	 .offset = AT(threads)},
	{"cpu-latency", 0, OPTION_STRING, "auto", .unit = "US",
	 .help = "Microseconds that an idle processor of this machine may take to wake up while "
		 "requests come, any, or auto: 0 in a virtual machine that idles by haltpoll, "
		 "else any.",
	 .offset = AT(cpu_latency)},
	{"repair-rate", 0, OPTION_SIZE, "1g", .min = 1 << 20, .max = 1ull << 50,
	 .help = "Bytes a second, over all nodes, of copies that are made again where some were "
		 "lost.",
	 .offset = AT(repair_rate)},
	{"repair-delay-ms", 0, OPTION_DURATION, "10s", .min = 1, .max = 86400000,
	 .help = "How long a node must be lost before what it held is copied from elsewhere.",
	 .offset = AT(repair_delay_ms)},
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

static struct mc_etcd_config etcd_config(const struct settings *settings)
{
	return (struct mc_etcd_config){
		.cluster = settings->cluster,
		.ca = settings->etcd_ca,
		.certificate = settings->etcd_certificate,
		.key = settings->etcd_key,
		.user = settings->etcd_user,
		.password_file = settings->etcd_password_file,
		.address = settings->address,
		.queue_size = settings->journal_queue,
		.lease_s = settings->lease_ms / 1000,
		.ack_sync = strcmp(settings->journal_ack, "sync") == 0,
		.without_objects = !settings->etcd_objects,
	};
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
		.threads = settings->threads,
		.cpu_latency = settings->cpu_latency,
		.repair_rate = settings->repair_rate,
		.repair_delay_ms = settings->repair_delay_ms,
		.fresh = true,
		.http = unless_none(settings->http),
		.admin_token_file = settings->admin_token_file,
		.metadata_writes = settings->metadata_writes,
		.etcd = etcd_config(settings),
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
