/* SPDX-License-Identifier: Apache-2.0 */
#include "os/pss.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/mem.h"
#include "os/procfs_internal.h"

#define TEXT_SIZE      2048
#define STACK_SIZE     (256u << 10) /* with sanitizers; ordinarily a few KiB of it are touched */
#define SAVED_UP_NS    (10 * NS_PER_SEC) /* a share that is not used is kept for this long */
#define END_TIMEOUT_NS NS_PER_SEC

/* Of the thread while .busy, else of the object's user; .lock guards .busy and .stop. */
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
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool busy;
    bool stop;
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

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_SEC + (uint64_t)used.tv_nsec;
}

static void batch_read(int proc_fd, struct batch *batch)
{
    uint64_t start = thread_cpu_ns();
    batch->n_records = 0;
    batch->spent_ns = 0;
    for (size_t i = 0; i < batch->n_wants && (i == 0 || batch->spent_ns < batch->limit_ns); i++) {
        if (pss_read(proc_fd, &batch->wants[i], &batch->records[batch->n_records]) == 0)
            batch->n_records++;
        batch->spent_ns = thread_cpu_ns() - start;
    }
}

static void *work(void *userdata)
{
    struct pss_reader *reader = userdata;
    pthread_mutex_lock(&reader->lock);
    for (;;) {
        while (!reader->busy && !reader->stop)
            pthread_cond_wait(&reader->changed, &reader->lock);
        if (reader->stop)
            break;
        pthread_mutex_unlock(&reader->lock);
        batch_read(reader->proc_fd, &reader->batch);
        pthread_mutex_lock(&reader->lock);
        reader->busy = false;
        pthread_cond_broadcast(&reader->changed);
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

/* ---- Its user */

int pss_reader_new(
    int proc_fd, double budget_percent, struct mono now, struct pss_reader **ret_reader)
{
    struct pss_reader *reader = mem_alloc(sizeof(*reader));
    pthread_attr_t attributes;
    sigset_t all, before;
    if (!reader)
        return -ENOMEM;
    reader->proc_fd = proc_fd;
    reader->share = budget_percent / 100;
    reader->left_ns = (int64_t)(reader->share * SAVED_UP_NS);
    reader->when = now;
    reader->taken = true;
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->changed, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all); /* signals are for the threads of the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&reader->thread, &attributes, work, reader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (r != 0) {
        pthread_mutex_destroy(&reader->lock);
        pthread_cond_destroy(&reader->changed);
        mem_free(reader);
        return -EAGAIN;
    }
    *ret_reader = reader;
    return 0;
}

void pss_reader_free(struct pss_reader *reader)
{
    if (!reader)
        return;
    pthread_mutex_lock(&reader->lock);
    reader->stop = true;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)(END_TIMEOUT_NS / NS_PER_SEC);
    if (pthread_timedjoin_np(reader->thread, NULL, &deadline) != 0) {
        pthread_detach(reader->thread); /* and what it uses stays with it */
        return;
    }
    pthread_mutex_destroy(&reader->lock);
    pthread_cond_destroy(&reader->changed);
    mem_free(reader);
}

static bool is_busy(struct pss_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    bool busy = reader->busy;
    pthread_mutex_unlock(&reader->lock);
    return busy;
}

bool pss_reader_ready(struct pss_reader *reader, struct mono now)
{
    if (!reader->taken || is_busy(reader))
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
    pthread_mutex_lock(&reader->lock);
    reader->busy = true;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
}

size_t pss_reader_take(struct pss_reader *reader, const struct pss_record **ret_records)
{
    if (reader->taken || is_busy(reader))
        return 0;
    reader->taken = true;
    reader->left_ns -= (int64_t)reader->batch.spent_ns;
    *ret_records = reader->batch.records;
    return reader->batch.n_records;
}

void pss_reader_wait(struct pss_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    while (reader->busy)
        pthread_cond_wait(&reader->changed, &reader->lock);
    pthread_mutex_unlock(&reader->lock);
}
