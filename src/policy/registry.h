/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registry: which agents there are, which processes belong to them, and what each of them uses.
 *
 * Pure: samples in, usage out. Membership is sticky: a process (pid, start_ticks) that was once
 * found below an agent's root stays its member until it exits, whoever its parent is by then;
 * its children inherit. Collectors that track membership in the kernel (PROC_KNOWN_SLOT) are
 * believed. Usage is the difference of two samples: CPU of members, of members that vanished
 * (from exit records, or from the growth of their reaper's cutime), and of children reaped
 * between two samples; a counter that went back is taken as started anew, never as negative.
 *
 * An agent added at most one second after its root started was made together with it: its root's
 * whole life counts. Otherwise it counts from the first sample that shows it. What was born into
 * an agent always counts whole. Where a kernel does not say who belongs to whom, sessions and
 * process groups help to find children that lost their parent between two samples
 * (registry_members.c). Zombies are members until they are reaped, but neither processes nor
 * alive. A value that only some members tell (I/O of another user's process is hidden) is the
 * sum over those, a lower bound; one that nobody tells is unknown.
 *
 * Slots are 1..max_agents; a slot is the index of its agent in arrays of other modules.
 * Not safe for concurrent use.
 */
#ifndef AC_POLICY_REGISTRY_H
#define AC_POLICY_REGISTRY_H

#include "base/buf.h"
#include "model/agent.h"
#include "model/sample.h"

struct registry;

/* One agent as the registry keeps it. Borrowed until the next mutating call; read only. */
struct agent {
    agent_slot slot; /* slot, state and id: together, as every look-up needs them */
    enum agent_state state;
    struct agent_spec spec;
    struct moment added;
    struct moment ended;      /* when its last process vanished, or see registry_end; zero while it
                                 runs */
    struct ac_usage measured; /* from samples; .known == 0 while there is none */
    struct ac_usage reported; /* from its runtime */
    struct ac_usage usage;    /* merged: measured field by field, reported fills the gaps */
    struct agent_totals totals;
    uint32_t processes; /* members now, without zombies */
    uint32_t threads;
    double gpu_memory_mb;      /* all devices together; NaN = unknown */
    double gpu_percent;        /* of one device: above 100 where it uses several; NaN = unknown */
    double gpu_memory_peak_mb; /* NaN = never known */
    double pss_mb;             /* shared pages in parts; NaN until all members have been read */
    double pss_age_seconds;    /* of the oldest reading in it; NaN with it */
    struct group_record group; /* its cgroup's last record; .known == 0 = none */
};

/* Returns 0 or -ENOMEM. @seed: for hashing. */
int registry_new(uint32_t max_agents, uint64_t seed, struct registry **ret_registry);
void registry_free(struct registry *registry);

/* Adds an agent. Returns 0; -EEXIST where a running agent has the id (one that exited is
 * replaced and its old slot freed first); -ENOSPC at max_agents; -ENOMEM. A spec with root_pid
 * makes that process (root_pid, root_start_ticks; 0 ticks = whatever has the pid at the next
 * sample) its first member. */
int registry_add(struct registry *registry, const struct agent_spec *spec, struct moment now,
    const struct agent **ret_agent);

/* Gives the reported-only agent @spec->id a process tree, as of now: adopted with the next sample.
 * From here on it is what @spec says, but for an owner, whom it keeps. Returns 0, -ENOENT, -EEXIST
 * (has one). */
int registry_set_root(struct registry *registry, const struct agent_spec *spec);

/* From the next sample on the process is a member of an agent that has a process tree, unless it
 * is another one's by then. Returns 0; -ENOENT; -ESRCH (the agent has no processes, or has had
 * them); -ENOSPC (too many between two samples: try again after the next); -ENOMEM. */
int registry_join(struct registry *registry, const char *id, int32_t pid, uint64_t start_ticks);

/* An agent without a process tree has exited. Returns 0; -ENOENT; -EBUSY (has a tree). */
int registry_end(struct registry *registry, const char *id, struct moment now);

/* Returns 0 or -ENOENT. The slot may be given out again afterwards. */
int registry_remove(struct registry *registry, const char *id);

/* NULL where there is none. */
const struct agent *registry_get(const struct registry *registry, const char *id);
const struct agent *registry_at(const struct registry *registry, agent_slot slot);
uint32_t registry_count(const struct registry *registry);

/* All agents in the order of their slots: start with *cursor = 0; NULL at the end. */
const struct agent *registry_next(const struct registry *registry, agent_slot *cursor);

/* Reported usage. Peaks of what is not measured go into the totals (cpu_peak_percent without
 * TOTALS_KNOWN_CPU, which speaks of cpu_ns). Returns 0, -ENOENT, or -EINVAL (@id), -ENOSPC /
 * -ENOMEM where @create adds a missing agent (spec of defaults). This is the hot path: about 20 ns.
 */
int registry_report(struct registry *registry, const char *id, const struct ac_usage *usage,
    struct moment now, bool create, const struct agent **ret_agent);

/* The largest of what was known of a restored agent's run before: goes into the totals as reported
 * peaks do. Before its first sample. Returns 0 or -ENOENT. */
int registry_raise_peaks(struct registry *registry, const char *id, const struct ac_usage *peaks);

/* Totals across a restart. What save appends to @out, with @boot_ns (CLOCK_BOOTTIME) as of now, is
 * taken by the registry of the next start, after its agents were added and before its first sample
 * of them: totals go on for those with the same id that were added at the same time. What was used
 * in between is added with that sample as far as it can be told, and nothing twice. Returns 0;
 * -ENOMEM; -EINVAL where the bytes are not such (agents in front of the damage go on). */
int registry_save_totals(const struct registry *registry, uint64_t boot_ns, struct buf *out);
int registry_resume_totals(struct registry *registry, const void *bytes, size_t size);

/* What one sample changed. Arrays are the registry's, valid until the next sample. */
struct registry_changes {
    const agent_slot *exited; /* agents whose last process vanished */
    size_t n_exited;
    const agent_slot *orphaned; /* agents whose root vanished while others live */
    size_t n_orphaned;
};

/* One pass: membership, usage, totals and the machine's usage. Returns 0 or -ENOMEM (the sample
 * is then dropped whole; the next one covers its time). */
int registry_apply(
    struct registry *registry, const struct sample *sample, struct registry_changes *ret_changes);

/* The machine's usage from the last two samples (after one: CPU is the mean since boot, rates
 * are unknown), and its last record. */
const struct ac_usage *registry_machine_usage(const struct registry *registry);
const struct machine_record *registry_machine(const struct registry *registry);

/* The members of an agent in the last sample. Returns how many there are; fills up to @capacity. */
size_t registry_members(const struct registry *registry, agent_slot slot,
    struct proc_record *ret_procs, size_t capacity);

/* The members whose PSS should be read next, the most urgent first: those whose RSS changed most
 * since their last reading; every fourth reading goes to the oldest one, or to a process without
 * any, so that none is forgotten. What did not change is read again after 10 s. Returns how many
 * there are, at most @capacity and PSS_WANTS_MAX. */
#define PSS_WANTS_MAX 64
size_t registry_pss_wants(
    const struct registry *registry, struct pss_want *ret_wants, size_t capacity);

/* The slot a process belongs to, or is about to as an agent's root; 0 = none. @start_ticks 0 =
 * whichever process has the pid. So a collector's filter finds the members of the last sample by
 * (pid, start_ticks), and their new children by (ppid, 0). */
agent_slot registry_slot_of(const struct registry *registry, int32_t pid, uint64_t start_ticks);

#endif
