#include "engine/base/mountinfo.h"

#include <check.h>
#include <string.h>

#include "tests/support/suite.h"

static const struct {
	const char *line;
	const char *path, *type, *source;
	unsigned major, minor;
} good[] = {
	{"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n", "/mnt2", "ext3",
	 "/dev/root", 98, 0},
	{"41 25 0:38 / /mnt/kv rw,nosuid,nodev shared:9 master:2 - fuse.mooncakefs kv rw\n",
	 "/mnt/kv", "fuse.mooncakefs", "kv", 0, 38},
	{"41 25 0:38 / / rw - tmpfs tmpfs rw\n", "/", "tmpfs", "tmpfs", 0, 38},
	{"41 25 0:38 / /a\\040b\\134c\\011d rw - tmpfs a\\040b rw\n", "/a b\\c\td", "tmpfs", "a b",
	 0, 38},
	{"41 25 0:38 / /a rw - tmpfs\n", "/a", "tmpfs", "", 0, 38},
};

static const char *const bad[] = {
	"", "\n", " - \n", "36 35 98:0 / - ext3", "36 35 98 /mnt1 /mnt2 rw - ext3 /dev/root rw\n",
};

START_TEST(an_entry_is_taken_from_its_line)
{
	struct mountinfo mount = {0};
	char line[256];

	strcpy(line, good[_i].line);
	ck_assert(mountinfo_parse(&mount, line));
	ck_assert_str_eq(mount.path, good[_i].path);
	ck_assert_str_eq(mount.type, good[_i].type);
	ck_assert_str_eq(mount.source, good[_i].source);
	ck_assert_uint_eq(mount.major, good[_i].major);
	ck_assert_uint_eq(mount.minor, good[_i].minor);
}
END_TEST

START_TEST(what_is_no_entry_is_refused)
{
	struct mountinfo mount = {0};
	char line[256];

	strcpy(line, bad[_i]);
	ck_assert(!mountinfo_parse(&mount, line));
}
END_TEST

START_TEST(what_is_mounted_here_is_listed)
{
	struct mountinfo mount;
	bool root = false, proc = false;

	for (mountinfo_open(&mount); mountinfo_next(&mount);) {
		root = root || strcmp(mount.path, "/") == 0;
		proc = proc ||
		       (strcmp(mount.path, "/proc") == 0 && strcmp(mount.type, "proc") == 0);
	}
	mountinfo_close(&mount);
	ck_assert(root);
	ck_assert(proc);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/mountinfo");
	TCase *tc = tcase_create("lines");

	tcase_add_loop_test(tc, an_entry_is_taken_from_its_line, 0,
			    (int)(sizeof(good) / sizeof(*good)));
	tcase_add_loop_test(tc, what_is_no_entry_is_refused, 0, (int)(sizeof(bad) / sizeof(*bad)));
	tcase_add_test(tc, what_is_mounted_here_is_listed);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
