/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame codec: one tick of all agents as one row, as differences to the tick before.
 *
 * Layout of a frame:
 *
 *     version     byte: 2 (1: no block has bit 1)
 *     columns     byte: number of value columns; counters byte: number of counter columns
 *     when        signed varint: wall time of the tick in ms
 *     capacity    two varints (hist_metric.h)
 *     slots       varint: n
 *     crc         CRC-32C of the bytes so far
 *     blocks      of 1,000 slots each (the last one shorter):
 *         flags   byte: bit 0 key block (differences are to 0, and counters follow),
 *                 bit 1 exact counters follow (not of a key block)
 *         sizes   varints: before and after compression
 *         crc     CRC-32C of the bytes that follow
 *         bytes   zstd
 *
 * A decompressed block holds for each column a byte (0 nothing changed, 1 changes), a bitmap of
 * the slots that changed, and their differences as signed varints; then for a key block each
 * counter of each slot as a varint. Exact counters are those of some slots: how many, then for each
 * the slots passed over since the one before, and its counters, all as varints. Slot values are 0
 * where unknown and value + 1 else, so that becoming unknown is a difference like any other. Blocks
 * know nothing of each other: a key block comes at another tick for each, which keeps the size of
 * frames even.
 */
#ifndef AC_STORE_HIST_FRAME_H
#define AC_STORE_HIST_FRAME_H

#include "base/buf.h"
#include "store/hist_metric.h"

#define FRAME_VERSION     2
#define FRAME_BLOCK       1000
#define FRAME_COLUMNS     (HIST_METRICS + 1) /* the last one: whether the agent is there */
#define FRAME_PRESENT     HIST_METRICS
#define FRAME_SLOTS_MAX   (1u << 20)
#define FRAME_KEY_SPACING 120 /* ticks between two key blocks of a block */

/* All slots at one tick. Arrays of .capacity slots; .n are in use. */
struct frame_state {
    uint32_t n;
    uint32_t room;
    int64_t when_ms;
    struct hist_capacity capacity;
    uint64_t *values[FRAME_COLUMNS]; /* 0 unknown, value + 1 */
    uint64_t *counters[HIST_COUNTERS];
    /* Of a state that is written: what those who read the frames back make of the counters, from
     * the last ones that were in a frame and the rates since. */
    uint64_t *replayed[HIST_COUNTERS];
};

/* Grows the arrays to at least @slots; new slots are 0. Returns 0 or -ENOMEM. */
int frame_state_reserve(struct frame_state *state, uint32_t slots);
void frame_state_done(struct frame_state *state);

/* Whether block @block is a key block at tick @sequence. */
bool frame_is_key(uint64_t sequence, uint32_t block);

/* The same of the frame of a state that has grown from @slots_before. */
static inline bool frame_keyed(
    uint64_t sequence, bool all_keys, uint32_t slots_before, uint32_t block)
{
    return all_keys || block * FRAME_BLOCK >= slots_before || frame_is_key(sequence, block);
}

struct frame_codec; /* zstd contexts and scratch memory */
int frame_codec_new(struct frame_codec **ret_codec);
void frame_codec_free(struct frame_codec *codec);

/* Appends the frame of @now against @before (same room; .n may have grown). @all_keys: every
 * block a key block. @exact (NULL = none): a byte per slot, 1 where its counters go with it.
 * Returns 0 or -ENOMEM. */
int frame_encode(struct frame_codec *codec, uint64_t sequence, bool all_keys,
    const struct frame_state *before, const struct frame_state *now, const uint8_t *exact,
    struct buf *out);

/* What stands before the blocks. */
struct frame_head {
    int64_t when_ms;
    struct hist_capacity capacity;
    uint32_t n;
};

/* Reads the head and checks all CRCs, without decompressing. Returns 0; -EBADMSG for a damaged
 * frame; -EPROTO for a newer version. */
int frame_check(const void *bytes, size_t size, struct frame_head *ret_head);

/* Told what a frame changes while it is applied. */
struct frame_watch {
    void *userdata;
    /* Slots of one block whose value in @column differs, rising, and what it was before. Non-zero
     * ends decoding and is returned. */
    int (*changed)(
        void *userdata, unsigned column, const uint32_t *slots, const uint64_t *before, uint32_t n);
    /* The counters of @n slots from @first on are exact now. */
    void (*counted)(void *userdata, uint32_t first, uint32_t n);
};

/* Applies a frame to @state. A block without a base (no key block of it was seen yet, by
 * @based, one byte per block, FRAME_SLOTS_MAX / FRAME_BLOCK + 1 of them) is skipped. @watch: NULL
 * = nobody. Returns 0; -EBADMSG for a damaged frame (blocks before the damage may have been
 * applied); -EPROTO for a newer version; -ENOMEM. */
int frame_decode(struct frame_codec *codec, const void *bytes, size_t size, uint8_t *based,
    struct frame_state *state, const struct frame_watch *watch);

#endif
