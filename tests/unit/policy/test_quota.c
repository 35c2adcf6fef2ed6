/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_test.h"

#include <errno.h>

#include "base/fault.h"
#include "policy/quota.h"

static void a_quarter_each_and_three_together(void **state)
{
    static const struct {
        uint32_t cap, own, ordinary;
        bool spent;
    } cases[] = {{100, 0, 0, false}, {100, 24, 24, false}, {100, 25, 25, true}, {100, 0, 74, false},
        {100, 0, 75, true}, {1, 0, 0, false}, {1, 1, 1, true}, {1, 0, 1, true}, {2, 0, 0, false},
        {2, 0, 1, true}, {3, 0, 1, false}, {3, 1, 1, true}, {0, 0, 0, false},
        {UINT32_MAX, UINT32_MAX / 4 - 1, 0, false}, {UINT32_MAX, UINT32_MAX / 4, 0, true}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(
            quota_spent(cases[i].cap, cases[i].own, cases[i].ordinary), cases[i].spent);
}

static void places_are_counted(void **state)
{
    struct quota *quota;
    (void)state;
    assert_int_equal(quota_new(7, &quota), 0);
    for (uint32_t user = 1; user <= 3; user++) {
        for (int i = 0; i < 4; i++)
            assert_int_equal(quota_take(quota, 16, user), 0);
        assert_int_equal(quota_take(quota, 16, user), -ENOSPC);
    }
    assert_int_equal(quota_take(quota, 16, 4), -ENOSPC);
    quota_give(quota, 2);
    assert_int_equal(quota_take(quota, 16, 1), -ENOSPC);
    assert_int_equal(quota_take(quota, 16, UINT32_MAX - 1), 0);
    assert_int_equal(quota_take(quota, 16, 2), -ENOSPC);
    quota_give(quota, UINT32_MAX - 1);
    for (uint32_t user = 1; user <= 3; user++) {
        for (int i = user == 2; i < 4; i++)
            quota_give(quota, user);
    }
    assert_int_equal(quota_take(quota, 4, 9), 0);
    quota_free(quota);
    quota_free(NULL);
}

static void without_memory_nothing_is_taken(void **state)
{
    struct quota *quota;
    bool hit = true;
    (void)state;
    for (unsigned n = 1; hit; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = quota_new(7, &quota);
        if (r == 0) {
            r = quota_take(quota, 1, 5);
            hit = fault_disarm();
            assert_int_equal(r, hit ? -ENOMEM : 0);
            assert_int_equal(quota_take(quota, 1, 5), hit ? 0 : -ENOSPC);
            quota_free(quota);
        } else {
            assert_int_equal(r, -ENOMEM);
            assert_true(fault_disarm());
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quarter_each_and_three_together),
        cmocka_unit_test(places_are_counted),
        cmocka_unit_test(without_memory_nothing_is_taken),
    };
    return cmocka_run_group_tests_name("policy/quota", tests, NULL, NULL);
}
