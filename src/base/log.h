/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured logs of the programs (the library never logs): one line of key=value pairs on
 * standard error, with a syslog priority prefix ("<4>") where the journal reads it
 * (JOURNAL_STREAM is set), else with a time and a level. Values with spaces or control
 * characters are quoted and escaped. Safe from any thread; one write(2) per line.
 *
 *     log_event(LOG_LEVEL_INFO, "agent started", log_str("agent", id), log_int("pid", pid));
 */
#ifndef AC_BASE_LOG_H
#define AC_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Names: "error", "warning", "info", "debug". */
const char *log_level_name(enum log_level level);
int log_level_from_name(const char *name, enum log_level *ret_level);

/* Lines above @level are dropped. Default: info. */
void log_set_level(enum log_level level);

enum log_kind { LOG_KIND_STR, LOG_KIND_INT, LOG_KIND_UINT, LOG_KIND_DOUBLE };

struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        const char *text;
        int64_t number;
        uint64_t count;
        double real;
    } value;
};

static inline struct log_field log_str(const char *key, const char *text)
{
    return (struct log_field){key, LOG_KIND_STR, {.text = text}};
}

static inline struct log_field log_int(const char *key, int64_t number)
{
    return (struct log_field){key, LOG_KIND_INT, {.number = number}};
}

static inline struct log_field log_uint(const char *key, uint64_t count)
{
    return (struct log_field){key, LOG_KIND_UINT, {.count = count}};
}

static inline struct log_field log_real(const char *key, double real)
{
    return (struct log_field){key, LOG_KIND_DOUBLE, {.real = real}};
}

/* @message is a literal that names the event. A NULL text prints as "-". */
void log_fields(
    enum log_level level, const char *message, const struct log_field *fields, size_t count);

#define log_event(level, message, ...)                                                             \
    log_fields(level, message, (const struct log_field[]){__VA_ARGS__},                            \
        sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define log_plain(level, message) log_fields(level, message, NULL, 0)

#endif
