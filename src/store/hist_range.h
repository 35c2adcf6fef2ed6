/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adaptive binary range coder: 32-bit range, carry propagation through a pending byte, models
 * whose rate falls with the number of bits seen (1/1.5, 1/2.5, ... down to a floor), so that a
 * short column learns fast and a long one precisely.
 *
 * The stream ends with as few bytes as name the final interval; trailing zero bytes are left
 * out and a decoder reads zeros behind the end. A decoder therefore never fails and never reads
 * outside its input: damage is found by the checksum around it, and the caller bounds what it
 * decodes. Everything is inline: it is the inner loop of the history.
 */
#ifndef AC_STORE_HIST_RANGE_H
#define AC_STORE_HIST_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGE_TOP       (1u << 24)
#define RANGE_P_MIN     48u /* of 65536: no bit costs more than 10.4 or less than 0.001 bits */
#define RANGE_COUNT_MAX 40u /* floor of the rate: about 1/41 */

/* How likely a 1 is, in 1/65536, and how much was seen. */
struct range_model {
    uint16_t p;
    uint16_t count;
};

extern const uint16_t range_rates[RANGE_COUNT_MAX + 1];

struct range_encoder {
    uint64_t low;
    uint32_t range;
    uint8_t pending; /* a byte that a carry may still raise ... */
    bool started;    /* ... and whether there is one */
    uint32_t ones;   /* 0xff bytes behind it */
    uint8_t *out;
    uint8_t *end;
    bool overflow; /* did not fit: the result is useless */
};

struct range_decoder {
    uint32_t range;
    uint32_t code;
    const uint8_t *in;
    const uint8_t *end;
};

/* A hook for the program that trains the starting probabilities. */
#ifdef RANGE_TRAIN
void range_train(const struct range_model *model, bool bit);
#else
#define range_train(model, bit) ((void)0)
#endif

static inline void range_adapt(struct range_model *model, bool bit)
{
    range_train(model, bit);
    uint32_t rate = range_rates[model->count];
    model->count += model->count < RANGE_COUNT_MAX;
    if (bit)
        model->p += (uint16_t)((65536u - RANGE_P_MIN - model->p) * rate >> 16);
    else
        model->p -= (uint16_t)((model->p - RANGE_P_MIN) * rate >> 16);
}

static inline void range_encoder_init(struct range_encoder *e, uint8_t *out, size_t capacity)
{
    *e = (struct range_encoder){.range = UINT32_MAX, .out = out, .end = out + capacity};
}

static inline void range_put(struct range_encoder *e, uint8_t byte)
{
    if (e->out == e->end)
        e->overflow = true;
    else
        *e->out++ = byte;
}

static inline void range_shift(struct range_encoder *e)
{
    if ((uint32_t)e->low < 0xff000000u || e->low >> 32) {
        uint8_t carry = (uint8_t)(e->low >> 32);
        if (e->started)
            range_put(e, (uint8_t)(e->pending + carry));
        for (; e->ones > 0; e->ones--)
            range_put(e, (uint8_t)(0xff + carry));
        e->pending = (uint8_t)(e->low >> 24);
        e->started = true;
    } else {
        e->ones++;
    }
    e->low = (e->low & 0x00ffffffu) << 8;
}

static inline void range_encode(struct range_encoder *e, struct range_model *model, bool bit)
{
    uint32_t bound = (e->range >> 16) * model->p;
    if (bit) {
        e->range = bound;
    } else {
        e->low += bound;
        e->range -= bound;
    }
    range_adapt(model, bit);
    while (e->range < RANGE_TOP) {
        e->range <<= 8;
        range_shift(e);
    }
}

/* @count (0-63) bits of no known distribution. */
static inline void range_encode_raw(struct range_encoder *e, uint64_t value, unsigned count)
{
    while (count > 0) {
        unsigned part = count > 8 ? 8 : count;
        count -= part;
        e->range >>= part;
        e->low += (uint64_t)e->range * (value >> count & ((1u << part) - 1));
        while (e->range < RANGE_TOP) {
            e->range <<= 8;
            range_shift(e);
        }
    }
}

/* Ends the stream. Returns where it ends, or NULL where it did not fit. */
static inline uint8_t *range_finish(struct range_encoder *e, const uint8_t *start)
{
    /* Some value with the most trailing zeros in [low, low + range). */
    for (unsigned zeros = 31; zeros > 0; zeros--) {
        uint64_t mask = (1ull << zeros) - 1;
        uint64_t value = (e->low + mask) & ~mask;
        if (value < e->low + e->range) {
            e->low = value;
            break;
        }
    }
    for (int i = 0; i < 5; i++)
        range_shift(e);
    while (e->out > start && e->out[-1] == 0)
        e->out--;
    return e->overflow ? NULL : e->out;
}

static inline uint8_t range_get(struct range_decoder *d)
{
    return d->in < d->end ? *d->in++ : 0;
}

static inline void range_decoder_init(struct range_decoder *d, const uint8_t *in, size_t size)
{
    *d = (struct range_decoder){.range = UINT32_MAX, .in = in, .end = in + size};
    for (int i = 0; i < 4; i++)
        d->code = d->code << 8 | range_get(d);
}

static inline bool range_decode(struct range_decoder *d, struct range_model *model)
{
    uint32_t bound = (d->range >> 16) * model->p;
    bool bit = d->code < bound;
    if (bit) {
        d->range = bound;
    } else {
        d->code -= bound;
        d->range -= bound;
    }
    range_adapt(model, bit);
    while (d->range < RANGE_TOP) {
        d->range <<= 8;
        d->code = d->code << 8 | range_get(d);
    }
    return bit;
}

static inline uint64_t range_decode_raw(struct range_decoder *d, unsigned count)
{
    uint64_t value = 0;
    while (count > 0) {
        unsigned part = count > 8 ? 8 : count;
        count -= part;
        d->range >>= part;
        uint32_t digit = d->code / d->range;
        if (digit >= 1u << part) /* only in damaged input */
            digit = (1u << part) - 1;
        d->code -= digit * d->range;
        value = value << part | digit;
        while (d->range < RANGE_TOP) {
            d->range <<= 8;
            d->code = d->code << 8 | range_get(d);
        }
    }
    return value;
}

#endif
