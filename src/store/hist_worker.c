/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording on a thread of its own: ticks are copied into a short queue, so that the caller
 * never waits for the disk. What the disk said about a tick is the answer to the next one.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "store/hist_internal.h"

#define QUEUE_MAX 4

struct copied_row {
    struct ac_usage usage;
    struct history_totals totals;
    char subject[AC_AGENT_ID_MAX + 2]; /* one too long stays too long */
};

struct job {
    int64_t when_ns;
    struct history_row *rows;
    struct copied_row *copies;
    char *labels; /* of all rows, one behind the other */
    size_t n;
    size_t room; /* rows and copies */
    size_t labels_room;
};

struct hist_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job queue[QUEUE_MAX];
    struct job spare; /* its memory is for the next tick */
    unsigned waiting;
    bool busy;
    bool stop;
    uint64_t refused;
    struct ac_error last; /* of the last tick; code 0 = it was recorded */
};

static void job_done(struct job *job)
{
    mem_free(job->rows);
    mem_free(job->copies);
    mem_free(job->labels);
    *job = (struct job){0};
}

static size_t labels_size(const struct history_row *rows, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += rows[i].about.known ? rows[i].about.labels_size : 0;
    return size;
}

static int job_reserve(struct job *job, size_t n, size_t labels)
{
    if (job->room < n || job->labels_room < labels) {
        job_done(job);
        job->rows = mem_alloc_array(n + 1, sizeof(*job->rows));
        job->copies = mem_alloc_array(n + 1, sizeof(*job->copies));
        job->labels = mem_alloc(labels + 1);
        job->room = n;
        job->labels_room = labels;
    }
    if (job->rows != NULL && job->copies != NULL && job->labels != NULL)
        return 0;
    job_done(job);
    return -ENOMEM;
}

static int job_copy(struct job *job, int64_t when_ns, const struct history_row *rows, size_t n)
{
    int r = job_reserve(job, n, labels_size(rows, n));
    if (r < 0)
        return r;
    job->when_ns = when_ns;
    job->n = n;
    char *labels = job->labels;
    for (size_t i = 0; i < n; i++) {
        struct copied_row *copy = &job->copies[i];
        copy->usage = *rows[i].usage;
        size_t length = strnlen(rows[i].subject, AC_AGENT_ID_MAX + 1);
        memcpy(copy->subject, rows[i].subject, length);
        copy->subject[length] = '\0';
        if (rows[i].totals != NULL)
            copy->totals = *rows[i].totals;
        job->rows[i] = (struct history_row){.subject = copy->subject,
            .usage = &copy->usage,
            .totals = rows[i].totals == NULL ? NULL : &copy->totals,
            .processes = rows[i].processes,
            .about = rows[i].about};
        if (!rows[i].about.known)
            continue;
        job->rows[i].about.labels = labels;
        if (rows[i].about.labels_size > 0)
            memcpy(labels, rows[i].about.labels, rows[i].about.labels_size);
        labels += rows[i].about.labels_size;
    }
    return 0;
}

static void *work(void *userdata)
{
    struct history *history = userdata;
    struct hist_worker *worker = history->worker;
    pthread_mutex_lock(&worker->lock);
    for (;;) {
        while (worker->waiting == 0 && !worker->stop)
            pthread_cond_wait(&worker->changed, &worker->lock);
        if (worker->waiting == 0)
            break;
        struct job job = worker->queue[0];
        memmove(&worker->queue[0], &worker->queue[1], (QUEUE_MAX - 1) * sizeof(job));
        worker->waiting--;
        worker->busy = true;
        pthread_mutex_unlock(&worker->lock);
        struct ac_error error = {0};
        int r = hist_tick_now(history, job.when_ns, job.rows, job.n, &error);
        pthread_mutex_lock(&worker->lock);
        struct job older = worker->spare;
        worker->spare = job;
        worker->last = error;
        worker->last.code = r;
        worker->busy = false;
        pthread_cond_broadcast(&worker->changed);
        job_done(&older);
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

int hist_worker_start(struct history *history)
{
    sigset_t all;
    sigset_t before;
    struct hist_worker *worker = mem_alloc(sizeof(*worker));
    if (worker == NULL)
        return -ENOMEM;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    history->worker = worker;
    sigfillset(&all); /* signals are for the threads of the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&worker->thread, NULL, work, history);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        return 0;
    history->worker = NULL;
    mem_free(worker);
    return -r;
}

void hist_worker_stop(struct history *history)
{
    struct hist_worker *worker = history->worker;
    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    job_done(&worker->spare);
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->changed);
    mem_free(worker);
    history->worker = NULL;
}

int hist_worker_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    struct hist_worker *worker = history->worker;
    pthread_mutex_lock(&worker->lock);
    struct job job = worker->spare;
    worker->spare = (struct job){0};
    pthread_mutex_unlock(&worker->lock);
    int r = job_copy(&job, when_ns, rows, n_rows);
    if (r < 0)
        return error_set(error, r, "no memory");
    pthread_mutex_lock(&worker->lock);
    struct ac_error last = worker->last;
    if (worker->waiting < QUEUE_MAX) {
        worker->queue[worker->waiting++] = job;
        pthread_cond_broadcast(&worker->changed);
    } else {
        r = -EAGAIN;
        worker->refused++;
    }
    pthread_mutex_unlock(&worker->lock);
    if (r < 0) {
        job_done(&job);
        return error_set(error, r, "history: the disk is too slow; this tick is not recorded");
    }
    return last.code < 0 ? error_set(error, last.code, "%s", last.message) : 0;
}

void hist_worker_status(struct history *history, struct history_status *status)
{
    struct hist_worker *worker = history->worker;
    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->lock);
    status->refused_ticks = worker->refused;
    status->waiting_ticks = worker->waiting + worker->busy;
    pthread_mutex_unlock(&worker->lock);
}

int history_flush(struct history *history, struct ac_error *error)
{
    struct hist_worker *worker = history->worker;
    if (worker == NULL)
        return 0;
    pthread_mutex_lock(&worker->lock);
    while (worker->waiting > 0 || worker->busy)
        pthread_cond_wait(&worker->changed, &worker->lock);
    struct ac_error last = worker->last;
    pthread_mutex_unlock(&worker->lock);
    return last.code < 0 ? error_set(error, last.code, "%s", last.message) : 0;
}
