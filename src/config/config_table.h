/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all settings, and how one is read from text and written as text. */
#ifndef AC_CONFIG_TABLE_H
#define AC_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"

enum setting_kind {
    SETTING_TEXT,     /* char *: what .check accepts */
    SETTING_REAL,     /* double */
    SETTING_COUNT,    /* uint32_t */
    SETTING_COUNT64,  /* uint64_t */
    SETTING_BYTES,    /* uint64_t */
    SETTING_DURATION, /* uint64_t, nanoseconds */
    SETTING_MILLIS,   /* uint32_t, a duration kept in milliseconds */
    SETTING_BOOL,     /* bool */
    SETTING_CHOICE,   /* unsigned: index into .choices */
};

/* Says what is wrong with a text, or NULL. */
typedef const char *(*setting_check)(const char *text);

struct setting {
    const char *section; /* "" = at the top */
    const char *name;
    enum setting_kind kind;
    bool optional; /* text: "none" and nothing are NULL */
    bool restart;  /* a change needs a restart */
    size_t offset; /* in struct config */
    double minimum;
    double maximum;
    const char *default_text; /* as in the file; NULL = none, or made for the user at run time */
    const char *example;      /* shown where there is no default */
    const char *const *choices;
    setting_check check;
    const char *help; /* one or more sentences */
};

struct setting_section {
    const char *name; /* "" = at the top */
    const char *help;
};

/* Settings of one section stand together, sections in the order of the second table. */
extern const struct setting config_settings[];
extern const size_t config_setting_count;
extern const struct setting_section config_sections[];
extern const size_t config_section_count;

/* NULL where there is none of that name. */
const struct setting *setting_find(const char *section, const char *name);

/* "limits.max_cpu_percent" */
void setting_key(const struct setting *setting, char *ret_key, size_t size);

/* Sets the member of @config from text. Returns 0; or -EINVAL, -ERANGE, -ENOMEM with what is
 * wrong with it ("140 is outside 1 to 100") in @ret_problem and @config unchanged. */
int setting_parse(const struct setting *setting, const char *text, struct config *config,
    char *ret_problem, size_t problem_size);

/* Appends "1 to 100", "100ms to 1h", "auto, bpf or procfs"; nothing for free text. */
void setting_write_range(const struct setting *setting, struct buf *out);

/* Whether both have the same value. */
bool setting_equal(const struct setting *setting, const struct config *a, const struct config *b);

/* Checks across settings and sets *ret_setting to the one to blame. Returns 0 or -EINVAL with
 * what is wrong in @ret_problem. */
int settings_check_together(const struct config *config, const struct setting **ret_setting,
    char *ret_problem, size_t problem_size);

#endif
