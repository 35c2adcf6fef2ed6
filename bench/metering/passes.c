/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time of one pass over a crowd, each way of reading in turn, in one run:
 *
 *     metering_passes PROCESSES AGENTS [SECONDS_EACH]
 *     metering_passes --hold PROCESSES AGENTS
 *
 * Prints "name microseconds" lines. "bpf" and "procfs" are our collectors end to end, from the
 * kernel to per-agent usage; "bare" is the iterator alone, its records thrown away; "walk" reads
 * stat, statm, io and the descriptor count through descriptors that stay open. With --hold the
 * crowd is all: its first processes are printed, then all of them, and it lives until the end of
 * standard input.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "crowd.h"
#include "os/bpf_collector.h"
#include "os/procfs.h"
#include "policy/registry.h"
#include "walk.h"

static struct registry *registry;
static struct collector_source *source;

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The lower quartile of all passes: other work on the machine can only add, through caches and
 * shared cores. */
static double measure(void (*pass)(void), double seconds)
{
    double times[512];
    size_t n = 0;
    uint64_t start = clock_mono().ns;

    pass();
    pass();
    do {
        uint64_t before = cpu_ns();
        pass();
        times[n++] = (double)(cpu_ns() - before) / 1e3;
    } while (n < 512 && clock_mono().ns - start < seconds * 1e9);
    qsort(times, n, sizeof(times[0]), by_value);
    return times[n / 4];
}

static void pass_bare(void)
{
    (void)bare_pass();
}

static void pass_walk(void)
{
    (void)walk_pass();
}

static void pass_kernel(void)
{
    struct sample sample;
    if (source->ops->read(source, &sample) < 0)
        exit(1);
}

static void pass_all(void)
{
    struct registry_changes changes;
    struct sample sample;

    if (source->ops->read(source, &sample) < 0 || registry_apply(registry, &sample, &changes) < 0)
        exit(1);
}

static void add_agents(const struct crowd *crowd)
{
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (size_t i = 0; i < crowd->n_agents; i++) {
        struct agent_spec spec = {.root_pid = crowd->roots[i]};
        const struct agent *agent;
        snprintf(spec.id, sizeof(spec.id), "agent-%zu", i);
        if (procfs_start_ticks(proc_fd, spec.root_pid, &spec.root_start_ticks) < 0 ||
            registry_add(registry, &spec, clock_moment(), &agent) < 0)
            exit(1);
        if (source->ops->adopt &&
            source->ops->adopt(source, agent->slot, spec.root_pid, spec.root_start_ticks) < 0)
            exit(1);
    }
    close(proc_fd);
}

static void check(const struct crowd *crowd)
{
    agent_slot cursor = 0;
    size_t members = 0, known = 0;

    for (const struct agent *agent; (agent = registry_next(registry, &cursor));) {
        members += agent->processes;
        known += (agent->usage.known & AC_KNOWN_CPU_PERCENT) != 0;
    }
    if (members != crowd->n_pids || known != crowd->n_agents) {
        fprintf(stderr, "passes: %zu of %zu members, %zu of %zu agents\n", members, crowd->n_pids,
            known, crowd->n_agents);
        exit(1);
    }
}

static void measure_collector(const char *name, const struct crowd *crowd, double seconds)
{
    if (registry_new((uint32_t)crowd->n_agents + 1, 1, &registry) < 0)
        exit(1);
    add_agents(crowd);
    pass_all();
    pass_all();
    check(crowd);
    printf("%s %.0f\n", name, measure(pass_all, seconds));
    printf("%s-read-only %.0f\n", name, measure(pass_kernel, seconds));
    fflush(stdout);
    registry_free(registry);
    source->ops->free(source);
}

static void measure_all(const struct crowd *crowd, double seconds)
{
    struct procfs_options procfs = {.processes = true, .thorough = true};
    struct bpf_options bpf = {.max_slot = (uint32_t)crowd->n_agents + 1};
    struct ac_error error;

    if (bare_open() == 0) {
        printf("bare %.0f\n", measure(pass_bare, seconds));
        if (bpf_collector_new(&bpf, &source, &error) == 0)
            measure_collector("bpf", crowd, seconds);
        printf("bare-again %.0f\n", measure(pass_bare, seconds));
        bare_close();
    }
    if (procfs_new(&procfs, &source, &error) == 0)
        measure_collector("procfs", crowd, seconds);
    int r = walk_open(crowd->pids, crowd->n_pids);
    if (r == 0)
        printf("walk %.0f\n", measure(pass_walk, seconds));
    else
        fprintf(stderr, "walk: %s (RLIMIT_NOFILE?)\n", strerror(-r));
    walk_close();
}

static void hold(const struct crowd *crowd)
{
    char byte;

    for (size_t i = 0; i < crowd->n_agents; i++)
        printf("%d ", (int)crowd->roots[i]);
    printf("\n");
    for (size_t i = 0; i < crowd->n_pids; i++)
        printf("%d ", (int)crowd->pids[i]);
    printf("\n");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

int main(int argc, char **argv)
{
    struct crowd crowd;
    bool holding = argc > 1 && strcmp(argv[1], "--hold") == 0;

    if (argc < 3 + holding) {
        fprintf(stderr, "usage: metering_passes [--hold] PROCESSES AGENTS [SECONDS]\n");
        return 2;
    }
    char **numbers = argv + 1 + holding;
    crowd_start(&crowd, strtoul(numbers[0], NULL, 10), strtoul(numbers[1], NULL, 10));
    if (holding)
        hold(&crowd);
    else
        measure_all(&crowd, argc > 3 ? strtod(argv[3], NULL) : 3);
    crowd_stop(&crowd);
    return 0;
}
