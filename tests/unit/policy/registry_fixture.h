/* SPDX-License-Identifier: Apache-2.0 */
/* Builds samples for the registry's tests: a small table of processes and a clock. */
#ifndef AC_TESTS_REGISTRY_FIXTURE_H
#define AC_TESTS_REGISTRY_FIXTURE_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "policy/registry.h"

#define MSEC(n) ((uint64_t)(n)*NS_PER_MSEC)
#define SEC(n)  ((uint64_t)(n)*NS_PER_SEC)
#define MIB(n)  ((uint64_t)(n) << 20)

#define WORLD_PROCS 256

/* Time starts at 1000 s after boot; the monotonic clock is 200 s behind (suspended once). */
struct world {
    struct registry *registry;
    struct sample sample;
    struct proc_record procs[WORLD_PROCS];
    struct registry_changes changes;
    uint64_t boot_ns;
};

static inline struct moment world_moment(const struct world *world)
{
    return (struct moment){.mono = {world->boot_ns - SEC(200)},
        .wall_ns = (int64_t)(SEC(1700000000) + world->boot_ns),
        .boot_ns = world->boot_ns};
}

static inline void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->boot_ns = SEC(1000);
    world->sample.machine = (struct machine_record){
        .known = MACHINE_KNOWN_CPU | MACHINE_KNOWN_MEMORY,
        .capacity_cores = 4,
        .capacity_memory_bytes = MIB(8192),
        .cpu_total_ns = SEC(4000),
        .cpu_busy_ns = SEC(1000),
        .cpu_boot_percent = 25,
        .boot_id = 7,
    };
    assert_int_equal(registry_new(100, 1, &world->registry), 0);
}

static inline void world_done(struct world *world)
{
    registry_free(world->registry);
}

static inline struct proc_record *world_find(struct world *world, int32_t pid)
{
    for (size_t i = 0; i < world->sample.n_procs; i++) {
        if (world->procs[i].pid == pid)
            return &world->procs[i];
    }
    return NULL;
}

/* A process that starts now, in its parent's session and group. */
static inline struct proc_record *world_fork(struct world *world, int32_t pid, int32_t ppid)
{
    struct proc_record *parent = world_find(world, ppid);
    struct proc_record *proc = &world->procs[world->sample.n_procs++];
    assert_true(world->sample.n_procs <= WORLD_PROCS);
    *proc = (struct proc_record){.pid = pid,
        .ppid = ppid,
        .pgrp = parent ? parent->pgrp : pid,
        .session = parent ? parent->session : pid,
        .start_ticks = world->boot_ns / 10000000,
        .threads = 1,
        .state = 'S',
        .known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_RSS | PROC_KNOWN_IO |
                 PROC_KNOWN_FDS | PROC_KNOWN_THREADS | PROC_KNOWN_SESSION};
    snprintf(proc->name, sizeof(proc->name), "p%d", pid);
    return world_find(world, pid);
}

/* Gone without a trace; children go to process 1. */
static inline void world_vanish(struct world *world, int32_t pid)
{
    struct proc_record *proc = world_find(world, pid);
    assert_non_null(proc);
    *proc = world->procs[--world->sample.n_procs];
    for (size_t i = 0; i < world->sample.n_procs; i++) {
        if (world->procs[i].ppid == pid)
            world->procs[i].ppid = 1;
    }
}

/* Gone, and its parent waited for it. */
static inline void world_reap(struct world *world, int32_t pid)
{
    struct proc_record *proc = world_find(world, pid);
    struct proc_record *parent = world_find(world, proc->ppid);
    assert_non_null(parent);
    parent->cutime_ns += proc->utime_ns + proc->cutime_ns;
    parent->cstime_ns += proc->stime_ns + proc->cstime_ns;
    parent->read_bytes += proc->read_bytes;
    parent->written_bytes += proc->written_bytes;
    world_vanish(world, pid);
}

static inline void world_pass(struct world *world, uint64_t ns)
{
    world->boot_ns += ns;
    world->sample.machine.cpu_total_ns += 4 * ns;
    world->sample.machine.cpu_busy_ns += ns;
}

static inline void world_tick(struct world *world)
{
    world->sample.when = world_moment(world);
    world->sample.boot_ns = world->boot_ns;
    world->sample.procs = world->procs;
    assert_int_equal(registry_apply(world->registry, &world->sample, &world->changes), 0);
}

static inline const struct agent *world_add(struct world *world, const char *id, int32_t root)
{
    struct agent_spec spec = {.root_pid = root};
    const struct agent *agent = NULL;
    struct proc_record *proc = world_find(world, root);
    spec.root_start_ticks = proc ? proc->start_ticks : 0;
    snprintf(spec.id, sizeof(spec.id), "%s", id);
    assert_int_equal(registry_add(world->registry, &spec, world_moment(world), &agent), 0);
    assert_string_equal(agent->spec.id, id);
    return agent;
}

#endif
