/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event streams: one ring of the last events as ready text, and per stream a place in it. No
 * stream has a buffer of its own beyond the event it is sending; one that falls behind further
 * than the ring reaches has lost events and is dropped. When its client resumes, it is told how
 * many are missing by an EVENT_LOST, as it is of those that never reached the ring. Every stream
 * gets these, whatever its filter.
 *
 * Knows nothing of the transport: the server asks a stream for bytes when its client can take
 * some, and is told by stream_ready which streams have any.
 */
#ifndef AC_NET_STREAM_H
#define AC_NET_STREAM_H

#include "net/route.h"

#define STREAM_EVENTS_MAX 1024

struct stream_ring;
struct stream;

/* Returns 0 or -ENOMEM. */
int stream_ring_new(struct stream_ring **ret_ring);
void stream_ring_free(struct stream_ring *ring);

/* Puts an event behind the last one. Without memory it is lost to all streams, and counted. */
void stream_ring_put(struct stream_ring *ring, const struct event *event);
uint64_t stream_ring_lost(const struct stream_ring *ring);

/* @ring is borrowed and outlives the stream. @reply: filter and place to resume at. Returns 0 or
 * -ENOMEM. */
int stream_new(struct stream_ring *ring, const struct net_reply *reply, struct stream **ret_stream);
void stream_free(struct stream *stream);

/* Bytes to send, up to @capacity; 0 = nothing now; -ENOBUFS = it fell behind; -ENOMEM. */
ssize_t stream_read(struct stream *stream, char *buffer, size_t capacity);

/* Whether stream_read has something (or -ENOBUFS) to return. */
bool stream_ready(struct stream *stream);

/* Whether it fell behind: what it should send next is gone. */
bool stream_behind(const struct stream *stream);

/* Lets the next read return a comment line, so that both sides see that the other lives. */
void stream_keepalive(struct stream *stream);

#endif
