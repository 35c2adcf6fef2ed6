/* SPDX-License-Identifier: Apache-2.0 */
/* Whose history it is: a name that passes from one user to another, agents whose owner is not
 * known, and files from before owners were kept. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND INT64_C(1000000000)
#define START  (INT64_C(1700000000) * SECOND)
#define ANN    1000
#define BOB    2000
#define END    (START + 10000 * SECOND)

static struct history *open_history(const struct temporary *directory)
{
    struct history *history;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory->path};
    if (history_open(NULL, &options, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

/* The machine with 8 cores in use, and "x" of that owner with so many. */
static int tick(struct history *history, int second, int64_t owner, double cores)
{
    struct ac_usage usages[2];
    for (size_t i = 0; i < ARRAY_SIZE(usages); i++) {
        ac_usage_init(&usages[i]);
        usages[i].cpu_cores = i == 0 ? 8 : cores;
        usages[i].known = AC_KNOWN_CPU_CORES;
    }
    const struct history_row rows[] = {{.subject = "", .usage = &usages[0]},
        {.subject = "x",
            .usage = &usages[1],
            .about = {.known = true,
                .philosophy = AC_COT,
                .labels = owner == ANN ? "team\0web" : "team\0ops",
                .labels_size = 9,
                .owner = owner}}};
    return history_tick(history, START + second * SECOND, rows, ARRAY_SIZE(rows), NULL);
}

static void ticks(struct history *history, int from, int to, int64_t owner, double cores)
{
    for (int i = from; i < to; i++)
        assert_int_equal(tick(history, i, owner, cores), 0);
}

struct seen {
    uint64_t samples;
    double least, most;
    int64_t last_ns;
};

static int see(void *userdata, const struct history_point *point)
{
    struct seen *seen = userdata;
    assert_true(point->from_ns > seen->last_ns);
    seen->least =
        seen->samples == 0 ? point->min.cpu_cores : fmin(seen->least, point->min.cpu_cores);
    seen->most = fmax(seen->most, point->max.cpu_cores);
    seen->samples += point->samples;
    seen->last_ns = point->from_ns;
    return 0;
}

static struct seen look(
    struct history *history, const char *subject, int64_t owner, int64_t step_ns)
{
    struct seen seen = {0};
    struct ac_error error = {0};
    const struct history_query query = {.subject = subject,
        .owner = owner,
        .from_ns = START / (60 * SECOND) * 60 * SECOND,
        .to_ns = END,
        .step_ns = (uint64_t)step_ns};
    if (history_range_query(history, &query, see, &seen, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return seen;
}

static bool is_of(void *userdata, const struct history_subject *subject)
{
    return subject->about.owner == *(int64_t *)userdata;
}

static int name_them(void *userdata, const struct history_subject *subject)
{
    struct buf *out = userdata;
    buf_printf(
        out, "%s:%d ", *subject->name ? subject->name : "machine", (int)subject->about.owner);
    return 0;
}

static void expect_subjects(struct history *history, int64_t owner, const char *wanted)
{
    struct buf out CLEANUP(buf_done) = {0};
    assert_int_equal(history_subjects(history, owner, 0, END, 100, name_them, &out, NULL), 0);
    assert_string_equal(out.data, wanted);
}

/* Every kind of query tells @owner of so many samples of "x" with this many cores, and no others.
 */
static void expect_own(struct history *history, int64_t owner, uint64_t samples, double cores)
{
    const struct history_whose whose = {"x", owner};
    struct history_usage usage;
    struct history_top_row rows[4];
    double value;
    static const int64_t steps[] = {0, 60 * SECOND};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct seen seen = look(history, "x", owner, steps[i]);
        assert_int_equal(seen.samples, samples);
        assert_true(samples == 0 || (seen.least == cores && seen.most == cores));
    }
    assert_int_equal(history_usage(history, &whose, START, END, &usage, NULL, NULL), 0);
    assert_int_equal(usage.samples, samples);
    for (int exact = 0; exact < 2; exact++) {
        int64_t end = exact ? START + 7200 * SECOND : END;
        assert_int_equal(
            history_quantile(history, AC_CPU, &whose, 1, 1, START, end, &value, NULL, NULL), 0);
        assert_true(
            samples == 0 || !exact ? isnan(value) || value <= cores * 33 / 32 : value == cores);
        assert_true((samples == 0) == isnan(value) || !exact);
    }
    assert_int_equal(history_has(history, &whose, NULL), samples > 0);
    int n =
        history_top(history, AC_CPU, HISTORY_MAX, START, END, 4, is_of, &owner, rows, NULL, NULL);
    assert_int_equal(n, samples > 0);
    assert_true(n == 0 || rows[0].value == cores);
}

static void a_name_passes_to_another_user(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    ticks(history, 0, 30, ANN, 1);
    ticks(history, 30, 70, BOB, 2); /* both still have a slot */
    for (int again = 0; again < 2; again++) {
        expect_own(history, ANN, 30, 1);
        expect_own(history, BOB, 40, 2);
        expect_own(history, 3000, 0, 0);
        expect_own(history, HISTORY_UNOWNED, 0, 0);
        struct seen all = look(history, "x", HISTORY_ANYBODY, 0);
        assert_true(all.samples == 70 && all.least == 1 && all.most == 2);
        history_close(history);
        history = open_history(&directory);
    }
    ticks(history, 70, 1500, BOB, 2); /* in chunks, and the first one has lost its slot */
    ticks(history, 1500, 1520, ANN, 1);
    for (int again = 0; again < 2; again++) {
        expect_own(history, ANN, 50, 1);
        expect_own(history, BOB, 1470, 2);
        struct seen all = look(history, "x", HISTORY_ANYBODY, 0);
        assert_true(all.samples == 1520 && all.least == 1 && all.most == 2);
        all = look(history, "x", HISTORY_ANYBODY, 60 * SECOND);
        assert_true(all.samples == 1520 && all.least == 1 && all.most == 2);
        expect_subjects(history, HISTORY_ANYBODY, "machine:-2 x:1000 x:2000 ");
        expect_subjects(history, ANN, "machine:-2 x:1000 ");
        expect_subjects(history, BOB, "machine:-2 x:2000 ");
        expect_subjects(history, 0, "machine:-2 ");
        assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
        history_close(history);
        history = open_history(&directory);
    }
    history_close(history);
}

/* So that samples of both lie between each other, in one row and in several. */
static void users_take_turns(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    for (int i = 0; i < 4000; i++)
        ticks(history, i, i + 1, i % 2 ? ANN : BOB, i % 2 ? 1 : 2);
    expect_own(history, ANN, 2000, 1);
    expect_own(history, BOB, 2000, 2);
    assert_int_equal(look(history, "x", HISTORY_ANYBODY, 0).samples, 4000);
    assert_int_equal(look(history, "x", HISTORY_ANYBODY, 60 * SECOND).samples, 4000);
    assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
    history_close(history);
}

/* What nobody is known to own is nobody's, and stays so. */
static void unknown_owners_are_nobody(void **state)
{
    (void)state;
    static const int64_t users[] = {0, ANN, UINT32_MAX - 1, UINT32_MAX};
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    ticks(history, 0, 10, HISTORY_UNOWNED, 1);
    for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
        expect_own(history, users[i], 0, 0);
        assert_int_equal(
            look(history, "", users[i], 0).samples, 10); /* the machine is everybody's */
    }
    ticks(history, 10, 30, ANN, 2);
    ticks(history, 30, 33, HISTORY_UNOWNED, 1);
    ticks(history, 33, 37, UINT32_MAX - 1, 3); /* the largest there is */
    expect_own(history, HISTORY_UNOWNED, 13, 1);
    expect_own(history, ANN, 20, 2);
    expect_own(history, UINT32_MAX - 1, 4, 3);
    expect_own(history, BOB, 0, 0);
    assert_int_equal(look(history, "x", HISTORY_ANYBODY, 0).samples, 37);
    history_close(history);
    assert_int_equal(history_owner_of(UINT32_MAX), HISTORY_UNOWNED);
    assert_int_equal(history_owner_of(0), 0);
}

/* ---- Files from before ------------------------------------------------------------------- */

/* Schema version 1, as it was. */
static const char version_1[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE subject (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  philosophy INTEGER, labels BLOB);"
    "CREATE TABLE tenure (id INTEGER PRIMARY KEY, subject INTEGER NOT NULL,"
    "  slot INTEGER NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER);"
    "CREATE INDEX tenure_subject ON tenure (subject, from_ms);"
    "CREATE INDEX tenure_to ON tenure (to_ms);"
    "CREATE TABLE frame (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE part (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL);"
    "CREATE TABLE chunk (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE merged (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE minute (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE hour (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE day (id INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE top (id INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "PRAGMA user_version = 1; PRAGMA application_id = 1094928457;";

static void run_sql(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

static int64_t ask_sql(const struct temporary *directory, const char *sql)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof(path), "%s/history.db", directory->path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

/* A file of version 1 with what @from recorded. */
static void make_old(const struct temporary *from, const struct temporary *to)
{
    static const char *const same[] = {
        "meta", "tenure", "frame", "part", "chunk", "merged", "minute", "hour", "day", "top"};
    char text[200];
    sqlite3 *db;
    snprintf(text, sizeof(text), "%s/history.db", to->path);
    assert_int_equal(sqlite3_open(text, &db), SQLITE_OK);
    run_sql(db, version_1);
    snprintf(text, sizeof(text), "ATTACH '%s/history.db' AS now", from->path);
    run_sql(db, text);
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        snprintf(text, sizeof(text), "INSERT INTO main.%1$s SELECT * FROM now.%1$s", same[i]);
        run_sql(db, text);
    }
    run_sql(db, "INSERT INTO main.subject SELECT id, name, philosophy, labels FROM now.subject");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

#define OLD 700 /* seconds: a chunk, and ticks that are not in one */

static void record_old(const struct temporary *old)
{
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    ticks(history, 0, OLD, ANN, 1);
    history_close(history);
    make_old(&directory, old);
}

static void old_files_are_migrated(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    record_old(&directory);
    assert_int_equal(ask_sql(&directory, "PRAGMA user_version"), 1);
    struct history *history = open_history(&directory);
    expect_own(history, HISTORY_UNOWNED, OLD, 1);
    expect_own(history, ANN, 0, 0);
    expect_subjects(history, HISTORY_ANYBODY, "machine:-2 x:-2 ");
    assert_int_equal(look(history, "", BOB, 0).samples, OLD);
    ticks(history, OLD, OLD + 50, ANN, 2); /* the agent goes on, and is somebody's now */
    for (int again = 0; again < 2; again++) {
        expect_own(history, HISTORY_UNOWNED, OLD, 1);
        expect_own(history, ANN, 50, 2);
        assert_int_equal(look(history, "x", HISTORY_ANYBODY, 0).samples, OLD + 50);
        assert_int_equal(look(history, "", BOB, 0).samples, OLD + 50);
        assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
        history_close(history);
        history = open_history(&directory);
    }
    history_close(history);
    assert_int_equal(ask_sql(&directory, "PRAGMA user_version"), 2);
    assert_int_equal(ask_sql(&directory, "SELECT count(*) FROM subject"), 3);
    assert_int_equal(ask_sql(&directory, "SELECT count(*) FROM subject WHERE owner IS NULL"), 2);
    assert_int_equal(
        ask_sql(&directory, "SELECT count(*) FROM subject WHERE labels = x'7465616d0077656200'"),
        2);
    assert_int_equal(
        ask_sql(&directory, "SELECT count(*) FROM sqlite_master WHERE name = 'former'"), 0);
}

/* Wherever memory runs out on the way, the file is as it was or as it shall be. */
static void migration_is_whole_or_not_at_all(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    record_old(&directory);
    const struct history_options options = {.directory = directory.path};
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct history *history = NULL;
        fault_arm(FAULT_ALLOC, n);
        int r = history_open(NULL, &options, &history, NULL);
        bool hit = fault_disarm();
        assert_true(r == 0 || (hit && r == -ENOMEM));
        if (r == 0)
            history_close(history);
        failures += r < 0;
        int64_t version = ask_sql(&directory, "PRAGMA user_version");
        const char *owner =
            "SELECT count(*) FROM pragma_table_info('subject') WHERE name = 'owner'";
        assert_int_equal(ask_sql(&directory, owner), version - 1);
        assert_int_equal(ask_sql(&directory, "SELECT count(*) FROM subject"), 2);
        if (version == 2)
            break;
    }
    assert_true(failures > 20);
    struct history *history = open_history(&directory);
    expect_own(history, HISTORY_UNOWNED, OLD, 1);
    history_close(history);
}

static void memory_runs_out_in_a_query(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory);
    const struct history_whose whose = {"x", HISTORY_ANYBODY};
    ticks(history, 0, 20, ANN, 1);
    ticks(history, 20, 40, BOB, 2);
    for (unsigned n = 1;; n++) {
        struct history_usage usage;
        struct ac_error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = history_usage(history, &whose, START, END, &usage, NULL, &error);
        int has = history_has(history, &whose, NULL);
        bool hit = fault_disarm();
        assert_true((r == 0 && usage.samples == 40) || (hit && r == -ENOMEM));
        assert_true(has == 1 || (hit && has == -ENOMEM));
        if (!hit)
            break;
    }
    history_close(history);
}

int main(void)
{
    temporary_inject_sqlite();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_passes_to_another_user),
        cmocka_unit_test(users_take_turns),
        cmocka_unit_test(unknown_owners_are_nobody),
        cmocka_unit_test(old_files_are_migrated),
        cmocka_unit_test(migration_is_whole_or_not_at_all),
        cmocka_unit_test(memory_runs_out_in_a_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
