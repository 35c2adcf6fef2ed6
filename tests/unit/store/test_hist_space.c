/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps the file small: hours of a group in rows that fill pages, and groups that are merged
 * in turns. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND INT64_C(1000000000)
#define START  (INT64_C(1700000000) * SECOND)
#define CHUNK  600
#define HOUR   3600 /* ticks */
#define GROUP  16   /* agents */
#define TICKS  (24 * HOUR + CHUNK)

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct history *open_history(const struct temporary *directory)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory->path};
    if (history_open(NULL, &options, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

static int64_t count_rows(const struct temporary *directory, const char *what)
{
    char path[128];
    char sql[64];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof(path), "%s/history.db", directory->path);
    snprintf(sql, sizeof(sql), "SELECT %s", what);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return count;
}

static const char *name_of(int agent)
{
    static char name[32];
    snprintf(name, sizeof(name), "agent-%d", agent);
    return name;
}

/* ---- Hours -------------------------------------------------------------------------------- */

static uint32_t values[GROUP][TICKS]; /* KiB */

/* Memory of many sizes, so that sketches are long. */
static void tick_of_group(struct history *history, int t)
{
    static char names[GROUP][32];
    struct ac_usage usage[GROUP];
    struct history_row rows[GROUP];
    for (int a = 0; a < GROUP; a++) {
        snprintf(names[a], sizeof(names[a]), "%s", name_of(a));
        values[a][t] = (uint32_t)(next_random() >> 40 >> next_random() % 8) / 4 * 4;
        ac_usage_init(&usage[a]);
        usage[a].memory_mb = values[a][t] / 1024.0;
        usage[a].known = AC_KNOWN_MEMORY_MB;
        rows[a] = (struct history_row){.subject = names[a], .usage = &usage[a]};
    }
    assert_int_equal(history_tick(history, START + t * SECOND, rows, GROUP, NULL), 0);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void check_agents(struct history *history)
{
    static uint32_t sorted[TICKS];
    for (int a = 0; a < GROUP; a++) {
        const struct history_whose whose = {name_of(a), HISTORY_ANYBODY};
        struct history_usage used;
        struct history_info info = {0};
        double got;
        memcpy(sorted, values[a], sizeof(sorted));
        qsort(sorted, TICKS, sizeof(sorted[0]), compare_u32);
        for (int percent = 5; percent <= 95; percent += 45) {
            assert_int_equal(history_quantile(history, AC_MEMORY, &whose, 1, percent / 100.0, START,
                                 START + TICKS * SECOND, &got, &info, NULL),
                0);
            double exact = sorted[(TICKS * percent + 99) / 100 - 1] / 1024.0;
            if (fabs(got - exact) > exact * info.error_bound + 1e-9)
                fail_msg("agent %d: P%d is %g instead of %g", a, percent, got, exact);
        }
        assert_true(info.error_bound > 0);
        assert_int_equal(
            history_usage(history, &whose, START, START + TICKS * SECOND, &used, &info, NULL), 0);
        assert_int_equal(used.samples, TICKS);
        assert_int_equal(info.damaged, 0);
    }
}

static void hours_fill_pages_and_become_a_day(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    for (int t = 0; t < TICKS; t++) {
        tick_of_group(history, t);
        if (t == 23 * HOUR + CHUNK)
            assert_int_equal(count_rows(&directory, "count(*) FROM day"), 0);
    }
    assert_int_equal(count_rows(&directory, "count(DISTINCT end_ms) FROM hour"), 24);
    assert_in_range(count_rows(&directory, "count(*) FROM hour"), 48, 96);
    assert_in_range(count_rows(&directory, "max(length(data)) FROM hour"), 800, 1500);
    assert_in_range(count_rows(&directory, "min(length(data)) FROM hour"), 600, 1400);
    assert_int_equal(count_rows(&directory, "count(*) FROM day"), 1);
    check_agents(history);
    history_close(history);
    history = open_history(&directory);
    check_agents(history);
    assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
    history_close(history);
}

/* ---- Turns -------------------------------------------------------------------------------- */

static void groups_take_turns_with_merging(void **state)
{
    (void)state;
    enum { GROUPS = 6, AGENTS = GROUPS * GROUP };
    static char names[AGENTS][32];
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    struct ac_usage usage;
    struct history_row rows[AGENTS];
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_MEMORY_MB;
    for (int a = 0; a < AGENTS; a++) {
        snprintf(names[a], sizeof(names[a]), "%s", name_of(a));
        rows[a] = (struct history_row){.subject = names[a], .usage = &usage};
    }
    for (int t = 0; t < 5 * HOUR / 2; t++) {
        usage.memory_mb = t % 77;
        assert_int_equal(history_tick(history, START + t * SECOND, rows, AGENTS, NULL), 0);
        if (t > HOUR && t % CHUNK == CHUNK / 2)
            assert_in_range(count_rows(&directory, "count(*) FROM chunk"), GROUPS, GROUPS * 9 / 2);
    }
    assert_in_range(count_rows(&directory, "count(*) FROM merged"), GROUPS * 2, GROUPS * 3);
    assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours_fill_pages_and_become_a_day),
        cmocka_unit_test(groups_take_turns_with_merging),
    };
    return cmocka_run_group_tests_name("hist_space", tests, NULL, NULL);
}
