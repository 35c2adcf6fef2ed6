/* SPDX-License-Identifier: Apache-2.0 */
#include "workload.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/parse.h"

#define CGROUP2_MAGIC 0x63677270

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static void gate_wait(int fd)
{
    char byte;

    while (read(fd, &byte, 1) > 0) {
    }
}

void worker_start(struct worker *ret_worker, void (*work)(void *argument), void *argument)
{
    int start[2], done[2], end[2];

    must(pipe2(start, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0 && pipe2(end, O_CLOEXEC) == 0,
        "pipe2");
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(start[1]);
        close(done[0]);
        close(end[1]);
        gate_wait(start[0]);
        work(argument);
        must(write(done[1], "x", 1) == 1, "write");
        gate_wait(end[0]);
        _exit(0);
    }
    close(start[0]);
    close(done[1]);
    close(end[0]);
    *ret_worker = (struct worker){pid, start[1], done[0], end[1]};
}

void worker_go(struct worker *worker)
{
    close(worker->start_fd);
}

void worker_wait_done(struct worker *worker)
{
    char byte;
    must(read(worker->done_fd, &byte, 1) == 1, "worker");
}

void worker_end(struct worker *worker)
{
    int status;

    close(worker->end_fd);
    close(worker->done_fd);
    must(waitpid(worker->pid, &status, 0) == worker->pid, "waitpid");
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void spin(clockid_t clock, uint64_t ns)
{
    uint64_t end = clock_ns(clock) + ns;

    while (clock_ns(clock) < end) {
        for (volatile int i = 0; i < 2000; i++) {
        }
    }
}

void spin_process(uint64_t ns)
{
    spin(CLOCK_PROCESS_CPUTIME_ID, ns);
}

void spin_thread(uint64_t ns)
{
    spin(CLOCK_THREAD_CPUTIME_ID, ns);
}

void fork_and_spin(int count, uint64_t ns)
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

void fork_twice_and_spin(int count, uint64_t ns)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (fork() == 0)
                spin_process(ns);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

uint64_t used_self_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_usec * NS_PER_USEC;
}

uint64_t used_children_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_CHILDREN, &usage);
    return timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
}

static const char *cgroup2_root(void)
{
    static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    struct statfs status;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (statfs(places[i], &status) == 0 && status.f_type == CGROUP2_MAGIC)
            return places[i];
    }
    return NULL;
}

bool test_cgroup_make(struct test_cgroup *ret_cgroup)
{
    static int count;
    const char *root = cgroup2_root();

    if (!root)
        return false;
    snprintf(ret_cgroup->path, sizeof(ret_cgroup->path), "%s/agentcore-test-%d-%d", root,
        (int)getpid(), count++);
    if (mkdir(ret_cgroup->path, 0755) < 0)
        return false;
    ret_cgroup->dir_fd = open(ret_cgroup->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return ret_cgroup->dir_fd >= 0;
}

void test_cgroup_add(const struct test_cgroup *cgroup, pid_t pid)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", (int)pid);
    must(io_write_file(cgroup->dir_fd, "cgroup.procs", text) == 0, "cgroup.procs");
}

uint64_t test_cgroup_cpu_ns(const struct test_cgroup *cgroup)
{
    char text[1024];
    unsigned long long usec = 0;

    must(io_read_file(cgroup->dir_fd, "cpu.stat", text, sizeof(text)) > 0, "cpu.stat");
    must(sscanf(text, "usage_usec %llu", &usec) == 1, "usage_usec");
    return usec * NS_PER_USEC;
}

static bool cgroup_gone(void *argument)
{
    return rmdir(argument) == 0;
}

void test_cgroup_done(struct test_cgroup *cgroup)
{
    close(cgroup->dir_fd);
    eventually(cgroup_gone, cgroup->path);
}

int scaled(int count)
{
    const char *scale = getenv("TEST_SCALE");
    uint64_t divisor = 1;

    if (scale && parse_u64(scale, strlen(scale), &divisor) < 0)
        divisor = 1;
    return MAX(1, count / (int)MAX(divisor, 1u));
}

void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    return memory;
}

bool eventually(bool (*condition)(void *argument), void *argument)
{
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + 30 * NS_PER_SEC;

    while (!condition(argument)) {
        if (clock_ns(CLOCK_MONOTONIC) > end)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}
