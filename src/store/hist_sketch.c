/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_sketch.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define SUB_COUNT (1u << SKETCH_SUB_BITS)

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

uint64_t sketch_least_sum(
    const struct sketch *sketch, uint64_t min, uint64_t max, uint64_t *ret_width)
{
    uint64_t sum = 0;
    uint64_t width = 0;
    for (unsigned bucket = sketch->low; bucket < sketch->high; bucket++) {
        uint64_t count = sketch->counts[bucket];
        unsigned octave = bucket < 2 * SUB_COUNT ? 0 : bucket / SUB_COUNT - 1;
        uint64_t start = bucket - octave * (uint64_t)SUB_COUNT;
        uint64_t first = MAX(start << octave, min);
        uint64_t last = MIN(((start + 1) << octave) - 1, max);
        if (count == 0)
            continue;
        sum += count * first;
        width += count * (last - first);
    }
    *ret_width = width;
    return sum;
}

void sketch_join(struct sketch *to, const struct sketch *from)
{
    if (from->count == 0)
        return;
    widen(to, from->low);
    widen(to, from->high - 1);
    for (unsigned bucket = from->low; bucket < from->high; bucket++)
        to->counts[bucket] += from->counts[bucket];
    to->count += from->count;
}

/* ---- Coding ------------------------------------------------------------------------------- */

#define CONTEXT_AFTER_ZEROS 0
#define CONTEXT_AFTER_ZERO  1
#define CONTEXT_AFTER_MAX   14
#define CONTEXT_FIRST       15
#define CONTEXT_RUN         16 /* of zeros; the next one: where the last run was long */
#define LONG_RUN            3
#define ESCAPE              15

void sketch_expect(struct sketch *sketch, uint64_t min, uint64_t max, uint64_t count)
{
    sketch->low = bucket_of(min);
    sketch->high = bucket_of(max) + 1;
    sketch->count = count;
}

static uint64_t code_count(struct code *c, struct range_model *nodes, uint64_t count)
{
    unsigned size = bit_length(count);
    unsigned known = code_tree(c, nodes, MIN(size, (unsigned)ESCAPE), CODE_SMALL_LEVELS);
    if (known == ESCAPE) {
        known += (unsigned)code_raw(c, size - ESCAPE, 6);
        known = MIN(known, 63u);
    }
    return code_rest(c, count, known);
}

/* The zeros from @from on, before the last bucket. */
static unsigned zeros_from(const struct sketch *sketch, unsigned from)
{
    unsigned to = from;
    while (to + 1 < sketch->high && sketch->counts[to] == 0)
        to++;
    return to - from;
}

void sketch_code(struct code *c, struct sketch_models *m, struct sketch *sketch)
{
    uint64_t left = sketch->count;
    uint64_t before = 1;
    uint64_t last = 1;
    unsigned context = CONTEXT_FIRST;
    bool after_long = false;
    for (unsigned bucket = sketch->low; bucket + 1 < sketch->high && left > 1; bucket++) {
        bool surely = context == CONTEXT_FIRST || (before | last) == 0; /* it is not 0 */
        if ((before | last) == 0) {
            unsigned run = c->reading ? 0 : zeros_from(sketch, bucket);
            run = (unsigned)code_count(c, m->size[CONTEXT_RUN + after_long], run);
            after_long = run >= LONG_RUN;
            if (run > sketch->high - 1 - bucket) {
                c->bad = true;
                return;
            }
            bucket += run;
            if (bucket + 1 == sketch->high)
                break;
            context = CONTEXT_AFTER_ZEROS;
        }
        uint64_t count = code_count(c, m->size[context], sketch->counts[bucket] - surely) + surely;
        if (count >= left) {
            c->bad = true;
            return;
        }
        sketch->counts[bucket] = count;
        left -= count;
        before = last;
        last = count;
        context = last == 0 ? CONTEXT_AFTER_ZERO
                            : MIN(bit_length(last * 2 + before), (unsigned)CONTEXT_AFTER_MAX);
    }
    sketch->counts[sketch->high - 1] = left;
}
