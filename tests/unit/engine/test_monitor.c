/* SPDX-License-Identifier: Apache-2.0 */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fault.h"

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls, frees;
    struct ac_alert last;
    struct ac_monitor *acknowledge_on; /* handler calls back into the API */
};

#define SEEN_INIT                                                                                  \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                     \
    }

static void on_alert(void *userdata, const struct ac_alert *alert)
{
    struct seen *seen = userdata;
    pthread_mutex_lock(&seen->lock);
    seen->calls++;
    seen->last = *alert;
    struct ac_monitor *monitor = seen->acknowledge_on;
    seen->acknowledge_on = NULL;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
    if (monitor)
        assert_int_equal(ac_monitor_acknowledge(monitor, alert->alert_id), 0);
}

static void on_free(void *userdata)
{
    ((struct seen *)userdata)->frees++;
}

static struct ac_usage cpu(double percent)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_percent = percent;
    usage.known = AC_KNOWN_CPU_PERCENT;
    return usage;
}

static struct ac_monitor *make(uint32_t interval_ms, uint32_t timeout_ms)
{
    struct ac_monitor_options options;
    struct ac_monitor *monitor;
    ac_monitor_options_init(&options);
    options.check_interval_ms = interval_ms;
    options.provider_timeout_ms = timeout_ms;
    assert_int_equal(ac_monitor_new(&options, &monitor, NULL), 0);
    return monitor;
}

static int check(struct ac_monitor *monitor, double percent)
{
    struct ac_usage usage = cpu(percent);
    return ac_monitor_check(monitor, NULL, &usage);
}

static void test_one_alert_rises_and_falls(void **state)
{
    struct seen seen = SEEN_INIT;
    struct ac_alert *alerts;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    assert_int_equal(ac_monitor_on_alert(monitor, on_alert, &seen, on_free, NULL), 0);
    assert_int_equal(check(monitor, 50), 0);
    assert_int_equal(check(monitor, 76), 1);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.last.severity, AC_WARNING);
    for (int i = 0; i < 100; i++)
        assert_int_equal(check(monitor, 77), 0); /* once per transition, never per tick */
    assert_int_equal(check(monitor, 85), 1);
    assert_int_equal(seen.last.severity, AC_CRITICAL);
    assert_int_equal(ac_monitor_alerts(monitor, -1, &alerts), 1);
    assert_int_equal(alerts[0].severity, AC_CRITICAL);
    assert_int_equal(alerts[0].resource, AC_CPU);
    ac_free(alerts);
    assert_int_equal(ac_monitor_alerts(monitor, AC_WARNING, &alerts), 0);
    ac_free(alerts);
    assert_int_equal(check(monitor, 10), 1);
    assert_int_equal(seen.last.state, AC_ALERT_RESOLVED);
    assert_int_equal(ac_monitor_alerts(monitor, -1, &alerts), 0);
    ac_free(alerts);
    ac_monitor_free(monitor);
    assert_int_equal(seen.frees, 1);
}

static void test_acknowledge(void **state)
{
    struct seen seen = SEEN_INIT;
    struct ac_alert *alerts;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    ac_monitor_on_alert(monitor, on_alert, &seen, NULL, NULL);
    assert_int_equal(ac_monitor_acknowledge(monitor, "no-such"), -ENOENT);
    check(monitor, 78);
    assert_int_equal(ac_monitor_acknowledge(monitor, seen.last.alert_id), 0);
    assert_int_equal(ac_monitor_acknowledge(monitor, seen.last.alert_id), -EALREADY);
    assert_int_equal(ac_monitor_alerts(monitor, -1, &alerts), 0);
    ac_free(alerts);
    check(monitor, 90); /* worse: it comes back */
    assert_int_equal(ac_monitor_alerts(monitor, -1, &alerts), 1);
    ac_free(alerts);
    ac_monitor_free(monitor);
}

static void test_handler_calls_back(void **state)
{
    struct seen seen = SEEN_INIT;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    ac_monitor_on_alert(monitor, on_alert, &seen, NULL, NULL);
    seen.acknowledge_on = monitor;
    check(monitor, 78);
    assert_true(seen.last.acknowledged);
    assert_int_equal(seen.calls, 2); /* fired, acknowledged */
    ac_monitor_free(monitor);
}

static void test_handlers_are_capped_and_removed(void **state)
{
    struct seen seen = SEEN_INIT;
    uint64_t id = 0;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    for (int i = 0; i < 64; i++)
        assert_int_equal(ac_monitor_on_alert(monitor, on_alert, &seen, on_free, &id), 0);
    assert_int_equal(ac_monitor_on_alert(monitor, on_alert, &seen, on_free, &id), -ENOSPC);
    assert_int_equal(ac_monitor_remove_handler(monitor, id), 0);
    assert_int_equal(seen.frees, 1);
    assert_int_equal(ac_monitor_remove_handler(monitor, id), -ENOENT);
    check(monitor, 99);
    assert_int_equal(seen.calls, 63);
    ac_monitor_free(monitor);
    assert_int_equal(seen.frees, 64);
}

/* What frees a handler's userdata may call back, too: a destructor of a binding does. */
struct owner {
    struct ac_monitor *monitor;
    uint64_t other, self;
    bool removes_itself;
    unsigned frees;
};

static void owner_alert(void *userdata, const struct ac_alert *alert)
{
    struct owner *owner = userdata;
    (void)alert;
    if (owner->removes_itself)
        assert_int_equal(ac_monitor_remove_handler(owner->monitor, owner->self), 0);
}

static void owner_free(void *userdata)
{
    struct owner *owner = userdata;
    owner->frees++;
    assert_int_equal(ac_monitor_remove_handler(owner->monitor, owner->other), 0);
}

static void test_freeing_userdata_calls_back(void **state)
{
    struct seen seen = SEEN_INIT;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ac_monitor *monitor = make(5000, 0);
        struct owner owner = {.monitor = monitor, .removes_itself = i == 1};
        ac_monitor_on_alert(monitor, on_alert, &seen, NULL, &owner.other);
        ac_monitor_on_alert(monitor, owner_alert, &owner, owner_free, &owner.self);
        if (owner.removes_itself)
            check(monitor, 99);
        else
            assert_int_equal(ac_monitor_remove_handler(monitor, owner.self), 0);
        assert_int_equal(owner.frees, 1);
        ac_monitor_free(monitor);
    }
}

static void test_manual_alert(void **state)
{
    struct ac_alert alert, *alerts;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    assert_int_equal(
        ac_monitor_trigger(monitor, AC_MEMORY, AC_EMERGENCY, "out", "agent-1", NAN, 12, &alert), 0);
    assert_string_equal(alert.agent_id, "agent-1");
    assert_string_equal(alert.message, "out");
    assert_int_equal(ac_monitor_alerts(monitor, AC_EMERGENCY, &alerts), 1);
    ac_free(alerts);
    assert_int_equal(
        ac_monitor_trigger(monitor, (enum ac_resource)9, AC_INFO, "x", NULL, NAN, NAN, NULL),
        -EINVAL);
    assert_int_equal(
        ac_monitor_trigger(monitor, AC_CPU, AC_INFO, "x", "bad id", NAN, NAN, NULL), -EINVAL);
    assert_int_equal(
        ac_monitor_trigger(monitor, AC_CPU, AC_INFO, "x", NULL, INFINITY, NAN, NULL), -EINVAL);
    ac_monitor_free(monitor);
}

static void test_history(void **state)
{
    struct ac_usage usage, *history;
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    for (int i = 0; i < 5; i++) {
        usage = cpu(i);
        assert_int_equal(ac_monitor_record(monitor, "system", &usage), 0);
        assert_int_equal(ac_monitor_record(monitor, "agent-1", &usage), 0);
    }
    assert_int_equal(ac_monitor_history(monitor, "system", 60, &history), 5);
    for (int i = 0; i < 5; i++) {
        assert_true(history[i].cpu_percent == i);
        assert_int_equal(history[i].known, AC_KNOWN_CPU_PERCENT);
        assert_true(history[i].timestamp_ns > 0);
    }
    ac_free(history);
    assert_int_equal(ac_monitor_history(monitor, "agent-1", 1, &history), 5);
    ac_free(history);
    assert_int_equal(ac_monitor_history(monitor, "nobody", 60, &history), 0);
    ac_free(history);
    assert_int_equal(ac_monitor_history(monitor, "system", -1, &history), -EINVAL);
    assert_int_equal(ac_monitor_history(monitor, "system", NAN, &history), -EINVAL);
    usage = cpu(NAN);
    assert_int_equal(ac_monitor_record(monitor, "system", &usage), -EINVAL);
    usage = cpu(-1);
    assert_int_equal(ac_monitor_check(monitor, "system", &usage), -EINVAL);
    ac_monitor_free(monitor);
}

/* ---- Providers */

struct provider {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool fail, hang;
    unsigned calls;
};

static int provide(void *userdata, struct ac_usage *ret_usage)
{
    struct provider *provider = userdata;
    pthread_mutex_lock(&provider->lock);
    provider->calls++;
    pthread_cond_broadcast(&provider->changed);
    while (provider->hang)
        pthread_cond_wait(&provider->changed, &provider->lock);
    int r = provider->fail ? -EIO : 0;
    pthread_mutex_unlock(&provider->lock);
    *ret_usage = cpu(90);
    return r;
}

static void wait_rule(struct seen *seen, const char *rule, enum ac_alert_state alert_state)
{
    pthread_mutex_lock(&seen->lock);
    while (strcmp(seen->last.rule, rule) != 0 || seen->last.state != alert_state)
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

static void provider_set(struct provider *provider, bool fail, bool hang)
{
    pthread_mutex_lock(&provider->lock);
    provider->fail = fail;
    provider->hang = hang;
    pthread_cond_broadcast(&provider->changed);
    pthread_mutex_unlock(&provider->lock);
}

static void test_provider_that_fails_or_hangs(void **state)
{
    struct seen seen = SEEN_INIT;
    static struct provider provider = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .fail = true};
    struct ac_monitor_stats stats;
    (void)state;
    struct ac_monitor *monitor = make(10, 20);
    ac_monitor_on_alert(monitor, on_alert, &seen, NULL, NULL);
    assert_int_equal(ac_monitor_start(monitor, NULL, NULL, NULL), -EINVAL);
    assert_false(ac_monitor_running(monitor));
    assert_int_equal(ac_monitor_start(monitor, provide, &provider, NULL), 0);
    assert_int_equal(ac_monitor_start(monitor, provide, &provider, NULL), -EALREADY);
    assert_true(ac_monitor_running(monitor));
    wait_rule(&seen, "provider", AC_ALERT_FIRING);
    provider_set(&provider, false, true);
    do {
        usleep(1000);
        ac_monitor_stats(monitor, &stats);
    } while (stats.provider_hanging == 0);
    provider_set(&provider, false, false);
    wait_rule(&seen, "cpu_threshold", AC_ALERT_FIRING);
    ac_monitor_stats(monitor, &stats);
    assert_true(stats.provider_failures >= 2);
    ac_monitor_stop(monitor);
    ac_monitor_stop(monitor);
    assert_false(ac_monitor_running(monitor));
    assert_int_equal(ac_monitor_start(monitor, provide, &provider, NULL), 0);
    ac_monitor_free(monitor);
}

/* ---- Threads */

static void *hammer(void *userdata)
{
    struct ac_monitor *monitor = userdata;
    struct ac_alert *alerts;
    struct ac_usage *history;
    for (int i = 0; i < 300; i++) {
        struct ac_usage usage = cpu(i % 100);
        ac_monitor_record(monitor, i % 2 ? "system" : "agent-1", &usage);
        ac_monitor_check(monitor, i % 2 ? "system" : "agent-1", &usage);
        if (ac_monitor_alerts(monitor, -1, &alerts) >= 0)
            ac_free(alerts);
        if (i % 50 == 0 && ac_monitor_history(monitor, "system", 1, &history) >= 0)
            ac_free(history);
    }
    return NULL;
}

static int busy_provider(void *userdata, struct ac_usage *ret_usage)
{
    (void)userdata;
    *ret_usage = cpu(99);
    return 0;
}

struct stopper {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ac_monitor *monitor;
    bool stopped, returned;
};

static void stop_and_linger(void *userdata, const struct ac_alert *alert)
{
    struct stopper *stopper = userdata;
    (void)alert;
    ac_monitor_stop(stopper->monitor);
    pthread_mutex_lock(&stopper->lock);
    stopper->stopped = true;
    pthread_cond_broadcast(&stopper->changed);
    pthread_mutex_unlock(&stopper->lock);
    usleep(50000); /* as good as for ever for one that does not wait */
    stopper->returned = true;
}

/* A handler that stops the monitor is still at work when another thread frees the monitor. */
static void test_free_waits_for_a_handler_that_stopped(void **state)
{
    struct stopper stopper = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    (void)state;
    stopper.monitor = make(10, 0);
    ac_monitor_on_alert(stopper.monitor, stop_and_linger, &stopper, NULL, NULL);
    assert_int_equal(ac_monitor_start(stopper.monitor, busy_provider, NULL, NULL), 0);
    pthread_mutex_lock(&stopper.lock);
    while (!stopper.stopped)
        pthread_cond_wait(&stopper.changed, &stopper.lock);
    pthread_mutex_unlock(&stopper.lock);
    assert_false(ac_monitor_running(stopper.monitor));
    ac_monitor_free(stopper.monitor);
    assert_true(stopper.returned);
}

/* The threads are not in a forked child: freeing there must not wait for them. */
static void test_free_in_a_forked_child(void **state)
{
    int status;
    (void)state;
    struct ac_monitor *monitor = make(60000, 0);
    assert_int_equal(ac_monitor_start(monitor, busy_provider, NULL, NULL), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        ac_monitor_free(monitor);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ac_monitor_free(monitor);
}

static void test_threads(void **state)
{
    struct seen seen = SEEN_INIT;
    pthread_t threads[4];
    (void)state;
    struct ac_monitor *monitor = make(5000, 0);
    ac_monitor_on_alert(monitor, on_alert, &seen, NULL, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, monitor), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(seen.calls > 0);
    ac_monitor_free(monitor);
}

/* ---- Failing */

static void test_bad_options(void **state)
{
    struct ac_monitor_options options;
    struct ac_monitor *monitor = NULL;
    struct ac_error error;
    (void)state;
    ac_monitor_options_init(&options);
    options.check_interval_ms = 9;
    assert_int_equal(ac_monitor_new(&options, &monitor, &error), -EINVAL);
    assert_non_null(strstr(error.message, "check_interval_ms"));
    ac_monitor_options_init(&options);
    options.limits.max_cpu_percent = 101;
    assert_int_equal(ac_monitor_new(&options, &monitor, &error), -EINVAL);
    assert_non_null(strstr(error.message, "max_cpu_percent"));
    options = (struct ac_monitor_options){0};
    assert_int_equal(ac_monitor_new(&options, &monitor, &error), -EINVAL);
    assert_null(monitor);
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct ac_monitor *monitor = NULL;
        fault_arm(FAULT_ALLOC, n);
        int r = ac_monitor_new(NULL, &monitor, NULL);
        if (r == 0) {
            struct ac_usage usage = cpu(90);
            int recorded = ac_monitor_record(monitor, "agent-1", &usage);
            assert_true(recorded == 0 || recorded == -ENOMEM);
            int checked = ac_monitor_check(monitor, "agent-1", &usage);
            assert_true(checked >= 0 || checked == -ENOMEM);
        } else {
            assert_int_equal(r, -ENOMEM);
        }
        bool hit = fault_disarm();
        ac_monitor_free(monitor);
        if (!hit)
            break;
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_alert_rises_and_falls),
        cmocka_unit_test(test_acknowledge),
        cmocka_unit_test(test_handler_calls_back),
        cmocka_unit_test(test_handlers_are_capped_and_removed),
        cmocka_unit_test(test_freeing_userdata_calls_back),
        cmocka_unit_test(test_free_waits_for_a_handler_that_stopped),
        cmocka_unit_test(test_free_in_a_forked_child),
        cmocka_unit_test(test_manual_alert),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_provider_that_fails_or_hangs),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("monitor", tests, NULL, NULL);
}
