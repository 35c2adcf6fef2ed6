/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quantile sketch: a histogram with 16 equal buckets per octave (0-15 exactly). Two of them add
 * up to the sketch of both sets, so hours merge into days and agents into groups without loss.
 *
 * Error: the answer to quantile q is the middle of the bucket of the value of that rank, at most
 * 1/32 (3.1 %) of the value away, and exact below 32; it is clamped to [min, max] where the
 * caller knows them.
 *
 * Bytes: varint number of buckets, then per bucket in rising order the varint distance to the
 * bucket before (less 1, but for the first) and the varint count - 1.
 */
#ifndef AC_STORE_HIST_SKETCH_H
#define AC_STORE_HIST_SKETCH_H

#include "base/buf.h"
#include "store/hist_bytes.h"

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

void sketch_encode(const struct sketch *sketch, struct buf *out);

/* Adds an encoded sketch to @sketch. Returns 0 or -EBADMSG with @sketch as it was. */
int sketch_merge(struct sketch *sketch, struct byte_reader *reader);

#endif
