/*
 * tests/support/etcd.h -- an etcd of the test's own
 *
 * Started on free ports with its data in a temporary folder, ended by its
 * process id.  One member; flags of its own may be added.
 */
#ifndef TESTS_SUPPORT_ETCD_H
#define TESTS_SUPPORT_ETCD_H

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/net.h"
#include "engine/etcd/etcd.h"

#define ETCD_TEST_SKIP 77 /* what a test program returns that found no etcd */

struct etcd_server {
	pid_t pid;
	char folder[64];
	char client[64]; /* "127.0.0.1:PORT" */
	char peer[64];
	char scheme[8]; /* "http" or "https" */
	const char *flags[12];
};

static inline bool etcd_installed(void)
{
	if (access("/usr/bin/etcd", X_OK) == 0)
		return true;
	puts("SKIP: there is no /usr/bin/etcd (tools/setup.sh --tests installs it)");
	return false;
}

/* A port that is free now, and that no connection is given before it is used. */
static inline void etcd_server_address(char text[64])
{
	struct net_address address;
	char bound[NET_TEXT_SIZE];
	int fd;

	ck_assert_int_eq(net_listen_range("127.0.0.1", 10000, 32767, &fd), MC_OK);
	ck_assert_int_eq(net_bound(fd, &address), MC_OK);
	net_format(&address, bound);
	snprintf(text, 64, "%.63s", bound);
	close(fd);
}

static inline void etcd_server_exec(const struct etcd_server *server)
{
	char data[96], client[80], peer[80], cluster[96];
	const char *argv[32] = {"etcd", "--data-dir",
				data,	"--listen-client-urls",
				client, "--advertise-client-urls",
				client, "--listen-peer-urls",
				peer,	"--initial-advertise-peer-urls",
				peer,	"--initial-cluster",
				cluster};
	int argc = 0;

	snprintf(data, sizeof(data), "%s/data", server->folder);
	snprintf(client, sizeof(client), "%s://%s", server->scheme, server->client);
	snprintf(peer, sizeof(peer), "http://%s", server->peer);
	snprintf(cluster, sizeof(cluster), "default=http://%s", server->peer);
	while (argv[argc])
		argc++;
	for (int i = 0; server->flags[i]; i++)
		argv[argc++] = server->flags[i];
	argv[argc] = NULL;
	int quiet = open("/dev/null", O_RDWR);
	dup2(quiet, 0);
	dup2(quiet, 1);
	dup2(quiet, 2);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv("/usr/bin/etcd", (char *const *)argv);
	_exit(127);
}

static inline void etcd_server_spawn(struct etcd_server *server)
{
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		etcd_server_exec(server);
}

/* Begin one without waiting for it; folder and addresses stay for a second start. */
static inline void etcd_server_begin(struct etcd_server *server)
{
	if (!server->scheme[0])
		strcpy(server->scheme, "http");
	strcpy(server->folder, "/tmp/mooncake-etcd-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(server->folder));
	etcd_server_address(server->client);
	etcd_server_address(server->peer);
	etcd_server_spawn(server);
}

static inline void etcd_server_kill(struct etcd_server *server)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

/* Stop it, and wait until it has: a signal takes its time. */
static inline void etcd_server_pause(const struct etcd_server *server)
{
	int status = 0;

	kill(server->pid, SIGSTOP);
	ck_assert_int_eq(waitpid(server->pid, &status, WUNTRACED), server->pid);
	ck_assert(WIFSTOPPED(status));
}

/* Remove what it has stored. */
static inline void etcd_server_wipe(struct etcd_server *server)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s/data'", server->folder);
	ck_assert_int_eq(system(command), 0);
}

static inline void etcd_server_end(struct etcd_server *server)
{
	char command[128];

	etcd_server_kill(server);
	if (!server->folder[0])
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", server->folder);
	if (system(command) != 0)
		fprintf(stderr, "could not remove %s\n", server->folder);
}

/* Wait until a server answers. */
static inline void etcd_server_wait(const struct etcd_config *config)
{
	struct etcd *etcd;
	struct writer value;

	writer_init(&value);
	ck_assert_int_eq(etcd_open(config, &etcd), MC_OK);
	for (int i = 0; i < 300; i++) {
		enum mc_status status = etcd_get_wait(etcd, ETCD_TEXT("no such key"), &value);
		if (status == MC_NOT_FOUND || status == MC_ACCESS || status == MC_PERMISSION)
			break;
		ck_assert_msg(i < 299, "etcd does not start: %s", mc_status_text(status));
		usleep(20000);
	}
	etcd_close(etcd);
}

static inline void etcd_server_start(struct etcd_server *server)
{
	etcd_server_begin(server);
	etcd_server_wait(&(struct etcd_config){.endpoints = server->client});
}

#endif
