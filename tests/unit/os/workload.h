/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that use a known amount of CPU time in the ways that agents do, and what they truly
 * used. A worker is a child of the test that waits at a gate, so that it can be adopted first.
 */
#ifndef AC_TESTS_WORKLOAD_H
#define AC_TESTS_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct worker {
    pid_t pid;
    int start_fd; /* closing it opens the gate */
    int done_fd;  /* one byte when the work is done */
    int end_fd;   /* closing it lets the worker exit */
};

/* Runs @work(@argument) in a child, which then waits for worker_end. */
void worker_start(struct worker *ret_worker, void (*work)(void *argument), void *argument);
void worker_go(struct worker *worker);
void worker_wait_done(struct worker *worker);
void worker_end(struct worker *worker);

/* Spins until this process (this thread) has used so much. */
void spin_process(uint64_t ns);
void spin_thread(uint64_t ns);

/* @count children that each use @ns, one after the other, waited for. */
void fork_and_spin(int count, uint64_t ns);

/* The same by grandchildren, whose parents are gone at once; not waited for. */
void fork_twice_and_spin(int count, uint64_t ns);

/* What the caller and the children it waited for used, exactly. */
uint64_t used_self_ns(void);
uint64_t used_children_ns(void);

/* A fresh cgroup v2 directory for the calling test: cpu.stat's usage_usec is kept in every one,
 * controllers or not. Return false where there is none to be had; removed at _done. */
struct test_cgroup {
    char path[256];
    int dir_fd;
};
bool test_cgroup_make(struct test_cgroup *ret_cgroup);
void test_cgroup_add(const struct test_cgroup *cgroup, pid_t pid);
uint64_t test_cgroup_cpu_ns(const struct test_cgroup *cgroup);
void test_cgroup_done(struct test_cgroup *cgroup);

/* @count divided by TEST_SCALE (emulated machines), at least 1. */
int scaled(int count);

/* Memory shared by all processes of a test, for results. */
void *shared_memory(size_t size);

/* Waits until @condition(@argument) holds, up to half a minute; false if it never did. */
bool eventually(bool (*condition)(void *argument), void *argument);

#endif
