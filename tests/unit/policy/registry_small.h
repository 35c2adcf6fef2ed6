/* SPDX-License-Identifier: Apache-2.0 */
/* A registry of few agents under a sample that a test fills by hand, one second after the other.
 * Processes start at the tick that their pid says. */
#ifndef AC_TESTS_REGISTRY_SMALL_H
#define AC_TESTS_REGISTRY_SMALL_H

#include "policy/registry.h"
#include "policy_test.h"

struct world {
    struct registry *registry;
    struct sample sample;
    struct proc_record procs[128];
    struct gpu_process gpus[8];
    struct pss_record pss[128];
    uint64_t ms;
};

/* cmocka setup and teardown: *state is the world. */
static inline int begin(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    assert_int_equal(registry_new(8, 1, &world->registry), 0);
    world->sample.procs = world->procs;
    world->sample.gpus = world->gpus;
    world->sample.pss = world->pss;
    world->sample.machine = (struct machine_record){.capacity_cores = 4};
    *state = world;
    return 0;
}

static inline int finish(void **state)
{
    struct world *world = *state;
    registry_free(world->registry);
    mem_free(world);
    return 0;
}

static inline struct proc_record *process(struct world *world, int32_t pid, int32_t ppid)
{
    struct proc_record *proc = &world->procs[world->sample.n_procs++];
    *proc = (struct proc_record){.pid = pid,
        .ppid = ppid,
        .start_ticks = (uint64_t)pid,
        .threads = 1,
        .state = 'S',
        .known = PROC_KNOWN_CPU | PROC_KNOWN_THREADS};
    return proc;
}

/* The next second; readings of PSS count once. */
static inline void apply(struct world *world)
{
    struct registry_changes changes;
    world->sample.when = at_ms(world->ms += 1000);
    world->sample.boot_ns = world->sample.when.mono.ns;
    assert_int_equal(registry_apply(world->registry, &world->sample, &changes), 0);
    world->sample.n_pss = 0;
}

static inline const struct agent *add(struct world *world, const char *id, int32_t pid)
{
    const struct agent *agent;
    struct agent_spec spec = {.root_pid = pid, .root_start_ticks = (uint64_t)pid};
    snprintf(spec.id, sizeof(spec.id), "%s", id);
    assert_int_equal(registry_add(world->registry, &spec, at_ms(world->ms), &agent), 0);
    return agent;
}

#endif
