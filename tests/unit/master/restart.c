/* A real mooncake-master that is killed and started again: nothing acknowledged is lost. */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/master/raw.h"

#define KEY_COUNT 64
#define DIR_COUNT 4

static char directory[64];
static char journal[96];
static char socket_name[64];
static char program[PATH_MAX + 32];
static pid_t pid;
static struct raw a;

static void start(const char *sync)
{
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execl(program, program, "--listen", "127.0.0.1:0", "--socket", socket_name,
		      "--journal", journal, "--journal-sync", sync, "--log-level", "error",
		      (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 200; i++) {
		struct net_address peer;
		int fd;
		ck_assert_int_eq(net_resolve(socket_name, &peer), MC_OK);
		if (net_connect(&peer, 100, &fd) == MC_OK) {
			close(fd);
			return;
		}
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	ck_abort_msg("the master did not come up");
}

static int stop(int signal_number)
{
	int status;

	kill(pid, signal_number);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	pid = 0;
	return status;
}

static void setup(void)
{
	char self[PATH_MAX] = "";

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	snprintf(program, sizeof(program), "%s/../bin/mooncake-master", dirname(self));
	strcpy(directory, "/tmp/mooncake-restart-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(journal, sizeof(journal), "file:%s/j", directory);
	snprintf(socket_name, sizeof(socket_name), "@mooncake-test-%d", (int)getpid());
}

static void teardown(void)
{
	char command[128];

	raw_close(&a);
	if (pid > 0)
		stop(SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(a_signal_ends_it_cleanly)
{
	start("interval");
	int status = stop(_i ? SIGINT : SIGTERM);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(epoch_and_ids_move_on)
{
	uint64_t last = 0;
	uint64_t cluster = 0;

	for (uint32_t i = 1; i <= 3; i++) {
		start("never");
		raw_node(&a, socket_name, 1);
		ck_assert_uint_eq(a.epoch, i);
		ck_assert_uint_eq(a.node, 1);
		ck_assert_uint_gt(a.next_id, last);
		ck_assert(i == 1 || a.cluster == cluster);
		cluster = a.cluster;
		last = a.next_id + (1 << 20) - 1;
		raw_close(&a);
		stop(SIGKILL);
	}
}
END_TEST

/* What the tests believe of each key: id 0, or id, version and uid. */
static struct {
	uint64_t id;
	uint64_t version;
	uint32_t uid;
} keys[DIR_COUNT][KEY_COUNT];
static uint64_t dirs[DIR_COUNT];
static unsigned seed;

static void key_name(char name[16], int key)
{
	snprintf(name, 16, "key-%d", key);
}

static void step_put(int d, int k)
{
	char name[16];
	struct mc_attr attr = raw_attr(a.next_id++, keys[d][k].version + 1, 4096);

	key_name(name, k);
	ck_assert_int_eq(raw_publish(&a, dirs[d], name, 0, &attr), MC_OK);
	keys[d][k].id = attr.id;
	keys[d][k].version = attr.version;
	keys[d][k].uid = 0;
}

static void step_remove(int d, int k)
{
	char name[16];

	key_name(name, k);
	ck_assert_int_eq(raw_remove(&a, dirs[d], name), keys[d][k].id ? MC_OK : MC_NOT_FOUND);
	keys[d][k].id = 0;
}

static void step_chown(int d, int k)
{
	struct mc_attr attr = {.id = keys[d][k].id, .uid = (uint32_t)rand_r(&seed)};

	if (!attr.id)
		return;
	put_u64(&a.out, attr.id);
	put_u32(&a.out, MC_SET_UID);
	put_attr(&a.out, &attr);
	ck_assert_int_eq(raw_call(&a, MC_VERB_SETATTR), MC_OK);
	keys[d][k].uid = attr.uid;
}

static void step_rename(int d, int k)
{
	int d2 = rand_r(&seed) % DIR_COUNT;
	int k2 = DIR_COUNT + rand_r(&seed) % (KEY_COUNT - DIR_COUNT);
	char name[16];
	char new_name[16];

	key_name(name, k);
	key_name(new_name, k2);
	enum mc_status status = raw_rename(&a, dirs[d], name, dirs[d2], new_name, 0);
	ck_assert_int_eq(status, keys[d][k].id ? MC_OK : MC_NOT_FOUND);
	if (status != MC_OK || (d == d2 && k == k2))
		return;
	keys[d2][k2] = keys[d][k];
	keys[d][k].id = 0;
}

/* Announce what the model holds, as a pool would, and look each key up. */
static void verify(void)
{
	uint32_t held = 0;

	for (int d = 0; d < DIR_COUNT; d++) {
		for (int k = DIR_COUNT; k < KEY_COUNT; k++) {
			struct mc_attr attr = raw_attr(keys[d][k].id, keys[d][k].version, 4096);
			char path[40];
			if (!keys[d][k].id)
				continue;
			held++;
			/* The path is not what counts. */
			snprintf(path, sizeof(path), "wrong/%d", k);
			put_u16(&a.out, 1);
			put_string(&a.out, path, strlen(path));
			put_u8(&a.out, MC_REPLICA_PRIMARY);
			put_attr(&a.out, &attr);
			ck_assert_int_eq(raw_call(&a, MC_VERB_ANNOUNCE), MC_OK);
			get_u16(&a.in);
			ck_assert_int_eq(get_status(&a.in), MC_OK);
			ck_assert_uint_eq(get_u64(&a.in), dirs[d]);
		}
	}
	ck_assert_int_eq(raw_call(&a, MC_VERB_ANNOUNCED), MC_OK);
	ck_assert_uint_eq(get_u64(&a.in), 0);
	ck_assert_uint_eq(raw_stat_value(&a, "objects"), held);
	for (int d = 0; d < DIR_COUNT; d++) {
		for (int k = DIR_COUNT; k < KEY_COUNT; k++) {
			char name[16];
			key_name(name, k);
			struct raw_found found = raw_lookup(&a, dirs[d], name);
			ck_assert_msg(found.status == (keys[d][k].id ? MC_OK : MC_NOT_FOUND),
				      "directory %d key %d: status %d id %lx, must be %lx", d, k,
				      found.status, (unsigned long)found.entry.attr.id,
				      (unsigned long)keys[d][k].id);
			if (!keys[d][k].id)
				continue;
			ck_assert_uint_eq(found.entry.attr.id, keys[d][k].id);
			ck_assert_uint_eq(found.entry.attr.version, keys[d][k].version);
			ck_assert_uint_eq(found.entry.attr.uid, keys[d][k].uid);
		}
	}
}

START_TEST(nothing_acknowledged_is_lost_by_a_kill)
{
	static void (*const steps[])(int, int) = {step_put, step_put, step_remove, step_chown,
						  step_rename};
	static const char *const syncs[] = {"never", "interval", "always"};
	const char *given = getenv("SEED");

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	start(syncs[_i]);
	raw_node(&a, socket_name, 1);
	for (int d = 0; d < DIR_COUNT; d++) {
		char name[16];
		key_name(name, d);
		dirs[d] = raw_mkdir(&a, d ? dirs[d - 1] : MC_ROOT_ID, name);
	}
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 400; i++)
			steps[rand_r(&seed) % 5](rand_r(&seed) % DIR_COUNT,
						 DIR_COUNT +
							 rand_r(&seed) % (KEY_COUNT - DIR_COUNT));
		raw_close(&a);
		stop(round % 2 ? SIGTERM : SIGKILL);
		start(syncs[_i]);
		raw_node(&a, socket_name, 1);
		verify();
	}
}
END_TEST

/* What grows from them goes over the wire and into the journal, and comes out again. */
START_TEST(the_largest_ids_and_versions_leave_room)
{
	struct mc_attr attr = raw_attr(MC_OFFER_MAX, MC_OFFER_MAX, 1);

	start("never");
	raw_node(&a, socket_name, 1);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	attr = raw_attr(a.next_id++, 1, 1);
	ck_assert_int_eq(raw_publish(&a, MC_ROOT_ID, "key", 0, &attr), MC_OK);
	ck_assert_uint_eq(attr.version, MC_OFFER_MAX + 1);
	ck_assert_int_eq(raw_call(&a, MC_VERB_GRANT_IDS), MC_OK);
	ck_assert_uint_gt(get_u64(&a.in), MC_OFFER_MAX);
	raw_close(&a);
	stop(SIGKILL);
	start("never");
	raw_node(&a, socket_name, 1);
	ck_assert_uint_eq(raw_stat_value(&a, "objects"), 1);
}
END_TEST

/* What a snapshot can't make smaller is no reason for one. */
START_TEST(a_journal_of_policies_is_made_smaller_once)
{
	struct mc_placement placement = {.replicas = 2};
	char prefix[2048];
	uint64_t compactions;
	uint64_t later;

	start("never");
	raw_node(&a, socket_name, 1);
	for (size_t i = 0; i + 1 < sizeof(prefix); i++)
		prefix[i] = i % 100 == 99 ? '/' : 'p';
	for (int i = 0; i < (int)MC_POLICY_MAX; i++) {
		snprintf(prefix + sizeof(prefix) - 10, 10, "%d", i);
		put_string(&a.out, prefix, strlen(prefix));
		put_placement(&a.out, &placement);
		ck_assert_int_eq(raw_call(&a, MC_VERB_POLICY_SET), MC_OK);
	}
	compactions = raw_stat_value(&a, "journal_compactions");
	usleep(500000);
	later = raw_stat_value(&a, "journal_compactions");
	ck_assert_uint_le(later - compactions, 1);
}
END_TEST

START_TEST(a_journal_in_use_ends_it_at_once)
{
	int status;
	pid_t first;

	start("never");
	first = pid;
	pid_t second = fork();
	if (second == 0) {
		execl(program, program, "--listen", "127.0.0.1:0", "--journal", journal,
		      "--log-file", "/dev/null", (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(second, &status, 0), second);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	pid = first;
}
END_TEST

START_TEST(a_full_disk_refuses_changes_and_recovers)
{
	struct rlimit limit = {65536, RLIM_INFINITY};
	uint64_t put = 0;

	/* The master inherits that a file may not grow, and gets EFBIG instead of the signal. */
	signal(SIGXFSZ, SIG_IGN);
	start("never");
	signal(SIGXFSZ, SIG_DFL);
	ck_assert_int_eq(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
	raw_node(&a, socket_name, 1);
	while (true) {
		char name[32];
		struct mc_attr attr = raw_attr(a.next_id++, 1, 1);
		snprintf(name, sizeof(name), "key-%lu", (unsigned long)put);
		raw_publish_write(&a, MC_ROOT_ID, name, 0, &attr);
		raw_send(&a, MC_VERB_PUBLISH);
		while (raw_receive(&a) && a.frame.kind == MC_FRAME_PUSH)
			;
		if (a.frame.kind != MC_FRAME_REPLY || a.frame.request_id != a.request_id)
			break;
		put++;
		ck_assert_uint_lt(put, 2000);
	}
	ck_assert_uint_gt(put, 50);
	raw_close(&a);
	/* Lookups are served, changes are not. */
	raw_connect(&a, socket_name);
	raw_hello_write(&a, MC_ROLE_NODE, "node", 1);
	ck_assert_int_eq(raw_call(&a, MC_VERB_HELLO), MC_OK);
	ck_assert_int_eq(raw_lookup(&a, MC_ROOT_ID, "key-0").status, MC_OK);
	struct mc_attr attr = raw_attr(77, 1, 1);
	raw_publish_write(&a, MC_ROOT_ID, "late", 0, &attr);
	ck_assert_int_eq(raw_call(&a, MC_VERB_PUBLISH), MC_READ_ONLY);
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
	enum mc_status status = MC_READ_ONLY;
	for (int i = 0; i < 100 && status == MC_READ_ONLY; i++) {
		usleep(50000);
		raw_publish_write(&a, MC_ROOT_ID, "late", 0, &attr);
		status = raw_call(&a, MC_VERB_PUBLISH);
	}
	ck_assert_int_eq(status, MC_OK);
	raw_close(&a);
	stop(SIGKILL);
	start("never");
	raw_node(&a, socket_name, 1);
	ck_assert_uint_ge(raw_stat_value(&a, "objects"), put + 1);
}
END_TEST

static void add(TCase *tc)
{
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, a_signal_ends_it_cleanly, 0, 2);
	tcase_add_test(tc, epoch_and_ids_move_on);
	tcase_add_loop_test(tc, nothing_acknowledged_is_lost_by_a_kill, 0, 3);
	tcase_add_test(tc, a_full_disk_refuses_changes_and_recovers);
	tcase_add_test(tc, a_journal_of_policies_is_made_smaller_once);
	tcase_add_test(tc, the_largest_ids_and_versions_leave_room);
	tcase_add_test(tc, a_journal_in_use_ends_it_at_once);
}

int main(void)
{
	return raw_run("restart", add, setup, teardown);
}
