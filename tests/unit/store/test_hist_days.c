/* SPDX-License-Identifier: Apache-2.0 */
/* Days beside their hours: either gives the same answer, and nothing is counted by both. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "store/hist_db.h"
#include "store/hist_roll.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND  INT64_C(1000000000)
#define HOUR    (3600 * SECOND)
#define HOUR_MS INT64_C(3600000)
#define START   (INT64_C(1700000000) * SECOND)
#define HOURS   60
#define SAMPLES 60 /* of an hour */
#define SUBJECT 1

static void run_sql(const struct temporary *directory, const char *sql)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/history.db", directory->path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static struct history *open_history(const struct temporary *directory)
{
    struct history *history;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory->path};
    if (history_open(NULL, &options, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

/* A history whose first slot is that of "x" since 1970; its only tick is long after all hours. */
static void make_history(const struct temporary *directory)
{
    struct history *history = open_history(directory);
    struct ac_usage usage;
    ac_usage_init(&usage);
    const struct history_row row = {.subject = "x", .usage = &usage};
    assert_int_equal(history_tick(history, START + 2000 * HOUR, &row, 1, NULL), 0);
    history_close(history);
    run_sql(directory, "UPDATE tenure SET from_ms = 0");
}

/* ---- Rows by hand ------------------------------------------------------------------------ */

/* CPU of an hour, at first little, then more. */
static void make_hour(int hour, struct roll_record *record)
{
    static int64_t values[SAMPLES], present[SAMPLES], times[SAMPLES], cpu[SAMPLES], memory[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        values[i] = (hour * 7919 + i * 104729) % (100 + hour * 97);
        present[i] = 1;
        times[i] = START / 1000000 + hour * HOUR_MS + i * (HOUR_MS / SAMPLES);
        cpu[i] = memory[i] = 1;
    }
    const struct row_axis axis = {SAMPLES, times, cpu, memory};
    const struct row_section section = {
        .subject = SUBJECT, .n = SAMPLES, .present = present, .metrics = {[HIST_CPU] = values}};
    roll_add(record, &axis, &section);
}

static void put_row(struct hist_db *db, enum hist_series series, int first, int hours,
    const struct roll_record *record)
{
    struct buf body CLEANUP(buf_done) = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    struct row_builder builder CLEANUP(row_builder_done) = {0};
    int64_t start = START / 1000000 + first * HOUR_MS;
    int64_t times[2] = {start, start + hours * HOUR_MS - HOUR_MS / SAMPLES};
    int64_t capacity[2] = {1, 1};
    const struct row_axis axis = {2, times, capacity, capacity};
    const struct row_section section = {.subject = SUBJECT, .n = 2};
    struct ac_error error = {0};
    roll_encode(record, &body);
    assert_int_equal(row_add_body(&builder, &section, body.data, body.size), 0);
    assert_int_equal(row_finish(&builder, &axis, &bytes), 0);
    if (hist_series_put(db, series, 0, times[0], times[1], bytes.data, bytes.size, &error) < 0)
        fail_msg("%s", error.message);
}

static void put_rows(const struct temporary *directory, enum hist_series series)
{
    static struct roll_record record;
    struct hist_db db;
    struct ac_error error = {0};
    int each = series == SERIES_DAY ? 24 : 1;
    int fd = io_openat(AT_FDCWD, directory->path, O_RDONLY | O_DIRECTORY, 0);
    if (hist_db_open(fd, "test", NULL, false, false, &db, &error) < 0)
        fail_msg("%s", error.message);
    for (int first = 0; first + each <= HOURS; first += each) {
        roll_clear(&record);
        for (int hour = first; hour < first + each; hour++)
            make_hour(hour, &record);
        put_row(&db, series, first, each, &record);
    }
    hist_db_close(&db);
    close(fd);
}

static void drop_hours(const struct temporary *directory, int from, int to)
{
    char sql[160];
    snprintf(sql, sizeof(sql), "DELETE FROM hour WHERE id >= %lld AND id < %lld",
        (long long)(START / 1000000 + from * HOUR_MS), (long long)(START / 1000000 + to * HOUR_MS));
    run_sql(directory, sql);
}

/* ---- Questions --------------------------------------------------------------------------- */

static const struct history_whose whose = {"x", HISTORY_ANYBODY};

static double quantile(struct history *history, double q, int64_t from_ns, int64_t to_ns)
{
    double value = NAN;
    struct history_info info;
    assert_int_equal(
        history_quantile(history, AC_CPU, &whose, 1, q, from_ns, to_ns, &value, &info, NULL), 0);
    assert_int_equal(info.damaged, 0);
    return value;
}

static uint64_t samples(struct history *history, int from, int to)
{
    struct history_usage usage;
    assert_int_equal(
        history_usage(history, &whose, START + from * HOUR, START + to * HOUR, &usage, NULL, NULL),
        0);
    return usage.samples;
}

static int add_samples(void *userdata, const struct history_point *point)
{
    *(uint64_t *)userdata += point->samples;
    return 0;
}

static uint64_t samples_of_range(struct history *history)
{
    uint64_t count = 0;
    assert_int_equal(history_range(history, "x", 0, START + 1000 * HOUR, (uint64_t)(24 * HOUR),
                         1000, add_samples, &count, NULL),
        0);
    return count;
}

struct span {
    double from, to; /* hours */
};

static const struct span spans[] = {{0, HOURS}, {0, 24}, {-10, 24}, {-10, 100}, {1, 47}, {1, 48},
    {24, 48}, {24.4, 48}, {23.6, 48}, {20, 56}, {0, 47.9}, {0, 47.4}, {13, 31}, {47, 60}};
static const double ranks[] = {0, 0.05, 0.5, 0.95, 1};

static double ask(struct history *history, size_t span, size_t rank)
{
    return quantile(history, ranks[rank], START + (int64_t)(spans[span].from * HOUR),
        START + (int64_t)(spans[span].to * HOUR));
}

static void days_stand_for_their_hours(void **state)
{
    (void)state;
    static double wanted[ARRAY_SIZE(spans)][ARRAY_SIZE(ranks)];
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    make_history(&directory);
    put_rows(&directory, SERIES_HOUR);
    struct history *history = open_history(&directory);
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(ranks); k++) {
            wanted[i][k] = ask(history, i, k);
            assert_true(!isnan(wanted[i][k]));
        }
    }
    assert_int_equal(samples(history, 0, HOURS), HOURS * SAMPLES);
    history_close(history);

    put_rows(&directory, SERIES_DAY);
    for (int without = 0; without < 2; without++) {
        history = open_history(&directory);
        for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
            for (size_t k = 0; k < ARRAY_SIZE(ranks); k++) {
                bool whole = spans[i].from <= 24 && spans[i].to >= 48;
                if (!without || whole) /* the hours of the second day are not needed */
                    assert_true(ask(history, i, k) == wanted[i][k]);
            }
        }
        assert_int_equal(samples(history, 0, HOURS), (HOURS - without) * SAMPLES);
        history_close(history);
        drop_hours(&directory, 47, 48);
    }
    /* A clock that went back leaves hours that are in no day: only hours count then. */
    run_sql(&directory, "INSERT INTO meta VALUES ('number_5', 1)");
    history = open_history(&directory);
    assert_true(ask(history, 6, 4) < wanted[6][4]);
    history_close(history);
}

/* Hours go one by one, and their day stays. */
static void hours_that_go_are_counted_once(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    make_history(&directory);
    put_rows(&directory, SERIES_HOUR);
    put_rows(&directory, SERIES_DAY);
    struct history *history = open_history(&directory);
    double median = quantile(history, 0.5, START, START + HOURS * HOUR);
    history_close(history);
    for (int gone = 1; gone <= 48; gone += gone == 23 ? 1 : 2) {
        drop_hours(&directory, 0, gone);
        history = open_history(&directory);
        assert_int_equal(samples(history, 0, HOURS), HOURS * SAMPLES);
        assert_int_equal(samples_of_range(history), HOURS * SAMPLES);
        assert_true(quantile(history, 0.5, START, START + HOURS * HOUR) == median);
        history_close(history);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_stand_for_their_hours),
        cmocka_unit_test(hours_that_go_are_counted_once),
    };
    return cmocka_run_group_tests_name("hist_days", tests, NULL, NULL);
}
