/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process events from the kernel over netlink: forks (process connector) and what every thread
 * used when it exits (taskstats). Both need CAP_NET_ADMIN and the first network namespace.
 *
 * Events are lost when the queue overflows; that is counted. They arrive a little later than
 * what they tell of, and forks and exits may arrive in either order.
 */
#ifndef AC_OS_NETLINK_PROC_H
#define AC_OS_NETLINK_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct netlink_proc;

/* A thread's end. */
struct netlink_exit {
    int32_t pid;
    int32_t tgid;
    uint64_t cpu_ns; /* of short threads by clock ticks: right on average only */
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t rss_peak_bytes;
    uint64_t lifetime_us; /* of the process */
    bool last;            /* thread of its process */
};

struct netlink_handlers {
    void (*forked)(void *userdata, int32_t parent_tgid, int32_t child_tgid);
    void (*exited)(void *userdata, const struct netlink_exit *exit);
    void *userdata;
};

/* Begins to listen. Returns 0; -EPERM; -EOPNOTSUPP (a kernel without these, or a network
 * namespace of our own); -errno; with @error. */
int netlink_proc_new(struct netlink_proc **ret_netlink, struct ac_error *error);
void netlink_proc_free(struct netlink_proc *netlink);

/* Hands everything that has arrived to @handlers, the fork of a process before its end. Returns 0
 * or -errno. */
int netlink_proc_drain(struct netlink_proc *netlink, const struct netlink_handlers *handlers);

/* How often the kernel had to drop events because we did not read in time. */
uint64_t netlink_proc_overruns(const struct netlink_proc *netlink);

/* Decode a datagram. Anything that is no whole known event is passed over. Exposed for tests and
 * fuzzing. */
void netlink_parse_connector(
    const void *bytes, size_t length, const struct netlink_handlers *handlers);
void netlink_parse_taskstats(
    const void *bytes, size_t length, const struct netlink_handlers *handlers);

#endif
