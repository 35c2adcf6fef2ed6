/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int parse_digits(const char **cursor, const char *end, uint64_t *ret_value)
{
    const char *c = *cursor;
    if (c >= end || !is_digit(*c))
        return -EINVAL;
    uint64_t value = 0;
    for (; c < end && is_digit(*c); c++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return -ERANGE;
    }
    *cursor = c;
    *ret_value = value;
    return 0;
}

int parse_u64(const char *text, size_t length, uint64_t *ret_value)
{
    const char *c = text;
    uint64_t value;
    int r = parse_digits(&c, text + length, &value);
    if (r < 0)
        return r;
    if (c != text + length)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

int parse_i64(const char *text, size_t length, int64_t *ret_value)
{
    bool negative = length > 0 && text[0] == '-';
    uint64_t value;
    int r = parse_u64(text + negative, length - negative, &value);
    if (r < 0)
        return r;
    if (value > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

/* Checks the form and copies into @out, so that strtod sees nothing it could take otherwise. */
static int double_copy(const char *text, size_t length, char out[64])
{
    if (length == 0 || length >= 64)
        return -EINVAL;
    size_t i = text[0] == '-' || text[0] == '+', digits = 0;
    for (; i < length && is_digit(text[i]); i++)
        digits++;
    if (i < length && text[i] == '.') {
        for (i++; i < length && is_digit(text[i]); i++)
            digits++;
    }
    if (digits == 0)
        return -EINVAL;
    if (i < length && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        if (i < length && (text[i] == '-' || text[i] == '+'))
            i++;
        if (i >= length)
            return -EINVAL;
        while (i < length && is_digit(text[i]))
            i++;
    }
    if (i != length)
        return -EINVAL;
    memcpy(out, text, length);
    out[length] = 0;
    return 0;
}

int parse_double(const char *text, size_t length, double *ret_value)
{
    static locale_t c_locale;
    char copy[64];
    int r = double_copy(text, length, copy);
    if (r < 0)
        return r;
    locale_t locale = __atomic_load_n(&c_locale, __ATOMIC_ACQUIRE);
    if (!locale) {
        locale_t expected = NULL;
        locale = newlocale(LC_ALL_MASK, "C", NULL);
        if (!locale)
            return -ENOMEM;
        if (!__atomic_compare_exchange_n(
                &c_locale, &expected, locale, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            freelocale(locale);
            locale = expected;
        }
    }
    double value = strtod_l(copy, NULL, locale);
    if (!isfinite(value))
        return -ERANGE;
    *ret_value = value;
    return 0;
}

/* Length of the number at the start of a quantity: digits and points. */
static size_t quantity_number(const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && (is_digit(text[n]) || text[n] == '.'))
        n++;
    return n;
}

/* Multiplies the number at @text; whole numbers exactly, fractions to the nearest. */
static int quantity_scale(const char *text, size_t length, double factor, uint64_t *ret_value)
{
    uint64_t whole;
    double value;
    if (parse_u64(text, length, &whole) == 0) {
        if (__builtin_mul_overflow(whole, (uint64_t)factor, &whole))
            return -ERANGE;
        *ret_value = whole;
        return 0;
    }
    int r = parse_double(text, length, &value);
    if (r < 0)
        return r;
    double scaled = value * factor;
    if (scaled >= 18446744073709549568.0)
        return -ERANGE;
    *ret_value = (uint64_t)(scaled + 0.5);
    return 0;
}

int parse_bytes(const char *text, size_t length, uint64_t *ret_bytes)
{
    static const char *const endings[] = {"", "i", "iB", "B"};
    size_t n = quantity_number(text, length);
    if (n == length)
        return parse_u64(text, length, ret_bytes);
    const char *units = "KMGTP";
    const char *unit = strchr(units, text[n] >= 'a' ? text[n] - 'a' + 'A' : text[n]);
    if (text[n] == 'B' && n + 1 == length)
        return quantity_scale(text, n, 1, ret_bytes);
    if (!unit || !*unit)
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        if (strlen(endings[i]) == length - n - 1 &&
            memcmp(endings[i], text + n + 1, length - n - 1) == 0)
            return quantity_scale(text, n, ldexp(1, 10 * (int)(unit - units + 1)), ret_bytes);
    }
    return -EINVAL;
}

static const struct {
    const char *name;
    double ns;
} duration_units[] = {
    {"ns", 1},
    {"us", NS_PER_USEC},
    {"ms", NS_PER_MSEC},
    {"s", NS_PER_SEC},
    {"m", 60.0 * NS_PER_SEC},
    {"min", 60.0 * NS_PER_SEC},
    {"h", 3600.0 * NS_PER_SEC},
    {"d", 86400.0 * NS_PER_SEC},
    {"w", 604800.0 * NS_PER_SEC},
};

static int duration_unit(const char *text, size_t length, double *ret_ns)
{
    for (size_t i = 0; i < ARRAY_SIZE(duration_units); i++) {
        if (strlen(duration_units[i].name) == length &&
            memcmp(duration_units[i].name, text, length) == 0) {
            *ret_ns = duration_units[i].ns;
            return 0;
        }
    }
    return -EINVAL;
}

int parse_duration(const char *text, size_t length, uint64_t *ret_ns)
{
    const char *end = text + length;
    uint64_t total = 0;
    if (length == 0)
        return -EINVAL;
    for (const char *c = text; c < end;) {
        size_t n = quantity_number(c, (size_t)(end - c)), unit = 0;
        double ns = NS_PER_SEC;
        while (c + n + unit < end && c[n + unit] >= 'a' && c[n + unit] <= 'z')
            unit++;
        if (unit == 0 && (c != text || c + n != end))
            return -EINVAL;
        if (unit > 0 && duration_unit(c + n, unit, &ns) < 0)
            return -EINVAL;
        uint64_t part;
        int r = quantity_scale(c, n, ns, &part);
        if (r < 0)
            return r;
        if (__builtin_add_overflow(total, part, &total))
            return -ERANGE;
        c += n + unit;
    }
    *ret_ns = total;
    return 0;
}
