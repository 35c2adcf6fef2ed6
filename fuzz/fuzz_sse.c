/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events: however the bytes are cut into pieces, the same events come out. The first
 * byte of the input is the length of the pieces. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "net/sse_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int note(void *userdata, const struct sse_text *event)
{
    struct buf *out = userdata;
    assert(event->data[event->data_size] == 0);
    assert(event->kind[0] != 0);
    buf_printf(out, "%s|%s|%zu|", event->id, event->kind, event->data_size);
    buf_append(out, event->data, event->data_size);
    return 0;
}

static int feed(const uint8_t *data, size_t size, size_t piece, struct buf *out)
{
    struct sse_reader reader = {0};
    int r = 0;
    for (size_t at = 0; r == 0 && at < size; at += piece)
        r = sse_reader_feed(&reader, (const char *)data + at, MIN(piece, size - at), note, out);
    sse_reader_done(&reader);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole CLEANUP(buf_done) = {0}, pieces CLEANUP(buf_done) = {0};
    if (size < 1)
        return 0;
    int r = feed(data + 1, size - 1, size, &whole);
    assert(feed(data + 1, size - 1, (size_t)data[0] % 16 + 1, &pieces) == r);
    assert(whole.size == pieces.size);
    assert(whole.size == 0 || memcmp(whole.data, pieces.data, whole.size) == 0);
    return 0;
}
