/* SPDX-License-Identifier: Apache-2.0 */
#include "model/usage.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct {
    const char *name;
    size_t offset;
    uint32_t bit;
    double highest; /* that passes */
} fields[] = {
    {"cpu_percent", offsetof(struct ac_usage, cpu_percent), AC_KNOWN_CPU_PERCENT, 100.5},
    {"cpu_cores", offsetof(struct ac_usage, cpu_cores), AC_KNOWN_CPU_CORES, 1e300},
    {"memory_mb", offsetof(struct ac_usage, memory_mb), AC_KNOWN_MEMORY_MB, 1e300},
    {"memory_percent", offsetof(struct ac_usage, memory_percent), AC_KNOWN_MEMORY_PERCENT, 100.5},
    {"disk_io_mbps", offsetof(struct ac_usage, disk_io_mbps), AC_KNOWN_DISK_IO, 1e300},
    {"network_io_mbps", offsetof(struct ac_usage, network_io_mbps), AC_KNOWN_NETWORK_IO, 1e300},
};

static double *field_of(struct ac_usage *usage, size_t i)
{
    return (double *)((char *)usage + fields[i].offset);
}

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct ac_usage usage;
    memset(&usage, 0xff, sizeof(usage));
    ac_usage_init(&usage);
    assert_int_equal(usage.known, 0);
    assert_int_equal(usage.timestamp_ns, 0);
    assert_int_equal(usage.file_descriptors, 0);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        assert_true(isnan(*field_of(&usage, i)));
    for (int i = 0; i < AC_RESOURCE_COUNT; i++)
        assert_true(isnan(usage_value(&usage, (enum ac_resource)i)));
    assert_int_equal(ac_usage_validate(&usage, NULL), 0);
}

static void known_fields_are_checked_and_unknown_ones_are_not(void **state)
{
    (void)state;
    static const double bad[] = {-.001, -1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        struct ac_usage usage;
        ac_usage_init(&usage);
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            struct ac_error error = {0};
            *field_of(&usage, i) = bad[k];
            usage.known = 0;
            assert_int_equal(ac_usage_validate(&usage, &error), 0);
            usage.known = fields[i].bit;
            assert_int_equal(ac_usage_validate(&usage, &error), -EINVAL);
            assert_ptr_equal(strstr(error.message, fields[i].name), error.message);
        }
        *field_of(&usage, i) = fields[i].highest;
        assert_int_equal(ac_usage_validate(&usage, NULL), 0);
        *field_of(&usage, i) = 0;
        assert_int_equal(ac_usage_validate(&usage, NULL), 0);
        *field_of(&usage, i) = 100.6;
        int want = fields[i].highest < 101 ? -EINVAL : 0;
        assert_int_equal(ac_usage_validate(&usage, NULL), want);
    }
}

static void bits_and_times_from_nowhere_are_refused(void **state)
{
    (void)state;
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_ALL + 1;
    assert_int_equal(ac_usage_validate(&usage, NULL), -EINVAL);
    usage.known = 0x80000000;
    assert_int_equal(ac_usage_validate(&usage, NULL), -EINVAL);
    usage.known = 0;
    usage.timestamp_ns = -1;
    assert_int_equal(ac_usage_validate(&usage, NULL), -EINVAL);
    assert_int_equal(ac_usage_validate(NULL, NULL), -EINVAL);
}

/* For every pair of sets of known fields: what the target knows stays, what only the source
 * knows comes over, the rest stays unknown. */
static void filling_takes_only_what_is_missing(void **state)
{
    (void)state;
    for (uint32_t pair = 0; pair < 128 * 128; pair++) {
        struct ac_usage target, source;
        ac_usage_init(&target);
        ac_usage_init(&source);
        target.known = pair % 128;
        source.known = pair / 128;
        target.timestamp_ns = 1;
        source.timestamp_ns = 2;
        target.file_descriptors = target.known & AC_KNOWN_FILE_DESCRIPTORS ? 10 : 0;
        source.file_descriptors = source.known & AC_KNOWN_FILE_DESCRIPTORS ? 20 : 0;
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
            if (target.known & fields[i].bit)
                *field_of(&target, i) = 10;
            if (source.known & fields[i].bit)
                *field_of(&source, i) = 20;
        }
        uint32_t own = target.known, all = target.known | source.known;
        usage_fill(&target, &source);
        assert_int_equal(target.known, all);
        assert_int_equal(target.timestamp_ns, 1);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
            double value = *field_of(&target, i);
            if (own & fields[i].bit)
                assert_true(value == 10);
            else
                assert_true(all & fields[i].bit ? value == 20 : isnan(value));
        }
        uint64_t fds = own & AC_KNOWN_FILE_DESCRIPTORS   ? 10
                       : all & AC_KNOWN_FILE_DESCRIPTORS ? 20
                                                         : 0;
        assert_int_equal(target.file_descriptors, fds);
    }
}

static void each_resource_is_compared_in_its_unit(void **state)
{
    (void)state;
    struct ac_usage usage = {.cpu_percent = 1,
        .cpu_cores = 2,
        .memory_mb = 3,
        .memory_percent = 4,
        .disk_io_mbps = 5,
        .network_io_mbps = 6,
        .file_descriptors = 7,
        .known = AC_KNOWN_ALL};
    assert_true(usage_value(&usage, AC_CPU) == 1);
    assert_true(usage_value(&usage, AC_MEMORY) == 4);
    assert_true(usage_value(&usage, AC_DISK_IO) == 5);
    assert_true(usage_value(&usage, AC_NETWORK_IO) == 6);
    assert_true(usage_value(&usage, AC_FILE_DESCRIPTORS) == 7);
    assert_true(isnan(usage_value(&usage, AC_RESOURCE_COUNT)));
    usage.known = 0;
    for (int i = 0; i < AC_RESOURCE_COUNT; i++)
        assert_true(isnan(usage_value(&usage, (enum ac_resource)i)));
}

static void percentages_follow_from_capacity(void **state)
{
    (void)state;
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage_set_cpu(&usage, 1.5, 4);
    usage_set_memory(&usage, 512, 2048);
    assert_true(usage.cpu_cores == 1.5 && usage.cpu_percent == 37.5);
    assert_true(usage.memory_mb == 512 && usage.memory_percent == 25);
    assert_int_equal(usage.known,
        AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT);
    usage_set_cpu(&usage, 4.1, 4);
    usage_set_memory(&usage, 4096, 2048);
    assert_true(usage.cpu_percent == 100 && usage.memory_percent == 100);
    assert_true(usage.cpu_cores == 4.1 && usage.memory_mb == 4096);
}

static void what_is_not_a_number_stays_unknown(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, -1};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage_set_cpu(&usage, bad[i], 4);
        usage_set_memory(&usage, bad[i], 4);
        assert_int_equal(usage.known, 0);
        assert_true(isnan(usage.cpu_percent) && isnan(usage.memory_mb));
        usage_set_cpu(&usage, 1, bad[i] > 0 ? 0 : bad[i]);
        usage_set_memory(&usage, 1, 0);
        assert_int_equal(usage.known, AC_KNOWN_CPU_CORES | AC_KNOWN_MEMORY_MB);
        assert_true(isnan(usage.cpu_percent) && isnan(usage.memory_percent));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(known_fields_are_checked_and_unknown_ones_are_not),
        cmocka_unit_test(bits_and_times_from_nowhere_are_refused),
        cmocka_unit_test(filling_takes_only_what_is_missing),
        cmocka_unit_test(each_resource_is_compared_in_its_unit),
        cmocka_unit_test(percentages_follow_from_capacity),
        cmocka_unit_test(what_is_not_a_number_stays_unknown),
    };
    return cmocka_run_group_tests_name("model/usage", tests, NULL, NULL);
}
