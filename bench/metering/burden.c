/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What being metered costs a program: the same work as a member of an agent and without, by
 * turns, so that the machine's moods hit both alike.
 *
 *     metering_burden [ROUNDS]
 *
 * Prints "name plain metered ratio" lines: fork+exit+wait, and a megabyte over loopback TCP, in
 * microseconds of CPU time. Of each the lower quartile over all turns.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/bpf_collector.h"
#include "os/cgroup_write.h"

#define ROUNDS_MAX 400
#define FORKS      200
#define MEGABYTES  256

static int cgroup_fd = -1;

/* CPU time of this process and of children that it waited for: other work on the machine makes
 * it wait, but does not count. */
static double cpu_us(void)
{
    struct timespec own;
    struct rusage children;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)own.tv_sec * 1e6 + (double)own.tv_nsec / 1e3 +
           (double)(children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1e6 +
           (double)(children.ru_utime.tv_usec + children.ru_stime.tv_usec);
}

static double fork_loop(void)
{
    double start = cpu_us();

    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
    return (cpu_us() - start) / FORKS;
}

static int server = -1;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void server_open(void)
{
    socklen_t length = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server, (struct sockaddr *)&address, length) < 0 || listen(server, 1) < 0 ||
        getsockname(server, (struct sockaddr *)&address, &length) < 0) {
        perror("loopback");
        exit(1);
    }
}

static void send_all(void)
{
    static char block[131072];
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(client, (struct sockaddr *)&address, sizeof(address)) < 0)
        exit(1);
    for (int i = 0; i < MEGABYTES * 8; i++) {
        if (send(client, block, sizeof(block), 0) != sizeof(block))
            exit(1);
    }
    close(client);
}

/* One process sends, another receives: both count. */
static double stream(void)
{
    static char block[131072];
    double start = cpu_us();
    pid_t child = fork();

    if (child == 0) {
        send_all();
        _exit(0);
    }
    int end = accept(server, NULL, NULL);
    while (recv(end, block, sizeof(block), 0) > 0) {
    }
    close(end);
    waitpid(child, NULL, 0);
    return (cpu_us() - start) / MEGABYTES;
}

/*
 * Metered: a member of an agent with a watched cgroup; plain: the same process, and no program in
 * the kernel. The collector is another process, as the daemon is: what it maps must not be copied
 * by our forks.
 */
static struct {
    pid_t pid;
    int end;
} meter;

static void meter_run(int ready, int end)
{
    struct bpf_options options = {.max_slot = 4};
    struct collector_source *source;
    struct ac_error error;
    char byte = 'x';

    if (bpf_collector_new(&options, &source, &error) < 0) {
        fprintf(stderr, "burden: %s\n", error.message);
        _exit(77);
    }
    if (source->ops->adopt(source, 1, getppid(), 0) < 0 ||
        (cgroup_fd >= 0 && source->ops->watch_group(source, 1, cgroup_fd) < 0) ||
        write(ready, &byte, 1) != 1)
        _exit(1);
    while (read(end, &byte, 1) > 0) {
    }
    source->ops->free(source);
    _exit(0);
}

static void metered_begin(void)
{
    int ready[2], end[2];
    char byte;

    if (pipe(ready) < 0 || pipe(end) < 0)
        exit(1);
    meter.pid = fork();
    if (meter.pid == 0) {
        close(end[1]);
        meter_run(ready[1], end[0]);
    }
    close(ready[1]);
    close(end[0]);
    meter.end = end[1];
    if (read(ready[0], &byte, 1) != 1)
        exit(77);
    close(ready[0]);
}

static void metered_end(void)
{
    close(meter.end);
    waitpid(meter.pid, NULL, 0);
    usleep(50000); /* the kernel takes programs out a moment later */
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Other work on the machine can only add, through caches and shared cores. */
static double lower_quartile(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(values[0]), by_value);
    return values[count / 4];
}

static void compare(const char *name, double (*work)(void), int rounds)
{
    static double plain[ROUNDS_MAX], metered[ROUNDS_MAX];

    work();
    for (int i = 0; i < rounds; i++) {
        plain[i] = work();
        metered_begin();
        metered[i] = work();
        metered_end();
    }
    double a = lower_quartile(plain, rounds), b = lower_quartile(metered, rounds);
    printf("%s %.2f %.2f %.4f\n", name, a, b, b / a);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 15;
    char name[64];

    snprintf(name, sizeof(name), "agentcore-bench-%d", (int)getpid());
    int root = cgroup_root_open();
    if (root >= 0)
        cgroup_fd = cgroup_make(root, name);
    if (cgroup_fd >= 0 && cgroup_move(cgroup_fd, getpid()) < 0) {
        close(cgroup_fd);
        cgroup_fd = -1;
    }
    rounds = MIN(MAX(rounds, 1), ROUNDS_MAX);
    compare("fork+exit", fork_loop, rounds);
    server_open();
    if (cgroup_fd >= 0)
        compare("loopback-MiB", stream, rounds);
    if (cgroup_fd >= 0) {
        (void)cgroup_move(root, getpid());
        (void)cgroup_remove(root, name);
    }
    return 0;
}
