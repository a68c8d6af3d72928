/* Files that a node takes off a peer's shelf, and what keeps them from changing under it. */
#include "engine/node/shelf.h"

#include <dirent.h>
#include <sys/mman.h>

#include "tests/unit/node/cluster.h"

/* The first get of a peer asks it and brings its shelf along. */
static void acquaint(void)
{
	put(a, "first", 10, 9);
	assert_reads(b, "first", 10, 9);
	EVENTUALLY(stat_of_node(a, "shm_pulls_served") == 1);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 0);
}

START_TEST(once_acquainted_nobody_is_asked)
{
	acquaint();
	put(a, "small", 1, 1);
	put(a, "large", 3 << 20, 2);
	assert_reads(b, "small", 1, 1);
	assert_reads(b, "large", 3 << 20, 2);
	assert_reads(b, "large", 3 << 20, 2);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 3);
	ck_assert_uint_eq(counted(b, COUNTER_PULLS_SHM), 4);
	ck_assert_uint_eq(stat_of_node(a, "shm_pulls_served"), 1);
}
END_TEST

START_TEST(what_was_taken_never_changes)
{
	struct object *taken, *own;

	acquaint();
	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &taken), MC_OK);
	ck_assert_int_eq(open_object(b, taken, 0), MC_OK);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	own = open_copy(a, "key", own);
	write_bytes(a, own, 1000, 2);
	ck_assert(holds_bytes(b, taken, 1000, 1));
	ck_assert_int_eq(flush(a, own), MC_OK);
	ck_assert(holds_bytes(b, taken, 1000, 1));
	node_release(a, own, true);
	node_release(b, taken, false);
	cluster_forget(a, own);
	cluster_forget(b, taken);
}
END_TEST

START_TEST(what_is_being_written_is_asked_for)
{
	struct object *own;

	acquaint();
	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	ck_assert_int_eq(open_object(a, own, NODE_OPEN_WRITE), MC_OK);
	assert_reads(b, "key", 1000, 1);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 0);
	ck_assert_uint_eq(counted(b, COUNTER_PULLS_SHM), 2);
	node_release(a, own, true);
	assert_reads(b, "key", 1000, 1);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 1);
	cluster_forget(a, own);
}
END_TEST

/* It was published while it was open: nobody claimed it, the kernel knows. */
START_TEST(what_is_mapped_for_writing_is_asked_for)
{
	struct object *own;
	int fd;

	acquaint();
	own = create(a, "key");
	write_bytes(a, own, 4096, 1);
	ck_assert_int_eq(node_descriptor(a, own, true, &fd), MC_OK);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	ck_assert_int_eq(flush(a, own), MC_OK);
	node_release(a, own, true);
	assert_reads(b, "key", 4096, 1);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 0);
	munmap(map, 4096);
	cluster_forget(a, own);
}
END_TEST

START_TEST(a_removed_file_is_not_there)
{
	struct object *object;

	acquaint();
	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(b, "key", &object), MC_OK);
	pool_remove(node_pool(a), object->attr.id);
	ck_assert_int_ne(open_object(b, object, 0), MC_OK);
	ck_assert_uint_eq(counted(b, COUNTER_TAKEN), 0);
	cluster_forget(b, object);
}
END_TEST

/* How many descriptors this process has of the file that is behind an object of a. */
static int descriptors_of(struct object *object)
{
	DIR *dir = opendir("/proc/self/fd");
	struct stat wanted, st;
	struct dirent *entry;
	int fd, count = 0;

	ck_assert_ptr_nonnull(dir);
	ck_assert_int_eq(pool_object(node_pool(a), object->attr.id, O_RDONLY, &fd), MC_OK);
	ck_assert_int_eq(fstat(fd, &wanted), 0);
	close(fd);
	/* By path: a race detector takes fstat() of what another thread closes for a race. */
	while ((entry = readdir(dir)))
		count += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
			 st.st_ino == wanted.st_ino && st.st_dev == wanted.st_dev;
	closedir(dir);
	return count;
}

START_TEST(a_node_that_ends_gives_back_what_is_open_still)
{
	struct node *ends = cluster_start(&(struct cluster_node){0});
	struct object *taken, *own;

	put(a, "first", 10, 9);
	assert_reads(ends, "first", 10, 9);
	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(a, "key", &own), MC_OK);
	ck_assert_int_eq(lookup(ends, "key", &taken), MC_OK);
	ck_assert_int_eq(open_object(ends, taken, 0), MC_OK);
	ck_assert_uint_eq(counted(ends, COUNTER_TAKEN), 1);
	ck_assert_int_eq(descriptors_of(own), 1);
	node_close(ends, true);
	ck_assert_int_eq(descriptors_of(own), 0);
	cluster_forget(a, own);
}
END_TEST

/* -- what a file must be -- */

struct shelved {
	struct mc_attr attr;
	int fd;
};

static struct shelved shelve(void)
{
	struct shelved shelved;
	struct object *object;

	put(a, "key", 1000, 1);
	ck_assert_int_eq(lookup(a, "key", &object), MC_OK);
	shelved.attr = object->attr;
	ck_assert_int_eq(pool_object(node_pool(a), object->attr.id, O_RDONLY, &shelved.fd), MC_OK);
	cluster_forget(a, object);
	return shelved;
}

static bool holds(const struct shelved *shelved)
{
	bool whole = shelf_holds(node_pool(b), shelved->fd, &shelved->attr);

	close(shelved->fd);
	return whole;
}

START_TEST(a_file_as_it_was_published_is_whole)
{
	struct shelved shelved = shelve();

	ck_assert(holds(&shelved));
}
END_TEST

START_TEST(another_version_is_refused)
{
	struct shelved shelved = shelve();

	shelved.attr.version++;
	ck_assert(!holds(&shelved));
}
END_TEST

START_TEST(another_object_is_refused)
{
	struct shelved shelved = shelve();

	shelved.attr.id++;
	ck_assert(!holds(&shelved));
}
END_TEST

START_TEST(another_size_is_refused)
{
	struct shelved shelved = shelve();

	shelved.attr.size++;
	ck_assert(!holds(&shelved));
}
END_TEST

START_TEST(what_was_changed_since_is_refused)
{
	struct shelved shelved = shelve();
	int fd;

	ck_assert_int_eq(pool_object(node_pool(a), shelved.attr.id, O_RDWR, &fd), MC_OK);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	ck_assert(!holds(&shelved));
}
END_TEST

/* Whether the file that a has under the name says that it is the published version at rest. */
static bool rests(const char *name)
{
	struct object *object;
	struct stat st;

	ck_assert_int_eq(lookup(a, name, &object), MC_OK);
	ck_assert_int_eq(pool_stat(node_pool(a), object->attr.id, -1, &st), MC_OK);
	bool rest = pool_rests(&st, object->attr.id, object->attr.version);
	ck_assert(rest || !pool_rests_any(&st));
	cluster_forget(a, object);
	return rest;
}

START_TEST(what_is_at_rest_says_so_until_it_is_open_for_writing)
{
	struct object *object;

	put(a, "key", 1000, 1);
	ck_assert(rests("key"));
	ck_assert_int_eq(lookup(a, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(a, object, NODE_OPEN_WRITE), MC_OK);
	ck_assert(!rests("key"));
	write_bytes(a, object, 1000, 2);
	ck_assert_int_eq(flush(a, object), MC_OK);
	ck_assert(!rests("key"));
	node_release(a, object, true);
	ck_assert(rests("key"));
	cluster_forget(a, object);
}
END_TEST

START_TEST(what_is_mapped_for_writing_is_not_at_rest)
{
	struct object *object;
	int fd;

	put(a, "key", 4096, 1);
	ck_assert_int_eq(lookup(a, "key", &object), MC_OK);
	ck_assert_int_eq(open_object(a, object, NODE_OPEN_WRITE), MC_OK);
	ck_assert_int_eq(pool_object(node_pool(a), object->attr.id, O_RDWR, &fd), MC_OK);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	node_release(a, object, true);
	ck_assert(!rests("key"));
	munmap(map, 4096);
	EVENTUALLY(rests("key"));
	cluster_forget(a, object);
}
END_TEST

START_TEST(what_was_changed_unseen_does_not_come_to_rest)
{
	struct shelved shelved = shelve();
	struct stat st;
	int fd;

	ck_assert_int_eq(pool_object(node_pool(a), shelved.attr.id, O_RDWR, &fd), MC_OK);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert(!pool_rest(node_pool(a), shelved.attr.id, shelved.attr.version));
	close(fd);
	ck_assert(pool_rest(node_pool(a), shelved.attr.id, shelved.attr.version));
	ck_assert_int_eq(fstat(shelved.fd, &st), 0);
	ck_assert(!pool_marked(&st));
	close(shelved.fd);
}
END_TEST

/* Without the mark of rest: a file that was just published, or by a node that knows none. */
START_TEST(a_record_tells_as_well)
{
	struct shelved shelved = shelve();

	pool_mark(node_pool(a), shelved.attr.id, -1);
	ck_assert(shelf_holds(node_pool(b), shelved.fd, &shelved.attr));
	pool_mark_unrecorded(node_pool(a), shelved.attr.id);
	ck_assert(!holds(&shelved));
	pool_mark(node_pool(a), shelved.attr.id, -1);
	shelved.attr.version++;
	ck_assert(!holds(&shelved));
}
END_TEST

START_TEST(a_claim_keeps_takers_away_and_they_keep_claims_away)
{
	struct shelved first = shelve();
	int claim;

	ck_assert(shelf_holds(node_pool(b), first.fd, &first.attr));
	ck_assert_int_eq(shelf_claim(node_pool(a), first.attr.id, &claim), MC_BUSY);
	close(first.fd);
	ck_assert_int_eq(shelf_claim(node_pool(a), first.attr.id, &claim), MC_OK);
	ck_assert_int_eq(pool_object(node_pool(a), first.attr.id, O_RDONLY, &first.fd), MC_OK);
	ck_assert(!holds(&first));
	close(claim);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, once_acquainted_nobody_is_asked);
	tcase_add_test(tc, what_was_taken_never_changes);
	tcase_add_test(tc, what_is_being_written_is_asked_for);
	tcase_add_test(tc, what_is_mapped_for_writing_is_asked_for);
	tcase_add_test(tc, a_removed_file_is_not_there);
	tcase_add_test(tc, a_node_that_ends_gives_back_what_is_open_still);
	tcase_add_test(tc, a_file_as_it_was_published_is_whole);
	tcase_add_test(tc, another_version_is_refused);
	tcase_add_test(tc, another_object_is_refused);
	tcase_add_test(tc, another_size_is_refused);
	tcase_add_test(tc, what_was_changed_since_is_refused);
	tcase_add_test(tc, what_is_at_rest_says_so_until_it_is_open_for_writing);
	tcase_add_test(tc, what_is_mapped_for_writing_is_not_at_rest);
	tcase_add_test(tc, what_was_changed_unseen_does_not_come_to_rest);
	tcase_add_test(tc, a_record_tells_as_well);
	tcase_add_test(tc, a_claim_keeps_takers_away_and_they_keep_claims_away);
}

int main(void)
{
	return cluster_run("shelf", add);
}
