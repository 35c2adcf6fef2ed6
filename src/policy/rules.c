/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "policy/rules_internal.h"

/* The legal moves. SILENT ones change the alert without a word, TOLD ones go to the sink. */
enum move { ILLEGAL, SILENT, TOLD };
static const enum move moves[PHASE_COUNT][PHASE_COUNT] = {
    [PHASE_NONE] = {[PHASE_PENDING] = SILENT, [PHASE_FIRING] = TOLD},
    [PHASE_PENDING] = {[PHASE_NONE] = SILENT, [PHASE_FIRING] = TOLD},
    /* to itself: severity changed, or repeated */
    [PHASE_FIRING] = {[PHASE_FIRING] = TOLD, [PHASE_ACKNOWLEDGED] = TOLD, [PHASE_RESOLVED] = TOLD},
    /* to itself: severity fell; to firing: it rose */
    [PHASE_ACKNOWLEDGED] =
        {[PHASE_ACKNOWLEDGED] = SILENT, [PHASE_FIRING] = TOLD, [PHASE_RESOLVED] = TOLD},
};

static double lowest_step(const struct rule_steps *steps)
{
    return MIN(MIN(steps->at[AC_WARNING], steps->at[AC_CRITICAL]), steps->at[AC_EMERGENCY]);
}

void rules_set_limits(struct rules *rules, const struct ac_limits *limits)
{
    const struct rules_subject machine = {.agent_id = ""};
    rules->options.limits = *limits;
    /* A hair less, so that rounding never hides a value that is just at its threshold. */
    rules->own_part = limits->alert_threshold_percent / 100 * (1 - 1e-12);
    for (int i = 0; i < RULE_AGENT_CPU; i++) {
        struct rule_steps steps;
        rule_steps(&rules_table[i], limits, &machine, &steps);
        rules->lowest[i] = lowest_step(&steps);
    }
}

const struct ac_limits *rules_limits(const struct rules *rules)
{
    return &rules->options.limits;
}

static void rules_freep(struct rules **rules)
{
    rules_free(*rules);
}

int rules_new(const struct rules_options *options, struct rules **ret_rules)
{
    if (!options->sink || options->max_alerts == 0 || options->max_subjects == UINT32_MAX ||
        ac_limits_validate(&options->limits, NULL) < 0)
        return -EINVAL;
    struct rules *rules CLEANUP(rules_freep) = mem_alloc(sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    rules->options = *options;
    int r = strmap_new(options->seed, &rules->by_id);
    if (r == 0)
        r = quota_new(options->seed, &rules->quota);
    if (r < 0)
        return r;
    id_source_init(&rules->ids, "al", options->id_seed);
    rules_set_limits(rules, &options->limits);
    *ret_rules = TAKE_PTR(rules);
    return 0;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (uint32_t i = 0; i < rules->n_entries; i++)
        mem_free(rules->entries[i]);
    mem_free(rules->entries);
    mem_free(rules->slots);
    strmap_free(rules->by_id);
    quota_free(rules->quota);
    mem_free(rules);
}

/* Makes an alert in phase NONE. Returns 0, -ENOSPC, -ENOMEM. */
static int entry_new(struct rules *rules, const struct rules_subject *subject,
    enum ac_resource resource, const char *rule, struct entry **ret_entry)
{
    struct ac_alert alert = {.resource = resource, .threshold = NAN, .current_value = NAN};
    snprintf(
        alert.agent_id, sizeof(alert.agent_id), "%s", subject->agent_id ? subject->agent_id : "");
    snprintf(alert.rule, sizeof(alert.rule), "%s", rule);
    return entry_add(rules, subject, &alert, ret_entry);
}

/* ---- Moving */

static void tell(struct rules *rules, struct entry *entry, struct moment now)
{
    entry->told_ns = now.mono.ns;
    rules->options.sink(rules->options.sink_userdata, &entry->alert, entry->owner_uid);
}

static void set_phase(struct rules *rules, struct entry *entry, enum phase phase)
{
    rules->active -= entry->phase == PHASE_FIRING;
    rules->active += phase == PHASE_FIRING;
    entry->phase = phase;
    entry->alert.acknowledged =
        phase == PHASE_ACKNOWLEDGED || (phase == PHASE_RESOLVED && entry->alert.acknowledged);
}

/* The one way an alert moves. Frees it where it ends. Returns the number of events: 0 or 1. */
static int move_to(struct rules *rules, struct entry *entry, enum phase phase, struct moment now)
{
    enum move move = moves[entry->phase][phase];
    assert(move != ILLEGAL);
    bool fires = entry->phase < PHASE_FIRING && phase == PHASE_FIRING;
    bool ends = phase == PHASE_NONE || phase == PHASE_RESOLVED;
    set_phase(rules, entry, phase);
    entry->alert.updated_ns = now.wall_ns;
    entry->alert.state = phase == PHASE_PENDING    ? AC_ALERT_PENDING
                         : phase == PHASE_RESOLVED ? AC_ALERT_RESOLVED
                                                   : AC_ALERT_FIRING;
    if (fires)
        entry->alert.started_ns = now.wall_ns;
    if (phase == PHASE_RESOLVED)
        entry->alert.ended_ns = now.wall_ns;
    if (ends)
        entry_remove(rules, entry);
    if (move == TOLD)
        tell(rules, entry, now);
    if (ends)
        mem_free(entry);
    return move == TOLD;
}

/* A firing or acknowledged alert whose severity becomes @severity. */
static int move_severity(
    struct rules *rules, struct entry *entry, enum ac_severity severity, struct moment now)
{
    bool rises = severity > entry->alert.severity;
    entry->alert.severity = severity;
    return move_to(rules, entry, rises ? PHASE_FIRING : entry->phase, now);
}

/* ---- Thresholds */

/* Which threshold rules a usage may cross, by bits; may say one too many, never one too few. A
 * field that is unknown is NaN and crosses nothing. */
static uint32_t crossings(
    const struct rules *rules, const struct rules_subject *subject, const struct ac_usage *usage)
{
    const double *lowest = rules->lowest;
    double fds = (double)usage->file_descriptors;
    uint32_t crossed = (uint32_t)(usage->cpu_percent >= lowest[RULE_CPU]) << RULE_CPU |
                       (uint32_t)(usage->memory_percent >= lowest[RULE_MEMORY]) << RULE_MEMORY |
                       (uint32_t)(usage->disk_io_mbps >= lowest[RULE_DISK_IO]) << RULE_DISK_IO |
                       (uint32_t)(usage->network_io_mbps >= lowest[RULE_NETWORK_IO])
                           << RULE_NETWORK_IO |
                       (uint32_t)(fds >= lowest[RULE_FILE_DESCRIPTORS]) << RULE_FILE_DESCRIPTORS;
    if (subject->fds_hard_limit != 0 &&
        fds >= (double)subject->fds_hard_limit *
                   rules->options.limits.emergency_file_descriptor_percent / 100)
        crossed |= 1u << RULE_FILE_DESCRIPTORS;
    const struct agent_limits *own = subject->limits;
    if (!own)
        return crossed;
    double part = rules->own_part;
    if (own->max_cpu_cores > 0 && usage->cpu_cores >= own->max_cpu_cores * part)
        crossed |= 1u << RULE_AGENT_CPU;
    if (own->max_memory_mb > 0 && usage->memory_mb >= own->max_memory_mb * part)
        crossed |= 1u << RULE_AGENT_MEMORY;
    if (own->max_file_descriptors > 0 && fds >= (double)own->max_file_descriptors * part)
        crossed |= 1u << RULE_AGENT_FILE_DESCRIPTORS;
    return crossed;
}

/* The severity that holds for an entry now: a step above the present one must have been exceeded
 * for for_ms, the present one and those below hold until the value is a margin below them. */
static enum ac_severity entry_level(const struct rules *rules, struct entry *entry,
    const struct rule_steps *steps, double value, struct moment now)
{
    uint64_t for_ns = rules->options.limits.for_ms * NS_PER_MSEC;
    bool fired = entry->phase >= PHASE_FIRING;
    enum ac_severity level = AC_INFO;
    for (int s = AC_WARNING; s <= AC_EMERGENCY; s++) {
        bool exceeded = value >= steps->at[s];
        if (!exceeded)
            entry->since[s] = RULES_NEVER;
        else if (entry->since[s] == RULES_NEVER)
            entry->since[s] = now.mono.ns;
        bool held = fired && s <= (int)entry->alert.severity;
        if (held ? value >= steps->at[s] - steps->margin
                 : exceeded && mono_since(now.mono, (struct mono){entry->since[s]}) >= for_ns)
            level = (enum ac_severity)s;
    }
    return level;
}

/* Moves one entry by what the value says. Returns the number of events. */
static int entry_judge(struct rules *rules, struct entry *entry, const struct rule_steps *steps,
    double value, struct moment now)
{
    const struct rule *rule = &rules_table[entry->rule];
    struct ac_alert *alert = &entry->alert;
    enum ac_severity level = entry_level(rules, entry, steps, value, now);
    alert->current_value = value;
    if (entry->phase < PHASE_FIRING) {
        alert->severity = level != AC_INFO ? level : rule_level(steps, value);
        alert->threshold = steps->at[alert->severity];
        if (alert->severity == AC_INFO)
            return move_to(rules, entry, PHASE_NONE, now);
        rule_describe(rule, steps, AC_INFO, false, alert);
        if (level != AC_INFO)
            return move_to(rules, entry, PHASE_FIRING, now);
        return entry->phase == PHASE_NONE ? move_to(rules, entry, PHASE_PENDING, now) : 0;
    }
    if (level == AC_INFO) {
        rule_describe(rule, steps, alert->severity, true, alert);
        return move_to(rules, entry, PHASE_RESOLVED, now);
    }
    if (level == alert->severity)
        return 0;
    enum ac_severity before = alert->severity;
    alert->severity = level;
    alert->threshold = steps->at[level];
    rule_describe(rule, steps, before, false, alert);
    alert->severity = before;
    return move_severity(rules, entry, level, now);
}

/* Counts an alert that found no room once, not at every check. */
static void note_dropped(struct rules *rules, agent_slot at, int index)
{
    struct slot *slot = slot_reserve(rules, at) == 0 ? &rules->slots[at] : NULL;
    if (slot && slot->dropped & (1u << index))
        return;
    rules->dropped++;
    if (slot)
        slot->dropped |= (uint16_t)(1u << index);
}

static int check_rule(struct rules *rules, const struct rules_subject *subject, int index,
    const struct ac_usage *usage, struct moment now)
{
    const struct rule *rule = &rules_table[index];
    struct rule_steps steps;
    bool applies = rule_steps(rule, &rules->options.limits, subject, &steps);
    double value = rule->value(usage);
    if (applies && isnan(value))
        return 0;
    struct entry *entry = entry_find(rules, subject->slot, rule->resource, rule->name);
    if (!entry) {
        if (rule_level(&steps, value) == AC_INFO) {
            struct slot *slot = slot_at(rules, subject->slot);
            if (slot)
                slot->dropped &= (uint16_t) ~(1u << index);
            return 0;
        }
        if (entry_new(rules, subject, rule->resource, rule->name, &entry) < 0) {
            note_dropped(rules, subject->slot, index);
            return 0;
        }
    }
    return entry_judge(rules, entry, &steps, value, now);
}

int rules_check(struct rules *rules, const struct rules_subject *subject,
    const struct ac_usage *usage, struct moment now)
{
    uint32_t due = crossings(rules, subject, usage);
    if (subject->slot < rules->n_slots)
        due |= rules->slots[subject->slot].live | rules->slots[subject->slot].dropped;
    if (due == 0 || subject->slot > rules->options.max_subjects)
        return 0;
    int events = 0;
    for (int i = 0; i < RULE_COUNT; i++) {
        if (due & (1u << i))
            events += check_rule(rules, subject, i, usage, now);
    }
    return events;
}

/* ---- Alerts from elsewhere */

static void raise_fill(struct entry *entry, const struct rules_raise *raise, struct moment now)
{
    struct ac_alert *alert = &entry->alert;
    snprintf(alert->message, sizeof(alert->message), "%s",
        raise->message ? raise->message : raise->rule);
    alert->threshold = raise->threshold;
    alert->current_value = raise->current_value;
    entry->hold_until_ns =
        raise->hold_ms != 0 ? now.mono.ns + raise->hold_ms * NS_PER_MSEC : RULES_NEVER;
}

int rules_raise(struct rules *rules, const struct rules_subject *subject,
    const struct rules_raise *raise, struct moment now, struct ac_alert *ret_alert)
{
    if (!raise->rule || !*raise->rule || strlen(raise->rule) >= sizeof(ret_alert->rule) ||
        (unsigned)raise->resource >= AC_RESOURCE_COUNT ||
        (unsigned)raise->severity >= AC_SEVERITY_COUNT ||
        subject->slot > rules->options.max_subjects || rule_find(raise->resource, raise->rule) >= 0)
        return -EINVAL;
    struct entry *entry = entry_find(rules, subject->slot, raise->resource, raise->rule);
    if (!entry) {
        int r = entry_new(rules, subject, raise->resource, raise->rule, &entry);
        if (r < 0) {
            rules->dropped++;
            return r;
        }
    }
    raise_fill(entry, raise, now);
    if (entry->phase == PHASE_NONE) {
        entry->alert.severity = raise->severity;
        move_to(rules, entry, PHASE_FIRING, now);
    } else if (entry->alert.severity != raise->severity) {
        move_severity(rules, entry, raise->severity, now);
    }
    if (ret_alert)
        *ret_alert = entry->alert;
    return 0;
}

int rules_clear(struct rules *rules, agent_slot slot, enum ac_resource resource, const char *rule,
    struct moment now)
{
    struct entry *entry = entry_find(rules, slot, resource, rule);
    if (!entry || entry->phase < PHASE_FIRING)
        return -ENOENT;
    move_to(rules, entry, PHASE_RESOLVED, now);
    return 0;
}

/* Says the present value in a repeated event, not that of the last transition. */
static void refresh_message(struct rules *rules, struct entry *entry)
{
    struct rule_steps steps;
    const struct rules_subject subject = {.slot = entry->slot};
    if (entry->rule < 0)
        return;
    rule_steps(&rules_table[entry->rule], &rules->options.limits, &subject, &steps);
    if (entry->alert.current_value >= entry->alert.threshold)
        rule_describe(&rules_table[entry->rule], &steps, AC_INFO, false, &entry->alert);
}

int rules_expire(struct rules *rules, struct moment now)
{
    int events = 0;
    uint64_t again_ns = rules->options.limits.renotify_ms * NS_PER_MSEC;
    /* From the end: an entry that goes is replaced by the last one, which has been seen. */
    for (uint32_t i = rules->n_entries; i-- > 0;) {
        struct entry *entry = rules->entries[i];
        if (now.mono.ns >= entry->hold_until_ns) {
            events += move_to(rules, entry, PHASE_RESOLVED, now);
        } else if (again_ns != 0 && entry->phase == PHASE_FIRING &&
                   mono_since(now.mono, (struct mono){entry->told_ns}) >= again_ns) {
            refresh_message(rules, entry);
            tell(rules, entry, now);
            events++;
        }
    }
    return events;
}

void rules_forget(struct rules *rules, agent_slot slot, struct moment now)
{
    struct slot *state = slot_at(rules, slot);
    if (!state)
        return;
    while (state->first) {
        struct entry *entry = state->first;
        if (now.mono.ns < entry->hold_until_ns && entry->hold_until_ns != RULES_NEVER)
            entry_leave_slot(rules, entry);
        else
            move_to(rules, entry, entry->phase == PHASE_PENDING ? PHASE_NONE : PHASE_RESOLVED, now);
    }
    state->dropped = 0;
}

int rules_acknowledge(struct rules *rules, const char *alert_id, struct moment now)
{
    struct entry *entry = strmap_get(rules->by_id, alert_id);
    if (!entry || entry->phase < PHASE_FIRING)
        return -ENOENT;
    if (entry->phase == PHASE_ACKNOWLEDGED)
        return -EALREADY;
    move_to(rules, entry, PHASE_ACKNOWLEDGED, now);
    return 0;
}

const struct ac_alert *rules_next(const struct rules *rules, size_t *cursor)
{
    while (*cursor < rules->n_entries) {
        const struct entry *entry = rules->entries[(*cursor)++];
        if (entry->phase >= PHASE_FIRING)
            return &entry->alert;
    }
    return NULL;
}

uint64_t rules_active(const struct rules *rules)
{
    return rules->active;
}

uint64_t rules_dropped(const struct rules *rules)
{
    return rules->dropped;
}

uint32_t rules_owner(const struct rules *rules, const char *alert_id)
{
    const struct entry *entry = strmap_get(rules->by_id, alert_id);
    return entry ? entry->owner_uid : UINT32_MAX;
}

int rules_restore(struct rules *rules, const struct rules_subject *subject,
    const struct ac_alert *alert, struct moment now)
{
    struct entry *entry;
    if (alert->state != AC_ALERT_FIRING || subject->slot > rules->options.max_subjects ||
        (unsigned)alert->resource >= AC_RESOURCE_COUNT ||
        (unsigned)alert->severity >= AC_SEVERITY_COUNT || !alert->alert_id[0])
        return -EINVAL;
    if (strmap_get(rules->by_id, alert->alert_id) ||
        entry_find(rules, subject->slot, alert->resource, alert->rule))
        return -EEXIST;
    int r = entry_add(rules, subject, alert, &entry);
    if (r < 0)
        return r;
    entry->told_ns = now.mono.ns;
    id_seen(&rules->ids, alert->alert_id);
    set_phase(rules, entry, alert->acknowledged ? PHASE_ACKNOWLEDGED : PHASE_FIRING);
    return 0;
}
