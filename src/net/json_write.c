/* SPDX-License-Identifier: Apache-2.0 */
#include "net/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

static void value_begin(struct json_writer *w)
{
    if (w->comma)
        buf_append_char(w->out, ',');
    w->comma = true;
}

static void open_bracket(struct json_writer *w, char bracket)
{
    value_begin(w);
    buf_append_char(w->out, bracket);
    w->comma = false;
}

static void close_bracket(struct json_writer *w, char bracket)
{
    buf_append_char(w->out, bracket);
    w->comma = true;
}

void json_object_begin(struct json_writer *w)
{
    open_bracket(w, '{');
}

void json_object_end(struct json_writer *w)
{
    close_bracket(w, '}');
}

void json_array_begin(struct json_writer *w)
{
    open_bracket(w, '[');
}

void json_array_end(struct json_writer *w)
{
    close_bracket(w, ']');
}

void json_key(struct json_writer *w, const char *key)
{
    value_begin(w);
    buf_append_char(w->out, '"');
    buf_append_str(w->out, key);
    buf_append(w->out, "\":", 2);
    w->comma = false;
}

void json_put_null(struct json_writer *w)
{
    value_begin(w);
    buf_append(w->out, "null", 4);
}

void json_put_bool(struct json_writer *w, bool value)
{
    value_begin(w);
    buf_append_str(w->out, value ? "true" : "false");
}

/* Bytes of the UTF-8 sequence at @c (no overlong forms, no surrogates), 0 for a bad one. */
static size_t utf8_length(const unsigned char *c)
{
    static const struct {
        unsigned char first, last, low, high; /* lead byte range, range of the second byte */
        size_t length;
    } forms[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (c[0] < forms[i].first || c[0] > forms[i].last)
            continue;
        if (c[1] < forms[i].low || c[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < forms[i].length; k++) {
            if ((c[k] & 0xc0) != 0x80)
                return 0;
        }
        return forms[i].length;
    }
    return 0;
}

static size_t put_character(struct buf *out, const unsigned char *c)
{
    if (*c >= 0x80) {
        size_t length = utf8_length(c);
        buf_append(out, length ? (const void *)c : "\xef\xbf\xbd", length ? length : 3);
        return length ? length : 1;
    }
    if (*c == '"' || *c == '\\')
        buf_append_char(out, '\\');
    if (*c < 0x20 || *c == 0x7f)
        buf_printf(out, "\\u%04x", *c);
    else
        buf_append_char(out, (char)*c);
    return 1;
}

void json_put_text(struct json_writer *w, const char *text)
{
    if (!text) {
        json_put_null(w);
        return;
    }
    value_begin(w);
    buf_append_char(w->out, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c;)
        c += put_character(w->out, c);
    buf_append_char(w->out, '"');
}

void json_put_uint(struct json_writer *w, uint64_t value)
{
    value_begin(w);
    buf_printf(w->out, "%" PRIu64, value);
}

void json_put_int(struct json_writer *w, int64_t value)
{
    value_begin(w);
    buf_printf(w->out, "%" PRId64, value);
}

void number_format(struct buf *out, double value)
{
    double size = fabs(value), whole = floor(size);
    if (size >= 9e15) { /* above 2^53 there are only whole numbers, and no decimal point */
        buf_printf(out, "%.0f", value);
        return;
    }
    uint64_t integer = (uint64_t)whole;
    unsigned decimals = (unsigned)lround((size - whole) * 1e6);
    if (decimals == 1000000) {
        integer++;
        decimals = 0;
    }
    if (value < 0 && (integer > 0 || decimals > 0))
        buf_append_char(out, '-');
    buf_printf(out, "%" PRIu64, integer);
    if (decimals == 0)
        return;
    buf_printf(out, ".%06u", decimals);
    while (!out->failed && out->data[out->size - 1] == '0')
        out->data[--out->size] = 0;
}

void json_put_double(struct json_writer *w, double value)
{
    if (!isfinite(value)) {
        json_put_null(w);
        return;
    }
    value_begin(w);
    number_format(w->out, value);
}

void time_format(struct buf *out, int64_t wall_ns)
{
    int64_t seconds = wall_ns / (int64_t)NS_PER_SEC, rest = wall_ns % (int64_t)NS_PER_SEC;
    if (rest < 0) {
        rest += (int64_t)NS_PER_SEC;
        seconds--;
    }
    time_t at = (time_t)seconds;
    struct tm utc;
    gmtime_r(&at, &utc);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (int)(rest / (int64_t)NS_PER_MSEC));
}

void json_put_time(struct json_writer *w, int64_t wall_ns)
{
    if (wall_ns == 0) {
        json_put_null(w);
        return;
    }
    value_begin(w);
    buf_append_char(w->out, '"');
    time_format(w->out, wall_ns);
    buf_append_char(w->out, '"');
}

void json_field_text(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_put_text(w, text);
}

void json_field_double(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_double(w, value);
}

void json_field_uint(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_put_uint(w, value);
}

void json_field_int(struct json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

void json_field_bool(struct json_writer *w, const char *key, bool value)
{
    json_key(w, key);
    json_put_bool(w, value);
}

void json_field_time(struct json_writer *w, const char *key, int64_t wall_ns)
{
    json_key(w, key);
    json_put_time(w, wall_ns);
}

void json_field_double_or_null(struct json_writer *w, const char *key, bool known, double value)
{
    json_field_double(w, key, known ? value : (double)NAN);
}

void json_field_uint_or_null(struct json_writer *w, const char *key, bool known, uint64_t value)
{
    json_key(w, key);
    if (known)
        json_put_uint(w, value);
    else
        json_put_null(w);
}
