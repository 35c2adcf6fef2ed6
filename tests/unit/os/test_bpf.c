/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF collector on the running kernel: records, membership, accounts. Needs privileges;
 * where they or type information are missing every test is skipped, with the reason. */
#include "os/bpf_collector.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/parse.h"
#include "os/procfs.h"
#include "bpf_fixture.h"
#include "workload.h"

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
    uint32_t all = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_RSS |
                   PROC_KNOWN_RSS_SPLIT | PROC_KNOWN_SWAP | PROC_KNOWN_IO | PROC_KNOWN_FDS |
                   PROC_KNOWN_THREADS | PROC_KNOWN_CGROUP | PROC_KNOWN_MM | PROC_KNOWN_UID |
                   PROC_KNOWN_SLOT | PROC_KNOWN_SESSION;
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

/* A thread that was joined is still there for a moment. */
static void wait_for_threads(unsigned threads)
{
    struct stat task;
    while (stat("/proc/self/task", &task) == 0 && task.st_nlink > 2 + threads)
        sched_yield();
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
    wait_for_threads(1);
    read_sample();
    used = used_self_ns();
    self = find(getpid());
    assert_int_equal(self->threads, 1);
    assert_in_range(self->utime_ns + self->stime_ns, used - 20 * MS, used);
    pthread_barrier_destroy(&barrier);
}

static void test_children_that_were_waited_for_are_told(void **state)
{
    (void)state;
    fork_and_spin(3, 10 * MS);
    read_sample();
    const struct proc_record *self = find(getpid());
    uint64_t used = used_children_ns();
    assert_true(used >= 30 * MS);
    assert_in_range(self->cutime_ns + self->cstime_ns, used, used + 2 * NS_PER_USEC);
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

/* ---- Robustness */

static void test_cycles_leak_nothing(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_nothing, NULL);
    adopt(1, worker.pid);
    collector->ops->release(collector, 1);
    uint32_t before = fds_of_self();
    for (int i = 0; i < scaled(1000); i++) {
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
    for (int i = 0; i < scaled(5); i++) {
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_of_ourselves_agrees_with_proc),
        cmocka_unit_test(test_records_ascend_and_hold_no_kernel_threads),
        cmocka_unit_test(test_memory_is_exact_and_split),
        cmocka_unit_test(test_descriptors_are_counted_over_the_whole_table),
        cmocka_unit_test(test_cpu_and_threads_of_a_process_are_sums),
        cmocka_unit_test(test_children_that_were_waited_for_are_told),
        cmocka_unit_test(test_a_daemonized_grandchild_stays_a_member),
        cmocka_unit_test(test_adopting_takes_the_whole_tree_and_release_frees_it),
        cmocka_unit_test(test_a_nested_agent_takes_over_its_process),
        cmocka_unit_test(test_bad_adoptions_change_nothing),
        cmocka_unit_test(test_cycles_leak_nothing),
        cmocka_unit_test(test_loading_and_unloading_leaks_nothing),
        cmocka_unit_test(test_every_failure_is_reported),
        cmocka_unit_test(test_options_out_of_range_are_refused),
    };

    if (bpf_skip_all())
        return 0;
    shared_pids = shared_memory(4096);
    return cmocka_run_group_tests_name("bpf", tests, bpf_setup, bpf_teardown);
}
