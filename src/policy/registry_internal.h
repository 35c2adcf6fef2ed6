/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of the registry. Private to src/policy/registry*.c.
 *
 *   registry.c          agents: add, remove, report, look
 *   registry_apply.c    one pass over a sample
 *   registry_members.c  who belongs to whom
 *   registry_flow.c     what reaped children used, counted once
 *   registry_publish.c  counters of a pass become usage, totals and states
 *   registry_resume.c   totals across a restart
 *   registry_gpu.c      what its processes use of GPUs
 *   registry_pss.c      their memory with shared pages in parts, read for a few at a time
 *   registry_table.c    a hash table that can be reserved beforehand
 *
 * A pass reserves all memory that it may need before it changes anything; behind that point
 * nothing can fail.
 */
#ifndef AC_POLICY_REGISTRY_INTERNAL_H
#define AC_POLICY_REGISTRY_INTERNAL_H

#include "base/map.h"
#include "policy/registry.h"

/* ---- Table (registry_table.c): 64-bit keys to 32-bit values other than 0 */

struct itable_entry {
    uint64_t key;
    uint32_t value;
    uint32_t age; /* empty where it is not the table's */
};

struct itable {
    struct itable_entry *entries;
    uint32_t mask;
    uint32_t count;
    uint32_t age;
};

void itable_done(struct itable *table);

/* Makes room for @count keys in all. Returns 0 or -ENOMEM, unchanged. */
int itable_reserve(struct itable *table, size_t count);
void itable_clear(struct itable *table);

/* 0 where there is none. */
uint32_t itable_get(const struct itable *table, uint64_t key);

/* Adds or replaces; there must be room. */
void itable_set(struct itable *table, uint64_t key, uint32_t value);
void itable_remove(struct itable *table, uint64_t key);

/* ---- Members */

/* What is counted per process. Its processor time and that of the children it waited for stand
 * apart in /proc; its I/O includes theirs. */
enum counter { COUNT_CPU, COUNT_READ, COUNT_WRITTEN, COUNT_COUNT };

enum member_flags {
    MEMBER_BORN = 1u << 0,     /* born into the agent: its whole life counts */
    MEMBER_CPU = 1u << 1,      /* .cpu_seen is set */
    MEMBER_CHILDREN = 1u << 2, /* .children_seen is set */
    MEMBER_IO = 1u << 3,       /* .io_seen is set */
    MEMBER_CLOSED = 1u << 4,   /* its exit was counted: a zombie, or one record behind */
    MEMBER_GHOST = 1u << 5,    /* vanished, and its exit record is still to come */
    MEMBER_DIRECT = 1u << 6,   /* scratch: vanished below a living parent */
    MEMBER_PSS = 1u << 7,      /* .pss_bytes is set; else it was not read, or may not be */
};

struct member {
    struct proc_record last;
    uint64_t cpu_seen;      /* utime + stime counted so far */
    uint64_t children_seen; /* cutime + cstime looked at so far */
    uint64_t io_seen[2];
    uint64_t pss_bytes;
    uint64_t pss_rss_bytes; /* its RSS when that was read */
    uint64_t pss_read_ns;   /* monotonic; 0 = never, not even in vain */
    uint32_t parent;        /* the member that was its parent in the last sample, 0 = none */
    uint32_t next;          /* members of the same agent; of the free list */
    uint32_t previous;
    uint32_t flow;  /* index + 1 in registry.flows, 0 = none */
    uint32_t order; /* place in the last sample */
    uint32_t pass;  /* the last one that saw it; 0 = free */
    agent_slot slot;
    uint32_t flags;
};

/* What a living member's counters grew by through children it reaped, and what is due from that
 * growth because it was counted already while those children lived: see registry_flow.c. */
struct flow {
    uint32_t member;
    uint64_t grown[COUNT_COUNT];      /* not yet counted */
    uint64_t direct[COUNT_COUNT];     /* due for children of its own that vanished */
    uint64_t deep[COUNT_COUNT];       /* due for descendants whose parents vanished too */
    uint64_t old_direct[COUNT_COUNT]; /* left over from the pass before */
    uint64_t old_deep[COUNT_COUNT];
    uint64_t early_cpu;   /* due for own children that the last walk read before it */
    uint64_t counted_cpu; /* growth that the pass before counted as new */
};

/* A session or group leader that was a member and is gone, while its session or group lives on. */
struct tomb {
    int32_t pid;
    agent_slot slot;
    uint32_t pass;
};

/* ---- Agents */

/* What is saved of an agent, and gone on with after a restart: see registry_resume.c. */
struct resume {
    struct agent_totals totals;
    uint64_t added_ns; /* wall */
    uint64_t known;    /* of totals */
    uint64_t cpu_peak_bits;
    uint64_t since_ticks; /* when it was saved; 0 = it had no process then */
    uint64_t living_known;
    uint64_t living[COUNT_COUNT]; /* what its members had used in all their lives */
    uint64_t debt_cpu;
    uint64_t cgroup_id;
    uint64_t group_known;
    uint64_t group_seen[COUNT_COUNT];
};

/* What a pass needs of an agent, apart from the agent itself, which is large. */
struct account {
    struct agent *agent; /* NULL = free slot */
    agent_slot next_free;
    uint32_t members; /* head of the list */
    bool rooted;      /* has, or is about to have, a process tree */
    bool pending;     /* its root was not seen yet */
    bool adopted;     /* its root was seen */
    bool fresh;       /* the root was made for the agent: its whole life counts */
    bool exited;
    struct moment claimed; /* when the root was named */
    uint64_t root_start_ticks;
    int32_t root_pid;
    uint64_t since_ticks;          /* processes born from here on count whole */
    struct mono rated;             /* when its rates were computed last */
    uint64_t unrated[COUNT_COUNT]; /* used since */
    uint64_t unrated_net;
    uint64_t debt_cpu;         /* counted too much, taken from what comes */
    struct resume *resume;     /* from before a restart, until its root was seen; owned */
    uint64_t processes_before; /* in front of those that the collector counted since it began */

    /* of this pass */
    uint32_t pass; /* the numbers below are of that one */
    uint32_t live; /* members that are not zombies */
    uint32_t processes;
    uint32_t threads;
    uint32_t known; /* PROC_KNOWN_CPU, _IO, _RSS, _FDS: of any member */
    uint32_t newborn;
    bool root_lives;
    bool just_adopted;
    uint64_t added[COUNT_COUNT];
    uint64_t rss_bytes;
    uint64_t pss_bytes;
    uint64_t pss_oldest_ns; /* of the readings that are in it; 0 = there are none */
    bool pss_lacks;         /* a member has none */
    uint64_t fds;
    uint64_t rss_peak_bytes; /* of a process that exited, or a look between samples */

    const struct slot_record *slot_record; /* of this pass */
    const struct group_record *group_record;
    uint64_t slot_seen[COUNT_COUNT];
    uint64_t cgroup_id; /* whose values were seen */
    uint64_t group_seen[COUNT_COUNT];
    uint64_t net_seen[2];
    uint32_t slot_known;  /* enum slot_known bits of slot_seen */
    uint32_t group_known; /* enum group_known bits of group_seen and net_seen */
};

/* A process that the next pass takes for a member of an agent without being born into it. */
struct join {
    uint64_t start_ticks;
    int32_t pid;
    agent_slot slot;
};

#define JOINS_MAX 4096 /* between two passes */

struct registry {
    uint32_t max_agents;
    uint32_t count;
    uint32_t capacity; /* slots in accounts, [0] unused */
    uint32_t high;     /* the highest slot given out */
    uint32_t n_pending;
    struct itable pending_by_pid; /* root's pid -> slot; may hold some that are pending no more */
    agent_slot free_slots;
    struct strmap *ids;
    struct account *accounts;
    agent_slot *exited; /* capacity each */
    agent_slot *orphaned;
    uint32_t n_exited;
    uint32_t n_orphaned;

    struct member *members; /* [0] unused */
    uint32_t members_capacity;
    uint32_t members_high;
    uint32_t members_count;
    uint32_t free_members;
    struct itable by_pid;

    struct flow *flows; /* of this pass */
    uint32_t n_flows;
    uint32_t flows_capacity;
    struct flow *old_flows; /* of the last one */
    uint32_t n_old_flows;
    uint32_t old_flows_capacity;

    struct tomb *tombs;
    uint32_t n_tombs;
    uint32_t tombs_capacity;
    struct itable tomb_by_pid;

    struct join *joins; /* for the next pass */
    uint32_t n_joins;
    uint32_t joins_capacity;
    struct itable join_by_pid;

    /* of this pass */
    uint32_t pass;
    struct itable sample_by_pid; /* pid -> index + 1 */
    uint32_t *found;             /* member of each record, 0 = none */
    agent_slot *verdicts;
    uint32_t *path;
    uint32_t scratch_capacity;
    struct itable mms;
    uint64_t min_since_ticks;

    bool sampled;
    bool gpus_published;
    uint64_t pss_readings;
    struct moment when;
    struct machine_record machine;
    struct machine_record machine_rated; /* as of .rated, when its rates were computed last */
    struct mono rated;
    struct ac_usage machine_usage;
};

#define VERDICT_UNKNOWN UINT32_MAX
#define VERDICT_OPEN    (UINT32_MAX - 1)

/* The account of @slot, or NULL. */
static inline struct account *registry_account(const struct registry *registry, agent_slot slot)
{
    if (slot == 0 || slot > registry->high || !registry->accounts[slot].agent)
        return NULL;
    return &registry->accounts[slot];
}

/* @now - *seen, which moves on to @now. A counter that went back by more than half was started
 * anew; a smaller step back is another way of measuring the same, and adds nothing. */
uint64_t counter_advance(uint64_t *seen, uint64_t now);
uint64_t saturating_add(uint64_t a, uint64_t b);

/* The sum of its three RSS fields. */
uint64_t proc_rss(const struct proc_record *proc);

/* A zombie, all of whose threads are gone. */
bool proc_is_dead(const struct proc_record *proc);

/* Room for one pass over @sample. Returns 0 or -ENOMEM. */
int members_reserve(struct registry *registry, const struct sample *sample);

/* Finds the records of known members; what is left of the last pass has vanished. */
void members_match(struct registry *registry, const struct sample *sample);

/* Decides about every record that is no member yet, and adds those that are. */
void members_resolve(struct registry *registry, const struct sample *sample);

/* Remembers who is whose parent, for the next pass. */
void members_link(struct registry *registry, const struct sample *sample);

/* Frees what vanished, and tombs that nobody refers to. */
void members_sweep(struct registry *registry, const struct sample *sample);
void members_free(struct registry *registry, uint32_t member);
void members_free_agent(struct registry *registry, agent_slot slot);

/* The slot that a record's collector knows for it, where that agent is there and runs; else 0. */
agent_slot members_known_slot(const struct registry *registry, const struct proc_record *proc);

/* Accounting in the order of a pass. */
int flows_reserve(struct registry *registry);
void flows_begin(struct registry *registry);
void flows_vanished(struct registry *registry, const struct sample *sample);
void flows_update(struct registry *registry, uint32_t member, const struct proc_record *proc);
void flows_settle(struct registry *registry);
void flows_exits(struct registry *registry, const struct sample *sample);

/* Gauges of a member of this pass. */
void account_see(struct registry *registry, struct account *account, const struct member *member);

/* The account, its numbers of this pass set to zero where the pass has not touched it yet. */
struct account *account_touch(struct registry *registry, agent_slot slot);

/* Adds to @growth what the members of the first pass after a restart tell of the time before. */
void resume_growth(const struct registry *registry, const struct account *account,
    const struct sample *sample, uint64_t growth[COUNT_COUNT]);

void publish_machine(struct registry *registry, const struct sample *sample);
void publish_agents(struct registry *registry, const struct sample *sample);
void publish_gpus(struct registry *registry, const struct sample *sample);

/* PSS: what the sample brings goes to its members; a member of this pass adds to its agent; the
 * agent's sum becomes known, or unknown. */
void pss_apply(struct registry *registry, const struct sample *sample);
void pss_see(struct account *account, const struct member *member);
void pss_publish(struct account *account, const struct sample *sample);
void publish_usage(struct agent *agent);

#endif
