/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the procfs collector share. Private to src/os/procfs*.c and machine*.c. */
#ifndef AC_OS_PROCFS_INTERNAL_H
#define AC_OS_PROCFS_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "model/sample.h"
#include "os/procfs.h"

#define PROC_TICK_NS  10000000ull /* USER_HZ is 100 wherever Linux runs today */
#define PROC_NAME_MAX 12          /* digits of a pid and NUL */
#define PROC_PATH_MAX 24          /* "PID/smaps_rollup" */

/* The flag of kernel threads in the ninth field of /proc/PID/stat. */
#define PROC_FLAG_KTHREAD 0x00200000u

/* What /proc/PID/stat tells beside the record. */
struct stat_extra {
    uint64_t flags;
    uint64_t faults; /* minor and major, of the process itself: memory that came */
};

int procfs_parse_stat_extra(
    const char *text, size_t length, struct proc_record *ret_proc, struct stat_extra *ret_extra);

/* "read_bytes" and "write_bytes" of /proc/PID/io. Returns 0 or -EINVAL. */
int procfs_parse_io(const char *text, size_t length, uint64_t *ret_read, uint64_t *ret_written);

/* The resident pages of /proc/PID/statm, in bytes. Returns 0 or -EINVAL. */
int procfs_parse_statm(const char *text, size_t length, uint64_t *ret_bytes);

/* "Pss:" of /proc/PID/smaps_rollup, in bytes. Returns 0 or -EINVAL. */
int procfs_parse_pss(const char *text, size_t length, uint64_t *ret_bytes);

/* The first (real) uid of /proc/PID/status. Returns 0 or -EINVAL. */
int procfs_parse_uid(const char *text, size_t length, uint32_t *ret_uid);

/* "NSpid:" of /proc/PID/status: what the process is called in the pid namespace that it lives in,
 * and whether that lies below the one that /proc shows. Returns 0, or -EINVAL where it is not said
 * (as of kernels without pid namespaces). */
int procfs_parse_inner_pid(const char *text, size_t length, int32_t *ret_inner, bool *ret_nested);

/* The value behind "KEY" at the start of a line, white space between them skipped: "MemTotal:",
 * "inactive_file". Returns 0 or -EINVAL. */
int procfs_parse_key(const char *text, size_t length, const char *key, uint64_t *ret_value);

/* One pread: for files that the kernel hands out in one piece. Returns bytes (text is
 * NUL-terminated) or -errno. */
ssize_t procfs_read_once(int fd, char *buffer, size_t capacity);

/* Writes "PID/FILE" or, with @file NULL, "PID". */
void procfs_path(char path[PROC_PATH_MAX], int32_t pid, const char *file);

/* Whether @fd lies on a real procfs (and not in a fixture). */
bool procfs_is_real(int fd);

/* ---- Kept-open files of processes (procfs_files.c) */

/*
 * Descriptors of known processes' stat, statm, io and fd directory, so that a pass costs one pread
 * per file instead of open, read and close. Each kept file but the directory pins a page of kernel
 * memory; that and RLIMIT_NOFILE set the cap. Above it files are opened for each pass. Not safe for
 * concurrent use.
 */
enum proc_file { PROC_FILE_STAT, PROC_FILE_STATM, PROC_FILE_IO, PROC_FILE_FDS, PROC_FILE_COUNT };

struct proc_files;

/* @proc_fd is borrowed. @cap 0 = from RLIMIT_NOFILE. Returns 0 or -ENOMEM. */
int proc_files_new(int proc_fd, size_t cap, struct proc_files **ret_files);
void proc_files_free(struct proc_files *files);

/* Before and after a pass: files of processes that were not read in it are closed. */
void proc_files_begin(struct proc_files *files);
void proc_files_end(struct proc_files *files);

/* Reads stat, statm or io of @pid. Returns bytes, or -errno (-ENOENT or -ESRCH: gone; -EACCES;
 * ...). */
ssize_t proc_files_read(
    struct proc_files *files, int32_t pid, enum proc_file which, char *buffer, size_t capacity);

/* What was read of a process's memory, and when to read it anew: a process that took no fault has
 * no more of it, and has given nothing back but what its rough size does not show. */
struct memory_note {
    bool valid;
    uint64_t faults;
    uint64_t rough_bytes;
    uint64_t exact_bytes;
};

/* The note of a process that has files kept open, for the caller to read and write; NULL where it
 * has none. Borrowed until the next call. */
struct memory_note *proc_files_memory(struct proc_files *files, int32_t pid);

/* The number of descriptors by the size of /proc/PID/fd (kernels from 6.2). Returns 0, -errno. */
int proc_files_count_fds(struct proc_files *files, int32_t pid, uint32_t *ret_count);

/* The process behind @pid turned out to be another one: closes what is kept of the old one. */
void proc_files_forget(struct proc_files *files, int32_t pid);

size_t proc_files_kept(const struct proc_files *files);

#endif
