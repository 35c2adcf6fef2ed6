/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ledger's files share: ledger_books.c keeps entries, lists and sums, ledger.c answers
 * requests, ledger_restore.c puts back what was stored.
 *
 * One entry per agent that has a reservation, waits, or uses something; the sum of what all of
 * them hold (each the larger of reserved and used) is kept with every change. A reservation is in
 * one list at most: the queue while it waits, or the temporary ones (in the order in which they
 * run out) until its agent appears.
 */
#ifndef AC_POLICY_LEDGER_INTERNAL_H
#define AC_POLICY_LEDGER_INTERNAL_H

#include <math.h>

#include "base/map.h"
#include "base/mem.h"
#include "model/usage.h"
#include "policy/id.h"
#include "policy/ledger.h"

/* Larger values are taken for these: a hostile report must not make a conversion undefined. */
#define MILLIPERCENT_MAX 1e9
#define BYTES_MAX        9007199254740992.0 /* 2^53 */

/* CPU in thousandths of a percent of capacity, memory in bytes. */
struct share {
    int64_t cpu;
    int64_t memory;
};

struct total {
    __int128 cpu;
    __int128 memory;
};

struct entry;

struct reservation {
    struct ac_allocation allocation;
    struct ac_prediction predicted;
    struct agent_limits limits;
    uint32_t owner_uid;
    struct entry *entry;
    uint64_t deadline_ns;          /* mono, while temporary */
    struct reservation_list *list; /* which it is in; NULL = none */
    struct reservation *previous, *next;
};

struct reservation_list {
    struct reservation *first, *last;
    uint32_t count;
};

struct entry {
    struct share reserved;
    struct share used;
    struct reservation *reservation;
    bool seen; /* its use was set: the agent is there */
    char id[];
};

struct ledger {
    struct ledger_options options;
    struct strmap *by_agent; /* of entry */
    struct strmap *by_id;    /* of entry, by its reservation's id */
    struct id_source ids;
    struct reservation_list queue;
    struct reservation_list temporary;
    struct total held; /* sum over entries of max(reserved, used) */
    struct total used; /* sum over entries of used */
    double capacity_cores;
    struct share capacity;
    struct share machine_used;
    bool cpu_unknown;
    bool memory_unknown;
};

/* ---- Units */

static inline int64_t to_millipercent(double percent)
{
    return percent > 0 ? llround(MIN(percent * 1000, MILLIPERCENT_MAX)) : 0;
}

static inline double to_percent(int64_t millipercent)
{
    return (double)millipercent / 1000;
}

static inline int64_t to_bytes(double mib)
{
    return mib > 0 ? llround(MIN(mib * USAGE_MIB, BYTES_MAX)) : 0;
}

static inline double to_mib(int64_t bytes)
{
    return (double)bytes / USAGE_MIB;
}

static inline int64_t clamp_bytes(uint64_t bytes)
{
    return (int64_t)MIN(bytes, (uint64_t)BYTES_MAX);
}

static inline struct share share_part(struct share of, double part)
{
    return (struct share){(int64_t)((double)of.cpu * part), (int64_t)((double)of.memory * part)};
}

static inline struct share share_min(struct share a, struct share b)
{
    return (struct share){MIN(a.cpu, b.cpu), MIN(a.memory, b.memory)};
}

static inline struct share share_max(struct share a, struct share b)
{
    return (struct share){MAX(a.cpu, b.cpu), MAX(a.memory, b.memory)};
}

static inline bool share_fits(struct share wanted, struct share room)
{
    return wanted.cpu <= room.cpu && wanted.memory <= room.memory;
}

/* ---- Books */

/* Puts a reservation behind @after, or first where that is NULL. */
void ledger_list_insert(
    struct reservation_list *list, struct reservation *after, struct reservation *reservation);
void ledger_list_remove(struct reservation *reservation);

/* Counts the places of the queue anew from @from (may be NULL) to its end. */
void ledger_queue_number(struct reservation *from);

/* The one way to change what an entry holds. */
void ledger_set_shares(
    struct ledger *ledger, struct entry *entry, struct share reserved, struct share used);

/* What is free; for @entry (may be NULL) what itself holds counts as free. */
struct share ledger_available_to(const struct ledger *ledger, const struct entry *entry);

/* The entry of an agent, made where there is none. Returns 0 or -ENOMEM. */
int ledger_entry_get(struct ledger *ledger, const char *agent_id, struct entry **ret_entry);

/* Takes an entry's reservation away and returns it; the caller frees it. NULL where none is. */
struct reservation *ledger_entry_detach(struct ledger *ledger, struct entry *entry);

/* Frees an entry that neither holds nor uses anything. */
void ledger_entry_drop_unused(struct ledger *ledger, struct entry *entry);

/* Puts @reservation (owned on success) in place of its agent's present one. It is granted or
 * queued already in its fields; where it waits it takes the place of the present one, if that
 * waits too, else the last. Returns 0 or -ENOMEM. */
int ledger_attach(struct ledger *ledger, struct reservation *reservation);

/* ---- Answers */

/* Whether a value is finite and not negative. */
bool ledger_amount_valid(double value);

/* Returns 0, or -ENOSPC where the table or the queue is full. @entry may be NULL. */
int ledger_check_room(
    const struct ledger *ledger, const struct entry *entry, enum ac_allocation_status status);

/* Makes the granted shares count, from now on until the time limit (0 = none) or the agent's
 * end. */
void ledger_take_effect(
    struct ledger *ledger, struct reservation *reservation, struct moment now, uint64_t ttl_ns);

#endif
