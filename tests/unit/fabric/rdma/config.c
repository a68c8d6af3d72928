/*
 * What the environment says, and what a device makes of it.
 */
#include "engine/fabric/rdma/config.h"

#include <check.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "tests/support/suite.h"

static void set_up(void)
{
	ck_assert(log_open("/dev/null"));
	for (uint32_t i = 0; rdma_config_variable(i); i++)
		unsetenv(rdma_config_variable(i)->name);
	unsetenv("NCCL_IB_GID_INDEX");
}

START_TEST(defaults_are_mooncakes)
{
	struct rdma_config config;

	rdma_config_read(&config);
	ck_assert_int_eq(config.cq_count, 1);
	ck_assert_int_eq(config.port, 1);
	ck_assert_int_eq(config.gid_index, -1);
	ck_assert_int_eq(config.cqe_max, 4096);
	ck_assert_int_eq(config.endpoint_max, 256);
	ck_assert_int_eq(config.qp_count, 2);
	ck_assert_int_eq(config.wr_max, 256);
	ck_assert_int_eq(config.inline_max, 64);
	ck_assert_int_eq(config.mtu, 4096);
	ck_assert_int_eq(config.timeout, 14);
	ck_assert_int_eq(config.retry_count, 7);
	ck_assert_int_eq(config.rd_atomic_max, 16);
}
END_TEST

START_TEST(every_variable_is_read_at_both_ends_of_its_range)
{
	const struct rdma_variable *variable;
	char text[32];

	for (uint32_t i = 0; (variable = rdma_config_variable(i)); i++) {
		int64_t ends[] = {variable->min, variable->max};
		for (int k = 0; k < 2; k++) {
			struct rdma_config config;
			snprintf(text, sizeof(text), "%lld", (long long)ends[k]);
			setenv(variable->name, text, 1);
			rdma_config_read(&config);
			ck_assert_int_eq(*(int64_t *)((char *)&config + variable->offset), ends[k]);
		}
		unsetenv(variable->name);
	}
}
END_TEST

static const char *const bad_values[] = {"", "x", "12x", "-2", "256", "99999999999999999999"};

START_TEST(what_is_no_number_or_out_of_range_is_not_used)
{
	struct rdma_config config;

	setenv("MC_NUM_QP_PER_EP", bad_values[_i], 1);
	rdma_config_read(&config);
	ck_assert_int_eq(config.qp_count, 2);
}
END_TEST

START_TEST(gid_index_0_can_be_asked_for_and_nccl_is_heard)
{
	struct rdma_config config;

	setenv("NCCL_IB_GID_INDEX", "3", 1);
	rdma_config_read(&config);
	ck_assert_int_eq(config.gid_index, 3);
	setenv("MC_GID_INDEX", "0", 1);
	rdma_config_read(&config);
	ck_assert_int_eq(config.gid_index, 0);
}
END_TEST

START_TEST(a_small_device_lowers_everything)
{
	struct rdma_config config;
	struct ibv_device_attr attr = {.max_mr_size = 64ull << 30,
				       .max_qp = 16,
				       .max_qp_wr = 64,
				       .max_cq = 1,
				       .max_cqe = 32,
				       .max_qp_rd_atom = 2,
				       .max_qp_init_rd_atom = 4};

	setenv("MC_NUM_CQ_PER_CTX", "8", 1);
	rdma_config_read(&config);
	rdma_config_clamp(&config, "small", &attr);
	ck_assert_int_eq(config.cq_count, 1);
	ck_assert_int_eq(config.cqe_max, 32);
	ck_assert_int_eq(config.wr_max, 30);
	ck_assert_int_eq(config.rd_atomic_max, 2);
	ck_assert_int_eq(config.qp_count, 2);
	ck_assert_int_eq(config.endpoint_max, 4);
	ck_assert_int_eq(config.region_max, 64ll << 30);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma config");
	TCase *tcase = tcase_create("config");

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_test(tcase, defaults_are_mooncakes);
	tcase_add_test(tcase, every_variable_is_read_at_both_ends_of_its_range);
	tcase_add_loop_test(tcase, what_is_no_number_or_out_of_range_is_not_used, 0,
			    sizeof(bad_values) / sizeof(bad_values[0]));
	tcase_add_test(tcase, gid_index_0_can_be_asked_for_and_nccl_is_heard);
	tcase_add_test(tcase, a_small_device_lowers_everything);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
