/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the files of one cgroup v2 directory through descriptors that stay open: one pread each.
 * What a kernel or a group does not have (a controller that is off, memory.peak before 5.19) is
 * unknown in the record.
 *
 * memory.peak is reset at each read where the kernel can do that for one descriptor alone
 * (6.12); elsewhere it is the highest ever, and says something of the time since the last read
 * only where it has risen. How much inactive file cache was in it then nobody knows: taken off is
 * the most that was seen between that read and this one.
 */
#ifndef AC_OS_CGROUP_READ_H
#define AC_OS_CGROUP_READ_H

#include <stdbool.h>

#include "model/sample.h"

struct cgroup_reader;

/* Opens the files below @dir_fd (borrowed: duplicated). Returns 0; -ENOMEM; -errno where not even
 * cgroup.events can be opened (it is no cgroup v2 directory, or the root). */
int cgroup_reader_new(int dir_fd, struct cgroup_reader **ret_reader);
void cgroup_reader_free(struct cgroup_reader *reader);

enum cgroup_outcome { CGROUP_READ, CGROUP_GONE };

/* Fills all but the slot and network. Returns enum cgroup_outcome; -errno. */
int cgroup_reader_read(struct cgroup_reader *reader, struct group_record *ret_record);

/* memory.current less inactive file cache. Returns enum cgroup_outcome;
 * -EOPNOTSUPP without the memory controller; -errno. */
int cgroup_reader_memory(struct cgroup_reader *reader, uint64_t *ret_bytes);

/* Counters of memory.events; reading them also arms the descriptor for poll(POLLPRI). */
struct cgroup_memory_events {
    uint64_t high;
    uint64_t max;
    uint64_t oom;
    uint64_t oom_kill;
};
int cgroup_reader_events(struct cgroup_reader *reader, struct cgroup_memory_events *ret_events);

/* The descriptor of memory.events, -1 where there is none. Borrowed. */
int cgroup_reader_events_fd(const struct cgroup_reader *reader);

/* The directory. Borrowed. */
int cgroup_reader_dir_fd(const struct cgroup_reader *reader);
uint64_t cgroup_reader_id(const struct cgroup_reader *reader);

/* Sums "rbytes=" and "wbytes=" over the lines of an io.stat. A device that stands on others counts
 * as much as they do, so only the lines' first field tells them apart, and none is left out.
 * Returns 0 or -EINVAL. Exposed for tests and fuzzing. */
int cgroup_parse_io_stat(
    const char *text, size_t length, uint64_t *ret_read, uint64_t *ret_written);

/* The number behind "full avg10=" of a pressure file. Returns 0 or -EINVAL. */
int cgroup_parse_pressure(const char *text, size_t length, double *ret_full_percent);

#endif
