/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the processes that this one and its descendants start, however short they live: the
 * kernel writes a record per fork into a ring per CPU (perf_event_open with inherited dummy
 * events). Needs no privileges where kernel.perf_event_paranoid is 2 or less.
 */
#ifndef AC_CLI_RUN_FORKS_H
#define AC_CLI_RUN_FORKS_H

#include <stdbool.h>
#include <stdint.h>

struct forks;

/* Counts from now on. Returns 0; -EACCES where this user may not; -ENOSYS, -ENOMEM, -errno. */
int forks_open(struct forks **ret_forks);
void forks_free(struct forks *forks); /* NULL is fine */

/* Empties the rings; often enough, a hundred thousand forks a second are counted. */
void forks_read(struct forks *forks);

/* Processes started so far; less than there were where a ring overflowed between two reads. */
uint64_t forks_count(const struct forks *forks);

#endif
