/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed samples in small blocks.
 *
 * A sample takes 36 bytes. A real value is kept as a decimal: 28 bits of mantissa and a power of
 * ten from 10^-9 to 10^6, chosen so that the mantissa has 7 significant digits or more. What a
 * person writes ("45.2", "1024.125") therefore comes back as the very same double; a measured
 * value is off by less than 1 part in 10^7, or by 1e-9 where it is small. Values past 2.6e14 and
 * descriptor counts past 2^32 - 1 are kept as that maximum. Timestamps are exact.
 *
 * Blocks live in slabs, which are made when first needed and stay until the end. Every block in
 * use is in two lists: its subject's, oldest first, and the one of all blocks in the order in
 * which they were opened. The first of the latter is therefore always the first of its subject,
 * so the subject's list needs no way back.
 */
#include "store/recent.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    SAMPLES_PER_BLOCK = 13,
    BLOCKS_PER_SLAB = 128,
    SAMPLES_PER_SECOND = 16,
    VALUES = 6,
    MANTISSA_BITS = 28,
    SCALE_MAX = 9,  /* smallest step: 10^-9 */
    SCALE_MIN = -6, /* largest step: 10^6 */
    KNOWN_BITS = 7,
};

#define MANTISSA_MASK ((1u << MANTISSA_BITS) - 1)
#define VALUE_MAX     2.6e14
#define NO_BLOCK      UINT32_MAX
#define DELTA_MAX     ((INT64_C(1) << 56) - 1)

_Static_assert(AC_KNOWN_ALL < 1u << KNOWN_BITS, "a sample has room for these bits only");

struct packed {
    uint32_t value[VALUES]; /* scale - SCALE_MIN in the upper 4 bits, mantissa below */
    uint32_t file_descriptors;
    uint32_t when[2]; /* (nanoseconds since the block's base << KNOWN_BITS) | known */
};

struct block {
    int64_t base_ns;
    int64_t newest_ns;
    uint32_t next; /* of this subject; of the free list */
    uint32_t later;
    uint32_t earlier;
    uint32_t slot;
    uint32_t count;
    struct packed samples[SAMPLES_PER_BLOCK];
};

struct subject {
    uint32_t first;
    uint32_t last;
    int64_t second_ns; /* start of the second that .in_second counts */
    uint32_t in_second;
};

struct recent {
    uint64_t keep_ns;
    struct block **slabs;
    uint32_t blocks_max;
    uint32_t blocks_made;
    uint32_t free;
    uint32_t oldest;
    uint32_t newest;
    struct subject *subjects;
    size_t n_subjects;
};

/* ---- Values ------------------------------------------------------------------------------- */

static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

/* The largest scale at which every value with this binary exponent fits the mantissa. */
static int scale_of(int exponent)
{
    int scale = ((MANTISSA_BITS - 1 - exponent) * 77) >> 8; /* 77 / 256: just below log10(2) */
    return scale > SCALE_MAX ? SCALE_MAX : scale < SCALE_MIN ? SCALE_MIN : scale;
}

static uint32_t pack_value(double value)
{
    uint64_t bits;
    value = value < VALUE_MAX ? value : VALUE_MAX;
    memcpy(&bits, &value, sizeof(bits));
    int scale = scale_of((int)(bits >> 52) - 1023);
    double scaled = scale >= 0 ? value * powers[scale] : value / powers[-scale];
    uint32_t mantissa = MIN((uint32_t)(scaled + 0.5), MANTISSA_MASK);
    return (uint32_t)(scale - SCALE_MIN) << MANTISSA_BITS | mantissa;
}

static double unpack_value(uint32_t packed)
{
    int scale = (int)(packed >> MANTISSA_BITS) + SCALE_MIN;
    double mantissa = packed & MANTISSA_MASK;
    /* Both operands are exact, so the result is the double nearest to the decimal. */
    return scale >= 0 ? mantissa / powers[scale] : mantissa * powers[-scale];
}

static void pack(struct packed *packed, const struct ac_usage *usage, int64_t base_ns)
{
    const double values[VALUES] = {usage->cpu_percent, usage->cpu_cores, usage->memory_mb,
        usage->memory_percent, usage->disk_io_mbps, usage->network_io_mbps};
    uint32_t known = usage->known & AC_KNOWN_ALL;
    for (unsigned i = 0; i < VALUES; i++) {
        if (known & 1u << i && values[i] >= 0 && values[i] < HUGE_VAL) {
            packed->value[i] = pack_value(values[i]);
        } else {
            packed->value[i] = 0;
            known &= ~(1u << i);
        }
    }
    packed->file_descriptors =
        known & AC_KNOWN_FILE_DESCRIPTORS ? (uint32_t)MIN(usage->file_descriptors, UINT32_MAX) : 0;
    uint64_t when = (uint64_t)(usage->timestamp_ns - base_ns) << KNOWN_BITS | known;
    memcpy(packed->when, &when, sizeof(when));
}

static int64_t packed_time(const struct block *block, const struct packed *packed)
{
    int64_t when;
    memcpy(&when, packed->when, sizeof(when));
    return block->base_ns + (when >> KNOWN_BITS);
}

static void unpack(
    const struct block *block, const struct packed *packed, struct ac_usage *ret_usage)
{
    double *const targets[VALUES] = {&ret_usage->cpu_percent, &ret_usage->cpu_cores,
        &ret_usage->memory_mb, &ret_usage->memory_percent, &ret_usage->disk_io_mbps,
        &ret_usage->network_io_mbps};
    ac_usage_init(ret_usage);
    ret_usage->timestamp_ns = packed_time(block, packed);
    ret_usage->known = packed->when[0] & AC_KNOWN_ALL;
    ret_usage->file_descriptors = packed->file_descriptors;
    for (unsigned i = 0; i < VALUES; i++) {
        if (ret_usage->known & 1u << i)
            *targets[i] = unpack_value(packed->value[i]);
    }
}

/* ---- Blocks ------------------------------------------------------------------------------- */

static struct block *block_at(const struct recent *recent, uint32_t index)
{
    return &recent->slabs[index / BLOCKS_PER_SLAB][index % BLOCKS_PER_SLAB];
}

/* Puts a further slab's blocks on the free list. Returns false at the cap or without memory. */
static bool add_slab(struct recent *recent)
{
    uint32_t count = MIN(recent->blocks_max - recent->blocks_made, (uint32_t)BLOCKS_PER_SLAB);
    if (count == 0)
        return false;
    struct block *slab = mem_alloc_array(count, sizeof(*slab));
    if (!slab)
        return false;
    recent->slabs[recent->blocks_made / BLOCKS_PER_SLAB] = slab;
    for (uint32_t i = count; i-- > 0;) {
        slab[i].next = recent->free;
        recent->free = recent->blocks_made + i;
    }
    recent->blocks_made += count;
    return true;
}

/* Takes the first block of its subject out of both lists. */
static void drop_first(struct recent *recent, struct subject *subject)
{
    uint32_t index = subject->first;
    struct block *block = block_at(recent, index);
    subject->first = block->next;
    if (subject->first == NO_BLOCK)
        subject->last = NO_BLOCK;
    if (block->earlier == NO_BLOCK)
        recent->oldest = block->later;
    else
        block_at(recent, block->earlier)->later = block->later;
    if (block->later == NO_BLOCK)
        recent->newest = block->earlier;
    else
        block_at(recent, block->later)->earlier = block->earlier;
    block->next = recent->free;
    recent->free = index;
}

static void drop_oldest(struct recent *recent)
{
    drop_first(recent, &recent->subjects[block_at(recent, recent->oldest)->slot]);
}

/* Appends an empty block to the subject's list. Returns NULL where there is none to be had. */
static struct block *open_block(struct recent *recent, agent_slot slot, int64_t base_ns)
{
    if (recent->free == NO_BLOCK && !add_slab(recent)) {
        if (recent->oldest == NO_BLOCK)
            return NULL;
        drop_oldest(recent);
    }
    uint32_t index = recent->free;
    struct block *block = block_at(recent, index);
    struct subject *subject = &recent->subjects[slot];
    recent->free = block->next;
    block->base_ns = base_ns;
    block->newest_ns = base_ns;
    block->count = 0;
    block->slot = slot;
    block->next = NO_BLOCK;
    block->later = NO_BLOCK;
    block->earlier = recent->newest;
    if (recent->newest == NO_BLOCK)
        recent->oldest = index;
    else
        block_at(recent, recent->newest)->later = index;
    recent->newest = index;
    if (subject->last == NO_BLOCK)
        subject->first = index;
    else
        block_at(recent, subject->last)->next = index;
    subject->last = index;
    return block;
}

static bool block_expired(const struct recent *recent, uint32_t index, int64_t now_ns)
{
    int64_t age;
    const struct block *block = block_at(recent, index);
    if (__builtin_sub_overflow(now_ns, block->newest_ns, &age))
        return now_ns > block->newest_ns;
    return age > 0 && (uint64_t)age > recent->keep_ns;
}

/* Two blocks at each new one: more goes than comes, and no append does much. */
static void expire(struct recent *recent, struct subject *subject, int64_t now_ns)
{
    if (subject->first != NO_BLOCK && block_expired(recent, subject->first, now_ns))
        drop_first(recent, subject);
    if (recent->oldest != NO_BLOCK && block_expired(recent, recent->oldest, now_ns))
        drop_oldest(recent);
}

/* ---- Interface ---------------------------------------------------------------------------- */

int recent_new(uint64_t keep_ns, size_t budget_bytes, struct recent **ret_recent)
{
    size_t blocks = MIN(MAX(budget_bytes / sizeof(struct block), 1), UINT32_MAX / 2);
    struct recent *recent = mem_alloc(sizeof(*recent));
    if (!recent)
        return -ENOMEM;
    recent->slabs =
        mem_alloc_array((blocks + BLOCKS_PER_SLAB - 1) / BLOCKS_PER_SLAB, sizeof(*recent->slabs));
    if (!recent->slabs) {
        mem_free(recent);
        return -ENOMEM;
    }
    recent->keep_ns = keep_ns;
    recent->blocks_max = (uint32_t)blocks;
    recent->free = recent->oldest = recent->newest = NO_BLOCK;
    *ret_recent = recent;
    return 0;
}

void recent_free(struct recent *recent)
{
    if (!recent)
        return;
    for (uint32_t i = 0; i < recent->blocks_made; i += BLOCKS_PER_SLAB)
        mem_free(recent->slabs[i / BLOCKS_PER_SLAB]);
    mem_free(recent->slabs);
    mem_free(recent->subjects);
    mem_free(recent);
}

static int grow_subjects(struct recent *recent, agent_slot slot)
{
    size_t count = MAX(MAX(recent->n_subjects * 2, (size_t)slot + 1), 16);
    struct subject *grown = mem_resize_array(recent->subjects, count, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    for (size_t i = recent->n_subjects; i < count; i++)
        grown[i] = (struct subject){.first = NO_BLOCK, .last = NO_BLOCK};
    recent->subjects = grown;
    recent->n_subjects = count;
    return 0;
}

/* Counts a sample of this second. Returns false where the second has had its share. */
static bool count_in_second(struct subject *subject, int64_t when_ns)
{
    int64_t since;
    if (__builtin_sub_overflow(when_ns, subject->second_ns, &since) || since < 0 ||
        since >= (int64_t)NS_PER_SEC) {
        subject->second_ns = when_ns;
        subject->in_second = 1;
        return true;
    }
    if (subject->in_second >= SAMPLES_PER_SECOND)
        return false;
    subject->in_second++;
    return true;
}

static bool fits(const struct block *block, int64_t when_ns)
{
    int64_t delta;
    return !__builtin_sub_overflow(when_ns, block->base_ns, &delta) && delta <= DELTA_MAX &&
           delta >= -DELTA_MAX;
}

int recent_append(struct recent *recent, agent_slot slot, const struct ac_usage *usage)
{
    if (slot >= recent->n_subjects) {
        int r = grow_subjects(recent, slot);
        if (r < 0)
            return r;
    }
    struct subject *subject = &recent->subjects[slot];
    int64_t when_ns = usage->timestamp_ns;
    bool more = count_in_second(subject, when_ns);
    struct block *block = subject->last != NO_BLOCK ? block_at(recent, subject->last) : NULL;
    if (!block || !fits(block, when_ns) || (more && block->count == SAMPLES_PER_BLOCK)) {
        expire(recent, subject, when_ns);
        block = open_block(recent, slot, when_ns);
        if (!block)
            return -ENOMEM;
        more = true;
    }
    if (more)
        block->count++;
    block->newest_ns = MAX(block->newest_ns, when_ns);
    pack(&block->samples[block->count - 1], usage, block->base_ns);
    return 0;
}

void recent_forget(struct recent *recent, agent_slot slot)
{
    if (slot >= recent->n_subjects)
        return;
    struct subject *subject = &recent->subjects[slot];
    while (subject->first != NO_BLOCK)
        drop_first(recent, subject);
    subject->in_second = 0;
    subject->second_ns = 0;
}

/* Copies what lies in the span to @out, or only counts where that is NULL. */
static size_t collect(const struct recent *recent, agent_slot slot, int64_t from_ns, int64_t to_ns,
    struct ac_usage *out)
{
    size_t count = 0;
    uint32_t index = slot < recent->n_subjects ? recent->subjects[slot].first : NO_BLOCK;
    for (; index != NO_BLOCK; index = block_at(recent, index)->next) {
        const struct block *block = block_at(recent, index);
        if (block->newest_ns < from_ns)
            continue;
        for (uint32_t i = 0; i < block->count; i++) {
            int64_t when_ns = packed_time(block, &block->samples[i]);
            if (when_ns < from_ns || when_ns > to_ns)
                continue;
            if (out)
                unpack(block, &block->samples[i], &out[count]);
            count++;
        }
    }
    return count;
}

int64_t recent_range(const struct recent *recent, agent_slot slot, int64_t from_ns, int64_t to_ns,
    struct ac_usage **ret_usages)
{
    size_t count = collect(recent, slot, from_ns, to_ns, NULL);
    if (count == 0)
        return 0;
    struct ac_usage *usages = mem_alloc_array(count, sizeof(*usages));
    if (!usages)
        return -ENOMEM;
    collect(recent, slot, from_ns, to_ns, usages);
    *ret_usages = usages;
    return (int64_t)count;
}

int64_t recent_oldest(const struct recent *recent, agent_slot slot)
{
    if (slot >= recent->n_subjects || recent->subjects[slot].first == NO_BLOCK)
        return 0;
    const struct block *block = block_at(recent, recent->subjects[slot].first);
    return packed_time(block, &block->samples[0]);
}

size_t recent_memory(const struct recent *recent)
{
    size_t slabs = (recent->blocks_max + BLOCKS_PER_SLAB - 1) / BLOCKS_PER_SLAB;
    return sizeof(*recent) + slabs * sizeof(*recent->slabs) +
           (size_t)recent->blocks_made * sizeof(struct block) +
           recent->n_subjects * sizeof(struct subject);
}
