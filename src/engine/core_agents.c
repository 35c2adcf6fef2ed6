/* SPDX-License-Identifier: Apache-2.0 */
/* Core: agents, alerts and history by name. */
#include "engine/core_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/usage.h"

static bool is_machine(const char *subject)
{
    return !subject || !*subject || strcmp(subject, "system") == 0;
}

static void core_agent_event(struct core *core, enum event_kind kind, const struct agent *agent)
{
    struct event *event = core_event_new(core, kind, agent->spec.id);
    if (!event)
        return;
    event->agent_slot = agent->slot;
    if (kind == EVENT_AGENT_REMOVED)
        snprintf(event->text, sizeof(event->text), "agent %s is forgotten", agent->spec.id);
    else if (agent->spec.root_pid)
        snprintf(event->text, sizeof(event->text), "agent %s (%s) is metered from process %d on",
            agent->spec.id, ac_philosophy_name(agent->spec.philosophy), agent->spec.root_pid);
    else
        snprintf(event->text, sizeof(event->text), "agent %s (%s) reports its usage",
            agent->spec.id, ac_philosophy_name(agent->spec.philosophy));
}

/* One that was restored was added long ago: its silence counts from now on. */
static void core_slot_reset(struct core *core, const struct agent *agent)
{
    struct core_slot *memory = core_slot_at(core, agent->slot);
    if (memory)
        *memory = (struct core_slot){.heard_ns = MAX(agent->added.mono.ns, core->ticked.ns)};
    core_inbox_reset(core, agent->slot);
}

int core_check_id(const char *id, struct ac_error *error)
{
    if (ac_agent_id_valid(id))
        return 0;
    return error_set(error, -EINVAL,
        "agent_id: \"%.40s\" is not 1 to %d letters, digits, '_' or '-'", id ? id : "",
        AC_AGENT_ID_MAX);
}

static int add_error(const struct agent_spec *spec, int r, struct ac_error *error)
{
    switch (r) {
    case -EEXIST:
        return error_set(
            error, r, "agent %s exists and runs: stop it first, or choose another id", spec->id);
    case -ENOSPC:
        return error_set(error, r,
            "agent %s: there are as many agents as caps.max_agents allows: remove some, or raise "
            "it",
            spec->id);
    default:
        return error_errno(error, r, "agent %s", spec->id);
    }
}

/* A member of an agent may become an agent of its own (one that starts another); the root of one
 * stays what it is. */
static int check_root(struct core *core, const struct agent_spec *spec, struct ac_error *error)
{
    agent_slot slot = registry_slot_of(core->registry, spec->root_pid, spec->root_start_ticks);
    const struct agent *owner = slot ? registry_at(core->registry, slot) : NULL;
    if (spec->root_pid == 0 || !owner || owner->spec.root_pid != spec->root_pid ||
        owner->state == AGENT_EXITED || strcmp(owner->spec.id, spec->id) == 0)
        return 0;
    return error_set(
        error, -EEXIST, "process %d is agent %s already", spec->root_pid, owner->spec.id);
}

/* An exited agent's slot is taken over by a new one of its name: what hung on it goes first. */
static void core_drop_exited(struct core *core, const char *id, struct moment now)
{
    const struct agent *old = registry_get(core->registry, id);
    if (old && old->state == AGENT_EXITED)
        (void)core_agent_remove(core, id, now);
}

/* At the cap: the one that was shown longest after its end goes. Returns whether there is one. */
static bool core_make_room(struct core *core, struct moment now)
{
    agent_slot cursor = 0;
    const struct agent *agent, *first = NULL;
    char id[AC_AGENT_ID_MAX + 1];
    while (core->exited_agents > 0 && (agent = registry_next(core->registry, &cursor))) {
        if (agent->state == AGENT_EXITED && (!first || agent->ended.mono.ns < first->ended.mono.ns))
            first = agent;
    }
    if (!first)
        return false;
    snprintf(id, sizeof(id), "%s", first->spec.id);
    return core_agent_remove(core, id, now) == 0;
}

int core_agent_add(struct core *core, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent, struct ac_error *error)
{
    int r = core_check_id(spec->id, error);
    if (r == 0)
        r = check_root(core, spec, error);
    if (r < 0)
        return r;
    core->now = now;
    core_drop_exited(core, spec->id, now);
    const struct agent *agent;
    r = registry_add(core->registry, spec, now, &agent);
    if (r == -ENOSPC && core_make_room(core, now))
        r = registry_add(core->registry, spec, now, &agent);
    if (r < 0)
        return add_error(spec, r, error);
    core_slot_reset(core, agent);
    core_agent_event(core, EVENT_AGENT_ADDED, agent);
    if (ret_agent)
        *ret_agent = agent;
    return 0;
}

int core_agent_attach(struct core *core, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent, struct ac_error *error)
{
    const struct agent *agent = registry_get(core->registry, spec->id);
    if (!agent || agent->state == AGENT_EXITED || agent->spec.root_pid != 0)
        return core_agent_add(core, spec, now, ret_agent, error);
    int r = check_root(core, spec, error);
    if (r < 0)
        return r;
    core->now = now;
    r = registry_set_root(core->registry, spec);
    if (r < 0)
        return add_error(spec, r, error);
    agent = registry_get(core->registry, spec->id);
    core_agent_event(core, EVENT_AGENT_ADDED, agent);
    if (ret_agent)
        *ret_agent = agent;
    return 0;
}

int core_agent_join(struct core *core, const char *id, int32_t pid, uint64_t start_ticks)
{
    return registry_join(core->registry, id, pid, start_ticks);
}

void core_learn(struct core *core, const struct agent *agent, struct moment now)
{
    struct core_slot *memory = core_slot_at(core, agent->slot);
    const struct agent_totals *totals = &agent->totals;
    if (!memory || memory->learnt)
        return;
    memory->learnt = true;
    struct ac_run_usage run = {
        .cpu_peak_percent = totals->known & TOTALS_KNOWN_CPU ? totals->cpu_peak_percent : NAN,
        .memory_peak_mb = totals->known & TOTALS_KNOWN_MEMORY
                              ? (double)totals->memory_peak_bytes / USAGE_MIB
                              : NAN,
        .execution_time_seconds = (double)moment_since(now, agent->added) / (double)NS_PER_SEC,
    };
    if (isnan(run.cpu_peak_percent) && isnan(run.memory_peak_mb))
        return;
    (void)predict_record(
        core->predict, agent->spec.philosophy, agent->spec.agent_template, &run, now.wall_ns);
}

int core_agent_remove(struct core *core, const char *id, struct moment now)
{
    core_flush(core);
    const struct agent *agent = registry_get(core->registry, id);
    if (!agent)
        return -ENOENT;
    core->now = now;
    if (agent->state == AGENT_EXITED)
        core->exited_agents--;
    core_learn(core, agent, now);
    rules_forget(core->rules, agent->slot, now);
    recent_forget(core->recent, agent->slot);
    (void)ledger_release(core->ledger, id);
    core_agent_event(core, EVENT_AGENT_REMOVED, agent);
    return registry_remove(core->registry, id);
}

/* ---- Alerts */

int core_acknowledge(struct core *core, const char *alert_id, struct moment now)
{
    core->now = now;
    return rules_acknowledge(core->rules, alert_id, now);
}

static int find_subject(struct core *core, const char *subject, const struct agent **ret_agent)
{
    *ret_agent = NULL;
    if (is_machine(subject))
        return 0;
    *ret_agent = registry_get(core->registry, subject);
    return *ret_agent ? 0 : -ENOENT;
}

/* Judging, raising or recording for an agent nobody spoke of before makes it known. */
static int need_subject(
    struct core *core, const char *subject, struct moment now, const struct agent **ret_agent)
{
    int r = find_subject(core, subject, ret_agent);
    if (r == 0)
        return *ret_agent ? core_agent_heard(core, ret_agent, now) : 0;
    struct agent_spec spec = {0};
    if (!ac_agent_id_valid(subject))
        return -EINVAL;
    snprintf(spec.id, sizeof(spec.id), "%s", subject);
    return core_agent_add(core, &spec, now, ret_agent, NULL);
}

/* The subject of a usage that is sound. */
static int need_subject_of(struct core *core, const char *subject, const struct ac_usage *usage,
    struct moment now, const struct agent **ret_agent)
{
    int r = ac_usage_validate(usage, NULL);
    return r < 0 ? r : need_subject(core, subject, now, ret_agent);
}

int core_check(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now)
{
    const struct agent *agent;
    int r = need_subject_of(core, subject, usage, now, &agent);
    if (r < 0)
        return r;
    core->now = now;
    struct rules_subject of = core_subject(core, agent);
    return rules_check(core->rules, &of, usage, now);
}

int core_replay(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now)
{
    if (usage->timestamp_ns >= now.wall_ns)
        return -ERANGE;
    uint64_t age = (uint64_t)(now.wall_ns - usage->timestamp_ns);
    if (age >= now.mono.ns)
        return -ERANGE;
    struct moment then = {.mono = {now.mono.ns - age}, .wall_ns = usage->timestamp_ns};
    int r = core_check(core, subject, usage, then);
    return r < 0 ? r : 0;
}

int core_resume_totals(struct core *core, const void *bytes, size_t size)
{
    return registry_resume_totals(core->registry, bytes, size);
}

int core_replay_peaks(struct core *core, const char *id, const struct ac_usage *peaks)
{
    return registry_raise_peaks(core->registry, id, peaks);
}

int core_raise(struct core *core, const char *agent_id, const struct rules_raise *raise,
    struct moment now, struct ac_alert *ret_alert)
{
    const struct agent *agent;
    int r = need_subject(core, agent_id, now, &agent);
    if (r < 0)
        return r;
    core->now = now;
    struct rules_subject of = core_subject(core, agent);
    return rules_raise(core->rules, &of, raise, now, ret_alert);
}

int core_clear(struct core *core, const char *agent_id, enum ac_resource resource, const char *rule,
    struct moment now)
{
    const struct agent *agent;
    int r = find_subject(core, agent_id, &agent);
    if (r < 0)
        return r;
    core->now = now;
    return rules_clear(core->rules, agent ? agent->slot : 0, resource, rule, now);
}

/* ---- History */

int core_record(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now)
{
    const struct agent *agent;
    int r = need_subject_of(core, subject, usage, now, &agent);
    if (r < 0)
        return r;
    struct ac_usage stamped = *usage;
    if (stamped.timestamp_ns == 0)
        stamped.timestamp_ns = now.wall_ns;
    return recent_append(core->recent, agent ? agent->slot : 0, &stamped);
}

int64_t core_history(struct core *core, const char *subject, int64_t from_ns, int64_t to_ns,
    struct ac_usage **ret_usages)
{
    const struct agent *agent;
    core_flush(core);
    *ret_usages = NULL;
    if (find_subject(core, subject, &agent) < 0)
        return 0;
    return recent_range(core->recent, agent ? agent->slot : 0, from_ns, to_ns, ret_usages);
}
