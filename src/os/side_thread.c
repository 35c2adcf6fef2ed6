/* SPDX-License-Identifier: Apache-2.0 */
#include "os/side_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

#define END_TIMEOUT_NS NS_PER_SEC

struct side_thread {
    void (*job)(void *userdata);
    void *userdata;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool busy;
    bool stop;
};

static void *work(void *userdata)
{
    struct side_thread *thread = userdata;
    pthread_mutex_lock(&thread->lock);
    for (;;) {
        while (!thread->busy && !thread->stop)
            pthread_cond_wait(&thread->changed, &thread->lock);
        if (!thread->busy)
            break;
        pthread_mutex_unlock(&thread->lock);
        thread->job(thread->userdata);
        pthread_mutex_lock(&thread->lock);
        thread->busy = false;
        pthread_cond_broadcast(&thread->changed);
    }
    pthread_mutex_unlock(&thread->lock);
    return NULL;
}

/* By the monotonic clock, which nobody sets. */
static void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int start_thread(struct side_thread *thread, size_t stack_bytes)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (fault_hit(FAULT_SYSCALL))
        return -EAGAIN;
    pthread_attr_init(&attributes);
    if (stack_bytes > 0)
        pthread_attr_setstacksize(&attributes, stack_bytes);
    sigfillset(&all); /* signals are for the threads of the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&thread->thread, &attributes, work, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return r == 0 ? 0 : -EAGAIN;
}

static void thread_done(struct side_thread *thread)
{
    pthread_mutex_destroy(&thread->lock);
    pthread_cond_destroy(&thread->changed);
    mem_free(thread);
}

int side_thread_new(void (*job)(void *userdata), void *userdata, size_t stack_bytes,
    struct side_thread **ret_thread)
{
    struct side_thread *thread = mem_alloc(sizeof(*thread));
    if (!thread)
        return -ENOMEM;
    thread->job = job;
    thread->userdata = userdata;
    pthread_mutex_init(&thread->lock, NULL);
    condition_init(&thread->changed);
    int r = start_thread(thread, stack_bytes);
    if (r < 0) {
        thread_done(thread);
        return r;
    }
    *ret_thread = thread;
    return 0;
}

bool side_thread_free(struct side_thread *thread)
{
    if (!thread)
        return true;
    pthread_mutex_lock(&thread->lock);
    thread->stop = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)(END_TIMEOUT_NS / NS_PER_SEC);
    if (pthread_timedjoin_np(thread->thread, NULL, &deadline) != 0) {
        pthread_detach(thread->thread); /* and what it uses stays with it */
        return false;
    }
    thread_done(thread);
    return true;
}

void side_thread_start(struct side_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    thread->busy = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
}

bool side_thread_busy(struct side_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    bool busy = thread->busy;
    pthread_mutex_unlock(&thread->lock);
    return busy;
}

bool side_thread_wait(struct side_thread *thread, uint64_t timeout_ns)
{
    uint64_t until = clock_mono().ns + timeout_ns;
    struct timespec deadline = {
        .tv_sec = (time_t)(until / NS_PER_SEC), .tv_nsec = (long)(until % NS_PER_SEC)};
    int r = 0;
    pthread_mutex_lock(&thread->lock);
    while (thread->busy && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&thread->changed, &thread->lock, &deadline);
    bool idle = !thread->busy;
    pthread_mutex_unlock(&thread->lock);
    return idle;
}

uint64_t side_thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_SEC + (uint64_t)used.tv_nsec;
}
