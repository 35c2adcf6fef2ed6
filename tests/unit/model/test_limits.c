/* SPDX-License-Identifier: Apache-2.0 */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void defaults_are_the_documented_ones_and_valid(void **state)
{
    (void)state;
    struct ac_limits limits;
    struct ac_error error = {0};
    memset(&limits, 0xff, sizeof(limits));
    ac_limits_init(&limits);
    assert_int_equal(limits.size, sizeof(limits));
    assert_true(limits.max_cpu_percent == 80 && limits.max_memory_percent == 80);
    assert_true(limits.max_disk_io_mbps == 100 && limits.max_network_io_mbps == 100);
    assert_int_equal(limits.max_file_descriptors, 1000);
    assert_true(limits.alert_threshold_percent == 75);
    assert_true(limits.emergency_memory_percent == 95);
    assert_true(limits.emergency_file_descriptor_percent == 95);
    assert_true(limits.clear_margin_percent == 5);
    assert_int_equal(limits.for_ms, 0);
    assert_int_equal(limits.renotify_ms, 0);
    assert_int_equal(ac_limits_validate(&limits, &error), 0);
    assert_int_equal(error.code, 0);
}

#define FIELD(name) #name, offsetof(struct ac_limits, name)

static void every_field_has_a_range(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t offset;
        double lowest, highest; /* that pass */
        double below, above;    /* that do not */
    } fields[] = {
        {FIELD(max_cpu_percent), 1, 100, .5, 100.01},
        {FIELD(max_memory_percent), 1, 100, 0, 101},
        {FIELD(max_disk_io_mbps), .001, 1e9, 0, 1.1e9},
        {FIELD(max_network_io_mbps), .001, 1e9, 0, 1.1e9},
        {FIELD(alert_threshold_percent), 0, 100, -.001, 101},
        {FIELD(emergency_memory_percent), 1, 100, 0, 101},
        {FIELD(emergency_file_descriptor_percent), 1, 100, 0, 101},
        {FIELD(clear_margin_percent), 0, 50, -1, 51},
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const double good[] = {fields[i].lowest, fields[i].highest};
        const double bad[] = {fields[i].below, fields[i].above, -1e300, NAN, INFINITY, -INFINITY};
        struct ac_limits limits;
        ac_limits_init(&limits);
        double *field = (double *)((char *)&limits + fields[i].offset);
        for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
            *field = good[k];
            assert_int_equal(ac_limits_validate(&limits, NULL), 0);
        }
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            struct ac_error error = {0};
            *field = bad[k];
            assert_int_equal(ac_limits_validate(&limits, &error), -EINVAL);
            assert_int_equal(error.code, -EINVAL);
            assert_ptr_equal(strstr(error.message, fields[i].name), error.message);
            assert_int_equal(ac_limits_validate(&limits, NULL), -EINVAL);
        }
    }
}

static void descriptors_need_at_least_one(void **state)
{
    (void)state;
    struct ac_limits limits;
    struct ac_error error;
    ac_limits_init(&limits);
    limits.max_file_descriptors = 0;
    assert_int_equal(ac_limits_validate(&limits, &error), -EINVAL);
    assert_non_null(strstr(error.message, "max_file_descriptors"));
    limits.max_file_descriptors = 1;
    assert_int_equal(ac_limits_validate(&limits, NULL), 0);
    limits.max_file_descriptors = UINT64_MAX;
    assert_int_equal(ac_limits_validate(&limits, NULL), 0);
}

static void a_struct_that_nobody_initialised_is_refused(void **state)
{
    (void)state;
    struct ac_limits limits;
    ac_limits_init(&limits);
    limits.size = 0;
    assert_int_equal(ac_limits_validate(&limits, NULL), -EINVAL);
    limits.size = sizeof(limits) - 1;
    assert_int_equal(ac_limits_validate(&limits, NULL), -EINVAL);
    assert_int_equal(ac_limits_validate(NULL, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones_and_valid),
        cmocka_unit_test(every_field_has_a_range),
        cmocka_unit_test(descriptors_need_at_least_one),
        cmocka_unit_test(a_struct_that_nobody_initialised_is_refused),
    };
    return cmocka_run_group_tests_name("model/limits", tests, NULL, NULL);
}
