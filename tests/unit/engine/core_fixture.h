/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of core share: a machine that is set by hand, and what comes out of it. */
#ifndef AC_TEST_CORE_FIXTURE_H
#define AC_TEST_CORE_FIXTURE_H

#include "engine/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MIB (1024ull * 1024)
#define GIB (1024 * MIB)

/* A machine of 4 cores and 8 GiB whose processes and time a test sets by hand. */
struct world {
    struct sample sample;
    struct proc_record procs[16];
    struct group_record groups[4];
};

static inline void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->sample.when =
        (struct moment){.mono = {1000 * NS_PER_SEC}, .wall_ns = 1700000000000000000};
    world->sample.boot_ns = 1000 * NS_PER_SEC;
    world->sample.procs = world->procs;
    world->sample.groups = world->groups;
    world->sample.machine = (struct machine_record){
        .known = MACHINE_KNOWN_CPU | MACHINE_KNOWN_MEMORY | MACHINE_KNOWN_DISK,
        .capacity_cores = 4,
        .capacity_memory_bytes = 8 * GIB,
        .cpu_total_ns = 4000 * NS_PER_SEC,
        .cpu_busy_ns = 400 * NS_PER_SEC,
        .cpu_boot_percent = 10,
        .memory_used_bytes = 2 * GIB,
    };
}

static inline void world_pass(struct world *world, uint64_t seconds)
{
    world->sample.when.mono.ns += seconds * NS_PER_SEC;
    world->sample.when.wall_ns += (int64_t)(seconds * NS_PER_SEC);
    world->sample.boot_ns += seconds * NS_PER_SEC;
    world->sample.machine.cpu_total_ns += 4 * seconds * NS_PER_SEC;
}

static inline struct proc_record *world_proc(struct world *world, int32_t pid, int32_t ppid)
{
    struct proc_record *proc = &world->procs[world->sample.n_procs++];
    *proc = (struct proc_record){.pid = pid,
        .ppid = ppid,
        .start_ticks = 100000,
        .known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_RSS | PROC_KNOWN_IO |
                 PROC_KNOWN_FDS | PROC_KNOWN_THREADS,
        .rss_anon_bytes = 100 * MIB,
        .fds = 10,
        .threads = 1,
        .state = 'S'};
    return proc;
}

static inline struct core *core_make(const struct core_options *options)
{
    struct core_options defaults;
    struct core *core;
    core_options_init(&defaults);
    assert_int_equal(core_new(options ? options : &defaults, &core), 0);
    return core;
}

static inline struct agent_spec spec_make(const char *id, int32_t pid)
{
    struct agent_spec spec = {.root_pid = pid, .root_start_ticks = pid ? 100000 : 0};
    snprintf(spec.id, sizeof(spec.id), "%s", id);
    return spec;
}

/* A machine and a core that has seen it once, and then got an agent, whose root is there from the
 * next tick on. @ret_agent may be NULL. */
static inline struct core *core_with_agent(
    struct world *world, const struct agent_spec *spec, const struct agent **ret_agent)
{
    world_init(world);
    struct core *core = core_make(NULL);
    assert_int_equal(core_tick(core, &world->sample), 0);
    assert_int_equal(core_agent_add(core, spec, sample_moment(&world->sample), ret_agent, NULL), 0);
    world_proc(world, spec->root_pid, 1);
    return core;
}

static inline unsigned drain(struct core *core, enum event_kind kind, struct event *ret_last)
{
    struct event event;
    unsigned n = 0;
    while (core_next_event(core, &event)) {
        if (event.kind == kind) {
            n++;
            if (ret_last)
                *ret_last = event;
        }
    }
    return n;
}

#endif
