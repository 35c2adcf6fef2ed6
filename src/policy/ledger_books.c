/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ledger_internal.h"

#include <errno.h>
#include <string.h>

/* ---- Lists */

void ledger_list_insert(
    struct reservation_list *list, struct reservation *after, struct reservation *reservation)
{
    reservation->list = list;
    reservation->previous = after;
    reservation->next = after ? after->next : list->first;
    *(reservation->next ? &reservation->next->previous : &list->last) = reservation;
    *(after ? &after->next : &list->first) = reservation;
    list->count++;
}

void ledger_list_remove(struct reservation *reservation)
{
    struct reservation_list *list = reservation->list;
    if (!list)
        return;
    *(reservation->previous ? &reservation->previous->next : &list->first) = reservation->next;
    *(reservation->next ? &reservation->next->previous : &list->last) = reservation->previous;
    list->count--;
    reservation->list = NULL;
    reservation->previous = reservation->next = NULL;
}

void ledger_queue_number(struct reservation *from)
{
    for (; from; from = from->next)
        from->allocation.queue_position =
            from->previous ? from->previous->allocation.queue_position + 1 : 1;
}

/* Takes a reservation out of its list; those behind it in the queue move up. */
static void reservation_unlink(struct ledger *ledger, struct reservation *reservation)
{
    struct reservation *behind = reservation->list == &ledger->queue ? reservation->next : NULL;
    ledger_list_remove(reservation);
    ledger_queue_number(behind);
}

/* ---- Sums */

static struct share held_by(const struct entry *entry)
{
    return share_max(entry->reserved, entry->used);
}

void ledger_set_shares(
    struct ledger *ledger, struct entry *entry, struct share reserved, struct share used)
{
    struct share before = held_by(entry);
    ledger->used.cpu += used.cpu - entry->used.cpu;
    ledger->used.memory += used.memory - entry->used.memory;
    entry->reserved = reserved;
    entry->used = used;
    struct share after = held_by(entry);
    ledger->held.cpu += after.cpu - before.cpu;
    ledger->held.memory += after.memory - before.memory;
}

struct share ledger_available_to(const struct ledger *ledger, const struct entry *entry)
{
    struct share own = entry ? held_by(entry) : (struct share){0, 0};
    __int128 unmanaged_cpu = MAX(ledger->machine_used.cpu - ledger->used.cpu, (__int128)0);
    __int128 unmanaged_memory = MAX(ledger->machine_used.memory - ledger->used.memory, (__int128)0);
    __int128 cpu = ledger->capacity.cpu - unmanaged_cpu - ledger->held.cpu + own.cpu;
    __int128 memory = ledger->capacity.memory - unmanaged_memory - ledger->held.memory + own.memory;
    return (struct share){cpu > 0 ? (int64_t)cpu : 0, memory > 0 ? (int64_t)memory : 0};
}

void ledger_available(
    const struct ledger *ledger, double *ret_cpu_percent, uint64_t *ret_memory_bytes)
{
    struct share available = ledger_available_to(ledger, NULL);
    *ret_cpu_percent = to_percent(available.cpu);
    *ret_memory_bytes = (uint64_t)available.memory;
}

void ledger_set_machine(struct ledger *ledger, const struct ledger_machine *machine)
{
    ledger->capacity_cores = machine->capacity_cores;
    ledger->capacity.cpu = to_millipercent(100);
    ledger->capacity.memory = clamp_bytes(machine->capacity_memory_bytes);
    ledger->cpu_unknown = isnan(machine->used_cpu_percent);
    ledger->memory_unknown = machine->used_memory_bytes == LEDGER_UNKNOWN_BYTES;
    ledger->machine_used.cpu = to_millipercent(machine->used_cpu_percent); /* 0 for NaN */
    ledger->machine_used.memory =
        ledger->memory_unknown ? 0 : clamp_bytes(machine->used_memory_bytes);
}

/* ---- Entries */

static void ledger_freep(struct ledger **ledger)
{
    ledger_free(*ledger);
}

static bool headroom_valid(double headroom)
{
    return isfinite(headroom) && headroom > 0 && headroom <= 1;
}

int ledger_set_options(struct ledger *ledger, double headroom, uint64_t reservation_ttl_ns)
{
    if (!headroom_valid(headroom))
        return -EINVAL;
    ledger->options.headroom = headroom;
    ledger->options.reservation_ttl_ns = reservation_ttl_ns;
    return 0;
}

int ledger_new(const struct ledger_options *options, struct ledger **ret_ledger)
{
    if (!headroom_valid(options->headroom))
        return -EINVAL;
    struct ledger *ledger CLEANUP(ledger_freep) = mem_alloc(sizeof(*ledger));
    if (!ledger)
        return -ENOMEM;
    ledger->options = *options;
    int r = strmap_new(options->seed, &ledger->by_agent);
    if (r == 0)
        r = strmap_new(options->seed, &ledger->by_id);
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

int ledger_entry_get(struct ledger *ledger, const char *agent_id, struct entry **ret_entry)
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

struct reservation *ledger_entry_detach(struct ledger *ledger, struct entry *entry)
{
    struct reservation *reservation = TAKE_PTR(entry->reservation);
    if (!reservation)
        return NULL;
    reservation_unlink(ledger, reservation);
    strmap_remove(ledger->by_id, reservation->allocation.allocation_id);
    ledger_set_shares(ledger, entry, (struct share){0, 0}, entry->used);
    return reservation;
}

void ledger_entry_drop_unused(struct ledger *ledger, struct entry *entry)
{
    if (entry->reservation || entry->seen)
        return;
    strmap_remove(ledger->by_agent, entry->id);
    mem_free(entry);
}

int ledger_attach(struct ledger *ledger, struct reservation *reservation)
{
    struct entry *entry;
    int r = ledger_entry_get(ledger, reservation->allocation.agent_id, &entry);
    if (r < 0)
        return r;
    r = strmap_put(ledger->by_id, reservation->allocation.allocation_id, entry);
    if (r < 0) {
        ledger_entry_drop_unused(ledger, entry);
        return r;
    }
    struct reservation *after = ledger->queue.last;
    if (entry->reservation && entry->reservation->list == &ledger->queue)
        after = entry->reservation->previous;
    mem_free(ledger_entry_detach(ledger, entry));
    entry->reservation = reservation;
    reservation->entry = entry;
    if (reservation->allocation.status == AC_ALLOCATION_QUEUED) {
        ledger_list_insert(&ledger->queue, after, reservation);
        ledger_queue_number(reservation);
    }
    return 0;
}

int ledger_set_used(
    struct ledger *ledger, const char *agent_id, double cpu_percent, uint64_t memory_bytes)
{
    struct entry *entry;
    int r = ledger_entry_get(ledger, agent_id, &entry);
    if (r < 0)
        return r;
    struct share used = {to_millipercent(cpu_percent), clamp_bytes(memory_bytes)};
    ledger_set_shares(ledger, entry, entry->reserved, used);
    entry->seen = true;
    if (entry->reservation && entry->reservation->list == &ledger->temporary) {
        ledger_list_remove(entry->reservation);
        entry->reservation->allocation.expires_ns = 0;
    }
    return 0;
}

int ledger_release(struct ledger *ledger, const char *agent_id)
{
    struct entry *entry = strmap_get(ledger->by_agent, agent_id);
    if (!entry)
        return -ENOENT;
    mem_free(ledger_entry_detach(ledger, entry));
    ledger_set_shares(ledger, entry, (struct share){0, 0}, (struct share){0, 0});
    entry->seen = false;
    ledger_entry_drop_unused(ledger, entry);
    return 0;
}

/* ---- Looking */

static const struct reservation *find_reservation(const struct ledger *ledger, const char *id)
{
    /* The agent's name first: nobody may name an agent so that it stands for another's id. */
    const struct entry *entry = strmap_get(ledger->by_agent, id);
    if (!entry || !entry->reservation)
        entry = strmap_get(ledger->by_id, id);
    return entry ? entry->reservation : NULL;
}

const struct ac_allocation *ledger_get(const struct ledger *ledger, const char *id)
{
    const struct reservation *reservation = find_reservation(ledger, id);
    return reservation ? &reservation->allocation : NULL;
}

uint32_t ledger_owner(const struct ledger *ledger, const char *id)
{
    const struct reservation *reservation = find_reservation(ledger, id);
    return reservation ? reservation->owner_uid : UINT32_MAX;
}

const struct ac_allocation *ledger_next(const struct ledger *ledger, size_t *cursor)
{
    const struct entry *entry = strmap_next(ledger->by_id, cursor);
    return entry ? &entry->reservation->allocation : NULL;
}
