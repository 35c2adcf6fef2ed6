/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass: getdents over /proc, then per process
 *
 *     stat   always: parents are needed to know who belongs to whom
 *     statm  of wanted processes, on kernels where it is exact: stat adds up counters that each
 *            CPU keeps apart, and may be off by megabytes on large machines; not again while
 *            the process takes no page fault
 *     io     only of wanted processes that have user space: storage bytes, reaped children's too
 *     fd     likewise: the count, by the directory's size on kernels from 6.2, else by reading it
 *
 * A process that is gone between two reads is left out; one whose costly files cannot be read
 * has those fields unknown. Any other failure (no descriptors, no memory) fails the whole sample:
 * one that silently lacks a process would look as if it had exited.
 */
#include "os/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"
#include "os/procfs_internal.h"
#include "os/watch.h"

#define DIRENTS_SIZE 32768
#define STAT_TEXT_SIZE                                                                             \
    1024 /* 52 numbers of up to 20 digits would be 1100; real ones stay below                      \
          */

struct procfs {
    struct collector_source source;
    int proc_fd;
    bool processes;
    bool thorough;
    bool size_counts_fds;
    bool statm_is_exact;
    procfs_wanted wanted;
    void *wanted_userdata;
    struct machine_reader *machine;
    struct watch *watch; /* NULL = nothing is watched */
    struct proc_files *files;
    struct proc_record *records;
    size_t count;
    size_t capacity;
    char dirents[DIRENTS_SIZE] __attribute__((aligned(16)));
};

bool procfs_is_real(int fd)
{
    struct statfs status;
    return fstatfs(fd, &status) == 0 && status.f_type == PROC_SUPER_MAGIC;
}

/* Reads the next batch of names. Returns bytes, 0 at the end, -errno. */
static ssize_t read_dirents(int fd, char *buffer, size_t capacity)
{
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    ssize_t n = getdents64(fd, buffer, capacity);
    return n < 0 ? -errno : n;
}

static bool is_gone(ssize_t r)
{
    return r == -ENOENT || r == -ESRCH || r == 0;
}

/* Counts by reading the directory. Returns 0 or -errno. */
static int count_fds_by_name(struct procfs *procfs, int32_t pid, uint32_t *ret_count)
{
    char path[PROC_PATH_MAX], buffer[4096] __attribute__((aligned(16)));
    procfs_path(path, pid, "fd");
    int fd cleanup_close = io_openat(procfs->proc_fd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    uint32_t count = 0;
    for (;;) {
        ssize_t n = read_dirents(fd, buffer, sizeof(buffer));
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
            count += entry->d_name[0] != '.';
            at += entry->d_reclen;
        }
    }
    *ret_count = count;
    return 0;
}

/* Only a fault of ours or the machine's, not one of the process, fails the pass. */
static int cost_of_failure(ssize_t r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM ? (int)r : 0;
}

static bool note_holds(
    const struct memory_note *note, const struct proc_record *proc, const struct stat_extra *extra)
{
    return note && note->valid && note->faults == extra->faults &&
           note->rough_bytes == proc->rss_anon_bytes;
}

static int read_statm(
    struct procfs *procfs, struct proc_record *proc, const struct stat_extra *extra)
{
    char text[128];
    uint64_t rough = proc->rss_anon_bytes;
    if (!procfs->statm_is_exact || !(proc->known & PROC_KNOWN_RSS) || rough == 0)
        return 0;
    struct memory_note *note = proc_files_memory(procfs->files, proc->pid);
    if (note_holds(note, proc, extra)) {
        proc->rss_anon_bytes = note->exact_bytes;
        return 0;
    }
    ssize_t n = proc_files_read(procfs->files, proc->pid, PROC_FILE_STATM, text, sizeof(text));
    if (n < 0)
        return cost_of_failure(n);
    if (procfs_parse_statm(text, (size_t)n, &proc->rss_anon_bytes) < 0)
        return 0;
    note = proc_files_memory(procfs->files, proc->pid);
    if (note)
        *note = (struct memory_note){true, extra->faults, rough, proc->rss_anon_bytes};
    return 0;
}

static int read_io(struct procfs *procfs, struct proc_record *proc)
{
    char text[512];
    ssize_t n = proc_files_read(procfs->files, proc->pid, PROC_FILE_IO, text, sizeof(text));
    if (n < 0)
        return cost_of_failure(n);
    if (procfs_parse_io(text, (size_t)n, &proc->read_bytes, &proc->written_bytes) == 0)
        proc->known |= PROC_KNOWN_IO;
    return 0;
}

static int read_fds(struct procfs *procfs, struct proc_record *proc)
{
    if (proc->state == 'Z' || proc->state == 'X') {
        if (proc->threads <= 1)
            proc->known |= PROC_KNOWN_FDS; /* it has none left */
        return 0;
    }
    int r = procfs->size_counts_fds ? proc_files_count_fds(procfs->files, proc->pid, &proc->fds)
                                    : count_fds_by_name(procfs, proc->pid, &proc->fds);
    if (r < 0)
        return cost_of_failure(r);
    proc->known |= PROC_KNOWN_FDS;
    return 0;
}

static bool is_wanted(struct procfs *procfs, const struct proc_record *proc)
{
    return procfs->thorough || !procfs->wanted ||
           procfs->wanted(procfs->wanted_userdata, proc->pid, proc->start_ticks, proc->ppid);
}

static int reserve_record(struct procfs *procfs)
{
    if (procfs->count < procfs->capacity)
        return 0;
    size_t capacity = MAX(procfs->capacity * 2, (size_t)256);
    struct proc_record *records = mem_resize_array(procfs->records, capacity, sizeof(*records));
    if (!records)
        return -ENOMEM;
    procfs->records = records;
    procfs->capacity = capacity;
    return 0;
}

static int read_process(struct procfs *procfs, int32_t pid)
{
    char text[STAT_TEXT_SIZE];
    struct stat_extra extra;
    int r = reserve_record(procfs);
    if (r < 0)
        return r;
    ssize_t n = proc_files_read(procfs->files, pid, PROC_FILE_STAT, text, sizeof(text));
    if (is_gone(n) || n == -EACCES || n == -EPERM)
        return 0;
    if (n < 0)
        return (int)n;
    struct proc_record *proc = &procfs->records[procfs->count];
    if (procfs_parse_stat_extra(text, (size_t)n, proc, &extra) < 0 || proc->pid != pid)
        return 0;
    if (!(extra.flags & PROC_FLAG_KTHREAD) && is_wanted(procfs, proc)) {
        r = read_statm(procfs, proc, &extra);
        if (r == 0)
            r = read_io(procfs, proc);
        if (r == 0)
            r = read_fds(procfs, proc);
        if (r < 0)
            return r;
    }
    procfs->count++;
    return 0;
}

/* Calls read_process for each name that is a number. */
static int walk_batch(struct procfs *procfs, size_t size)
{
    for (size_t at = 0; at < size;) {
        const struct dirent64 *entry = (const struct dirent64 *)(procfs->dirents + at);
        uint64_t pid;
        at += entry->d_reclen;
        if (parse_u64(entry->d_name, strlen(entry->d_name), &pid) < 0 || pid < 1 || pid > INT32_MAX)
            continue;
        int r = read_process(procfs, (int32_t)pid);
        if (r < 0)
            return r;
    }
    return 0;
}

static int walk(struct procfs *procfs)
{
    procfs->count = 0;
    if (lseek(procfs->proc_fd, 0, SEEK_SET) < 0)
        return -errno;
    for (;;) {
        ssize_t n = read_dirents(procfs->proc_fd, procfs->dirents, sizeof(procfs->dirents));
        if (n <= 0)
            return (int)n;
        int r = walk_batch(procfs, (size_t)n);
        if (r < 0)
            return r;
    }
}

static int procfs_read(struct collector_source *source, struct sample *ret_sample)
{
    struct procfs *procfs = (struct procfs *)source;
    struct sample sample = {.when = clock_moment(), .boot_ns = clock_boot_ns()};
    int r = machine_reader_read(procfs->machine, &sample.machine);
    if (r < 0 && !procfs->processes)
        return r;
    if (procfs->processes) {
        proc_files_begin(procfs->files);
        r = walk(procfs);
        if (r < 0)
            return r;
        proc_files_end(procfs->files);
        if (procfs->count == 0 && sample.machine.known == 0)
            return -ENOENT;
        sample.procs = procfs->records;
        sample.n_procs = procfs->count;
    }
    if (procfs->watch) {
        struct group_record *groups;
        sample.n_groups = watch_read(procfs->watch, &groups);
        sample.groups = groups;
    }
    *ret_sample = sample;
    return 0;
}

static void procfs_free(struct collector_source *source)
{
    struct procfs *procfs = (struct procfs *)source;
    if (!procfs)
        return;
    proc_files_free(procfs->files);
    machine_reader_free(procfs->machine);
    watch_free(procfs->watch);
    io_closep(&procfs->proc_fd);
    mem_free(procfs->records);
    mem_free(procfs);
}

/* ---- What does not wait for the tick. Membership is the registry's business here. */

static int procfs_adopt(
    struct collector_source *source, agent_slot slot, int32_t pid, uint64_t start_ticks)
{
    struct procfs *procfs = (struct procfs *)source;
    (void)start_ticks;
    if (procfs->watch)
        (void)watch_root(procfs->watch, slot, pid); /* a help, not a must */
    return 0;
}

static void procfs_release(struct collector_source *source, agent_slot slot)
{
    struct procfs *procfs = (struct procfs *)source;
    if (procfs->watch)
        watch_release(procfs->watch, slot);
}

static int procfs_watch_group(struct collector_source *source, agent_slot slot, int cgroup_dir_fd)
{
    struct procfs *procfs = (struct procfs *)source;
    return procfs->watch ? watch_group(procfs->watch, slot, cgroup_dir_fd) : -EOPNOTSUPP;
}

static int procfs_event_fd(struct collector_source *source)
{
    struct procfs *procfs = (struct procfs *)source;
    return procfs->watch ? watch_fd(procfs->watch) : -1;
}

static int procfs_handle_events(struct collector_source *source)
{
    struct procfs *procfs = (struct procfs *)source;
    return procfs->watch ? watch_handle(procfs->watch) : 0;
}

static const struct collector_ops procfs_ops = {
    .name = "procfs",
    .read = procfs_read,
    .adopt = procfs_adopt,
    .release = procfs_release,
    .watch_group = procfs_watch_group,
    .event_fd = procfs_event_fd,
    .handle_events = procfs_handle_events,
    .free = procfs_free,
};

/* Since 6.2 the size of /proc/PID/fd is the number of descriptors; before it was 0. We have at
 * least one ourselves. */
static bool probe_fd_size(int proc_fd)
{
    struct stat status;
    return procfs_is_real(proc_fd) && fstatat(proc_fd, "self/fd", &status, 0) == 0 &&
           status.st_size > 0;
}

/* Since 6.16 statm adds up what each CPU holds back; before it told the same as stat. */
static bool probe_statm(int proc_fd)
{
    struct utsname name;
    uint64_t major, minor;
    if (!procfs_is_real(proc_fd) || uname(&name) < 0)
        return false;
    const char *c = name.release, *end = c + strlen(c);
    if (parse_digits(&c, end, &major) < 0 || c >= end || *c++ != '.' ||
        parse_digits(&c, end, &minor) < 0)
        return false;
    return major > 6 || (major == 6 && minor >= 16);
}

static void procfs_freep(struct procfs **procfs)
{
    if (*procfs)
        procfs_free(&(*procfs)->source);
}

int procfs_new(const struct procfs_options *options, struct collector_source **ret_source,
    struct ac_error *error)
{
    const char *path = options->proc_path ? options->proc_path : "/proc";
    struct procfs *procfs CLEANUP(procfs_freep) = mem_alloc(sizeof(*procfs));
    if (!procfs)
        return error_set(error, -ENOMEM, "no memory for the process table");
    procfs->source.ops = &procfs_ops;
    procfs->processes = options->processes;
    procfs->thorough = options->thorough;
    procfs->proc_fd = io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (procfs->proc_fd < 0)
        return error_errno(error, procfs->proc_fd, "cannot open %s", path);
    procfs->statm_is_exact = probe_statm(procfs->proc_fd);
    procfs->size_counts_fds = probe_fd_size(procfs->proc_fd);
    int w = options->max_slot ? watch_new(options->max_slot, &procfs->watch) : 0;
    if (w < 0)
        return error_errno(error, w, "cannot watch agents");
    int r = machine_reader_new(options, &procfs->machine, error);
    if (r < 0)
        return r;
    r = proc_files_new(procfs->proc_fd, 0, &procfs->files);
    if (r < 0)
        return error_set(error, r, "no memory for the process table");
    *ret_source = &TAKE_PTR(procfs)->source;
    return 0;
}

void procfs_set_wanted(struct collector_source *source, procfs_wanted wanted, void *userdata)
{
    struct procfs *procfs = (struct procfs *)source;
    procfs->wanted = wanted;
    procfs->wanted_userdata = userdata;
}

int procfs_start_ticks(int proc_fd, int32_t pid, uint64_t *ret_start_ticks)
{
    char path[PROC_PATH_MAX], text[STAT_TEXT_SIZE];
    struct proc_record proc;
    procfs_path(path, pid, "stat");
    ssize_t n = io_read_file(proc_fd, path, text, sizeof(text));
    if (is_gone(n))
        return -ESRCH;
    if (n < 0)
        return (int)n;
    int r = procfs_parse_stat(text, (size_t)n, &proc);
    if (r < 0)
        return r;
    *ret_start_ticks = proc.start_ticks;
    return 0;
}

int procfs_owner(int proc_fd, int32_t pid, uint32_t *ret_uid)
{
    char path[PROC_PATH_MAX], text[1024];
    procfs_path(path, pid, "status");
    ssize_t n = io_read_file(proc_fd, path, text, sizeof(text));
    if (is_gone(n))
        return -ESRCH;
    if (n < 0)
        return (int)n;
    return procfs_parse_uid(text, (size_t)n, ret_uid);
}

/* The line stands behind the one of the groups: of more than a thousand it is not found, and the
 * process taken for one that lives here. */
int procfs_inner_pid(int proc_fd, int32_t pid, int32_t *ret_inner, bool *ret_nested)
{
    char path[PROC_PATH_MAX], text[16384];
    procfs_path(path, pid, "status");
    ssize_t n = io_read_file(proc_fd, path, text, sizeof(text));
    if (is_gone(n))
        return -ESRCH;
    if (n < 0)
        return (int)n;
    if (procfs_parse_inner_pid(text, (size_t)n, ret_inner, ret_nested) < 0) {
        *ret_inner = pid;
        *ret_nested = false;
    }
    return 0;
}
