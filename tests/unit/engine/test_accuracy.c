/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every collector through the registry, against what the kernel itself says: a table of
 * workloads x collectors x error. The exact ones must be exact; of the others the table shows
 * what they miss, and the tests only hold them to what they promise on however busy a machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/bpf_collector.h"
#include "os/netlink_collector.h"
#include "policy/registry.h"
#include "unit/os/workload.h"

#define MS      NS_PER_MSEC
#define TICK_MS 50

enum collector_kind { BPF, NETLINK, PROCFS, KINDS };
static const char *const kind_names[KINDS] = {"bpf", "procfs+netlink", "procfs"};

static uint64_t *children_ns; /* by getrusage; shared with the worker */

/* A: the parent waits for children. */
static void work_waited(int count, uint64_t ns)
{
    fork_and_spin(count, ns);
    *children_ns = used_children_ns();
}

/* B: double-forked children that something else reaps. */
static void work_elsewhere(int count, uint64_t ns)
{
    fork_twice_and_spin(count, ns);
    *children_ns = 0;
}

/*
 * What netlink tells of a process's end comes before it gives its memory back (which sanitizers
 * make costly) and may lack a tick of the clock: much of 20 ms, little of 200 ms. How much of the
 * short ones it lacks depends on who else is busy, but none of them is missed, or told twice.
 */
static const struct workload {
    const char *name;
    void (*work)(int count, uint64_t ns);
    int count; /* before scaling */
    uint64_t ns;
    int processes;          /* of each */
    double promised[KINDS]; /* largest error in percent; NAN = only shown */
} workloads[] = {
    {"A: waited for, 20 ms", work_waited, 60, 20 * MS, 1, {2, NAN, 15}},
    {"B: double-forked, 20 ms", work_elsewhere, 60, 20 * MS, 2, {2, NAN, NAN}},
    {"B: double-forked, 200 ms", work_elsewhere, 8, 200 * MS, 2, {2, 15, NAN}},
    {"1000 compilers of 2 ms", work_waited, 1000, 2 * MS, 1, {2, NAN, 15}},
};

static void work(void *argument)
{
    const struct workload *workload = argument;
    workload->work(scaled(workload->count), workload->ns);
}

static int collector_make(enum collector_kind kind, struct collector_source **ret_source)
{
    struct procfs_options procfs = {.processes = true, .thorough = true};
    struct bpf_options bpf = {.max_slot = 8};
    struct ac_error error;

    if (kind == BPF)
        return bpf_collector_new(&bpf, ret_source, &error);
    if (kind == NETLINK)
        return netlink_collector_new(&procfs, 8, ret_source, &error);
    return procfs_new(&procfs, ret_source, &error);
}

struct pipeline {
    struct collector_source *source;
    struct registry *registry;
    const struct agent *agent;
    uint64_t last_ns;
    unsigned calm;
};

static void tick(struct pipeline *pipeline)
{
    struct registry_changes changes;
    struct sample sample;

    assert_int_equal(pipeline->source->ops->read(pipeline->source, &sample), 0);
    assert_int_equal(registry_apply(pipeline->registry, &sample, &changes), 0);
}

static bool settled(void *argument)
{
    struct pipeline *pipeline = argument;

    poll(NULL, 0, TICK_MS);
    tick(pipeline);
    uint64_t now = pipeline->agent->totals.cpu_ns;
    pipeline->calm = now == pipeline->last_ns ? pipeline->calm + 1 : 0;
    pipeline->last_ns = now;
    return pipeline->calm >= 3 && pipeline->agent->processes <= 1; /* the worker waits */
}

static void pipeline_start(struct pipeline *pipeline, pid_t pid)
{
    struct agent_spec spec = {.id = "agent", .root_pid = pid};
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(procfs_start_ticks(proc_fd, pid, &spec.root_start_ticks), 0);
    close(proc_fd);
    assert_int_equal(registry_new(8, 1, &pipeline->registry), 0);
    assert_int_equal(registry_add(pipeline->registry, &spec, clock_moment(), &pipeline->agent), 0);
    if (pipeline->source->ops->adopt)
        assert_int_equal(pipeline->source->ops->adopt(
                             pipeline->source, pipeline->agent->slot, pid, spec.root_start_ticks),
            0);
    tick(pipeline);
}

/* Samples the worker until it is done and the totals stand still. */
static void pipeline_run(struct pipeline *pipeline, struct worker *worker)
{
    struct pollfd done = {.fd = worker->done_fd, .events = POLLIN};

    worker_go(worker);
    while (poll(&done, 1, TICK_MS) == 0)
        tick(pipeline);
    worker_wait_done(worker);
    assert_true(eventually(settled, pipeline));
}

static double percent(uint64_t measured, uint64_t truth)
{
    return ((double)measured - (double)truth) * 100.0 / (double)truth;
}

static void run(const struct workload *workload, enum collector_kind kind)
{
    struct pipeline pipeline = {0};
    struct test_cgroup cgroup;
    struct worker worker;

    if (collector_make(kind, &pipeline.source) < 0) {
        print_message("# %-24s %-15s not available here\n", workload->name, kind_names[kind]);
        return;
    }
    bool grouped = test_cgroup_make(&cgroup);
    worker_start(&worker, work, (void *)workload);
    if (grouped)
        test_cgroup_add(&cgroup, worker.pid);
    pipeline_start(&pipeline, worker.pid);
    pipeline_run(&pipeline, &worker);
    uint64_t measured = pipeline.agent->totals.cpu_ns;
    uint64_t processes = pipeline.agent->totals.processes_total;
    uint64_t truth = grouped ? test_cgroup_cpu_ns(&cgroup) : *children_ns;
    worker_end(&worker);
    if (grouped)
        test_cgroup_done(&cgroup);
    registry_free(pipeline.registry);
    pipeline.source->ops->free(pipeline.source);
    if (truth == 0)
        return; /* neither cgroup v2 nor children that were waited for */
    double error = percent(measured, truth);
    print_message("# %-24s %-15s %8.1f of %8.1f ms %+7.2f %%", workload->name, kind_names[kind],
        (double)measured / 1e6, (double)truth / 1e6, error);
    if (*children_ns)
        print_message("   getrusage of children %8.1f ms", (double)*children_ns / 1e6);
    print_message("\n");
    if (!isnan(workload->promised[kind]))
        assert_true(fabs(error) <= workload->promised[kind]);
    uint64_t forked = 1 + (uint64_t)(scaled(workload->count) * workload->processes);
    if (kind != PROCFS)
        assert_int_equal(processes, forked);
}

static void run_all(enum collector_kind kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
        run(&workloads[i], kind);
}

static void test_bpf_is_exact(void **state)
{
    (void)state;
    run_all(BPF);
}

static void test_netlink_sees_what_procfs_misses(void **state)
{
    (void)state;
    run_all(NETLINK);
}

static void test_procfs_counts_reaped_children(void **state)
{
    (void)state;
    run_all(PROCFS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpf_is_exact),
        cmocka_unit_test(test_netlink_sees_what_procfs_misses),
        cmocka_unit_test(test_procfs_counts_reaped_children),
    };

    children_ns = shared_memory(sizeof(*children_ns));
    return cmocka_run_group_tests_name("accuracy", tests, NULL, NULL);
}
