/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rules' files share: rules_entries.c keeps the alerts, rules.c judges and moves them.
 *
 * An alert is an entry in a pool, in the list of its subject's slot, and in a map by id. A slot
 * is 16 bytes and exists only once a subject of that number had something to say; its masks of
 * threshold rules let the common check (nothing crossed, nothing live) end after a few
 * comparisons.
 */
#ifndef AC_POLICY_RULES_INTERNAL_H
#define AC_POLICY_RULES_INTERNAL_H

#include "base/map.h"
#include "policy/id.h"
#include "policy/rules.h"
#include "policy/rules_table.h"

#define RULES_NEVER UINT64_MAX

enum phase { PHASE_NONE, PHASE_PENDING, PHASE_FIRING, PHASE_ACKNOWLEDGED, PHASE_RESOLVED };
#define PHASE_COUNT 5

struct entry {
    struct ac_alert alert;
    enum phase phase;
    int rule;      /* in rules_table; -1 = raised from elsewhere */
    bool adrift;   /* its subject went before its hold ran out: in no slot */
    bool ordinary; /* of a user who has a share of the cap */
    uint32_t owner_uid;
    agent_slot slot;
    uint32_t at;                       /* in rules.entries */
    uint64_t since[AC_SEVERITY_COUNT]; /* mono: from when on each step has been exceeded */
    uint64_t told_ns;                  /* mono: of the last event */
    uint64_t hold_until_ns;            /* mono; NEVER = until cleared */
    struct entry *next;                /* of the same slot */
};

struct slot {
    struct entry *first;
    uint16_t live;    /* threshold rules that have an entry */
    uint16_t dropped; /* threshold rules whose alert found no room; counted already */
};

struct rules {
    struct rules_options options;
    double lowest[RULE_AGENT_CPU]; /* per machine-wide rule: below it nothing happens */
    double own_part;               /* the part of an agent's own maximum that warns */
    struct slot *slots;
    uint32_t n_slots;
    struct entry **entries; /* dense */
    uint32_t n_entries;
    uint32_t n_machine; /* of them the machine's */
    uint32_t entries_capacity;
    struct strmap *by_id;
    struct id_source ids;
    struct quota *quota; /* of entries, by the users of ordinary subjects */
    uint64_t active;
    uint64_t dropped;
};

static inline struct slot *slot_at(struct rules *rules, agent_slot slot)
{
    return slot < rules->n_slots ? &rules->slots[slot] : NULL;
}

/* Makes a slot where there is none. 0 or -ENOMEM. */
int slot_reserve(struct rules *rules, agent_slot slot);

/* The live alert of that kind, or NULL. */
struct entry *entry_find(
    const struct rules *rules, agent_slot slot, enum ac_resource resource, const char *rule);

/* Puts a copy of @alert, in phase NONE, into pool, map and slot; without an id it gets one. Returns
 * 0, -ENOSPC at the cap or the owner's share of it, -ENOMEM. */
int entry_add(struct rules *rules, const struct rules_subject *subject,
    const struct ac_alert *alert, struct entry **ret_entry);

/* Takes an entry out of its slot alone, where its subject goes before it. */
void entry_leave_slot(struct rules *rules, struct entry *entry);

/* Takes an entry out of everything; the caller frees it. */
void entry_remove(struct rules *rules, struct entry *entry);

#endif
