/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledger: who was promised what. Integers only, sums kept up to date, so that an answer takes
 * about a microsecond (most of it for writing the explanation) however many agents there are, and
 * two allocations in one instant never promise the same megabyte.
 *
 *     available = capacity - sum over agents of max(reserved, used) - use by all unmanaged
 *     use by all unmanaged = the machine's use - sum over agents of used, at least 0
 *     allocated = min(predicted, 0.8 x available), capped by the agent's own maxima
 *
 * What an agent itself holds does not count against its own request. Requests that wait reserve
 * nothing; recommend and strict requests do not wait behind them.
 *
 * CPU is in thousandths of a percent of capacity, memory in bytes. Pure; not safe for
 * concurrent use. Sinks must not call the ledger.
 */
#ifndef AC_POLICY_LEDGER_H
#define AC_POLICY_LEDGER_H

#include "base/clock.h"
#include "model/agent.h"
#include "policy/quota.h"

struct ledger;

struct ledger_options {
    uint32_t max_reservations;
    uint32_t max_queue;
    struct quota_users users;    /* of the queue */
    uint64_t seed;               /* of maps: a secret */
    uint64_t id_seed;            /* makes allocation ids of different runs differ */
    uint64_t reservation_ttl_ns; /* of a reservation whose agent never appears; 0 = for ever */
    double headroom;             /* 0.8: the part of what is available that may be given away */
};

/* Returns 0, -EINVAL for a headroom outside (0, 1], -ENOMEM. */
int ledger_new(const struct ledger_options *options, struct ledger **ret_ledger);
void ledger_free(struct ledger *ledger);

/* Another headroom and time limit, for what is asked or takes effect from now on. Returns 0 or
 * -EINVAL. */
int ledger_set_options(struct ledger *ledger, double headroom, uint64_t reservation_ttl_ns);

#define LEDGER_UNKNOWN_BYTES UINT64_MAX

/* Once per tick: capacity, and the machine's whole use (what is unknown counts as none, and the
 * explanation says so; strict and queue promise nothing while memory is unknown). */
struct ledger_machine {
    double capacity_cores;
    uint64_t capacity_memory_bytes;
    double used_cpu_percent;    /* NaN = unknown */
    uint64_t used_memory_bytes; /* or LEDGER_UNKNOWN_BYTES */
};
void ledger_set_machine(struct ledger *ledger, const struct ledger_machine *machine);

/* What an agent uses now (measured or reported); makes a reservation of it permanent, that is
 * without time limit. Any agent may be set, with a reservation or without: how many there are is
 * the caller's to cap. NaN CPU counts as none. Returns 0 or -ENOMEM. */
int ledger_set_used(
    struct ledger *ledger, const char *agent_id, double cpu_percent, uint64_t memory_bytes);

struct ledger_request {
    const char *agent_id;
    uint32_t owner_uid; /* UINT32_MAX = not known */
    enum ac_allocation_policy policy;
    struct ac_prediction predicted;
    struct agent_limits limits;
};

/* Answers at once; the status says how. A second request of one agent replaces its first (one
 * that waits keeps its place), unless it is refused, which changes nothing.
 *
 *     recommend  granted, with what there is
 *     strict     refused where min(predicted, own maximum) is more than headroom x available
 *     queue      granted where it fits and nobody waits, else queued; refused where it would not
 *                even fit the empty machine
 *
 * cpu_percent and memory_mb are what is reserved; of a queued one what it waits for; 0 of a
 * refused one. A refused one is not kept. Returns 0, -EINVAL, -ENOSPC (table or queue full, or the
 * owner's share of the queue), -ENOMEM; nothing is changed on failure. */
int ledger_request(struct ledger *ledger, const struct ledger_request *request, struct moment now,
    struct ac_allocation *ret_allocation);

/* Gives the reservation or place in the queue back, and forgets the agent's use. Returns 0 or
 * -ENOENT. */
int ledger_release(struct ledger *ledger, const char *agent_id);

/* Drops reservations that ran out and grants queued requests in order of arrival while the
 * first one fits; one that no longer could fit the empty machine is refused. Calls @sink for each
 * (status granted or refused). Returns their number. */
int ledger_pump(struct ledger *ledger, struct moment now,
    void (*sink)(void *userdata, const struct ac_allocation *allocation), void *userdata);

/* What is free to give away now (before headroom). */
void ledger_available(
    const struct ledger *ledger, double *ret_cpu_percent, uint64_t *ret_memory_bytes);

/* What is reserved or waits, by agent id or, where no agent of that name has anything, allocation
 * id; NULL where there is none. Iteration in no order: *cursor = 0 first. Borrowed until the next
 * mutating call. */
const struct ac_allocation *ledger_get(const struct ledger *ledger, const char *id);
const struct ac_allocation *ledger_next(const struct ledger *ledger, size_t *cursor);

/* Whose that is; UINT32_MAX where there is none, or it is not known. */
uint32_t ledger_owner(const struct ledger *ledger, const char *id);

/* Puts a reservation, or a place in the queue, back after a restart. A reservation without a time
 * limit gets reservation_ttl_ns again, until its agent appears. Returns 0, -EINVAL (refused, or
 * there already), -ENOSPC, -ENOMEM. */
int ledger_restore(struct ledger *ledger, const struct ac_allocation *allocation,
    uint32_t owner_uid, struct moment now);

#endif
