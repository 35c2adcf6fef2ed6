/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The procfs collector and the registry together, on real processes of this machine, against
 * getrusage: what an agent's children used that nobody saw alive, what left its parents, and
 * what is never counted twice.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/procfs.h"
#include "policy/registry.h"

struct meter {
    struct collector_source *source;
    struct registry *registry;
    struct sample sample;
    struct registry_changes changes;
};

static void meter_init(struct meter *meter)
{
    struct procfs_options options = {.processes = true};
    struct ac_error error = {0};
    if (procfs_new(&options, &meter->source, &error) < 0)
        fail_msg("%s", error.message);
    assert_int_equal(registry_new(10, 1, &meter->registry), 0);
}

static void meter_done(struct meter *meter)
{
    meter->source->ops->free(meter->source);
    registry_free(meter->registry);
}

static void meter_tick(struct meter *meter)
{
    assert_int_equal(meter->source->ops->read(meter->source, &meter->sample), 0);
    assert_int_equal(registry_apply(meter->registry, &meter->sample, &meter->changes), 0);
}

static const struct agent *meter_add(struct meter *meter, pid_t pid)
{
    struct agent_spec spec = {.id = "a", .root_pid = pid};
    const struct agent *agent = NULL;
    assert_int_equal(registry_add(meter->registry, &spec, clock_moment(), &agent), 0);
    return agent;
}

static double used(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void burn(double seconds)
{
    double until = used(RUSAGE_SELF) + seconds;
    while (used(RUSAGE_SELF) < until) {
        for (int i = 0; i < 10000; i++)
            __asm__ volatile("" : : "r"(i));
    }
}

/* Two pipes by which parent and agent take turns. */
struct turns {
    int to_agent[2];
    int to_test[2];
};

static void turns_init(struct turns *turns)
{
    assert_int_equal(pipe(turns->to_agent), 0);
    assert_int_equal(pipe(turns->to_test), 0);
}

static void give(int fd)
{
    char byte = 0;
    if (write(fd, &byte, 1) != 1)
        _exit(3);
}

/* Of the agent's processes: they end where the test is gone. */
static void await(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        _exit(0);
}

static void await_agent(const struct turns *turns)
{
    char byte;
    assert_int_equal(read(turns->to_test[0], &byte, 1), 1);
}

/* Forks an agent that runs @work between two turns, and then stays until it is told to end. */
static pid_t start(struct turns *turns, void (*work)(void))
{
    turns_init(turns);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(turns->to_agent[1]);
        setsid();
        give(turns->to_test[1]);
        await(turns->to_agent[0]);
        work();
        give(turns->to_test[1]);
        await(turns->to_agent[0]);
        _exit(0);
    }
    close(turns->to_agent[0]);
    close(turns->to_test[1]);
    await_agent(turns);
    return pid;
}

static void stop(struct turns *turns)
{
    close(turns->to_agent[1]);
    close(turns->to_test[0]);
}

/* ---- Children that are waited for */

#define CHILDREN 40

static void short_children(void)
{
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            burn(0.01);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            _exit(4);
    }
}

static void test_short_children_nobody_saw(void **state)
{
    struct meter meter;
    struct turns turns;
    struct rusage usage;
    int status;
    (void)state;
    meter_init(&meter);
    pid_t pid = start(&turns, short_children);
    const struct agent *agent = meter_add(&meter, pid);
    meter_tick(&meter);
    assert_int_equal(agent->processes, 1);
    give(turns.to_agent[1]);
    await_agent(&turns);
    meter_tick(&meter); /* all of them came and went in between */
    double counted = (double)agent->totals.cpu_ns / 1e9;
    stop(&turns);
    assert_int_equal(wait4(pid, &status, 0, &usage), pid); /* its own and its children's */
    assert_int_equal(status, 0);
    double truth = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    print_message("# %d children of 10 ms: counted %.3f s of %.3f s\n", CHILDREN, counted, truth);
    assert_true(truth >= CHILDREN * 0.01);
    assert_true(counted <= truth + 1e-9);
    assert_true(counted >= truth - 0.05); /* four truncated ticks, and what came after */
    meter_tick(&meter);
    assert_int_equal(agent->state, AGENT_EXITED);
    meter_done(&meter);
}

/* ---- A child that is seen, works on, and is waited for */

static void one_long_child(void)
{
    int ready[2], more[2];
    if (pipe(ready) < 0 || pipe(more) < 0)
        _exit(4);
    pid_t pid = fork();
    if (pid == 0) {
        burn(0.1);
        give(ready[1]);
        await(more[0]);
        burn(0.1);
        _exit(0);
    }
    await(ready[0]);
    (void)raise(SIGSTOP); /* the test looks now */
    give(more[1]);
    if (waitpid(pid, NULL, 0) != pid)
        _exit(4);
}

static void test_seen_child_counts_once(void **state)
{
    struct meter meter;
    struct turns turns;
    struct rusage usage;
    int status;
    (void)state;
    meter_init(&meter);
    pid_t pid = start(&turns, one_long_child);
    const struct agent *agent = meter_add(&meter, pid);
    meter_tick(&meter);
    give(turns.to_agent[1]);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    meter_tick(&meter);
    assert_int_equal(agent->processes, 2);
    double half = (double)agent->totals.cpu_ns / 1e9;
    assert_true(half >= 0.08);
    kill(pid, SIGCONT);
    await_agent(&turns);
    meter_tick(&meter);
    assert_int_equal(agent->processes, 1);
    double counted = (double)agent->totals.cpu_ns / 1e9;
    stop(&turns);
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    double truth = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    print_message(
        "# a child seen halfway: counted %.3f s, then %.3f s of %.3f s\n", half, counted, truth);
    assert_true(counted <= truth + 1e-9);
    assert_true(counted >= truth - 0.05);
    meter_done(&meter);
}

/* ---- Double forks */

static void double_fork(void)
{
    int ready[2];
    if (pipe(ready) < 0)
        _exit(4);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            close(ready[0]);
            burn(0.05);
            give(ready[1]);
            for (;;)
                pause();
        }
        _exit(0);
    }
    close(ready[1]);
    if (waitpid(pid, NULL, 0) != pid)
        _exit(4);
    await(ready[0]);
}

static void test_double_forked_child_is_found_by_its_session(void **state)
{
    struct meter meter;
    struct turns turns;
    struct proc_record members[8];
    (void)state;
    meter_init(&meter);
    pid_t pid = start(&turns, double_fork);
    const struct agent *agent = meter_add(&meter, pid);
    meter_tick(&meter);
    give(turns.to_agent[1]);
    await_agent(&turns);
    meter_tick(&meter);
    assert_int_equal(agent->processes, 2);
    assert_int_equal(registry_members(meter.registry, agent->slot, members, 8), 2);
    pid_t orphan = members[0].pid == pid ? members[1].pid : members[0].pid;
    assert_true((double)agent->totals.cpu_ns / 1e9 >= 0.03);
    stop(&turns);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    meter_tick(&meter);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    assert_int_equal(agent->processes, 1);
    assert_int_equal(kill(orphan, SIGKILL), 0);
    (void)waitpid(orphan, NULL, 0); /* ours: we adopt orphans in this test */
    meter_tick(&meter);
    assert_int_equal(agent->state, AGENT_EXITED);
    meter_done(&meter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_children_nobody_saw),
        cmocka_unit_test(test_seen_child_counts_once),
        cmocka_unit_test(test_double_forked_child_is_found_by_its_session),
    };
    /* Whoever reaps orphans elsewhere may take its time. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests_name("accounts through procfs", tests, NULL, NULL);
}
