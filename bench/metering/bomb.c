/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fork bomb under a tick of one second: 5,000 processes that live and 20,000 that come and go,
 * all of one agent, as fast as the machine makes them.
 *
 *     metering_bomb [LIVING SHORT]
 *
 * Prints "longest-tick-ms N", "processes SEEN EXPECTED", "cpu-percent-off N" (against the
 * cgroup's cpu.stat), "lost N".
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "os/bpf_collector.h"
#include "os/cgroup_write.h"
#include "policy/registry.h"

static struct collector_source *source;
static struct registry *registry;
static const struct agent *agent;
static double longest_ms;

static void tick(void)
{
    struct registry_changes changes;
    struct sample sample;
    struct mono start = clock_mono();

    if (source->ops->read(source, &sample) < 0 || registry_apply(registry, &sample, &changes) < 0)
        exit(1);
    double took = (double)mono_since(clock_mono(), start) / 1e6;
    longest_ms = took > longest_ms ? took : longest_ms;
}

static void bomb(int gate, int done, unsigned living, unsigned brief)
{
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(gate, &byte, 1) != 1)
        _exit(1);
    for (unsigned i = 0; i < living; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    }
    signal(SIGCHLD, SIG_IGN);
    for (unsigned i = 0; i < brief;) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        i += pid > 0;
    }
    if (write(done, "x", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static unsigned long long cpu_us(int cgroup_fd)
{
    char text[1024];
    unsigned long long usec = 0;

    if (io_read_file(cgroup_fd, "cpu.stat", text, sizeof(text)) > 0)
        sscanf(text, "usage_usec %llu", &usec);
    return usec;
}

static void start(int cgroup_fd, pid_t pid)
{
    struct bpf_options options = {.max_slot = 4};
    struct agent_spec spec = {.id = "bomb", .root_pid = pid};
    struct ac_error error;
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (bpf_collector_new(&options, &source, &error) < 0) {
        fprintf(stderr, "bomb: %s\n", error.message);
        exit(77);
    }
    if (procfs_start_ticks(proc_fd, pid, &spec.root_start_ticks) < 0 ||
        registry_new(4, 1, &registry) < 0 ||
        registry_add(registry, &spec, clock_moment(), &agent) < 0 ||
        cgroup_move(cgroup_fd, pid) < 0 ||
        source->ops->adopt(source, agent->slot, pid, spec.root_start_ticks) < 0)
        exit(1);
    close(proc_fd);
}

static void report(int cgroup_fd, unsigned long long expected)
{
    struct sample sample;

    for (int i = 0; i < 10; i++) { /* until the last have been released */
        usleep(200000);
        tick();
    }
    double truth = (double)cpu_us(cgroup_fd) / 1e6;
    double seen = (double)agent->totals.cpu_ns / 1e9;
    if (source->ops->read(source, &sample) < 0)
        exit(1);
    printf("longest-tick-ms %.1f\nprocesses %llu %llu\ncpu-percent-off %.2f\nlost %llu\n",
        longest_ms, (unsigned long long)agent->totals.processes_total, expected,
        (seen - truth) * 100 / truth, (unsigned long long)sample.lost);
}

int main(int argc, char **argv)
{
    unsigned living = argc > 2 ? (unsigned)atoi(argv[1]) : 5000;
    unsigned brief = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;
    int gate[2], done[2];
    char name[64];

    snprintf(name, sizeof(name), "agentcore-bench-%d", (int)getpid());
    int root = cgroup_root_open();
    int cgroup_fd = root < 0 ? -1 : cgroup_make(root, name);
    if (cgroup_fd < 0 || pipe(gate) < 0 || pipe(done) < 0)
        return 77;
    pid_t pid = fork();
    if (pid == 0)
        bomb(gate[0], done[1], living, brief);
    start(cgroup_fd, pid);
    tick();
    if (write(gate[1], "x", 1) != 1)
        return 1;
    struct pollfd end = {.fd = done[0], .events = POLLIN};
    while (poll(&end, 1, 1000) == 0)
        tick();
    tick();
    report(cgroup_fd, 1ull + living + brief);
    (void)cgroup_kill(cgroup_fd);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 50 && cgroup_remove(root, name) < 0; i++)
        usleep(100000);
    source->ops->free(source);
    registry_free(registry);
    return 0;
}
