/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pass over 2,000 sleeping processes in 200 agents costs through procfs, beside psutil
 * reading the same fields (processor time, memory, I/O, descriptors, threads, parent) in the same
 * run. CPU time of the reader, so that other work on the machine disturbs little.
 */
#include <agentcore.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metering/crowd.h"
#include "os/procfs.h"
#include "policy/registry.h"

#define PROCESSES 2000
#define AGENTS    200
#define PASSES    21

static void die(const char *what)
{
    fprintf(stderr, "bench_procfs: %s\n", what);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
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

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = MIN(count, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
}

struct result {
    double pass;     /* CPU seconds, reading */
    double registry; /* CPU seconds, who belongs to whom and what all used */
    size_t processes;
};

static void add_agents(struct registry *registry, const struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->n_agents; i++) {
        struct agent_spec spec = {.root_pid = crowd->roots[i]};
        const struct agent *agent;
        snprintf(spec.id, sizeof(spec.id), "crowd%zu", i);
        if (registry_add(registry, &spec, clock_moment(), &agent) < 0)
            die("registry_add");
    }
}

/* Median of PASSES passes, after two that open what is kept open. */
static struct result measure(const struct crowd *crowd)
{
    struct procfs_options options = {.processes = true};
    struct collector_source *source;
    struct registry *registry;
    struct registry_changes changes;
    struct ac_error error;
    struct sample sample;
    double passes[PASSES], applies[PASSES];
    if (procfs_new(&options, &source, &error) < 0)
        die(error.message);
    if (registry_new(AGENTS, 1, &registry) < 0)
        die("registry");
    add_agents(registry, crowd);
    for (int i = -2; i < PASSES; i++) {
        double start = cpu_seconds();
        if (source->ops->read(source, &sample) < 0)
            die("read");
        double middle = cpu_seconds();
        uint64_t applied = clock_mono().ns;
        if (registry_apply(registry, &sample, &changes) < 0)
            die("apply");
        if (i >= 0) {
            passes[i] = middle - start;
            applies[i] = (double)(clock_mono().ns - applied) / 1e9;
        }
    }
    struct result result = {median(passes, PASSES), median(applies, PASSES), sample.n_procs};
    agent_slot cursor = 0;
    const struct agent *agent;
    while ((agent = registry_next(registry, &cursor))) {
        if (agent->processes != PROCESSES / AGENTS)
            die("an agent lacks processes");
    }
    registry_free(registry);
    source->ops->free(source);
    return result;
}

/* Debian's Python and its psutil, unpacked beside the build. */
static double psutil_pass(void)
{
    static const char command[] =
        "PYTHONPATH=$(" SOURCE_ROOT
        "/tools/fetch-deb python3-psutil)/usr/lib/python3/dist-packages "
        "PATH=/usr/bin:$PATH python3 " SOURCE_ROOT "/bench/psutil_pass.py 7";
    double seconds = 0;
    size_t processes;
    char version[32] = "";
    FILE *pipe = popen(command, "r");
    if (!pipe || fscanf(pipe, "%lf %zu %31s", &seconds, &processes, version) != 3)
        seconds = 0;
    if (pipe)
        pclose(pipe);
    if (seconds > 0)
        printf("  psutil %-30s %8.1f ms of CPU per pass, %zu processes\n", version, seconds * 1e3,
            processes);
    else
        printf("  psutil: could not be fetched\n");
    return seconds;
}

static void print_result(const char *what, const struct result *result)
{
    printf("  %-37s %8.1f ms of CPU per pass, %zu processes; %.2f ms to account for them\n", what,
        result->pass * 1e3, result->processes, result->registry * 1e3);
}

int main(void)
{
    struct crowd crowd;
    setvbuf(stdout, NULL, _IOLBF, 0);
    crowd_start(&crowd, PROCESSES, AGENTS);
    allow_descriptors(20000);
    struct result kept = measure(&crowd);
    allow_descriptors(1024);
    struct result plain = measure(&crowd);
    print_result("procfs, files kept open", &kept);
    print_result("procfs, 1024 descriptors allowed", &plain);
    double peer = psutil_pass();
    if (peer > 0)
        printf("  psutil takes %.1f times the CPU (%.1f times with 1024 descriptors; target 4)\n",
            peer / kept.pass, peer / plain.pass);
    crowd_stop(&crowd);
    return 0;
}
