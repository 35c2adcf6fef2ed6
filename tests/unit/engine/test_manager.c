/* SPDX-License-Identifier: Apache-2.0 */
/* The public manager on this machine's real /proc. */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct ac_manager *make(uint32_t interval_ms, bool monitoring, bool scaling)
{
    struct ac_manager_options options;
    struct ac_manager *manager;
    struct ac_error error;
    ac_manager_options_init(&options);
    options.check_interval_ms = interval_ms;
    options.enable_monitoring = monitoring;
    options.enable_dynamic_scaling = scaling;
    if (ac_manager_new(&options, &manager, &error) != 0)
        fail_msg("%s", error.message);
    return manager;
}

static struct ac_usage usage_make(double cpu, double memory_mb)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_percent = cpu;
    usage.memory_mb = memory_mb;
    usage.known = AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB;
    return usage;
}

static void test_metrics_before_start(void **state)
{
    struct ac_system_metrics metrics;
    (void)state;
    struct ac_manager *manager = make(5000, true, true);
    assert_int_equal(ac_manager_system_metrics(manager, &metrics), 0);
    assert_true(metrics.capacity_cores > 0);
    assert_true(metrics.capacity_memory_mb > 0);
    assert_true(metrics.current_usage.known & AC_KNOWN_CPU_PERCENT);
    assert_in_range((unsigned)metrics.current_usage.memory_percent, 0, 100);
    assert_true(metrics.current_usage.memory_mb > 0);
    assert_int_equal(metrics.active_agents, 0);
    assert_true(metrics.limits.max_cpu_percent == 80);
    ac_manager_free(manager);
}

static void test_track_and_cleanup(void **state)
{
    struct ac_usage usage = usage_make(50, 100), got, *history;
    struct ac_system_metrics metrics;
    char(*ids)[AC_AGENT_ID_MAX + 1];
    (void)state;
    struct ac_manager *manager = make(5000, true, true);
    assert_int_equal(ac_manager_usage(manager, "agent-1", &got), -ENOENT);
    assert_int_equal(ac_manager_track(manager, "agent-1", &usage), 0);
    assert_int_equal(ac_manager_track(manager, "agent-0", &usage), 0);
    assert_int_equal(ac_manager_usage(manager, "agent-1", &got), 0);
    assert_true(got.cpu_percent == 50 && got.memory_mb == 100);
    assert_false(got.known & AC_KNOWN_NETWORK_IO);
    ac_manager_system_metrics(manager, &metrics);
    assert_int_equal(metrics.active_agents, 2);
    assert_int_equal(ac_manager_agents(manager, &ids), 2);
    assert_string_equal(ids[0], "agent-0");
    assert_string_equal(ids[1], "agent-1");
    ac_free(ids);
    assert_int_equal(ac_manager_history(manager, "agent-1", 60, &history), 1);
    assert_true(history[0].memory_mb == 100);
    ac_free(history);
    assert_int_equal(ac_manager_cleanup(manager, "agent-1"), 0);
    assert_int_equal(ac_manager_cleanup(manager, "agent-1"), -ENOENT);
    assert_int_equal(ac_manager_usage(manager, "agent-1", &got), -ENOENT);
    assert_int_equal(ac_manager_track(manager, "no good", &usage), -EINVAL);
    assert_int_equal(ac_manager_track(manager, NULL, &usage), -EINVAL);
    usage.cpu_percent = INFINITY;
    assert_int_equal(ac_manager_track(manager, "agent-2", &usage), -EINVAL);
    ac_manager_free(manager);
}

static void test_allocate(void **state)
{
    struct ac_agent_config config;
    struct ac_allocation allocation;
    struct ac_error error;
    (void)state;
    struct ac_manager *manager = make(5000, true, true);
    ac_agent_config_init(&config);
    config.agent_id = "my-agent";
    config.max_memory_mb = 200;
    config.max_cpu_cores = 1;
    assert_int_equal(
        ac_manager_allocate(manager, &config, AC_POLICY_RECOMMEND, &allocation, &error), 0);
    assert_true(allocation.cpu_percent > 0);
    assert_true(allocation.memory_mb > 0 && allocation.memory_mb <= 200);
    assert_true(allocation.execution_time_seconds == 60);
    assert_true(allocation.confidence == 0);
    assert_int_equal(allocation.status, AC_ALLOCATION_GRANTED);
    assert_true(strlen(allocation.explanation) > 20);
    config.agent_id = "";
    assert_int_equal(
        ac_manager_allocate(manager, &config, AC_POLICY_RECOMMEND, &allocation, &error), -EINVAL);
    assert_non_null(strstr(error.message, "agent_id"));
    config.agent_id = "x";
    config.max_memory_mb = -1;
    assert_int_equal(
        ac_manager_allocate(manager, &config, AC_POLICY_RECOMMEND, &allocation, &error), -EINVAL);
    assert_non_null(strstr(error.message, "max_memory_mb"));
    config.max_memory_mb = 0;
    assert_int_equal(
        ac_manager_allocate(manager, &config, (enum ac_allocation_policy)7, &allocation, &error),
        -EINVAL);
    ac_manager_free(manager);
}

static void test_off_switches(void **state)
{
    struct ac_alert *alerts;
    struct ac_usage *history;
    (void)state;
    struct ac_manager *manager = make(5000, false, false);
    assert_null(ac_manager_monitor(manager));
    assert_null(ac_manager_scaler(manager));
    assert_int_equal(ac_manager_start(manager, NULL), 0);
    assert_int_equal(ac_manager_alerts(manager, -1, &alerts), 0);
    ac_free(alerts);
    assert_int_equal(ac_manager_history(manager, "system", 60, &history), 0);
    assert_int_equal(ac_manager_acknowledge(manager, "x"), -ENOENT);
    ac_manager_stop(manager);
    ac_manager_free(manager);
}

static void test_start_fills_history(void **state)
{
    struct ac_usage *history;
    int64_t n;
    (void)state;
    struct ac_manager *manager = make(10, true, true);
    assert_int_equal(ac_manager_start(manager, NULL), 0);
    assert_int_equal(ac_manager_start(manager, NULL), 0);
    do {
        usleep(5000);
        n = ac_manager_history(manager, "system", 1, &history);
        assert_true(n >= 0);
        ac_free(history);
    } while (n < 4);
    ac_manager_stop(manager);
    ac_manager_stop(manager);
    assert_int_equal(ac_manager_start(manager, NULL), 0);
    ac_manager_free(manager);
}

static void test_attach_meters_a_process_tree(void **state)
{
    struct ac_agent_config config;
    struct ac_usage usage;
    struct ac_error error;
    (void)state;
    struct ac_manager *manager = make(50, true, true);
    pid_t child = fork();
    if (child == 0) {
        char *memory = malloc(32 << 20);
        memset(memory, 1, 32 << 20);
        for (;;)
            memory[rand() % (32 << 20)]++;
    }
    ac_agent_config_init(&config);
    config.agent_id = "tree";
    assert_int_equal(ac_manager_attach(manager, &config, child, &error), 0);
    assert_int_equal(ac_manager_attach(manager, &config, child, &error), -EEXIST);
    config.agent_id = "nobody";
    assert_int_equal(ac_manager_attach(manager, &config, 0x3ffffff, &error), -ESRCH);
    assert_int_equal(ac_manager_start(manager, NULL), 0);
    do {
        usleep(20000);
        assert_int_equal(ac_manager_usage(manager, "tree", &usage), 0);
    } while (!(usage.known & AC_KNOWN_CPU_CORES) || usage.cpu_cores < 0.05 || usage.memory_mb < 32);
    assert_false(usage.known & AC_KNOWN_NETWORK_IO);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ac_manager_free(manager);
}

static void test_default_manager_and_fork(void **state)
{
    (void)state;
    struct ac_manager *manager = ac_manager_default();
    assert_non_null(manager);
    assert_ptr_equal(manager, ac_manager_default());
    pid_t child = fork();
    if (child == 0)
        _exit(ac_manager_default() != manager && ac_manager_default() ? 0 : 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void test_missing_proc(void **state)
{
    struct ac_manager_options options;
    struct ac_manager *manager = NULL;
    struct ac_error error;
    (void)state;
    ac_manager_options_init(&options);
    options.proc_path = "/nonexistent";
    assert_true(ac_manager_new(&options, &manager, &error) < 0);
    assert_non_null(strstr(error.message, "/nonexistent"));
    assert_null(manager);
}

static void *hammer(void *userdata)
{
    struct ac_manager *manager = userdata;
    struct ac_system_metrics metrics;
    struct ac_allocation allocation;
    struct ac_agent_config config;
    struct ac_usage usage = usage_make(99, 10);
    char id[32];
    ac_agent_config_init(&config);
    config.agent_id = id;
    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof(id), "agent-%d", i % 7);
        ac_manager_track(manager, id, &usage);
        ac_manager_system_metrics(manager, &metrics);
        ac_manager_allocate(manager, &config, AC_POLICY_RECOMMEND, &allocation, NULL);
        if (i % 11 == 0)
            ac_manager_cleanup(manager, id);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    (void)state;
    struct ac_manager *manager = make(10, true, true);
    ac_manager_start(manager, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, manager), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ac_manager_free(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_before_start),
        cmocka_unit_test(test_track_and_cleanup),
        cmocka_unit_test(test_allocate),
        cmocka_unit_test(test_off_switches),
        cmocka_unit_test(test_start_fills_history),
        cmocka_unit_test(test_attach_meters_a_process_tree),
        cmocka_unit_test(test_default_manager_and_fork),
        cmocka_unit_test(test_missing_proc),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("manager", tests, NULL, NULL);
}
