/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF collector on the running kernel: records, membership, accounts. Needs privileges;
 * where they or type information are missing every test is skipped, with the reason. */
#include "os/bpf_collector.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/parse.h"
#include "os/procfs.h"
#include "workload.h"

#define MS NS_PER_MSEC

static struct collector_source *collector;
static struct sample sample;

static int setup(void **state)
{
    struct bpf_options options = {.max_slot = 64};
    struct ac_error error;

    (void)state;
    if (bpf_collector_new(&options, &collector, &error) == 0)
        return 0;
    print_message("# %s\n", error.message);
    return -1;
}

static int teardown(void **state)
{
    (void)state;
    if (collector)
        collector->ops->free(collector);
    collector = NULL;
    return 0;
}

static void read_sample(void)
{
    assert_int_equal(collector->ops->read(collector, &sample), 0);
}

static const struct proc_record *find(pid_t pid)
{
    for (size_t i = 0; i < sample.n_procs; i++) {
        if (sample.procs[i].pid == pid)
            return &sample.procs[i];
    }
    return NULL;
}

static const struct slot_record *slot_of(agent_slot slot)
{
    for (size_t i = 0; i < sample.n_slots; i++) {
        if (sample.slots[i].slot == slot)
            return &sample.slots[i];
    }
    return NULL;
}

static uint64_t start_ticks(pid_t pid)
{
    uint64_t ticks = 0;
    int fd cleanup_close = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);

    assert_int_equal(procfs_start_ticks(fd, pid, &ticks), 0);
    return ticks;
}

static void adopt(agent_slot slot, pid_t pid)
{
    assert_int_equal(collector->ops->adopt(collector, slot, pid, start_ticks(pid)), 0);
}

static bool no_member_left(void *argument)
{
    agent_slot slot = *(agent_slot *)argument;

    read_sample();
    for (size_t i = 0; i < sample.n_procs; i++) {
        if (sample.procs[i].slot == slot && sample.procs[i].state != 'Z')
            return false;
    }
    return true;
}

/* ---- Records */

static void test_record_of_ourselves_agrees_with_proc(void **state)
{
    (void)state;
    read_sample();
    const struct proc_record *self = find(getpid());
    assert_non_null(self);
    assert_int_equal(self->ppid, getppid());
    assert_int_equal(self->pgrp, getpgrp());
    assert_int_equal(self->session, getsid(0));
    assert_int_equal(self->start_ticks, start_ticks(getpid()));
    assert_int_equal(self->uid, getuid());
    assert_int_equal(self->threads, 1);
    assert_int_equal(self->state, 'R');
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    assert_string_equal(self->name, name);
    uint32_t all = PROC_KNOWN_CPU | PROC_KNOWN_RSS | PROC_KNOWN_RSS_SPLIT | PROC_KNOWN_SWAP |
                   PROC_KNOWN_IO | PROC_KNOWN_FDS | PROC_KNOWN_THREADS | PROC_KNOWN_CGROUP |
                   PROC_KNOWN_MM | PROC_KNOWN_UID | PROC_KNOWN_SLOT | PROC_KNOWN_SESSION;
    assert_int_equal(self->known, all);
}

static void test_records_ascend_and_hold_no_kernel_threads(void **state)
{
    (void)state;
    read_sample();
    assert_true(sample.n_procs > 1);
    for (size_t i = 1; i < sample.n_procs; i++)
        assert_true(sample.procs[i - 1].pid < sample.procs[i].pid);
    assert_null(find(2));
}

static uint64_t anon_now(void)
{
    read_sample();
    return find(getpid())->rss_anon_bytes;
}

static void test_memory_is_exact_and_split(void **state)
{
    (void)state;
    size_t size = 16u << 20;
    uint64_t before = anon_now();
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_true(memory != MAP_FAILED);
    uint64_t grown = anon_now() - before;
    /* The sample's own buffers may have grown by a few pages. */
    assert_in_range(grown, size, size + (256u << 10));
    uint64_t shared_before = find(getpid())->rss_shmem_bytes;
    char *shared =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_true(shared != MAP_FAILED);
    read_sample();
    assert_in_range(find(getpid())->rss_shmem_bytes - shared_before, size, size + 65536);
    munmap(shared, size);
    munmap(memory, size);
}

static uint32_t fds_of_self(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 3; /* ".", "..", and the directory itself */
}

static void test_descriptors_are_counted_over_the_whole_table(void **state)
{
    static const int high[] = {0, 63, 64, 255, 256, 700, 1000};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(high); i++) {
        if (high[i])
            assert_int_equal(fcntl(0, F_DUPFD_CLOEXEC, high[i]) >= high[i], 1);
        uint32_t expected = fds_of_self() + 1; /* the iterator's own */
        read_sample();
        assert_int_equal(find(getpid())->fds, expected);
    }
    for (int fd = 63; fd < 1010; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            close(fd);
    }
}

static void *spin_and_wait(void *argument)
{
    spin_thread(30 * MS);
    pthread_barrier_wait(argument);
    pthread_barrier_wait(argument);
    return NULL;
}

static void test_cpu_and_threads_of_a_process_are_sums(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_t threads[8];

    spin_process(50 * MS);
    pthread_barrier_init(&barrier, NULL, 9);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spin_and_wait, &barrier), 0);
    pthread_barrier_wait(&barrier);
    read_sample();
    const struct proc_record *self = find(getpid());
    uint64_t used = used_self_ns();
    assert_int_equal(self->threads, 9);
    assert_in_range(self->utime_ns + self->stime_ns, used - 20 * MS, used);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    read_sample();
    used = used_self_ns();
    self = find(getpid());
    assert_int_equal(self->threads, 1);
    assert_in_range(self->utime_ns + self->stime_ns, used - 20 * MS, used);
    pthread_barrier_destroy(&barrier);
}

/* ---- Membership */

static pid_t *shared_pids;

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

/* Leaves a grandchild in a session of its own, whose parent is gone. */
static void work_daemonize(void *argument)
{
    (void)argument;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        pid_t grandchild = fork();
        if (grandchild == 0)
            wait_for_ever();
        shared_pids[0] = grandchild;
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void test_a_daemonized_grandchild_stays_a_member(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_daemonize, NULL);
    adopt(3, worker.pid);
    worker_go(&worker);
    worker_wait_done(&worker);
    read_sample();
    const struct proc_record *grandchild = find(shared_pids[0]);
    assert_non_null(grandchild);
    assert_int_equal(grandchild->slot, 3);
    assert_int_not_equal(grandchild->ppid, worker.pid);
    assert_int_equal(find(worker.pid)->slot, 3);
    assert_int_equal(find(getpid())->slot, 0);
    assert_int_equal(slot_of(3)->processes_total, 3);
    kill(shared_pids[0], SIGKILL);
    worker_end(&worker);
    agent_slot slot = 3;
    assert_true(eventually(no_member_left, &slot));
    collector->ops->release(collector, 3);
    read_sample();
    assert_null(slot_of(3));
}

static void work_tree(void *argument)
{
    int depth = *(int *)argument;

    for (int i = 0; i < depth; i++) {
        pid_t child = fork();
        if (child) {
            shared_pids[i] = child;
            if (i > 0)
                wait_for_ever();
            break;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (i == depth - 1)
            wait_for_ever();
    }
    while (!((volatile pid_t *)shared_pids)[depth - 1])
        usleep(1000);
}

static void test_adopting_takes_the_whole_tree_and_release_frees_it(void **state)
{
    struct worker worker;
    int depth = 20;

    (void)state;
    memset(shared_pids, 0, 4096);
    worker_start(&worker, work_tree, &depth);
    worker_go(&worker);
    worker_wait_done(&worker);
    adopt(5, worker.pid);
    read_sample();
    for (int i = 0; i < depth; i++)
        assert_int_equal(find(shared_pids[i])->slot, 5);
    assert_int_equal(slot_of(5)->processes_total, depth + 1);
    assert_true(slot_of(5)->cpu_ns < 20 * MS); /* what was used before is not the slot's */
    collector->ops->release(collector, 5);
    read_sample();
    for (int i = 0; i < depth; i++)
        assert_int_equal(find(shared_pids[i])->slot, 0);
    assert_null(slot_of(5));
    kill(shared_pids[0], SIGKILL);
    worker_end(&worker);
}

static void work_nothing(void *argument)
{
    (void)argument;
}

static void test_a_nested_agent_takes_over_its_process(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_nothing, NULL);
    adopt(6, worker.pid);
    adopt(7, worker.pid);
    read_sample();
    assert_int_equal(find(worker.pid)->slot, 7);
    assert_int_equal(slot_of(6)->processes_total, 1);
    assert_int_equal(slot_of(7)->processes_total, 1);
    worker_go(&worker);
    worker_end(&worker);
    collector->ops->release(collector, 6);
    collector->ops->release(collector, 7);
}

static void test_bad_adoptions_change_nothing(void **state)
{
    (void)state;
    uint64_t ticks = start_ticks(getpid());
    assert_int_equal(collector->ops->adopt(collector, 9, getpid(), ticks + 1), -ESRCH);
    assert_int_equal(collector->ops->adopt(collector, 9, 0x7ffffffe, 0), -ESRCH);
    assert_int_equal(collector->ops->adopt(collector, 9, 2, 0), -ESRCH); /* a kernel thread */
    assert_int_equal(collector->ops->adopt(collector, 0, getpid(), ticks), -ERANGE);
    assert_int_equal(collector->ops->adopt(collector, 65, getpid(), ticks), -ERANGE);
    collector->ops->release(collector, 9);
    collector->ops->release(collector, 100000);
    read_sample();
    assert_int_equal(sample.n_slots, 0);
    assert_int_equal(find(getpid())->slot, 0);
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

static void fork_and_spin(int count, uint64_t ns)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            spin_process(ns);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

/* A: the parent waits for children of 20 ms. */
static void work_waited(void *argument)
{
    (void)argument;
    fork_and_spin(40, 20 * MS);
    note_truth();
}

/* Many children of 3 ms: most have never been accounted when they exit. */
static void work_short(void *argument)
{
    (void)argument;
    fork_and_spin(300, 3 * MS);
    note_truth();
}

/* Compilers that exist for less than a clock tick. */
static void work_tiny(void *argument)
{
    (void)argument;
    fork_and_spin(1000, 300 * NS_PER_USEC);
    note_truth();
}

/* The kernel reaps them itself. */
static void work_auto_reaped(void *argument)
{
    (void)argument;
    signal(SIGCHLD, SIG_IGN);
    fork_and_spin(40, 10 * MS);
    note_truth();
}

/* B: double-forked children that init reaps, or whoever is the subreaper. */
static void work_elsewhere(void *argument)
{
    (void)argument;
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (fork() == 0)
                spin_process(20 * MS);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
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
    for (int i = 0; i < 50; i++) {
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
    for (int i = 0; i < 5; i++) {
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
    for (int i = 0; i < 5; i++) {
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
    for (int i = 0; i < 30; i++) {
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
    bool children_known; /* by getrusage */
};

static const struct workload workloads[] = {
    {"A: 40 children of 20 ms, parent waits", work_waited, true},
    {"300 children of 3 ms", work_short, true},
    {"1000 children of 0.3 ms", work_tiny, true},
    {"auto-reaped children of 10 ms", work_auto_reaped, false},
    {"B: 40 double-forked children of 20 ms", work_elsewhere, false},
    {"200 threads of 3 ms", work_threads, true},
    {"exec by a thread", work_thread_exec, true},
    {"first thread exits first", work_leader_first, true},
    {"zombies not yet reaped", work_zombies, false},
};

struct settle {
    const struct test_cgroup *cgroup;
    agent_slot slot;
    uint64_t slot_ns;
    uint64_t cgroup_ns;
};

/* Releases arrive a moment after the last exit. */
static bool settled(void *argument)
{
    struct settle *settle = argument;
    uint64_t before = settle->slot_ns;

    read_sample();
    settle->slot_ns = slot_of(settle->slot)->cpu_ns;
    settle->cgroup_ns = test_cgroup_cpu_ns(settle->cgroup);
    usleep(60000);
    return before && before == settle->slot_ns && no_member_left(&settle->slot) == false;
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
    struct settle settle = {.cgroup = &cgroup, .slot = 2};
    assert_true(eventually(settled, &settle));
    double by_group = error_percent(settle.slot_ns, settle.cgroup_ns);
    print_message("# %-40s cpu.stat %7.1f ms  bpf %+6.2f %%", workload->name,
        (double)settle.cgroup_ns / 1e6, by_group);
    double by_rusage = 0;
    if (workload->children_known) {
        by_rusage = error_percent(settle.slot_ns, truth->self_ns + truth->children_ns);
        print_message("  against getrusage %+6.2f %%", by_rusage);
    }
    print_message("\n");
    worker_end(&worker);
    collector->ops->release(collector, 2);
    test_cgroup_done(&cgroup);
    assert_true(by_group > -2.0 && by_group < 2.0);
    assert_true(by_rusage > -2.0 && by_rusage < 2.0);
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
    for (int i = 0; i < 200; i++) {
        read_sample();
        uint64_t cpu = slot_of(2)->cpu_ns;
        uint64_t most = test_cgroup_cpu_ns(&cgroup); /* read later: never less, but for its grain */
        assert_true(cpu >= last);
        assert_true(cpu <= most + 5 * MS);
        last = cpu;
    }
    worker_wait_done(&worker);
    struct settle settle = {.cgroup = &cgroup, .slot = 2};
    assert_true(eventually(settled, &settle));
    double error = error_percent(settle.slot_ns, settle.cgroup_ns);
    assert_true(error > -2.0 && error < 2.0);
    worker_end(&worker);
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

/* ---- Robustness */

static void test_cycles_leak_nothing(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_nothing, NULL);
    adopt(1, worker.pid);
    collector->ops->release(collector, 1);
    uint32_t before = fds_of_self();
    for (int i = 0; i < 1000; i++) {
        adopt((agent_slot)(i % 64) + 1, worker.pid);
        collector->ops->release(collector, (agent_slot)(i % 64) + 1);
    }
    assert_int_equal(fds_of_self(), before);
    read_sample();
    assert_int_equal(sample.n_slots, 0);
    assert_int_equal(sample.lost, 0);
    worker_go(&worker);
    worker_end(&worker);
}

static void test_loading_and_unloading_leaks_nothing(void **state)
{
    struct bpf_options options = {.max_slot = 64};
    struct ac_error error;
    struct sample unused;

    (void)state;
    uint32_t before = fds_of_self();
    for (int i = 0; i < 5; i++) {
        struct collector_source *other = NULL;
        assert_int_equal(bpf_collector_new(&options, &other, &error), 0);
        assert_int_equal(other->ops->read(other, &unused), 0);
        other->ops->free(other);
    }
    assert_int_equal(fds_of_self(), before);
}

static void test_every_failure_is_reported(void **state)
{
    unsigned failures = 0;

    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            struct sample other = {.lost = 77};
            fault_arm(kind, n);
            int r = collector->ops->read(collector, &other);
            if (!fault_disarm())
                break;
            failures++;
            if (r < 0)
                assert_int_equal(other.lost, 77);
        }
    }
    assert_true(failures > 0);
    read_sample();
    assert_non_null(find(getpid()));
}

static void test_options_out_of_range_are_refused(void **state)
{
    struct ac_error error;
    struct collector_source *other = NULL;
    struct bpf_options none = {.max_slot = 0};
    struct bpf_options many = {.max_slot = 1u << 20};

    (void)state;
    assert_int_equal(bpf_collector_new(&none, &other, &error), -EINVAL);
    assert_int_equal(bpf_collector_new(&many, &other, &error), -EINVAL);
    assert_null(other);
}

int main(void)
{
    struct ac_error error;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_of_ourselves_agrees_with_proc),
        cmocka_unit_test(test_records_ascend_and_hold_no_kernel_threads),
        cmocka_unit_test(test_memory_is_exact_and_split),
        cmocka_unit_test(test_descriptors_are_counted_over_the_whole_table),
        cmocka_unit_test(test_cpu_and_threads_of_a_process_are_sums),
        cmocka_unit_test(test_a_daemonized_grandchild_stays_a_member),
        cmocka_unit_test(test_adopting_takes_the_whole_tree_and_release_frees_it),
        cmocka_unit_test(test_a_nested_agent_takes_over_its_process),
        cmocka_unit_test(test_bad_adoptions_change_nothing),
        cmocka_unit_test(test_accounts_are_exact_for_every_way_to_live_and_die),
        cmocka_unit_test(test_samples_during_exits_are_monotone),
        cmocka_unit_test(test_written_bytes_survive_the_writer),
        cmocka_unit_test(test_cycles_leak_nothing),
        cmocka_unit_test(test_loading_and_unloading_leaks_nothing),
        cmocka_unit_test(test_every_failure_is_reported),
        cmocka_unit_test(test_options_out_of_range_are_refused),
    };

    if (bpf_usable(&error) < 0) {
        printf("1..0 # SKIP %s\n", error.message);
        return 0;
    }
    shared_pids = shared_memory(4096);
    truth = shared_memory(sizeof(*truth));
    return cmocka_run_group_tests_name("bpf", tests, setup, teardown);
}
