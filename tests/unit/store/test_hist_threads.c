/* SPDX-License-Identifier: Apache-2.0 */
/* Queries beside a history that records on a thread of its own: they see a prefix, they do not
 * wait for each other, and they can be cancelled. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND   INT64_C(1000000000)
#define START_NS (INT64_C(1700000040) * SECOND)
#define AGENTS   20
#define TICKS    400
#define READERS  3

struct fixture {
    struct temporary directory;
    struct history *history;
    atomic_bool over;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct ac_error error = {0};
    f->directory = temporary_make();
    const struct history_options options = {.directory = f->directory.path, .background = true};
    assert_int_equal(history_open(NULL, &options, &f->history, &error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    history_close(f->history);
    temporary_done(&f->directory);
    free(f);
    return 0;
}

/* Agent a has a * 1000 + t open files at tick t. */
static void feed(struct fixture *f, int t)
{
    struct ac_usage usages[AGENTS];
    char names[AGENTS][24];
    struct history_row rows[AGENTS] = {0};
    struct ac_error error = {0};
    for (int a = 0; a < AGENTS; a++) {
        ac_usage_init(&usages[a]);
        usages[a].file_descriptors = (uint64_t)(a * 1000 + t);
        usages[a].known = AC_KNOWN_FILE_DESCRIPTORS;
        snprintf(names[a], sizeof(names[a]), "agent-%d", a);
        rows[a] = (struct history_row){.subject = names[a], .usage = &usages[a]};
    }
    int r = history_tick(f->history, START_NS + t * SECOND, rows, AGENTS, &error);
    while (r == -EAGAIN) {
        assert_int_equal(history_flush(f->history, &error), 0);
        r = history_tick(f->history, START_NS + t * SECOND, rows, AGENTS, &error);
    }
    assert_int_equal(r, 0);
}

struct prefix {
    int agent, ticks;
};

static int check_prefix(void *userdata, const struct history_point *point)
{
    struct prefix *prefix = userdata;
    if (point->from_ns != START_NS + prefix->ticks * SECOND ||
        point->mean.file_descriptors != (uint64_t)(prefix->agent * 1000 + prefix->ticks))
        return -EBADMSG;
    prefix->ticks++;
    return 0;
}

static void *read_on(void *userdata)
{
    struct fixture *f = userdata;
    struct history_top_row top[3];
    struct history_status status;
    struct history_tier tiers[HISTORY_TIERS];
    struct ac_error error = {0};
    int before = 0;
    intptr_t result = 0;
    for (int turn = 0; result == 0 && !atomic_load(&f->over); turn++) {
        struct prefix prefix = {.agent = turn % AGENTS};
        char name[24];
        snprintf(name, sizeof(name), "agent-%d", prefix.agent);
        int r = history_range(f->history, name, START_NS, START_NS + TICKS * SECOND, 0, TICKS,
            check_prefix, &prefix, &error);
        if (r < 0 || prefix.ticks < before) /* what was there once stays there */
            result = 1;
        before = prefix.ticks;
        if (history_top(f->history, AC_FILE_DESCRIPTORS, HISTORY_MAX, START_NS,
                START_NS + TICKS * SECOND, 3, NULL, NULL, top, NULL, &error) < 0)
            result = 2;
        history_status(f->history, &status);
        if (history_tiers(f->history, tiers, &error) < 0 || status.ticks > TICKS)
            result = 3;
        if (turn % 16 == 0 && history_verify(f->history, NULL, NULL, &error) != 0)
            result = 4;
    }
    return (void *)result;
}

static void test_queries_beside_recording(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[READERS];
    struct history_status status;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, f), 0);
    for (int t = 0; t < TICKS; t++)
        feed(f, t);
    assert_int_equal(history_flush(f->history, NULL), 0);
    atomic_store(&f->over, true);
    for (int i = 0; i < READERS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    history_status(f->history, &status);
    assert_int_equal(status.ticks, TICKS);
    assert_int_equal(status.waiting_ticks, 0);
    assert_true(status.commit_sum_ns >= status.commit_max_ns);
    assert_true(status.commit_max_ns >= status.commit_last_ns && status.commit_last_ns > 0);
    assert_true(status.file_bytes > 0 && status.memory_bytes > 0);
}

/* A receiver that itself asks, while its own query goes on: neither waits for the other. */
static int ask_within(void *userdata, const struct history_point *point)
{
    struct fixture *f = userdata;
    struct prefix prefix = {.agent = 2};
    (void)point;
    int r = history_range(f->history, "agent-2", START_NS, START_NS + TICKS * SECOND, 0, TICKS,
        check_prefix, &prefix, NULL);
    return r < 0 ? r : prefix.ticks;
}

static void test_queries_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    for (int t = 0; t < 10; t++)
        feed(f, t);
    assert_int_equal(history_flush(f->history, NULL), 0);
    assert_int_equal(history_range(f->history, "agent-1", START_NS, START_NS + TICKS * SECOND, 0,
                         TICKS, ask_within, f, NULL),
        10);
}

static int never(void *userdata, const struct history_subject *subject)
{
    (void)userdata;
    (void)subject;
    return 0;
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    atomic_bool cancel = true;
    struct prefix prefix = {.agent = 1};
    struct history_top_row top[3];
    struct history_tier tiers[HISTORY_TIERS];
    struct ac_error error = {0};
    int64_t end = START_NS + TICKS * SECOND;
    for (int t = 0; t < TICKS; t++)
        feed(f, t);
    assert_int_equal(history_flush(f->history, NULL), 0);
    history_cancel_by(&cancel);
    assert_int_equal(history_verify(f->history, NULL, NULL, &error), -ECANCELED);
    assert_string_equal(error.message, "the query was cancelled");
    assert_int_equal(history_top(f->history, AC_FILE_DESCRIPTORS, HISTORY_MAX, START_NS, end, 3,
                         NULL, NULL, top, NULL, &error),
        -ECANCELED);
    history_cancel_by(NULL);
    assert_int_equal(history_range(f->history, "agent-1", START_NS, end, 0, TICKS, check_prefix,
                         &prefix, &error),
        0);
    assert_int_equal(prefix.ticks, TICKS);
    assert_int_equal(
        history_subjects(f->history, HISTORY_ANYBODY, START_NS, end, 100, never, NULL, &error), 0);
    assert_int_equal(history_tiers(f->history, tiers, &error), 0);
    assert_true(tiers[HISTORY_RAW].rows > 0 && tiers[HISTORY_DAYS].rows == 0);
    assert_true(tiers[HISTORY_RAW].oldest_ns == START_NS);
    assert_int_equal(tiers[HISTORY_DAYS].oldest_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queries_beside_recording, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queries_do_not_wait_for_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
