/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_sketch.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

#define SUB_COUNT (1u << SKETCH_SUB_BITS)
#define COUNT_MAX ((uint64_t)1 << 40)

static unsigned bucket_of(uint64_t value)
{
    if (value < SUB_COUNT)
        return (unsigned)value;
    unsigned octave = bit_length(value) - SKETCH_SUB_BITS - 1;
    unsigned bucket = octave * SUB_COUNT + (unsigned)(value >> octave);
    return MIN(bucket, SKETCH_BUCKETS - 1);
}

static double bucket_middle(unsigned bucket)
{
    if (bucket < 2 * SUB_COUNT)
        return bucket;
    unsigned octave = bucket / SUB_COUNT - 1;
    uint64_t start = (uint64_t)(bucket % SUB_COUNT + SUB_COUNT) << octave;
    return (double)start + ((double)((uint64_t)1 << octave) - 1) / 2;
}

static void widen(struct sketch *sketch, unsigned bucket)
{
    if (sketch->low == sketch->high) {
        sketch->low = bucket;
        sketch->high = bucket + 1;
        return;
    }
    sketch->low = MIN(sketch->low, bucket);
    sketch->high = MAX(sketch->high, bucket + 1);
}

void sketch_clear(struct sketch *sketch)
{
    memset(
        &sketch->counts[sketch->low], 0, (sketch->high - sketch->low) * sizeof(sketch->counts[0]));
    sketch->count = 0;
    sketch->low = sketch->high = 0;
}

void sketch_add_many(struct sketch *sketch, uint64_t value, uint64_t count)
{
    unsigned bucket = bucket_of(value);
    if (count == 0)
        return;
    if (bucket < sketch->low || bucket >= sketch->high)
        widen(sketch, bucket);
    sketch->counts[bucket] += count;
    sketch->count += count;
}

void sketch_add(struct sketch *sketch, uint64_t value)
{
    sketch_add_many(sketch, value, 1);
}

double sketch_quantile(const struct sketch *sketch, double q)
{
    if (sketch->count == 0)
        return NAN;
    double exact = ceil(q * (double)sketch->count);
    uint64_t rank = exact < 1 ? 1 : (uint64_t)MIN(exact, (double)sketch->count);
    uint64_t seen = 0;
    for (unsigned bucket = sketch->low; bucket < sketch->high; bucket++) {
        seen += sketch->counts[bucket];
        if (seen >= rank)
            return bucket_middle(bucket);
    }
    return bucket_middle(sketch->high - 1);
}

void sketch_encode(const struct sketch *sketch, struct buf *out)
{
    unsigned used = 0;
    for (unsigned i = sketch->low; i < sketch->high; i++)
        used += sketch->counts[i] > 0;
    buf_put_varint(out, used);
    unsigned next = 0;
    for (unsigned i = sketch->low; i < sketch->high; i++) {
        if (sketch->counts[i] == 0)
            continue;
        buf_put_varint(out, i - next);
        buf_put_varint(out, sketch->counts[i] - 1);
        next = i + 1;
    }
}

int sketch_merge(struct sketch *sketch, struct byte_reader *reader)
{
    unsigned buckets[SKETCH_BUCKETS];
    uint64_t counts[SKETCH_BUCKETS];
    unsigned used = (unsigned)get_capped(reader, SKETCH_BUCKETS);
    uint64_t next = 0;
    for (unsigned i = 0; i < used && !reader->bad; i++) {
        next += get_capped(reader, SKETCH_BUCKETS);
        if (next >= SKETCH_BUCKETS)
            reader->bad = true;
        buckets[i] = (unsigned)next++;
        counts[i] = get_capped(reader, COUNT_MAX) + 1;
    }
    if (reader->bad)
        return -EBADMSG;
    for (unsigned i = 0; i < used; i++) {
        widen(sketch, buckets[i]);
        sketch->counts[buckets[i]] += counts[i];
        sketch->count += counts[i];
    }
    return 0;
}
