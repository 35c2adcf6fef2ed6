/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ledger.h"

#include <errno.h>
#include <string.h>

#include "policy/ledger_explain.h"
#include "policy/ledger_internal.h"

/* ---- Answers */

struct wanted {
    struct share share;
    enum ledger_bound cpu_bound;
    enum ledger_bound memory_bound;
};

static void bind_to(double *amount, double most, enum ledger_bound bound, enum ledger_bound *by)
{
    if (most >= *amount)
        return;
    *amount = most;
    *by = bound;
}

/* Min(predicted, own maximum). The own CPU maximum counts once the machine's size is known.
 *
 * Strict and queue ask for headroom^2 of all CPUs at most, which fits where they are free but for
 * 1 - headroom: CPU stretches, memory does not, and predictions are of peaks, so that an agent
 * that once used all CPUs would never be admitted again. */
static struct wanted wanted_by(const struct ledger *ledger, const struct reservation *reservation)
{
    const struct agent_limits *limits = &reservation->limits;
    const double headroom = ledger->options.headroom;
    double cpu = reservation->predicted.cpu_percent, memory = reservation->predicted.memory_mb;
    struct wanted wanted = {0};
    if (limits->max_cpu_cores > 0 && ledger->capacity_cores > 0)
        bind_to(&cpu, limits->max_cpu_cores / ledger->capacity_cores * 100, LEDGER_OWN_MAXIMUM,
            &wanted.cpu_bound);
    if (reservation->allocation.policy != AC_POLICY_RECOMMEND)
        bind_to(&cpu, headroom * headroom * 100, LEDGER_MOST_WAITED_FOR, &wanted.cpu_bound);
    if (limits->max_memory_mb > 0)
        bind_to(&memory, limits->max_memory_mb, LEDGER_OWN_MAXIMUM, &wanted.memory_bound);
    wanted.share = (struct share){to_millipercent(cpu), to_bytes(memory)};
    return wanted;
}

/* Whether not even the empty machine could give it. Not said before the machine is known. */
static bool never_fits(const struct ledger *ledger, struct share wanted)
{
    return ledger->capacity.memory > 0 &&
           wanted.memory > share_part(ledger->capacity, ledger->options.headroom).memory;
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
    enum ac_allocation_status status, const struct wanted *wanted, struct share given,
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
        .want_cpu_percent = to_percent(wanted->share.cpu),
        .want_memory_mb = to_mib(wanted->share.memory),
        .cpu_bound = wanted->cpu_bound,
        .memory_bound = wanted->memory_bound,
        .cpu_unknown = ledger->cpu_unknown,
        .memory_unknown = ledger->memory_unknown,
        .never = never_fits(ledger, wanted->share),
        .headroom = ledger->options.headroom,
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
    struct share available = ledger_available_to(ledger, entry);
    struct share room = share_part(available, ledger->options.headroom);
    const struct wanted wanted = wanted_by(ledger, reservation);
    struct share given = share_min(wanted.share, room);
    bool fits = share_fits(wanted.share, room) && !ledger->memory_unknown;
    enum ac_allocation_status status = AC_ALLOCATION_GRANTED;
    if (policy == AC_POLICY_STRICT && !fits)
        status = AC_ALLOCATION_REFUSED;
    else if (policy == AC_POLICY_QUEUE && never_fits(ledger, wanted.share))
        status = AC_ALLOCATION_REFUSED;
    else if (policy == AC_POLICY_QUEUE && (!fits || (ahead && ahead != entry)))
        status = AC_ALLOCATION_QUEUED;
    if (status == AC_ALLOCATION_REFUSED)
        given = (struct share){0, 0};
    else if (status == AC_ALLOCATION_QUEUED)
        given = wanted.share;
    fill_answer(ledger, reservation, status, &wanted, given, available);
}

void ledger_take_effect(
    struct ledger *ledger, struct reservation *reservation, struct moment now, uint64_t ttl_ns)
{
    struct ac_allocation *allocation = &reservation->allocation;
    struct entry *entry = reservation->entry;
    struct share given = {
        to_millipercent(allocation->cpu_percent), to_bytes(allocation->memory_mb)};
    ledger_set_shares(ledger, entry, given, entry->used);
    if (ttl_ns == 0 || entry->seen)
        return;
    allocation->expires_ns = now.wall_ns + (int64_t)ttl_ns;
    reservation->deadline_ns = now.mono.ns + ttl_ns;
    struct reservation *after = ledger->temporary.last;
    while (after && after->deadline_ns > reservation->deadline_ns)
        after = after->previous;
    ledger_list_insert(&ledger->temporary, after, reservation);
}

bool ledger_amount_valid(double value)
{
    return isfinite(value) && value >= 0;
}

static int check_request(const struct ledger_request *request)
{
    const struct ac_prediction *predicted = &request->predicted;
    if (!ac_agent_id_valid(request->agent_id) || (unsigned)request->policy > AC_POLICY_QUEUE ||
        !ledger_amount_valid(predicted->cpu_percent) ||
        !ledger_amount_valid(predicted->memory_mb) ||
        !ledger_amount_valid(predicted->execution_time_seconds) ||
        !ledger_amount_valid(request->limits.max_cpu_cores) ||
        !ledger_amount_valid(request->limits.max_memory_mb))
        return -EINVAL;
    return 0;
}

int ledger_check_room(
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

/* Whether the owner's requests wait in so many places that one more would be above its share. */
static bool queue_spent(
    const struct ledger *ledger, const struct entry *entry, const struct reservation *request)
{
    const struct quota_users *users = &ledger->options.users;
    const struct reservation *present = entry ? entry->reservation : NULL;
    uint32_t own = 0, ordinary = 0;
    if (request->allocation.status != AC_ALLOCATION_QUEUED ||
        !quota_ordinary(users, request->owner_uid) || (present && present->list == &ledger->queue))
        return false;
    for (const struct reservation *other = ledger->queue.first; other; other = other->next) {
        own += other->owner_uid == request->owner_uid;
        ordinary += quota_ordinary(users, other->owner_uid);
    }
    return quota_spent(ledger->options.max_queue, own, ordinary);
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
    reservation->owner_uid = request->owner_uid;
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
    r = ledger_check_room(ledger, entry, reservation->allocation.status);
    if (r == 0 && queue_spent(ledger, entry, reservation))
        r = -ENOSPC;
    if (r == 0)
        r = ledger_attach(ledger, reservation);
    if (r < 0)
        return r;
    if (reservation->allocation.status == AC_ALLOCATION_GRANTED)
        ledger_take_effect(ledger, reservation, now, ledger->options.reservation_ttl_ns);
    *ret_allocation = TAKE_PTR(reservation)->allocation;
    return 0;
}

/* ---- Time passing */

typedef void (*ledger_sink)(void *userdata, const struct ac_allocation *allocation);

/* Ends a reservation with a refusal that says why. */
static void refuse(struct ledger *ledger, struct entry *entry, ledger_sink sink, void *userdata)
{
    struct reservation *reservation cleanup_free = ledger_entry_detach(ledger, entry);
    ledger_entry_drop_unused(ledger, entry);
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
    ledger_list_remove(first);
    ledger_take_effect(ledger, first, now, ledger->options.reservation_ttl_ns);
    sink(userdata, &first->allocation);
    return true;
}

int ledger_pump(struct ledger *ledger, struct moment now, ledger_sink sink, void *userdata)
{
    int count = expire(ledger, now, sink, userdata);
    int served = 0;
    while (ledger->queue.first && serve_first(ledger, now, sink, userdata))
        served++;
    ledger_queue_number(ledger->queue.first); /* restored ones may have left gaps */
    return count + served;
}
