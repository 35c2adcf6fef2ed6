/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing varints of bounded input: the small change of the history's formats. */
#ifndef AC_STORE_HIST_BYTES_H
#define AC_STORE_HIST_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

/* A cursor over input. The first read past the end, and the first malformed one, sets .bad;
 * reads then give 0. */
struct byte_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

#define VARINT_MAX_BYTES 10

static inline uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t code)
{
    return (int64_t)(code >> 1 ^ (0 - (code & 1)));
}

/* a - b, a + b and a * b that wrap around, for deltas of values from damaged input. */
static inline int64_t wrap_sub(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static inline int64_t wrap_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t wrap_mul(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

static inline struct byte_reader byte_reader(const void *bytes, size_t size)
{
    return (struct byte_reader){bytes, (const uint8_t *)bytes + size, false};
}

static inline size_t reader_left(const struct byte_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline uint8_t get_u8(struct byte_reader *r)
{
    if (r->at == r->end) {
        r->bad = true;
        return 0;
    }
    return *r->at++;
}

static inline uint32_t get_u32(struct byte_reader *r)
{
    if (reader_left(r) < 4) {
        r->bad = true;
        r->at = r->end;
        return 0;
    }
    uint32_t value = (uint32_t)r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 |
                     (uint32_t)r->at[3] << 24;
    r->at += 4;
    return value;
}

static inline uint64_t get_varint(struct byte_reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = get_u8(r);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    r->bad = true;
    return 0;
}

static inline int64_t get_signed(struct byte_reader *r)
{
    return unzigzag(get_varint(r));
}

/* A varint that must be at most @max. */
static inline uint64_t get_capped(struct byte_reader *r, uint64_t max)
{
    uint64_t value = get_varint(r);
    if (value > max) {
        r->bad = true;
        return 0;
    }
    return value;
}

/* @size bytes in place; NULL where there are not as many. */
static inline const uint8_t *get_bytes(struct byte_reader *r, size_t size)
{
    if (reader_left(r) < size) {
        r->bad = true;
        r->at = r->end;
        return NULL;
    }
    const uint8_t *bytes = r->at;
    r->at += size;
    return bytes;
}

/* Writes at @out, which has room for VARINT_MAX_BYTES. Returns the end. */
static inline uint8_t *put_varint(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static inline uint8_t *put_signed(uint8_t *out, int64_t value)
{
    return put_varint(out, zigzag(value));
}

/* The same into a buffer; failures are marked in it. */
static inline void buf_put_varint(struct buf *buf, uint64_t value)
{
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_append(buf, bytes, (size_t)(put_varint(bytes, value) - bytes));
}

static inline void buf_put_signed(struct buf *buf, int64_t value)
{
    buf_put_varint(buf, zigzag(value));
}

static inline void buf_put_u8(struct buf *buf, uint8_t value)
{
    buf_append(buf, &value, 1);
}

static inline void buf_put_u32(struct buf *buf, uint32_t value)
{
    uint8_t bytes[4] = {
        (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    buf_append(buf, bytes, sizeof(bytes));
}

static inline unsigned bit_length(uint64_t value)
{
    return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
}

#endif
