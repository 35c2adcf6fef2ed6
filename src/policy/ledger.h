/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledger: who was promised what. Integers only, sums kept up to date, so that an answer takes
 * well under a microsecond and two allocations in one instant never promise the same megabyte.
 *
 *     available = capacity - sum over agents of max(reserved, used) - use by all unmanaged
 *     allocated = min(predicted, 0.8 x available), capped by the agent's own maxima
 *
 * CPU is in thousandths of a percent of capacity, memory in bytes. Pure; not safe for
 * concurrent use.
 */
#ifndef AC_POLICY_LEDGER_H
#define AC_POLICY_LEDGER_H

#include "base/clock.h"
#include "model/agent.h"

struct ledger;

struct ledger_options {
    uint32_t max_reservations;
    uint32_t max_queue;
    uint64_t id_seed;
    uint64_t reservation_ttl_ns; /* of a reservation whose agent never appears; 0 = for ever */
    double headroom;             /* 0.8: the part of what is available that may be given away */
};

int ledger_new(const struct ledger_options *options, struct ledger **ret_ledger);
void ledger_free(struct ledger *ledger);

/* Once per tick: capacity, and the machine's whole use (unknown CPU counts as none, and the
 * explanation says so) of which @managed is by agents. */
struct ledger_machine {
    double capacity_cores;
    uint64_t capacity_memory_bytes;
    double used_cpu_percent; /* NaN = unknown */
    uint64_t used_memory_bytes;
    double managed_cpu_percent;
    uint64_t managed_memory_bytes;
};
void ledger_set_machine(struct ledger *ledger, const struct ledger_machine *machine);

/* What an agent uses now (measured or reported); makes a reservation of it permanent, that is
 * without time limit. Any agent may be set, with a reservation or without. 0 or -ENOMEM. */
int ledger_set_used(
    struct ledger *ledger, const char *agent_id, double cpu_percent, uint64_t memory_bytes);

struct ledger_request {
    const char *agent_id;
    enum ac_allocation_policy policy;
    struct ac_prediction predicted;
    struct agent_limits limits;
};

/* Answers at once; the status says how. A second request of one agent replaces its first.
 * Returns 0, -EINVAL, -ENOSPC (table or queue full), -ENOMEM. */
int ledger_request(struct ledger *ledger, const struct ledger_request *request, struct moment now,
    struct ac_allocation *ret_allocation);

/* Gives the reservation or place in the queue back, and forgets the agent's use. Returns 0 or
 * -ENOENT. */
int ledger_release(struct ledger *ledger, const char *agent_id);

/* Drops reservations that ran out and grants queued requests in order of arrival while the
 * first one fits. Calls @sink for each (status granted, or refused for an expired one).
 * Returns their number. */
int ledger_pump(struct ledger *ledger, struct moment now,
    void (*sink)(void *userdata, const struct ac_allocation *allocation), void *userdata);

/* What is free to give away now (before headroom). */
void ledger_available(
    const struct ledger *ledger, double *ret_cpu_percent, uint64_t *ret_memory_bytes);

/* By agent or allocation id; NULL where there is none. Iteration: *cursor = 0 first. Borrowed. */
const struct ac_allocation *ledger_get(const struct ledger *ledger, const char *id);
const struct ac_allocation *ledger_next(const struct ledger *ledger, size_t *cursor);

/* Puts a reservation back after a restart. Returns 0, -ENOSPC, -ENOMEM. */
int ledger_restore(
    struct ledger *ledger, const struct ac_allocation *allocation, struct moment now);

#endif
