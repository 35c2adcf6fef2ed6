/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agents that nobody launched through us: engine/discovery decides, this carries it out. Processes
 * stay where they are; of a cgroup only its files are read.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "engine/discovery.h"
#include "os/cgroup_write.h"

struct daemon_discovery {
    struct discovery *discovery;
    int cgroup_root_fd; /* -1 = no unified hierarchy */
    uint64_t due_ns;
    bool reclaimed;
    bool told_capped;
};

static void discovery_close(struct daemon_discovery *state)
{
    if (!state)
        return;
    discovery_free(state->discovery);
    io_closep(&state->cgroup_root_fd);
    mem_free(state);
}

void discovery_reset(struct daemon *daemon)
{
    discovery_close(daemon->discovery);
    daemon->discovery = NULL;
}

static int discovery_open(struct daemon *daemon)
{
    const struct discovery_options options = {.rules = daemon->config.discovery.rules,
        .n_rules = daemon->config.discovery.n_rules,
        .max_agents = daemon->config.discovery.max_agents,
        .seed = clock_mono().ns,
        .proc_fd = daemon->proc_fd,
        .self = (int32_t)getpid()};
    struct daemon_discovery *state = mem_alloc(sizeof(*state));
    if (!state)
        return -ENOMEM;
    state->cgroup_root_fd = cgroup_root_open();
    int r = discovery_new(&options, &state->discovery);
    if (r < 0) {
        discovery_close(state);
        return r;
    }
    daemon->discovery = state;
    return 0;
}

/* The files of an agent that is a whole cgroup. */
static void watch_cgroup(
    struct daemon *daemon, const struct agent *agent, const struct discovery_found *found)
{
    const struct collector_ops *ops = daemon->collector->ops;
    int root = daemon->discovery->cgroup_root_fd;
    if (!agent || found->unit != DISCOVERY_CGROUP || !found->cgroup_v2 || root < 0 ||
        !ops->watch_group)
        return;
    int fd cleanup_close =
        io_openat(root, found->cgroup + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    int r = fd < 0 ? fd : ops->watch_group(daemon->collector, agent->slot, fd);
    if (r < 0 && r != -ENOENT)
        log_event(LOG_LEVEL_WARNING, "an agent's cgroup cannot be watched",
            log_str("agent", agent->spec.id), log_str("cgroup", found->cgroup),
            log_str("reason", strerror(-r)));
}

/* Agents from before a restart or a reload. */
static void reclaim(struct daemon *daemon)
{
    const struct registry *registry = core_registry(daemon->core);
    const struct agent *agent;
    struct discovery_found found;
    for (agent_slot cursor = 0; (agent = registry_next(registry, &cursor));) {
        const char *key, *value;
        for (size_t at = 0; (key = agent_spec_next_label(&agent->spec, &at, &value));) {
            if (strcmp(key, DISCOVERY_LABEL) == 0 &&
                discovery_reclaim(daemon->discovery->discovery, agent, &found))
                watch_cgroup(daemon, agent, &found);
        }
    }
}

/* One that reports already stays what it said it is, and gets its processes. */
static struct agent_spec spec_for(struct daemon *daemon, const struct discovery_found *found)
{
    const struct agent *old = registry_get(core_registry(daemon->core), found->spec.id);
    if (!old || old->state == AGENT_EXITED || old->spec.root_pid != 0)
        return found->spec;
    struct agent_spec spec = old->spec;
    spec.root_pid = found->spec.root_pid;
    spec.root_start_ticks = found->spec.root_start_ticks;
    spec.announced_itself = false;
    if (!*spec.command)
        memcpy(spec.command, found->spec.command, sizeof(spec.command));
    (void)agent_spec_set_label(&spec, DISCOVERY_LABEL, found->rule, NULL);
    return spec;
}

static void add_agent(struct daemon *daemon, const struct discovery_found *found)
{
    const struct agent *agent = NULL;
    struct ac_error error = {0};
    struct agent_spec spec = spec_for(daemon, found);
    const struct ledger *ledger = core_ledger(daemon->core);
    int r = ledger_get(ledger, spec.id) && ledger_owner(ledger, spec.id) != spec.owner_uid
                ? error_set(&error, -EEXIST, "another user has reserved resources for it")
                : core_agent_attach(daemon->core, &spec, clock_moment(), &agent, &error);
    if (r < 0) {
        discovery_undo(daemon->discovery->discovery, found->spec.id);
        log_event(LOG_LEVEL_WARNING, "a discovered agent is not added",
            log_str("agent", found->spec.id), log_str("rule", found->rule),
            log_str("reason", error.message));
        return;
    }
    log_event(LOG_LEVEL_INFO, "agent discovered", log_str("agent", found->spec.id),
        log_str("rule", found->rule), log_int("pid", found->spec.root_pid),
        log_str("cgroup", *found->cgroup ? found->cgroup : NULL));
    daemon_drain(daemon); /* the collector follows it from here on */
    watch_cgroup(daemon, registry_get(core_registry(daemon->core), found->spec.id), found);
}

static void join_agent(struct daemon *daemon, const struct discovery_found *found)
{
    const struct collector_ops *ops = daemon->collector->ops;
    const struct agent *agent = registry_get(core_registry(daemon->core), found->spec.id);
    int r = core_agent_join(
        daemon->core, found->spec.id, found->spec.root_pid, found->spec.root_start_ticks);
    if (r == 0 && agent && ops->adopt)
        (void)ops->adopt(
            daemon->collector, agent->slot, found->spec.root_pid, found->spec.root_start_ticks);
}

static void discovery_run(struct daemon *daemon, const struct sample *sample)
{
    struct daemon_discovery *state = daemon->discovery;
    struct discovery_plan plan;
    if (!state->reclaimed)
        reclaim(daemon);
    state->reclaimed = true;
    if (discovery_scan(state->discovery, core_registry(daemon->core), sample, &plan) < 0)
        return; /* no memory: the next one sees the same */
    for (size_t i = 0; i < plan.n_found; i++) {
        if (plan.found[i].joins)
            join_agent(daemon, &plan.found[i]);
        else
            add_agent(daemon, &plan.found[i]);
    }
    if (plan.capped > 0 && !state->told_capped)
        log_event(LOG_LEVEL_WARNING, "processes that rules match are left out",
            log_uint("processes", plan.capped),
            log_str("reason", "max_agents of the rule or of discovery is reached"));
    state->told_capped |= plan.capped > 0;
    if (!plan.more)
        state->due_ns = clock_mono().ns + daemon->config.discovery.interval_ns;
}

void discovery_tick(struct daemon *daemon, const struct sample *sample)
{
    if (!daemon->config.discovery.enabled)
        return;
    if (!daemon->discovery && discovery_open(daemon) < 0)
        return;
    if (clock_mono().ns >= daemon->discovery->due_ns)
        discovery_run(daemon, sample);
}
