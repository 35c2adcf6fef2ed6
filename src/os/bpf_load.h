/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading the BPF programs: whether this process and kernel can, and why not. Internal to the
 * BPF collector (bpf_collector.h); bpf_usable is for doctor and the choice of a collector too.
 */
#ifndef AC_OS_BPF_LOAD_H
#define AC_OS_BPF_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Whether the BPF collector can be expected to load here, without trying it. Returns 0; or
 * -EPERM (privileges), -ENOENT (the kernel has no type information), -EOPNOTSUPP (a PID namespace
 * of our own, whose numbers the kernel's programs do not see) with @error saying what is missing
 * and what to do. */
int bpf_usable(struct ac_error *error);

struct agentcore_bpf;

struct bpf_load_options {
    uint32_t max_slot; /* 1 - BPF_SLOTS_MAX */
    bool network;      /* the cgroup_skb programs: they need CAP_NET_ADMIN */
};

/* Opens, loads and attaches everything but the cgroup programs. Nothing is pinned: closing the
 * object, or the end of the process however it comes, takes all out of the kernel. Returns 0 or
 * -errno with @error. Not safe for concurrent use (libbpf's log goes through one hook). */
int bpf_load(const struct bpf_load_options *options, struct agentcore_bpf **ret_object,
    struct ac_error *error);

/* Whether this process has the capability (CAP_...) in effect. */
bool bpf_has_capability(unsigned capability);

#endif
