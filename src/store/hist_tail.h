/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not in a chunk yet, in memory: of each column of each slot a list of changes (ticks
 * since the change before, signed difference, as varints). A column that does not change costs
 * nothing per tick.
 */
#ifndef AC_STORE_HIST_TAIL_H
#define AC_STORE_HIST_TAIL_H

#include "store/hist_frame.h"

struct tail_stream {
    uint8_t *bytes;
    uint32_t size;
    uint32_t room;
    uint32_t last_tick; /* of the last change, relative to the start */
    uint64_t first;     /* value before the first change */
    uint64_t last;
};

/* Empties it; the value so far is @value. Keeps the memory, gives back what is unusually much. */
void tail_reset(struct tail_stream *stream, uint64_t value);
void tail_done(struct tail_stream *stream);

#define TAIL_CHANGE_MAX (2 * VARINT_MAX_BYTES)
int tail_grow(struct tail_stream *stream); /* 0 or -ENOMEM */

/* Makes room for one more change. Returns 0 or -ENOMEM. */
static inline int tail_reserve(struct tail_stream *stream)
{
    return stream->room - stream->size >= TAIL_CHANGE_MAX ? 0 : tail_grow(stream);
}

/* From tick @tick (not before the last change) on the value is @value; there is room, or it is the
 * first change at tick 0, which needs none. */
void tail_change(struct tail_stream *stream, uint32_t tick, uint64_t value);

/* The values of the first @n ticks. */
void tail_read(const struct tail_stream *stream, uint32_t n, uint64_t *ret_values);

#endif
