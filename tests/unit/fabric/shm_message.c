/* The bytes that processes of a host exchange, and what is refused of them. */
#include <check.h>
#include <fcntl.h>
#include <mooncake/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/fabric/shm/ledger.h"
#include "engine/fabric/shm/memory.h"
#include "engine/fabric/shm/message.h"
#include "tests/support/suite.h"
#include "tests/support/usage.h"

static const struct shm_message lend = {
	.kind = SHM_LEND,
	.slot = 0x0102,
	.key = 0x1817161514131211,
	.address = 0x2827262524232221,
	.length = 0x3031,
	.offset = 0x4000,
	.access = 3,
	.mapped = true,
};

static const uint8_t lend_bytes[SHM_MESSAGE_SIZE] = {
	'M',  'C',  's',  'm',	0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
	0x01, 0x00, 0x00, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22,
	0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

START_TEST(messages_have_the_bytes_of_the_specification)
{
	uint8_t bytes[SHM_MESSAGE_SIZE];
	struct shm_message read;

	shm_message_encode(bytes, &lend);
	ck_assert_mem_eq(bytes, lend_bytes, sizeof(bytes));
	ck_assert_int_eq(shm_message_decode(bytes, sizeof(bytes), &read), MC_OK);
	ck_assert_int_eq(read.kind, lend.kind);
	ck_assert_int_eq(read.status, lend.status);
	ck_assert_uint_eq(read.slot, lend.slot);
	ck_assert_uint_eq(read.key, lend.key);
	ck_assert_uint_eq(read.address, lend.address);
	ck_assert_uint_eq(read.length, lend.length);
	ck_assert_uint_eq(read.offset, lend.offset);
	ck_assert_uint_eq(read.access, lend.access);
	ck_assert(read.mapped);
}
END_TEST

/* One byte of a valid message, and what makes it none. */
static const struct {
	const char *what;
	uint8_t at, byte;
} wrongs[] = {
	{"magic", 0, 'm'},	    {"version", 4, 2},
	{"kind 0", 6, 0},	    {"kind 6", 6, 6},
	{"kind 260", 7, 1},	    {"a status above 0", 8, 1},
	{"slot 1026", 13, 4},	    {"a slot far off", 15, 1},
	{"wraps around", 39, 0xff}, {"offset below 0", 47, 0x80},
	{"access 4", 48, 4},	    {"mapped 2", 52, 2},
	{"mapped 257", 53, 1},	    {"not 0 at the end", 56, 1},
	{"nor there", 63, 1},
};

START_TEST(what_breaks_a_rule_is_no_message)
{
	uint8_t bytes[SHM_MESSAGE_SIZE];
	struct shm_message read;

	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
		memcpy(bytes, lend_bytes, sizeof(bytes));
		bytes[wrongs[i].at] = wrongs[i].byte;
		if (wrongs[i].at == 39)
			memset(bytes + 24, 0xff, 8);
		ck_assert_msg(shm_message_decode(bytes, sizeof(bytes), &read) == MC_PROTOCOL, "%s",
			      wrongs[i].what);
	}
	ck_assert_int_eq(shm_message_decode(lend_bytes, SHM_MESSAGE_SIZE - 1, &read), MC_PROTOCOL);
	/* A loan of nothing. */
	memcpy(bytes, lend_bytes, sizeof(bytes));
	memset(bytes + 32, 0, 8);
	ck_assert_int_eq(shm_message_decode(bytes, sizeof(bytes), &read), MC_PROTOCOL);
}
END_TEST

START_TEST(a_descriptor_comes_with_its_message)
{
	struct shm_message read;
	int ends[2], fd = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_AGAIN);
	ck_assert_int_eq(shm_message_send(ends[0], &lend, null), MC_OK);
	ck_assert_int_eq(shm_message_send(ends[0], &lend, -1), MC_OK);
	ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_OK);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fd);
	ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_OK);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(send(ends[0], lend_bytes, 63, 0), 63);
	ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_PROTOCOL);
	close(ends[0]);
	ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_UNREACHABLE);
	close(ends[1]);
	close(null);
}
END_TEST

/* A message of the right bytes, with that many descriptors. */
static void send_with(int socket, const int *fds, size_t count)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec part = {(void *)lend_bytes, SHM_MESSAGE_SIZE};
	struct msghdr head = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&head);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
	ck_assert_int_eq(sendmsg(socket, &head, 0), SHM_MESSAGE_SIZE);
}

START_TEST(of_more_descriptors_than_one_none_is_kept)
{
	struct shm_message read;
	int ends[2], fd = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int fds[8] = {null, null, null, null, null, null, null, null};

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	long before = usage_now().descriptors;
	for (size_t count = 2; count <= ARRAY_SIZE(fds); count++) {
		send_with(ends[0], fds, count);
		ck_assert_int_eq(shm_message_receive(ends[1], &read, &fd), MC_PROTOCOL);
	}
	ck_assert_int_eq(usage_now().descriptors, before);
	close(ends[0]);
	close(ends[1]);
	close(null);
}
END_TEST

static int make_file(off_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(ftruncate(fd, size), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

START_TEST(a_file_that_could_shrink_is_not_mapped)
{
	int loose = make_file(sizeof(struct ledger), 0);
	int tight = make_file(sizeof(struct ledger), F_SEAL_SHRINK);
	int short_ = make_file(4096, F_SEAL_SHRINK);
	struct ledger *ledger;
	uint64_t size;
	uint8_t *bytes;
	void *map;

	ck_assert_int_eq(ledger_map(loose, &ledger), MC_PROTOCOL);
	ck_assert_int_eq(ledger_map(short_, &ledger), MC_PROTOCOL);
	ck_assert_int_eq(ledger_map(tight, &ledger), MC_OK);
	ledger_free(ledger);
	ck_assert_int_eq(memory_map(loose, 0, 4096, true, &map, &size, &bytes), MC_PROTOCOL);
	ck_assert_int_eq(memory_map(short_, 1, 4096, true, &map, &size, &bytes), MC_PROTOCOL);
	ck_assert_int_eq(memory_map(short_, 8192, 1, true, &map, &size, &bytes), MC_PROTOCOL);
	ck_assert_int_eq(memory_map(short_, 100, 3996, true, &map, &size, &bytes), MC_OK);
	ck_assert_ptr_eq(bytes, (uint8_t *)map + 100);
	memory_unmap(map, size);
	close(loose);
	close(tight);
	close(short_);
}
END_TEST

START_TEST(a_file_of_huge_pages_is_not_mapped)
{
	enum { HUGE_PAGE = 2 << 20 };
	int huge = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	struct ledger *ledger;
	uint64_t size;
	uint8_t *bytes;
	void *map;

	if (huge < 0) {
		fprintf(stderr, "skipped: this kernel has no huge pages\n");
		return;
	}
	ck_assert_int_eq(ftruncate(huge, HUGE_PAGE), 0);
	ck_assert_int_eq(fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ck_assert_int_eq(memory_map(huge, 0, HUGE_PAGE, true, &map, &size, &bytes), MC_PROTOCOL);
	ck_assert_int_eq(ledger_map(huge, &ledger), MC_PROTOCOL);
	close(huge);
}
END_TEST

START_TEST(what_is_lent_for_reading_cannot_be_written)
{
	uint64_t offset, size;
	uint8_t *bytes, *memory;
	void *map, *made;
	int fd;

	ck_assert_int_eq(mc_memory_alloc(10000, &made), MC_OK);
	memory = made;
	memory[5000] = 7;
	ck_assert_int_eq(memory_lend(memory + 5000, 12289 - 5000, false, &fd, &offset),
			 MC_NOT_FOUND);
	ck_assert_int_eq(memory_lend(memory + 5000, 100, false, &fd, &offset), MC_OK);
	ck_assert_uint_eq(offset, 5000);
	ck_assert_int_eq(memory_map(fd, offset, 100, true, &map, &size, &bytes), MC_PROTOCOL);
	ck_assert_int_eq(memory_map(fd, offset, 100, false, &map, &size, &bytes), MC_OK);
	ck_assert_uint_eq(bytes[0], 7);
	ck_assert_int_eq(mprotect(map, size, PROT_READ | PROT_WRITE), -1);
	memory_unmap(map, size);
	/* Nor cut off. */
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	close(fd);
	ck_assert_int_eq(memory_lend(&fd, sizeof(fd), false, &fd, &offset), MC_NOT_FOUND);
	mc_memory_free(made);
	mc_memory_free(NULL);
	ck_assert_int_eq(mc_memory_alloc(0, &made), MC_INVALID);
	ck_assert_int_eq(mc_memory_alloc(SIZE_MAX, &made), MC_INVALID);
}
END_TEST

START_TEST(who_entered_is_seen_and_what_was_withdrawn_is_not_entered)
{
	struct ledger *lender, *borrower;
	int fd;

	ck_assert_int_eq(ledger_new(&lender, &fd), MC_OK);
	ck_assert_int_eq(ledger_map(fd, &borrower), MC_OK);
	close(fd);
	ledger_lend(lender, 7);
	ck_assert(ledger_enter(borrower, 7));
	ck_assert(ledger_used(lender, 7));
	ck_assert(!ledger_used(lender, 8));
	ledger_withdraw(lender, 7);
	ck_assert(!ledger_enter(borrower, 7));
	ck_assert(ledger_used(lender, 7));
	ledger_leave(borrower, 7);
	ck_assert(!ledger_used(lender, 7));
	ledger_free(lender);
	ledger_free(borrower);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shm_message");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, messages_have_the_bytes_of_the_specification);
	tcase_add_test(tcase, what_breaks_a_rule_is_no_message);
	tcase_add_test(tcase, a_descriptor_comes_with_its_message);
	tcase_add_test(tcase, of_more_descriptors_than_one_none_is_kept);
	tcase_add_test(tcase, a_file_that_could_shrink_is_not_mapped);
	tcase_add_test(tcase, a_file_of_huge_pages_is_not_mapped);
	tcase_add_test(tcase, what_is_lent_for_reading_cannot_be_written);
	tcase_add_test(tcase, who_entered_is_seen_and_what_was_withdrawn_is_not_entered);
	suite_add_tcase(s, tcase);
	return suite_run(s);
}
