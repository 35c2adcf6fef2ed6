/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Samples that no kernel would give. Each input is a list of records of eight bytes; a record of
 * zeroes ends a sample. Whatever comes, an agent's totals never go back, its members are those
 * that the registry says, and removing agents in between leaves nothing behind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AGENTS  4
#define RECORDS 512

struct world {
    struct registry *registry;
    struct proc_record procs[RECORDS];
    struct exit_record exits[8];
    struct sample sample;
    uint64_t boot_ns;
    uint64_t cpu[AGENTS];
    uint64_t read[AGENTS];
};

static void agent_add(struct world *world, int number)
{
    struct agent_spec spec = {.root_pid = 10 + number};
    const struct agent *agent;
    struct moment now = {{world->boot_ns}, 1};
    snprintf(spec.id, sizeof(spec.id), "a%d", number);
    if (registry_add(world->registry, &spec, now, &agent) == 0)
        world->cpu[number] = world->read[number] = 0;
}

static void add_record(struct world *world, const uint8_t *bytes)
{
    static const uint64_t numbers[] = {
        0, 1, 10000000, 20000000, 1000000000, UINT64_MAX / 2, UINT64_MAX - 5, UINT64_MAX};
    struct proc_record *proc = &world->procs[world->sample.n_procs];
    if (world->sample.n_procs == RECORDS)
        return;
    *proc = (struct proc_record){.pid = bytes[0],
        .ppid = bytes[1],
        .pgrp = bytes[2],
        .session = bytes[2] / 2,
        .start_ticks = 100 + bytes[3] % 8,
        .utime_ns = numbers[bytes[4] % 8],
        .stime_ns = bytes[4],
        .cutime_ns = numbers[bytes[5] % 8] + bytes[5],
        .read_bytes = numbers[bytes[6] % 8],
        .rss_anon_bytes = numbers[bytes[6] / 32],
        .mm_id = bytes[6] % 3,
        .threads = 1,
        .state = bytes[3] & 0x80 ? 'Z' : 'S',
        .slot = bytes[7] % 6,
        .known = bytes[7] & 0x80 ? ~0u : ~(uint32_t)PROC_KNOWN_SLOT};
    if (bytes[7] & 0x40)
        proc->known &= ~(uint32_t)(PROC_KNOWN_IO | PROC_KNOWN_CHILDREN_CPU);
    world->sample.n_procs++;
}

static void add_exit(struct world *world, const uint8_t *bytes)
{
    if (world->sample.n_exits == sizeof(world->exits) / sizeof(world->exits[0]))
        return;
    world->exits[world->sample.n_exits++] = (struct exit_record){.slot = bytes[2] % 6,
        .pid = bytes[1],
        .start_ticks = 100 + bytes[3] % 8,
        .cpu_ns = (uint64_t)bytes[4] << (bytes[5] % 60),
        .processes = bytes[6] % 3};
}

static void check(struct world *world)
{
    for (int number = 0; number < AGENTS; number++) {
        char id[16];
        static struct proc_record members[RECORDS];
        snprintf(id, sizeof(id), "a%d", number);
        const struct agent *agent = registry_get(world->registry, id);
        if (!agent)
            continue;
        if (agent->totals.cpu_ns < world->cpu[number] ||
            agent->totals.disk_read_bytes < world->read[number])
            abort();
        world->cpu[number] = agent->totals.cpu_ns;
        world->read[number] = agent->totals.disk_read_bytes;
        size_t n = registry_members(world->registry, agent->slot, members, RECORDS);
        for (size_t i = 0; i < n && i < RECORDS; i++) {
            if (registry_slot_of(world->registry, members[i].pid, members[i].start_ticks) !=
                agent->slot)
                abort();
        }
    }
}

static void tick(struct world *world)
{
    struct registry_changes changes;
    world->boot_ns += NS_PER_SEC;
    world->sample.boot_ns = world->boot_ns;
    world->sample.when = (struct moment){{world->boot_ns}, (int64_t)world->boot_ns};
    if (registry_apply(world->registry, &world->sample, &changes) == 0)
        check(world);
    world->sample.n_procs = world->sample.n_exits = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    world.boot_ns = NS_PER_SEC;
    world.sample.procs = world.procs;
    world.sample.exits = world.exits;
    if (registry_new(AGENTS, 1, &world.registry) < 0)
        return 0;
    for (int i = 0; i < AGENTS; i++)
        agent_add(&world, i);
    for (; size >= 8; data += 8, size -= 8) {
        char id[16];
        snprintf(id, sizeof(id), "a%d", data[1] % AGENTS);
        if (data[0] == 0 && data[7] == 1)
            (void)registry_remove(world.registry, id);
        else if (data[0] == 0 && data[7] == 2)
            agent_add(&world, data[1] % AGENTS);
        else if (data[0] == 0 && data[7] == 3)
            add_exit(&world, data);
        else if (data[0] == 0)
            tick(&world);
        else
            add_record(&world, data);
    }
    tick(&world);
    registry_free(world.registry);
    return 0;
}
