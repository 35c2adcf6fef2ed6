/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/core.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/core_internal.h"
#include "model/usage.h"

/* How long an alert from a passing cause (an OOM kill, a stall) stays after its last sight. */
#define CORE_HOLD_MS 300000u

/* How long processes must outlive their agent's root to be called orphans. */
#define ORPHANS_AFTER_NS (2 * NS_PER_SEC)

void core_options_init(struct core_options *ret_options)
{
    *ret_options = (struct core_options){
        .max_agents = 100000,
        .max_alerts = 10000,
        .max_queue = 1000,
        .reservation_ttl_ns = 60 * NS_PER_SEC,
        .headroom = 0.8,
        .recent_ns = 24ull * 3600 * NS_PER_SEC,
        .recent_budget_bytes = 64u << 20,
        .exited_retention_ns = 600 * NS_PER_SEC,
    };
    ac_limits_init(&ret_options->limits);
    scale_options_init(&ret_options->scale);
}

static int core_build(struct core *core, const struct core_options *options)
{
    struct rules_options rules = {
        .limits = options->limits,
        .max_subjects = options->max_agents,
        .max_alerts = options->max_alerts,
        .users = options->users,
        .seed = options->seed,
        .id_seed = options->id_seed,
        .sink = core_alert_transition,
        .sink_userdata = core,
    };
    struct ledger_options ledger = {
        .max_reservations = options->max_agents,
        .max_queue = options->max_queue,
        .users = options->users,
        .seed = options->seed,
        .id_seed = options->id_seed,
        .reservation_ttl_ns = options->reservation_ttl_ns,
        .headroom = options->headroom,
    };
    int r = registry_new(options->max_agents, options->seed, &core->registry);
    if (r == 0)
        r = rules_new(&rules, &core->rules);
    if (r == 0)
        r = ledger_new(&ledger, &core->ledger);
    if (r == 0)
        r = predict_new(1000, options->seed, &core->predict);
    if (r == 0)
        r = recent_new(options->recent_ns, options->recent_budget_bytes, &core->recent);
    return r;
}

int core_new(const struct core_options *options, struct core **ret_core)
{
    struct core *core = mem_alloc(sizeof(*core));
    if (!core)
        return -ENOMEM;
    core->options = *options;
    scale_init(&core->scale, &options->scale);
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        core->utilization[i] = NAN;
    int r = core_build(core, options);
    if (r < 0) {
        core_free(core);
        return r;
    }
    *ret_core = core;
    return 0;
}

void core_free(struct core *core)
{
    if (!core)
        return;
    registry_free(core->registry);
    rules_free(core->rules);
    ledger_free(core->ledger);
    predict_free(core->predict);
    recent_free(core->recent);
    mem_free(core->slots);
    mem_free(core->inboxes);
    mem_free(core->waiting);
    mem_free(core->events);
    mem_free(core);
}

int core_reconfigure(struct core *core, const struct core_options *options, struct ac_error *error)
{
    int r = ac_limits_validate(&options->limits, error);
    if (r == 0)
        r = scale_options_validate(&options->scale, error);
    if (r < 0)
        return r;
    r = ledger_set_options(core->ledger, options->headroom, options->reservation_ttl_ns);
    if (r < 0)
        return error_set(
            error, r, "allocation: headroom %g is not above 0 and at most 1", options->headroom);
    core->options.headroom = options->headroom;
    core->options.reservation_ttl_ns = options->reservation_ttl_ns;
    core_set_limits(core, &options->limits);
    core->options.scale = options->scale;
    core->options.exited_retention_ns = options->exited_retention_ns;
    core->options.report_timeout_ns = options->report_timeout_ns;
    core->scale.options = options->scale;
    return 0;
}

void core_set_limits(struct core *core, const struct ac_limits *limits)
{
    core->options.limits = *limits;
    rules_set_limits(core->rules, limits);
}

struct core_slot *core_slot_at(struct core *core, agent_slot slot)
{
    if (slot >= core->n_slots) {
        uint32_t n = MAX(slot + 1, core->n_slots * 2);
        n = MAX(n, 64u);
        struct core_slot *slots = mem_resize_array(core->slots, n, sizeof(*slots));
        if (!slots)
            return NULL;
        memset(slots + core->n_slots, 0, (n - core->n_slots) * sizeof(*slots));
        core->slots = slots;
        core->n_slots = n;
    }
    return &core->slots[slot];
}

struct rules_subject core_subject(const struct core *core, const struct agent *agent)
{
    if (!agent)
        return (struct rules_subject){
            .agent_id = "", .fds_hard_limit = core->machine_fds_max, .owner_uid = UINT32_MAX};
    return (struct rules_subject){.slot = agent->slot,
        .agent_id = agent->spec.id,
        .limits = &agent->spec.limits,
        .owner_uid = agent->spec.owner_uid};
}

static void core_raise_for(
    struct core *core, const struct agent *agent, const struct rules_raise *raise)
{
    struct rules_subject subject = core_subject(core, agent);
    (void)rules_raise(core->rules, &subject, raise, core->now, NULL);
}

/* The group of an agent that announced itself is as new as the agent. Others may be older: a
 * container's, or that of an agent that was restored. What was killed there before is no news. */
static void core_check_oom(struct core *core, const struct agent *agent)
{
    struct core_slot *memory = core_slot_at(core, agent->slot);
    if (!memory || !(agent->group.known & GROUP_KNOWN_EVENTS))
        return;
    bool old = !memory->oom_seen && !agent->spec.announced_itself;
    uint64_t kills = agent->group.oom_kills - MIN(agent->group.oom_kills, memory->oom_kills);
    memory->oom_kills = agent->group.oom_kills;
    memory->oom_seen = true;
    if (kills == 0 || old)
        return;
    memory->oom_told += kills;
    char text[256];
    snprintf(text, sizeof(text),
        "agent %s: the kernel killed %llu of its processes for lack of memory", agent->spec.id,
        (unsigned long long)kills);
    core_raise_for(core, agent,
        &(struct rules_raise){.rule = "oom_kill",
            .resource = AC_MEMORY,
            .severity = AC_EMERGENCY,
            .message = text,
            .threshold = NAN,
            .current_value = (double)kills,
            .hold_ms = CORE_HOLD_MS});
}

static void core_check_time(struct core *core, const struct agent *agent)
{
    double limit = agent->spec.limits.max_execution_time_seconds;
    double age = (double)moment_since(core->now, agent->added) / NS_PER_SEC;
    if (limit <= 0 || age < limit)
        return;
    char text[256];
    snprintf(text, sizeof(text), "agent %s runs for %.0f s; its maximum is %.0f s", agent->spec.id,
        age, limit);
    core_raise_for(core, agent,
        &(struct rules_raise){.rule = "execution_time",
            .resource = AC_CPU,
            .severity = AC_WARNING,
            .message = text,
            .threshold = limit,
            .current_value = age});
}

/* Processes that end together with their root are no orphans: told is what outlives it. */
static void core_check_orphans(struct core *core, const struct agent *agent)
{
    struct core_slot *memory = core_slot_at(core, agent->slot);
    if (!memory || memory->orphaned_ns == 0 || agent->state != AGENT_ORPHANS ||
        core->now.mono.ns - memory->orphaned_ns < ORPHANS_AFTER_NS)
        return;
    memory->orphaned_ns = 0;
    struct event *event = core_event_new(core, EVENT_AGENT_ORPHANS, agent->spec.id);
    char text[256];
    snprintf(text, sizeof(text), "agent %s ended and left %u process%s behind", agent->spec.id,
        agent->processes, agent->processes == 1 ? "" : "es");
    if (event)
        snprintf(event->text, sizeof(event->text), "%s", text);
    core_raise_for(core, agent,
        &(struct rules_raise){.rule = "orphans",
            .resource = AC_MEMORY,
            .severity = AC_INFO,
            .message = text,
            .threshold = NAN,
            .current_value = agent->processes});
}

void core_check_agent_extras(struct core *core, const struct agent *agent)
{
    core_check_oom(core, agent);
    core_check_time(core, agent);
    core_check_orphans(core, agent);
}

static void core_check_stall(struct core *core, const struct machine_record *machine)
{
    double limit = core->options.limits.emergency_stall_percent;
    if (!(machine->known & MACHINE_KNOWN_PRESSURE) || machine->memory_full_percent < limit)
        return;
    char text[256];
    snprintf(text, sizeof(text),
        "all tasks of the machine waited for memory %.0f %% of the last ten seconds",
        machine->memory_full_percent);
    core_raise_for(core, NULL,
        &(struct rules_raise){.rule = "memory_stall",
            .resource = AC_MEMORY,
            .severity = AC_EMERGENCY,
            .message = text,
            .threshold = limit,
            .current_value = machine->memory_full_percent,
            .hold_ms = 30000});
}

int core_restore_alert(
    struct core *core, const struct ac_alert *alert, uint32_t owner_uid, struct moment now)
{
    static const char *const passing[] = {
        "oom_kill", "memory_stall", "state", "history", "provider"};
    const struct agent *agent =
        alert->agent_id[0] ? registry_get(core->registry, alert->agent_id) : NULL;
    if (alert->agent_id[0] &&
        (!agent || (owner_uid != UINT32_MAX && owner_uid != agent->spec.owner_uid)))
        return -ENOENT;
    struct rules_subject subject = core_subject(core, agent);
    int r = rules_restore(core->rules, &subject, alert, now);
    for (size_t i = 0; i < ARRAY_SIZE(passing); i++) {
        struct rules_raise raise = {.rule = alert->rule,
            .resource = alert->resource,
            .severity = alert->severity,
            .message = alert->message,
            .threshold = alert->threshold,
            .current_value = alert->current_value,
            .hold_ms = CORE_HOLD_MS};
        if (r == 0 && strcmp(alert->rule, passing[i]) == 0)
            (void)core_raise(core, alert->agent_id, &raise, now, NULL);
    }
    return r;
}

/* ---- The tick */

static void core_tick_machine(struct core *core)
{
    const struct ac_usage *usage = registry_machine_usage(core->registry);
    const struct machine_record *machine = registry_machine(core->registry);
    core->machine_fds_max = machine->fds_max;
    struct rules_subject subject = core_subject(core, NULL);
    (void)recent_append(core->recent, 0, usage);
    rules_check(core->rules, &subject, usage, core->now);
    core_check_stall(core, machine);
}

/* MiB to bytes; what no machine has is all there is. */
static uint64_t mib_bytes(double mib)
{
    double bytes = mib * USAGE_MIB;
    return bytes < 18446744073709549568.0 ? (uint64_t)bytes : UINT64_MAX;
}

int core_ledger_use(struct core *core, const struct agent *agent)
{
    const struct ac_usage *usage = &agent->usage;
    double cpu = usage->known & AC_KNOWN_CPU_PERCENT ? usage->cpu_percent : 0;
    double mib = usage->known & AC_KNOWN_MEMORY_MB ? usage->memory_mb : 0;
    return ledger_set_used(core->ledger, agent->spec.id, cpu, mib_bytes(mib));
}

static void exit_text(const struct agent *agent, struct moment end, uint64_t silent_ns,
    uint64_t oom_kills, struct event *event)
{
    char why[64] = "ended";
    if (silent_ns > 0)
        snprintf(why, sizeof(why), "has not reported for %.0f s: it ended",
            (double)silent_ns / NS_PER_SEC);
    char cpu[48] = "CPU time unknown", memory[48] = "memory unknown", killed[96] = "";
    if (agent->totals.known & TOTALS_KNOWN_CPU)
        snprintf(cpu, sizeof(cpu), "%.2f s of CPU", (double)agent->totals.cpu_ns / NS_PER_SEC);
    if (agent->totals.known & TOTALS_KNOWN_MEMORY)
        snprintf(memory, sizeof(memory), "at most %.1f MiB",
            (double)agent->totals.memory_peak_bytes / USAGE_MIB);
    if (oom_kills > 0)
        snprintf(killed, sizeof(killed),
            "; the kernel killed %llu of its processes for lack of memory",
            (unsigned long long)oom_kills);
    snprintf(event->text, sizeof(event->text), "agent %s %s after %.1f s: %s, %s%s", agent->spec.id,
        why, (double)moment_since(end, agent->added) / NS_PER_SEC, cpu, memory, killed);
}

/* An agent whose processes are gone, or who is silent: then it ended with its last word. */
static void core_agent_ended(struct core *core, const struct agent *agent)
{
    struct moment end = core->now;
    uint64_t silent_ns = core_silent_ns(core, agent);
    if (silent_ns > 0) {
        end.mono.ns -= silent_ns;
        end.wall_ns -= (int64_t)silent_ns;
        end.boot_ns -= MIN(end.boot_ns, silent_ns);
        (void)registry_end(core->registry, agent->spec.id, core->now);
    }
    core_check_oom(core, agent); /* may be what ended it */
    struct core_slot *memory = core_slot_at(core, agent->slot);
    struct event *event = core_event_new(core, EVENT_AGENT_EXITED, agent->spec.id);
    if (event)
        exit_text(agent, end, silent_ns, memory ? memory->oom_told : 0, event);
    core->exited_agents++;
    core_learn(core, agent, end);
    rules_forget(core->rules, agent->slot, core->now);
    (void)ledger_release(core->ledger, agent->spec.id);
}

static void core_tick_agents(struct core *core)
{
    agent_slot cursor = 0;
    const struct agent *agent;
    while ((agent = registry_next(core->registry, &cursor))) {
        if (agent->state == AGENT_EXITED)
            continue;
        if (core_silent_ns(core, agent) > 0) {
            core_agent_ended(core, agent);
            continue;
        }
        if (agent->measured.known != 0) {
            struct rules_subject subject = core_subject(core, agent);
            (void)recent_append(core->recent, agent->slot, &agent->usage);
            rules_check(core->rules, &subject, &agent->usage, core->now);
            (void)core_ledger_use(core, agent);
        }
        core_check_agent_extras(core, agent);
    }
}

static void core_tick_ended(struct core *core, const struct registry_changes *changes)
{
    for (size_t i = 0; i < changes->n_orphaned; i++) {
        struct core_slot *memory = core_slot_at(core, changes->orphaned[i]);
        if (memory)
            memory->orphaned_ns = core->now.mono.ns;
    }
    for (size_t i = 0; i < changes->n_exited; i++)
        core_agent_ended(core, registry_at(core->registry, changes->exited[i]));
}

/* Exited agents that were shown long enough. One scan per tick is cheap; removal is rare. */
static void core_tick_retention(struct core *core)
{
    agent_slot cursor = 0;
    const struct agent *agent;
    while ((agent = registry_next(core->registry, &cursor))) {
        if (agent->state == AGENT_EXITED &&
            mono_since(core->now.mono, agent->ended.mono) >= core->options.exited_retention_ns) {
            char id[AC_AGENT_ID_MAX + 1];
            snprintf(id, sizeof(id), "%s", agent->spec.id);
            (void)core_agent_remove(core, id, core->now);
        }
    }
}

static void core_allocation_event(void *userdata, const struct ac_allocation *allocation)
{
    struct event *event = core_event_new(userdata, EVENT_ALLOCATION, allocation->agent_id);
    if (!event)
        return;
    event->of.allocation = *allocation;
    snprintf(event->text, sizeof(event->text), "%.255s", allocation->explanation);
}

static void core_tick_ledger(struct core *core)
{
    const struct ac_usage *usage = registry_machine_usage(core->registry);
    const struct machine_record *record = registry_machine(core->registry);
    struct ledger_machine machine = {
        .capacity_cores = record->capacity_cores,
        .capacity_memory_bytes = record->capacity_memory_bytes,
        .used_cpu_percent = usage->known & AC_KNOWN_CPU_PERCENT ? usage->cpu_percent : NAN,
        .used_memory_bytes =
            record->known & MACHINE_KNOWN_MEMORY ? record->memory_used_bytes : LEDGER_UNKNOWN_BYTES,
    };
    ledger_set_machine(core->ledger, &machine);
    (void)ledger_pump(core->ledger, core->now, core_allocation_event, core);
}

int core_tick(struct core *core, const struct sample *sample)
{
    struct registry_changes changes;
    core_flush(core);
    int r = registry_apply(core->registry, sample, &changes);
    if (r < 0)
        return r;
    core->now = sample_moment(sample);
    core->ticked = sample->when.mono;
    core_tick_machine(core);
    core_tick_agents(core);
    core_tick_ended(core, &changes);
    core_tick_retention(core);
    core_tick_ledger(core);
    rules_expire(core->rules, core->now);
    core_pools_update(core);
    return 0;
}

/* ---- Looking */

const struct registry *core_registry(struct core *core)
{
    core_flush(core);
    return core->registry;
}

struct rules *core_rules(struct core *core)
{
    core_flush(core);
    return core->rules;
}

struct ledger *core_ledger(struct core *core)
{
    core_flush(core);
    return core->ledger;
}

struct predict *core_predictor(struct core *core)
{
    return core->predict;
}

struct scale *core_scale(struct core *core)
{
    return &core->scale;
}

void core_system(struct core *core, struct ac_system_metrics *ret_metrics)
{
    core_flush(core);
    const struct machine_record *machine = registry_machine(core->registry);
    *ret_metrics = (struct ac_system_metrics){
        .current_usage = *registry_machine_usage(core->registry),
        .limits = core->options.limits,
        .capacity_cores = machine->capacity_cores,
        .capacity_memory_mb = (double)machine->capacity_memory_bytes / USAGE_MIB,
        .active_agents = registry_count(core->registry) - core->exited_agents,
        .active_alerts = rules_active(core->rules),
    };
}
