/* SPDX-License-Identifier: Apache-2.0 */
#include "os/procfs_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"

#define FILES_CAP_MAX 8192 /* three of four with a page: up to 24 MiB of kernel memory */

struct kept {
    int32_t pid;
    int fds[PROC_FILE_COUNT]; /* -1 = not kept */
    uint32_t pass;            /* the pass that read it last */
    struct memory_note memory;
};

struct proc_files {
    int proc_fd;
    size_t cap;
    size_t kept;         /* descriptors */
    struct kept *array;  /* dense: the last one fills a hole */
    struct u64map *pids; /* pid -> index + 1 in array */
    size_t count;
    size_t capacity;
    uint32_t pass;
};

static const char *const file_names[PROC_FILE_COUNT] = {"stat", "statm", "io", "fd"};
static const int file_flags[PROC_FILE_COUNT] = {O_RDONLY, O_RDONLY, O_RDONLY, O_PATH | O_DIRECTORY};

ssize_t procfs_read_once(int fd, char *buffer, size_t capacity)
{
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    for (;;) {
        ssize_t n = pread(fd, buffer, capacity - 1, 0);
        if (n >= 0) {
            buffer[n] = 0;
            return n;
        }
        if (errno != EINTR)
            return -errno;
    }
}

void procfs_path(char path[PROC_PATH_MAX], int32_t pid, const char *file)
{
    char digits[PROC_NAME_MAX];
    size_t n = 0, length = 0;
    uint32_t rest = pid > 0 ? (uint32_t)pid : 0;
    do
        digits[n++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    while (n > 0)
        path[length++] = digits[--n];
    if (file) {
        path[length++] = '/';
        for (; *file && length < PROC_PATH_MAX - 1; file++)
            path[length++] = *file;
    }
    path[length] = 0;
}

/* Half of what the process may still open; the other half is its own business. */
static size_t cap_from_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    return (size_t)MIN(limit.rlim_cur / 2, (rlim_t)FILES_CAP_MAX);
}

int proc_files_new(int proc_fd, size_t cap, struct proc_files **ret_files)
{
    struct proc_files *files cleanup_free = mem_alloc(sizeof(*files));
    if (!files || u64map_new(0, &files->pids) < 0)
        return -ENOMEM;
    files->proc_fd = proc_fd;
    files->cap = cap > 0 ? cap : cap_from_limit();
    *ret_files = TAKE_PTR(files);
    return 0;
}

static void kept_close(struct proc_files *files, struct kept *kept, enum proc_file which)
{
    if (kept->fds[which] < 0)
        return;
    close(kept->fds[which]);
    kept->fds[which] = -1;
    files->kept--;
}

static void kept_close_all(struct proc_files *files, struct kept *kept)
{
    for (int i = 0; i < PROC_FILE_COUNT; i++)
        kept_close(files, kept, (enum proc_file)i);
}

void proc_files_free(struct proc_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->count; i++)
        kept_close_all(files, &files->array[i]);
    u64map_free(files->pids);
    mem_free(files->array);
    mem_free(files);
}

size_t proc_files_kept(const struct proc_files *files)
{
    return files->kept;
}

static struct kept *kept_find(struct proc_files *files, int32_t pid)
{
    uintptr_t index = (uintptr_t)u64map_get(files->pids, (uint64_t)pid);
    return index ? &files->array[index - 1] : NULL;
}

/* NULL where there is no memory: the file is then not kept. */
static struct kept *kept_add(struct proc_files *files, int32_t pid)
{
    if (files->count == files->capacity) {
        size_t capacity = MAX(files->capacity * 2, (size_t)64);
        struct kept *array = mem_resize_array(files->array, capacity, sizeof(*array));
        if (!array)
            return NULL;
        files->array = array;
        files->capacity = capacity;
    }
    if (u64map_put(files->pids, (uint64_t)pid, (void *)(uintptr_t)(files->count + 1)) < 0)
        return NULL;
    struct kept *kept = &files->array[files->count++];
    *kept = (struct kept){.pid = pid, .fds = {-1, -1, -1, -1}, .pass = files->pass};
    return kept;
}

static void kept_remove(struct proc_files *files, struct kept *kept)
{
    struct kept *last = &files->array[files->count - 1];
    kept_close_all(files, kept);
    u64map_remove(files->pids, (uint64_t)kept->pid);
    if (kept != last) {
        *kept = *last;
        /* Replaces the value of a key that is there, which takes no memory. */
        (void)u64map_put(files->pids, (uint64_t)kept->pid,
            (void *)(uintptr_t)((size_t)(kept - files->array) + 1));
    }
    files->count--;
}

void proc_files_begin(struct proc_files *files)
{
    files->pass++;
}

void proc_files_end(struct proc_files *files)
{
    for (size_t i = files->count; i > 0; i--) {
        if (files->array[i - 1].pass != files->pass)
            kept_remove(files, &files->array[i - 1]);
    }
}

void proc_files_forget(struct proc_files *files, int32_t pid)
{
    struct kept *kept = kept_find(files, pid);
    if (kept)
        kept_remove(files, kept);
}

static void close_everything(struct proc_files *files)
{
    while (files->count > 0)
        kept_remove(files, &files->array[files->count - 1]);
}

/* Without descriptors to spare nothing is kept any more: a missing process would look like one
 * that exited, which is worse than a slower pass. */
static int open_file(struct proc_files *files, int32_t pid, enum proc_file which)
{
    char path[PROC_PATH_MAX];
    procfs_path(path, pid, file_names[which]);
    int fd = io_openat(files->proc_fd, path, file_flags[which], 0);
    if ((fd != -EMFILE && fd != -ENFILE) || files->kept == 0)
        return fd;
    files->cap = files->kept / 2;
    close_everything(files);
    return io_openat(files->proc_fd, path, file_flags[which], 0);
}

/* Keeps @fd where there is room, else closes it. */
static void keep_or_close(struct proc_files *files, int32_t pid, enum proc_file which, int fd)
{
    struct kept *kept = NULL;
    if (files->kept < files->cap) {
        kept = kept_find(files, pid);
        if (!kept)
            kept = kept_add(files, pid);
    }
    if (!kept) {
        close(fd);
        return;
    }
    kept->fds[which] = fd;
    kept->pass = files->pass;
    files->kept++;
}

static int kept_fd(struct proc_files *files, int32_t pid, enum proc_file which)
{
    struct kept *kept = kept_find(files, pid);
    if (!kept)
        return -1;
    kept->pass = files->pass;
    return kept->fds[which];
}

ssize_t proc_files_read(
    struct proc_files *files, int32_t pid, enum proc_file which, char *buffer, size_t capacity)
{
    ssize_t n;
    int fd = kept_fd(files, pid, which);
    if (fd >= 0) {
        n = procfs_read_once(fd, buffer, capacity);
        if (n > 0)
            return n;
        /* Gone: but the pid may already be somebody else's. */
        proc_files_forget(files, pid);
    }
    fd = open_file(files, pid, which);
    if (fd < 0)
        return fd;
    n = procfs_read_once(fd, buffer, capacity);
    if (n > 0)
        keep_or_close(files, pid, which, fd);
    else
        close(fd);
    return n;
}

struct memory_note *proc_files_memory(struct proc_files *files, int32_t pid)
{
    struct kept *kept = kept_find(files, pid);
    return kept ? &kept->memory : NULL;
}

static int fd_count(int fd, uint32_t *ret_count)
{
    struct stat status;
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    if (fstat(fd, &status) < 0)
        return -errno;
    *ret_count = (uint32_t)MIN((uint64_t)status.st_size, (uint64_t)UINT32_MAX);
    return 0;
}

int proc_files_count_fds(struct proc_files *files, int32_t pid, uint32_t *ret_count)
{
    int fd = kept_fd(files, pid, PROC_FILE_FDS);
    if (fd >= 0) {
        if (fd_count(fd, ret_count) == 0)
            return 0;
        proc_files_forget(files, pid);
    }
    fd = open_file(files, pid, PROC_FILE_FDS);
    if (fd < 0)
        return fd;
    int r = fd_count(fd, ret_count);
    if (r == 0)
        keep_or_close(files, pid, PROC_FILE_FDS, fd);
    else
        close(fd);
    return r;
}
