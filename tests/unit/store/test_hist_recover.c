/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the open chunks back from frames: whole, damaged, missing, with the last one gone. What
 * is read is what was there, or a gap, never something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <sqlite3.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND   INT64_C(1000000000)
#define START_NS (INT64_C(1700000040) * SECOND)
#define AGENTS   1040 /* two blocks */
#define TICKS    500
#define CORES    0.25

static struct history *open_in(const char *directory)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory};
    if (history_open(NULL, &options, &history, &error) < 0)
        fail_msg("%s", error.message);
    return history;
}

/* Agent a is there in all ticks but (a = 3) every other hundred; memory moves with time, the
 * rest stays as it is. */
static bool is_there(int a, int t)
{
    return a != 3 || t / 100 % 2 == 0;
}

static void feed(struct history *history, int from, int to)
{
    static struct ac_usage usages[AGENTS];
    static char names[AGENTS][24];
    static struct history_row rows[AGENTS];
    struct ac_error error = {0};
    for (int t = from; t < to; t++) {
        size_t n = 0;
        for (int a = 0; a < AGENTS; a++) {
            ac_usage_init(&usages[a]);
            usages[a].file_descriptors = (uint64_t)a;
            usages[a].memory_mb = a % 16 == 0 ? t : 5;
            usages[a].cpu_cores = CORES;
            usages[a].known = AC_KNOWN_FILE_DESCRIPTORS | AC_KNOWN_MEMORY_MB | AC_KNOWN_CPU_CORES;
            snprintf(names[a], sizeof(names[a]), "agent-%d", a);
            if (is_there(a, t))
                rows[n++] = (struct history_row){.subject = names[a], .usage = &usages[a]};
        }
        if (history_tick(history, START_NS + t * SECOND, rows, n, &error) < 0)
            fail_msg("%s", error.message);
    }
}

struct seen {
    int agent;
    int count;
    int first_after; /* the first tick behind the gap, -1 = none */
    int last;
};

static int see(void *userdata, const struct history_point *point)
{
    struct seen *seen = userdata;
    int t = (int)((point->from_ns - START_NS) / SECOND);
    assert_true(is_there(seen->agent, t));
    assert_int_equal(point->mean.file_descriptors, seen->agent);
    assert_true(point->mean.memory_mb == (seen->agent % 16 == 0 ? t : 5));
    assert_true(point->mean.cpu_cores == CORES);
    assert_true(t > seen->last);
    if (t != seen->last + 1)
        seen->first_after = t;
    seen->last = t;
    seen->count++;
    return 0;
}

static struct seen look(struct history *history, int agent)
{
    char name[24];
    struct seen seen = {.agent = agent, .last = -1, .first_after = -1};
    struct ac_error error = {0};
    snprintf(name, sizeof(name), "agent-%d", agent);
    if (history_range(
            history, name, START_NS, START_NS + 86400 * SECOND, 0, 1000000, see, &seen, &error) < 0)
        fail_msg("%s", error.message);
    return seen;
}

static double cpu_seconds(struct history *history, int agent)
{
    char name[24];
    struct history_usage usage;
    snprintf(name, sizeof(name), "agent-%d", agent);
    assert_int_equal(history_usage(history, &(const struct history_whose){name, HISTORY_ANYBODY},
                         START_NS, START_NS + 86400 * SECOND, &usage, NULL, NULL),
        0);
    return usage.cpu_seconds;
}

static void note_finding(void *userdata, const char *text)
{
    (void)userdata;
    print_message("# %s\n", text);
}

/* A damaged frame is told until it would have been trimmed. */
static void verify(struct history *history, int findings)
{
    assert_int_equal(history_verify(history, note_finding, NULL, NULL), findings);
}

/* Every agent's ticks up to @end are there, or a stretch of at most @gap of them is missing. */
static void check_all(struct history *history, int end, int gap)
{
    int missing = 0;
    for (int a = 0; a < AGENTS; a += a < 20 ? 1 : 51) {
        struct seen seen = look(history, a);
        int expected = 0;
        for (int t = 0; t < end; t++)
            expected += is_there(a, t);
        assert_in_range(seen.count, MAX(expected - gap, 0), expected);
        missing += seen.count < expected;
        double cpu = cpu_seconds(history, a);
        /* The first tick of all has no length, nor has the first behind a loss. */
        if (cpu < (seen.count - 2) * CORES - 0.01 || cpu > expected * CORES + 0.01)
            fail_msg("agent %d: %d ticks of %d, %f s", a, seen.count, expected, cpu);
    }
    assert_true((missing > 0) == (gap > 0));
}

static void whole_frames_come_back(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    for (int t = 0; t < 1500; t += 150) { /* also where chunks were closed meanwhile */
        struct history *history = open_in(directory.path);
        feed(history, t, t + 150);
        history_close(history);
    }
    struct history *history = open_in(directory.path);
    check_all(history, 1500, 0);
    verify(history, 0);
    history_close(history);
}

/* The chunks that are open lose what they hold until then; all is known again from the next key
 * block on, and until then nothing. */
static void lost_frames_leave_a_gap(void **state)
{
    (void)state;
    static const char *const losses[] = {
        "DELETE FROM frame WHERE seq = 390",
        "UPDATE frame SET data = substr(data, 1, 60) || x'55' || substr(data, 62) WHERE seq = 390",
        "UPDATE frame SET data = substr(data, 1, length(data) - 1) WHERE seq = 390",
        "UPDATE frame SET data = x'' WHERE seq = 390",
    };
    for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
        struct temporary directory CLEANUP(temporary_done) = temporary_make();
        struct history *history = open_in(directory.path);
        feed(history, 0, TICKS);
        history_close(history);
        temporary_history_sql(&directory, losses[i]);
        history = open_in(directory.path);
        struct history_status status;
        history_status(history, &status);
        assert_int_equal(status.damaged, i > 0);
        check_all(history, TICKS, 120);
        verify(history, i > 0);
        struct seen before = look(history, 30);
        assert_in_range(before.first_after, 391, TICKS);
        /* What stays as it is across the restart is still known. */
        feed(history, TICKS, TICKS + 300);
        check_all(history, TICKS + 300, 120);
        assert_int_equal(look(history, 30).count, before.count + 300);
        history_close(history);
        history = open_in(directory.path);
        assert_int_equal(look(history, 30).count, before.count + 300);
        history_close(history);
    }
}

static void a_lost_last_frame_costs_its_tick(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_in(directory.path);
    feed(history, 0, 100);
    history_close(history);
    temporary_history_sql(&directory, "UPDATE frame SET data = x'01' WHERE seq = 99");
    history = open_in(directory.path);
    feed(history, 100, 200);
    for (int again = 0; again < 2; again++) {
        for (int a = 0; a < AGENTS; a += 77)
            assert_int_equal(look(history, a).count, 199);
        verify(history, 1);
        history_close(history);
        history = open_in(directory.path);
    }
    history_close(history);
}

/* The first frame of all that are kept: totals of what came before are not counted again. */
static void a_lost_first_frame_invents_no_usage(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_in(directory.path);
    feed(history, 0, 1400);
    history_close(history);
    temporary_history_sql(&directory, "UPDATE frame SET data = x'' WHERE seq ="
                                      " (SELECT min(seq) + 110 FROM frame)");
    history = open_in(directory.path);
    feed(history, 1400, 1700);
    check_all(history, 1700, 120);
    verify(history, 0); /* the frame was trimmed meanwhile */
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_frames_come_back),
        cmocka_unit_test(lost_frames_leave_a_gap),
        cmocka_unit_test(a_lost_last_frame_costs_its_tick),
        cmocka_unit_test(a_lost_first_frame_invents_no_usage),
    };
    return cmocka_run_group_tests_name("hist_recover", tests, NULL, NULL);
}
