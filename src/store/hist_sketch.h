/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quantile sketch: a histogram with 16 equal buckets per octave (0-15 exactly). Two of them add
 * up to the sketch of both sets, so hours merge into days and agents into groups without loss.
 *
 * Error: the answer to quantile q is the middle of the bucket of the value of that rank, at most
 * 1/32 (3.1 %) of the value away, and exact below 32; it is clamped to [min, max] where the
 * caller knows them.
 *
 * Coded are the counts from the first bucket to the last, which follow from minimum and maximum
 * of the values, but for the last one, which follows from the number of values. A count (of the
 * first bucket: less 1) is its bit length, modelled in the context of the two counts before, and
 * the rest raw. After two zeros comes the number of further zeros, then a count less 1. What is
 * left for the last bucket is never 0; once that is 1, nothing else is coded.
 */
#ifndef AC_STORE_HIST_SKETCH_H
#define AC_STORE_HIST_SKETCH_H

#include "store/hist_code.h"

#define SKETCH_SUB_BITS    4
#define SKETCH_BUCKETS     (16 * (57 - SKETCH_SUB_BITS + 1))
#define SKETCH_ERROR_BOUND (1.0 / 32)

/* Zeroed = empty. */
struct sketch {
    uint64_t count;
    uint32_t low; /* buckets in use: [low, high) */
    uint32_t high;
    uint64_t counts[SKETCH_BUCKETS];
};

void sketch_clear(struct sketch *sketch);

/* @value: 0-HIST_VALUE_MAX; larger ones count as that. */
void sketch_add(struct sketch *sketch, uint64_t value);
void sketch_add_many(struct sketch *sketch, uint64_t value, uint64_t count);

/* The value of rank ceil(@q * count), as the middle of its bucket; @q in [0, 1]. NaN when empty. */
double sketch_quantile(const struct sketch *sketch, double q);

/* The least sum that values from @min to @max can have which this sketch counts. The largest is
 * @ret_width more. */
uint64_t sketch_least_sum(
    const struct sketch *sketch, uint64_t min, uint64_t max, uint64_t *ret_width);

#define SKETCH_CONTEXTS 18
struct sketch_models {
    struct range_model size[SKETCH_CONTEXTS][1 << CODE_SMALL_LEVELS];
};

/* Prepares a cleared sketch for reading: @count values, at least 1, from @min to @max. */
void sketch_expect(struct sketch *sketch, uint64_t min, uint64_t max, uint64_t count);

/* Codes the counts of a sketch with .count, .low and .high. Sets .bad where they do not add up. */
void sketch_code(struct code *c, struct sketch_models *models, struct sketch *sketch);

/* Adds a sketch to another. */
void sketch_join(struct sketch *to, const struct sketch *from);

#endif
