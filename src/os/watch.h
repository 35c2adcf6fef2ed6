/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must not wait for the tick, for any collector: the cgroups of agents (their files, OOM
 * kills, limits hit, memory pressure), the ends of agents' first processes, and looks at the
 * memory of what grows, up to ten times a second.
 *
 * Looks stay below one percent of a core: after a costly one the next is put off.
 */
#ifndef AC_OS_WATCH_H
#define AC_OS_WATCH_H

#include <stdbool.h>

#include "base/clock.h"
#include "model/sample.h"

struct watch;

/* Ends of further first processes, or beyond an eighth of the descriptors that the process may
 * have, are seen at the tick. */
#define WATCH_ROOTS_MAX 4096

int watch_new(uint32_t max_slot, struct watch **ret_watch);
void watch_free(struct watch *watch);

/* Watches the cgroup @dir_fd (borrowed) for @slot, in place of one watched before. Returns 0;
 * -ERANGE; -ENOMEM; -ENOSPC where groups hold a quarter of the descriptors that the process may
 * have; -errno where it is no cgroup v2 directory. */
int watch_group(struct watch *watch, agent_slot slot, int dir_fd);

/* Wakes when @pid ends. Returns 0; -ESRCH; -ENOSPC; -errno. */
int watch_root(struct watch *watch, agent_slot slot, int32_t pid);

void watch_release(struct watch *watch, agent_slot slot);

/* Reads all groups. A group that is gone is left out and released. The records are the watch's,
 * until the next call. Returns their number. */
size_t watch_read(struct watch *watch, struct group_record **ret_records);

/* The directory of a slot's group, -1 = none; and its id. Borrowed. */
int watch_group_dir_fd(const struct watch *watch, agent_slot slot);

/* Readable when watch_handle has something to do. */
int watch_fd(const struct watch *watch);

/* Returns 1 where a sample should be taken now, else 0: also where one was just taken (by
 * watch_read); then the descriptor becomes readable when the next should be, within 100 ms. */
int watch_handle(struct watch *watch);

/* How soon an event wants a sample: when it is its turn; now. */
enum watch_urgency { WATCH_NONE, WATCH_TURN, WATCH_NOW };

struct watch_pace {
    struct mono sampled; /* last; 0 = never */
    struct mono hurried; /* when a sample was last wanted out of its turn; 0 = never */
};

/* Whether a sample is to be taken now; else, where one is wanted, in how long. For tests. */
bool watch_pace_due(
    struct watch_pace *pace, enum watch_urgency urgency, struct mono now, uint64_t *ret_wait_ns);

/* ---- Looks */

/* Called at each look, besides the look at groups. It may end looking by itself: see below. */
typedef void (*watch_look)(void *userdata);
void watch_set_look(struct watch *watch, watch_look look, void *userdata);

/* Whether there is something beside groups to look at; asked for by the collector at a sample. */
void watch_want_looks(struct watch *watch, bool wanted);

/* Minimum, mean and maximum of a gauge by looks, and whether it grows. */
struct watch_gauge {
    uint64_t last;
    uint64_t minimum;
    uint64_t maximum;
    uint64_t sum;
    uint32_t looks;
    uint32_t calm; /* samples since it grew last */
    bool growing;
};

/* A look; at a sample: the gauge as the sample shows it, before range is taken and begun anew. */
void watch_gauge_look(struct watch_gauge *gauge, uint64_t value);
void watch_gauge_sample(struct watch_gauge *gauge, uint64_t value);
void watch_gauge_begin(struct watch_gauge *gauge);

#endif
