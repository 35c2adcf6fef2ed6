/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"

static enum log_level log_max = LOG_LEVEL_INFO;

static const struct {
    const char *name;
    const char *journal_prefix;
} log_levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "<3>"},
    [LOG_LEVEL_WARNING] = {"warning", "<4>"},
    [LOG_LEVEL_INFO] = {"info", "<6>"},
    [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

const char *log_level_name(enum log_level level)
{
    return (size_t)level < ARRAY_SIZE(log_levels) ? log_levels[level].name : "unknown";
}

int log_level_from_name(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(log_levels); i++) {
        if (strcmp(log_levels[i].name, name) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void log_set_level(enum log_level level)
{
    log_max = level;
}

static bool needs_quotes(const char *text)
{
    if (!*text)
        return true;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f)
            return true;
    }
    return false;
}

static void append_text(struct buf *line, const char *text)
{
    if (!needs_quotes(text)) {
        buf_append_str(line, text);
        return;
    }
    buf_append_char(line, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_printf(line, "\\%c", *c);
        else if (*c < ' ' || *c == 0x7f)
            buf_printf(line, "\\x%02x", *c);
        else
            buf_append_char(line, (char)*c);
    }
    buf_append_char(line, '"');
}

static void append_field(struct buf *line, const struct log_field *field)
{
    buf_printf(line, " %s=", field->key);
    switch (field->kind) {
    case LOG_KIND_STR:
        append_text(line, field->value.text ? field->value.text : "-");
        break;
    case LOG_KIND_INT:
        buf_printf(line, "%" PRId64, field->value.number);
        break;
    case LOG_KIND_UINT:
        buf_printf(line, "%" PRIu64, field->value.count);
        break;
    case LOG_KIND_DOUBLE:
        if (isnan(field->value.real))
            buf_append_char(line, '-');
        else
            buf_printf(line, "%.6g", field->value.real);
        break;
    }
}

static void append_time(struct buf *line)
{
    struct timespec now;
    struct tm utc;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    buf_printf(line, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
}

void log_fields(
    enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    if (level > log_max)
        return;
    struct buf line CLEANUP(buf_done) = {.limit = 16384};
    if (getenv("JOURNAL_STREAM")) {
        buf_append_str(&line, log_levels[level].journal_prefix);
    } else {
        append_time(&line);
        buf_printf(&line, "%s ", log_levels[level].name);
    }
    buf_append_str(&line, "msg=");
    append_text(&line, message);
    for (size_t i = 0; i < count; i++)
        append_field(&line, &fields[i]);
    if (line.failed) {
        /* Too long (or no memory): what there is goes out, marked as cut. */
        line.failed = false;
        line.limit += 8;
        buf_append_str(&line, "...");
    }
    line.limit += 8;
    if (buf_append_char(&line, '\n') == 0)
        (void)io_write_all(STDERR_FILENO, line.data, line.size);
}
