/* SPDX-License-Identifier: Apache-2.0 */
#include "os/pss.h"

#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "os/procfs_internal.h"
#include "os/side_thread.h"

#define TEXT_SIZE   2048
#define STACK_SIZE  (256u << 10)      /* with sanitizers; ordinarily a few KiB of it are touched */
#define SAVED_UP_NS (10 * NS_PER_SEC) /* a share that is not used is kept for this long */

/* What the thread works on. */
struct batch {
    struct pss_want wants[PSS_BATCH_MAX];
    size_t n_wants;
    struct pss_record records[PSS_BATCH_MAX];
    size_t n_records;
    uint64_t limit_ns; /* processor time */
    uint64_t spent_ns;
};

struct pss_reader {
    int proc_fd;
    double share; /* of a core */
    int64_t left_ns;
    struct mono when; /* .left_ns was that */
    bool taken;       /* the batch has been taken, and paid */
    struct side_thread *thread;
    struct batch batch;
};

int pss_read(int proc_fd, const struct pss_want *want, struct pss_record *ret_record)
{
    char path[PROC_PATH_MAX], text[TEXT_SIZE];
    uint64_t ticks, bytes = 0;
    procfs_path(path, want->pid, "smaps_rollup");
    ssize_t n = io_read_file(proc_fd, path, text, sizeof(text));
    bool denied = n == -EACCES || n == -EPERM;
    if (n == -ENOENT)
        return -ESRCH;
    if (n < 0 && !denied)
        return (int)n;
    int r = denied ? 0 : procfs_parse_pss(text, (size_t)n, &bytes);
    if (r < 0)
        return r;
    /* Who has the pid now had it then: the one that was meant was there before. */
    r = procfs_start_ticks(proc_fd, want->pid, &ticks);
    if (r < 0)
        return r;
    if (ticks != want->start_ticks)
        return -ESRCH;
    *ret_record = (struct pss_record){.pid = want->pid,
        .readable = !denied,
        .start_ticks = ticks,
        .pss_bytes = bytes,
        .read_ns = clock_mono().ns};
    return 0;
}

/* ---- The thread */

static void batch_read(void *userdata)
{
    struct pss_reader *reader = userdata;
    struct batch *batch = &reader->batch;
    uint64_t start = side_thread_cpu_ns();
    batch->n_records = 0;
    batch->spent_ns = 0;
    for (size_t i = 0; i < batch->n_wants && (i == 0 || batch->spent_ns < batch->limit_ns); i++) {
        if (pss_read(reader->proc_fd, &batch->wants[i], &batch->records[batch->n_records]) == 0)
            batch->n_records++;
        batch->spent_ns = side_thread_cpu_ns() - start;
    }
}

/* ---- Its user */

int pss_reader_new(
    int proc_fd, double budget_percent, struct mono now, struct pss_reader **ret_reader)
{
    struct pss_reader *reader = mem_alloc(sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    reader->proc_fd = proc_fd;
    reader->share = budget_percent / 100;
    reader->left_ns = (int64_t)(reader->share * SAVED_UP_NS);
    reader->when = now;
    reader->taken = true;
    int r = side_thread_new(batch_read, reader, STACK_SIZE, &reader->thread);
    if (r < 0) {
        mem_free(reader);
        return r;
    }
    *ret_reader = reader;
    return 0;
}

void pss_reader_free(struct pss_reader *reader)
{
    if (reader && side_thread_free(reader->thread))
        mem_free(reader);
}

bool pss_reader_ready(struct pss_reader *reader, struct mono now)
{
    if (!reader->taken || side_thread_busy(reader->thread))
        return false;
    int64_t saved = (int64_t)(reader->share * SAVED_UP_NS);
    double earned = (double)mono_since(now, reader->when) * reader->share;
    reader->left_ns = (int64_t)MIN((double)reader->left_ns + earned, (double)saved);
    reader->when = now;
    return reader->left_ns > 0;
}

void pss_reader_ask(struct pss_reader *reader, const struct pss_want *wants, size_t count)
{
    struct batch *batch = &reader->batch;
    if (count == 0)
        return;
    batch->n_wants = MIN(count, (size_t)PSS_BATCH_MAX);
    memcpy(batch->wants, wants, batch->n_wants * sizeof(*wants));
    batch->limit_ns = (uint64_t)MAX(reader->left_ns, (int64_t)0);
    reader->taken = false;
    side_thread_start(reader->thread);
}

size_t pss_reader_take(struct pss_reader *reader, const struct pss_record **ret_records)
{
    if (reader->taken || side_thread_busy(reader->thread))
        return 0;
    reader->taken = true;
    reader->left_ns -= (int64_t)reader->batch.spent_ns;
    *ret_records = reader->batch.records;
    return reader->batch.n_records;
}

void pss_reader_wait(struct pss_reader *reader)
{
    while (!side_thread_wait(reader->thread, NS_PER_SEC))
        ;
}
