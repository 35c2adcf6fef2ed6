/* SPDX-License-Identifier: Apache-2.0 */
/* Process events: datagrams of every shape, and the collector on the running kernel. */
#include "os/netlink_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/acct.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/taskstats.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "os/netlink_collector.h"
#include "workload.h"

static struct {
    int forks;
    int exits;
    int32_t parent;
    int32_t child;
    struct netlink_exit last;
} seen;

static void on_fork(void *userdata, int32_t parent, int32_t child)
{
    (void)userdata;
    seen.forks++;
    seen.parent = parent;
    seen.child = child;
}

static void on_thread_exit(void *userdata, const struct netlink_exit *exited)
{
    (void)userdata;
    seen.exits++;
    seen.last = *exited;
}

static const struct netlink_handlers handlers = {on_fork, on_thread_exit, NULL};

static size_t make_fork(char *to, int32_t child_pid, int32_t child_tgid)
{
    struct nlmsghdr header = {.nlmsg_type = NLMSG_DONE};
    struct proc_event event = {.what = PROC_EVENT_FORK};

    event.event_data.fork.parent_tgid = 10;
    event.event_data.fork.child_pid = child_pid;
    event.event_data.fork.child_tgid = child_tgid;
    header.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + sizeof(struct cn_msg) + sizeof(event));
    memcpy(to, &header, sizeof(header));
    memset(to + NLMSG_HDRLEN, 0, sizeof(struct cn_msg));
    memcpy(to + NLMSG_HDRLEN + sizeof(struct cn_msg), &event, sizeof(event));
    return header.nlmsg_len;
}

static size_t make_exit(char *to, const struct taskstats *stats)
{
    struct nlmsghdr header = {.nlmsg_type = 30};
    struct nlattr inner = {
        .nla_type = TASKSTATS_TYPE_STATS, .nla_len = (uint16_t)(NLA_HDRLEN + sizeof(*stats))};
    struct nlattr outer = {
        .nla_type = TASKSTATS_TYPE_AGGR_PID, .nla_len = (uint16_t)(NLA_HDRLEN + inner.nla_len)};
    size_t at = NLMSG_HDRLEN + GENL_HDRLEN;

    memset(to, 0, at);
    memcpy(to, &header, sizeof(header));
    memcpy(to + at, &outer, sizeof(outer));
    memcpy(to + at + NLA_HDRLEN, &inner, sizeof(inner));
    memcpy(to + at + 2 * NLA_HDRLEN, stats, sizeof(*stats));
    return at + outer.nla_len;
}

static void test_forks_of_processes_are_told_and_of_threads_not(void **state)
{
    char message[512];

    (void)state;
    memset(&seen, 0, sizeof(seen));
    netlink_parse_connector(message, make_fork(message, 11, 11), &handlers);
    assert_int_equal(seen.forks, 1);
    assert_int_equal(seen.parent, 10);
    assert_int_equal(seen.child, 11);
    netlink_parse_connector(message, make_fork(message, 12, 11), &handlers);
    assert_int_equal(seen.forks, 1);
}

static void test_exits_are_told(void **state)
{
    char message[1024];
    struct taskstats stats = {.version = 13,
        .ac_pid = 5,
        .ac_tgid = 4,
        .ac_flag = AGROUP,
        .ac_utime = 3000,
        .ac_stime = 1000,
        .cpu_run_virtual_total = 1,
        .read_bytes = 7,
        .write_bytes = 8,
        .hiwater_rss = 2};

    (void)state;
    memset(&seen, 0, sizeof(seen));
    netlink_parse_taskstats(message, make_exit(message, &stats), &handlers);
    assert_int_equal(seen.exits, 1);
    assert_int_equal(seen.last.pid, 5);
    assert_int_equal(seen.last.tgid, 4);
    assert_true(seen.last.last);
    assert_int_equal(seen.last.cpu_ns, 4000000);
    assert_int_equal(seen.last.read_bytes, 7);
    assert_int_equal(seen.last.written_bytes, 8);
    assert_int_equal(seen.last.rss_peak_bytes, 2048);
    stats.cpu_run_virtual_total = 7000000; /* a busy machine's ticks went to others */
    netlink_parse_taskstats(message, make_exit(message, &stats), &handlers);
    assert_int_equal(seen.last.cpu_ns, 7000000);
    stats.cpu_run_virtual_total = 5000000000u;
    netlink_parse_taskstats(message, make_exit(message, &stats), &handlers);
    assert_int_equal(seen.last.cpu_ns, 5000000000u);
    stats.version = 11; /* does not tell the process */
    netlink_parse_taskstats(message, make_exit(message, &stats), &handlers);
    assert_int_equal(seen.exits, 3);
}

/* Each datagram is cut at every length and has every byte changed, in memory of its exact size. */
static void test_any_bytes_are_survived(void **state)
{
    char message[1024];
    struct taskstats stats = {.version = 13, .ac_tgid = 4};
    size_t sizes[2];

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        sizes[kind] = kind ? make_exit(message, &stats) : make_fork(message, 11, 11);
        for (size_t length = 0; length <= sizes[kind]; length++) {
            char *exact = mem_alloc(length + 1);
            memcpy(exact, message, length);
            netlink_parse_connector(exact, length, &handlers);
            netlink_parse_taskstats(exact, length, &handlers);
            mem_free(exact);
        }
        for (size_t at = 0; at < MIN(sizes[kind], (size_t)64); at++) {
            for (int value = 0; value < 256; value++) {
                char *exact = mem_alloc(sizes[kind]);
                memcpy(exact, message, sizes[kind]);
                exact[at] = (char)value;
                netlink_parse_connector(exact, sizes[kind], &handlers);
                netlink_parse_taskstats(exact, sizes[kind], &handlers);
                mem_free(exact);
            }
        }
    }
}

/* ---- On the running kernel */

static struct collector_source *collector;

static int setup(void **state)
{
    struct procfs_options options = {.processes = true};
    struct ac_error error;

    (void)state;
    if (netlink_collector_new(&options, 8, &collector, &error) < 0) {
        print_message("# %s\n", error.message);
        collector = NULL;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (collector)
        collector->ops->free(collector);
    return 0;
}

static void work_forks(void *argument)
{
    (void)argument;
    fork_and_spin(20, NS_PER_MSEC);
    fork_twice_and_spin(20, NS_PER_MSEC);
}

static uint64_t ticks_of(pid_t pid)
{
    uint64_t ticks = 0;
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(procfs_start_ticks(proc_fd, pid, &ticks), 0);
    close(proc_fd);
    return ticks;
}

struct counts {
    size_t exits;
    bool root_listed;
    pid_t root;
};

static bool all_exits_seen(void *argument)
{
    struct counts *counts = argument;
    struct sample sample;

    assert_int_equal(collector->ops->read(collector, &sample), 0);
    for (size_t i = 0; i < sample.n_exits; i++)
        counts->exits += sample.exits[i].slot == 3;
    for (size_t i = 0; i < sample.n_procs; i++) {
        assert_true(sample.procs[i].known & PROC_KNOWN_SLOT);
        counts->root_listed |= sample.procs[i].pid == counts->root && sample.procs[i].slot == 3;
    }
    return counts->exits >= 60;
}

static void test_every_exit_of_a_member_is_told_once(void **state)
{
    struct worker worker;

    (void)state;
    if (!collector)
        skip();
    worker_start(&worker, work_forks, NULL);
    struct counts counts = {.root = worker.pid};
    assert_int_equal(collector->ops->adopt(collector, 3, worker.pid, ticks_of(worker.pid)), 0);
    worker_go(&worker);
    worker_wait_done(&worker);
    assert_true(eventually(all_exits_seen, &counts));
    assert_true(counts.root_listed);
    all_exits_seen(&counts);
    assert_int_equal(counts.exits, 60); /* 20, and 20 with their parents */
    collector->ops->release(collector, 3);
    worker_end(&worker);
    all_exits_seen(&counts);
    assert_int_equal(counts.exits, 60);
}

#define MANY 600

static void work_many(void *argument)
{
    (void)argument;
    fork_and_spin(400, NS_PER_MSEC / 10);
    fork_twice_and_spin(100, NS_PER_MSEC / 10);
}

/* What samples said of processes of a slot: their (pid, start_ticks) must be one. */
struct told {
    struct process {
        int32_t pid;
        uint64_t start_ticks;
    } processes[2 * MANY];
    size_t n;
    size_t exits;
};

static void told_once(struct told *told, int32_t pid, uint64_t start_ticks)
{
    for (size_t i = 0; i < told->n; i++) {
        if (told->processes[i].pid != pid)
            continue;
        assert_int_equal(told->processes[i].start_ticks, start_ticks);
        return;
    }
    assert_true(told->n < ARRAY_SIZE(told->processes));
    told->processes[told->n++] = (struct process){pid, start_ticks};
}

static bool all_told(void *argument)
{
    struct told *told = argument;
    struct sample sample;

    assert_int_equal(collector->ops->read(collector, &sample), 0);
    for (size_t i = 0; i < sample.n_procs; i++) {
        if (sample.procs[i].slot == 3)
            told_once(told, sample.procs[i].pid, sample.procs[i].start_ticks);
    }
    for (size_t i = 0; i < sample.n_exits; i++) {
        if (sample.exits[i].slot == 3)
            told_once(told, sample.exits[i].pid, sample.exits[i].start_ticks);
        told->exits += sample.exits[i].slot == 3;
    }
    return told->exits >= MANY;
}

/* Born or ending while samples are taken, as close upon each other as they can be. */
static void test_what_is_listed_and_what_ends_is_one_process(void **state)
{
    struct worker worker;
    struct told told = {0};

    (void)state;
    if (!collector)
        skip();
    worker_start(&worker, work_many, NULL);
    assert_int_equal(collector->ops->adopt(collector, 3, worker.pid, ticks_of(worker.pid)), 0);
    struct pollfd done = {.fd = worker.done_fd, .events = POLLIN};
    worker_go(&worker);
    while (poll(&done, 1, 0) == 0)
        all_told(&told);
    worker_wait_done(&worker);
    eventually(all_told, &told);
    for (int i = 0; i < 3; i++)
        all_told(&told);
    assert_int_equal(told.exits, MANY);
    assert_int_equal(told.n, MANY + 1); /* the worker itself lives */
    collector->ops->release(collector, 3);
    worker_end(&worker);
}

static void test_a_tree_that_was_there_follows_its_root(void **state)
{
    (void)state;
    if (!collector)
        skip();
    assert_int_equal(collector->ops->adopt(collector, 9, getpid(), 0), -ERANGE);
    assert_int_equal(collector->ops->adopt(collector, 0, getpid(), 0), -ERANGE);
    assert_int_equal(collector->ops->adopt(collector, 2, getppid(), ticks_of(getppid())), 0);
    struct sample sample;
    bool found = false;
    assert_int_equal(collector->ops->read(collector, &sample), 0);
    for (size_t i = 0; i < sample.n_procs; i++)
        found |= sample.procs[i].pid == getpid() && sample.procs[i].slot == 2;
    assert_true(found);
    collector->ops->release(collector, 2);
    assert_int_equal(collector->ops->read(collector, &sample), 0);
    for (size_t i = 0; i < sample.n_procs; i++)
        assert_int_equal(sample.procs[i].slot, 0);
}

static void test_every_failure_is_reported(void **state)
{
    (void)state;
    if (!collector)
        skip();
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1; n < 60; n++) {
            struct procfs_options options = {.processes = true};
            struct collector_source *other = NULL;
            fault_arm(kind, n);
            int r = netlink_collector_new(&options, 8, &other, NULL);
            bool hit = fault_disarm();
            if (r == 0)
                other->ops->free(other);
            else
                assert_null(other);
            if (!hit)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forks_of_processes_are_told_and_of_threads_not),
        cmocka_unit_test(test_exits_are_told),
        cmocka_unit_test(test_any_bytes_are_survived),
        cmocka_unit_test(test_every_exit_of_a_member_is_told_once),
        cmocka_unit_test(test_what_is_listed_and_what_ends_is_one_process),
        cmocka_unit_test(test_a_tree_that_was_there_follows_its_root),
        cmocka_unit_test(test_every_failure_is_reported),
    };

    return cmocka_run_group_tests_name("netlink", tests, setup, teardown);
}
