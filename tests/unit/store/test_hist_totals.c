/* SPDX-License-Identifier: Apache-2.0 */
/* Exact totals over the end of the program, in good order and by kill -9, where they are not what
 * the rates add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND INT64_C(1000000000)
#define START  (INT64_C(1700000000) * SECOND)
#define AGENTS 40 /* three groups, each with its own phase */

static struct history *open_in(const char *directory)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory};
    if (history_open(NULL, &options, &history, &error) < 0)
        fail_msg("%s", error.message);
    return history;
}

/* What an agent has used up to a tick: some as their rates say, some far more, some in bursts that
 * no rate shows, some less. */
static uint64_t cpu_ns(int agent, int t)
{
    static const uint64_t per_second[] = {250000000, 1500000000, 0, 1000000};
    uint64_t bursts = agent % 4 == 2 ? (uint64_t)(t / 50) * 7654321987 : 0;
    return per_second[agent % 4] * (uint64_t)t + bursts + 5000000000u;
}

static uint64_t disk_bytes(int agent, int t)
{
    return (uint64_t)t * 1000003 * (uint64_t)(agent % 3);
}

static void tick(struct history *history, int t)
{
    static struct ac_usage usages[AGENTS];
    static struct history_totals totals[AGENTS];
    static char names[AGENTS][16];
    static struct history_row rows[AGENTS];
    struct ac_error error = {0};
    for (int a = 0; a < AGENTS; a++) {
        ac_usage_init(&usages[a]);
        usages[a].cpu_cores = 0.25;
        usages[a].disk_io_mbps = 1;
        usages[a].known = AC_KNOWN_CPU_CORES | AC_KNOWN_DISK_IO;
        totals[a] = (struct history_totals){
            .known = 3, .cpu_ns = cpu_ns(a, t), .disk_bytes = disk_bytes(a, t)};
        snprintf(names[a], sizeof(names[a]), "agent-%d", a);
        rows[a] =
            (struct history_row){.subject = names[a], .usage = &usages[a], .totals = &totals[a]};
    }
    if (history_tick(history, START + t * SECOND, rows, AGENTS, &error) < 0)
        fail_msg("%s", error.message);
}

static void ticks(struct history *history, int from, int to)
{
    for (int t = from; t < to; t++)
        tick(history, t);
}

/* The totals of all agents are those of @t less those of the first tick, which says nothing about
 * what came before, but for @slack seconds of CPU and its like in bytes. The tick behind each of
 * the restarts (@last: the tick before it) stands for its rate. */
static void check(struct history *history, int t, int restarts, const int *last, double slack)
{
    for (int a = 0; a < AGENTS; a++) {
        char name[16];
        struct history_usage usage;
        snprintf(name, sizeof(name), "agent-%d", a);
        const struct history_whose whose = {name, HISTORY_ANYBODY};
        assert_int_equal(
            history_usage(history, &whose, START, START + 100000 * SECOND, &usage, NULL, NULL), 0);
        double cpu = (double)(cpu_ns(a, t) - cpu_ns(a, 0)) * 1e-9;
        double disk = (double)(disk_bytes(a, t) - disk_bytes(a, 0));
        for (int i = 0; i < restarts; i++) {
            cpu += 0.25 - (double)(cpu_ns(a, last[i] + 1) - cpu_ns(a, last[i])) * 1e-9;
            disk += 1048576 - (double)(disk_bytes(a, last[i] + 1) - disk_bytes(a, last[i]));
        }
        if (fabs(usage.cpu_seconds - cpu) > slack + 1e-6)
            fail_msg("%s at %d: %f s instead of %f", name, t, usage.cpu_seconds, cpu);
        if (fabs(usage.disk_bytes - disk) > slack * 6553600 + 1)
            fail_msg("%s at %d: %f bytes instead of %f", name, t, usage.disk_bytes, disk);
    }
}

static void closing_loses_nothing(void **state)
{
    (void)state;
    static const int ends[] = {2, 50, 121, 389, 600, 601, 900, 1500, 1517};
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    int last[ARRAY_SIZE(ends)];
    int from = 0;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct history *history = open_in(directory.path);
        ticks(history, from, ends[i]);
        check(history, ends[i] - 1, (int)i, last, 0);
        history_close(history);
        history = open_in(directory.path);
        check(history, ends[i] - 1, (int)i, last, 0);
        history_close(history);
        last[i] = ends[i] - 1;
        from = ends[i];
    }
}

static void copy(const struct temporary *from, const struct temporary *to, const char *name)
{
    char source[100], target[100], bytes[65536];
    size_t n;
    snprintf(source, sizeof(source), "%s/%s", from->path, name);
    snprintf(target, sizeof(target), "%s/%s", to->path, name);
    FILE *in = fopen(source, "rb"), *out = fopen(target, "wb");
    assert_true(in && out);
    while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* What a kill at any tick leaves behind, and what goes on from there. */
static void a_kill_costs_little(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_in(directory.path);
    for (int t = 0; t < 1500; t++) {
        tick(history, t);
        if (t % 37 != 1 && t % 600 < 598 && (t + 389) % 600 > 2)
            continue;
        struct temporary killed CLEANUP(temporary_done) = temporary_make();
        copy(&directory, &killed, "history.db");
        copy(&directory, &killed, "history.db-wal");
        struct history *after = open_in(killed.path);
        check(after, t, 0, NULL, 0.01);
        ticks(after, t + 1, t + 5);
        check(after, t + 4, 1, &t, 0.01);
        assert_int_equal(history_verify(after, NULL, NULL, NULL), 0);
        history_close(after);
    }
    check(history, 1499, 0, NULL, 0);
    history_close(history);
}

/* Nothing goes with the frames of agents whose rates tell all. */
static void what_agrees_costs_nothing(void **state)
{
    (void)state;
    size_t sizes[2];
    for (int totals = 0; totals < 2; totals++) {
        struct temporary directory CLEANUP(temporary_done) = temporary_make();
        struct history *history = open_in(directory.path);
        char path[100];
        sqlite3 *db;
        sqlite3_stmt *statement;
        for (int t = 0; t < 500; t++) {
            struct ac_usage usage;
            ac_usage_init(&usage);
            usage.cpu_cores = 0.25 + t % 7 * 0.01;
            usage.known = AC_KNOWN_CPU_CORES;
            static uint64_t used;
            used = t == 0 ? 0 : used + 250000000 + (uint64_t)(t % 7) * 10000000;
            /* Up to half a unit of rounding in each tick. */
            const struct history_totals exact = {
                .known = 1, .cpu_ns = used + (uint64_t)(t * 7919 % 50000)};
            const struct history_row row = {
                .subject = "a", .usage = &usage, .totals = totals ? &exact : NULL};
            assert_int_equal(history_tick(history, START + t * SECOND, &row, 1, NULL), 0);
        }
        snprintf(path, sizeof(path), "%s/history.db", directory.path);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(
            sqlite3_prepare_v2(
                db, "SELECT sum(length(data)) FROM frame WHERE seq % 120", -1, &statement, NULL),
            SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        sizes[totals] = (size_t)sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        sqlite3_close(db);
        history_close(history);
    }
    assert_true(sizes[0] > 0);
    assert_in_range(sizes[1], sizes[0], sizes[0] + 20); /* the end of a chunk */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_loses_nothing),
        cmocka_unit_test(a_kill_costs_little),
        cmocka_unit_test(what_agrees_costs_nothing),
    };
    return cmocka_run_group_tests_name("hist_totals", tests, NULL, NULL);
}
