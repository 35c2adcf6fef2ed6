/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/discovery_dry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"
#include "os/procfs.h"

#define DEPTH_LIMIT 4096

static int scan(struct discovery_dry *dry, const struct discovery_rule *rules, size_t n_rules,
    uint32_t max_agents, struct ac_error *error)
{
    const struct procfs_options procfs = {.processes = true};
    dry->proc_fd = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    if (dry->proc_fd < 0)
        return error_errno(error, dry->proc_fd, "/proc");
    const struct discovery_options options = {.rules = rules,
        .n_rules = n_rules,
        .max_agents = max_agents,
        .looks_max = UINT32_MAX,
        .found_max = DISCOVERY_DRY_MAX,
        .seed = clock_mono().ns,
        .proc_fd = dry->proc_fd,
        .self = (int32_t)getpid()};
    int r = procfs_new(&procfs, &dry->source, error);
    if (r < 0)
        return r;
    r = discovery_new(&options, &dry->discovery);
    if (r == 0)
        r = dry->source->ops->read(dry->source, &dry->sample);
    if (r == 0)
        r = discovery_scan(dry->discovery, NULL, &dry->sample, &dry->plan);
    return r < 0 ? error_errno(error, r, "looking at processes") : 0;
}

/* Which entry of the plan is the agent of entry @i, plus 1. */
static uintptr_t agent_of(const struct discovery_dry *dry, size_t i)
{
    for (size_t j = 0; j <= i; j++) {
        const struct discovery_found *found = &dry->plan.found[j];
        if (!found->joins && strcmp(found->spec.id, dry->plan.found[i].spec.id) == 0)
            return j + 1;
    }
    return 0;
}

static void count_one(struct discovery_dry *dry, const struct u64map *owners,
    const struct u64map *procs, const struct proc_record *proc)
{
    for (unsigned depth = 0; proc && depth < DEPTH_LIMIT; depth++) {
        uintptr_t owner = (uintptr_t)u64map_get(owners, (uint64_t)proc->pid);
        if (owner) {
            dry->processes[owner - 1]++;
            return;
        }
        proc = proc->ppid > 0 ? u64map_get(procs, (uint64_t)proc->ppid) : NULL;
    }
}

static int count_processes(struct discovery_dry *dry)
{
    struct u64map *owners = NULL, *procs = NULL;
    dry->processes = mem_alloc_array(dry->plan.n_found + 1, sizeof(*dry->processes));
    int r = dry->processes ? u64map_new(1, &owners) : -ENOMEM;
    if (r == 0)
        r = u64map_new(1, &procs);
    for (size_t i = 0; r == 0 && i < dry->plan.n_found; i++) {
        uintptr_t owner = agent_of(dry, i);
        if (owner)
            r = u64map_put(owners, (uint64_t)dry->plan.found[i].spec.root_pid, (void *)owner);
    }
    for (size_t i = 0; r == 0 && i < dry->sample.n_procs; i++)
        r = u64map_put(
            procs, (uint64_t)dry->sample.procs[i].pid, (void *)(uintptr_t)&dry->sample.procs[i]);
    for (size_t i = 0; r == 0 && i < dry->sample.n_procs; i++)
        count_one(dry, owners, procs, &dry->sample.procs[i]);
    u64map_free(owners);
    u64map_free(procs);
    return r;
}

int discovery_dry_run(const struct discovery_rule *rules, size_t n_rules, uint32_t max_agents,
    struct discovery_dry **ret_dry, struct ac_error *error)
{
    struct discovery_dry *dry = mem_alloc(sizeof(*dry));
    if (!dry)
        return error_errno(error, -ENOMEM, "looking at processes");
    dry->proc_fd = -1;
    int r = scan(dry, rules, n_rules, max_agents, error);
    if (r == 0) {
        r = count_processes(dry);
        if (r < 0)
            error_errno(error, r, "looking at processes");
    }
    if (r < 0) {
        discovery_dry_free(dry);
        return r;
    }
    *ret_dry = dry;
    return 0;
}

void discovery_dry_free(struct discovery_dry *dry)
{
    if (!dry)
        return;
    discovery_free(dry->discovery);
    if (dry->source)
        dry->source->ops->free(dry->source);
    io_closep(&dry->proc_fd);
    mem_free(dry->processes);
    mem_free(dry);
}
