/* SPDX-License-Identifier: Apache-2.0 */
/* What was used in each step of a range: together it is what the totals say. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND INT64_C(1000000000)
#define HOUR   (3600 * SECOND)
#define START  (INT64_C(472222) * HOUR)
#define TICKS  5000

static struct history *open_history(const struct temporary *directory)
{
    struct history *history;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory->path};
    if (history_open(NULL, &options, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

/* Rates say 1 core, 2 MiB/s and, every other tick, nothing of the network. @totals NULL = none. */
static void tick(struct history *history, int second, const struct history_totals *totals)
{
    struct ac_usage usage;
    struct ac_error error = {0};
    ac_usage_init(&usage);
    usage.cpu_cores = 1;
    usage.memory_mb = 100;
    usage.disk_io_mbps = second % 3;
    usage.network_io_mbps = 1;
    usage.known = AC_KNOWN_CPU_CORES | AC_KNOWN_MEMORY_MB | AC_KNOWN_DISK_IO;
    if (second % 2 == 0)
        usage.known |= AC_KNOWN_NETWORK_IO;
    const struct history_row row = {.subject = "a", .usage = &usage, .totals = totals};
    if (history_tick(history, START + second * SECOND, &row, 1, &error) != 0)
        fail_msg("%s", error.message);
}

struct sums {
    double cpu, disk, network;
    uint64_t points, unknown;
};

static int add(void *userdata, const struct history_point *point)
{
    struct sums *sums = userdata;
    sums->points++;
    sums->unknown += isnan(point->network_bytes);
    sums->cpu += isnan(point->cpu_seconds) ? 0 : point->cpu_seconds;
    sums->disk += isnan(point->disk_bytes) ? 0 : point->disk_bytes;
    sums->network += isnan(point->network_bytes) ? 0 : point->network_bytes;
    return 0;
}

static struct sums sum_of(struct history *history, int from, int to, int64_t step_ns, bool used)
{
    struct sums sums = {0};
    struct ac_error error = {0};
    const struct history_query query = {.subject = "a",
        .owner = HISTORY_ANYBODY,
        .from_ns = START + from * SECOND,
        .to_ns = START + to * SECOND,
        .step_ns = (uint64_t)step_ns,
        .used = used};
    if (history_range_query(history, &query, add, &sums, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return sums;
}

static void near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-6 * fmax(fabs(wanted), 1)))
        fail_msg("%.10g, not %.10g", value, wanted);
}

static struct history_usage usage_of(struct history *history, int from, int to)
{
    struct history_usage usage;
    assert_int_equal(history_usage(history, &(const struct history_whose){"a", HISTORY_ANYBODY},
                         START + from * SECOND, START + to * SECOND, &usage, NULL, NULL),
        0);
    return usage;
}

static void steps_add_up_to_the_totals(void **state)
{
    static const int64_t steps[] = {0, SECOND, 10 * SECOND, 30 * SECOND};
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    struct history_totals totals = {.known = 7};
    for (int i = 0; i < TICKS; i++) {
        totals.cpu_ns += 600000000; /* the rates claim more */
        totals.disk_bytes += 3 * 1048576;
        totals.network_bytes += 1000;
        tick(history, i, &totals);
    }
    const struct history_usage all = usage_of(history, 0, TICKS);
    near(all.cpu_seconds, 0.6 * (TICKS - 1)); /* the very first tick has no step */
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct sums sums = sum_of(history, 0, TICKS, steps[i], true);
        near(sums.cpu, all.cpu_seconds);
        near(sums.disk, all.disk_bytes);
        near(sums.network, all.network_bytes);
        assert_int_equal(sums.unknown, steps[i] <= SECOND ? TICKS / 2 : 0);
    }
    struct sums part = sum_of(history, 1000, 2000, 0, true);
    assert_int_equal(part.points, 1000);
    assert_true(fabs(part.cpu - 600) < 1); /* shared with the first tick, which had no step */
    struct sums none = sum_of(history, 0, TICKS, 0, false);
    assert_true(none.cpu == 0 && none.unknown == TICKS);
    history_close(history);
    history = open_history(&directory);
    near(sum_of(history, 0, 3600, 0, true).cpu, 0.6 * 3599);
    history_close(history);
}

/* Totals that come at every hundredth tick are not counted beside the rates between them. */
static void sparse_totals_count_once(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    struct history_totals totals = {.known = 1};
    for (int i = 0; i <= 1000; i++) {
        totals.cpu_ns = (uint64_t)i * 1500000000;
        totals.known = i % 100 == 0 ? 5 : 4; /* the network's come with every tick */
        totals.network_bytes = (uint64_t)i * 10;
        tick(history, i, &totals);
    }
    near(sum_of(history, 0, 1001, 0, true).cpu, 1500);
    near(usage_of(history, 0, 1001).cpu_seconds, 1500);
    history_close(history);
}

/* Without totals it is what the rates say, and where minutes are left, what their means say. */
static void rates_stand_in(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    for (int i = 0; i < TICKS; i++)
        tick(history, i, NULL);
    near(sum_of(history, 0, TICKS, 0, true).cpu, TICKS - 1);
    near(sum_of(history, 0, 3600, 60 * SECOND, true).cpu, 3600);
    near(sum_of(history, 0, 3600, 60 * SECOND, true).disk, 3600.0 * 1048576);
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_add_up_to_the_totals),
        cmocka_unit_test(sparse_totals_count_once),
        cmocka_unit_test(rates_stand_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
