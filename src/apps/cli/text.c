/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/text.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/parse.h"

static bool utf8;

void text_init(void)
{
    setlocale(LC_CTYPE, "");
    utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool text_is_utf8(void)
{
    return utf8;
}

/* Decodes one character of at most @left bytes. Returns its length, 0 where it is no UTF-8. */
static size_t decode(const unsigned char *bytes, size_t left, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = bytes[0];
    size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || length > left)
        return 0;
    uint32_t point = length == 1 ? first : first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3f);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return length;
}

static const struct {
    uint32_t first, last;
} hidden[] = {
    {0x00, 0x1f},       /* controls */
    {0x7f, 0x9f},       /* more controls, with the 8-bit escape introducers */
    {0xad, 0xad},       /* soft hyphen */
    {0x61c, 0x61c},     /* direction marks, overrides and isolates */
    {0x180e, 0x180e},   /* zero-width characters and separators */
    {0x200b, 0x200f},   /* */
    {0x2028, 0x202e},   /* */
    {0x2060, 0x206f},   /* */
    {0xfe00, 0xfe0f},   /* variation selectors */
    {0xfeff, 0xfeff},   /* byte order mark */
    {0xfff9, 0xfffb},   /* annotation */
    {0xe0000, 0xe0fff}, /* tags */
};

static bool is_hidden(uint32_t point)
{
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
        if (point >= hidden[i].first && point <= hidden[i].last)
            return true;
    }
    return false;
}

static void escape_byte(struct buf *out, unsigned char byte)
{
    static const char names[] = "abtnvfr";
    if (byte >= 7 && byte <= 13)
        buf_printf(out, "\\%c", names[byte - 7]);
    else
        buf_printf(out, "\\x%02x", byte);
}

void text_safe(struct buf *out, const char *text)
{
    const unsigned char *bytes = (const unsigned char *)(text ? text : "-");
    size_t left = strlen((const char *)bytes);
    while (left > 0) {
        uint32_t point = 0;
        size_t length = decode(bytes, left, &point);
        if (length == 0 || (length == 1 && is_hidden(point))) {
            escape_byte(out, bytes[0]);
            length = 1;
        } else if (length > 1 && (!utf8 || is_hidden(point) || wcwidth((wchar_t)point) < 0)) {
            buf_printf(out, "\\u{%x}", point);
        } else {
            buf_append(out, bytes, length);
        }
        bytes += length;
        left -= length;
    }
}

const char *text_for(FILE *out, const char *text, struct buf *storage)
{
    const char *c = text ? text : "";
    while (*c >= ' ' && *c <= '~')
        c++;
    if (*c == 0 || !isatty(fileno(out)))
        return text ? text : "";
    buf_clear(storage);
    text_safe(storage, text);
    return storage->failed ? "?" : storage->data;
}

/* Bytes and columns of the next character of a safe text. */
static size_t next_character(const char *safe, unsigned *ret_columns)
{
    uint32_t point = 0;
    size_t length = decode((const unsigned char *)safe, strlen(safe), &point);
    int columns = length > 1 ? wcwidth((wchar_t)point) : 1;
    *ret_columns = columns > 0 ? (unsigned)columns : 0;
    return MAX(length, 1u);
}

unsigned text_width(const char *safe)
{
    unsigned total = 0, columns;
    while (*safe) {
        safe += next_character(safe, &columns);
        total += columns;
    }
    return total;
}

/* Appends as many whole characters as fit. Returns the columns that they take. */
static unsigned append_columns(struct buf *out, const char *safe, unsigned limit)
{
    unsigned total = 0, columns;
    while (*safe) {
        size_t length = next_character(safe, &columns);
        if (total + columns > limit)
            break;
        buf_append(out, safe, length);
        total += columns;
        safe += length;
    }
    return total;
}

static void append_blanks(struct buf *out, unsigned count)
{
    for (; count > 0; count--)
        buf_append_char(out, ' ');
}

void text_fit(struct buf *out, const char *safe, unsigned columns, enum text_pad pad)
{
    unsigned width = text_width(safe);
    if (width > columns) {
        const char *ellipsis = utf8 ? "…" : "~";
        unsigned used = append_columns(out, safe, columns > 0 ? columns - 1 : 0);
        if (columns > 0)
            buf_append_str(out, ellipsis);
        append_blanks(out, columns > used + 1 ? columns - used - 1 : 0);
        return;
    }
    if (pad == TEXT_PAD_LEFT)
        append_blanks(out, columns - width);
    buf_append_str(out, safe);
    if (pad == TEXT_PAD_RIGHT)
        append_blanks(out, columns - width);
}

/* ---- Numbers */

static const char *unknown(char out[TEXT_SHORT])
{
    memcpy(out, "-", 2);
    return out;
}

const char *text_percent(char out[TEXT_SHORT], double percent)
{
    if (!isfinite(percent))
        return unknown(out);
    snprintf(out, TEXT_SHORT, "%.1f", percent);
    return out;
}

static const char *const long_units[] = {" KiB", " MiB", " GiB", " TiB"};

/* Three digits or so: a value below 10 has one decimal. */
static const char *scaled(
    char out[TEXT_SHORT], double mib, const char *const units[4], const char *end)
{
    if (!isfinite(mib))
        return unknown(out);
    if (mib == 0) {
        snprintf(out, TEXT_SHORT, "0%s%s", units == long_units ? " B" : "", end);
        return out;
    }
    double value = mib * 1024;
    unsigned unit = 0;
    while (unit < 3 && fabs(value) >= 999.5) {
        value /= 1024;
        unit++;
    }
    bool decimal = fabs(value) < 9.95;
    snprintf(out, TEXT_SHORT, "%.*f%s%s", decimal ? 1 : 0, value, units[unit], end);
    return out;
}

const char *text_size(char out[TEXT_SHORT], double mib)
{
    static const char *const units[] = {"K", "M", "G", "T"};
    return scaled(out, mib, units, "");
}

const char *text_size_long(char out[TEXT_SHORT], double mib)
{
    return scaled(out, mib, long_units, "");
}

const char *text_rate_long(char out[TEXT_SHORT], double mib_per_second)
{
    return scaled(out, mib_per_second, long_units, "/s");
}

const char *text_count(char out[TEXT_SHORT], double count)
{
    if (!isfinite(count))
        return unknown(out);
    if (fabs(count) >= 1e8)
        snprintf(out, TEXT_SHORT, "%.0fM", count / 1e6);
    else if (fabs(count) >= 1e5)
        snprintf(out, TEXT_SHORT, "%.0fk", count / 1e3);
    else
        snprintf(out, TEXT_SHORT, "%.0f", count);
    return out;
}

const char *text_duration(char out[TEXT_SHORT], double seconds)
{
    if (!isfinite(seconds) || fabs(seconds) > 1e15)
        return unknown(out);
    seconds = fabs(seconds);
    uint64_t whole = (uint64_t)(seconds + 0.5);
    if (seconds < 9.95 && seconds != (double)whole)
        snprintf(out, TEXT_SHORT, "%.1fs", seconds);
    else if (whole < 100)
        snprintf(out, TEXT_SHORT, "%us", (unsigned)whole);
    else if (whole < 3600)
        snprintf(out, TEXT_SHORT, "%um%02us", (unsigned)(whole / 60), (unsigned)(whole % 60));
    else if (whole < 86400)
        snprintf(
            out, TEXT_SHORT, "%uh%02um", (unsigned)(whole / 3600), (unsigned)(whole / 60 % 60));
    else
        snprintf(out, TEXT_SHORT, "%llud%02uh", (unsigned long long)(whole / 86400),
            (unsigned)(whole / 3600 % 24));
    return out;
}

/* ---- Times */

static const char *local_time(char out[TEXT_SHORT], int64_t wall_ns, bool with_date)
{
    time_t seconds = (time_t)(wall_ns / (int64_t)NS_PER_SEC);
    struct tm parts;
    if (wall_ns == 0 || !localtime_r(&seconds, &parts))
        return unknown(out);
    size_t n = with_date ? strftime(out, TEXT_SHORT, "%Y-%m-%d %H:%M:%S", &parts)
                         : strftime(out, TEXT_SHORT, "%H:%M:%S", &parts);
    return n > 0 ? out : unknown(out);
}

const char *text_time(char out[TEXT_SHORT], int64_t wall_ns)
{
    return local_time(out, wall_ns, true);
}

const char *text_time_short(char out[TEXT_SHORT], int64_t wall_ns, int64_t now_ns)
{
    uint64_t away = (uint64_t)(now_ns > wall_ns ? now_ns - wall_ns : wall_ns - now_ns);
    return local_time(out, wall_ns, away >= 20 * 3600 * NS_PER_SEC);
}

const char *text_rfc3339(char out[TEXT_SHORT], int64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / (int64_t)NS_PER_SEC);
    unsigned milliseconds = (unsigned)(wall_ns / (int64_t)NS_PER_MSEC % 1000);
    struct tm parts;
    if (wall_ns <= 0 || !gmtime_r(&seconds, &parts))
        return unknown(out);
    size_t n = strftime(out, TEXT_SHORT, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + n, TEXT_SHORT - n, ".%03uZ", milliseconds);
    return out;
}

int text_parse_rfc3339(const char *text, int64_t *ret_wall_ns)
{
    struct tm parts = {0};
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &parts) : NULL;
    uint64_t nanoseconds = 0;
    if (!rest)
        return -EINVAL;
    if (*rest == '.') {
        uint64_t unit = NS_PER_SEC / 10;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            nanoseconds += (uint64_t)(*rest - '0') * unit;
    }
    if (strcmp(rest, "Z") != 0)
        return -EINVAL;
    *ret_wall_ns = (int64_t)timegm(&parts) * (int64_t)NS_PER_SEC + (int64_t)nanoseconds;
    return 0;
}

const char *text_spark(double value, double maximum)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    if (!isfinite(value))
        return " ";
    double part = maximum > 0 ? value / maximum : 0;
    double level = ceil(part * 8) - 1;
    unsigned place = level < 0 ? 0 : level > 7 ? 7 : (unsigned)level;
    return utf8 ? bars[place] : plain[place];
}
