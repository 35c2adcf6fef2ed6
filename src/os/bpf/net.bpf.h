/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Bytes and packets per watched cgroup. The programs are attached to the agent's cgroup, so they
 * see the packets of its sockets and of those in cgroups below it, and nobody else's.
 *
 * Bytes are those of IP packets as the stack hands them on (a large send that the device will cut
 * has one header, and counts as the packets it becomes). Loopback is sent plus received.
 */
#ifndef AC_OS_BPF_NET_H
#define AC_OS_BPF_NET_H

#include "common.bpf.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define PASS             1

/* Counters belong to the cgroup that a program is attached to, and are found without a lookup.
 * Per CPU, so that a busy link shares no cache line. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
    __type(key, u64); /* cgroup id */
    __type(value, struct bpf_net);
} net SEC(".maps");

static __always_inline void net_count(struct __sk_buff *skb, bool sent)
{
    struct bpf_net *counters = bpf_get_local_storage(&net, 0);

    if (skb->ifindex == LOOPBACK_IFINDEX)
        counters->loopback_bytes += skb->len;
    else if (sent)
        counters->sent_bytes += skb->len;
    else
        counters->received_bytes += skb->len;
    counters->packets += skb->gso_segs ? skb->gso_segs : 1;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
    net_count(skb, true);
    return PASS;
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
    net_count(skb, false);
    return PASS;
}

#endif
