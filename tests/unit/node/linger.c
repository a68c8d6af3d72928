/* What is closed while it is mapped for writing. */
#include <sys/mman.h>

#include "tests/unit/node/cluster.h"

#define MAPS	 200
#define MAP_SIZE 4096u

static void name_of(unsigned number, char name[16])
{
	snprintf(name, 16, "key%u", number);
}

/* Put it, and close it while it is mapped. */
static uint8_t *put_mapped(unsigned number)
{
	char name[16];
	int fd;

	name_of(number, name);
	struct object *object = create(a, name);
	write_bytes(a, object, MAP_SIZE, number);
	ck_assert_int_eq(node_descriptor(a, object, true, &fd), MC_OK);
	void *map = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	ck_assert_int_eq(flush(a, object), MC_OK);
	node_release(a, object, true);
	cluster_forget(a, object);
	return map;
}

static uint64_t version_of_map(unsigned number)
{
	char name[16];

	name_of(number, name);
	return version_of(a, name);
}

static unsigned count_newer(const uint64_t versions[MAPS])
{
	unsigned count = 0;

	for (unsigned i = 0; i < MAPS; i++)
		count += version_of_map(i) > versions[i];
	return count;
}

/* More than are looked at in a turn. */
START_TEST(each_of_many_maps_is_seen_to_go)
{
	uint64_t versions[MAPS];
	uint8_t *maps[MAPS];

	for (unsigned i = 0; i < MAPS; i++) {
		maps[i] = put_mapped(i);
		versions[i] = version_of_map(i);
	}
	usleep(300000);
	ck_assert_uint_eq(count_newer(versions), 0);
	for (unsigned i = 0; i < MAPS; i++) {
		fill(maps[i], MAP_SIZE, i + 1);
		munmap(maps[i], MAP_SIZE);
	}
	EVENTUALLY(count_newer(versions) == MAPS);
	for (unsigned i = 0; i < MAPS; i += 50) {
		char name[16];
		name_of(i, name);
		assert_reads(b, name, MAP_SIZE, i + 1);
	}
}
END_TEST

START_TEST(a_node_ends_while_maps_live_on)
{
	uint8_t *maps[MAPS];

	for (unsigned i = 0; i < MAPS; i++)
		maps[i] = put_mapped(i);
	usleep(300000);
	node_close(a, true);
	for (unsigned i = 0; i < MAPS; i++) {
		ck_assert_uint_eq(maps[i][1], (uint8_t)(i * 31 + 1));
		munmap(maps[i], MAP_SIZE);
	}
	a = cluster_start(&(struct cluster_node){0});
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, each_of_many_maps_is_seen_to_go);
	tcase_add_test(tc, a_node_ends_while_maps_live_on);
}

int main(void)
{
	return cluster_run("linger", add);
}
