/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_frame.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "store/crc32c.h"

#define ZSTD_LEVEL 1
#define FLAG_KEY   1
#define FLAG_EXACT 2
#define BITMAP_MAX (FRAME_BLOCK / 8)

/* The worst block: everything changes by ten bytes. */
#define BLOCK_MAX                                                                                  \
    ((size_t)FRAME_COLUMNS * (1 + BITMAP_MAX + FRAME_BLOCK * VARINT_MAX_BYTES) +                   \
        (size_t)(HIST_COUNTERS + 1) * (FRAME_BLOCK + 1) * VARINT_MAX_BYTES)

struct frame_codec {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
    uint8_t *raw;
    uint8_t *packed;
    size_t packed_room;
    /* A column that is decoded: slots that changed, what they were. */
    uint32_t changed[FRAME_BLOCK];
    uint64_t before[FRAME_BLOCK];
};

int frame_state_reserve(struct frame_state *state, uint32_t slots)
{
    if (slots <= state->room)
        return 0;
    uint32_t room = MAX(slots, MAX(state->room * 2, 64u));
    uint64_t **arrays[FRAME_COLUMNS + 2 * HIST_COUNTERS];
    for (unsigned i = 0; i < FRAME_COLUMNS; i++)
        arrays[i] = &state->values[i];
    for (unsigned i = 0; i < HIST_COUNTERS; i++) {
        arrays[FRAME_COLUMNS + i] = &state->counters[i];
        arrays[FRAME_COLUMNS + HIST_COUNTERS + i] = &state->replayed[i];
    }
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
    for (unsigned i = 0; i < HIST_COUNTERS; i++) {
        mem_free(state->counters[i]);
        mem_free(state->replayed[i]);
    }
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

/* The counters of slots that have a 1 in @exact. */
static uint8_t *put_exact(uint8_t *out, const uint8_t *exact, const struct frame_state *now,
    uint32_t first, uint32_t n, uint32_t count)
{
    uint32_t next = 0;
    out = put_varint(out, count);
    for (uint32_t i = 0; i < n; i++) {
        if (!exact[first + i])
            continue;
        out = put_varint(out, i - next);
        next = i + 1;
        for (unsigned c = 0; c < HIST_COUNTERS; c++)
            out = put_varint(out, now->counters[c][first + i]);
    }
    return out;
}

static uint32_t count_exact(const uint8_t *exact, uint32_t first, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; exact != NULL && i < n; i++)
        count += exact[first + i];
    return count;
}

static int encode_block(struct frame_codec *codec, bool key, uint32_t first, uint32_t n,
    const struct frame_state *before, const struct frame_state *now, const uint8_t *exact,
    struct buf *out)
{
    uint32_t count = key ? 0 : count_exact(exact, first, n);
    uint8_t *end = codec->raw;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        end = put_column(end, key ? NULL : before->values[c] + first, now->values[c] + first, n);
    for (unsigned c = 0; key && c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < n; i++)
            end = put_varint(end, now->counters[c][first + i]);
    }
    if (count > 0)
        end = put_exact(end, exact, now, first, n, count);
    size_t raw_size = (size_t)(end - codec->raw);
    size_t size = ZSTD_compressCCtx(
        codec->compress, codec->packed, codec->packed_room, codec->raw, raw_size, ZSTD_LEVEL);
    if (ZSTD_isError(size))
        return -ENOMEM;
    buf_put_u8(out, key ? FLAG_KEY : count > 0 ? FLAG_EXACT : 0);
    buf_put_varint(out, raw_size);
    buf_put_varint(out, size);
    buf_put_u32(out, crc32c(0, codec->packed, size));
    return buf_append(out, codec->packed, size);
}

int frame_encode(struct frame_codec *codec, uint64_t sequence, bool all_keys,
    const struct frame_state *before, const struct frame_state *now, const uint8_t *exact,
    struct buf *out)
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
        bool key = frame_keyed(sequence, all_keys, before->n, first / FRAME_BLOCK);
        int r = encode_block(codec, key, first, n, before, now, exact, out);
        if (r < 0)
            return r;
    }
    return out->failed ? -ENOMEM : 0;
}

/* ---- Decoding ----------------------------------------------------------------------------- */

static inline uint64_t load_bits(const uint8_t *bytes, uint32_t n)
{
    uint64_t word = 0;
    for (uint32_t i = 0; i < MIN((n + 7) / 8, 8u); i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return n < 64 ? word & ((1ull << n) - 1) : word;
}

/* Adds the differences to @values; notes what they change. Returns how many. */
static uint32_t get_changes(
    struct frame_codec *codec, struct byte_reader *r, uint32_t first, uint32_t n, uint64_t *values)
{
    if (get_capped(r, 1) == 0)
        return 0;
    const uint8_t *bitmap = get_bytes(r, (n + 7) / 8);
    uint32_t count = 0;
    for (uint32_t base = 0; bitmap != NULL && base < n; base += 64) {
        uint64_t bits = load_bits(bitmap + base / 8, n - base);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t i = base + (uint32_t)__builtin_ctzll(bits);
            uint64_t value = (uint64_t)wrap_add((int64_t)values[i], get_signed(r));
            if (value > (uint64_t)HIST_VALUE_MAX + 1) {
                value = 0;
                r->bad = true;
            }
            codec->changed[count] = first + i;
            codec->before[count] = values[i];
            count += value != values[i];
            values[i] = value;
        }
    }
    return count;
}

/* The same for a key block, whose differences are to 0. */
static uint32_t get_all(
    struct frame_codec *codec, struct byte_reader *r, uint32_t first, uint32_t n, uint64_t *values)
{
    uint64_t last[FRAME_BLOCK];
    memcpy(last, values, n * sizeof(*values));
    memset(values, 0, n * sizeof(*values));
    get_changes(codec, r, first, n, values);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        codec->changed[count] = first + i;
        codec->before[count] = last[i];
        count += values[i] != last[i];
    }
    return count;
}

static void get_exact(struct byte_reader *r, uint32_t first, uint32_t n, struct frame_state *state,
    const struct frame_watch *watch)
{
    uint32_t count = (uint32_t)get_capped(r, n);
    uint32_t end = first + n;
    for (; count > 0 && !r->bad; count--, first++) {
        if (first == end)
            r->bad = true;
        first += (uint32_t)get_capped(r, end - first - (first < end));
        for (unsigned c = 0; c < HIST_COUNTERS && !r->bad; c++)
            state->counters[c][first] = get_varint(r);
        if (!r->bad && watch != NULL)
            watch->counted(watch->userdata, first, 1);
    }
}

/* A decompressed block. */
static int apply_block(struct frame_codec *codec, struct byte_reader *raw, unsigned flags,
    uint32_t first, uint32_t n, struct frame_state *state, const struct frame_watch *watch)
{
    bool key = flags & FLAG_KEY;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        uint64_t *values = state->values[c] + first;
        uint32_t count =
            key ? get_all(codec, raw, first, n, values) : get_changes(codec, raw, first, n, values);
        if (raw->bad)
            return -EBADMSG;
        int r = 0;
        if (watch != NULL && count > 0)
            r = watch->changed(watch->userdata, c, codec->changed, codec->before, count);
        if (r != 0)
            return r;
    }
    for (unsigned c = 0; key && c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < n; i++)
            state->counters[c][first + i] = get_varint(raw);
    }
    if (flags & FLAG_EXACT)
        get_exact(raw, first, n, state, watch);
    if (raw->bad || raw->at != raw->end)
        return -EBADMSG;
    if (key && watch != NULL)
        watch->counted(watch->userdata, first, n);
    return 0;
}

struct frame_block {
    unsigned flags;
    size_t raw_size;
    const uint8_t *packed;
    size_t size;
};

static int get_block(struct byte_reader *r, struct frame_block *ret_block)
{
    unsigned flags = get_u8(r);
    struct frame_block block = {.flags = flags, .raw_size = get_capped(r, BLOCK_MAX)};
    block.size = get_capped(r, reader_left(r));
    uint32_t crc = get_u32(r);
    block.packed = get_bytes(r, block.size);
    if (r->bad || block.packed == NULL || flags > FLAG_EXACT ||
        crc != crc32c(0, block.packed, block.size))
        return -EBADMSG;
    *ret_block = block;
    return 0;
}

static int decode_block(struct frame_codec *codec, struct byte_reader *r, uint32_t first,
    uint32_t n, uint8_t *based, struct frame_state *state, const struct frame_watch *watch)
{
    struct frame_block block;
    int result = get_block(r, &block);
    if (result < 0 || (!(block.flags & FLAG_KEY) && !*based))
        return result;
    size_t got =
        ZSTD_decompressDCtx(codec->decompress, codec->raw, BLOCK_MAX, block.packed, block.size);
    if (ZSTD_isError(got) || got != block.raw_size)
        return -EBADMSG;
    struct byte_reader raw = byte_reader(codec->raw, block.raw_size);
    result = apply_block(codec, &raw, block.flags, first, n, state, watch);
    if (result == 0)
        *based = 1;
    return result;
}

static int get_head(struct byte_reader *r, struct frame_head *ret_head)
{
    const uint8_t *start = r->at;
    unsigned version = get_u8(r);
    if (version > FRAME_VERSION)
        return -EPROTO;
    unsigned columns = get_u8(r);
    unsigned counters = get_u8(r);
    struct frame_head head = {.when_ms = get_signed(r)};
    head.capacity.cpu = get_varint(r);
    head.capacity.memory = get_varint(r);
    head.n = (uint32_t)get_capped(r, FRAME_SLOTS_MAX);
    size_t size = (size_t)(r->at - start);
    uint32_t crc = get_u32(r);
    if (r->bad || version == 0 || columns != FRAME_COLUMNS || counters != HIST_COUNTERS ||
        crc != crc32c(0, start, size))
        return -EBADMSG;
    *ret_head = head;
    return 0;
}

int frame_check(const void *bytes, size_t size, struct frame_head *ret_head)
{
    struct byte_reader r = byte_reader(bytes, size);
    struct frame_head head;
    struct frame_block block;
    int result = get_head(&r, &head);
    for (uint32_t first = 0; result == 0 && first < head.n; first += FRAME_BLOCK)
        result = get_block(&r, &block);
    if (result == 0 && r.at != r.end)
        result = -EBADMSG;
    if (result == 0)
        *ret_head = head;
    return result;
}

int frame_decode(struct frame_codec *codec, const void *bytes, size_t size, uint8_t *based,
    struct frame_state *state, const struct frame_watch *watch)
{
    struct byte_reader r = byte_reader(bytes, size);
    struct frame_head head;
    int result = get_head(&r, &head);
    if (result == 0)
        result = frame_state_reserve(state, head.n);
    if (result < 0)
        return result;
    state->n = head.n;
    state->when_ms = head.when_ms;
    state->capacity = head.capacity;
    for (uint32_t first = 0; first < head.n && result == 0; first += FRAME_BLOCK)
        result = decode_block(codec, &r, first, MIN(head.n - first, (uint32_t)FRAME_BLOCK),
            &based[first / FRAME_BLOCK], state, watch);
    return result == 0 && r.at != r.end ? -EBADMSG : result;
}
