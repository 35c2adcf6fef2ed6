/* SPDX-License-Identifier: Apache-2.0 */
/* GPU use of agents: the sum over their processes, all devices together. */
#include "policy/registry_internal.h"

#include <math.h>

#include "model/usage.h"

static void agent_begin(struct agent *agent, uint32_t known)
{
    agent->gpu_memory_mb = known & GPU_KNOWN_MEMORY ? 0 : NAN;
    agent->gpu_percent = known & GPU_KNOWN_COMPUTE ? 0 : NAN;
}

static void agent_add(struct agent *agent, const struct gpu_process *process)
{
    if (process->memory_hidden)
        agent->gpu_memory_mb = NAN;
    if (process->known & GPU_KNOWN_MEMORY)
        agent->gpu_memory_mb += (double)process->memory_bytes / USAGE_MIB;
    if (process->known & GPU_KNOWN_COMPUTE)
        agent->gpu_percent += process->compute_percent;
}

static void agent_peak(struct agent *agent)
{
    agent->gpu_memory_peak_mb = fmax(agent->gpu_memory_peak_mb, agent->gpu_memory_mb);
}

void publish_gpus(struct registry *registry, const struct sample *sample)
{
    if (sample->gpus_known == 0 && !registry->gpus_published)
        return;
    registry->gpus_published = sample->gpus_known != 0;
    for (uint32_t slot = 1; slot <= registry->high; slot++) {
        const struct account *account = &registry->accounts[slot];
        if (account->agent)
            agent_begin(
                account->agent, account->adopted && !account->exited ? sample->gpus_known : 0);
    }
    for (size_t i = 0; sample->gpus_known != 0 && i < sample->n_gpus; i++) {
        const struct gpu_process *process = &sample->gpus[i];
        uint32_t m = process->pid > 0 ? itable_get(&registry->by_pid, (uint64_t)process->pid) : 0;
        if (m && !(registry->members[m].flags & MEMBER_GHOST))
            agent_add(registry->accounts[registry->members[m].slot].agent, process);
    }
    for (uint32_t slot = 1; sample->gpus_known != 0 && slot <= registry->high; slot++) {
        if (registry->accounts[slot].agent)
            agent_peak(registry->accounts[slot].agent);
    }
}
