/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define cleanup_directory CLEANUP(temporary_done)

#define SECOND INT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define CHUNK  600
#define START  (INT64_C(28333320) * MINUTE) /* a full hour */

struct both {
    struct store *store;
    struct history *history;
};

static struct both open_both(const struct temporary *directory, int64_t keep_ns)
{
    struct both both = {0};
    struct ac_error error = {0};
    const struct store_options options = {.directory = directory->path};
    const struct history_options keep = {.keep_minutes_ns = (uint64_t)keep_ns};
    if (store_open(&options, &both.store, &error) != 0 ||
        history_open(both.store, &keep, &both.history, &error) != 0)
        fail_msg("%s", error.message);
    return both;
}

static void close_both(struct both *both)
{
    history_close(both->history);
    store_close(both->store);
}

static struct ac_usage cpu(double percent)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_percent = percent;
    usage.known = AC_KNOWN_CPU_PERCENT;
    return usage;
}

static int tick(struct history *history, int64_t when_ns, const char *subject, double percent)
{
    struct ac_usage usage = cpu(percent);
    const struct history_row row = {.subject = subject, .usage = &usage};
    return history_tick(history, when_ns, &row, 1, NULL);
}

struct points {
    unsigned count;
    unsigned stop_at;
    struct history_point items[2000];
};

static int see(void *userdata, const struct history_point *point)
{
    struct points *points = userdata;
    if (points->count < ARRAY_SIZE(points->items))
        points->items[points->count] = *point;
    return ++points->count == points->stop_at ? 7 : 0;
}

static void range(struct history *history, const char *subject, int64_t from_ns, int64_t to_ns,
    uint64_t step_ns, struct points *points)
{
    struct ac_error error = {0};
    points->count = 0;
    int r = history_range(history, subject, from_ns, to_ns,
        step_ns == 0 ? (uint64_t)MINUTE : step_ns, 10000, see, points, &error);
    if (r != 0)
        fail_msg("%d: %s", r, error.message);
}

static struct points points;

static void minutes_are_folded(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    for (int i = 0; i < 150; i++)
        assert_int_equal(tick(both.history, START + i * SECOND, "a", i), 0);
    range(both.history, "a", START, START + HOUR, 0, &points);
    assert_int_equal(points.count, 3); /* the last is still in memory */
    for (int m = 0; m < 3; m++) {
        const struct history_point *point = &points.items[m];
        assert_true(point->from_ns == START + m * MINUTE);
        assert_true(point->step_ns == (uint64_t)MINUTE);
        assert_int_equal(point->samples, m < 2 ? 60 : 30);
        assert_true(point->min.cpu_percent == 60 * m);
        assert_true(point->max.cpu_percent == (m < 2 ? 60 * m + 59 : 149));
        assert_true(point->mean.cpu_percent == (m < 2 ? 60 * m + 29.5 : 134.5));
        assert_int_equal(point->mean.known, AC_KNOWN_CPU_PERCENT);
        assert_true(isnan(point->max.memory_mb));
        assert_true(point->mean.timestamp_ns == point->from_ns);
    }
    range(both.history, "b", START, START + HOUR, 0, &points);
    assert_int_equal(points.count, 0);
    close_both(&both);
}

static void all_fields_come_back(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    struct ac_usage usage = {.cpu_percent = 12.345,
        .cpu_cores = 0.2469,
        .memory_mb = 300.75,
        .memory_percent = 3.712,
        .disk_io_mbps = 1.5,
        .network_io_mbps = 1.0 / 1048576,
        .file_descriptors = 5000000000ull,
        .known = AC_KNOWN_ALL};
    const struct history_row rows[] = {
        {.subject = "", .usage = &usage}, {.subject = "a", .usage = &usage}};
    assert_int_equal(history_tick(both.history, START, rows, 2, NULL), 0);
    close_both(&both);
    both = open_both(&directory, DAY);
    for (int i = 0; i < 2; i++) {
        range(both.history, i == 0 ? "" : "a", START, START + HOUR, 0, &points);
        assert_int_equal(points.count, 1);
        struct history_point *point = &points.items[0];
        struct ac_usage *const parts[] = {&point->mean, &point->min, &point->max};
        for (int p = 0; p < 3; p++) {
            assert_true(fabs(parts[p]->cpu_percent - usage.cpu_percent) < 0.006);
            assert_true(fabs(parts[p]->cpu_cores - usage.cpu_cores) < 1e-4);
            assert_true(parts[p]->memory_mb == usage.memory_mb);
            assert_true(fabs(parts[p]->memory_percent - usage.memory_percent) < 0.006);
            assert_true(parts[p]->disk_io_mbps == usage.disk_io_mbps);
            assert_true(parts[p]->network_io_mbps == usage.network_io_mbps);
            assert_true(parts[p]->file_descriptors == usage.file_descriptors);
            assert_int_equal(parts[p]->known, AC_KNOWN_ALL);
        }
    }
    close_both(&both);
}

static void unknown_is_not_zero(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    struct ac_usage usage = cpu(50), nothing;
    ac_usage_init(&nothing);
    const struct history_row known = {"a", &usage}, unknown = {"a", &nothing};
    for (int m = 0; m < 3; m++) {
        for (int i = 0; i < 10; i++) {
            const struct history_row *row = m == 1 || i % 2 ? &unknown : &known;
            assert_int_equal(
                history_tick(both.history, START + m * MINUTE + i * SECOND, row, 1, NULL), 0);
        }
    }
    close_both(&both);
    both = open_both(&directory, DAY);
    range(both.history, "a", START, START + HOUR, 0, &points);
    assert_int_equal(points.count, 3);
    assert_true(points.items[0].samples == 10 && points.items[0].mean.cpu_percent == 50);
    assert_true(points.items[0].min.cpu_percent == 50);
    assert_true(points.items[1].samples == 10 && points.items[1].mean.known == 0);
    assert_true(isnan(points.items[1].mean.cpu_percent) && isnan(points.items[1].max.cpu_percent));
    range(both.history, "a", START, START + HOUR, 3 * MINUTE, &points);
    assert_int_equal(points.count, 1);
    assert_true(points.items[0].samples == 30 && points.items[0].mean.cpu_percent == 50);
    close_both(&both);
}

static void hostile_values_are_tamed(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    struct ac_usage usage = {.cpu_percent = NAN,
        .cpu_cores = HUGE_VAL,
        .memory_mb = 1e300,
        .disk_io_mbps = 1e15,
        .file_descriptors = UINT64_MAX,
        .known = AC_KNOWN_ALL};
    char name[AC_AGENT_ID_MAX + 2];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    const struct history_row rows[] = {{name, &usage}, {"a'; DROP TABLE agent; --", &usage}};
    struct ac_error error = {0};
    assert_int_equal(history_tick(both.history, START, rows, 2, &error), -EINVAL);
    close_both(&both);
    both = open_both(&directory, DAY);
    range(both.history, rows[1].subject, START, START + HOUR, 0, &points);
    assert_int_equal(points.count, 1);
    const struct ac_usage *max = &points.items[0].max;
    assert_int_equal(max->known & (AC_KNOWN_CPU_PERCENT | AC_KNOWN_CPU_CORES), 0);
    assert_true(max->memory_mb == 0x1p56 / 256);
    assert_true(max->file_descriptors == 1ull << 56);
    close_both(&both);
}

/* What a range should be, from all samples. */
static void check_against(struct history *history, const double *samples, int n, int64_t every_ns,
    int64_t from_ns, int64_t to_ns, int64_t step_ns)
{
    int64_t rounded = step_ns == SECOND ? SECOND : (step_ns + MINUTE - 1) / MINUTE * MINUTE;
    rounded = rounded > 0 ? rounded : MINUTE;
    unsigned at = 0;
    range(history, "a", from_ns, to_ns, (uint64_t)step_ns, &points);
    for (int64_t bucket = from_ns / rounded * rounded; bucket < to_ns; bucket += rounded) {
        unsigned count = 0;
        double sum = 0, min = HUGE_VAL, max = -1;
        for (int i = 0; i < n; i++) {
            int64_t when = START + i * every_ns;
            if (samples[i] < 0 || when < bucket || when >= bucket + rounded || when >= to_ns)
                continue;
            count++;
            sum += samples[i];
            min = fmin(min, samples[i]);
            max = fmax(max, samples[i]);
        }
        if (count == 0 || bucket < from_ns)
            continue;
        const struct history_point *point = &points.items[at++];
        assert_true(point->from_ns == bucket && point->step_ns == (uint64_t)rounded);
        assert_int_equal(point->samples, count);
        assert_true(fabs(point->mean.cpu_percent - sum / count) < 0.006);
        assert_true(fabs(point->min.cpu_percent - min) < 0.006);
        assert_true(fabs(point->max.cpu_percent - max) < 0.006);
    }
    assert_int_equal(at, points.count);
}

static void ranges_equal_a_plain_search(void **state)
{
    (void)state;
    enum { SAMPLES = 1000 };
    static const int64_t steps[] = {0, SECOND, MINUTE, MINUTE + 1, 7 * MINUTE, HOUR, DAY};
    static const int64_t spans[][2] = {{0, 3 * HOUR}, {17 * MINUTE, 2 * HOUR}, {SECOND, HOUR},
        {HOUR, HOUR + 1}, {-DAY, DAY}, {2 * HOUR, HOUR}};
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, 7 * DAY);
    double samples[SAMPLES];
    unsigned seed = 7;
    for (int i = 0; i < SAMPLES; i++) {
        bool gap = i / 100 == 4 || rand_r(&seed) % 10 == 0;
        samples[i] = gap ? -1 : (rand_r(&seed) % 100000) / 1000.0;
        if (!gap)
            assert_int_equal(tick(both.history, START + i * 10 * SECOND, "a", samples[i]), 0);
        if (i % 333 == 0) { /* also in the middle of a minute */
            close_both(&both);
            both = open_both(&directory, 7 * DAY);
        }
    }
    for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
        for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
            check_against(both.history, samples, SAMPLES, 10 * SECOND, START + spans[i][0],
                START + spans[i][1], steps[s]);
    }
    close_both(&both);
}

static void extreme_ranges_are_harmless(void **state)
{
    (void)state;
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, START, INT64_MAX};
    static const uint64_t steps[] = {0, 1, 1ull << 40, (uint64_t)INT64_MAX, UINT64_MAX};
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    tick(both.history, START, "a", 1);
    tick(both.history, START + MINUTE, "a", 1);
    for (size_t i = 0; i < ARRAY_SIZE(times) * ARRAY_SIZE(times) * ARRAY_SIZE(steps); i++)
        range(both.history, "a", times[i % ARRAY_SIZE(times)],
            times[i / ARRAY_SIZE(times) % ARRAY_SIZE(times)],
            steps[i / ARRAY_SIZE(times) / ARRAY_SIZE(times)], &points);
    range(both.history, "a", 0, INT64_MAX, 0, &points);
    assert_int_equal(points.count, 2);
    close_both(&both);
}

static void ranges_end_when_told(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    for (int m = 0; m < 20; m++)
        tick(both.history, START + m * MINUTE, "a", m);
    points = (struct points){.stop_at = 5};
    assert_int_equal(
        history_range(both.history, "a", START, START + DAY, 0, 100, see, &points, NULL), 7);
    assert_int_equal(points.count, 5);
    points = (struct points){0};
    assert_int_equal(
        history_range(both.history, "a", START, START + DAY, 0, 3, see, &points, NULL), 0);
    assert_int_equal(points.count, 3);
    assert_true(points.items[2].mean.cpu_percent == 2);
    points = (struct points){0};
    assert_int_equal(
        history_range(both.history, "a", START, START + DAY, 0, 0, see, &points, NULL), 0);
    assert_int_equal(points.count, 0);
    close_both(&both);
}

static void partial_minute_survives_a_restart(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    for (int part = 0; part < 6; part++) {
        struct both both = open_both(&directory, DAY);
        for (int i = 0; i < 10; i++)
            tick(both.history, START + (part * 10 + i) * SECOND, "a", part * 10 + i);
        range(both.history, "a", START, START + MINUTE, 0, &points);
        assert_int_equal(points.count, 1);
        assert_int_equal(points.items[0].samples, part * 10 + 10);
        close_both(&both);
    }
    assert_true(points.items[0].min.cpu_percent == 0 && points.items[0].max.cpu_percent == 59);
    assert_true(fabs(points.items[0].mean.cpu_percent - 29.5) < 0.001);
}

static void clock_that_jumps_is_harmless(void **state)
{
    (void)state;
    static const int64_t times[] = {START, START - HOUR, START + HOUR, START + HOUR - MINUTE, START,
        START + 400 * DAY, START + 1, START - HOUR + 1, 0, -5, INT64_MIN, INT64_MAX, START + 2};
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(times); i++)
            assert_int_equal(tick(both.history, times[i], "a", (double)i), 0);
    }
    range(both.history, "a", START, START + MINUTE, 0, &points);
    assert_int_equal(points.count, 1);
    /* Rows went while the clock was ahead: what came after is there. */
    assert_in_range(points.items[0].samples, 1, 12);
    close_both(&both);
    both = open_both(&directory, DAY);
    range(both.history, "a", START, START + MINUTE, 0, &points);
    assert_int_equal(points.count, 1);
    assert_int_equal(store_verify(both.store, NULL), 0);
    close_both(&both);
}

static void jump_back_merges(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    for (int i = 0; i < 120; i++)
        tick(both.history, START + i * SECOND, "a", 10);
    for (int i = 0; i < 120; i++)
        tick(both.history, START + i * SECOND, "a", 20);
    range(both.history, "a", START, START + HOUR, 0, &points);
    assert_int_equal(points.count, 2);
    for (int m = 0; m < 2; m++) {
        assert_int_equal(points.items[m].samples, 120);
        assert_true(points.items[m].mean.cpu_percent == 15);
    }
    close_both(&both);
}

static int64_t count_rows(const struct temporary *directory, const char *table)
{
    char path[128], sql[64];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof(path), "%s/history.db", directory->path);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return count;
}

/* Ten days at a tick per minute: a merged row stands for 60 hours then. */
static void old_rows_go(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = {0};
    const struct store_options options = {.directory = directory.path};
    const struct history_options keep = {.keep_raw_ns = (uint64_t)DAY,
        .keep_minutes_ns = 7 * (uint64_t)DAY,
        .keep_hours_ns = 8 * (uint64_t)DAY,
        .keep_days_ns = 9 * (uint64_t)DAY};
    assert_int_equal(store_open(&options, &both.store, NULL), 0);
    assert_int_equal(history_open(both.store, &keep, &both.history, NULL), 0);
    for (int m = 0; m < 20 * 24 * 60; m++) {
        char name[32];
        snprintf(name, sizeof(name), "short-%d", m / 2000);
        struct ac_usage usage = cpu(m % 7);
        const struct history_row rows[] = {
            {.subject = name, .usage = &usage}, {.subject = "long", .usage = &usage}};
        assert_int_equal(history_tick(both.history, START + m * MINUTE, rows, 2, NULL), 0);
    }
    /* One merged row of 60 hours and what is open; minutes of 7 days are three. */
    assert_in_range(count_rows(&directory, "merged"), 0, 1);
    assert_in_range(count_rows(&directory, "minute"), 2, 4);
    assert_in_range(count_rows(&directory, "hour"), 3, 5);
    assert_in_range(count_rows(&directory, "frame"), CHUNK, 2 * CHUNK + 200);
    assert_in_range(count_rows(&directory, "subject"), 2, 12);
    points.count = 0;
    range(both.history, "long", START + 14 * DAY, INT64_MAX, HOUR, &points);
    assert_in_range(points.count, 6 * 24 - 1, 6 * 24);
    assert_int_equal(history_verify(both.history, NULL, NULL, NULL), 0);
    close_both(&both);
}

static int note(void *userdata, const struct history_subject *subject)
{
    strcat(userdata, subject->name);
    strcat(userdata, ";");
    return strlen(userdata) > 80 ? 7 : 0;
}

static void subjects_of_a_span(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    char names[100] = "";
    tick(both.history, START, "a", 1);
    tick(both.history, START + MINUTE, "b", 1);
    tick(both.history, START + 2 * MINUTE, "", 1);
    tick(both.history, START + 2 * MINUTE, "b", 1);
    tick(both.history, START + 3 * MINUTE, "c", 1);
    tick(both.history, START + 3 * MINUTE, "a", 1);
    history_subjects(both.history, HISTORY_ANYBODY, START, START + HOUR, 10, note, names, NULL);
    assert_string_equal(names, ";a;b;c;");
    *names = 0;
    history_subjects(
        both.history, HISTORY_ANYBODY, START + MINUTE, START + 2 * MINUTE, 10, note, names, NULL);
    assert_string_equal(names, "a;b;"); /* a is away for the moment */
    *names = 0;
    history_subjects(
        both.history, HISTORY_ANYBODY, START + 3 * MINUTE, START + HOUR, 10, note, names, NULL);
    assert_string_equal(names, "a;c;");
    *names = 0;
    history_subjects(both.history, HISTORY_ANYBODY, START, START + HOUR, 2, note, names, NULL);
    assert_string_equal(names, ";a;");
    close_both(&both);
}

static void no_store_keeps_nothing(void **state)
{
    (void)state;
    const struct history_options options = {.keep_minutes_ns = (uint64_t)DAY};
    struct history *history;
    char names[100] = "";
    assert_int_equal(history_open(NULL, &options, &history, NULL), 0);
    assert_int_equal(tick(history, START, "a", 1), 0);
    assert_int_equal(tick(history, START + MINUTE, "a", 1), 0);
    range(history, "a", 0, INT64_MAX, 0, &points);
    assert_int_equal(points.count, 0);
    assert_int_equal(
        history_subjects(history, HISTORY_ANYBODY, 0, INT64_MAX, 10, note, names, NULL), 0);
    assert_string_equal(names, "");
    history_close(history);
    history_close(NULL);
}

static void full_disk_leaves_a_gap(void **state)
{
    (void)state;
    enum { AGENTS = 300 };
    struct temporary directory cleanup_directory = temporary_make();
    struct both both = open_both(&directory, DAY);
    struct ac_usage usages[AGENTS];
    struct history_row rows[AGENTS] = {0};
    static char names[AGENTS][32];
    struct rlimit saved, limit;
    struct ac_error error = {0};
    struct history_status status;
    int at = 0, failed = 0;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    limit = saved;
    limit.rlim_cur = 400000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (; at < 5000 && failed < 3; at++) {
        for (int i = 0; i < AGENTS; i++) {
            snprintf(names[i], sizeof(names[i]), "agent-%d", i);
            usages[i] = cpu(at * 31 % (i + 1));
            rows[i] = (struct history_row){.subject = names[i], .usage = &usages[i]};
        }
        int r = history_tick(both.history, START + at * SECOND, rows, AGENTS, &error);
        failed += r < 0;
        if (r < 0)
            assert_int_equal(r, -ENOSPC);
    }
    assert_int_equal(failed, 3);
    history_status(both.history, &status);
    assert_int_equal(status.last_error, -ENOSPC);
    assert_true(status.failing_since_ns > START && status.failed_ticks == 3);
    /* What was committed can be asked for, and with space it goes on by itself. */
    points = (struct points){0};
    range(both.history, "agent-7", START / DAY * DAY, START + DAY, DAY, &points);
    assert_int_equal(points.items[0].samples, at - 3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(history_tick(both.history, START + at * SECOND, rows, AGENTS, &error), 0);
    history_status(both.history, &status);
    assert_true(status.last_error == 0 && status.failing_since_ns == 0);
    range(both.history, "agent-7", START / DAY * DAY, START + DAY, DAY, &points);
    assert_int_equal(points.items[0].samples, at + 1 - 3);
    assert_int_equal(history_verify(both.history, NULL, NULL, NULL), 0);
    close_both(&both);
    both = open_both(&directory, DAY);
    range(both.history, "agent-7", START / DAY * DAY, START + DAY, DAY, &points);
    assert_int_equal(points.items[0].samples, at + 1 - 3);
    close_both(&both);
}

static int work(const struct temporary *directory)
{
    struct both both = {0};
    struct ac_error error = {0};
    char names[100] = "";
    const struct store_options options = {.directory = directory->path};
    const struct history_options keep = {.keep_minutes_ns = (uint64_t)HOUR};
    struct ac_usage usage = cpu(5);
    const struct history_row rows[] = {
        {.subject = "a", .usage = &usage}, {.subject = "b", .usage = &usage}};
    int r = store_open(&options, &both.store, &error);
    if (r == 0)
        r = history_open(both.store, &keep, &both.history, &error);
    for (int m = 0; r == 0 && m < 3; m++)
        r = history_tick(both.history, START + m * MINUTE, rows, 2, &error);
    points.count = 0;
    if (r == 0)
        r = history_range(both.history, "a", 0, INT64_MAX, 0, 10, see, &points, &error);
    if (r == 0)
        r = history_subjects(both.history, HISTORY_ANYBODY, 0, INT64_MAX, 10, note, names, &error);
    close_both(&both);
    if (r != error.code)
        fail_msg("%d but %d: %s", r, error.code, error.message);
    return r;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct temporary directory cleanup_directory = temporary_make();
        fault_arm(FAULT_ALLOC, n);
        int r = work(&directory);
        bool hit = fault_disarm();
        assert_true(r == 0 || (hit && r == -ENOMEM));
        failures += r < 0;
        if (n % 8 == 1) {
            assert_int_equal(work(&directory), 0);
            assert_int_equal(points.count, 3);
        }
        if (!hit)
            break;
    }
    assert_true(failures > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minutes_are_folded),
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(unknown_is_not_zero),
        cmocka_unit_test(hostile_values_are_tamed),
        cmocka_unit_test(ranges_equal_a_plain_search),
        cmocka_unit_test(extreme_ranges_are_harmless),
        cmocka_unit_test(ranges_end_when_told),
        cmocka_unit_test(partial_minute_survives_a_restart),
        cmocka_unit_test(clock_that_jumps_is_harmless),
        cmocka_unit_test(jump_back_merges),
        cmocka_unit_test(old_rows_go),
        cmocka_unit_test(subjects_of_a_span),
        cmocka_unit_test(no_store_keeps_nothing),
        cmocka_unit_test(full_disk_leaves_a_gap),
        cmocka_unit_test(every_allocation_may_fail),
    };
    temporary_inject_sqlite();
    return cmocka_run_group_tests_name("store/history", tests, NULL, NULL);
}
