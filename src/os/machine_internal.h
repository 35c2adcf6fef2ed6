/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the machine reader. Private to src/os/machine*.c. */
#ifndef AC_OS_MACHINE_INTERNAL_H
#define AC_OS_MACHINE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/procfs.h"

/* ---- Devices and interfaces (machine_io.c) */

#define DEVICE_NAME_MAX 32
#define DEVICES_MAX     4096 /* further ones are not counted */

struct device {
    char name[DEVICE_NAME_MAX];
    bool counted;  /* by its own nature */
    bool hardware; /* stands on hardware: where any does, only those are counted */
    bool seen;     /* in this pass */
    uint64_t in;   /* its counters in this pass */
    uint64_t out;
    uint64_t in_growth; /* since the last pass */
    uint64_t out_growth;
};

/*
 * Counters of whole disks, or of network interfaces, summed so that the sum never goes back: each
 * device adds its own growth. A device that shows up later starts at its counters of then; one
 * that goes away takes nothing with it; one whose counters went back was started anew.
 */
struct devices {
    struct device *array;
    size_t count;
    size_t capacity;
    bool started; /* one pass is behind: later devices are newcomers */
    uint64_t in_total;
    uint64_t out_total;
};
void devices_done(struct devices *devices);

/* Reads /proc/diskstats: whole devices only. A partition, a device stacked on others (dm, md,
 * bcache: it has slaves, which are counted), loop, ram and zram are not counted. In bytes read
 * and written. Returns 0 or -errno. */
int disks_read(struct devices *disks, int proc_fd, int sys_fd, char *buffer, size_t capacity);

/*
 * Reads /proc/net/dev without loopback: in bytes received and sent. Where any interface stands
 * on hardware (/sys/class/net/X/device) only those count, as tunnels, bridges, bonds and
 * containers' ends carry the same bytes again. Else (in a container) all but bridges, bonds and
 * the veth ends that hang on a bridge. Returns 0 or -errno.
 */
int interfaces_read(
    struct devices *interfaces, int proc_fd, int sys_fd, char *buffer, size_t capacity);

/* Parsers of one line. Return 0, -EINVAL. */
int disks_parse_line(const char *line, size_t length, char ret_name[DEVICE_NAME_MAX],
    uint64_t *ret_read, uint64_t *ret_written);
int interfaces_parse_line(const char *line, size_t length, char ret_name[DEVICE_NAME_MAX],
    uint64_t *ret_received, uint64_t *ret_sent);

/* ---- Our own cgroup (machine_cgroup.c) */

struct own_cgroup;

/* v1 hierarchies may share one mount ("cpu,cpuacct"). */
enum cgroup_hierarchy {
    CGROUP_UNIFIED,
    CGROUP_CPU,
    CGROUP_CPUACCT,
    CGROUP_MEMORY,
    CGROUP_HIERARCHIES
};

#define CGROUP_PATH_MAX 4096

/* A directory: the mount's, and ours below it ("" or "/a/b"). */
struct cgroup_place {
    char point[CGROUP_PATH_MAX];
    char below[CGROUP_PATH_MAX];
};

/* Where we are in @hierarchy, by the texts of /proc/self/cgroup and /proc/self/mountinfo. False
 * where that hierarchy is not mounted, or we are not in it. */
bool own_cgroup_locate(const char *cgroups, size_t cgroups_size, const char *mounts,
    size_t mounts_size, enum cgroup_hierarchy hierarchy, struct cgroup_place *ret_place);

struct cgroup_limits {
    double cpu_cores; /* INFINITY = no limit */
    bool cpu_usage_known;
    uint64_t cpu_usage_ns; /* of the group that has the limit, ancestors tried too */
    uint64_t memory_bytes; /* UINT64_MAX = no limit */
    bool memory_used_known;
    uint64_t memory_used_bytes; /* current less inactive file cache */
    bool pressure_known;
    double memory_full_percent;
};

/* Finds our own cgroups through @proc_fd's self/cgroup and self/mountinfo: v2 wherever it is
 * mounted, and the v1 cpu and memory hierarchies. @cgroup_path as in procfs_options. Without
 * cgroups there are no limits, which is no failure. Returns 0 or -ENOMEM, -errno. */
int own_cgroup_new(int proc_fd, const char *cgroup_path, struct own_cgroup **ret_group);
void own_cgroup_free(struct own_cgroup *group);

/* Limits of the group and its ancestors, the smallest of each. */
void own_cgroup_read(const struct own_cgroup *group, struct cgroup_limits *ret_limits);

/* "full avg10=1.23 ..." of a pressure file. Returns 0 or -EINVAL. */
int machine_parse_pressure(const char *text, size_t length, double *ret_full_percent);

#endif
