/* SPDX-License-Identifier: Apache-2.0 */
/* How columns code numbers: shared by hist_column.c, which writes them, and hist_column_read.c. */
#ifndef AC_STORE_HIST_COLUMN_CODE_H
#define AC_STORE_HIST_COLUMN_CODE_H

#include "store/hist_column.h"
#include "store/hist_priors.h"

#define FLAG_RUNS    0x08
#define FLAG_DIVISOR 0x10
#define FLAG_TOTALS  0x20
#define FLAG_DEEP    0x40
#define FLAGS_ALL    0x7f

#define TOP_BITS  4 /* modelled bits below the leading one */
#define DEEP_BITS 5 /* more of them where the same numbers come again and again */

/* Models of these start from even chances. */
struct column_deep {
    struct range_model nodes[PRIOR_TOP_CLASSES][1 << (TOP_BITS + DEEP_BITS)];
};

/* What is common to the coding of a column in both directions. */
struct plan {
    enum column_mode mode;
    int64_t min;
    uint64_t divisor;
    unsigned depth;           /* of the tree of bit lengths */
    struct column_deep *deep; /* NULL = not */
};

static inline unsigned tree_depth(uint64_t largest)
{
    return bit_length(bit_length(largest));
}

/* The tree of 6 levels is entered below its leading zeros, so that short trees share its nodes. */
static inline void put_size(
    struct range_encoder *e, struct range_model *nodes, unsigned size, unsigned depth)
{
    unsigned node = 1u << (6 - depth);
    for (unsigned bit = depth; bit-- > 0;) {
        bool b = size >> bit & 1;
        range_encode(e, &nodes[node], b);
        node = node * 2 + b;
    }
}

static inline unsigned get_size(struct range_decoder *d, struct range_model *nodes, unsigned depth)
{
    unsigned node = 1u << (6 - depth);
    unsigned size = 0;
    for (unsigned bit = 0; bit < depth; bit++) {
        bool b = range_decode(d, &nodes[node]);
        size = size * 2 + b;
        node = node * 2 + b;
    }
    return size;
}

static inline unsigned top_class(unsigned size)
{
    return size < PRIOR_TOP_CLASSES ? size : PRIOR_TOP_CLASSES - 1;
}

static inline void deep_init(struct column_deep *deep)
{
    for (unsigned i = 0; i < PRIOR_TOP_CLASSES; i++) {
        for (unsigned k = 0; k < 1 << (TOP_BITS + DEEP_BITS); k++)
            deep->nodes[i][k] = (struct range_model){.p = 1 << 15};
    }
}

/* The bits of @value below its leading one. */
static inline void put_rest(struct range_encoder *e, struct column_models *m,
    const struct plan *plan, uint64_t value, unsigned size)
{
    if (size < 2)
        return;
    struct range_model *nodes = m->top[top_class(size)];
    unsigned left = size - 1;
    unsigned node = 1;
    for (unsigned i = 0; i < TOP_BITS && left > 0; i++) {
        bool b = value >> --left & 1;
        range_encode(e, &nodes[node], b);
        node = node * 2 + b;
    }
    for (unsigned i = 0; plan->deep != NULL && i < DEEP_BITS && left > 0; i++) {
        bool b = value >> --left & 1;
        range_encode(e, &plan->deep->nodes[top_class(size)][node], b);
        node = node * 2 + b;
    }
    range_encode_raw(e, value & ((1ull << left) - 1), left);
}

static inline uint64_t get_rest(
    struct range_decoder *d, struct column_models *m, const struct plan *plan, unsigned size)
{
    if (size < 2)
        return size;
    struct range_model *nodes = m->top[top_class(size)];
    unsigned left = size - 1;
    unsigned node = 1;
    uint64_t value = 1;
    for (unsigned i = 0; i < TOP_BITS && left > 0; i++, left--) {
        bool b = range_decode(d, &nodes[node]);
        node = node * 2 + b;
        value = value << 1 | b;
    }
    for (unsigned i = 0; plan->deep != NULL && i < DEEP_BITS && left > 0; i++, left--) {
        bool b = range_decode(d, &plan->deep->nodes[top_class(size)][node]);
        node = node * 2 + b;
        value = value << 1 | b;
    }
    return value << left | range_decode_raw(d, left);
}

static inline unsigned size_context(unsigned size)
{
    return size < PRIOR_CLASS_CONTEXTS ? size : PRIOR_CLASS_CONTEXTS - 1;
}

/* A difference that is not 0: sign, bit length, the rest. */
struct delta_state {
    unsigned zeros; /* the last three zero flags */
    unsigned sign;  /* 0 none yet, 1 rose, 2 fell */
    unsigned size;
};

static inline void put_delta(struct range_encoder *e, struct column_models *m,
    const struct plan *plan, struct delta_state *s, int64_t delta)
{
    bool fell = delta < 0;
    uint64_t magnitude = fell ? 0 - (uint64_t)delta : (uint64_t)delta;
    unsigned size = bit_length(magnitude);
    range_encode(e, &m->sign[s->sign], fell);
    put_size(e, m->size[size_context(s->size)], size, plan->depth);
    put_rest(e, m, plan, magnitude, size);
    s->sign = 1 + fell;
    s->size = size;
}

static inline int64_t get_delta(struct range_decoder *d, struct column_models *m,
    const struct plan *plan, struct delta_state *s)
{
    bool fell = range_decode(d, &m->sign[s->sign]);
    unsigned size = get_size(d, m->size[size_context(s->size)], plan->depth);
    uint64_t magnitude = get_rest(d, m, plan, size);
    s->sign = 1 + fell;
    s->size = size;
    return fell ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
}

static inline void put_run(
    struct range_encoder *e, struct column_models *m, unsigned *context, size_t n)
{
    unsigned size = bit_length(n);
    unsigned node = 1;
    for (unsigned bit = 4; bit-- > 0;) {
        bool b = size >> bit & 1;
        range_encode(e, &m->run_size[*context][node], b);
        node = node * 2 + b;
    }
    unsigned left = size > 0 ? size - 1 : 0;
    node = 1;
    for (unsigned i = 0; i < 2 && left > 0; i++) {
        bool b = n >> --left & 1;
        range_encode(e, &m->run_top[size][node], b);
        node = (node * 2 + b) & 3;
    }
    range_encode_raw(e, n & ((1u << left) - 1), left);
    *context = size < PRIOR_RUN_CONTEXTS ? size : PRIOR_RUN_CONTEXTS - 1;
}

static inline size_t get_run(struct range_decoder *d, struct column_models *m, unsigned *context)
{
    unsigned size = 0;
    unsigned node = 1;
    for (unsigned bit = 0; bit < 4; bit++) {
        bool b = range_decode(d, &m->run_size[*context][node]);
        size = size * 2 + b;
        node = node * 2 + b;
    }
    size_t n = size > 0;
    unsigned left = size > 0 ? size - 1 : 0;
    node = 1;
    for (unsigned i = 0; i < 2 && left > 0; i++, left--) {
        bool b = range_decode(d, &m->run_top[size][node]);
        node = (node * 2 + b) & 3;
        n = n << 1 | b;
    }
    *context = size < PRIOR_RUN_CONTEXTS ? size : PRIOR_RUN_CONTEXTS - 1;
    return n << left | range_decode_raw(d, left);
}

static inline int64_t predicted_growth(const struct column_stats *stats, uint64_t growth)
{
    double predicted = (double)stats->sum * (double)growth / 1024.0;
    return predicted > -9e18 && predicted < 9e18 ? (int64_t)predicted : 0;
}

#endif
