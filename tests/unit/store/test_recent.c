/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/recent.h"

#define SECOND INT64_C(1000000000)
#define HOUR   (3600 * SECOND)
#define START  (INT64_C(1700000000) * SECOND)

static struct ac_usage usage_at(int64_t when_ns, double cpu_percent)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.timestamp_ns = when_ns;
    usage.cpu_percent = cpu_percent;
    usage.known = AC_KNOWN_CPU_PERCENT;
    return usage;
}

static void append(struct recent *recent, agent_slot slot, int64_t when_ns, double cpu_percent)
{
    struct ac_usage usage = usage_at(when_ns, cpu_percent);
    assert_int_equal(recent_append(recent, slot, &usage), 0);
}

static int64_t count(const struct recent *recent, agent_slot slot)
{
    struct ac_usage *usages cleanup_free = NULL;
    return recent_range(recent, slot, INT64_MIN, INT64_MAX, &usages);
}

static struct recent *make(uint64_t keep_ns, size_t budget)
{
    struct recent *recent;
    assert_int_equal(recent_new(keep_ns, budget, &recent), 0);
    return recent;
}

static void keeps_order_and_span(void **state)
{
    (void)state;
    struct recent *recent = make(HOUR, 1 << 20);
    for (int i = 0; i < 100; i++)
        append(recent, 3, START + i * SECOND, i);
    struct ac_usage *usages cleanup_free = NULL;
    assert_int_equal(
        recent_range(recent, 3, START + 20 * SECOND, START + 29 * SECOND, &usages), 10);
    for (int i = 0; i < 10; i++) {
        assert_true(usages[i].timestamp_ns == START + (20 + i) * SECOND);
        assert_true(usages[i].cpu_percent == 20 + i);
        assert_int_equal(usages[i].known, AC_KNOWN_CPU_PERCENT);
        assert_true(isnan(usages[i].memory_mb));
    }
    assert_int_equal(count(recent, 2), 0);
    assert_int_equal(count(recent, 4000000), 0);
    assert_true(recent_oldest(recent, 3) == START);
    assert_true(recent_oldest(recent, 0) == 0);
    recent_free(recent);
    recent_free(NULL);
}

static double through(struct recent *recent, double value)
{
    struct ac_usage *usages cleanup_free = NULL;
    struct ac_usage usage = usage_at(START, value);
    recent_forget(recent, 1);
    assert_int_equal(recent_append(recent, 1, &usage), 0);
    assert_int_equal(recent_range(recent, 1, START, START, &usages), 1);
    return usages[0].known ? usages[0].cpu_percent : NAN;
}

static void decimals_come_back_exactly(void **state)
{
    (void)state;
    static const double values[] = {0, 1, 45.2, 99.99, 100, 0.1, 0.001, 1e-9, 1024.125, 512.5,
        33.333333, 268435455, 1234567e6, 7.7777777, 65536, 0.000123, 12345.67};
    struct recent *recent = make(HOUR, 1 << 16);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        assert_true(through(recent, values[i]) == values[i]);
    recent_free(recent);
}

static void any_value_comes_back_closely(void **state)
{
    (void)state;
    struct recent *recent = make(HOUR, 1 << 16);
    double value = 1.000123e-12;
    for (; value < 2.6e14; value *= 1.0137) {
        double back = through(recent, value);
        if (!(fabs(back - value) <= value * 1e-7 + 1e-9))
            fail_msg("%.17g came back as %.17g", value, back);
    }
    for (int exponent = -30; exponent < 48; exponent++) {
        double edge = nextafter(ldexp(1, exponent), 0), back = through(recent, edge);
        if (!(fabs(back - edge) <= edge * 1e-7 + 1e-9))
            fail_msg("%.17g came back as %.17g", edge, back);
    }
    recent_free(recent);
}

static void hostile_values_are_tamed(void **state)
{
    (void)state;
    struct recent *recent = make(HOUR, 1 << 16);
    assert_true(through(recent, 1e300) == 2.6e14);
    assert_true(isnan(through(recent, NAN)));
    assert_true(isnan(through(recent, HUGE_VAL)));
    assert_true(isnan(through(recent, -1)));
    assert_true(through(recent, 5e-324) == 0);
    assert_true(fabs(through(recent, 268435455.9) - 268435455.9) < 1);
    recent_free(recent);
}

static void all_fields_come_back(void **state)
{
    (void)state;
    struct recent *recent = make(HOUR, 1 << 16);
    struct ac_usage usage = {.cpu_percent = 12.5,
        .cpu_cores = 0.25,
        .memory_mb = 300.75,
        .memory_percent = 3.7,
        .disk_io_mbps = 1.5,
        .network_io_mbps = 0.003,
        .file_descriptors = 4000000000u,
        .timestamp_ns = START + 123456789,
        .known = AC_KNOWN_ALL};
    struct ac_usage *usages cleanup_free = NULL;
    assert_int_equal(recent_append(recent, 0, &usage), 0);
    assert_int_equal(recent_range(recent, 0, 0, INT64_MAX, &usages), 1);
    assert_memory_equal(&usages[0], &usage, sizeof(usage));
    recent_free(recent);
}

static void seventeenth_in_a_second_replaces(void **state)
{
    (void)state;
    struct recent *recent = make(HOUR, 1 << 16);
    struct ac_usage *usages cleanup_free = NULL;
    for (int i = 0; i < 100; i++)
        append(recent, 1, START + i * SECOND / 100, i);
    assert_int_equal(recent_range(recent, 1, 0, INT64_MAX, &usages), 16);
    assert_true(usages[14].cpu_percent == 14);
    assert_true(usages[15].cpu_percent == 99);
    assert_true(usages[15].timestamp_ns == START + 99 * SECOND / 100);
    append(recent, 1, START + SECOND, 7);
    assert_int_equal(count(recent, 1), 17);
    recent_free(recent);
}

static void oldest_goes_at_the_budget(void **state)
{
    (void)state;
    enum { BUDGET = 100000 };
    struct recent *recent = make(1000 * HOUR, BUDGET);
    append(recent, 9, START, 1);
    for (int i = 0; i < 10000; i++)
        append(recent, 1 + (unsigned)i % 5, START + i * SECOND, i);
    assert_int_equal(count(recent, 9), 0);
    int64_t kept = 0;
    for (unsigned slot = 1; slot <= 5; slot++) {
        struct ac_usage *usages cleanup_free = NULL;
        int64_t n = recent_range(recent, slot, 0, INT64_MAX, &usages);
        assert_in_range(n, 400, 600);
        for (int64_t i = 1; i < n; i++)
            assert_true(usages[i].cpu_percent == usages[i - 1].cpu_percent + 5);
        assert_true(usages[n - 1].timestamp_ns == START + (9994 + slot) * SECOND);
        assert_true(recent_oldest(recent, slot) == usages[0].timestamp_ns);
        kept += n;
    }
    assert_true(recent_memory(recent) <= BUDGET + 1000);
    assert_true(kept * 42 > BUDGET); /* at most 42 bytes per sample in all */
    recent_free(recent);
}

static void old_samples_expire(void **state)
{
    (void)state;
    struct recent *recent = make(60 * SECOND, 1 << 20);
    append(recent, 2, START, 1);
    for (int i = 0; i < 600; i++)
        append(recent, 1, START + i * SECOND, i);
    assert_int_equal(count(recent, 2), 0); /* an idle subject's too */
    assert_in_range(count(recent, 1), 60, 60 + 2 * 13);
    recent_free(recent);
}

static void clock_that_jumps_is_harmless(void **state)
{
    (void)state;
    static const int64_t times[] = {
        START, START - HOUR, 0, INT64_MAX, 1, INT64_MIN, START, INT64_MAX - 1, -1, START + 1};
    struct recent *recent = make(HOUR, 4096);
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(times); i++)
            append(recent, 1, times[i] + (times[i] < INT64_MAX - 100 ? round : 0), 5);
    }
    assert_in_range(count(recent, 1), 1, 8 * 13);
    recent_forget(recent, 1);
    append(recent, 1, START, 1);
    append(recent, 1, START - SECOND, 2);
    struct ac_usage *usages cleanup_free = NULL;
    assert_int_equal(recent_range(recent, 1, 0, INT64_MAX, &usages), 2);
    assert_true(usages[0].timestamp_ns == START && usages[1].timestamp_ns == START - SECOND);
    recent_free(recent);
}

static void forgetting_frees_blocks(void **state)
{
    (void)state;
    struct recent *recent = make(1000 * HOUR, 1 << 20);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 1000; i++)
            append(recent, (unsigned)i % 3, START + (round * 1000 + i) * SECOND, i);
        assert_int_equal(count(recent, 0), 334);
        for (unsigned slot = 0; slot < 4; slot++)
            recent_forget(recent, (slot + 1) % 4);
        assert_int_equal(count(recent, 0), 0);
    }
    recent_forget(recent, 1000000);
    assert_true(recent_memory(recent) < 100000);
    recent_free(recent);
}

static int fill(struct recent **ret_recent)
{
    struct recent *recent;
    int r = recent_new(HOUR, 1 << 20, &recent);
    for (int i = 0; r == 0 && i < 4000; i++) {
        struct ac_usage usage = usage_at(START + i * SECOND, i % 100);
        r = recent_append(recent, (unsigned)i % 40, &usage);
        if (r < 0)
            recent_free(recent);
    }
    if (r == 0)
        *ret_recent = recent;
    return r;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct recent *recent = NULL;
        fault_arm(FAULT_ALLOC, n);
        int r = fill(&recent);
        struct ac_usage *usages cleanup_free = NULL;
        int64_t got = r == 0 ? recent_range(recent, 1, 0, INT64_MAX, &usages) : 0;
        bool hit = fault_disarm();
        recent_free(recent);
        /* Without memory for a new block the oldest gives way: then nothing fails. */
        assert_true(r == 0 || (hit && r == -ENOMEM));
        assert_true(got >= 0 || (hit && got == -ENOMEM));
        failures += r < 0 || got < 0;
        if (!hit)
            break;
    }
    assert_in_range(failures, 4, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_span),
        cmocka_unit_test(decimals_come_back_exactly),
        cmocka_unit_test(any_value_comes_back_closely),
        cmocka_unit_test(hostile_values_are_tamed),
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(seventeenth_in_a_second_replaces),
        cmocka_unit_test(oldest_goes_at_the_budget),
        cmocka_unit_test(old_samples_expire),
        cmocka_unit_test(clock_that_jumps_is_harmless),
        cmocka_unit_test(forgetting_frees_blocks),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("store/recent", tests, NULL, NULL);
}
