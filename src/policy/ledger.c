/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry per agent that has a reservation, waits, or uses something; the sum of what all of
 * them hold (each the larger of reserved and used) is kept with every change. A reservation is in
 * one list at most: the queue while it waits, or the temporary ones (in the order in which they
 * run out) until its agent appears.
 */
#include "policy/ledger.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "model/usage.h"
#include "policy/id.h"
#include "policy/ledger_explain.h"

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
    struct entry *entry;
    uint64_t deadline_ns; /* mono, while temporary */
    struct list *list;    /* which it is in; NULL = none */
    struct reservation *previous, *next;
};

struct list {
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
    struct list queue;
    struct list temporary;
    struct total held; /* sum over entries of max(reserved, used) */
    double capacity_cores;
    struct share capacity;
    struct share unmanaged;
    bool cpu_unknown;
};

/* ---- Units */

static int64_t to_millipercent(double percent)
{
    return percent > 0 ? llround(MIN(percent * 1000, MILLIPERCENT_MAX)) : 0;
}

static double to_percent(int64_t millipercent)
{
    return (double)millipercent / 1000;
}

static int64_t to_bytes(double mib)
{
    return mib > 0 ? llround(MIN(mib * USAGE_MIB, BYTES_MAX)) : 0;
}

static double to_mib(int64_t bytes)
{
    return (double)bytes / USAGE_MIB;
}

static int64_t clamp_bytes(uint64_t bytes)
{
    return (int64_t)MIN(bytes, (uint64_t)BYTES_MAX);
}

static struct share share_part(struct share of, double part)
{
    return (struct share){(int64_t)((double)of.cpu * part), (int64_t)((double)of.memory * part)};
}

static struct share share_min(struct share a, struct share b)
{
    return (struct share){MIN(a.cpu, b.cpu), MIN(a.memory, b.memory)};
}

static struct share share_max(struct share a, struct share b)
{
    return (struct share){MAX(a.cpu, b.cpu), MAX(a.memory, b.memory)};
}

static bool share_fits(struct share wanted, struct share room)
{
    return wanted.cpu <= room.cpu && wanted.memory <= room.memory;
}

/* ---- Lists */

static void list_insert(
    struct list *list, struct reservation *after, struct reservation *reservation)
{
    reservation->list = list;
    reservation->previous = after;
    reservation->next = after ? after->next : list->first;
    *(reservation->next ? &reservation->next->previous : &list->last) = reservation;
    *(after ? &after->next : &list->first) = reservation;
    list->count++;
}

static void list_remove(struct reservation *reservation)
{
    struct list *list = reservation->list;
    if (!list)
        return;
    *(reservation->previous ? &reservation->previous->next : &list->first) = reservation->next;
    *(reservation->next ? &reservation->next->previous : &list->last) = reservation->previous;
    list->count--;
    reservation->list = NULL;
    reservation->previous = reservation->next = NULL;
}

static void queue_number(struct reservation *from)
{
    for (; from; from = from->next)
        from->allocation.queue_position =
            from->previous ? from->previous->allocation.queue_position + 1 : 1;
}

/* Takes a reservation out of its list; those behind it in the queue move up. */
static void reservation_unlink(struct ledger *ledger, struct reservation *reservation)
{
    struct reservation *behind = reservation->list == &ledger->queue ? reservation->next : NULL;
    list_remove(reservation);
    queue_number(behind);
}

/* ---- Sums */

static struct share held_by(const struct entry *entry)
{
    return share_max(entry->reserved, entry->used);
}

static void set_shares(
    struct ledger *ledger, struct entry *entry, struct share reserved, struct share used)
{
    struct share before = held_by(entry);
    entry->reserved = reserved;
    entry->used = used;
    struct share after = held_by(entry);
    ledger->held.cpu += after.cpu - before.cpu;
    ledger->held.memory += after.memory - before.memory;
}

/* What is free; for @entry (may be NULL) what itself holds counts as free. */
static struct share available_to(const struct ledger *ledger, const struct entry *entry)
{
    struct share own = entry ? held_by(entry) : (struct share){0, 0};
    __int128 cpu =
        (__int128)ledger->capacity.cpu - ledger->unmanaged.cpu - ledger->held.cpu + own.cpu;
    __int128 memory = (__int128)ledger->capacity.memory - ledger->unmanaged.memory -
                      ledger->held.memory + own.memory;
    return (struct share){cpu > 0 ? (int64_t)cpu : 0, memory > 0 ? (int64_t)memory : 0};
}

void ledger_available(
    const struct ledger *ledger, double *ret_cpu_percent, uint64_t *ret_memory_bytes)
{
    struct share available = available_to(ledger, NULL);
    *ret_cpu_percent = to_percent(available.cpu);
    *ret_memory_bytes = (uint64_t)available.memory;
}

void ledger_set_machine(struct ledger *ledger, const struct ledger_machine *machine)
{
    uint64_t used = machine->used_memory_bytes, managed = machine->managed_memory_bytes;
    double cpu = machine->used_cpu_percent - machine->managed_cpu_percent;
    ledger->capacity_cores = machine->capacity_cores;
    ledger->capacity.cpu = to_millipercent(100);
    ledger->capacity.memory = clamp_bytes(machine->capacity_memory_bytes);
    ledger->cpu_unknown = isnan(machine->used_cpu_percent);
    ledger->unmanaged.cpu = to_millipercent(cpu); /* 0 for NaN and below 0 */
    ledger->unmanaged.memory = used > managed ? clamp_bytes(used - managed) : 0;
}

/* ---- Entries */

static void ledger_freep(struct ledger **ledger)
{
    ledger_free(*ledger);
}

int ledger_new(const struct ledger_options *options, struct ledger **ret_ledger)
{
    if (!isfinite(options->headroom) || options->headroom <= 0 || options->headroom > 1)
        return -EINVAL;
    struct ledger *ledger CLEANUP(ledger_freep) = mem_alloc(sizeof(*ledger));
    if (!ledger)
        return -ENOMEM;
    ledger->options = *options;
    int r = strmap_new(options->id_seed, &ledger->by_agent);
    if (r == 0)
        r = strmap_new(options->id_seed, &ledger->by_id);
    if (r < 0)
        return r;
    id_source_init(&ledger->ids, "alloc", options->id_seed);
    *ret_ledger = TAKE_PTR(ledger);
    return 0;
}

void ledger_free(struct ledger *ledger)
{
    if (!ledger)
        return;
    struct entry *entry;
    for (size_t cursor = 0; ledger->by_agent && (entry = strmap_next(ledger->by_agent, &cursor));) {
        mem_free(entry->reservation);
        mem_free(entry);
    }
    strmap_free(ledger->by_agent);
    strmap_free(ledger->by_id);
    mem_free(ledger);
}

/* The entry of an agent, made where there is none. */
static int entry_get(struct ledger *ledger, const char *agent_id, struct entry **ret_entry)
{
    struct entry *found = strmap_get(ledger->by_agent, agent_id);
    if (found) {
        *ret_entry = found;
        return 0;
    }
    size_t size = strlen(agent_id) + 1;
    struct entry *entry cleanup_free = mem_alloc(sizeof(*entry) + size);
    if (!entry)
        return -ENOMEM;
    memcpy(entry->id, agent_id, size);
    int r = strmap_put(ledger->by_agent, entry->id, entry);
    if (r < 0)
        return r;
    *ret_entry = TAKE_PTR(entry);
    return 0;
}

/* Takes an entry's reservation away and returns it; the caller frees it. */
static struct reservation *entry_detach(struct ledger *ledger, struct entry *entry)
{
    struct reservation *reservation = TAKE_PTR(entry->reservation);
    if (!reservation)
        return NULL;
    reservation_unlink(ledger, reservation);
    strmap_remove(ledger->by_id, reservation->allocation.allocation_id);
    set_shares(ledger, entry, (struct share){0, 0}, entry->used);
    return reservation;
}

/* Frees an entry that neither holds nor uses anything. */
static void entry_drop_unused(struct ledger *ledger, struct entry *entry)
{
    if (entry->reservation || entry->seen)
        return;
    strmap_remove(ledger->by_agent, entry->id);
    mem_free(entry);
}

/* Puts @reservation (owned on success) in place of the entry's present one. It is granted or
 * queued already in its fields; where it waits it takes the place of the present one, if that
 * waits too, else the last. */
static int entry_attach(struct ledger *ledger, struct entry *entry, struct reservation *reservation)
{
    int r = strmap_put(ledger->by_id, reservation->allocation.allocation_id, entry);
    if (r < 0)
        return r;
    struct reservation *after = ledger->queue.last;
    if (entry->reservation && entry->reservation->list == &ledger->queue)
        after = entry->reservation->previous;
    mem_free(entry_detach(ledger, entry));
    entry->reservation = reservation;
    reservation->entry = entry;
    if (reservation->allocation.status == AC_ALLOCATION_QUEUED) {
        list_insert(&ledger->queue, after, reservation);
        queue_number(reservation);
    }
    return 0;
}

int ledger_set_used(
    struct ledger *ledger, const char *agent_id, double cpu_percent, uint64_t memory_bytes)
{
    struct entry *entry;
    int r = entry_get(ledger, agent_id, &entry);
    if (r < 0)
        return r;
    struct share used = {to_millipercent(cpu_percent), clamp_bytes(memory_bytes)};
    set_shares(ledger, entry, entry->reserved, used);
    entry->seen = true;
    if (entry->reservation && entry->reservation->list == &ledger->temporary) {
        list_remove(entry->reservation);
        entry->reservation->allocation.expires_ns = 0;
    }
    return 0;
}

int ledger_release(struct ledger *ledger, const char *agent_id)
{
    struct entry *entry = strmap_get(ledger->by_agent, agent_id);
    if (!entry)
        return -ENOENT;
    mem_free(entry_detach(ledger, entry));
    set_shares(ledger, entry, (struct share){0, 0}, (struct share){0, 0});
    entry->seen = false;
    entry_drop_unused(ledger, entry);
    return 0;
}

/* ---- Answers */

/* Min(predicted, own maximum). The own CPU maximum counts once the machine's size is known. */
static struct share wanted_by(const struct ledger *ledger, const struct reservation *reservation)
{
    const struct ac_prediction *predicted = &reservation->predicted;
    const struct agent_limits *limits = &reservation->limits;
    double cpu = predicted->cpu_percent, memory = predicted->memory_mb;
    if (limits->max_cpu_cores > 0 && ledger->capacity_cores > 0)
        cpu = MIN(cpu, limits->max_cpu_cores / ledger->capacity_cores * 100);
    if (limits->max_memory_mb > 0)
        memory = MIN(memory, limits->max_memory_mb);
    return (struct share){to_millipercent(cpu), to_bytes(memory)};
}

/* Whether not even the empty machine could give it. Not said before the machine is known. */
static bool never_fits(const struct ledger *ledger, struct share wanted)
{
    return ledger->capacity.memory > 0 &&
           !share_fits(wanted, share_part(ledger->capacity, ledger->options.headroom));
}

static void fill_available(
    const struct ledger *ledger, struct share available, struct ac_allocation *allocation)
{
    allocation->available_cpu_percent = to_percent(available.cpu);
    allocation->available_memory_mb = to_mib(available.memory);
    allocation->available_memory_percent =
        ledger->capacity.memory > 0
            ? (double)available.memory / (double)ledger->capacity.memory * 100
            : 0;
}

/* Writes the answer into the reservation: status and shares are decided. */
static void fill_answer(const struct ledger *ledger, struct reservation *reservation,
    enum ac_allocation_status status, struct share wanted, struct share given,
    struct share available)
{
    struct ac_allocation *allocation = &reservation->allocation;
    struct share most = share_part(ledger->capacity, ledger->options.headroom);
    allocation->status = status;
    allocation->cpu_percent = to_percent(given.cpu);
    allocation->memory_mb = to_mib(given.memory);
    allocation->queue_position = 0;
    allocation->expires_ns = 0;
    fill_available(ledger, available, allocation);
    const struct ledger_case of = {
        .predicted = reservation->predicted,
        .want_cpu_percent = to_percent(wanted.cpu),
        .want_memory_mb = to_mib(wanted.memory),
        .own_cpu = wanted.cpu < to_millipercent(reservation->predicted.cpu_percent),
        .own_memory = wanted.memory < to_bytes(reservation->predicted.memory_mb),
        .cpu_unknown = ledger->cpu_unknown,
        .never = never_fits(ledger, wanted),
        .headroom = ledger->options.headroom,
        .most_cpu_percent = to_percent(most.cpu),
        .most_memory_mb = to_mib(most.memory),
    };
    ledger_explain(&of, allocation);
}

/* Judges a request by what is free to @entry (NULL: an agent not known yet). */
static void judge(
    const struct ledger *ledger, const struct entry *entry, struct reservation *reservation)
{
    const enum ac_allocation_policy policy = reservation->allocation.policy;
    const struct entry *ahead = ledger->queue.first ? ledger->queue.first->entry : NULL;
    struct share available = available_to(ledger, entry);
    struct share room = share_part(available, ledger->options.headroom);
    struct share wanted = wanted_by(ledger, reservation);
    struct share given = share_min(wanted, room);
    enum ac_allocation_status status = AC_ALLOCATION_GRANTED;
    if (policy == AC_POLICY_STRICT && !share_fits(wanted, room))
        status = AC_ALLOCATION_REFUSED;
    else if (policy == AC_POLICY_QUEUE && never_fits(ledger, wanted))
        status = AC_ALLOCATION_REFUSED;
    else if (policy == AC_POLICY_QUEUE && (!share_fits(wanted, room) || (ahead && ahead != entry)))
        status = AC_ALLOCATION_QUEUED;
    if (status == AC_ALLOCATION_REFUSED)
        given = (struct share){0, 0};
    else if (status == AC_ALLOCATION_QUEUED)
        given = wanted;
    fill_answer(ledger, reservation, status, wanted, given, available);
}

/* Makes the granted shares count, from now on until the time limit or the agent's end. */
static void take_effect(
    struct ledger *ledger, struct reservation *reservation, struct moment now, uint64_t ttl_ns)
{
    struct ac_allocation *allocation = &reservation->allocation;
    struct entry *entry = reservation->entry;
    struct share given = {
        to_millipercent(allocation->cpu_percent), to_bytes(allocation->memory_mb)};
    set_shares(ledger, entry, given, entry->used);
    if (ttl_ns == 0 || entry->seen)
        return;
    allocation->expires_ns = now.wall_ns + (int64_t)ttl_ns;
    reservation->deadline_ns = now.mono.ns + ttl_ns;
    struct reservation *after = ledger->temporary.last;
    while (after && after->deadline_ns > reservation->deadline_ns)
        after = after->previous;
    list_insert(&ledger->temporary, after, reservation);
}

static bool amount_valid(double value)
{
    return isfinite(value) && value >= 0;
}

static int check_request(const struct ledger_request *request)
{
    const struct ac_prediction *predicted = &request->predicted;
    if (!ac_agent_id_valid(request->agent_id) || (unsigned)request->policy > AC_POLICY_QUEUE ||
        !amount_valid(predicted->cpu_percent) || !amount_valid(predicted->memory_mb) ||
        !amount_valid(predicted->execution_time_seconds) ||
        !amount_valid(request->limits.max_cpu_cores) ||
        !amount_valid(request->limits.max_memory_mb))
        return -EINVAL;
    return 0;
}

static int check_room(
    const struct ledger *ledger, const struct entry *entry, enum ac_allocation_status status)
{
    const struct reservation *present = entry ? entry->reservation : NULL;
    bool waits = present && present->list == &ledger->queue;
    if (!present && strmap_count(ledger->by_id) >= ledger->options.max_reservations)
        return -ENOSPC;
    if (status == AC_ALLOCATION_QUEUED && !waits &&
        ledger->queue.count >= ledger->options.max_queue)
        return -ENOSPC;
    return 0;
}

static struct reservation *reservation_new(
    struct ledger *ledger, const struct ledger_request *request, struct moment now)
{
    struct reservation *reservation = mem_alloc(sizeof(*reservation));
    if (!reservation)
        return NULL;
    struct ac_allocation *allocation = &reservation->allocation;
    reservation->predicted = request->predicted;
    reservation->limits = request->limits;
    allocation->policy = request->policy;
    allocation->execution_time_seconds = request->predicted.execution_time_seconds;
    allocation->confidence = request->predicted.confidence;
    allocation->created_ns = now.wall_ns;
    memcpy(allocation->agent_id, request->agent_id, strlen(request->agent_id) + 1);
    id_next(&ledger->ids, allocation->allocation_id);
    return reservation;
}

int ledger_request(struct ledger *ledger, const struct ledger_request *request, struct moment now,
    struct ac_allocation *ret_allocation)
{
    int r = check_request(request);
    if (r < 0)
        return r;
    struct reservation *reservation cleanup_free = reservation_new(ledger, request, now);
    if (!reservation)
        return -ENOMEM;
    struct entry *entry = strmap_get(ledger->by_agent, request->agent_id);
    judge(ledger, entry, reservation);
    if (reservation->allocation.status == AC_ALLOCATION_REFUSED) {
        *ret_allocation = reservation->allocation;
        return 0;
    }
    r = check_room(ledger, entry, reservation->allocation.status);
    if (r == 0)
        r = entry_get(ledger, request->agent_id, &entry);
    if (r < 0)
        return r;
    r = entry_attach(ledger, entry, reservation);
    if (r < 0) {
        entry_drop_unused(ledger, entry);
        return r;
    }
    if (reservation->allocation.status == AC_ALLOCATION_GRANTED)
        take_effect(ledger, reservation, now, ledger->options.reservation_ttl_ns);
    *ret_allocation = TAKE_PTR(reservation)->allocation;
    return 0;
}

/* ---- Time passing */

typedef void (*ledger_sink)(void *userdata, const struct ac_allocation *allocation);

/* Ends a reservation with a refusal that says why. */
static void refuse(struct ledger *ledger, struct entry *entry, ledger_sink sink, void *userdata)
{
    struct reservation *reservation cleanup_free = entry_detach(ledger, entry);
    entry_drop_unused(ledger, entry);
    reservation->allocation.status = AC_ALLOCATION_REFUSED;
    reservation->allocation.queue_position = 0;
    sink(userdata, &reservation->allocation);
}

static int expire(struct ledger *ledger, struct moment now, ledger_sink sink, void *userdata)
{
    int count = 0;
    struct reservation *first;
    double ttl_seconds = (double)ledger->options.reservation_ttl_ns / NS_PER_SEC;
    for (; (first = ledger->temporary.first) && first->deadline_ns <= now.mono.ns; count++) {
        ledger_explain_expired(&first->allocation, ttl_seconds);
        refuse(ledger, first->entry, sink, userdata);
    }
    return count;
}

/* Grants the first in the queue, or refuses it where it can never be granted. Returns whether it
 * left the queue. */
static bool serve_first(struct ledger *ledger, struct moment now, ledger_sink sink, void *userdata)
{
    struct reservation *first = ledger->queue.first;
    judge(ledger, first->entry, first);
    switch (first->allocation.status) {
    case AC_ALLOCATION_QUEUED:
        first->allocation.queue_position = 1;
        return false;
    case AC_ALLOCATION_REFUSED:
        refuse(ledger, first->entry, sink, userdata);
        return true;
    case AC_ALLOCATION_GRANTED:
        break;
    }
    list_remove(first);
    take_effect(ledger, first, now, ledger->options.reservation_ttl_ns);
    sink(userdata, &first->allocation);
    return true;
}

int ledger_pump(struct ledger *ledger, struct moment now, ledger_sink sink, void *userdata)
{
    int count = expire(ledger, now, sink, userdata);
    int served = 0;
    while (ledger->queue.first && serve_first(ledger, now, sink, userdata))
        served++;
    if (served > 0)
        queue_number(ledger->queue.first);
    return count + served;
}

/* ---- Looking, and after a restart */

const struct ac_allocation *ledger_get(const struct ledger *ledger, const char *id)
{
    /* The agent's name first: nobody may name an agent so that it stands for another's id. */
    const struct entry *entry = strmap_get(ledger->by_agent, id);
    if (!entry || !entry->reservation)
        entry = strmap_get(ledger->by_id, id);
    return entry ? &entry->reservation->allocation : NULL;
}

const struct ac_allocation *ledger_next(const struct ledger *ledger, size_t *cursor)
{
    const struct entry *entry = strmap_next(ledger->by_id, cursor);
    return entry ? &entry->reservation->allocation : NULL;
}

/* The prediction that a stored allocation came from is gone; what was given, or is waited for,
 * stands in for it. */
static struct reservation *reservation_restored(const struct ac_allocation *allocation)
{
    struct reservation *reservation = mem_alloc(sizeof(*reservation));
    if (!reservation)
        return NULL;
    reservation->allocation = *allocation;
    reservation->predicted = (struct ac_prediction){
        .cpu_percent = allocation->cpu_percent,
        .memory_mb = allocation->memory_mb,
        .execution_time_seconds = allocation->execution_time_seconds,
        .confidence = allocation->confidence,
    };
    return reservation;
}

/* Moves a restored one from the end of the queue to the place that its position gives it. */
static void queue_sort_in(struct ledger *ledger, struct reservation *reservation, uint32_t position)
{
    struct reservation *after = reservation->previous;
    while (after && after->allocation.queue_position > position)
        after = after->previous;
    if (after != reservation->previous) {
        list_remove(reservation);
        list_insert(&ledger->queue, after, reservation);
    }
    reservation->allocation.queue_position = position;
}

int ledger_restore(struct ledger *ledger, const struct ac_allocation *allocation, struct moment now)
{
    if (allocation->status == AC_ALLOCATION_REFUSED || !ac_agent_id_valid(allocation->agent_id) ||
        !allocation->allocation_id[0] || !amount_valid(allocation->cpu_percent) ||
        !amount_valid(allocation->memory_mb) ||
        strmap_get(ledger->by_id, allocation->allocation_id))
        return -EINVAL;
    struct entry *entry = strmap_get(ledger->by_agent, allocation->agent_id);
    int r = check_room(ledger, entry, allocation->status);
    if (r < 0)
        return r;
    struct reservation *reservation cleanup_free = reservation_restored(allocation);
    if (!reservation)
        return -ENOMEM;
    r = entry_get(ledger, allocation->agent_id, &entry);
    if (r < 0)
        return r;
    r = entry_attach(ledger, entry, reservation);
    if (r < 0) {
        entry_drop_unused(ledger, entry);
        return r;
    }
    id_seen(&ledger->ids, allocation->allocation_id);
    if (allocation->status == AC_ALLOCATION_QUEUED)
        queue_sort_in(ledger, reservation, allocation->queue_position);
    else {
        int64_t left = allocation->expires_ns - now.wall_ns;
        uint64_t ttl = allocation->expires_ns == 0 ? 0 : left > 0 ? (uint64_t)left : 1;
        take_effect(ledger, reservation, now, ttl);
    }
    TAKE_PTR(reservation);
    return 0;
}
