/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_frame.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "store/crc32c.h"

#define ZSTD_LEVEL 1
#define FLAG_KEY   1
#define BITMAP_MAX (FRAME_BLOCK / 8)

/* The worst block: everything changes by ten bytes. */
#define BLOCK_MAX                                                                                  \
    ((size_t)FRAME_COLUMNS * (1 + BITMAP_MAX + FRAME_BLOCK * VARINT_MAX_BYTES) +                   \
        (size_t)HIST_COUNTERS * FRAME_BLOCK * VARINT_MAX_BYTES)

struct frame_codec {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    uint8_t *raw;
    uint8_t *packed;
    size_t packed_room;
};

int frame_state_reserve(struct frame_state *state, uint32_t slots)
{
    if (slots <= state->room)
        return 0;
    uint32_t room = MAX(slots, MAX(state->room * 2, 64u));
    uint64_t **arrays[FRAME_COLUMNS + HIST_COUNTERS];
    for (unsigned i = 0; i < FRAME_COLUMNS; i++)
        arrays[i] = &state->values[i];
    for (unsigned i = 0; i < HIST_COUNTERS; i++)
        arrays[FRAME_COLUMNS + i] = &state->counters[i];
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        uint64_t *grown = mem_resize_array(*arrays[i], room, sizeof(uint64_t));
        if (grown == NULL)
            return -ENOMEM;
        memset(&grown[state->room], 0, (room - state->room) * sizeof(uint64_t));
        *arrays[i] = grown;
    }
    state->room = room;
    return 0;
}

void frame_state_done(struct frame_state *state)
{
    for (unsigned i = 0; i < FRAME_COLUMNS; i++)
        mem_free(state->values[i]);
    for (unsigned i = 0; i < HIST_COUNTERS; i++)
        mem_free(state->counters[i]);
    *state = (struct frame_state){0};
}

bool frame_is_key(uint64_t sequence, uint32_t block)
{
    return (sequence + (uint64_t)block * 37) % FRAME_KEY_SPACING == 0;
}

int frame_codec_new(struct frame_codec **ret_codec)
{
    struct frame_codec *codec = mem_alloc(sizeof(*codec));
    if (codec == NULL)
        return -ENOMEM;
    codec->packed_room = ZSTD_compressBound(BLOCK_MAX);
    codec->compress = ZSTD_createCCtx();
    codec->decompress = ZSTD_createDCtx();
    codec->raw = mem_alloc(BLOCK_MAX);
    codec->packed = mem_alloc(codec->packed_room);
    if (codec->compress == NULL || codec->decompress == NULL || codec->raw == NULL ||
        codec->packed == NULL) {
        frame_codec_free(codec);
        return -ENOMEM;
    }
    *ret_codec = codec;
    return 0;
}

void frame_codec_free(struct frame_codec *codec)
{
    if (codec == NULL)
        return;
    ZSTD_freeCCtx(codec->compress);
    ZSTD_freeDCtx(codec->decompress);
    mem_free(codec->raw);
    mem_free(codec->packed);
    mem_free(codec);
}

/* ---- Encoding ----------------------------------------------------------------------------- */

/* @before: NULL = differences to 0. */
static uint8_t *put_column(uint8_t *out, const uint64_t *before, const uint64_t *now, uint32_t n)
{
    uint8_t *flag = out++;
    uint8_t *bitmap = out;
    size_t bitmap_size = (n + 7) / 8;
    memset(bitmap, 0, bitmap_size);
    out += bitmap_size;
    uint8_t *start = out;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t base = before == NULL ? 0 : before[i];
        if (now[i] == base)
            continue;
        bitmap[i / 8] |= (uint8_t)(1u << i % 8);
        out = put_signed(out, wrap_sub((int64_t)now[i], (int64_t)base));
    }
    *flag = out > start;
    return *flag ? out : bitmap;
}

static int encode_block(struct frame_codec *codec, bool key, uint32_t first, uint32_t n,
    const struct frame_state *before, const struct frame_state *now, struct buf *out)
{
    uint8_t *end = codec->raw;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        end = put_column(end, key ? NULL : before->values[c] + first, now->values[c] + first, n);
    for (unsigned c = 0; key && c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < n; i++)
            end = put_varint(end, now->counters[c][first + i]);
    }
    size_t raw_size = (size_t)(end - codec->raw);
    size_t size = ZSTD_compressCCtx(
        codec->compress, codec->packed, codec->packed_room, codec->raw, raw_size, ZSTD_LEVEL);
    if (ZSTD_isError(size))
        return -ENOMEM;
    buf_put_u8(out, key ? FLAG_KEY : 0);
    buf_put_varint(out, raw_size);
    buf_put_varint(out, size);
    buf_put_u32(out, crc32c(0, codec->packed, size));
    return buf_append(out, codec->packed, size);
}

int frame_encode(struct frame_codec *codec, uint64_t sequence, bool all_keys,
    const struct frame_state *before, const struct frame_state *now, struct buf *out)
{
    size_t start = out->size;
    buf_put_u8(out, FRAME_VERSION);
    buf_put_u8(out, FRAME_COLUMNS);
    buf_put_u8(out, HIST_COUNTERS);
    buf_put_signed(out, now->when_ms);
    buf_put_varint(out, now->capacity.cpu);
    buf_put_varint(out, now->capacity.memory);
    buf_put_varint(out, now->n);
    if (out->failed)
        return -ENOMEM;
    buf_put_u32(out, crc32c(0, out->data + start, out->size - start));
    for (uint32_t first = 0; first < now->n; first += FRAME_BLOCK) {
        uint32_t n = MIN(now->n - first, (uint32_t)FRAME_BLOCK);
        /* A block that has grown still differs from zeros there: @before has the same room. */
        bool key = all_keys || first >= before->n || frame_is_key(sequence, first / FRAME_BLOCK);
        int r = encode_block(codec, key, first, n, before, now, out);
        if (r < 0)
            return r;
    }
    return out->failed ? -ENOMEM : 0;
}

/* ---- Decoding ----------------------------------------------------------------------------- */

static void get_column(struct byte_reader *r, bool key, uint64_t *values, uint32_t n)
{
    if (key)
        memset(values, 0, n * sizeof(*values));
    if (get_capped(r, 1) == 0)
        return;
    const uint8_t *bitmap = get_bytes(r, (n + 7) / 8);
    if (bitmap == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        if (bitmap[i / 8] >> i % 8 & 1)
            values[i] = (uint64_t)wrap_add((int64_t)values[i], get_signed(r));
        if (values[i] > (uint64_t)HIST_VALUE_MAX + 1) {
            values[i] = 0;
            r->bad = true;
        }
    }
}

static int decode_block(struct frame_codec *codec, struct byte_reader *r, uint32_t first,
    uint32_t n, uint8_t *based, struct frame_state *state)
{
    unsigned flags = get_u8(r);
    size_t raw_size = get_capped(r, BLOCK_MAX);
    size_t size = get_capped(r, reader_left(r));
    uint32_t crc = get_u32(r);
    const uint8_t *packed = get_bytes(r, size);
    if (r->bad || packed == NULL || flags > FLAG_KEY || crc != crc32c(0, packed, size))
        return -EBADMSG;
    bool key = flags & FLAG_KEY;
    if (!key && !*based)
        return 0;
    size_t got = ZSTD_decompressDCtx(codec->decompress, codec->raw, BLOCK_MAX, packed, size);
    if (ZSTD_isError(got) || got != raw_size)
        return -EBADMSG;
    struct byte_reader raw = byte_reader(codec->raw, raw_size);
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        get_column(&raw, key, state->values[c] + first, n);
    for (unsigned c = 0; key && c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < n; i++)
            state->counters[c][first + i] = get_varint(&raw);
    }
    if (raw.bad || raw.at != raw.end)
        return -EBADMSG;
    *based = 1;
    return 0;
}

int frame_decode(struct frame_codec *codec, const void *bytes, size_t size, uint8_t *based,
    struct frame_state *state)
{
    struct byte_reader r = byte_reader(bytes, size);
    unsigned version = get_u8(&r);
    if (version > FRAME_VERSION)
        return -EPROTO;
    unsigned columns = get_u8(&r);
    unsigned counters = get_u8(&r);
    int64_t when_ms = get_signed(&r);
    struct hist_capacity capacity = {.cpu = get_varint(&r)};
    capacity.memory = get_varint(&r);
    uint32_t n = (uint32_t)get_capped(&r, FRAME_SLOTS_MAX);
    size_t head = (size_t)(r.at - (const uint8_t *)bytes);
    uint32_t crc = get_u32(&r);
    if (r.bad || version == 0 || columns != FRAME_COLUMNS || counters != HIST_COUNTERS ||
        crc != crc32c(0, bytes, head))
        return -EBADMSG;
    int result = frame_state_reserve(state, n);
    if (result < 0)
        return result;
    state->n = n;
    state->when_ms = when_ms;
    state->capacity = capacity;
    for (uint32_t first = 0; first < n && result == 0; first += FRAME_BLOCK)
        result = decode_block(codec, &r, first, MIN(n - first, (uint32_t)FRAME_BLOCK),
            &based[first / FRAME_BLOCK], state);
    return result == 0 && r.at != r.end ? -EBADMSG : result;
}
