/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct core, shared by the core_*.c files only. */
#ifndef AC_ENGINE_CORE_INTERNAL_H
#define AC_ENGINE_CORE_INTERNAL_H

#include "engine/core.h"
#include "store/recent.h"

#define CORE_EVENTS_MAX 4096

struct core_inbox;

/* What core itself remembers of an agent, by slot. */
struct core_slot {
    uint64_t oom_kills;   /* as last seen in its cgroup */
    bool oom_seen;        /* .oom_kills has been read */
    uint64_t oom_told;    /* kills that there was an alert for */
    uint64_t orphaned_ns; /* monotonic: since when its root is gone; 0 = it is not, or told */
    uint64_t heard_ns;    /* monotonic: when it was added, or somebody last spoke of its usage */
    bool learnt;          /* its run went to the predictor */
};

struct core {
    struct core_options options;
    struct registry *registry;
    struct rules *rules;
    struct ledger *ledger;
    struct predict *predict;
    struct recent *recent;
    struct scale scale;
    struct scale_decision decisions[AC_PHILOSOPHY_COUNT];
    double utilization[AC_PHILOSOPHY_COUNT];
    uint32_t pool_agents[AC_PHILOSOPHY_COUNT];
    uint32_t exited_agents;  /* still shown in the registry */
    struct core_slot *slots; /* 0..n_slots-1 */
    uint32_t n_slots;
    struct core_inbox *inboxes; /* core_report.c; 0..n_inboxes-1 */
    agent_slot *waiting;        /* slots whose inbox holds a usage; room for n_inboxes */
    uint32_t n_inboxes, n_waiting;
    uint64_t machine_fds_max;
    struct mono ticked;   /* the last tick's */
    struct moment now;    /* of the call in progress: what events are stamped with */
    struct event *events; /* ring */
    size_t events_capacity, events_first, events_count;
    uint64_t events_sequence, events_lost;
    uint64_t events_lost_told; /* of those, by an EVENT_LOST */
};

/* The next event, filled with number, time and kind; NULL where there is no memory at all. */
struct event *core_event_new(struct core *core, enum event_kind kind, const char *agent_id);

/* The sink of rules: turns a transition into an event. */
void core_alert_transition(void *userdata, const struct ac_alert *alert, uint32_t owner_uid);

/* Per-slot memory, grown as needed. NULL without memory. */
struct core_slot *core_slot_at(struct core *core, agent_slot slot);

/* The subject of @agent; NULL = the machine. Borrows from @agent. */
struct rules_subject core_subject(const struct core *core, const struct agent *agent);

/* Judges what the rules table cannot see in a usage: OOM kills, stalls, run times. */
void core_check_agent_extras(struct core *core, const struct agent *agent);

/* -EINVAL with the rule in @error. */
int core_check_id(const char *id, struct ac_error *error);

/* Tells the ledger what the agent uses. 0 or -ENOMEM. */
int core_ledger_use(struct core *core, const struct agent *agent);

/* Puts reports to use that wait in inboxes; to be called before anybody looks. */
void core_flush_slow(struct core *core);
static inline void core_flush(struct core *core)
{
    if (core->n_waiting > 0)
        core_flush_slow(core);
}
void core_inbox_reset(struct core *core, agent_slot slot);

/* Somebody spoke of what *agent uses. One that stopped reporting is added again, as what it was:
 * *agent is another one then. Returns 0 or -ENOMEM. */
int core_agent_heard(struct core *core, const struct agent **agent, struct moment now);

/* How long a running agent has been silent where that is too long, else 0. */
uint64_t core_silent_ns(const struct core *core, const struct agent *agent);

void core_learn(struct core *core, const struct agent *agent, struct moment now);
void core_pools_update(struct core *core);

#endif
