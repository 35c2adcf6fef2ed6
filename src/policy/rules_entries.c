/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules_internal.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* More than there are kinds of alerts of the machine. */
#define MACHINE_PLACES 32u

int slot_reserve(struct rules *rules, agent_slot slot)
{
    if (slot < rules->n_slots)
        return 0;
    size_t count = MIN(
        MAX((size_t)slot + 1, (size_t)rules->n_slots * 2), (size_t)rules->options.max_subjects + 1);
    struct slot *slots = mem_resize_array(rules->slots, count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    memset(slots + rules->n_slots, 0, (count - rules->n_slots) * sizeof(*slots));
    rules->slots = slots;
    rules->n_slots = (uint32_t)count;
    return 0;
}

static int entries_reserve(struct rules *rules)
{
    if (rules->n_entries < rules->entries_capacity)
        return 0;
    uint32_t capacity = MIN(MAX(16u, rules->entries_capacity * 2), rules->options.max_alerts);
    struct entry **entries = mem_resize_array(rules->entries, capacity, sizeof(struct entry *));
    if (!entries)
        return -ENOMEM;
    rules->entries = entries;
    rules->entries_capacity = capacity;
    return 0;
}

struct entry *entry_find(
    const struct rules *rules, agent_slot slot, enum ac_resource resource, const char *rule)
{
    struct entry *entry = slot < rules->n_slots ? rules->slots[slot].first : NULL;
    while (entry && (entry->alert.resource != resource || strcmp(entry->alert.rule, rule) != 0))
        entry = entry->next;
    return entry;
}

/* Puts a new entry, whose alert has its id, into pool, map and slot. Owns @entry on success. */
static int entry_insert(struct rules *rules, struct entry *entry)
{
    int r = slot_reserve(rules, entry->slot);
    if (r == 0)
        r = entries_reserve(rules);
    if (r == 0)
        r = strmap_put(rules->by_id, entry->alert.alert_id, entry);
    if (r < 0)
        return r;
    struct slot *slot = &rules->slots[entry->slot];
    entry->at = rules->n_entries;
    rules->entries[rules->n_entries++] = entry;
    rules->n_machine += entry->slot == 0;
    entry->next = slot->first;
    slot->first = entry;
    if (entry->rule >= 0) {
        slot->live |= (uint16_t)(1u << entry->rule);
        slot->dropped &= (uint16_t) ~(1u << entry->rule);
    }
    return 0;
}

void entry_leave_slot(struct rules *rules, struct entry *entry)
{
    struct slot *slot = &rules->slots[entry->slot];
    struct entry **link = &slot->first;
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    if (entry->rule >= 0)
        slot->live &= (uint16_t) ~(1u << entry->rule);
    entry->adrift = true;
}

void entry_remove(struct rules *rules, struct entry *entry)
{
    if (!entry->adrift)
        entry_leave_slot(rules, entry);
    if (entry->ordinary)
        quota_give(rules->quota, entry->owner_uid);
    strmap_remove(rules->by_id, entry->alert.alert_id);
    rules->n_machine -= entry->slot == 0;
    struct entry *last = rules->entries[--rules->n_entries];
    rules->entries[entry->at] = last;
    last->at = entry->at;
}

/* The machine always finds a place, however many alerts agents have. */
static int check_room(const struct rules *rules, const struct rules_subject *subject)
{
    uint32_t most = rules->options.max_alerts, kept = MIN(most / 16, MACHINE_PLACES);
    uint32_t free_kept = kept - MIN(kept, rules->n_machine);
    return rules->n_entries < (subject->slot == 0 ? most : most - free_kept) ? 0 : -ENOSPC;
}

int entry_add(struct rules *rules, const struct rules_subject *subject,
    const struct ac_alert *alert, struct entry **ret_entry)
{
    int r = check_room(rules, subject);
    if (r < 0)
        return r;
    struct entry *entry cleanup_free = mem_alloc(sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    *entry = (struct entry){.alert = *alert,
        .rule = rule_find(alert->resource, alert->rule),
        .ordinary = subject->slot != 0 && quota_ordinary(&rules->options.users, subject->owner_uid),
        .owner_uid = subject->owner_uid,
        .slot = subject->slot,
        .hold_until_ns = RULES_NEVER};
    for (int i = 0; i < AC_SEVERITY_COUNT; i++)
        entry->since[i] = RULES_NEVER;
    if (entry->ordinary)
        r = quota_take(rules->quota, rules->options.max_alerts, entry->owner_uid);
    if (r < 0)
        return r;
    if (!entry->alert.alert_id[0])
        id_next(&rules->ids, entry->alert.alert_id);
    r = entry_insert(rules, entry);
    if (r < 0 && entry->ordinary)
        quota_give(rules->quota, entry->owner_uid);
    if (r < 0)
        return r;
    *ret_entry = TAKE_PTR(entry);
    return 0;
}
