/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread beside the samples, for one job at a time that may wait for the kernel or a driver: who
 * samples starts it, and looks at a later sample whether it is done. What the job works on is the
 * job's while the thread is busy, else its user's. An object is used by one thread.
 */
#ifndef AC_OS_SIDE_THREAD_H
#define AC_OS_SIDE_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct side_thread;

/* @job is called with @userdata once per start. The thread has the privileges that its maker has
 * now, and no signals. @stack_bytes 0 = the system's default. Returns 0, -ENOMEM, -EAGAIN. */
int side_thread_new(void (*job)(void *userdata), void *userdata, size_t stack_bytes,
    struct side_thread **ret_thread);

/* Ends it after the job that was started last, and frees. Returns false where that does not end
 * within a second: the thread is left behind then, and what the job uses must be left with it.
 * NULL is fine (true). */
bool side_thread_free(struct side_thread *thread);

/* Starts the job; only while the thread is not busy. */
void side_thread_start(struct side_thread *thread);
bool side_thread_busy(struct side_thread *thread);

/* Waits until it is not busy, @timeout_ns at the longest. Returns whether it is not. */
bool side_thread_wait(struct side_thread *thread, uint64_t timeout_ns);

/* Processor time of the calling thread. */
uint64_t side_thread_cpu_ns(void);

#endif
