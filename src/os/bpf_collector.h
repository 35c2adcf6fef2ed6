/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The BPF collector: every process of the machine in one pass of a kernel iterator, membership
 * kept by the kernel at fork, and what exiting processes used in the agents' accounts exactly
 * once (slot_records). Needs CAP_BPF, CAP_PERFMON, type information in the kernel (5.19 or newer;
 * tested on 6.1 and later) and the machine's own PID namespace; CAP_NET_ADMIN for network.
 *
 * Bounded: slots up to max_slot, processes by pid_max, exits that wait for their parent by
 * BPF_DYING_MAX (beyond it their CPU time arrives when they are reaped). What did not fit is
 * counted in sample.lost.
 */
#ifndef AC_OS_BPF_COLLECTOR_H
#define AC_OS_BPF_COLLECTOR_H

#include "os/bpf_load.h"
#include "os/collector_ops.h"
#include "os/procfs.h"

struct bpf_options {
    uint32_t max_slot;             /* largest slot that will be adopted */
    struct procfs_options machine; /* for the machine's own record; .processes is ignored */
};

/* Returns 0, or -errno with @error. Free through ops->free. */
int bpf_collector_new(const struct bpf_options *options, struct collector_source **ret_source,
    struct ac_error *error);

#endif
