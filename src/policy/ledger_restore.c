/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "policy/ledger_internal.h"

/* The prediction that a stored allocation came from is gone; what was given, or is waited for,
 * stands in for it. */
static struct reservation *reservation_restored(
    const struct ac_allocation *allocation, uint32_t owner_uid)
{
    struct reservation *reservation = mem_alloc(sizeof(*reservation));
    if (!reservation)
        return NULL;
    reservation->allocation = *allocation;
    reservation->owner_uid = owner_uid;
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
        ledger_list_remove(reservation);
        ledger_list_insert(&ledger->queue, after, reservation);
    }
    reservation->allocation.queue_position = position;
}

/* One without a time limit gets a new one: its agent may be gone by now, and has to appear again.
 */
static uint64_t restored_ttl(
    const struct ledger *ledger, const struct ac_allocation *allocation, struct moment now)
{
    int64_t left = allocation->expires_ns - now.wall_ns;
    if (allocation->expires_ns <= 0)
        return ledger->options.reservation_ttl_ns;
    return left > 0 ? (uint64_t)left : 1;
}

int ledger_restore(struct ledger *ledger, const struct ac_allocation *allocation,
    uint32_t owner_uid, struct moment now)
{
    if (allocation->status == AC_ALLOCATION_REFUSED || !ac_agent_id_valid(allocation->agent_id) ||
        !allocation->allocation_id[0] || !ledger_amount_valid(allocation->cpu_percent) ||
        !ledger_amount_valid(allocation->memory_mb) ||
        strmap_get(ledger->by_id, allocation->allocation_id))
        return -EINVAL;
    struct entry *entry = strmap_get(ledger->by_agent, allocation->agent_id);
    int r = ledger_check_room(ledger, entry, allocation->status);
    if (r < 0)
        return r;
    struct reservation *reservation cleanup_free = reservation_restored(allocation, owner_uid);
    if (!reservation)
        return -ENOMEM;
    r = ledger_attach(ledger, reservation);
    if (r < 0)
        return r;
    id_seen(&ledger->ids, allocation->allocation_id);
    if (allocation->status == AC_ALLOCATION_QUEUED)
        queue_sort_in(ledger, reservation, allocation->queue_position);
    else
        ledger_take_effect(ledger, reservation, now, restored_ttl(ledger, allocation, now));
    TAKE_PTR(reservation);
    return 0;
}
