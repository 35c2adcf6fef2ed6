/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_tail.h"

#include <errno.h>

#include "base/mem.h"

#define ROOM_FIRST 24u
#define ROOM_KEPT  2048u

void tail_reset(struct tail_stream *stream, uint64_t value)
{
    if (stream->room > ROOM_KEPT || stream->room > 4 * (stream->size + ROOM_FIRST)) {
        /* Room for one change stays: it may be reserved. */
        uint8_t *smaller = mem_resize_array(stream->bytes, ROOM_FIRST, 1);
        if (smaller != NULL) {
            stream->bytes = smaller;
            stream->room = ROOM_FIRST;
        }
    }
    stream->size = 0;
    stream->last_tick = 0;
    stream->first = stream->last = value;
}

void tail_done(struct tail_stream *stream)
{
    mem_free(stream->bytes);
    stream->bytes = NULL;
    stream->room = stream->size = 0;
}

int tail_grow(struct tail_stream *stream)
{
    uint32_t room = stream->room == 0 ? ROOM_FIRST : stream->room + stream->room / 2;
    room = MAX(room, stream->size + TAIL_CHANGE_MAX);
    uint8_t *grown = mem_resize_array(stream->bytes, room, 1);
    if (grown == NULL)
        return -ENOMEM;
    stream->bytes = grown;
    stream->room = room;
    return 0;
}

void tail_change(struct tail_stream *stream, uint32_t tick, uint64_t value)
{
    if (tick == 0 && stream->size == 0) {
        stream->first = stream->last = value;
        return;
    }
    uint8_t *out = stream->bytes + stream->size;
    out = put_varint(out, tick - stream->last_tick);
    out = put_signed(out, wrap_sub((int64_t)value, (int64_t)stream->last));
    stream->size = (uint32_t)(out - stream->bytes);
    stream->last_tick = tick;
    stream->last = value;
}

void tail_read(const struct tail_stream *stream, uint32_t n, uint64_t *ret_values)
{
    struct byte_reader r = byte_reader(stream->bytes, stream->size);
    uint64_t value = stream->first;
    uint32_t tick = 0;
    uint32_t filled = 0;
    while (r.at != r.end) {
        tick += (uint32_t)get_varint(&r);
        for (; filled < tick && filled < n; filled++)
            ret_values[filled] = value;
        value = (uint64_t)wrap_add((int64_t)value, get_signed(&r));
    }
    for (; filled < n; filled++)
        ret_values[filled] = value;
}
