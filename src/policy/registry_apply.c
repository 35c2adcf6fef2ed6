/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/registry.h"

#include <errno.h>

#include "base/mem.h"
#include "policy/registry_internal.h"

/* Who is there, who went, and what all of them used. */
static void apply_processes(struct registry *registry, const struct sample *sample)
{
    members_match(registry, sample);
    flows_begin(registry);
    flows_vanished(registry, sample);
    members_resolve(registry, sample);
    itable_clear(&registry->mms);
    for (size_t i = 0; i < sample->n_procs; i++) {
        if (registry->found[i])
            flows_update(registry, registry->found[i], &sample->procs[i]);
    }
    flows_settle(registry); /* by the parents of the last pass: who vanished had those */
    members_link(registry, sample);
}

int registry_apply(
    struct registry *registry, const struct sample *sample, struct registry_changes *ret_changes)
{
    int r = members_reserve(registry, sample);
    if (r == 0)
        r = flows_reserve(registry);
    if (r < 0)
        return r;
    registry->pass++;
    publish_machine(registry, sample);
    pss_apply(registry, sample);
    if (sample->n_procs > 0)
        apply_processes(registry, sample);
    flows_exits(registry, sample);
    publish_agents(registry, sample);
    publish_gpus(registry, sample);
    if (sample->n_procs > 0)
        members_sweep(registry, sample);
    registry->when = sample_moment(sample);
    registry->sampled = true;
    *ret_changes = (struct registry_changes){
        .exited = registry->exited,
        .n_exited = registry->n_exited,
        .orphaned = registry->orphaned,
        .n_orphaned = registry->n_orphaned,
    };
    return 0;
}
