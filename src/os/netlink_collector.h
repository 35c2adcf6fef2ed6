/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The middle collector: processes through procfs, membership by the kernel's fork events and what
 * exiting processes used by taskstats, so that children that live and die between two samples
 * are counted without BPF. Needs CAP_NET_ADMIN.
 *
 * Children that nobody's fork event told of (the queue overflowed, they were there before) follow
 * their parent at the next sample.
 */
#ifndef AC_OS_NETLINK_COLLECTOR_H
#define AC_OS_NETLINK_COLLECTOR_H

#include "os/collector_ops.h"
#include "os/procfs.h"

/* Returns 0; -EPERM; -EOPNOTSUPP; -errno; with @error. */
int netlink_collector_new(const struct procfs_options *options, uint32_t max_slot,
    struct collector_source **ret_source, struct ac_error *error);

#endif
