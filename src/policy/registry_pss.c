/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proportional memory (PSS) of agents. It is read for a few members at a time, so an agent's sum
 * consists of readings of different age; it is known once each of its members that has memory has
 * one, and as old as the oldest.
 */
#include "policy/registry_internal.h"

#include <math.h>

#include "base/mem.h"
#include "model/usage.h"

#define TURNS           4                 /* one reading in so many goes to the oldest */
#define REREAD_AFTER_NS (10 * NS_PER_SEC) /* where RSS did not change */

/* ---- Readings come */

void pss_apply(struct registry *registry, const struct sample *sample)
{
    for (size_t i = 0; i < sample->n_pss; i++) {
        const struct pss_record *record = &sample->pss[i];
        registry->pss_readings++;
        uint32_t m = record->pid > 0 ? itable_get(&registry->by_pid, (uint64_t)record->pid) : 0;
        struct member *member = m ? &registry->members[m] : NULL;
        if (!member || member->last.start_ticks != record->start_ticks)
            continue;
        member->pss_bytes = record->pss_bytes;
        member->pss_read_ns = MAX(record->read_ns, (uint64_t)1);
        member->pss_rss_bytes = proc_rss(&member->last);
        if (record->readable)
            member->flags |= MEMBER_PSS;
        else
            member->flags &= ~(uint32_t)MEMBER_PSS;
    }
}

void pss_see(struct account *account, const struct member *member)
{
    if (proc_rss(&member->last) == 0)
        return; /* there is nothing to read */
    if (!(member->flags & MEMBER_PSS)) {
        account->pss_lacks = true;
        return;
    }
    account->pss_bytes = saturating_add(account->pss_bytes, member->pss_bytes);
    if (account->pss_oldest_ns == 0 || member->pss_read_ns < account->pss_oldest_ns)
        account->pss_oldest_ns = member->pss_read_ns;
}

void pss_publish(struct account *account, const struct sample *sample)
{
    struct agent *agent = account->agent;
    if (sample->n_procs == 0)
        return;
    agent->pss_mb = agent->pss_age_seconds = NAN;
    if (account->exited || account->pss_lacks || account->pss_oldest_ns == 0)
        return;
    struct mono oldest = {account->pss_oldest_ns};
    agent->pss_mb = (double)account->pss_bytes / USAGE_MIB;
    agent->pss_age_seconds = (double)mono_since(sample->when.mono, oldest) / NS_PER_SEC;
}

/* ---- Who is next */

struct ranking {
    struct {
        uint64_t key;
        uint32_t member;
    } ranks[PSS_WANTS_MAX];
    size_t capacity;
    size_t count;
    size_t next;
};

/* Keeps the largest keys, the largest first. */
static void ranking_offer(struct ranking *ranking, uint64_t key, uint32_t member)
{
    size_t at = ranking->count;
    if (at == ranking->capacity && key <= ranking->ranks[at - 1].key)
        return;
    if (at == ranking->capacity)
        at--;
    else
        ranking->count++;
    for (; at > 0 && ranking->ranks[at - 1].key < key; at--)
        ranking->ranks[at] = ranking->ranks[at - 1];
    ranking->ranks[at].key = key;
    ranking->ranks[at].member = member;
}

static uint64_t difference(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static void rank_members(
    const struct registry *registry, struct ranking *changed, struct ranking *oldest)
{
    for (uint32_t m = 1; m <= registry->members_high; m++) {
        const struct member *member = &registry->members[m];
        if (member->pass == 0 || (member->flags & MEMBER_GHOST) || proc_is_dead(&member->last) ||
            !(member->last.known & PROC_KNOWN_RSS))
            continue;
        uint64_t rss = proc_rss(&member->last), change = difference(rss, member->pss_rss_bytes);
        if (rss == 0)
            continue;
        /* What may not be read is tried again when it is the oldest. */
        if (change > 0 && (member->pss_read_ns == 0 || (member->flags & MEMBER_PSS)))
            ranking_offer(changed, change, m);
        if (mono_since(registry->when.mono, (struct mono){member->pss_read_ns}) >=
                REREAD_AFTER_NS ||
            member->pss_read_ns == 0)
            ranking_offer(oldest, UINT64_MAX - member->pss_read_ns, m);
    }
}

/* The next of @ranking that is not taken yet; 0 = there is none. */
static uint32_t ranking_take(struct ranking *ranking, const uint32_t *taken, size_t n_taken)
{
    while (ranking->next < ranking->count) {
        uint32_t member = ranking->ranks[ranking->next++].member;
        size_t i = 0;
        while (i < n_taken && taken[i] != member)
            i++;
        if (i == n_taken)
            return member;
    }
    return 0;
}

size_t registry_pss_wants(
    const struct registry *registry, struct pss_want *ret_wants, size_t capacity)
{
    struct ranking changed = {.capacity = MIN(capacity, (size_t)PSS_WANTS_MAX)};
    struct ranking oldest = {.capacity = changed.capacity};
    uint32_t taken[PSS_WANTS_MAX];
    size_t count = 0;
    if (capacity == 0)
        return 0;
    rank_members(registry, &changed, &oldest);
    while (count < changed.capacity) {
        bool by_age = (registry->pss_readings + count) % TURNS == TURNS - 1;
        uint32_t m = ranking_take(by_age ? &oldest : &changed, taken, count);
        if (m == 0)
            m = ranking_take(by_age ? &changed : &oldest, taken, count);
        if (m == 0)
            break;
        taken[count] = m;
        ret_wants[count++] =
            (struct pss_want){registry->members[m].last.pid, registry->members[m].last.start_ticks};
    }
    return count;
}
