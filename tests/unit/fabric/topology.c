/*
 * Which devices are near: from a tree like that of sysfs, and from a matrix.
 */
#include "engine/fabric/topology.h"

#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "tests/support/suite.h"

static const char *const names[] = {"mlx5_0", "mlx5_1", "mlx5_2", "rxe0"};
static char top[64];

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	fputs(text, out);
	ck_assert_int_eq(fclose(out), 0);
}

static void run(const char *format, const char *path)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), format, path);
	ck_assert_int_eq(system(command), 0);
}

static void add_pci(const char *way, int node, const char *vendor, const char *class)
{
	char path[PATH_MAX], text[32];
	const char *slot = strrchr(way, '/') + 1;

	snprintf(path, sizeof(path), "%s/devices/%s", top, way);
	run("mkdir -p %s", path);
	snprintf(path, sizeof(path), "%s/devices/%s/numa_node", top, way);
	snprintf(text, sizeof(text), "%d\n", node);
	write_file(path, text);
	snprintf(path, sizeof(path), "%s/devices/%s/vendor", top, way);
	write_file(path, vendor);
	snprintf(path, sizeof(path), "%s/devices/%s/class", top, way);
	write_file(path, class);
	char target[PATH_MAX];
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", top, slot);
	snprintf(target, sizeof(target), "%s/devices/%s", top, way);
	ck_assert_int_eq(symlink(target, path), 0);
}

static void add_nic(const char *name, const char *way, int node)
{
	char path[PATH_MAX], target[PATH_MAX];

	add_pci(way, node, "0x15b3\n", "0x020700\n");
	snprintf(path, sizeof(path), "%s/class/infiniband/%s", top, name);
	run("mkdir -p %s", path);
	snprintf(path, sizeof(path), "%s/class/infiniband/%s/device", top, name);
	snprintf(target, sizeof(target), "%s/devices/%s", top, way);
	ck_assert_int_eq(symlink(target, path), 0);
}

/* Two nodes; behind a switch on each a NIC and a GPU; one more NIC on node 0; one without hardware.
 */
static void set_up(void)
{
	snprintf(top, sizeof(top), "/tmp/topology.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	run("mkdir -p %s/bus/pci/devices", top);
	run("mkdir -p %s/devices/system/node/node0", top);
	run("mkdir -p %s/devices/system/node/node1", top);
	add_nic("mlx5_0", "pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0", 0);
	add_nic("mlx5_1", "pci0000:00/0000:00:02.0/0000:05:00.0", 0);
	add_nic("mlx5_2", "pci0000:80/0000:80:01.0/0000:81:00.0/0000:82:00.0", 1);
	run("mkdir -p %s/class/infiniband/rxe0", top);
	add_pci("pci0000:00/0000:00:01.0/0000:01:00.0/0000:03:00.0", 0, "0x10de\n", "0x030200\n");
	add_pci("pci0000:80/0000:80:01.0/0000:81:00.0/0000:83:00.0", 1, "0x10de\n", "0x030200\n");
}

static void tear_down(void)
{
	run("rm -rf %s", top);
}

static void check_rank(const struct topology *topology, const char *location, const char *expected)
{
	const struct topology_rank *rank = topology_rank(topology, location);
	char text[64] = "";

	for (uint32_t i = 0; i < rank->count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u",
			 i == rank->near_count ? "|" : "", rank->devices[i]);
	ck_assert_str_eq(text, expected);
}

START_TEST(devices_of_the_node_are_near)
{
	struct topology *topology;

	ck_assert_int_eq(topology_discover(top, "infiniband", names, 4, &topology), MC_OK);
	/* Where a device is not at any node, it is near to all. */
	check_rank(topology, "cpu:0", "013|2");
	check_rank(topology, "cpu:1", "23|01");
	topology_free(topology);
}
END_TEST

START_TEST(the_device_behind_the_same_switch_is_near_to_a_gpu)
{
	struct topology *topology;

	ck_assert_int_eq(topology_discover(top, "infiniband", names, 4, &topology), MC_OK);
	check_rank(topology, "cuda:0", "0|123");
	check_rank(topology, "cuda:1", "2|013");
	topology_free(topology);
}
END_TEST

START_TEST(unknown_locations_have_all_devices_near)
{
	struct topology *topology;

	ck_assert_int_eq(topology_discover(top, "infiniband", names, 4, &topology), MC_OK);
	check_rank(topology, "*", "0123");
	check_rank(topology, "cpu:7", "0123");
	check_rank(topology, "", "0123");
	topology_free(topology);
}
END_TEST

START_TEST(it_is_printed_as_a_matrix_and_read_back)
{
	struct topology *topology, *again;

	ck_assert_int_eq(topology_discover(top, "infiniband", names, 3, &topology), MC_OK);
	CLEANUP_FREE char *text = topology_print(topology);
	ck_assert_str_eq(text, "{\"cpu:0\":[[\"mlx5_0\",\"mlx5_1\"],[\"mlx5_2\"]],"
			       "\"cpu:1\":[[\"mlx5_2\"],[\"mlx5_0\",\"mlx5_1\"]],"
			       "\"cuda:0\":[[\"mlx5_0\"],[\"mlx5_1\",\"mlx5_2\"]],"
			       "\"cuda:1\":[[\"mlx5_2\"],[\"mlx5_0\",\"mlx5_1\"]]}");
	ck_assert_int_eq(topology_parse(text, names, 3, &again), MC_OK);
	check_rank(again, "cpu:1", "2|01");
	topology_free(topology);
	topology_free(again);
}
END_TEST

START_TEST(a_matrix_may_name_devices_that_are_not_there)
{
	struct topology *topology;

	ck_assert_int_eq(
		topology_parse("{\"cpu:0\":[[\"mlx5_9\"],[\"mlx5_1\"]],"
			       "\"cpu:1\":[[\"mlx5_9\"],[]],"
			       "\"cpu:2\":[[\"mlx5_2\",\"mlx5_2\"],[\"mlx5_2\",\"rxe0\"]]}",
			       names, 4, &topology),
		MC_OK);
	check_rank(topology, "cpu:0", "1");
	check_rank(topology, "cpu:1", "0123");
	check_rank(topology, "cpu:2", "2|3");
	topology_free(topology);
}
END_TEST

static const char *const bad_matrices[] = {
	"",
	"[]",
	"{\"cpu:0\":[[\"mlx5_0\"]]}",
	"{\"cpu:0\":[[\"mlx5_0\"],[],[]]}",
	"{\"cpu:0\":[[\"mlx5_0\"],7]}",
	"{\"cpu:0\":[[0],[]]}",
	"{\"cpu:0\":{}}",
	"{\"a location whose name is longer than sixty-three bytes can be: far too long\":[[],[]]}",
};

START_TEST(what_is_no_matrix_is_refused)
{
	struct topology *topology;

	ck_assert_int_eq(topology_parse(bad_matrices[_i], names, 4, &topology), MC_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("topology");
	TCase *tcase = tcase_create("topology");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, devices_of_the_node_are_near);
	tcase_add_test(tcase, the_device_behind_the_same_switch_is_near_to_a_gpu);
	tcase_add_test(tcase, unknown_locations_have_all_devices_near);
	tcase_add_test(tcase, it_is_printed_as_a_matrix_and_read_back);
	tcase_add_test(tcase, a_matrix_may_name_devices_that_are_not_there);
	tcase_add_loop_test(tcase, what_is_no_matrix_is_refused, 0,
			    sizeof(bad_matrices) / sizeof(bad_matrices[0]));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
