/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"

/* An event as it goes over the wire, and what filters look at. */
struct frame {
    uint64_t sequence;
    int64_t time_ns;
    enum event_kind kind;
    uint32_t owner_uid;
    bool of_agent;
    char agent_id[AC_AGENT_ID_MAX + 1];
    char *text; /* NULL = empty place */
    size_t size;
};

/* Places are numbered from 0 on; place n is frames[n % STREAM_EVENTS_MAX]. */
struct stream_ring {
    struct frame frames[STREAM_EVENTS_MAX];
    uint64_t next; /* place of the next event */
    uint64_t lost;
};

struct stream {
    struct stream_ring *ring;
    struct stream_filter filter;
    uint64_t place;
    char *pending; /* what did not fit into the last read */
    size_t pending_size;
    size_t pending_sent;
    bool keepalive;
    bool greeted;
};

static const char greeting[] = "retry: 2000\n\n";

int stream_ring_new(struct stream_ring **ret_ring)
{
    struct stream_ring *ring = mem_alloc(sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    *ret_ring = ring;
    return 0;
}

void stream_ring_free(struct stream_ring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < STREAM_EVENTS_MAX; i++)
        mem_free(ring->frames[i].text);
    mem_free(ring);
}

static void frame_write(struct buf *text, const struct event *event)
{
    struct json_writer w = {.out = text};
    buf_printf(
        text, "id: %" PRIu64 "\nevent: %s\ndata: ", event->sequence, event_kind_name(event->kind));
    encode_event(&w, event);
    buf_append_str(text, "\n\n");
}

void stream_ring_put(struct stream_ring *ring, const struct event *event)
{
    struct buf text CLEANUP(buf_done) = {0};
    size_t size = 0;
    frame_write(&text, event);
    char *bytes = buf_take(&text, &size);
    if (!bytes) {
        ring->lost++;
        return;
    }
    struct frame *frame = &ring->frames[ring->next++ % STREAM_EVENTS_MAX];
    mem_free(frame->text);
    *frame = (struct frame){.sequence = event->sequence,
        .time_ns = event->time_ns,
        .kind = event->kind,
        .owner_uid = event->owner_uid,
        .of_agent = event->agent_id[0] != 0,
        .text = bytes,
        .size = size};
    memcpy(frame->agent_id, event->agent_id, sizeof(frame->agent_id));
}

uint64_t stream_ring_lost(const struct stream_ring *ring)
{
    return ring->lost;
}

static uint64_t oldest_place(const struct stream_ring *ring)
{
    return ring->next > STREAM_EVENTS_MAX ? ring->next - STREAM_EVENTS_MAX : 0;
}

/* The place behind event @sequence, and how many events between are no longer here. A number from
 * before a restart of the daemon is above all that is here: then everything since the start is new
 * to the client. */
static uint64_t resume_place(
    const struct stream_ring *ring, uint64_t sequence, uint64_t *ret_missing)
{
    uint64_t place = oldest_place(ring);
    *ret_missing = 0;
    if (ring->next == 0)
        return place;
    if (ring->frames[(ring->next - 1) % STREAM_EVENTS_MAX].sequence < sequence)
        sequence = 0;
    uint64_t oldest = ring->frames[place % STREAM_EVENTS_MAX].sequence;
    if (oldest > sequence + 1)
        *ret_missing = oldest - sequence - 1;
    while (place < ring->next && ring->frames[place % STREAM_EVENTS_MAX].sequence <= sequence)
        place++;
    return place;
}

/* What the stream sends first: events that are missing, in their place. */
static int stream_tell_missing(struct stream *stream, uint64_t missing)
{
    struct buf text CLEANUP(buf_done) = {0};
    const struct frame *next = &stream->ring->frames[stream->place % STREAM_EVENTS_MAX];
    struct event event = {.sequence = next->sequence - 1,
        .time_ns = next->time_ns,
        .kind = EVENT_LOST,
        .owner_uid = UINT32_MAX,
        .of.lost = missing};
    snprintf(event.text, sizeof(event.text),
        "%" PRIu64 " event%s no longer kept; look at agents and alerts anew", missing,
        missing == 1 ? " is" : "s are");
    buf_append_str(&text, greeting);
    frame_write(&text, &event);
    stream->pending = buf_take(&text, &stream->pending_size);
    stream->greeted = stream->pending != NULL;
    return stream->pending ? 0 : -ENOMEM;
}

int stream_new(struct stream_ring *ring, const struct net_reply *reply, struct stream **ret_stream)
{
    struct stream *stream = mem_alloc(sizeof(*stream));
    if (!stream)
        return -ENOMEM;
    stream->ring = ring;
    stream->filter = reply->filter;
    uint64_t missing = 0;
    stream->place = reply->has_resume ? resume_place(ring, reply->resume, &missing) : ring->next;
    int r = missing > 0 ? stream_tell_missing(stream, missing) : 0;
    if (r < 0) {
        stream_free(stream);
        return r;
    }
    *ret_stream = stream;
    return 0;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    mem_free(stream->pending);
    mem_free(stream);
}

static bool frame_wanted(const struct stream *stream, const struct frame *frame)
{
    const struct stream_filter *filter = &stream->filter;
    if (frame->kind == EVENT_LOST)
        return true;
    if (!(filter->kinds & (1u << frame->kind)))
        return false;
    if (filter->agent_id[0] && strcmp(filter->agent_id, frame->agent_id) != 0)
        return false;
    return filter->everything || !frame->of_agent || frame->owner_uid == filter->uid;
}

bool stream_behind(const struct stream *stream)
{
    return stream->place < oldest_place(stream->ring);
}

bool stream_ready(struct stream *stream)
{
    const struct stream_ring *ring = stream->ring;
    if (stream->pending || stream->keepalive || !stream->greeted || stream_behind(stream))
        return true;
    /* Events for others are passed over here, or a quiet stream would seem to fall behind. */
    while (stream->place < ring->next &&
           !frame_wanted(stream, &ring->frames[stream->place % STREAM_EVENTS_MAX]))
        stream->place++;
    return stream->place < ring->next;
}

void stream_keepalive(struct stream *stream)
{
    stream->keepalive = true;
}

static size_t send_pending(struct stream *stream, char *buffer, size_t capacity)
{
    size_t size = MIN(stream->pending_size - stream->pending_sent, capacity);
    memcpy(buffer, stream->pending + stream->pending_sent, size);
    stream->pending_sent += size;
    if (stream->pending_sent == stream->pending_size) {
        mem_free(stream->pending);
        stream->pending = NULL;
    }
    return size;
}

/* Sends what fits and keeps a copy of the rest: the ring may drop the event meanwhile. */
static ssize_t send_text(
    struct stream *stream, const char *text, size_t size, char *buffer, size_t capacity)
{
    size_t now = MIN(size, capacity);
    memcpy(buffer, text, now);
    if (now == size)
        return (ssize_t)now;
    stream->pending = mem_alloc(size - now);
    if (!stream->pending)
        return -ENOMEM;
    memcpy(stream->pending, text + now, size - now);
    stream->pending_size = size - now;
    stream->pending_sent = 0;
    return (ssize_t)now;
}

/* The next thing to send, NULL = nothing. */
static const char *next_text(struct stream *stream, size_t *ret_size)
{
    static const char alive[] = ": keepalive\n\n";
    const struct stream_ring *ring = stream->ring;
    if (!stream->greeted) {
        stream->greeted = true;
        *ret_size = sizeof(greeting) - 1;
        return greeting;
    }
    while (stream->place < ring->next) {
        const struct frame *frame = &ring->frames[stream->place++ % STREAM_EVENTS_MAX];
        if (frame_wanted(stream, frame)) {
            stream->keepalive = false;
            *ret_size = frame->size;
            return frame->text;
        }
    }
    if (!stream->keepalive)
        return NULL;
    stream->keepalive = false;
    *ret_size = sizeof(alive) - 1;
    return alive;
}

ssize_t stream_read(struct stream *stream, char *buffer, size_t capacity)
{
    size_t used = 0;
    while (used < capacity) {
        if (stream->pending) {
            used += send_pending(stream, buffer + used, capacity - used);
            continue;
        }
        if (stream_behind(stream))
            return used > 0 ? (ssize_t)used : -ENOBUFS;
        size_t size;
        const char *text = next_text(stream, &size);
        if (!text)
            break;
        ssize_t n = send_text(stream, text, size, buffer + used, capacity - used);
        if (n < 0)
            return n;
        used += (size_t)n;
    }
    return (ssize_t)used;
}
