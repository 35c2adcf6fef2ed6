/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the history in memory, through the public API. */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/fault.h"

#define SECOND INT64_C(1000000000)
#define START  (INT64_C(1700000000) * SECOND)

static struct ac_monitor *make(void)
{
    struct ac_monitor *monitor;
    assert_int_equal(ac_monitor_new(NULL, &monitor, NULL), 0);
    return monitor;
}

/* @cores < 0 = not known. */
static void put(
    struct ac_monitor *monitor, const char *subject, double second, double cores, double memory_mb)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.timestamp_ns = START + (int64_t)(second * (double)SECOND);
    usage.cpu_cores = cores;
    usage.memory_mb = memory_mb;
    usage.known = (cores < 0 ? 0u : AC_KNOWN_CPU_CORES) | AC_KNOWN_MEMORY_MB;
    assert_int_equal(ac_monitor_record(monitor, subject, &usage), 0);
}

static void near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-6 * fmax(fabs(wanted), 1)))
        fail_msg("%.10g, not %.10g", value, wanted);
}

static struct ac_history_query all_of(int64_t from_s, int64_t to_s)
{
    struct ac_history_query query;
    ac_history_query_init(&query);
    query.from_ns = START + from_s * SECOND;
    query.to_ns = START + to_s * SECOND;
    return query;
}

static void ranges(void **state)
{
    struct ac_monitor *monitor = make();
    struct ac_history_point *points = NULL;
    struct ac_history_info info;
    (void)state;
    for (int i = 0; i < 100; i++) {
        if (i < 40 || i >= 60)
            put(monitor, "a", i, i % 10 == 0 ? -1 : i, 64);
    }
    int64_t n = ac_monitor_history_range(
        monitor, "a", START, START + 100 * SECOND, 10 * (uint64_t)SECOND, &points, &info);
    assert_int_equal(n, 8);
    assert_true(points[1].from_ns == START + 10 * SECOND && points[1].step_ns == 10ull * SECOND);
    assert_int_equal(points[1].samples, 10);
    near(points[1].mean.cpu_cores, 15); /* of 11 to 19: 10 is not known */
    near(points[1].min.cpu_cores, 11);
    near(points[1].max.cpu_cores, 19);
    near(points[1].mean.memory_mb, 64);
    assert_int_equal(points[1].mean.known, AC_KNOWN_CPU_CORES | AC_KNOWN_MEMORY_MB);
    assert_true(points[4].from_ns == START + 60 * SECOND);
    assert_true(info.samples == 80 && info.subjects == 1 && info.gaps == 1);
    assert_true(info.gap_ns == 20 * SECOND);
    ac_free(points);
    n = ac_monitor_history_range(
        monitor, "a", START + 5 * SECOND, START + 8 * SECOND, 0, &points, NULL);
    assert_int_equal(n, 3);
    assert_true(points[0].from_ns == START + 5 * SECOND && points[0].step_ns == 0);
    near(points[2].mean.cpu_cores, 7);
    ac_free(points);
    n = ac_monitor_history_range(monitor, "nobody", 0, INT64_MAX, 0, &points, &info);
    assert_true(n == 0 && !points && info.samples == 0);
    n = ac_monitor_history_range(monitor, NULL, 0, INT64_MAX, 0, &points, &info);
    assert_true(n == 0 && !points);
    assert_int_equal(ac_monitor_history_range(monitor, "a", 5, 5, 0, &points, NULL), -EINVAL);
    assert_int_equal(
        ac_monitor_history_range(monitor, "a", 0, 5, UINT64_MAX, &points, NULL), -EINVAL);
    ac_monitor_free(monitor);
}

static void the_largest(void **state)
{
    struct ac_monitor *monitor = make();
    struct ac_history_top *rows = NULL;
    struct ac_history_info info;
    (void)state;
    for (int i = 0; i < 10; i++) {
        put(monitor, "steady", i, 2, 10);
        put(monitor, "burst", i, i == 5 ? 9 : 0, 10);
        put(monitor, "late", 5 + i, 3, 10);
        put(monitor, "dark", i, -1, 10);
        put(monitor, NULL, i, 64, 10);
    }
    struct ac_history_query query = all_of(0, 10);
    assert_int_equal(
        ac_monitor_history_top(monitor, &query, AC_CPU, AC_HISTORY_MEAN, 10, &rows, &info), 3);
    assert_string_equal(rows[0].agent_id, "late");
    near(rows[0].value, 3);
    assert_string_equal(rows[1].agent_id, "steady");
    assert_string_equal(rows[2].agent_id, "burst");
    near(rows[2].value, 0.9);
    assert_true(info.samples == 35 && info.subjects == 4);
    ac_free(rows);
    assert_int_equal(
        ac_monitor_history_top(monitor, &query, AC_CPU, AC_HISTORY_MAX, 1, &rows, NULL), 1);
    assert_string_equal(rows[0].agent_id, "burst");
    near(rows[0].value, 9);
    ac_free(rows);
    assert_int_equal(
        ac_monitor_history_top(monitor, &query, AC_CPU, AC_HISTORY_SUM, 9, &rows, NULL), 3);
    assert_string_equal(rows[0].agent_id, "steady");
    near(rows[0].value, 20);
    near(rows[1].value, 15);
    ac_free(rows);
    static const char *const some[] = {"burst", "system", "nobody", "dark"};
    query.subjects = some;
    query.n_subjects = 4;
    assert_int_equal(
        ac_monitor_history_top(monitor, &query, AC_MEMORY, AC_HISTORY_MEAN, 9, &rows, NULL), 2);
    assert_string_equal(rows[0].agent_id, "burst"); /* the same: by name */
    ac_free(rows);
    assert_int_equal(
        ac_monitor_history_top(monitor, &query, AC_CPU, AC_HISTORY_SUM, 0, &rows, NULL), -EINVAL);
    ac_monitor_free(monitor);
}

static void quantiles(void **state)
{
    static const struct {
        double q, value;
    } cases[] = {{0, 1}, {0.004, 1}, {0.5, 100}, {0.505, 101}, {0.95, 190}, {1, 200}};
    static const char *const machine[] = {"system"};
    struct ac_monitor *monitor = make();
    struct ac_history_query query = all_of(0, 1000);
    struct ac_history_info info;
    double value = 0;
    (void)state;
    for (int i = 0; i < 200; i++)
        put(monitor, i % 2 ? "a" : "b", i, 1 + (i * 37) % 200, 10);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            ac_monitor_history_quantile(monitor, &query, AC_CPU, cases[i].q, &value, &info), 0);
        near(value, cases[i].value);
        assert_int_equal(info.samples, 200);
    }
    assert_int_equal(
        ac_monitor_history_quantile(monitor, &query, AC_DISK_IO, 0.5, &value, NULL), 0);
    assert_true(isnan(value));
    query.subjects = machine;
    query.n_subjects = 1;
    assert_int_equal(ac_monitor_history_quantile(monitor, &query, AC_CPU, 0.5, &value, NULL), 0);
    assert_true(isnan(value));
    assert_int_equal(
        ac_monitor_history_quantile(monitor, &query, AC_CPU, 1.01, &value, NULL), -EINVAL);
    assert_int_equal(
        ac_monitor_history_quantile(monitor, &query, AC_CPU, (double)NAN, &value, NULL), -EINVAL);
    ac_monitor_free(monitor);
}

static void usage_is_integrated(void **state)
{
    struct ac_monitor *monitor = make();
    struct ac_history_usage *rows = NULL;
    struct ac_history_query query = all_of(0, 10000);
    struct ac_history_info info;
    (void)state;
    for (int i = 0; i < 3600; i++) {
        put(monitor, "b", i, 2, 1024);
        if (i < 100 || i >= 3500)
            put(monitor, "gap", i, 1, 1024);
    }
    put(monitor, "alone", 5, -1, 512);
    assert_int_equal(ac_monitor_history_usage(monitor, &query, &rows, &info), 3);
    assert_string_equal(rows[0].agent_id, "alone");
    assert_true(isnan(rows[0].cpu_seconds) && rows[0].samples == 1);
    near(rows[0].memory_gib_hours, 0.5 * 5 / 3600); /* one check interval */
    assert_string_equal(rows[1].agent_id, "b");
    near(rows[1].cpu_seconds, 7200);
    near(rows[1].memory_gib_hours, 1);
    assert_true(isnan(rows[1].disk_bytes) && isnan(rows[1].network_bytes));
    near(rows[2].cpu_seconds, 200); /* nothing for the gap */
    assert_true(info.gaps == 1 && info.gap_ns == 3400 * SECOND && info.subjects == 3);
    ac_free(rows);
    query = all_of(20000, 20001);
    assert_int_equal(ac_monitor_history_usage(monitor, &query, &rows, NULL), 0);
    ac_free(rows);
    ac_monitor_free(monitor);
}

static void samples_out_of_order(void **state)
{
    struct ac_monitor *monitor = make();
    struct ac_history_usage *rows = NULL;
    struct ac_history_point *points = NULL;
    struct ac_history_query query = all_of(0, 100);
    (void)state;
    for (int i = 0; i < 10; i++)
        put(monitor, "a", i < 5 ? i + 5 : i - 5, 1, 10);
    assert_int_equal(ac_monitor_history_usage(monitor, &query, &rows, NULL), 1);
    near(rows[0].cpu_seconds, 10);
    ac_free(rows);
    assert_int_equal(
        ac_monitor_history_range(monitor, "a", query.from_ns, query.to_ns, 0, &points, NULL), 10);
    for (int i = 0; i < 10; i++)
        assert_true(points[i].from_ns == START + i * SECOND);
    ac_free(points);
    ac_monitor_free(monitor);
}

static void managers_know_philosophies_and_capacity(void **state)
{
    struct ac_manager *manager;
    struct ac_system_metrics metrics;
    struct ac_history_usage *rows = NULL;
    struct ac_history_top *top = NULL;
    struct ac_history_point *points = NULL;
    struct ac_usage usage;
    struct ac_error error;
    double value;
    (void)state;
    assert_int_equal(ac_manager_new(NULL, &manager, &error), 0);
    assert_int_equal(ac_manager_system_metrics(manager, &metrics), 0);
    ac_usage_init(&usage);
    usage.cpu_percent = 50;
    usage.memory_percent = 25;
    usage.known = AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_PERCENT;
    for (int i = 0; i < 3; i++) {
        usage.timestamp_ns = START + i * SECOND;
        assert_int_equal(ac_manager_track(manager, "a", &usage), 0);
    }
    struct ac_history_query query = all_of(0, 10);
    assert_int_equal(ac_manager_history_usage(manager, &query, &rows, NULL), 1);
    near(rows[0].cpu_seconds, 1.5 * metrics.capacity_cores);
    near(rows[0].memory_gib_hours, 0.75 * metrics.capacity_memory_mb / 1024 / 3600);
    assert_int_equal(rows[0].philosophy, AC_REACT);
    ac_free(rows);
    assert_int_equal(
        ac_manager_history_top(manager, &query, AC_CPU, AC_HISTORY_MEAN, 1, &top, NULL), 1);
    near(top[0].value, 0.5 * metrics.capacity_cores);
    ac_free(top);
    assert_int_equal(ac_manager_history_quantile(manager, &query, AC_CPU, 0.5, &value, NULL), 0);
    near(value, 0.5 * metrics.capacity_cores);
    assert_int_equal(
        ac_manager_history_range(manager, "a", query.from_ns, query.to_ns, 0, &points, NULL), 3);
    near(points[0].mean.cpu_percent, 50);
    ac_free(points);
    query.philosophy = AC_AUTONOMOUS;
    assert_int_equal(ac_manager_history_usage(manager, &query, &rows, NULL), 0);
    ac_free(rows);
    query.philosophy = AC_REACT;
    assert_int_equal(ac_manager_history_usage(manager, &query, &rows, NULL), 1);
    ac_free(rows);
    ac_manager_free(manager);
}

static void without_monitoring_there_is_none(void **state)
{
    struct ac_manager_options options;
    struct ac_manager *manager;
    struct ac_history_usage *rows = (void *)&options;
    struct ac_history_top *top = (void *)&options;
    struct ac_history_point *points = (void *)&options;
    struct ac_history_info info = {.samples = 5};
    struct ac_history_query query = all_of(0, 10);
    double value = 5;
    (void)state;
    ac_manager_options_init(&options);
    options.enable_monitoring = false;
    assert_int_equal(ac_manager_new(&options, &manager, NULL), 0);
    assert_int_equal(ac_manager_history_usage(manager, &query, &rows, &info), 0);
    assert_true(!rows && info.samples == 0);
    assert_int_equal(
        ac_manager_history_top(manager, &query, AC_CPU, AC_HISTORY_MEAN, 1, &top, NULL), 0);
    assert_null(top);
    assert_int_equal(ac_manager_history_quantile(manager, &query, AC_CPU, 0.5, &value, NULL), 0);
    assert_true(isnan(value));
    assert_int_equal(ac_manager_history_range(manager, "a", 0, 1, 0, &points, NULL), 0);
    assert_null(points);
    ac_manager_free(manager);
}

static void wrong_questions(void **state)
{
    struct ac_monitor *monitor = make();
    struct ac_history_usage *rows = NULL;
    struct ac_history_top *top = NULL;
    double value;
    static const char *const nobody[] = {NULL};
    const struct ac_history_query good = all_of(0, 10);
    struct ac_history_query queries[6];
    (void)state;
    for (int i = 0; i < 6; i++)
        queries[i] = good;
    queries[0].size = 4;
    queries[1].to_ns = queries[1].from_ns;
    queries[2].philosophy = AC_PHILOSOPHY_COUNT;
    queries[3].philosophy = -2;
    queries[4].n_subjects = 1;
    queries[5].n_subjects = 1;
    queries[5].subjects = nobody;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(ac_monitor_history_usage(monitor, &queries[i], &rows, NULL), -EINVAL);
        assert_int_equal(
            ac_monitor_history_top(monitor, &queries[i], AC_CPU, AC_HISTORY_MEAN, 1, &top, NULL),
            -EINVAL);
        assert_int_equal(
            ac_monitor_history_quantile(monitor, &queries[i], AC_CPU, 0.5, &value, NULL), -EINVAL);
    }
    assert_int_equal(ac_monitor_history_usage(monitor, NULL, &rows, NULL), -EINVAL);
    assert_int_equal(
        ac_monitor_history_top(monitor, &good, AC_RESOURCE_COUNT, AC_HISTORY_MEAN, 1, &top, NULL),
        -EINVAL);
    assert_int_equal(
        ac_monitor_history_top(monitor, &good, AC_CPU, (enum ac_history_aggregate)3, 1, &top, NULL),
        -EINVAL);
    assert_true(!rows && !top);
    ac_monitor_free(monitor);
}

/* Every allocation fails once. */
static void memory_runs_out(void **state)
{
    struct ac_monitor *monitor = make();
    const struct ac_history_query query = all_of(0, 1000);
    (void)state;
    for (int i = 0; i < 200; i++)
        put(monitor, i % 2 ? "a" : "b", i, i, 10);
    for (int which = 0; which < 4; which++) {
        for (unsigned nth = 1;; nth++) {
            void *rows = NULL;
            double value = 0;
            fault_arm(FAULT_ALLOC, nth);
            int64_t r =
                which == 0   ? ac_monitor_history_range(monitor, "a", 0, INT64_MAX, 0,
                                   (struct ac_history_point **)&rows, NULL)
                : which == 1 ? ac_monitor_history_top(monitor, &query, AC_CPU, AC_HISTORY_MEAN, 5,
                                   (struct ac_history_top **)&rows, NULL)
                : which == 2
                    ? ac_monitor_history_quantile(monitor, &query, AC_CPU, 0.5, &value, NULL)
                    : ac_monitor_history_usage(
                          monitor, &query, (struct ac_history_usage **)&rows, NULL);
            bool failed = fault_disarm();
            ac_free(rows);
            if (!failed) {
                assert_true(r >= 0);
                break;
            }
            assert_int_equal(r, -ENOMEM);
        }
    }
    ac_monitor_free(monitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(the_largest),
        cmocka_unit_test(quantiles),
        cmocka_unit_test(usage_is_integrated),
        cmocka_unit_test(samples_out_of_order),
        cmocka_unit_test(managers_know_philosophies_and_capacity),
        cmocka_unit_test(without_monitoring_there_is_none),
        cmocka_unit_test(wrong_questions),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
