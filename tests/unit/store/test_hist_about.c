/* SPDX-License-Identifier: Apache-2.0 */
/* What history keeps of agents besides their usage: philosophy and labels, after they are gone. */
#include <errno.h>
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

static struct history *open_history(const struct temporary *directory, bool background)
{
    struct history *history;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory->path, .background = background};
    if (history_open(NULL, &options, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

/* @about "" = nothing known, else the philosophy's number and "key=value" each, with spaces. */
static void owned_tick(
    struct history *history, int second, const char *name, int64_t owner, const char *about)
{
    struct agent_spec spec = {0};
    struct ac_usage usage;
    struct ac_error error = {0};
    char text[256], *saved = NULL;
    ac_usage_init(&usage);
    usage.cpu_cores = 1;
    usage.known = AC_KNOWN_CPU_CORES;
    snprintf(text, sizeof(text), "%s", about);
    char *word = strtok_r(text, " ", &saved);
    spec.philosophy = word ? (enum ac_philosophy)atoi(word) : AC_REACT;
    while (word && (word = strtok_r(NULL, " ", &saved))) {
        char *value = strchr(word, '=');
        *value++ = 0;
        assert_int_equal(agent_spec_set_label(&spec, word, value, NULL), 0);
    }
    const struct history_row row = {.subject = name,
        .usage = &usage,
        .about = {.known = *about != 0,
            .philosophy = spec.philosophy,
            .labels = spec.labels,
            .labels_size = spec.labels_size,
            .owner = owner}};
    if (history_tick(history, START + second * SECOND, &row, 1, &error) != 0)
        fail_msg("%s", error.message);
}

static void tick(struct history *history, int second, const char *name, const char *about)
{
    owned_tick(history, second, name, HISTORY_UNOWNED, about);
}

static int describe(void *userdata, const struct history_subject *subject)
{
    struct buf *out = userdata;
    size_t cursor = 0;
    const char *key, *value;
    buf_append_str(out, subject->name);
    if (subject->about.known)
        buf_printf(out, ":%d", (int)subject->about.philosophy);
    while (subject->about.known && (key = agent_labels_next(subject->about.labels,
                                        subject->about.labels_size, &cursor, &value)))
        buf_printf(out, " %s=%s", key, value);
    buf_append_str(out, ";");
    return out->failed ? -ENOMEM : 0;
}

static void expect(struct history *history, const char *wanted)
{
    struct buf out CLEANUP(buf_done) = {0};
    assert_int_equal(history_flush(history, NULL), 0);
    assert_int_equal(
        history_subjects(history, HISTORY_ANYBODY, 0, INT64_MAX, 100, describe, &out, NULL), 0);
    assert_string_equal(out.data, wanted);
}

static void labels_outlive_the_agent(void **state)
{
    (void)state;
    for (int background = 0; background < 2; background++) {
        struct temporary directory CLEANUP(temporary_done) = temporary_make();
        struct history *history = open_history(&directory, background);
        tick(history, 0, "", "");
        tick(history, 1, "a", "2 team=web stage=");
        expect(history, ";a:2 team=web stage=;");
        tick(history, 2, "b", "0");
        tick(history, 3, "c", "");
        history_close(history);
        history = open_history(&directory, background);
        expect(history, ";a:2 team=web stage=;b:0;c;");
        tick(history, 4, "b", "0");
        tick(history, 5, "", "");
        expect(history, ";a:2 team=web stage=;b:0;c;");
        history_close(history);
    }
}

static void the_last_known_labels_count(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory, false);
    tick(history, 0, "a", "1 team=web");
    tick(history, 1, "a", "1 team=core");
    tick(history, 2, "b", "");
    expect(history, "a:1 team=core;b;");
    tick(history, 3, "a", "");
    tick(history, 4, "b", "3 x=y");
    expect(history, "a:1 team=core;b:3 x=y;");
    tick(history, 5, "b", "3");
    history_close(history);
    history = open_history(&directory, false);
    expect(history, "a:1 team=core;b:3;");
    tick(history, 6, "a", "1 team=web");
    expect(history, "a:1 team=web;b:3;");
    history_close(history);
}

#define CROWD 300

/* A tick of agents [from, to), all of this philosophy, with their number as label. */
static void crowd(struct history *history, int second, int from, int to, int philosophy)
{
    static char names[CROWD][16];
    static struct agent_spec specs[CROWD];
    static struct history_row rows[CROWD];
    struct ac_usage usage;
    struct ac_error error = {0};
    ac_usage_init(&usage);
    for (int i = from; i < to; i++) {
        snprintf(names[i], sizeof(names[i]), "crowd-%d", i);
        specs[i] = (struct agent_spec){0};
        assert_int_equal(agent_spec_set_label(&specs[i], "number", names[i] + 6, NULL), 0);
        rows[i] = (struct history_row){.subject = names[i],
            .usage = &usage,
            .about = {.known = true,
                .philosophy = (enum ac_philosophy)philosophy,
                .labels = specs[i].labels,
                .labels_size = specs[i].labels_size}};
    }
    if (history_tick(history, START + second * SECOND, rows + from, (size_t)(to - from), &error) !=
        0)
        fail_msg("%s", error.message);
}

struct expected {
    int count;
    int changed; /* those below have philosophy 2 */
};

static int check_one(void *userdata, const struct history_subject *subject)
{
    struct expected *expected = userdata;
    int number = atoi(subject->name + strlen("crowd-"));
    size_t cursor = 0;
    const char *value = NULL;
    assert_true(subject->about.known);
    assert_int_equal(subject->about.philosophy, number < expected->changed ? 2 : 1);
    assert_string_equal(
        agent_labels_next(subject->about.labels, subject->about.labels_size, &cursor, &value),
        "number");
    assert_int_equal(atoi(value), number);
    expected->count++;
    return 0;
}

/* Many agents at once, and again when what is known of them changes. */
static void crowds_are_kept(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory, false);
    crowd(history, 0, 0, 5, 1);
    crowd(history, 1, 0, 200, 1); /* three batches and a rest */
    crowd(history, 2, 0, 130, 2);
    crowd(history, 3, 100, 130, 2);
    crowd(history, 4, 200, 200 + 64, 1);
    for (int again = 0; again < 2; again++) {
        struct expected expected = {.changed = 130};
        struct history_usage usage;
        assert_int_equal(history_subjects(history, HISTORY_ANYBODY, 0, INT64_MAX, 1000, check_one,
                             &expected, NULL),
            0);
        assert_int_equal(expected.count, 264);
        for (int i = 0; i < 264; i += 13) {
            char name[16];
            snprintf(name, sizeof(name), "crowd-%d", i);
            assert_int_equal(
                history_usage(history, &(const struct history_whose){name, HISTORY_ANYBODY}, START,
                    INT64_MAX, &usage, NULL, NULL),
                0);
            assert_int_equal(
                usage.samples, i >= 200 ? 1 : 1 + (i < 5) + (i < 130) + (i >= 100 && i < 130));
        }
        assert_int_equal(history_verify(history, NULL, NULL, NULL), 0);
        history_close(history);
        history = open_history(&directory, false);
    }
    history_close(history);
}

/* An agent that lost its slot to another one and comes back. */
static void slots_change_hands(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory, false);
    tick(history, 0, "old", "3 team=web");
    for (int i = 1; i < 2000; i++)
        tick(history, i, "other", "0 team=core");
    struct history_status status;
    history_status(history, &status);
    assert_int_equal(status.subjects, 1);
    tick(history, 2000, "new", "1");
    tick(history, 2001, "old", "");
    expect(history, "new:1;old:3 team=web;other:0 team=core;");
    tick(history, 2002, "old", "3 team=app");
    expect(history, "new:1;old:3 team=app;other:0 team=core;");
    history_close(history);
}

static bool is_web(void *userdata, const struct history_subject *subject)
{
    size_t cursor = 0;
    const char *key, *value;
    (*(int *)userdata)++;
    key = agent_labels_next(subject->about.labels, subject->about.labels_size, &cursor, &value);
    return subject->about.known && key && strcmp(value, "web") == 0;
}

static void top_is_filtered_by_them(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(&directory, false);
    struct history_top_row rows[10];
    int asked = 0;
    for (int i = 0; i < 120; i++) {
        tick(history, 3 * i, "a", "2 team=web");
        tick(history, 3 * i + 1, "b", "2 team=core");
        tick(history, 3 * i + 2, "c", "");
    }
    assert_int_equal(history_top(history, AC_CPU, HISTORY_MEAN, START, START + 400 * SECOND, 10,
                         is_web, &asked, rows, NULL, NULL),
        1);
    assert_string_equal(rows[0].subject, "a");
    assert_int_equal(asked, 3);
    history_close(history);
}

/* Also what was written before labels were kept: a philosophy of 0 and no labels. */
static void what_makes_no_sense_is_not_known(void **state)
{
    static const char *const rows[] = {"philosophy = 0, labels = NULL",
        "philosophy = NULL, labels = NULL", "philosophy = 99", "philosophy = -1",
        "labels = x'6100'", "labels = x'610062'", "labels = zeroblob(2000)"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct temporary directory CLEANUP(temporary_done) = temporary_make();
        struct history *history = open_history(&directory, false);
        char sql[100];
        tick(history, 0, "a", "2 team=web");
        history_close(history);
        snprintf(sql, sizeof(sql), "UPDATE subject SET %s", rows[i]);
        temporary_history_sql(&directory, sql);
        history = open_history(&directory, false);
        expect(history, "a;");
        tick(history, 1, "a", "2 team=web");
        expect(history, "a:2 team=web;");
        history_close(history);
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (int nth = 1;; nth++) {
        struct temporary directory CLEANUP(temporary_done) = temporary_make();
        struct history *history = open_history(&directory, false);
        struct ac_usage usage;
        ac_usage_init(&usage);
        const struct history_row row = {.subject = "a",
            .usage = &usage,
            .about = {
                .known = true, .philosophy = AC_COT, .labels = "team\0web", .labels_size = 9}};
        fault_arm(FAULT_ALLOC, (unsigned)nth);
        int r = history_tick(history, START, &row, 1, NULL);
        bool failed = fault_disarm();
        assert_true(r == 0 || (failed && r == -ENOMEM)); /* figures of the status may be missing */
        assert_int_equal(history_tick(history, START + SECOND, &row, 1, NULL), 0);
        expect(history, "a:1 team=web;");
        history_close(history);
        if (!failed)
            break;
    }
}

int main(void)
{
    temporary_inject_sqlite();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_outlive_the_agent),
        cmocka_unit_test(the_last_known_labels_count),
        cmocka_unit_test(crowds_are_kept),
        cmocka_unit_test(slots_change_hands),
        cmocka_unit_test(top_is_filtered_by_them),
        cmocka_unit_test(what_makes_no_sense_is_not_known),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
