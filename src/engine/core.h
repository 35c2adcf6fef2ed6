/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Core: the whole pipeline over plain state, without threads, clocks and I/O of its own.
 *
 *     sample -> registry -> recent history -> rules -> ledger -> scale -> events
 *
 * ac_manager wraps it in a mutex and a sampler thread, agentcored in an event loop, replay in a
 * file reader. Times come in as arguments. Not safe for concurrent use.
 */
#ifndef AC_ENGINE_CORE_H
#define AC_ENGINE_CORE_H

#include "base/error.h"
#include "model/event.h"
#include "policy/ledger.h"
#include "policy/predict.h"
#include "policy/registry.h"
#include "policy/rules.h"
#include "policy/scale.h"

struct core;

struct core_options {
    struct ac_limits limits;
    struct scale_options scale;
    uint32_t max_agents;
    uint32_t max_alerts;
    uint32_t max_queue;
    uint64_t reservation_ttl_ns;
    double headroom; /* 0-1 */
    uint64_t recent_ns;
    size_t recent_budget_bytes;
    uint64_t exited_retention_ns; /* 0 = exited agents go at once */
    uint64_t report_timeout_ns; /* a reported agent's silence until it counts as exited; 0 = any */
    uint64_t seed;
    uint64_t id_seed;
    struct quota_users users;
};

void core_options_init(struct core_options *ret_options);
int core_new(const struct core_options *options, struct core **ret_core);
void core_free(struct core *core);

/* What a reload may change: limits, scaling, retention, the time limits of reports and of
 * reservations, and headroom.
 * Returns 0, or -EINVAL with nothing changed. */
int core_reconfigure(struct core *core, const struct core_options *options, struct ac_error *error);

/* New thresholds, already validated; live alerts are judged by them at their next check. */
void core_set_limits(struct core *core, const struct ac_limits *limits);

/* One tick. Returns 0 or -ENOMEM. */
int core_tick(struct core *core, const struct sample *sample);

/* ---- Agents */

/* At the cap the agent that exited first gives way. Returns 0, -EINVAL, -EEXIST, -ENOSPC (so many
 * run), -ENOMEM. */
int core_agent_add(struct core *core, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent, struct ac_error *error);

/* Gives a reported agent a process tree, and all that @spec says but an owner where it has one; or
 * adds the agent. -EEXIST where it has a tree. */
int core_agent_attach(struct core *core, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent, struct ac_error *error);

/* Makes a process a member of an agent from the next tick on, see registry_join. */
int core_agent_join(struct core *core, const char *id, int32_t pid, uint64_t start_ticks);

/* Forgets the agent: alerts resolve, reservation and history in memory go, the run is learnt
 * from. Returns 0 or -ENOENT. */
int core_agent_remove(struct core *core, const char *id, struct moment now);

/* Reported usage: history, thresholds and ledger follow at once, or beyond 16 reports of one agent
 * within a second at the next tick or look. An agent that was silent for options.report_timeout_ns
 * has exited, and is added again as what it was. One whose processes ended is added anew where
 * @create. Returns 0, -EINVAL, -ENOENT, -EALREADY (its processes ended), -ENOSPC. */
int core_report(struct core *core, const char *id, const struct ac_usage *usage, struct moment now,
    bool create, struct ac_error *error);

/* ---- Alerts */

int core_acknowledge(struct core *core, const char *alert_id, struct moment now);

/* Judges a usage of a subject (NULL, "" or "system" = the machine). Returns the transitions. */
int core_check(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now);
int core_raise(struct core *core, const char *agent_id, const struct rules_raise *raise,
    struct moment now, struct ac_alert *ret_alert);

/* Puts back an alert after a restart, see rules_restore; one from a passing cause gets its time
 * limit again. -ENOENT where there is no such agent, or it is another owner's. */
int core_restore_alert(
    struct core *core, const struct ac_alert *alert, uint32_t owner_uid, struct moment now);
int core_clear(struct core *core, const char *agent_id, enum ac_resource resource, const char *rule,
    struct moment now);

/* ---- History in memory */

/* -EINVAL, -ENOENT (unknown agent and not @create), -ENOSPC, -ENOMEM. */
int core_record(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now);

/* Oldest first, freed with mem_free. Returns their number, 0 with a NULL array, or -ENOMEM. */
int64_t core_history(struct core *core, const char *subject, int64_t from_ns, int64_t to_ns,
    struct ac_usage **ret_usages);

/* After a restart, before the next tick of that subject: usages from before it, oldest first. What
 * must be exceeded for a time (limits.for_ms) counts from there on, as if nothing had changed
 * while nobody looked. Returns 0; -ERANGE for a time before this boot, or not before @now; as
 * core_check. */
int core_replay(
    struct core *core, const char *subject, const struct ac_usage *usage, struct moment now);

/* Goes on with totals that registry_save_totals saved: behind the restored agents, in front of
 * their first sample. Returns as registry_resume_totals. */
int core_resume_totals(struct core *core, const void *bytes, size_t size);

/* The largest of each field of a restored agent's run so far. Returns 0 or -ENOENT. */
int core_replay_peaks(struct core *core, const char *id, const struct ac_usage *peaks);

/* ---- Allocation, prediction, scaling */

int core_allocate(struct core *core, const struct agent_spec *spec,
    enum ac_allocation_policy policy, struct moment now, struct ac_allocation *ret_allocation,
    struct ac_error *error);
int core_release(struct core *core, const char *agent_or_allocation_id, struct moment now);
void core_predict(struct core *core, enum ac_philosophy philosophy, const char *agent_template,
    struct moment now, struct ac_prediction *ret_prediction);

struct core_pool {
    enum ac_philosophy philosophy;
    uint32_t scale;             /* as recorded */
    uint32_t agents;            /* running now */
    double utilization_percent; /* NaN = unknown */
    uint64_t cooldown_left_ns;
    struct scale_decision decision; /* at the last tick */
};
void core_pool(struct core *core, enum ac_philosophy philosophy, struct moment now,
    struct core_pool *ret_pool);
int core_scale_record(struct core *core, enum ac_philosophy philosophy, uint32_t new_scale,
    struct moment now, struct ac_error *error);

/* ---- Looking */

const struct registry *core_registry(struct core *core);
struct rules *core_rules(struct core *core);
struct ledger *core_ledger(struct core *core);
struct predict *core_predictor(struct core *core);
struct scale *core_scale(struct core *core);
void core_system(struct core *core, struct ac_system_metrics *ret_metrics);

/* ---- Events: a bounded queue that the owner empties after each call. When it is full the
 * oldest event goes and is counted, and an EVENT_LOST comes first. core_config_event notes a reload
 * (@refused: why it was not taken, NULL = it was). */
void core_config_event(struct core *core, const char *refused, struct moment now);
bool core_next_event(struct core *core, struct event *ret_event);
uint64_t core_events_lost(const struct core *core);

#endif
