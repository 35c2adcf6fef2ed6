/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the calls of the public API cost: allocate, system metrics, track, threshold checks.
 * Prints one line per call: median of several rounds, in ns.
 */
#include <agentcore.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define ROUNDS 9
#define AGENTS 10000

typedef void (*bench_fn)(void *context, unsigned count);

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double bench(bench_fn run, void *context, unsigned count)
{
    double rounds[ROUNDS];
    run(context, count); /* warm */
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_mono().ns;
        run(context, count);
        rounds[i] = (double)(clock_mono().ns - start) / count;
    }
    qsort(rounds, ROUNDS, sizeof(rounds[0]), ascending);
    return rounds[ROUNDS / 2];
}

struct context {
    struct ac_manager *manager;
    struct ac_monitor *monitor;
    char ids[AGENTS][16];
    struct ac_usage usage;
};

static void run_track(void *userdata, unsigned count)
{
    struct context *context = userdata;
    for (unsigned i = 0; i < count; i++)
        ac_manager_track(context->manager, context->ids[i % AGENTS], &context->usage);
}

static void run_track_one(void *userdata, unsigned count)
{
    struct context *context = userdata;
    for (unsigned i = 0; i < count; i++)
        ac_manager_track(context->manager, context->ids[0], &context->usage);
}

static void run_check(void *userdata, unsigned count)
{
    struct context *context = userdata;
    for (unsigned i = 0; i < count; i++)
        ac_monitor_check(context->monitor, NULL, &context->usage);
}

static void run_metrics(void *userdata, unsigned count)
{
    struct context *context = userdata;
    struct ac_system_metrics metrics;
    for (unsigned i = 0; i < count; i++)
        ac_manager_system_metrics(context->manager, &metrics);
}

static void run_allocate(void *userdata, unsigned count)
{
    struct context *context = userdata;
    struct ac_agent_config config;
    struct ac_allocation allocation;
    ac_agent_config_init(&config);
    for (unsigned i = 0; i < count; i++) {
        config.agent_id = context->ids[i % AGENTS];
        ac_manager_allocate(context->manager, &config, AC_POLICY_RECOMMEND, &allocation, NULL);
    }
}

static void print(const char *name, double ns, double target_ns)
{
    printf("%-46s %10.1f ns  %12.0f/s   target %8.0f ns  %s\n", name, ns, 1e9 / ns, target_ns,
        ns <= target_ns ? "reached" : "MISSED");
}

int main(void)
{
    struct context *context = calloc(1, sizeof(*context));
    struct ac_error error;
    if (!context || ac_manager_new(NULL, &context->manager, &error) < 0 ||
        ac_monitor_new(NULL, &context->monitor, &error) < 0) {
        fprintf(stderr, "bench_api: %s\n", context ? error.message : "no memory");
        return 1;
    }
    for (unsigned i = 0; i < AGENTS; i++)
        snprintf(context->ids[i], sizeof(context->ids[i]), "agent-%05u", i);
    ac_usage_init(&context->usage);
    context->usage.cpu_percent = 30;
    context->usage.memory_percent = 20;
    context->usage.memory_mb = 185;
    context->usage.disk_io_mbps = 1;
    context->usage.network_io_mbps = 1;
    context->usage.file_descriptors = 40;
    context->usage.known = AC_KNOWN_ALL & ~(unsigned)AC_KNOWN_CPU_CORES;

    printf("the public API, one thread, %d agents\n", AGENTS);
    print("ac_manager_track, 10,000 agents in turn", bench(run_track, context, 1000000), 100);
    print("ac_manager_track, one agent", bench(run_track_one, context, 1000000), 100);
    print("ac_monitor_check without alerts", bench(run_check, context, 1000000), 50);
    context->usage.cpu_percent = 85;
    context->usage.memory_percent = 77;
    ac_monitor_check(context->monitor, NULL, &context->usage);
    print("ac_monitor_check with two live alerts", bench(run_check, context, 1000000), 390);
    print("ac_manager_system_metrics", bench(run_metrics, context, 200000), 5000);
    print("ac_manager_allocate", bench(run_allocate, context, 200000), 5000);
    ac_monitor_free(context->monitor);
    ac_manager_free(context->manager);
    free(context);
    return 0;
}
