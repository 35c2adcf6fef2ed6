/* SPDX-License-Identifier: Apache-2.0 */
/* The peers that are code of ours: the bare iterator, and a procfs walk with kept descriptors. */
#ifndef AC_BENCH_WALK_H
#define AC_BENCH_WALK_H

#include <stddef.h>
#include <sys/types.h>

/* The iterator alone, all fields of every process, read and thrown away. Returns 0 or -errno; a
 * pass returns bytes. */
int bare_open(void);
size_t bare_pass(void);
void bare_close(void);

/* Opens stat, statm and io of each pid once; a pass reads them all and counts descriptors by
 * stat() of the fd directory. No parsing is charged beyond the CPU fields. */
int walk_open(const pid_t *pids, size_t count);
size_t walk_pass(void);
void walk_close(void);

#endif
