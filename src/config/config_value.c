/* SPDX-License-Identifier: Apache-2.0 */
/* Values of settings: from text, to text, compared, checked together. */
#include "config/config_table.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/parse.h"
#include "config/config_check.h"

static void *member(const struct setting *setting, const struct config *config)
{
    return (char *)config + setting->offset;
}

void setting_key(const struct setting *setting, char *ret_key, size_t size)
{
    snprintf(
        ret_key, size, "%s%s%s", setting->section, *setting->section ? "." : "", setting->name);
}

/* ---- Writing ------------------------------------------------------------------------------ */

struct unit {
    double size;
    const char *name;
};

static const struct unit duration_units[] = {
    {86400e9, "d"}, {3600e9, "h"}, {60e9, "m"}, {1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}};
static const struct unit byte_units[] = {
    {1099511627776.0, "T"}, {1073741824.0, "G"}, {1048576.0, "M"}, {1024.0, "K"}, {1, ""}};

/* In the largest unit of which it is a multiple. */
static void write_units(struct buf *out, double value, const struct unit *units, size_t count)
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || fmod(value, units[i].size) != 0))
        i++;
    buf_printf(out, "%.0f%s", value / units[i].size, units[i].name);
}

static void write_bound(const struct setting *setting, double value, struct buf *out)
{
    switch (setting->kind) {
    case SETTING_DURATION:
    case SETTING_MILLIS:
        if (value == 0)
            buf_append_str(out, "0s");
        else
            write_units(out, value, duration_units, ARRAY_SIZE(duration_units));
        break;
    case SETTING_BYTES:
        write_units(out, value, byte_units, ARRAY_SIZE(byte_units));
        break;
    default:
        buf_printf(out, "%.12g", value);
    }
}

void setting_write_range(const struct setting *setting, struct buf *out)
{
    if (setting->kind == SETTING_TEXT)
        return;
    if (setting->kind == SETTING_BOOL) {
        buf_append_str(out, "true or false");
        return;
    }
    if (setting->kind != SETTING_CHOICE) {
        write_bound(setting, setting->minimum, out);
        buf_append_str(out, " to ");
        write_bound(setting, setting->maximum, out);
        return;
    }
    for (size_t i = 0; setting->choices[i]; i++)
        buf_printf(out, "%s%s",
            i == 0                    ? ""
            : setting->choices[i + 1] ? ", "
                                      : " or ",
            setting->choices[i]);
}

/* ---- Reading ------------------------------------------------------------------------------ */

struct problem {
    char *text;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static int complain(
    struct problem problem, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem.text, problem.size, format, args);
    va_end(args);
    return code;
}

static int complain_range(
    const struct setting *setting, const char *text, const char *what, struct problem problem)
{
    struct buf range CLEANUP(buf_done) = {0};
    setting_write_range(setting, &range);
    if (range.failed)
        return complain(problem, -ENOMEM, "no memory");
    if (!what)
        return complain(problem, -ERANGE, "%.60s is outside %s", text, range.data);
    return complain(problem, -EINVAL, "\"%.60s\" is not %s (%s)", text, what, range.data);
}

static const char *kind_word(enum setting_kind kind)
{
    switch (kind) {
    case SETTING_REAL:
        return "a number";
    case SETTING_COUNT:
    case SETTING_COUNT64:
        return "a whole number";
    case SETTING_BYTES:
        return "a size such as 64K or 16M";
    default:
        return "a duration such as 250ms, 5s or 1h30m";
    }
}

static int parse_quantity(
    const struct setting *setting, const char *text, double *ret_value, uint64_t *ret_whole)
{
    size_t length = strlen(text);
    int r;
    switch (setting->kind) {
    case SETTING_REAL:
        return parse_double(text, length, ret_value);
    case SETTING_COUNT:
    case SETTING_COUNT64:
        r = parse_u64(text, length, ret_whole);
        /* "-1" is a number, and outside. */
        if (r == -EINVAL && parse_double(text, length, ret_value) == 0 && *ret_value < 0)
            r = -ERANGE;
        break;
    case SETTING_BYTES:
        r = parse_bytes(text, length, ret_whole);
        break;
    default:
        r = parse_duration(text, length, ret_whole);
    }
    if (r == 0)
        *ret_value = (double)*ret_whole;
    return r;
}

static int parse_number(
    const struct setting *setting, const char *text, struct config *config, struct problem problem)
{
    double value = 0;
    uint64_t whole = 0;
    int r = parse_quantity(setting, text, &value, &whole);
    if (r == -ENOMEM)
        return complain(problem, r, "no memory");
    if (r == -EINVAL)
        return complain_range(setting, text, kind_word(setting->kind), problem);
    if (r < 0 || value < setting->minimum || value > setting->maximum)
        return complain_range(setting, text, NULL, problem);
    void *target = member(setting, config);
    if (setting->kind == SETTING_REAL)
        *(double *)target = value;
    else if (setting->kind == SETTING_COUNT)
        *(uint32_t *)target = (uint32_t)whole;
    else if (setting->kind == SETTING_MILLIS)
        *(uint32_t *)target = (uint32_t)(whole / NS_PER_MSEC);
    else
        *(uint64_t *)target = whole;
    return 0;
}

static bool is_none(const char *text)
{
    return !*text || strcmp(text, "none") == 0 || strcmp(text, "~") == 0 ||
           strcmp(text, "null") == 0;
}

static int parse_text(
    const struct setting *setting, const char *text, struct config *config, struct problem problem)
{
    char *copy = NULL;
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return complain(problem, -EINVAL, "\"%.60s\" has a control character", text);
    }
    if (!setting->optional || !is_none(text)) {
        const char *wrong = setting->check(text);
        if (wrong)
            return complain(problem, -EINVAL, "\"%.60s\" %s", text, wrong);
        copy = mem_strdup(text);
        if (!copy)
            return complain(problem, -ENOMEM, "no memory");
    }
    char **target = member(setting, config);
    mem_free(*target);
    *target = copy;
    return 0;
}

static int parse_choice(
    const struct setting *setting, const char *text, struct config *config, struct problem problem)
{
    _Static_assert(sizeof(enum config_collector) == sizeof(unsigned), "enums are as wide as that");
    _Static_assert(sizeof(enum log_level) == sizeof(unsigned), "enums are as wide as that");
    for (unsigned i = 0; setting->choices[i]; i++) {
        if (strcmp(text, setting->choices[i]) == 0) {
            *(unsigned *)member(setting, config) = i;
            return 0;
        }
    }
    return complain_range(setting, text, "known", problem);
}

static int parse_bool(
    const struct setting *setting, const char *text, struct config *config, struct problem problem)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(bool *)member(setting, config) = i % 2;
            return 0;
        }
    }
    return complain(problem, -EINVAL, "\"%.60s\" is not true or false", text);
}

int setting_parse(const struct setting *setting, const char *text, struct config *config,
    char *ret_problem, size_t problem_size)
{
    struct problem problem = {ret_problem, problem_size};
    if (!*text && !setting->optional)
        return complain(problem, -EINVAL, "has no value");
    switch (setting->kind) {
    case SETTING_TEXT:
        return parse_text(setting, text, config, problem);
    case SETTING_BOOL:
        return parse_bool(setting, text, config, problem);
    case SETTING_CHOICE:
        return parse_choice(setting, text, config, problem);
    default:
        return parse_number(setting, text, config, problem);
    }
}

/* ---- Comparing and checking together ------------------------------------------------------ */

static bool texts_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool setting_equal(const struct setting *setting, const struct config *a, const struct config *b)
{
    const void *left = member(setting, a), *right = member(setting, b);
    switch (setting->kind) {
    case SETTING_TEXT:
        return texts_equal(*(char *const *)left, *(char *const *)right);
    case SETTING_BOOL:
        return *(const bool *)left == *(const bool *)right;
    case SETTING_COUNT:
    case SETTING_MILLIS:
    case SETTING_CHOICE:
        return memcmp(left, right, sizeof(uint32_t)) == 0;
    default:
        return memcmp(left, right, sizeof(uint64_t)) == 0;
    }
}

static int check_http(
    const struct config *config, const struct setting **ret_setting, struct problem problem)
{
    if (!config->http.tls_certificate != !config->http.tls_key) {
        *ret_setting =
            setting_find("http", config->http.tls_certificate ? "tls_certificate" : "tls_key");
        return complain(
            problem, -EINVAL, "http.tls_certificate and http.tls_key are needed together");
    }
    if (!config->http.listen)
        return 0;
    *ret_setting = setting_find("http", "listen");
    if (!config->http.token_file)
        return complain(problem, -EINVAL, "needs http.token_file");
    if (!listen_is_loopback(config->http.listen) && !config->http.tls_certificate)
        return complain(problem, -EINVAL,
            "\"%.60s\" is not a loopback address: needs http.tls_certificate and http.tls_key",
            config->http.listen);
    return 0;
}

int settings_check_together(const struct config *config, const struct setting **ret_setting,
    char *ret_problem, size_t problem_size)
{
    struct problem problem = {ret_problem, problem_size};
    if (config->scaling.down_threshold >= config->scaling.up_threshold) {
        *ret_setting = setting_find("scaling", "down_threshold");
        return complain(problem, -EINVAL, "%g is not below scaling.up_threshold, which is %g",
            config->scaling.down_threshold, config->scaling.up_threshold);
    }
    if (config->scaling.maximum > 0 && config->scaling.maximum < config->scaling.minimum) {
        *ret_setting = setting_find("scaling", "maximum");
        return complain(problem, -EINVAL, "%u is below scaling.minimum, which is %u",
            config->scaling.maximum, config->scaling.minimum);
    }
    if (config->history.recent_ns < config->interval_ns) {
        *ret_setting = setting_find("history", "recent");
        return complain(problem, -EINVAL, "is shorter than interval");
    }
    if (config->discovery.enabled && config->discovery.n_rules == 0) {
        *ret_setting = setting_find("discovery", "enabled");
        return complain(problem, -EINVAL, "needs discovery.rules");
    }
    return check_http(config, ret_setting, problem);
}
