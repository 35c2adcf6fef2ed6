/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a stream of server-sent events (the WHATWG format: "id:", "event:", "data:" lines, a blank
 * line ends an event, a line that starts with ':' is a comment) that arrives in pieces of any size.
 *
 * Pure; one stream per reader. Lines end with LF, CR or CRLF. One event's text is capped.
 */
#ifndef AC_NET_SSE_READER_H
#define AC_NET_SSE_READER_H

#include "base/buf.h"

#define SSE_EVENT_MAX (1u << 20) /* bytes of one line, and of one event's data */

/* One event; the texts are valid during the call only. */
struct sse_text {
    const char *id;   /* the last id seen on the stream; "" = none */
    const char *kind; /* "message" where the stream names none */
    const char *data; /* lines joined with LF */
    size_t data_size;
};

/* A non-zero return ends the feeding and is returned by sse_reader_feed. */
typedef int (*sse_event_fn)(void *userdata, const struct sse_text *event);

/* The caller's storage; zero-initialised is a fresh reader. */
struct sse_reader {
    struct buf line;
    struct buf data;
    char id[64];
    char kind[64];
    bool has_data;
    bool after_cr;   /* the LF of a CRLF is still to come */
    bool past_start; /* the byte order mark has been looked for */
};

void sse_reader_done(struct sse_reader *reader);

/* Takes the next bytes and calls @each for each event that they complete. Returns 0, what @each
 * returned, -E2BIG past SSE_EVENT_MAX, or -ENOMEM. */
int sse_reader_feed(
    struct sse_reader *reader, const char *bytes, size_t size, sse_event_fn each, void *userdata);

#endif
