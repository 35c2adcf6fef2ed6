/* SPDX-License-Identifier: Apache-2.0 */
/* Watched cgroups, network, events at once and looks between samples, on a real kernel. */
#include "os/bpf_collector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "bpf_fixture.h"
#include "os/watch.h"
#include "workload.h"

static struct test_cgroup cgroup;

static int cgroup_setup(void **state)
{
    (void)state;
    cgroup.path[0] = '\0';
    return 0;
}

static int cgroup_teardown(void **state)
{
    (void)state;
    collector->ops->release(collector, 1);
    if (cgroup.path[0])
        test_cgroup_done(&cgroup);
    return 0;
}

/* Puts a worker into a watched cgroup of its own. */
static void start_watched(struct worker *worker, void (*work)(void *argument), void *argument)
{
    if (!test_cgroup_make(&cgroup)) {
        cgroup.path[0] = '\0';
        print_message("# no cgroup v2 directory can be made here\n");
        skip();
    }
    worker_start(worker, work, argument);
    test_cgroup_add(&cgroup, worker->pid);
    adopt(1, worker->pid);
    assert_int_equal(collector->ops->watch_group(collector, 1, cgroup.dir_fd), 0);
}

static void require_file(struct worker *worker, const char *name)
{
    if (faccessat(cgroup.dir_fd, name, R_OK, 0) == 0)
        return;
    worker_go(worker);
    worker_end(worker);
    print_message("# the memory controller belongs to another hierarchy here\n");
    skip();
}

static const struct group_record *group_of(agent_slot slot)
{
    for (size_t i = 0; i < sample.n_groups; i++) {
        if (sample.groups[i].slot == slot)
            return &sample.groups[i];
    }
    return NULL;
}

/* ---- Network */

struct traffic {
    int family;
    int type;
    size_t bytes;
};

static void address_fill(int family, struct sockaddr_storage *address, socklen_t *length)
{
    memset(address, 0, sizeof(*address));
    address->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        ((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *length = sizeof(struct sockaddr_in);
    } else {
        ((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
        *length = sizeof(struct sockaddr_in6);
    }
}

static void move_bytes(int from, int to, size_t bytes)
{
    static char block[1000];
    size_t moved = 0;

    for (size_t sent = 0; sent < bytes; sent += sizeof(block)) {
        if (send(from, block, sizeof(block), 0) != sizeof(block))
            abort();
        for (ssize_t n = 0; moved < sent + sizeof(block); moved += (size_t)n) {
            n = recv(to, block, sizeof(block), 0);
            if (n <= 0)
                abort();
        }
    }
}

/* Sends over loopback from one of its sockets to another. */
static void work_traffic(void *argument)
{
    const struct traffic *traffic = argument;
    struct sockaddr_storage address;
    socklen_t length;
    int server = socket(traffic->family, traffic->type | SOCK_CLOEXEC, 0);
    int client = socket(traffic->family, traffic->type | SOCK_CLOEXEC, 0);

    address_fill(traffic->family, &address, &length);
    if (bind(server, (struct sockaddr *)&address, length) < 0)
        abort();
    getsockname(server, (struct sockaddr *)&address, &length);
    if (traffic->type == SOCK_STREAM && listen(server, 1) < 0)
        abort();
    if (connect(client, (struct sockaddr *)&address, length) < 0)
        abort();
    int end = traffic->type == SOCK_STREAM ? accept(server, NULL, NULL) : server;
    move_bytes(client, end, traffic->bytes);
    close(client);
    if (end != server)
        close(end);
    close(server);
}

static bool have_family(int family)
{
    struct sockaddr_storage address;
    socklen_t length;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    address_fill(family, &address, &length);
    bool ok = bind(fd, (struct sockaddr *)&address, length) == 0;
    close(fd);
    return ok;
}

static void check_traffic(int family, int type)
{
    struct worker worker;
    struct traffic traffic = {family, type, 100000};

    if (!have_family(family)) {
        print_message("# this address family is off here\n");
        skip();
    }
    start_watched(&worker, work_traffic, &traffic);
    worker_go(&worker);
    worker_wait_done(&worker);
    read_sample();
    const struct group_record *group = group_of(1);
    assert_non_null(group);
    assert_true(group->known & GROUP_KNOWN_NETWORK);
    /* Each packet leaves and arrives; headers of 28 to 72 bytes on 1000, and replies of TCP. */
    assert_in_range(group->loopback_bytes, 2 * traffic.bytes, 3 * traffic.bytes);
    assert_true(group->packets >= 200);
    assert_int_equal(group->received_bytes, 0);
    assert_int_equal(group->sent_bytes, 0);
    worker_end(&worker);
}

static void test_tcp4_is_counted(void **state)
{
    (void)state;
    check_traffic(AF_INET, SOCK_STREAM);
}

static void test_udp4_is_counted(void **state)
{
    (void)state;
    check_traffic(AF_INET, SOCK_DGRAM);
}

static void test_tcp6_is_counted(void **state)
{
    (void)state;
    check_traffic(AF_INET6, SOCK_STREAM);
}

static void test_udp6_is_counted(void **state)
{
    (void)state;
    check_traffic(AF_INET6, SOCK_DGRAM);
}

static void test_an_agent_without_cgroup_has_no_network_figure(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_nothing, NULL);
    adopt(1, worker.pid);
    read_sample();
    assert_null(group_of(1));
    worker_go(&worker);
    worker_end(&worker);
}

static void test_group_files_are_read(void **state)
{
    struct worker worker;

    (void)state;
    start_watched(&worker, work_nothing, NULL);
    read_sample();
    const struct group_record *group = group_of(1);
    assert_non_null(group);
    assert_true(group->known & GROUP_KNOWN_CPU);
    assert_int_equal(group->cgroup_id, find(worker.pid)->cgroup_id);
    worker_go(&worker);
    worker_end(&worker);
}

static bool group_is_gone(void *argument)
{
    (void)argument;
    read_sample();
    return group_of(1) == NULL;
}

static void test_a_group_that_is_removed_leaves_the_samples(void **state)
{
    struct worker worker;

    (void)state;
    start_watched(&worker, work_nothing, NULL);
    worker_go(&worker);
    worker_end(&worker);
    test_cgroup_done(&cgroup);
    cgroup.path[0] = '\0';
    assert_true(eventually(group_is_gone, NULL));
}

static void test_watching_cycles_leak_nothing(void **state)
{
    struct worker worker;

    (void)state;
    start_watched(&worker, work_nothing, NULL);
    collector->ops->release(collector, 1);
    uint32_t before = fds_of_self();
    for (int i = 0; i < scaled(1000); i++) {
        assert_int_equal(collector->ops->watch_group(collector, 1, cgroup.dir_fd), 0);
        if (i % 2)
            collector->ops->release(collector, 1);
    }
    collector->ops->release(collector, 1);
    assert_int_equal(fds_of_self(), before);
    worker_go(&worker);
    worker_end(&worker);
}

/* ---- Events */

#define LONG_NS (30 * NS_PER_SEC) /* of a wait for what must come, on however busy a machine */

/* Waits for the descriptor, and handles events until one asks for a sample. */
static bool sample_is_due(uint64_t within_ns)
{
    struct pollfd event = {.fd = collector->ops->event_fd(collector), .events = POLLIN};
    struct mono start = clock_mono();

    for (;;) {
        uint64_t passed = mono_since(clock_mono(), start);
        if (passed >= within_ns)
            return false;
        if (poll(&event, 1, (int)((within_ns - passed) / NS_PER_MSEC) + 1) > 0 &&
            collector->ops->handle_events(collector) == 1)
            return true;
    }
}

static void test_the_end_of_a_first_process_is_told_at_once(void **state)
{
    struct worker worker;

    (void)state;
    worker_start(&worker, work_nothing, NULL);
    adopt(1, worker.pid);
    assert_false(sample_is_due(20 * MS));
    worker_go(&worker);
    kill(worker.pid, SIGKILL);
    assert_true(sample_is_due(LONG_NS));
    worker_end(&worker);
}

static void work_eat(void *argument)
{
    size_t size = *(size_t *)argument;
    pid_t child = fork();

    if (child == 0) {
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(memory, 1, size);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Memory limits hit on the way ask for samples as well. */
static bool oom_was_told(void *argument)
{
    bool *told = argument;

    *told = *told && sample_is_due(LONG_NS);
    read_sample();
    return !*told || group_of(1)->oom_kills > 0;
}

static void test_an_oom_kill_is_told_at_once(void **state)
{
    struct worker worker;
    size_t size = 64u << 20;

    (void)state;
    start_watched(&worker, work_eat, &size);
    require_file(&worker, "memory.max");
    assert_int_equal(io_write_file(cgroup.dir_fd, "memory.max", "25165824"), 0);
    io_write_file(cgroup.dir_fd, "memory.swap.max", "0");
    read_sample();
    assert_int_equal(group_of(1)->oom_kills, 0);
    worker_go(&worker);
    bool told = true;
    assert_true(eventually(oom_was_told, &told));
    assert_true(told);
    worker_end(&worker);
}

/* ---- Looks */

static void work_burst(void *argument)
{
    size_t *size = argument;

    for (int part = 0; part < 2; part++) {
        char *memory = mmap(
            NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED)
            abort();
        munmap(memory, *size);
    }
}

static void test_a_burst_between_two_samples_is_seen_at_its_height(void **state)
{
    struct worker worker;
    size_t size = 48u << 20;

    (void)state;
    worker_start(&worker, work_burst, &size);
    adopt(1, worker.pid);
    read_sample();
    uint64_t before = slot_of(1)->rss_max_bytes;
    worker_go(&worker);
    worker_wait_done(&worker);
    read_sample();
    const struct slot_record *slot = slot_of(1);
    assert_true(slot->known & SLOT_KNOWN_RSS);
    /* The kernel's mark lacks what CPUs have not folded in yet. */
    assert_in_range(slot->rss_max_bytes, before + size - (4u << 20), UINT64_MAX);
    assert_true(slot->rss_min_bytes <= before + (4u << 20));
    read_sample();
    assert_true(slot_of(1)->rss_max_bytes < before + size); /* once */
    worker_end(&worker);
}

static bool memory_was_seen(void *argument)
{
    read_sample();
    return slot_of(1)->rss_max_bytes >= *(size_t *)argument;
}

static void test_a_burst_of_a_short_process_is_seen(void **state)
{
    struct worker worker;
    size_t size = 40u << 20;

    (void)state;
    worker_start(&worker, work_eat, &size);
    adopt(1, worker.pid);
    read_sample();
    worker_go(&worker);
    worker_wait_done(&worker);
    size_t least = size - (4u << 20); /* the kernel's mark lacks what CPUs have not folded in yet */
    assert_true(eventually(memory_was_seen, &least));
    worker_end(&worker);
}

#define GROW_STEPS 8

struct growing {
    size_t step;
    atomic_bool enough; /* shared with the worker */
};

/* Grows step by step, and begins anew, until it is told that this was enough. */
static void work_grow(void *argument)
{
    struct growing *growing = argument;
    char *steps[GROW_STEPS] = {0};

    for (int i = 0; !growing->enough; i = (i + 1) % GROW_STEPS) {
        for (int full = 0; steps[i] && full < GROW_STEPS; full++)
            munmap(TAKE_PTR(steps[full]), growing->step);
        steps[i] = mmap(NULL, growing->step, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (steps[i] == MAP_FAILED)
            abort();
        poll(NULL, 0, 100);
    }
}

/* Whether there were looks since the last sample, at different heights. */
static bool was_looked_at(void *argument)
{
    struct pollfd event = {.fd = collector->ops->event_fd(collector), .events = POLLIN};

    (void)argument;
    for (int i = 0; i < 3 && poll(&event, 1, 200) > 0; i++)
        assert_int_equal(collector->ops->handle_events(collector), 0);
    read_sample();
    const struct slot_record *slot = slot_of(1);
    return slot->rss_looks >= 4 && slot->rss_min_bytes < slot->rss_max_bytes;
}

static void test_what_grows_is_looked_at_between_samples(void **state)
{
    struct worker worker;
    struct growing *growing = shared_memory(sizeof(*growing));

    (void)state;
    growing->step = 8u << 20;
    worker_start(&worker, work_grow, growing);
    adopt(1, worker.pid);
    read_sample();
    worker_go(&worker);
    bool looked = eventually(was_looked_at, NULL);
    growing->enough = true;
    assert_true(looked);
    const struct slot_record *slot = slot_of(1);
    assert_true(slot->rss_mean_bytes > slot->rss_min_bytes);
    assert_true(slot->rss_mean_bytes < slot->rss_max_bytes);
    worker_wait_done(&worker);
    worker_end(&worker);
    munmap(growing, sizeof(*growing));
}

/* ---- Who was there before */

#define ORPHANS 5

/* Leaves processes behind whose parents are gone, and one that has a child. */
static void work_orphans(void *argument)
{
    _Atomic pid_t *pids = argument;

    for (int i = 0; i < ORPHANS; i++) {
        pid_t parent = fork();
        if (parent == 0) {
            pid_t orphan = fork();
            if (orphan == 0) {
                pids[i] = getpid();
                if (i == 0 && fork() == 0)
                    pids[ORPHANS] = getpid();
                for (;;)
                    pause();
            }
            _exit(orphan < 0);
        }
        waitpid(parent, NULL, 0);
    }
}

static bool all_there(void *argument)
{
    const _Atomic pid_t *pids = argument;

    for (int i = 0; i <= ORPHANS; i++) {
        if (pids[i] == 0)
            return false;
    }
    return true;
}

static void test_all_in_a_group_are_adopted_at_once(void **state)
{
    _Atomic pid_t *pids = shared_memory((ORPHANS + 1) * sizeof(*pids));
    struct worker worker;

    (void)state;
    if (!test_cgroup_make(&cgroup)) {
        cgroup.path[0] = '\0';
        print_message("# no cgroup v2 directory can be made here\n");
        skip();
    }
    assert_int_equal(collector->ops->adopt_group(collector, 1, cgroup.dir_fd), -ESRCH);
    read_sample();
    assert_null(slot_of(1));
    worker_start(&worker, work_orphans, (void *)pids);
    test_cgroup_add(&cgroup, worker.pid);
    worker_go(&worker);
    worker_wait_done(&worker);
    worker_end(&worker);
    bool there = eventually(all_there, (void *)pids);
    int r = collector->ops->adopt_group(collector, 1, cgroup.dir_fd);
    read_sample();
    unsigned members = 0;
    for (size_t i = 0; i < sample.n_procs; i++)
        members += sample.procs[i].slot == 1;
    bool ours = true;
    for (int i = 0; i <= ORPHANS; i++) {
        const struct proc_record *proc = pids[i] ? find(pids[i]) : NULL;
        ours &= proc && proc->slot == 1;
        if (pids[i])
            kill(pids[i], SIGKILL);
    }
    assert_true(there);
    assert_int_equal(r, 0);
    assert_true(ours);
    assert_int_equal(members, ORPHANS + 1); /* and nobody else */
    assert_non_null(slot_of(1));
    assert_true(eventually(no_member_left, &(agent_slot){1}));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, cgroup_setup, cgroup_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tcp4_is_counted),
        TEST(test_udp4_is_counted),
        TEST(test_tcp6_is_counted),
        TEST(test_udp6_is_counted),
        TEST(test_an_agent_without_cgroup_has_no_network_figure),
        TEST(test_group_files_are_read),
        TEST(test_a_group_that_is_removed_leaves_the_samples),
        TEST(test_watching_cycles_leak_nothing),
        TEST(test_the_end_of_a_first_process_is_told_at_once),
        TEST(test_an_oom_kill_is_told_at_once),
        TEST(test_a_burst_between_two_samples_is_seen_at_its_height),
        TEST(test_a_burst_of_a_short_process_is_seen),
        TEST(test_what_grows_is_looked_at_between_samples),
        TEST(test_all_in_a_group_are_adopted_at_once),
    };

    if (bpf_skip_all())
        return 0;
    return cmocka_run_group_tests_name("bpf_groups", tests, bpf_setup, bpf_teardown);
}
