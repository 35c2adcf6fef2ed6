/* SPDX-License-Identifier: Apache-2.0 */
/* A dry run of discovery: what rules would make agents of all processes that there are now. Nothing
 * is changed, and what is an agent already is found as well. */
#ifndef AC_ENGINE_DISCOVERY_DRY_H
#define AC_ENGINE_DISCOVERY_DRY_H

#include "base/error.h"
#include "engine/discovery.h"

#define DISCOVERY_DRY_MAX 4096 /* agents of one run */

struct discovery_dry {
    struct discovery_plan plan; /* an entry that joins is a part of an agent's */
    uint32_t *processes;        /* by entry: of the agent, which a process is by its parents */
    struct discovery *discovery;
    struct collector_source *source;
    struct sample sample;
    int proc_fd;
};

/* Reads /proc; takes milliseconds for each thousand processes. The caller frees *ret_dry. Returns
 * 0, -ENOMEM or -errno. Safe on any thread. */
int discovery_dry_run(const struct discovery_rule *rules, size_t n_rules, uint32_t max_agents,
    struct discovery_dry **ret_dry, struct ac_error *error);
void discovery_dry_free(struct discovery_dry *dry);

#endif
