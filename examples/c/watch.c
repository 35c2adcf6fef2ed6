/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meters this process and its children as an agent, gives it a quarter of a core, and prints the
 * alert that follows when it takes more.
 *
 *     cc -o watch watch.c $(pkg-config --cflags --libs agentcore) && ./watch
 */
#include <agentcore.h>

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void print_alert(void *userdata, const struct ac_alert *alert)
{
    (void)userdata;
    printf("%-8s %-9s %s: %s\n", ac_alert_state_name(alert->state),
        ac_severity_name(alert->severity), alert->agent_id[0] ? alert->agent_id : "machine",
        alert->message);
}

/* The work of the agent: a second of arithmetic. */
static double work(void)
{
    double sum = 0;
    for (time_t end = time(NULL) + 1; time(NULL) < end;)
        for (int i = 1; i < 100000; i++)
            sum += 1.0 / i;
    return sum;
}

int main(void)
{
    struct ac_manager_options options;
    struct ac_agent_config config;
    struct ac_allocation allocation;
    struct ac_usage usage;
    struct ac_manager *manager;
    struct ac_error error = {0};

    ac_manager_options_init(&options);
    options.check_interval_ms = 500;
    if (ac_manager_new(&options, &manager, &error) < 0)
        goto failed;
    ac_manager_on_alert(manager, print_alert, NULL, NULL, NULL);

    ac_agent_config_init(&config);
    config.agent_id = "worker-1";
    config.philosophy = AC_REACT;
    config.max_cpu_cores = 0.25;
    if (ac_manager_allocate(manager, &config, AC_POLICY_RECOMMEND, &allocation, &error) < 0)
        goto failed;
    printf("It may use %.0f %% CPU and %.0f MiB: %s\n", allocation.cpu_percent,
        allocation.memory_mb, allocation.explanation);

    if (ac_manager_attach(manager, &config, (int32_t)getpid(), &error) < 0 ||
        ac_manager_start(manager, &error) < 0)
        goto failed;
    for (int i = 0; i < 4; i++) {
        double result = work();
        /* A rate needs two looks: until then it is unknown, and never 0. */
        if (isfinite(result) && ac_manager_usage(manager, "worker-1", &usage) == 0)
            printf("%.2f cores, %.1f MiB\n", usage.cpu_cores, usage.memory_mb);
    }
    ac_manager_free(manager);
    return 0;

failed:
    fprintf(stderr, "watch: %s\n", error.message);
    return 1;
}
