/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the registry costs: a pass over 5,000 processes in 200 agents (1.5 ms aimed at), over
 * 10,000 in 10,000, and a report (20 ns aimed at where the agent is in the cache).
 */
#include <agentcore.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "policy/registry.h"

#define ROUNDS 101

static void die(const char *what)
{
    fprintf(stderr, "bench_registry: %s\n", what);
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), ascending);
    return values[count / 2];
}

static struct moment moment_at(uint64_t ns)
{
    return (struct moment){.mono = {ns}, .wall_ns = (int64_t)ns};
}

static struct registry *with_agents(size_t agents, size_t each)
{
    struct registry *registry;
    if (registry_new((uint32_t)agents, 1, &registry) < 0)
        die("registry_new");
    for (size_t i = 0; i < agents; i++) {
        struct agent_spec spec = {.root_pid = each ? (int32_t)(100 + i * each) : 0};
        const struct agent *agent;
        snprintf(spec.id, sizeof(spec.id), "agent-%zu", i);
        if (registry_add(registry, &spec, moment_at(NS_PER_SEC), &agent) < 0)
            die("registry_add");
    }
    return registry;
}

/* All work a little between two passes, and do I/O. */
static void bench_apply(size_t agents, size_t each)
{
    struct registry *registry = with_agents(agents, each);
    struct proc_record *procs = mem_alloc_array(agents * each, sizeof(*procs));
    struct sample sample = {.procs = procs, .n_procs = agents * each};
    struct registry_changes changes;
    double rounds[ROUNDS];
    if (!procs)
        die("no memory");
    for (size_t i = 0; i < sample.n_procs; i++)
        procs[i] = (struct proc_record){.pid = (int32_t)(100 + i),
            .ppid = i % each ? (int32_t)(100 + i - i % each) : 1,
            .session = (int32_t)(100 + i - i % each),
            .pgrp = (int32_t)(100 + i - i % each),
            .start_ticks = 100,
            .rss_anon_bytes = 1 << 20,
            .fds = 5,
            .threads = 1,
            .state = 'S',
            .known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_RSS | PROC_KNOWN_IO |
                     PROC_KNOWN_FDS | PROC_KNOWN_THREADS | PROC_KNOWN_SESSION};
    for (int round = -2; round < ROUNDS; round++) {
        sample.boot_ns += NS_PER_SEC;
        sample.when = moment_at(sample.boot_ns);
        for (size_t i = 0; i < sample.n_procs; i++) {
            procs[i].utime_ns += 10000000;
            procs[i].read_bytes += i % 3 ? 0 : 4096;
        }
        uint64_t start = clock_mono().ns;
        if (registry_apply(registry, &sample, &changes) < 0)
            die("registry_apply");
        if (round >= 0)
            rounds[round] = (double)(clock_mono().ns - start);
    }
    double ns = median(rounds, ROUNDS);
    printf("  a pass over %zu processes in %zu agents: %.3f ms, %.0f ns per process\n",
        sample.n_procs, agents, ns / 1e6, ns / (double)sample.n_procs);
    mem_free(procs);
    registry_free(registry);
}

static void bench_report(size_t agents)
{
    struct registry *registry = with_agents(agents, 0);
    struct ac_usage usage;
    const struct agent *agent;
    char(*ids)[32] = mem_alloc_array(agents, sizeof(*ids));
    double rounds[ROUNDS];
    if (!ids)
        die("no memory");
    for (size_t i = 0; i < agents; i++)
        snprintf(ids[i], sizeof(ids[i]), "agent-%zu", i);
    ac_usage_init(&usage);
    usage.cpu_percent = usage.memory_mb = 1;
    usage.known = AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = clock_mono().ns;
        for (size_t i = 0; i < 20000; i++) {
            if (registry_report(
                    registry, ids[i * 7919 % agents], &usage, moment_at(5), false, &agent) < 0)
                die("registry_report");
        }
        rounds[round] = (double)(clock_mono().ns - start) / 20000;
    }
    printf("  a report of one of %zu agents: %.0f ns\n", agents, median(rounds, ROUNDS));
    mem_free(ids);
    registry_free(registry);
}

int main(void)
{
    bench_apply(200, 25);
    bench_apply(10000, 1);
    bench_report(10);
    bench_report(10000);
    return 0;
}
