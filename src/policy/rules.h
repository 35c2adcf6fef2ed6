/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules: thresholds in, alerts out. A table of rules per resource; one live alert per (subject,
 * resource, rule) that moves through one table of legal transitions:
 *
 *     (none) -> pending -> firing -> resolved     acknowledged stands beside firing
 *
 * Severity rises and falls on the same alert; each transition is reported once to the sink,
 * never once per tick. A step is reached at its threshold (once it has been exceeded for for_ms)
 * and left below threshold - clear_margin_percent. A resolved alert keeps its last severity. An
 * acknowledged alert is silent until its severity rises (which takes the acknowledgement back)
 * or it resolves. An unknown value changes nothing. A pending alert that falls back vanishes
 * without an event.
 *
 * Subject slot 0 is the machine. Pure; not safe for concurrent use; the sink must not change the
 * rules. A check without a crossing costs about 10 ns, a slot 16 bytes.
 *
 * At max_alerts (of which the machine keeps some for itself), and at an owner's share of it, an
 * alert is dropped and counted; a threshold's is made up for as soon as there is room.
 */
#ifndef AC_POLICY_RULES_H
#define AC_POLICY_RULES_H

#include "base/clock.h"
#include "model/agent.h"
#include "policy/quota.h"

struct rules;

/* Called for each transition, with the alert as it is after it (valid during the call) and whose
 * its subject was. */
typedef void (*rules_sink)(void *userdata, const struct ac_alert *alert, uint32_t owner_uid);

struct rules_options {
    struct ac_limits limits;
    uint32_t max_subjects; /* slots 0..max_subjects */
    uint32_t max_alerts;
    struct quota_users users;
    uint64_t seed;    /* of maps: a secret */
    uint64_t id_seed; /* makes alert ids of different runs differ: wall time of the start */
    rules_sink sink;
    void *sink_userdata;
};

/* Returns 0, -EINVAL, -ENOMEM. */
int rules_new(const struct rules_options *options, struct rules **ret_rules);
void rules_free(struct rules *rules);

/* New limits; live alerts are judged by them at their next check. */
void rules_set_limits(struct rules *rules, const struct ac_limits *limits);
const struct ac_limits *rules_limits(const struct rules *rules);

/* Who is being judged. For an agent, .limits gives its own maxima: memory in MiB and CPU in
 * cores are judged against them (warning at alert_threshold_percent of them, critical at them)
 * beside the machine-wide percentages. */
struct rules_subject {
    agent_slot slot;                   /* 0 = the machine */
    const char *agent_id;              /* "" = the machine */
    const struct agent_limits *limits; /* NULL = none */
    uint64_t fds_hard_limit;           /* 0 = unknown: no descriptor emergency */
    uint32_t owner_uid;                /* UINT32_MAX = nobody's, or not known */
};

/* Judges one usage. Returns the number of transitions. */
int rules_check(struct rules *rules, const struct rules_subject *subject,
    const struct ac_usage *usage, struct moment now);

/* An alert from elsewhere: @rule names it ("manual", "oom_kill", "orphans", "history", ...). It
 * lives until rules_clear or, where @hold_ms is not 0, until nobody raised it for that long
 * (rules_expire). The same (subject, resource, rule) is updated: another severity is a transition,
 * another text or value is not. for_ms does not apply. @ret_alert may be NULL. Returns 0; -EINVAL
 * for a bad value or the name of a threshold rule; -ENOSPC; -ENOMEM. */
struct rules_raise {
    const char *rule;
    enum ac_resource resource;
    enum ac_severity severity;
    const char *message;
    double threshold;     /* NaN = none */
    double current_value; /* NaN = unknown */
    uint32_t hold_ms;
};
int rules_raise(struct rules *rules, const struct rules_subject *subject,
    const struct rules_raise *raise, struct moment now, struct ac_alert *ret_alert);

/* Resolves it. Returns 0 or -ENOENT. */
int rules_clear(struct rules *rules, agent_slot slot, enum ac_resource resource, const char *rule,
    struct moment now);

/* Once per tick: holds that ran out, renotify. Returns the number of transitions. */
int rules_expire(struct rules *rules, struct moment now);

/* Resolves all alerts of a subject that is going away, but those that are held (rules_raise):
 * they stay until their time has run out, whoever gets the slot. */
void rules_forget(struct rules *rules, agent_slot slot, struct moment now);

/* Returns 0, -ENOENT, -EALREADY. */
int rules_acknowledge(struct rules *rules, const char *alert_id, struct moment now);

/* Live alerts (firing or acknowledged, not pending), in no order: start with *cursor = 0.
 * Borrowed until the next mutating call. */
const struct ac_alert *rules_next(const struct rules *rules, size_t *cursor);

/* Firing, not acknowledged: the guide's active alerts. */
uint64_t rules_active(const struct rules *rules);

/* Alerts that found no room (or memory): a threshold's counts once per crossing, one that is
 * raised each time. */
uint64_t rules_dropped(const struct rules *rules);

/* Whose the subject of a live alert is, or was; UINT32_MAX = nobody's, or not known. */
uint32_t rules_owner(const struct rules *rules, const char *alert_id);

/* Puts back a live alert of @subject after a restart, without an event. An acknowledged one stays
 * acknowledged, a raised one has no hold until it is raised again. Returns 0; -EINVAL (not firing);
 * -EEXIST (its id, or its subject, resource and rule); -ENOSPC; -ENOMEM. */
int rules_restore(struct rules *rules, const struct rules_subject *subject,
    const struct ac_alert *alert, struct moment now);

#endif
