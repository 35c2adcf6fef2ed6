/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The procfs collector: walks /proc once per sample. Works everywhere, without privileges sees
 * what the kernel shows this user (io and descriptors of own processes only).
 *
 * /proc is read relative to a directory descriptor, so a test points it at a fixture tree. Files
 * of known processes are kept open up to a cap taken from RLIMIT_NOFILE.
 */
#ifndef AC_OS_PROCFS_H
#define AC_OS_PROCFS_H

#include "base/error.h"
#include "os/collector_ops.h"

struct procfs_options {
    const char *proc_path;   /* NULL = "/proc" */
    const char *sys_path;    /* NULL = "/sys": block devices, network */
    const char *cgroup_path; /* NULL = found in /proc/self/mountinfo; "" = none */
    bool processes;          /* false: the machine only */
    bool thorough;           /* io and descriptors of every process, not only of members */
    uint32_t max_slot;       /* largest slot whose cgroup and first process may be watched;
                                0: nothing is watched, and there is no event_fd */
};

/* Returns 0, or -errno with @error. Free through ops->free. */
int procfs_new(const struct procfs_options *options, struct collector_source **ret_source,
    struct ac_error *error);

/* Limits the expensive files (io, descriptors) to processes below these roots: the engine hands
 * over members as it learns them. Without any call all processes are read in full. */
typedef bool (*procfs_wanted)(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid);
void procfs_set_wanted(struct collector_source *source, procfs_wanted wanted, void *userdata);

/* Reads the machine alone into @ret_machine (capacity, CPU, memory, disk, network, open files).
 * Returns 0 or -errno. Used by every collector. */
struct machine_reader;
int machine_reader_new(const struct procfs_options *options, struct machine_reader **ret_reader,
    struct ac_error *error);
int machine_reader_read(struct machine_reader *reader, struct machine_record *ret_machine);
void machine_reader_free(struct machine_reader *reader);

/* Parsers, exposed for tests and fuzzing. They take pointer and length, and fill what the text
 * holds. Return 0 or -EINVAL. */
int procfs_parse_stat(const char *text, size_t length, struct proc_record *ret_proc);

/* The start time of @pid in clock ticks. Returns 0, -ESRCH, -errno. */
int procfs_start_ticks(int proc_fd, int32_t pid, uint64_t *ret_start_ticks);

/* What @pid calls itself, and whether it lives in a pid namespace below the one of /proc, where
 * numbers mean other processes. Returns 0, -ESRCH, -errno. */
int procfs_inner_pid(int proc_fd, int32_t pid, int32_t *ret_inner, bool *ret_nested);

/* The owner (real uid) of @pid. Returns 0, -ESRCH, -errno. */
int procfs_owner(int proc_fd, int32_t pid, uint32_t *ret_uid);

#endif
