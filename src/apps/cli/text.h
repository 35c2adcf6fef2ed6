/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for people: safe, measured, with units.
 *
 * Names come from agents, which may be hostile: everything that is printed on a terminal passes
 * through text_safe, which leaves no control character, no broken UTF-8 and no invisible or
 * direction-changing character in it.
 *
 * Formatters write into the caller's `char[TEXT_SHORT]` and return it; an unknown number (NaN)
 * is "-", never 0.
 */
#ifndef AC_CLI_TEXT_H
#define AC_CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define TEXT_SHORT 40

/* Takes the character set from the environment. Once, first. */
void text_init(void);

/* Whether the terminal shows UTF-8; else everything beyond ASCII is escaped. */
bool text_is_utf8(void);

/* Appends @text made safe: "\n" becomes "\\n", other control and format characters "\\x1b" or
 * "\\u{202e}", bytes that are no UTF-8 "\\xff". NULL appends "-". */
void text_safe(struct buf *out, const char *text);

/* For output that tools read, but people look at, too: @text as it is, or made safe (in @storage)
 * where @out is a terminal. NULL is "". */
const char *text_for(FILE *out, const char *text, struct buf *storage);

/* The columns that a safe text takes on a terminal. */
unsigned text_width(const char *safe);

/* Appends a safe text cut to @columns (with an ellipsis) and, with @pad, filled up with blanks
 * behind it (or in front, with @right). */
enum text_pad { TEXT_NO_PAD, TEXT_PAD_LEFT, TEXT_PAD_RIGHT };
void text_fit(struct buf *out, const char *safe, unsigned columns, enum text_pad pad);

/* "12.3", one decimal. */
const char *text_percent(char out[TEXT_SHORT], double percent);

/* MiB: "812K", "4.2M", "1.5G"; the long form "1.5 GiB". */
const char *text_size(char out[TEXT_SHORT], double mib);
const char *text_size_long(char out[TEXT_SHORT], double mib);

/* MiB per second: as text_size with "/s". */
const char *text_rate_long(char out[TEXT_SHORT], double mib_per_second);

/* A count: "17", "120k" from 100,000 on. */
const char *text_count(char out[TEXT_SHORT], double count);

/* Seconds: "0.3s", "42s", "4m12s", "2h05m", "3d04h". */
const char *text_duration(char out[TEXT_SHORT], double seconds);

/* Wall time in the local zone: "2026-01-31 12:00:00"; the short form without the date where it is
 * within 20 hours of @now_ns. 0 is "-". */
const char *text_time(char out[TEXT_SHORT], int64_t wall_ns);
const char *text_time_short(char out[TEXT_SHORT], int64_t wall_ns, int64_t now_ns);

/* RFC 3339 in UTC with milliseconds, as the API has it; and the reverse: 0 or -EINVAL. */
const char *text_rfc3339(char out[TEXT_SHORT], int64_t wall_ns);
int text_parse_rfc3339(const char *text, int64_t *ret_wall_ns);

/* Eight levels of a bar for @value of @maximum; a blank for an unknown one. */
const char *text_spark(double value, double maximum);

#endif
