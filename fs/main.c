/*
 * mooncakefs -- one node: its pool, its mount, its peers
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mooncake/master.h>

#include "engine/base/cleanup.h"
#include "engine/base/cpu_latency.h"
#include "engine/base/log.h"
#include "engine/base/options.h"
#include "engine/base/placement.h"
#include "fs/blank.h"
#include "fs/fs.h"
#include "fs/http.h"
#include "fs/mountpoint.h"

struct settings {
	char *master, *pool, *name, *listen, *announce, *ports, *transport, *journal;
	char *http, *master_http, *preferred, *cpu_latency;
	char *log_level, *log_file;
	uint64_t segment, stream_threshold, register_ahead;
	uint32_t stream_after_ms, timeout_ms, cache_ms, watermark_high, watermark_low, wait_ms,
		replicas, ack;
	bool passthrough, io_uring, immutable, private_pool, lend;
	bool foreground, help, version, debug;
	bool read_only, no_exec; /* said in the words of mount(8) */
};

#define ROW(field, ...)                                                                            \
	{                                                                                          \
		__VA_ARGS__, .offset = offsetof(struct settings, field)                            \
	}

static const struct option_row rows[] = {
	ROW(master, "master", 0, OPTION_STRING, .unit = "MASTER",
	    .help = "HOST:PORT, a list of them (in -o with \\, between), or etcd://HOST:PORT; "
		    "without one this daemon starts its own."),
	ROW(segment, "segment", 0, OPTION_SIZE, "1g", 16u << 20, MC_SEGMENT_MAX, .unit = "SIZE",
	    .help = "Memory to lend to the cluster."),
	ROW(lend, "lend", 0, OPTION_BOOL, "on",
	    .help = "Keep objects for others; off: the segment holds only what is written and read "
		    "here, and a close returns when another node has the object."),
	ROW(pool, "pool", 0, OPTION_STRING, .unit = "DIR",
	    .help = "Where the objects' files are; kept when the daemon ends. Default: a place "
		    "under /run that goes with a clean unmount."),
	ROW(private_pool, "private_pool", 0, OPTION_BOOL, "on",
	    .help = "Mount a tmpfs of the segment's size on the pool's directory (needs "
		    "CAP_SYS_ADMIN). A tmpfs that somebody else has mounted there is refused; "
		    "off uses it as it is."),
	ROW(passthrough, "passthrough", 0, OPTION_BOOL, "on",
	    .help = "Hand the kernel the pool's own files, where it can take them."),
	ROW(io_uring, "io_uring", 0, OPTION_BOOL, "on",
	    .help = "Talk to the kernel over io_uring, where fuse.enable_uring is Y."),
	ROW(transport, "transport", 0, OPTION_STRING, "auto",
	    .choices = "auto|rdma|tcp|shm|engine-tcp",
	    .help = "How objects come from peers; auto takes the best that both ends have."),
	ROW(listen, "listen", 0, OPTION_STRING, "0.0.0.0", .unit = "HOST",
	    .help = "Address on which peers are served."),
	ROW(announce, "announce", 0, OPTION_STRING, .unit = "HOST",
	    .help = "Address that peers are told; default: worked out from the routes."),
	ROW(ports, "ports", 0, OPTION_STRING, .unit = "FIRST-LAST",
	    .help = "Range from which the peers' port is drawn; default: any free port."),
	ROW(name, "name", 0, OPTION_STRING, .unit = "NAME",
	    .help = "This node's name in listings, up to 63 bytes without control characters; "
		    "default: the host's."),
	ROW(immutable, "immutable", 0, OPTION_BOOL, "off",
	    .help = "Refuse to put a key again (EEXIST); a rename keeps the first."),
	ROW(replicas, "replicas", 0, OPTION_UINT, "0", 0, MC_REPLICA_MAX, .unit = "COUNT",
	    .help = "Copies to keep of what is put here, on different hosts, where no policy says "
		    "otherwise (0: one)."),
	ROW(ack, "ack", 0, OPTION_UINT, "0", 0, MC_REPLICA_MAX, .unit = "COUNT",
	    .help = "Copies that must exist before a close returns (0: the own one)."),
	ROW(preferred, "preferred", 0, OPTION_STRING, .unit = "NAME[:NAME...]",
	    .help = "Nodes, by name, that copies go to first, where no policy says otherwise."),
	ROW(stream_threshold, "stream_threshold", 0, OPTION_SIZE, "64m", 1u << 20, 0,
	    .unit = "SIZE",
	    .help = "Larger objects of peers can be read while they still arrive, where that takes "
		    "longer than stream_after."),
	ROW(stream_after_ms, "stream_after", 0, OPTION_DURATION, "1s", 0, 600000,
	    .help = "How long an open of such an object may wait for the whole of it, which is "
		    "then read without the daemon; a sixteenth of that tells how fast it comes."),
	ROW(register_ahead, "register_ahead", 0, OPTION_SIZE, "1g", 0, 0, .unit = "SIZE",
	    .help = "Bytes of objects that are registered with the NIC before a peer asks for them "
		    "(0: none)."),
	ROW(cpu_latency, "cpu_latency", 0, OPTION_STRING, "auto", .unit = "US",
	    .help = "Microseconds that an idle processor of this machine may take to wake up while "
		    "requests come, any, or auto: 0 in a virtual machine that idles by haltpoll, "
		    "else any."),
	ROW(timeout_ms, "timeout", 0, OPTION_DURATION, "5s", 100, 600000,
	    .help = "Longest wait for any one answer of the master or a peer."),
	ROW(wait_ms, "wait", 0, OPTION_DURATION, "30s", 0, 3600000,
	    .help = "How long to wait for the master at start before giving up."),
	ROW(cache_ms, "cache", 0, OPTION_DURATION, "1h", 0, 0,
	    .help = "How long the kernel may keep names that the master can call back."),
	ROW(watermark_high, "watermark_high", 0, OPTION_UINT, "95", 10, 100, .unit = "PERCENT",
	    .help = "Use of the pool at which eviction begins."),
	ROW(watermark_low, "watermark_low", 0, OPTION_UINT, "90", 5, 100, .unit = "PERCENT",
	    .help = "Use of the pool at which eviction ends."),
	ROW(journal, "journal", 0, OPTION_STRING, .unit = "file:PATH",
	    .help = "Journal of the master inside; default: beside the pool if pool= is given, "
		    "else in memory."),
	ROW(http, "http", 0, OPTION_STRING, .unit = "HOST:PORT",
	    .help = "Where /metrics and /health are served; default: nowhere."),
	ROW(master_http, "master_http", 0, OPTION_STRING, .unit = "HOST:PORT",
	    .help = "Where the master inside serves HTTP; default: nowhere."),
	ROW(log_level, "log_level", 0, OPTION_STRING, "info",
	    .choices = "error|warn|info|debug|trace", .help = "How much is logged."),
	ROW(log_file, "log_file", 0, OPTION_STRING, .unit = "PATH",
	    .help = "Where the log goes: a file, or syslog; default: standard error, and syslog "
		    "when in the background."),
	ROW(foreground, "foreground", 'f', OPTION_BOOL, "off", .help = "Stay in the foreground."),
	ROW(debug, "debug", 'd', OPTION_BOOL, "off", .help = "Log at level debug."),
	ROW(help, "help", 'h', OPTION_BOOL, "off", .help = "Say this and end."),
	ROW(version, "version", 'V', OPTION_BOOL, "off", .help = "Say the version and end."),
	{0},
};

/* What mount(8) and fstab add to every list: what restricts the mount counts, the last said. */
static bool other_option(void *target, const char *name, const char *value)
{
	static const char *const known[] = {
		"defaults",    "auto",	   "noauto",	 "user",	"nouser",
		"users",       "_netdev",  "nofail",	 "suid",	"nosuid",
		"dev",	       "nodev",	   "atime",	 "noatime",	"relatime",
		"async",       "sync",	   "dirsync",	 "diratime",	"nodiratime",
		"strictatime", "lazytime", "nolazytime", "norelatime",	"silent",
		"nosymfollow", "fsname",   "subtype",	 "allow_other", "default_permissions"};
	struct settings *s = target;

	(void)value;
	if (strcmp(name, "ro") == 0 || strcmp(name, "rw") == 0) {
		s->read_only = strcmp(name, "ro") == 0;
		return true;
	}
	if (strcmp(name, "noexec") == 0 || strcmp(name, "exec") == 0) {
		s->no_exec = strcmp(name, "noexec") == 0;
		return true;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i], name) == 0)
			return true;
	}
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "comment", 7) == 0;
}

static void print_help(void)
{
	printf("usage: mooncakefs [SOURCE] MOUNTPOINT [-f] [-o OPTION[=VALUE],...]\n\n"
	       "Mount the cluster's objects on a directory and lend memory to the cluster.\n"
	       "Each option below can stand in -o, in fstab, or alone as --option=value.\n"
	       "SOURCE is ignored (fstab needs one). Unmount with umount, fusermount3 -u or\n"
	       "SIGTERM.\n\n");
	options_help(rows, true, stdout);
	printf("\nexample:\n  mooncakefs /mnt/mooncake -o master=10.0.0.1:50051,segment=64g\n"
	       "exit: 0 unmounted cleanly, 1 could not start or lost the mount, 2 bad options\n");
}

/* -- the daemon -- */

struct daemon {
	struct settings *settings;
	struct mc_master *master; /* inside, NULL when another is named */
	struct http *http;	  /* NULL: none was asked for */
	struct fs fs;
	char mountpoint[PATH_MAX];
	char pool[PATH_MAX];
	char master_address[1024];
	char journal[PATH_MAX + 32];
	uint32_t port_first, port_last;
	struct mc_placement placement;
	sigset_t signals;
	_Atomic bool mounted; /* what is on the mountpoint is ours */
	pthread_mutex_t lock;
	struct node *node; /* what a signal stops; protected by lock, like the next three */
	bool ending;	   /* a signal came */
	bool serving;	   /* the session stands */
	bool reported;	   /* the parent knows that the mount stands */
	int report;	   /* pipe to the parent of a daemon; -1 */
};

/* End what waits, then the mount; or the start, where there is none yet. */
static void *ending_thread(void *context)
{
	struct daemon *d = context;

	pthread_setname_np(pthread_self(), "mc-ending");
	pthread_mutex_lock(&d->lock);
	d->ending = true;
	if (d->node)
		node_stop(d->node);
	if (d->serving) {
		notifier_drain(&d->fs);
		fuse_session_exit(d->fs.session);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* What ends us: not what nohup, or a shell in the background, has us ignore. */
static void ending_signals(sigset_t *signals)
{
	static const int numbers[] = {SIGINT, SIGHUP};
	struct sigaction before;

	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaddset(signals, numbers[i]);
	}
}

/* The first signal ends the mount in order, the second the process at once. */
static void *signal_thread(void *context)
{
	struct daemon *d = context;
	pthread_t thread;
	int number;

	pthread_setname_np(pthread_self(), "mc-signal");
	while (sigwait(&d->signals, &number) != 0)
		continue;
	log_info("ending, the next signal ends at once signal=%d", number);
	if (pthread_create(&thread, NULL, ending_thread, d) == 0)
		pthread_detach(thread);
	while (sigwait(&d->signals, &number) != 0)
		continue;
	log_warn("ending at once signal=%d", number);
	if (d->mounted)
		umount2(d->mountpoint, MNT_DETACH);
	_exit(1);
}

/* What a signal is to end from now on.  True: one came before, do not go on. */
static bool set_node(struct daemon *d, struct node *node)
{
	pthread_mutex_lock(&d->lock);
	d->node = node;
	bool ending = d->ending;
	pthread_mutex_unlock(&d->lock);
	return ending;
}

static bool set_serving(struct daemon *d, bool serving)
{
	pthread_mutex_lock(&d->lock);
	d->serving = serving;
	bool ending = d->ending;
	pthread_mutex_unlock(&d->lock);
	return ending;
}

static enum mc_status start_master(struct daemon *d)
{
	struct settings *s = d->settings;
	struct mc_master_config config = {
		.socket = d->master_address + strlen("unix:"),
		.journal = "memory",
		.journal_sync = "never",
		.heartbeat_ms = 1000,
		.ttl_ms = 5000,
		.fresh = true,
		.http = s->master_http,
	};

	if (s->master) {
		snprintf(d->master_address, sizeof(d->master_address), "%s", s->master);
		return MC_OK;
	}
	snprintf(d->master_address, sizeof(d->master_address), "unix:@mooncake-inside-%d",
		 (int)getpid());
	if (!s->journal && s->pool)
		snprintf(d->journal, sizeof(d->journal), "file:%s.journal", d->pool);
	if (d->journal[0])
		config.journal = d->journal;
	return mc_master_start(&config, &d->master);
}

static bool parse_ports(const char *text, uint32_t *first, uint32_t *last)
{
	unsigned long long from, to;
	char end;

	if (!text)
		return true;
	if (sscanf(text, "%llu-%llu%c", &from, &to, &end) != 2 || from == 0 || to > 65535 ||
	    from > to) {
		log_error("ports must be FIRST-LAST within 1-65535 given=%s", text);
		return false;
	}
	*first = (uint32_t)from;
	*last = (uint32_t)to;
	return true;
}

/* A name stands in lines of the log and of user.mooncake.status. */
static bool name_sound(const char *name)
{
	size_t size = 0;

	for (; name[size]; size++) {
		unsigned char byte = (unsigned char)name[size];
		if (byte < ' ' || byte == 0x7f)
			break;
	}
	if (size > 0 && size < MC_NODE_NAME_SIZE && !name[size])
		return true;
	log_error("name must be 1 to %u bytes, none of them a control character",
		  MC_NODE_NAME_SIZE - 1);
	return false;
}

static bool placement_take(const struct settings *s, struct mc_placement *placement)
{
	placement->replicas = (uint8_t)s->replicas;
	placement->ack = (uint8_t)s->ack;
	if (s->ack > 1 && s->replicas && s->ack > s->replicas) {
		log_error("a close can't wait for more copies than are made ack=%u replicas=%u",
			  s->ack, s->replicas);
		return false;
	}
	if (!s->preferred || placement_names_read(s->preferred, placement))
		return true;
	log_error("preferred must be names of nodes with colons between them given=%s",
		  s->preferred);
	return false;
}

/* Take what the options' rows can't judge. */
static bool settings_take(struct daemon *d)
{
	const struct settings *s = d->settings;

	if (!s->lend && !s->master) {
		log_error("a mount that lends nothing (lend=off) needs a master, and other nodes");
		return false;
	}
	if (s->pool && !s->pool[0]) {
		log_error("pool must be a directory");
		return false;
	}
	if (s->watermark_low > s->watermark_high) {
		log_error("watermark_low is above watermark_high low=%u high=%u", s->watermark_low,
			  s->watermark_high);
		return false;
	}
	uint32_t us;
	if (!cpu_latency_read(s->cpu_latency, &us)) {
		log_error("cpu_latency must be auto, any or 0 to %u microseconds given=\"%s\"",
			  CPU_LATENCY_MAX_US, s->cpu_latency);
		return false;
	}
	return (!s->name || name_sound(s->name)) &&
	       parse_ports(s->ports, &d->port_first, &d->port_last) &&
	       placement_take(s, &d->placement);
}

static enum mc_status start_node(struct daemon *d)
{
	struct settings *s = d->settings;
	struct node_config config = {
		.master = d->master_address,
		.pool = {.path = d->pool, .size = s->segment, .mount = s->private_pool},
		.name = s->name,
		.listen_host = s->listen,
		.port_first = d->port_first,
		.port_last = d->port_last,
		.announce_host = s->announce,
		.transport = s->transport,
		.stream_threshold = s->stream_threshold,
		.stream_after_ms = s->stream_after_ms,
		.show_bytes_max = s->register_ahead,
		.cpu_latency = s->cpu_latency,
		.timeout_ms = s->timeout_ms,
		.watermark_high = s->watermark_high,
		.watermark_low = s->watermark_low,
		.placement = d->placement,
		.immutable = s->immutable,
		.guest = !s->lend,
		.metacache = !getenv("MC_DISABLE_METACACHE"),
	};
	struct node_events events = fs_node_events;

	events.context = &d->fs;
	if (!s->pool && geteuid() == 0 && mkdir("/run/mooncake", 0700) < 0 && errno != EEXIST) {
		log_error("no place for the pool can be made path=/run/mooncake error=\"%s\"",
			  strerror(errno));
		return mc_status_from_errno(errno);
	}
	enum mc_status status = node_open(&config, &events, &d->fs.node);
	if (status) {
		log_error("the node can't start pool=%s master=%s status=\"%s\"", d->pool,
			  d->master_address, mc_status_text(status));
		return status;
	}
	if (set_node(d, d->fs.node))
		return MC_CANCELLED;
	status = node_wait_ready(d->fs.node, s->wait_ms);
	if (status == MC_TIMEOUT)
		log_error("the master does not answer, is it running? address=%s waited_ms=%u",
			  d->master_address, s->wait_ms);
	return status;
}

static enum mc_status mount_session(struct daemon *d)
{
	struct fs *fs = &d->fs;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	bool failed = fuse_opt_add_arg(&args, "mooncakefs") ||
		      fuse_opt_add_arg(&args, "-oallow_other,default_permissions,"
					      "fsname=mooncakefs,subtype=mooncakefs");
	if (fs->config.io_uring)
		failed = failed || fuse_opt_add_arg(&args, "-oio_uring,io_uring_q_depth=32");
	if (d->settings->read_only)
		failed = failed || fuse_opt_add_arg(&args, "-oro");
	if (d->settings->no_exec)
		failed = failed || fuse_opt_add_arg(&args, "-onoexec");
	if (!failed)
		fs->session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->session)
		return MC_NO_MEMORY;
	if (fuse_session_mount(fs->session, d->mountpoint) != 0) {
		log_error("the kernel refuses the mount path=%s", d->mountpoint);
		return MC_IO;
	}
	d->mounted = true;
	return MC_OK;
}

static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max =
			limit.rlim_max < 1048576 ? 1048576 : limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
			getrlimit(RLIMIT_NOFILE, &limit);
			limit.rlim_cur = limit.rlim_max;
			setrlimit(RLIMIT_NOFILE, &limit);
		}
	}
}

/*
 * A start that was given up (Ctrl-C, a mount(8) that was killed) must not mount
 * later: the pipe's other end goes with who waits for it.
 */
static void *parent_thread(void *context)
{
	struct daemon *d = context;
	struct pollfd parent = {.fd = d->report};

	pthread_setname_np(pthread_self(), "mc-parent");
	while (poll(&parent, 1, -1) < 0)
		continue;
	pthread_mutex_lock(&d->lock);
	bool reported = d->reported;
	pthread_mutex_unlock(&d->lock);
	close(d->report);
	if (!reported) {
		log_warn("nobody waits for the start any more");
		kill(getpid(), SIGTERM);
	}
	return NULL;
}

/* Tell the parent of a daemon that the mount stands. */
static void report(struct daemon *d)
{
	if (d->report < 0)
		return;
	pthread_mutex_lock(&d->lock);
	d->reported = write(d->report, "y", 1) == 1;
	pthread_mutex_unlock(&d->lock);
	int null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (!d->settings->log_file)
		log_open("syslog");
}

static void *read_ahead_thread(void *context)
{
	mountpoint_read_ahead(context); /* touches the mount: not from the thread that serves it */
	return NULL;
}

static int serve(struct daemon *d)
{
	struct fs *fs = &d->fs;
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	pthread_t thread;

	if (pthread_create(&thread, NULL, read_ahead_thread, d->mountpoint) == 0)
		pthread_detach(thread);
	report(d);
	log_info("mounted path=%s segment=%llu pool=\"%s\" at=%s", d->mountpoint,
		 (unsigned long long)d->settings->segment, pool_kind(node_pool(fs->node)),
		 pool_path(node_pool(fs->node)));
	fuse_loop_cfg_set_clone_fd(loop, 0);
	fuse_loop_cfg_set_max_threads(loop, 16);
	int result = set_serving(d, true) ? 0 : fuse_session_loop_mt(fs->session, loop);
	set_serving(d, false);
	fuse_loop_cfg_destroy(loop);
	if (result < 0)
		log_error("the kernel broke the connection error=\"%s\"", strerror(-result));
	return result < 0 ? 1 : 0;
}

static int run(struct daemon *d)
{
	struct fs *fs = &d->fs;
	pthread_t thread;
	int result = 1;

	pthread_sigmask(SIG_BLOCK, &d->signals, NULL);
	pthread_mutex_init(&d->lock, NULL);
	if (pthread_create(&thread, NULL, signal_thread, d) == 0)
		pthread_detach(thread);
	signal(SIGPIPE, SIG_IGN);
	if (d->report >= 0 && pthread_create(&thread, NULL, parent_thread, d) == 0)
		pthread_detach(thread);
	raise_limits();
	fs->passthrough_why = "not asked yet";
	fs->io_uring_why = "not asked yet";
	enum mc_status status = mountpoint_prepare(d->mountpoint);
	bool destroy = !d->settings->pool;
	if (!status)
		status = notifier_start(fs);
	if (!status)
		status = start_master(d);
	if (!status)
		status = start_node(d);
	if (!status && d->settings->http)
		status = fs_http_open(fs, d->settings->http, &d->http);
	if (!status)
		status = blanks_start(fs, &fs->blanks);
	if (!status)
		status = mount_session(d);
	if (!status)
		result = serve(d);
	blanks_stop(fs->blanks); /* while the kernel still listens */
	if (!status) {
		fuse_session_unmount(fs->session);
		d->mounted = false;
		log_info("unmounted path=%s", d->mountpoint);
	}
	set_node(d, NULL);
	http_close(d->http);
	if (fs->node) {
		node_stop(fs->node); /* a read that waits has its handle still */
		inodes_close(fs);
	}
	/* Both may still answer requests, and tell the kernel, over the session. */
	node_close(fs->node, destroy);
	notifier_stop(fs);
	if (fs->session)
		fuse_session_destroy(fs->session);
	mc_master_stop(d->master);
	return result;
}

/* Go to the background; the parent ends when the mount stands, or has failed. */
static void detach(struct daemon *d)
{
	int fds[2];
	char answer;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		perror("mooncakefs: pipe");
		exit(1);
	}
	pid_t child = fork();
	if (child < 0) {
		perror("mooncakefs: fork");
		exit(1);
	}
	if (child > 0) {
		close(fds[1]);
		exit(read(fds[0], &answer, 1) == 1 ? 0 : 1);
	}
	close(fds[0]);
	d->report = fds[1];
	setsid();
	if (chdir("/") < 0)
		perror("mooncakefs: chdir /");
}

/* SOURCE MOUNTPOINT, or MOUNTPOINT alone; "mooncakefs#..." is fstab's old way to name us. */
static const char *find_mountpoint(int left, char **argv)
{
	if (left == 1)
		return argv[1];
	return left == 2 ? argv[2] : NULL;
}

/* What is opened later must not take the place of a stream that the caller closed. */
static void hold_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", O_RDWR);
	}
}

static int usage_error(const char *what)
{
	fprintf(stderr, "mooncakefs: %s\nTry mooncakefs --help.\n", what);
	return 2;
}

/* A daemon works in "/": what is given relative to the caller's directory stays what it is. */
static void absolute(const char *path, char *whole, size_t size)
{
	CLEANUP_FREE char *directory = path[0] == '/' ? NULL : getcwd(NULL, 0);

	snprintf(whole, size, "%s%s%s", directory ? directory : "", directory ? "/" : "", path);
}

static void take_paths(struct daemon *d, const char *mountpoint)
{
	static const char file[] = "file:";
	const struct settings *s = d->settings;

	if (!realpath(mountpoint, d->mountpoint))
		absolute(mountpoint, d->mountpoint, sizeof(d->mountpoint));
	if (s->pool)
		absolute(s->pool, d->pool, sizeof(d->pool));
	else
		mountpoint_pool(d->mountpoint, d->pool, sizeof(d->pool));
	if (s->journal && strncmp(s->journal, file, strlen(file)) == 0) {
		char path[PATH_MAX];
		absolute(s->journal + strlen(file), path, sizeof(path));
		snprintf(d->journal, sizeof(d->journal), "%s%s", file, path);
	} else if (s->journal) {
		snprintf(d->journal, sizeof(d->journal), "%s", s->journal);
	}
}

/* What libfuse says would be lost in the background. */
__attribute__((format(printf, 2, 0))) static void log_fuse(enum fuse_log_level level,
							   const char *format, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else if (level == FUSE_LOG_WARNING)
		log_warn("%s", text);
	else
		log_debug("%s", text);
}

static int start(struct settings *s, struct options *options, int left, char **argv)
{
	static struct daemon d;
	const char *mountpoint = find_mountpoint(left, argv);

	if (!mountpoint || !mountpoint[0])
		return usage_error(left <= 2 ? "no mountpoint is given" : "too many arguments");
	if (s->log_file && !log_open(s->log_file))
		return usage_error("the log file can't be written");
	log_set_level(s->debug && !options_given(options, "log_level") ? "debug" : s->log_level);
	fuse_set_log_func(log_fuse);
	d.settings = s;
	d.report = -1;
	d.fs.config = (struct fs_config){s->passthrough, s->io_uring, s->cache_ms};
	if (getenv("MC_DISABLE_METACACHE"))
		d.fs.config.cache_ms = 0;
	ending_signals(&d.signals);
	if (!settings_take(&d))
		return 2;
	take_paths(&d, mountpoint);
	if (!s->foreground)
		detach(&d);
	return run(&d);
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct options options;
	int left;

	hold_standard_streams();
	options_init(&options, rows, &settings);
	options.other = other_option;
	if (options_parse(&options, argc, argv, &left))
		return usage_error(options.error);
	int result = 0;
	if (settings.help)
		print_help();
	else if (settings.version)
		printf("mooncakefs %s, libfuse %s\n", MOONCAKE_VERSION, fuse_pkgversion());
	else
		result = start(&settings, &options, left, argv);
	options_fini(&options);
	return result;
}
