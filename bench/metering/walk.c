/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/bpf/shared.h"

#include "agentcore.skel.h"

static struct agentcore_bpf *bare;

static size_t run_pass(struct bpf_link *link)
{
    static char buffer[1 << 20];
    int fd = bpf_iter_create(bpf_link__fd(link));
    size_t bytes = 0;

    for (;;) {
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            break;
        bytes += (size_t)n;
    }
    close(fd);
    return bytes;
}

/* The same fields, as exact as ours: a pass of `mark` finds where CPUs keep their part of RSS. */
int bare_open(void)
{
    struct bpf_program *program;
    long cpus = sysconf(_SC_NPROCESSORS_CONF);

    bare = agentcore_bpf__open();
    if (!bare)
        return -errno;
    bpf_object__for_each_program(program, bare->obj) bpf_program__set_autoload(
        program, program == bare->progs.tasks || program == bare->progs.mark);
    bare->rodata->exact_cpus = cpus <= 16 ? (unsigned)cpus : 0;
    int r = agentcore_bpf__load(bare);
    if (r == 0)
        r = agentcore_bpf__attach(bare);
    if (r < 0)
        return r;
    bare->bss->mark_clear = true;
    (void)run_pass(bare->links.mark);
    return 0;
}

size_t bare_pass(void)
{
    return run_pass(bare->links.tasks);
}

void bare_close(void)
{
    agentcore_bpf__destroy(bare);
}

enum { STAT, STATM, IO, FILES };
static const char *const names[FILES] = {"stat", "statm", "io"};

static struct kept {
    int fds[FILES];
    char dir[32];
} * kept;
static size_t n_kept;

int walk_open(const pid_t *pids, size_t count)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    kept = calloc(count, sizeof(*kept));
    for (size_t i = 0; i < count; i++) {
        for (int file = 0; file < FILES; file++) {
            char path[48];
            snprintf(path, sizeof(path), "/proc/%d/%s", (int)pids[i], names[file]);
            kept[i].fds[file] = open(path, O_RDONLY | O_CLOEXEC);
            if (kept[i].fds[file] < 0)
                return -errno;
        }
        snprintf(kept[i].dir, sizeof(kept[i].dir), "/proc/%d/fd", (int)pids[i]);
    }
    n_kept = count;
    return 0;
}

/* Every pass must find out who is there. */
static size_t list_proc(void)
{
    DIR *dir = opendir("/proc");
    size_t count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

size_t walk_pass(void)
{
    char text[1024];
    size_t sum = list_proc();
    struct stat status;

    for (size_t i = 0; i < n_kept; i++) {
        for (int file = 0; file < FILES; file++) {
            ssize_t n = pread(kept[i].fds[file], text, sizeof(text) - 1, 0);
            if (n > 0) {
                text[n] = '\0';
                sum += strtoull(text, NULL, 10);
            }
        }
        if (stat(kept[i].dir, &status) == 0)
            sum += (size_t)status.st_size;
    }
    return sum;
}

void walk_close(void)
{
    for (size_t i = 0; i < n_kept; i++) {
        for (int file = 0; file < FILES; file++)
            close(kept[i].fds[file]);
    }
    free(kept);
}
