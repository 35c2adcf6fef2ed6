/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON text straight into a buffer, without a tree in between: answers of a daemon with
 * thousands of agents stay cheap. Commas and escapes are the writer's business, balanced
 * object/array calls the caller's. Failures stick to the buffer (buf.failed).
 *
 * Text that is not UTF-8 (names of processes are any bytes) gets U+FFFD for each bad byte; a
 * number that is not finite becomes null. Nothing depends on the locale.
 */
#ifndef AC_NET_JSON_WRITE_H
#define AC_NET_JSON_WRITE_H

#include "base/buf.h"

/* `struct json_writer w = {.out = &buf};` */
struct json_writer {
    struct buf *out;
    bool comma; /* the next value or key needs one before it */
};

void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);

/* @key: plain ASCII without anything to escape, from our own code. */
void json_key(struct json_writer *w, const char *key);

void json_put_null(struct json_writer *w);
void json_put_bool(struct json_writer *w, bool value);
void json_put_text(struct json_writer *w, const char *text); /* NULL = null */
void json_put_uint(struct json_writer *w, uint64_t value);
void json_put_int(struct json_writer *w, int64_t value);

/* Up to six decimals; NaN and infinities = null. */
void json_put_double(struct json_writer *w, double value);

/* RFC 3339, UTC, milliseconds; 0 = null. */
void json_put_time(struct json_writer *w, int64_t wall_ns);

/* Key and value in one. The _or_null forms take whether the value is known. */
void json_field_text(struct json_writer *w, const char *key, const char *text);
void json_field_double(struct json_writer *w, const char *key, double value);
void json_field_uint(struct json_writer *w, const char *key, uint64_t value);
void json_field_int(struct json_writer *w, const char *key, int64_t value);
void json_field_bool(struct json_writer *w, const char *key, bool value);
void json_field_time(struct json_writer *w, const char *key, int64_t wall_ns);
void json_field_double_or_null(struct json_writer *w, const char *key, bool known, double value);
void json_field_uint_or_null(struct json_writer *w, const char *key, bool known, uint64_t value);

/* Puts the decimal digits of @value (finite) with up to six decimals, for metrics too. */
void number_format(struct buf *out, double value);

/* "2026-01-31T12:00:00.000Z" into @out. */
void time_format(struct buf *out, int64_t wall_ns);

#endif
