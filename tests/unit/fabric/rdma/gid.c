/*
 * Which entry of a port's GID table peers are given.
 */
#include "engine/fabric/rdma/gid.h"

#include <check.h>
#include <string.h>

#include "engine/base/log.h"
#include "tests/support/fake_verbs.h"
#include "tests/support/suite.h"

#define NONE (-1)

enum kind { NULL_GID, V1_LINK_LOCAL, V1_MAPPED, V2_LINK_LOCAL, V2_IPV6, V2_MAPPED, IB, UNREADABLE };

static struct fake_gid make(enum kind kind)
{
	struct fake_gid gid = {.type = IBV_GID_TYPE_ROCE_V2};

	if (kind == V1_LINK_LOCAL || kind == V1_MAPPED)
		gid.type = IBV_GID_TYPE_ROCE_V1;
	if (kind == IB)
		gid.type = IBV_GID_TYPE_IB;
	if (kind == V1_MAPPED || kind == V2_MAPPED)
		gid.gid = fake_mapped_gid(9);
	else if (kind == V2_IPV6)
		gid.gid = (union ibv_gid){.raw = {0x20, 1, 0xd, 0xb8, [15] = 1}};
	else if (kind != NULL_GID)
		gid.gid = (union ibv_gid){.raw = {0xfe, 0x80, [15] = 1}};
	gid.error = kind == UNREADABLE ? EIO : 0;
	return gid;
}

static const struct {
	enum kind table[4];
	int64_t forced;
	int expected;
} cases[] = {
	{{V1_LINK_LOCAL, V2_LINK_LOCAL, V1_MAPPED, V2_MAPPED}, -1, 3},
	{{V2_MAPPED, V1_LINK_LOCAL, V2_LINK_LOCAL, V2_MAPPED}, -1, 0},
	{{V1_LINK_LOCAL, V1_MAPPED, V2_IPV6, V2_LINK_LOCAL}, -1, 2},
	{{UNREADABLE, NULL_GID, V2_MAPPED, NULL_GID}, -1, 2},
	{{NULL_GID, IB, IB, NULL_GID}, -1, 1},
	{{V1_LINK_LOCAL, V1_MAPPED, NULL_GID, UNREADABLE}, -1, NONE},
	{{NULL_GID, NULL_GID, NULL_GID, NULL_GID}, -1, NONE},
	/* One that is asked for is taken, 0 too; but never a null or a version 1 one. */
	{{V2_LINK_LOCAL, V2_MAPPED, NULL_GID, NULL_GID}, 0, 0},
	{{V2_MAPPED, V2_IPV6, NULL_GID, NULL_GID}, 1, 1},
	{{NULL_GID, V2_MAPPED, NULL_GID, NULL_GID}, 0, NONE},
	{{V2_MAPPED, V1_MAPPED, NULL_GID, NULL_GID}, 1, NONE},
	{{V2_MAPPED, UNREADABLE, NULL_GID, NULL_GID}, 1, NONE},
	{{V2_MAPPED, V2_MAPPED, NULL_GID, NULL_GID}, 200, NONE},
};

START_TEST(the_right_entry_is_chosen)
{
	struct gid_choice choice;

	ck_assert(log_open("/dev/null"));
	fake_reset(1);
	for (uint32_t i = 0; i < 4; i++)
		fake_device(0)->gids[i] = make(cases[_i].table[i]);
	struct ibv_context *context = verbs_fake.open_device(&fake_device(0)->device);
	enum mc_status status =
		gid_choose(&verbs_fake, context, 1, FAKE_GID_MAX, cases[_i].forced, &choice);
	if (cases[_i].expected == NONE) {
		ck_assert_int_eq(status, MC_NOT_FOUND);
	} else {
		ck_assert_int_eq(status, MC_OK);
		ck_assert_int_eq((int)choice.index, cases[_i].expected);
		ck_assert_mem_eq(choice.gid.raw, fake_device(0)->gids[cases[_i].expected].gid.raw,
				 16);
	}
	verbs_fake.close_device(context);
}
END_TEST

START_TEST(text_is_read_back)
{
	union ibv_gid gid = fake_mapped_gid(200);
	char text[GID_TEXT_SIZE];
	uint8_t bytes[16];

	gid_format(gid.raw, text);
	ck_assert_str_eq(text, "00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:c8");
	ck_assert_int_eq(gid_parse(text, bytes), 1);
	ck_assert_mem_eq(bytes, gid.raw, 16);
}
END_TEST

static const char *const bad_texts[] = {
	"",
	"00",
	"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00",
	"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:c8:",
	"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:cg",
	"00 00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:c8",
	"+1:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:c8",
};

START_TEST(other_text_is_none)
{
	uint8_t bytes[16];

	ck_assert_int_eq(gid_parse(bad_texts[_i], bytes), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma gid");
	TCase *tcase = tcase_create("gid");

	tcase_add_loop_test(tcase, the_right_entry_is_chosen, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, text_is_read_back);
	tcase_add_loop_test(tcase, other_text_is_none, 0, sizeof(bad_texts) / sizeof(bad_texts[0]));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
