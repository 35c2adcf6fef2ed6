/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts of the BPF collector against getrusage and cpu.stat, for every way in which processes
 * come and go; a table that is printed. Needs privileges, see test_bpf.c. */
#include "os/bpf_collector.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bpf_fixture.h"
#include "workload.h"

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

/* ---- Accounts */

struct truth {
    uint64_t self_ns;
    uint64_t children_ns;
};

static struct truth *truth;

static void note_truth(void)
{
    truth->self_ns = used_self_ns();
    truth->children_ns = used_children_ns();
}

/* A: the parent waits for children of 20 ms. */
static void work_waited(void *argument)
{
    (void)argument;
    fork_and_spin(scaled(40), 20 * MS);
    note_truth();
}

/* Many children of 3 ms: most have never been accounted when they exit. */
static void work_short(void *argument)
{
    (void)argument;
    fork_and_spin(scaled(300), 3 * MS);
    note_truth();
}

/* Compilers that exist for less than a clock tick. */
static void work_tiny(void *argument)
{
    (void)argument;
    fork_and_spin(scaled(1000), 300 * NS_PER_USEC);
    note_truth();
}

/* The kernel reaps them itself. */
static void work_auto_reaped(void *argument)
{
    (void)argument;
    signal(SIGCHLD, SIG_IGN);
    fork_and_spin(scaled(40), 10 * MS);
    note_truth();
}

/* B: double-forked children that init reaps, or whoever is the subreaper. */
static void work_elsewhere(void *argument)
{
    (void)argument;
    fork_twice_and_spin(scaled(40), 20 * MS);
    note_truth();
}

static void *thread_of_3ms(void *argument)
{
    spin_thread(3 * MS);
    return argument;
}

static void work_threads(void *argument)
{
    (void)argument;
    for (int i = 0; i < scaled(50); i++) {
        pthread_t threads[4];
        for (int j = 0; j < 4; j++)
            pthread_create(&threads[j], NULL, thread_of_3ms, NULL);
        for (int j = 0; j < 4; j++)
            pthread_join(threads[j], NULL);
    }
    note_truth();
}

static void *exec_from_thread(void *argument)
{
    (void)argument;
    spin_thread(20 * MS);
    execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", (char *)NULL);
    _exit(1);
}

/* A thread that is not the first one calls exec. */
static void work_thread_exec(void *argument)
{
    (void)argument;
    for (int i = 0; i < scaled(5); i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            spin_process(10 * MS);
            pthread_create(&thread, NULL, exec_from_thread, NULL);
            wait_for_ever();
        }
        waitpid(child, NULL, 0);
    }
    note_truth();
}

static void *outlive_leader(void *argument)
{
    spin_thread(60 * MS);
    _exit(0);
    return argument;
}

/* The first thread exits long before the others. */
static void work_leader_first(void *argument)
{
    (void)argument;
    for (int i = 0; i < scaled(5); i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            spin_process(10 * MS);
            pthread_create(&thread, NULL, outlive_leader, NULL);
            pthread_exit(NULL);
        }
        waitpid(child, NULL, 0);
    }
    note_truth();
}

/* Zombies that nobody has waited for yet. */
static void work_zombies(void *argument)
{
    (void)argument;
    for (int i = 0; i < scaled(30); i++) {
        pid_t child = fork();
        if (child == 0) {
            spin_process(10 * MS);
            _exit(0);
        }
        siginfo_t info;
        waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    }
    note_truth();
}

struct workload {
    const char *name;
    void (*work)(void *argument);
    /* getrusage is told by waiting, and lacks the last slice of a thread that the kernel released
     * while it was still running, as all but the first are. */
    bool rusage_is_exact;
};

static const struct workload workloads[] = {
    {"A: 40 children of 20 ms, parent waits", work_waited, true},
    {"300 children of 3 ms", work_short, true},
    {"1000 children of 0.3 ms", work_tiny, true},
    {"auto-reaped children of 10 ms", work_auto_reaped, false},
    {"B: 40 double-forked children of 20 ms", work_elsewhere, false},
    {"200 threads of 3 ms", work_threads, false},
    {"exec by a thread", work_thread_exec, false},
    {"first thread exits first", work_leader_first, false},
    {"zombies not yet reaped", work_zombies, false},
};

struct settle {
    const struct test_cgroup *cgroup;
    agent_slot slot;
    unsigned left;
    uint64_t slot_ns;
    uint64_t cgroup_ns;
};

static unsigned living_members(agent_slot slot)
{
    unsigned count = 0;

    for (size_t i = 0; i < sample.n_procs; i++)
        count += sample.procs[i].slot == slot && sample.procs[i].state != 'Z';
    return count;
}

/* Releases arrive a moment after the last exit. Only the worker is left then, and in the bomb
 * those that live on, which use nothing. */
static bool settled(void *argument)
{
    struct settle *settle = argument;
    uint64_t before = settle->slot_ns;

    read_sample();
    settle->slot_ns = slot_of(settle->slot)->cpu_ns;
    settle->cgroup_ns = test_cgroup_cpu_ns(settle->cgroup);
    usleep(60000);
    return before && before == settle->slot_ns && living_members(settle->slot) <= settle->left;
}

static double error_percent(uint64_t measured, uint64_t expected)
{
    return ((double)measured - (double)expected) * 100.0 / (double)expected;
}

static void run_workload(const struct workload *workload)
{
    struct worker worker;
    struct test_cgroup cgroup;

    if (!test_cgroup_make(&cgroup))
        skip();
    memset(truth, 0, sizeof(*truth));
    worker_start(&worker, workload->work, NULL);
    test_cgroup_add(&cgroup, worker.pid);
    adopt(2, worker.pid);
    worker_go(&worker);
    worker_wait_done(&worker);
    struct settle settle = {.cgroup = &cgroup, .slot = 2, .left = 1};
    assert_true(eventually(settled, &settle));
    double by_group = error_percent(settle.slot_ns, settle.cgroup_ns);
    print_message("# %-40s cpu.stat %7.1f ms  bpf %+6.2f %%", workload->name,
        (double)settle.cgroup_ns / 1e6, by_group);
    double by_rusage = 0;
    if (workload->rusage_is_exact) {
        by_rusage = error_percent(settle.slot_ns, truth->self_ns + truth->children_ns);
        print_message("  against getrusage %+6.2f %%", by_rusage);
    }
    print_message("\n");
    worker_end(&worker);
    collector->ops->release(collector, 2);
    test_cgroup_done(&cgroup);
    assert_true(by_group > -2.0 && by_group < 2.0);
    /* Told by the worker before it had told us so, which an emulated machine takes its time for. */
    double bound = scaled(100) < 100 ? 15.0 : 2.0;
    assert_true(by_rusage > -bound && by_rusage < bound);
}

static void test_accounts_are_exact_for_every_way_to_live_and_die(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
        run_workload(&workloads[i]);
}

/* Samples taken while children come and go never go back, and end at the truth. */
static void test_samples_during_exits_are_monotone(void **state)
{
    struct worker worker;
    struct test_cgroup cgroup;
    uint64_t last = 0;

    (void)state;
    if (!test_cgroup_make(&cgroup))
        skip();
    worker_start(&worker, work_short, NULL);
    test_cgroup_add(&cgroup, worker.pid);
    adopt(2, worker.pid);
    worker_go(&worker);
    for (int i = 0; i < scaled(200); i++) {
        read_sample();
        uint64_t cpu = slot_of(2)->cpu_ns;
        uint64_t most = test_cgroup_cpu_ns(&cgroup); /* read later: never less, but for its grain */
        assert_true(cpu >= last);
        assert_true(cpu <= most + 5 * MS);
        last = cpu;
    }
    worker_wait_done(&worker);
    struct settle settle = {.cgroup = &cgroup, .slot = 2, .left = 1};
    assert_true(eventually(settled, &settle));
    double error = error_percent(settle.slot_ns, settle.cgroup_ns);
    assert_true(error > -2.0 && error < 2.0);
    worker_end(&worker);
    collector->ops->release(collector, 2);
    test_cgroup_done(&cgroup);
}

/* ---- A fork bomb */

#define BOMB_SHORT  2000
#define BOMB_LIVING 500

static void work_bomb(void *argument)
{
    (void)argument;
    for (int i = 0; i < scaled(BOMB_LIVING); i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            wait_for_ever();
        }
    }
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < scaled(BOMB_SHORT); i++) {
        if (fork() == 0)
            _exit(0);
    }
    /* The kernel reaps; until it has, a process may still be on its way out. */
    usleep(200000);
}

static void test_a_fork_bomb_is_counted_to_the_last_process(void **state)
{
    struct worker worker;
    struct test_cgroup cgroup;

    (void)state;
    if (!test_cgroup_make(&cgroup))
        skip();
    read_sample();
    uint64_t lost = sample.lost;
    worker_start(&worker, work_bomb, NULL);
    test_cgroup_add(&cgroup, worker.pid);
    adopt(2, worker.pid);
    worker_go(&worker);
    struct pollfd done = {.fd = worker.done_fd, .events = POLLIN};
    while (poll(&done, 1, 20) == 0)
        read_sample();
    worker_wait_done(&worker);
    struct settle settle = {
        .cgroup = &cgroup, .slot = 2, .left = 1 + (unsigned)scaled(BOMB_LIVING)};
    assert_true(eventually(settled, &settle));
    int expected = 1 + scaled(BOMB_LIVING) + scaled(BOMB_SHORT);
    assert_int_equal(slot_of(2)->processes_total, expected);
    assert_int_equal(sample.lost, lost);
    double error = error_percent(settle.slot_ns, settle.cgroup_ns);
    print_message("# fork bomb of %d: cpu.stat %.1f ms  bpf %+.2f %%\n", expected,
        (double)settle.cgroup_ns / 1e6, error);
    assert_true(error > -2.0 && error < 2.0);
    worker_end(&worker);
    agent_slot slot = 2;
    assert_true(eventually(no_member_left, &slot));
    collector->ops->release(collector, 2);
    test_cgroup_done(&cgroup);
}

/* ---- Storage */

static void work_write(void *argument)
{
    static char block[1 << 20];
    int fd = open(argument, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    for (int i = 0; i < 8; i++) {
        if (write(fd, block, sizeof(block)) != sizeof(block))
            abort();
    }
    fsync(fd);
    close(fd);
    pid_t child = fork();
    if (child == 0) {
        fd = open(argument, O_WRONLY | O_CLOEXEC);
        if (pwrite(fd, block, sizeof(block), 8 << 20) != sizeof(block))
            abort();
        fsync(fd);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void test_written_bytes_survive_the_writer(void **state)
{
    struct worker worker;
    char path[] = "test_bpf.tmp";

    (void)state;
    worker_start(&worker, work_write, path);
    adopt(4, worker.pid);
    worker_go(&worker);
    worker_wait_done(&worker);
    read_sample();
    uint64_t written = slot_of(4)->written_bytes;
    unlink(path);
    worker_end(&worker);
    collector->ops->release(collector, 4);
    if (written == 0)
        skip(); /* a file system in memory */
    assert_in_range(written, 9u << 20, (9u << 20) + (1u << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accounts_are_exact_for_every_way_to_live_and_die),
        cmocka_unit_test(test_samples_during_exits_are_monotone),
        cmocka_unit_test(test_a_fork_bomb_is_counted_to_the_last_process),
        cmocka_unit_test(test_written_bytes_survive_the_writer),
    };

    if (bpf_skip_all())
        return 0;
    truth = shared_memory(sizeof(*truth));
    return cmocka_run_group_tests_name("bpf_accounts", tests, bpf_setup, bpf_teardown);
}
