/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery: which processes of a sample are agents that nobody launched through us. Decides, and
 * does not act: a scan returns a plan, which the daemon carries out and a dry run prints.
 *
 * Each process is looked at once, when it is new, and again where its name or cgroup changes or
 * while it is younger than two seconds (it may still become another program). The oldest are
 * looked at first, so that a process below a matching one belongs to that. What does not fit into
 * a budget waits for the next scan. Not safe for concurrent use.
 */
#ifndef AC_ENGINE_DISCOVERY_H
#define AC_ENGINE_DISCOVERY_H

#include "model/discovery.h"
#include "policy/registry.h"

#define DISCOVERY_LOOKS_MAX 512 /* processes whose files one scan reads */
#define DISCOVERY_FOUND_MAX 64  /* entries of one plan */

struct discovery;

struct discovery_options {
    const struct discovery_rule *rules; /* copied */
    size_t n_rules;
    uint32_t max_agents; /* found and living at one time */
    uint32_t looks_max;  /* 0 = DISCOVERY_LOOKS_MAX */
    uint32_t found_max;  /* 0 = DISCOVERY_FOUND_MAX */
    uint64_t seed;
    int proc_fd;  /* borrowed */
    int32_t self; /* a pid that is never an agent, and what is below it neither; 0 = none */
};

/* What a scan found. */
struct discovery_found {
    struct agent_spec spec; /* root_pid and root_start_ticks: the process */
    bool joins;             /* belongs to agent spec.id, which there is or which is above */
    bool cgroup_v2;         /* .cgroup is a directory of the unified hierarchy */
    enum discovery_unit unit;
    char rule[DISCOVERY_NAME_MAX + 1];
    char cgroup[DISCOVERY_CGROUP_MAX + 1]; /* the agent's, with DISCOVERY_CGROUP */
};

struct discovery_plan {
    const struct discovery_found *found; /* the discovery's, until the next scan */
    size_t n_found;
    size_t unreadable; /* processes whose environment we may not read, where a rule asks for it */
    size_t looked_at;
    size_t capped; /* matches beyond a cap: not in the plan */
    bool more;     /* processes are left for the next scan */
};

/* Returns 0 or -ENOMEM. */
int discovery_new(const struct discovery_options *options, struct discovery **ret_discovery);
void discovery_free(struct discovery *discovery);

/* Looks at what is new in @sample. @registry: members are no news (NULL: there are none). A plan
 * counts as carried out: call discovery_undo for what could not be. Returns 0 or -ENOMEM. */
int discovery_scan(struct discovery *discovery, const struct registry *registry,
    const struct sample *sample, struct discovery_plan *ret_plan);

/* An agent of the last plan could not be added: its processes are looked at again. */
void discovery_undo(struct discovery *discovery, const char *id);

/* An agent with the discovered label from before a restart (or of another rule set): looks whether
 * a rule still finds it, so that what belongs to its cgroup or name joins it. Returns whether so,
 * with its cgroup in @ret_found. */
bool discovery_reclaim(
    struct discovery *discovery, const struct agent *agent, struct discovery_found *ret_found);

#endif
