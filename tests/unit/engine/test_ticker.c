/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/ticker.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

/* What the callbacks share with the test: counts under a lock, with a wake-up. */
struct probe {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned measured, committed, timeouts, failures, busy;
    bool hang; /* measure() waits while this is set */
    int result;
    struct ticker *stop_me; /* commit() stops it */
};

static void probe_init(struct probe *probe)
{
    *probe = (struct probe){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static int probe_measure(void *userdata, struct ac_usage *ret_usage)
{
    struct probe *probe = userdata;
    pthread_mutex_lock(&probe->lock);
    probe->measured++;
    pthread_cond_broadcast(&probe->changed);
    while (probe->hang)
        pthread_cond_wait(&probe->changed, &probe->lock);
    int result = probe->result;
    pthread_mutex_unlock(&probe->lock);
    ret_usage->cpu_percent = 42;
    ret_usage->known = AC_KNOWN_CPU_PERCENT;
    return result;
}

static void probe_commit(void *userdata, int result, const struct ac_usage *usage)
{
    struct probe *probe = userdata;
    pthread_mutex_lock(&probe->lock);
    probe->committed++;
    probe->timeouts += result == -ETIMEDOUT;
    probe->busy += result == -EBUSY;
    probe->failures += result == -EIO;
    if (result == 0)
        assert_true(usage->cpu_percent == 42);
    else
        assert_null(usage);
    struct ticker *stop = probe->stop_me;
    probe->stop_me = NULL;
    pthread_cond_broadcast(&probe->changed);
    pthread_mutex_unlock(&probe->lock);
    if (stop)
        ticker_stop(stop);
}

static void wait_for(struct probe *probe, const unsigned *count, unsigned least)
{
    pthread_mutex_lock(&probe->lock);
    while (*count < least)
        pthread_cond_wait(&probe->changed, &probe->lock);
    pthread_mutex_unlock(&probe->lock);
}

static void set_hang(struct probe *probe, bool hang)
{
    pthread_mutex_lock(&probe->lock);
    probe->hang = hang;
    pthread_cond_broadcast(&probe->changed);
    pthread_mutex_unlock(&probe->lock);
}

static struct ticker *start(struct probe *probe, uint32_t timeout_ms)
{
    struct ticker_options options = {.measure = probe_measure,
        .measure_userdata = probe,
        .commit = probe_commit,
        .commit_userdata = probe,
        .interval_ms = 10,
        .timeout_ms = timeout_ms};
    struct ticker *ticker;
    assert_int_equal(ticker_start(&options, &ticker), 0);
    return ticker;
}

static void test_ticks_until_stopped(void **state)
{
    struct probe probe;
    (void)state;
    probe_init(&probe);
    struct ticker *ticker = start(&probe, 60000);
    wait_for(&probe, &probe.committed, 5);
    ticker_stop(ticker);
    unsigned committed = probe.committed;
    usleep(50000);
    assert_int_equal(probe.committed, committed);
    assert_int_equal(probe.timeouts, 0);
}

static void test_failure_is_committed_and_retried(void **state)
{
    struct probe probe;
    (void)state;
    probe_init(&probe);
    probe.result = -EIO;
    struct ticker *ticker = start(&probe, 60000);
    wait_for(&probe, &probe.failures, 3);
    ticker_stop(ticker);
}

static void test_hanging_call_is_left_behind(void **state)
{
    struct probe probe;
    (void)state;
    probe_init(&probe);
    probe.hang = true;
    struct ticker *ticker = start(&probe, 20);
    wait_for(&probe, &probe.timeouts, TICKER_HANGING_MAX);
    wait_for(&probe, &probe.busy, 1);
    assert_int_equal(ticker_hanging(ticker), TICKER_HANGING_MAX);
    assert_int_equal(probe.measured, TICKER_HANGING_MAX);

    /* They come back: their results are dropped, ticking goes on. */
    unsigned before = probe.committed - probe.timeouts - probe.busy;
    assert_int_equal(before, 0);
    set_hang(&probe, false);
    wait_for(&probe, &probe.measured, TICKER_HANGING_MAX + 3);
    ticker_stop(ticker);
}

static void test_stop_leaves_hanging_call(void **state)
{
    static struct probe probe; /* outlives the ticker, as the contract demands */
    (void)state;
    probe_init(&probe);
    probe.hang = true;
    struct ticker *ticker = start(&probe, 60000);
    wait_for(&probe, &probe.measured, 1);
    ticker_stop(ticker);
    assert_int_equal(probe.committed, 0);
    set_hang(&probe, false);
}

static void test_stop_from_commit(void **state)
{
    struct probe probe;
    (void)state;
    probe_init(&probe);
    pthread_mutex_lock(&probe.lock); /* no commit before stop_me is set */
    struct ticker *ticker = start(&probe, 60000);
    probe.stop_me = ticker;
    pthread_mutex_unlock(&probe.lock);
    wait_for(&probe, &probe.committed, 1);
    usleep(50000);
    assert_int_equal(probe.committed, 1);
}

static void test_many_starts_and_stops(void **state)
{
    struct probe probe;
    (void)state;
    probe_init(&probe);
    for (int i = 0; i < 200; i++)
        ticker_stop(start(&probe, 60000));
    ticker_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks_until_stopped),
        cmocka_unit_test(test_failure_is_committed_and_retried),
        cmocka_unit_test(test_hanging_call_is_left_behind),
        cmocka_unit_test(test_stop_leaves_hanging_call),
        cmocka_unit_test(test_stop_from_commit),
        cmocka_unit_test(test_many_starts_and_stops),
    };
    return cmocka_run_group_tests_name("ticker", tests, NULL, NULL);
}
