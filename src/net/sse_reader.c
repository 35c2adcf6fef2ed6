/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sse_reader.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

void sse_reader_done(struct sse_reader *reader)
{
    buf_done(&reader->line);
    buf_done(&reader->data);
    *reader = (struct sse_reader){0};
}

static int append_capped(struct buf *buf, const char *bytes, size_t size)
{
    if (size > SSE_EVENT_MAX || buf->size > SSE_EVENT_MAX - size)
        return -E2BIG;
    return buf_append(buf, bytes, size);
}

/* Keeps a short field; one that does not fit is treated as absent, never cut to another name. */
static void take_short(char *target, size_t capacity, const char *value, size_t size)
{
    if (size >= capacity || memchr(value, 0, size))
        size = 0;
    memcpy(target, value, size);
    target[size] = 0;
}

static int take_field(
    struct sse_reader *reader, const char *name, size_t name_size, const char *value, size_t size)
{
    if (name_size == 4 && memcmp(name, "data", 4) == 0) {
        if (reader->has_data && append_capped(&reader->data, "\n", 1) < 0)
            return -E2BIG;
        reader->has_data = true;
        return append_capped(&reader->data, value, size);
    }
    if (name_size == 5 && memcmp(name, "event", 5) == 0)
        take_short(reader->kind, sizeof(reader->kind), value, size);
    else if (name_size == 2 && memcmp(name, "id", 2) == 0)
        take_short(reader->id, sizeof(reader->id), value, size);
    return 0;
}

static int end_event(struct sse_reader *reader, sse_event_fn each, void *userdata)
{
    int r = 0;
    if (reader->has_data && buf_reserve(&reader->data, 1) == 0) {
        struct sse_text event = {.id = reader->id,
            .kind = reader->kind[0] ? reader->kind : "message",
            .data = reader->data.data,
            .data_size = reader->data.size};
        reader->data.data[reader->data.size] = 0;
        r = each(userdata, &event);
    }
    buf_clear(&reader->data);
    reader->kind[0] = 0;
    reader->has_data = false;
    return r;
}

static int take_line(struct sse_reader *reader, sse_event_fn each, void *userdata)
{
    const char *line = reader->line.data;
    size_t size = reader->line.size;
    if (size == 0)
        return end_event(reader, each, userdata);
    const char *colon = memchr(line, ':', size);
    size_t name_size = colon ? (size_t)(colon - line) : size;
    const char *value = colon ? colon + 1 : line + size;
    size_t value_size = (size_t)(line + size - value);
    if (value_size > 0 && *value == ' ') {
        value++;
        value_size--;
    }
    return take_field(reader, line, name_size, value, value_size);
}

/* The stream may start with a UTF-8 byte order mark, which belongs to no line. */
static void skip_mark(struct sse_reader *reader)
{
    static const char mark[3] = {'\xef', '\xbb', '\xbf'};
    if (reader->past_start)
        return;
    reader->past_start = true;
    if (reader->line.size >= 3 && memcmp(reader->line.data, mark, 3) == 0) {
        memmove(reader->line.data, reader->line.data + 3, reader->line.size - 3);
        reader->line.size -= 3;
    }
}

int sse_reader_feed(
    struct sse_reader *reader, const char *bytes, size_t size, sse_event_fn each, void *userdata)
{
    for (size_t at = 0; at < size;) {
        if (reader->after_cr && bytes[at] == '\n') {
            reader->after_cr = false;
            at++;
            continue;
        }
        reader->after_cr = false;
        size_t length = 0;
        while (at + length < size && bytes[at + length] != '\n' && bytes[at + length] != '\r')
            length++;
        int r = append_capped(&reader->line, bytes + at, length);
        if (r < 0)
            return r;
        at += length;
        if (at == size)
            return 0;
        reader->after_cr = bytes[at++] == '\r';
        skip_mark(reader);
        r = take_line(reader, each, userdata);
        buf_clear(&reader->line);
        if (r != 0)
            return r;
    }
    return 0;
}
