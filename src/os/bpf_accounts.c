/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the kernel's accounts (bpf/shared.h) to slot_records.
 *
 * Programs go on writing while this reads. Every order of reading here errs, where it errs, to
 * the side of "less", and a record never goes back: what one sample misses the next one has.
 */
#include "os/bpf_internal.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

#include "agentcore.skel.h"

#define READ_ONCE(x)     (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

static int reserve(struct bpf_collector *collector)
{
    if (collector->n_accounts < collector->capacity)
        return 0;
    size_t capacity = collector->capacity ? collector->capacity * 2 : 16;
    struct bpf_account *accounts =
        mem_resize_array(collector->accounts, capacity, sizeof(*accounts));
    if (!accounts)
        return -ENOMEM;
    collector->accounts = accounts;
    struct slot_record *records = mem_resize_array(collector->records, capacity, sizeof(*records));
    if (!records)
        return -ENOMEM;
    collector->records = records;
    collector->capacity = capacity;
    return 0;
}

int bpf_account_open(struct bpf_collector *collector, agent_slot slot)
{
    if (slot == 0 || slot > collector->max_slot)
        return -ERANGE;
    if (collector->positions[slot])
        return 0;
    int r = reserve(collector);
    if (r == 0)
        r = bpf_slots_reserve(collector, slot);
    if (r < 0)
        return r;
    memset(&collector->slots[slot], 0, sizeof(collector->slots[slot]));
    collector->accounts[collector->n_accounts] = (struct bpf_account){.last.slot = slot};
    collector->positions[slot] = (uint32_t)++collector->n_accounts;
    return 0;
}

void bpf_account_close(struct bpf_collector *collector, agent_slot slot)
{
    if (slot > collector->max_slot || !collector->positions[slot])
        return;
    size_t at = collector->positions[slot] - 1;
    struct bpf_account *last = &collector->accounts[--collector->n_accounts];

    collector->slots[slot].look = 0;
    collector->positions[slot] = 0;
    if (at == collector->n_accounts)
        return;
    collector->accounts[at] = *last;
    collector->positions[last->last.slot] = (uint32_t)at + 1;
}

void bpf_accounts_begin(struct bpf_collector *collector)
{
    /* First the cursor: exits behind it would be counted as late. */
    WRITE_ONCE(collector->object->bss->cursor, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (size_t i = 0; i < collector->n_accounts; i++) {
        struct bpf_slot *slot = &collector->slots[collector->accounts[i].last.slot];
        memset(&slot->late, 0, sizeof(slot->late));
        memset(&slot->living, 0, sizeof(slot->living));
        slot->rss_bytes = 0;
        slot->living_rss_peak = 0;
    }
}

/* The total of one counter: `exited` is read before `late`, which only grows. */
static uint64_t total(const __u64 *exited, const __u64 *late, const __u64 *living, uint64_t last)
{
    uint64_t sum = READ_ONCE(*exited);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    sum += READ_ONCE(*living) - READ_ONCE(*late);
    return (int64_t)(sum - last) > 0 ? sum : last;
}

/*
 * The range of memory by looks, and what the kernel itself remembers: the highest that each
 * process ever had as a member. Where that is more than any had before, it was reached in this
 * interval, and the agent had at least as much.
 */
static void account_memory(struct bpf_account *account, const struct bpf_slot *slot)
{
    struct slot_record *record = &account->last;
    uint64_t peak = MAX(slot->living_rss_peak, record->exited_rss_peak_bytes);

    watch_gauge_sample(&account->rss, slot->rss_bytes);
    record->rss_min_bytes = account->rss.minimum;
    record->rss_mean_bytes = account->rss.sum / account->rss.looks;
    record->rss_max_bytes = account->rss.maximum;
    record->rss_looks = account->rss.looks;
    record->known |= SLOT_KNOWN_RSS;
    if (peak > account->peak) {
        record->rss_max_bytes = MAX(record->rss_max_bytes, peak);
        account->peak = peak;
    }
    watch_gauge_begin(&account->rss);
}

static void account_read(struct bpf_account *account, struct bpf_slot *slot)
{
    struct slot_record *record = &account->last;

    record->cpu_ns =
        total(&slot->exited.cpu_ns, &slot->late.cpu_ns, &slot->living.cpu_ns, record->cpu_ns);
    record->read_bytes = total(&slot->exited.read_bytes, &slot->late.read_bytes,
        &slot->living.read_bytes, record->read_bytes);
    record->written_bytes = total(&slot->exited.written_bytes, &slot->late.written_bytes,
        &slot->living.written_bytes, record->written_bytes);
    record->processes_total = READ_ONCE(slot->processes);
    record->known = SLOT_KNOWN_CPU | SLOT_KNOWN_IO | SLOT_KNOWN_PROCESSES;
    record->exited_rss_peak_bytes =
        __atomic_exchange_n(&slot->exited_rss_peak, 0, __ATOMIC_RELAXED);
    if (record->exited_rss_peak_bytes)
        record->known |= SLOT_KNOWN_EXITED_RSS;
    account_memory(account, slot);
}

/* Returns whether some slot grows. */
bool bpf_accounts_end(struct bpf_collector *collector)
{
    bool growing = false;

    for (size_t i = 0; i < collector->n_accounts; i++) {
        struct bpf_account *account = &collector->accounts[i];
        account_read(account, &collector->slots[account->last.slot]);
        collector->records[i] = account->last;
        growing |= account->rss.growing;
    }
    return growing;
}

void bpf_accounts_look(void *userdata)
{
    struct bpf_collector *collector = userdata;

    for (size_t i = 0; i < collector->n_accounts; i++) {
        struct bpf_slot *slot = &collector->slots[collector->accounts[i].last.slot];
        slot->look = collector->accounts[i].rss.growing;
        slot->rss_bytes = 0;
    }
    if (bpf_pass_look(collector) < 0)
        return;
    for (size_t i = 0; i < collector->n_accounts; i++) {
        struct bpf_account *account = &collector->accounts[i];
        if (account->rss.growing)
            watch_gauge_look(&account->rss, collector->slots[account->last.slot].rss_bytes);
    }
}
