/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the proportional memory of processes (/proc/PID/smaps_rollup) on a thread of its own. The
 * kernel walks the page tables for it and waits for the process's memory lock, so one reading takes
 * from 20 us to seconds: whoever samples neither waits for it nor pays more than a share of a core.
 * An object is used by one thread.
 */
#ifndef AC_OS_PSS_H
#define AC_OS_PSS_H

#include "base/clock.h"
#include "model/sample.h"

#define PSS_BATCH_MAX 64 /* readings at one time */

struct pss_reader;

/* @proc_fd is borrowed and must stay open until pss_reader_free. @budget_percent: share of a core,
 * above 0. Returns 0, -ENOMEM, -EAGAIN (no thread). */
int pss_reader_new(
    int proc_fd, double budget_percent, struct mono now, struct pss_reader **ret_reader);

/* A thread that hangs in the kernel is left behind. */
void pss_reader_free(struct pss_reader *reader);

/* Whether the thread waits for work and some of the share is left. */
bool pss_reader_ready(struct pss_reader *reader, struct mono now);

/* Has them read in this order, the first @count or PSS_BATCH_MAX of them, until the share is spent,
 * the first in any case. Only where the reader is ready. */
void pss_reader_ask(struct pss_reader *reader, const struct pss_want *wants, size_t count);

/* What was read since the last call; the array is the reader's, until the next call of any of
 * these. Returns the count: 0 while the thread is at work. A process that is gone has none. */
size_t pss_reader_take(struct pss_reader *reader, const struct pss_record **ret_records);

/* Waits until the thread has done what was asked. */
void pss_reader_wait(struct pss_reader *reader);

/* Reads one, here and now. Returns 0 (@ret_record->readable says whether it may be read); -ESRCH:
 * it is gone, or has no memory, or the kernel does not tell; -errno. Any thread. */
int pss_read(int proc_fd, const struct pss_want *want, struct pss_record *ret_record);

#endif
