/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers through the range coder, in both directions by the same code: what is written as
 * `value = code_bit(c, model, value)` codes its argument where @c writes and gives back what was
 * coded where it reads, so the two sides cannot drift apart.
 *
 * Reading gives something for any input: damage is found by the checksum around it, and callers
 * check what they get against what they know and set .bad.
 *
 * Inline: it is the inner loop of merging.
 */
#ifndef AC_STORE_HIST_CODE_H
#define AC_STORE_HIST_CODE_H

#include "store/hist_bytes.h"
#include "store/hist_range.h"

#define CODE_LEVELS       6 /* of the tree for bit lengths 0-63 */
#define CODE_SMALL_LEVELS 4 /* 0-15 */

struct code {
    bool reading;
    bool bad;
    struct range_encoder e;
    struct range_decoder d;
};

static inline bool code_bit(struct code *c, struct range_model *model, bool bit)
{
    if (c->reading)
        return range_decode(&c->d, model);
    range_encode(&c->e, model, bit);
    return bit;
}

/* @bits (0-64) of no known distribution. */
static inline uint64_t code_raw(struct code *c, uint64_t value, unsigned bits)
{
    uint64_t high = 0;
    if (bits > 32) {
        bits -= 32;
        if (c->reading)
            high = range_decode_raw(&c->d, 32) << bits;
        else
            range_encode_raw(&c->e, value >> bits, 32);
    }
    if (c->reading)
        return high | range_decode_raw(&c->d, bits);
    range_encode_raw(&c->e, value & ((1ull << bits) - 1), bits);
    return value;
}

/* One of @n (1-65536) that are equally likely. */
static inline uint32_t code_choice(struct code *c, uint32_t value, uint32_t n)
{
    if (!c->reading) {
        c->e.range /= n;
        c->e.low += (uint64_t)c->e.range * value;
        while (c->e.range < RANGE_TOP) {
            c->e.range <<= 8;
            range_shift(&c->e);
        }
        return value;
    }
    c->d.range /= n;
    value = c->d.code / c->d.range;
    if (value >= n) /* only in damaged input */
        value = n - 1;
    c->d.code -= value * c->d.range;
    while (c->d.range < RANGE_TOP) {
        c->d.range <<= 8;
        c->d.code = c->d.code << 8 | range_get(&c->d);
    }
    return value;
}

/* A number below @n (1-2^63), each as likely as the other. */
static inline uint64_t code_uniform(struct code *c, uint64_t value, uint64_t n)
{
    unsigned bits = bit_length(n - 1);
    unsigned low = bits > 16 ? bits - 16 : 0;
    uint64_t high = code_choice(c, (uint32_t)(value >> low), (uint32_t)((n - 1) >> low) + 1);
    value = high << low | code_raw(c, value & ((1ull << low) - 1), low);
    if (value < n)
        return value;
    c->bad = true;
    return 0;
}

/* A number of @levels bits by a tree of models. */
static inline unsigned code_tree(
    struct code *c, struct range_model *nodes, unsigned value, unsigned levels)
{
    unsigned node = 1;
    if (c->reading) {
        struct range_decoder d = c->d; /* in registers: the models could be part of *c */
        for (unsigned bit = levels; bit-- > 0;)
            node = node * 2 + range_decode(&d, &nodes[node]);
        c->d = d;
    } else {
        for (unsigned bit = levels; bit-- > 0;)
            node = node * 2 + code_bit(c, &nodes[node], value >> bit & 1);
    }
    return node - (1u << levels);
}

/* The bits of a number of @size bits below its leading one. */
static inline uint64_t code_rest(struct code *c, uint64_t value, unsigned size)
{
    if (size < 2)
        return size;
    uint64_t leading = 1ull << (size - 1);
    return leading | code_raw(c, value & (leading - 1), size - 1);
}

/* A number below 2^63: its bit length by a tree, a model for the bit below the leading one (of
 * each bit length), the rest raw. */
static inline uint64_t code_number(
    struct code *c, struct range_model *nodes, struct range_model *top, uint64_t value)
{
    unsigned size = code_tree(c, nodes, bit_length(value), CODE_LEVELS);
    if (size < 2)
        return size;
    unsigned left = size - 2;
    uint64_t leading = 2 + code_bit(c, &top[size], value >> left & 1);
    return leading << left | code_raw(c, value & ((1ull << left) - 1), left);
}

/* Any number: its bit length by a tree (63 stands for 64, too), the rest raw. */
static inline uint64_t code_wide(struct code *c, struct range_model *nodes, uint64_t value)
{
    unsigned size = bit_length(value);
    unsigned known = code_tree(c, nodes, size < 63 ? size : 63, CODE_LEVELS);
    if (known == 63)
        known += (unsigned)code_raw(c, size - 63, 1);
    return code_rest(c, value, known);
}

/* Any number with a sign, those near 0 short. */
static inline int64_t code_signed(struct code *c, struct range_model *nodes, int64_t value)
{
    return unzigzag(code_wide(c, nodes, zigzag(value)));
}

#endif
