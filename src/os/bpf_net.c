/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pair of links per watched cgroup. They let other programs on the same cgroup, or below it, be
 * (BPF_F_ALLOW_MULTI is what a link means), and go with their descriptors.
 */
#include "os/bpf_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "base/mem.h"

#include "agentcore.skel.h"

static int links_make(struct bpf_collector *collector)
{
    int cpus = libbpf_num_possible_cpus();

    if (collector->net_links)
        return 0;
    if (cpus < 0)
        return cpus;
    mem_free(collector->net_counters);
    collector->net_cpus = cpus;
    collector->net_counters = mem_alloc_array((size_t)cpus, sizeof(struct bpf_net));
    if (!collector->net_counters)
        return -ENOMEM;
    collector->net_links =
        mem_alloc_array(2 * ((size_t)collector->max_slot + 1), sizeof(struct bpf_link *));
    return collector->net_links ? 0 : -ENOMEM;
}

int bpf_net_attach(struct bpf_collector *collector, agent_slot slot, int cgroup_dir_fd)
{
    struct bpf_program *egress = collector->object->progs.on_egress;
    struct bpf_program *ingress = collector->object->progs.on_ingress;

    if (bpf_program__fd(egress) < 0 || bpf_program__fd(ingress) < 0)
        return -EOPNOTSUPP;
    int r = links_make(collector);
    if (r < 0)
        return r;
    bpf_net_detach(collector, slot);
    struct bpf_link **links = &collector->net_links[2 * slot];
    links[0] = bpf_program__attach_cgroup(egress, cgroup_dir_fd);
    if (!links[0])
        return -errno;
    links[1] = bpf_program__attach_cgroup(ingress, cgroup_dir_fd);
    if (links[1])
        return 0;
    r = -errno;
    bpf_net_detach(collector, slot);
    return r;
}

void bpf_net_detach(struct bpf_collector *collector, agent_slot slot)
{
    if (!collector->net_links)
        return;
    struct bpf_link **links = &collector->net_links[2 * slot];
    bpf_link__destroy(links[0]);
    bpf_link__destroy(links[1]);
    links[0] = links[1] = NULL;
}

void bpf_net_read(struct bpf_collector *collector, struct group_record *record)
{
    struct bpf_net *counters = collector->net_counters;

    if (!collector->net_links || !collector->net_links[2 * record->slot])
        return;
    if (bpf_map_lookup_elem(
            bpf_map__fd(collector->object->maps.net), &record->cgroup_id, counters) < 0)
        return;
    for (int i = 0; i < collector->net_cpus; i++) {
        record->received_bytes += counters[i].received_bytes;
        record->sent_bytes += counters[i].sent_bytes;
        record->loopback_bytes += counters[i].loopback_bytes;
        record->packets += counters[i].packets;
    }
    record->known |= GROUP_KNOWN_NETWORK;
}
