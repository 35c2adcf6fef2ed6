/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process shows itself: its arguments, its cgroup, and the one variable of its environment
 * that names an agent. Read once per process, for discovery. No other variable leaves this module.
 *
 * Bounded: the first DISCOVERY_CMDLINE_MAX bytes of the arguments; 2 MiB of environment.
 */
#ifndef AC_OS_PROC_FACTS_H
#define AC_OS_PROC_FACTS_H

#include <stddef.h>

#include "model/discovery.h"

/* Fills the texts of @facts that @wanted (enum facts_known) asks for; .known says which could be
 * read (others' environments need privileges; an unknown one is no error). The rest of @facts is
 * left alone. Returns 0; -ESRCH where the process is gone; -errno. */
int proc_facts_read(int proc_fd, int32_t pid, uint32_t wanted, struct process_facts *facts);

/* /proc/PID/cgroup: the path in the unified hierarchy; where that is its root, the path in
 * whichever other hierarchy is not at its root. Returns 0 or -EINVAL, unchanged. */
int proc_facts_parse_cgroup(const char *text, size_t length, struct process_facts *facts);

/* Finds AGENTCORE_AGENT_ID in an environment that comes in pieces. Starts zeroed. */
struct environment_scan {
    size_t at;     /* bytes of "NAME=" seen at the start of this string */
    bool skipping; /* it is another variable */
    bool found;
    bool ended;
    size_t size; /* of the value; more than .value holds where that is cut */
    char value[AC_AGENT_ID_MAX + 2];
};
void environment_scan_feed(struct environment_scan *scan, const char *bytes, size_t size);

#endif
