/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "unit/base/random.h"

#define UNTOUCHED 0x5aa5c33cull

struct u64_case {
    const char *text;
    int result;
    uint64_t value;
};

typedef int (*u64_parser)(const char *text, size_t length, uint64_t *ret_value);

/* Each text is put at the end of an allocation of its own, without a NUL behind it: reading one
 * byte too far is caught. */
static int parse_exact(u64_parser parser, const char *text, size_t length, uint64_t *ret_value)
{
    char *copy cleanup_free = mem_alloc(length);
    assert_non_null(copy);
    memcpy(copy, text, length);
    return parser(copy, length, ret_value);
}

static void check_table(u64_parser parser, const struct u64_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = UNTOUCHED;
        int r = parse_exact(parser, cases[i].text, strlen(cases[i].text), &value);
        uint64_t want = cases[i].result < 0 ? UNTOUCHED : cases[i].value;
        if (r != cases[i].result || value != want)
            fail_msg("\"%s\": %d, %" PRIu64 "; expected %d, %" PRIu64, cases[i].text, r, value,
                cases[i].result, want);
    }
}

static void u64_table(void **state)
{
    (void)state;
    static const struct u64_case cases[] = {
        {"0", 0, 0},
        {"7", 0, 7},
        {"00000000000000000000000000000042", 0, 42},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551620", -ERANGE, 0},
        {"99999999999999999999999999", -ERANGE, 0},
        {"", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"-0", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"1_000", -EINVAL, 0},
        {"\xd9\xa1", -EINVAL, 0}, /* an Arabic digit */
        {"/", -EINVAL, 0},
        {":", -EINVAL, 0},
    };
    check_table(parse_u64, cases, ARRAY_SIZE(cases));
}

static void i64_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"-1", 0, -1},
        {"9223372036854775807", 0, INT64_MAX},
        {"9223372036854775808", -ERANGE, 0},
        {"-9223372036854775808", 0, INT64_MIN},
        {"-9223372036854775809", -ERANGE, 0},
        {"-99999999999999999999", -ERANGE, 0},
        {"-", -EINVAL, 0},
        {"--1", -EINVAL, 0},
        {"- 1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t value = 77;
        assert_int_equal(parse_i64(cases[i].text, strlen(cases[i].text), &value), cases[i].result);
        assert_true(value == (cases[i].result < 0 ? 77 : cases[i].value));
    }
}

static void numbers_survive_printing(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[32];
        uint64_t number = random_next(&seed) >> (random_next(&seed) % 64), back = 0;
        int n = snprintf(text, sizeof(text), "%" PRIu64, number);
        assert_int_equal(parse_u64(text, (size_t)n, &back), 0);
        assert_true(back == number);
        int64_t sign = (int64_t)number, sign_back = 0;
        n = snprintf(text, sizeof(text), "%" PRId64, sign);
        assert_int_equal(parse_i64(text, (size_t)n, &sign_back), 0);
        assert_true(sign_back == sign);
    }
}

static void doubles_survive_printing(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_next(&seed);
        double number, back = 0;
        memcpy(&number, &bits, sizeof(number));
        if (!isfinite(number))
            continue;
        char text[64];
        int n = snprintf(text, sizeof(text), "%.17g", number);
        assert_int_equal(parse_double(text, (size_t)n, &back), 0);
        assert_memory_equal(&back, &number, sizeof(back));
    }
}

static void double_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        double value;
    } cases[] = {
        {"0", 0, 0},
        {"-1.5", 0, -1.5},
        {"+2", 0, 2},
        {".5", 0, .5},
        {"5.", 0, 5},
        {"1e3", 0, 1000},
        {"1E-3", 0, .001},
        {"1.7976931348623157e308", 0, DBL_MAX},
        {"1e309", -ERANGE, 0},
        {"-1e309", -ERANGE, 0},
        {"1e99999999999999999999", -ERANGE, 0},
        {"1e-400", 0, 0},
        {"", -EINVAL, 0},
        {".", -EINVAL, 0},
        {"-", -EINVAL, 0},
        {"+-1", -EINVAL, 0},
        {"e5", -EINVAL, 0},
        {"1e", -EINVAL, 0},
        {"1e+", -EINVAL, 0},
        {"1.2.3", -EINVAL, 0},
        {"1,5", -EINVAL, 0},
        {"0x1p3", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"NaN", -EINVAL, 0},
        {"inf", -EINVAL, 0},
        {"-Infinity", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1f", -EINVAL, 0},
        {"0000000000000000000000000000000000000000000000000000000000000001", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        double value = 77;
        int r = parse_double(cases[i].text, strlen(cases[i].text), &value);
        double want = cases[i].result < 0 ? 77 : cases[i].value;
        if (r != cases[i].result || value < want || value > want)
            fail_msg("\"%s\": %d, %g", cases[i].text, r, value);
    }
}

/* A NUL inside the given length is part of the text. */
static void nul_is_not_an_end(void **state)
{
    (void)state;
    uint64_t value = UNTOUCHED;
    double real = 77;
    assert_int_equal(parse_u64("1\0", 2, &value), -EINVAL);
    assert_int_equal(parse_bytes("1\0", 2, &value), -EINVAL);
    assert_int_equal(parse_bytes("1K\0", 3, &value), -EINVAL);
    assert_int_equal(parse_duration("1\0", 2, &value), -EINVAL);
    assert_int_equal(parse_duration("1s\0", 3, &value), -EINVAL);
    assert_int_equal(parse_double("1\0", 2, &real), -EINVAL);
    assert_true(value == UNTOUCHED);
}

static void bytes_table(void **state)
{
    (void)state;
    static const struct u64_case cases[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"17B", 0, 17},
        {"1K", 0, 1024},
        {"1k", 0, 1024},
        {"1Ki", 0, 1024},
        {"1KiB", 0, 1024},
        {"1KB", 0, 1024},
        {"512M", 0, 512ull << 20},
        {"1.5G", 0, 3ull << 29},
        {"2T", 0, 2ull << 40},
        {"1P", 0, 1ull << 50},
        {"0.5K", 0, 512},
        {"0.0001K", 0, 0},
        {".5M", 0, 1 << 19},
        {"9007199254740993B", 0, 9007199254740993},
        {"9007199254740993K", 0, 9007199254740993ull << 10},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551615B", 0, UINT64_MAX},
        {"18014398509481983K", 0, 18014398509481983ull << 10},
        {"18014398509481984K", -ERANGE, 0},
        {"16384P", -ERANGE, 0},
        {"16383.99999P", 0, 18446744062450552548ull},
        {"99999999999999999999T", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"K", -EINVAL, 0},
        {"B", -EINVAL, 0},
        {"-1K", -EINVAL, 0},
        {"+1K", -EINVAL, 0},
        {"1 K", -EINVAL, 0},
        {"1KK", -EINVAL, 0},
        {"1KiBB", -EINVAL, 0},
        {"1Kb", -EINVAL, 0},
        {"1iB", -EINVAL, 0},
        {"1b", -EINVAL, 0},
        {"1E", -EINVAL, 0},
        {"1e3K", -EINVAL, 0},
        {"1.5", -EINVAL, 0},
        {"1..5K", -EINVAL, 0},
        {".K", -EINVAL, 0},
        {"0x1K", -EINVAL, 0},
        {"nanK", -EINVAL, 0},
        {"1K\n", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        /* Fractions are right to the precision of a double. */
        uint64_t value = UNTOUCHED;
        int r = parse_exact(parse_bytes, cases[i].text, strlen(cases[i].text), &value);
        bool fraction = r == 0 && strchr(cases[i].text, '.');
        uint64_t want = cases[i].result < 0 ? UNTOUCHED : cases[i].value;
        uint64_t slack = fraction ? want >> 30 : 0;
        uint64_t off = value > want ? value - want : want - value;
        if (r != cases[i].result || off > slack)
            fail_msg("\"%s\": %d, %" PRIu64, cases[i].text, r, value);
    }
}

static void duration_table(void **state)
{
    (void)state;
    static const struct u64_case cases[] = {
        {"0", 0, 0},
        {"90", 0, 90 * NS_PER_SEC},
        {"1.5", 0, 1500 * NS_PER_MSEC},
        {"17ns", 0, 17},
        {"3us", 0, 3000},
        {"250ms", 0, 250 * NS_PER_MSEC},
        {"5s", 0, 5 * NS_PER_SEC},
        {"1.5m", 0, 90 * NS_PER_SEC},
        {"2min", 0, 120 * NS_PER_SEC},
        {"2h", 0, 7200 * NS_PER_SEC},
        {"7d", 0, 604800 * NS_PER_SEC},
        {"1w", 0, 604800 * NS_PER_SEC},
        {"1h30m", 0, 5400 * NS_PER_SEC},
        {"1m1m", 0, 120 * NS_PER_SEC},
        {"18446744073709551615ns", 0, UINT64_MAX},
        {"18446744073709551616ns", -ERANGE, 0},
        {"18446744073709551615ns1ns", -ERANGE, 0},
        {"30501w", -ERANGE, 0},
        {"999999999999999999999h", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"1h30", -EINVAL, 0},
        {"90 s", -EINVAL, 0},
        {"-5s", -EINVAL, 0},
        {"5S", -EINVAL, 0},
        {"5sec", -EINVAL, 0},
        {"5ss", -EINVAL, 0},
        {"5s ", -EINVAL, 0},
        {"1e3s", -EINVAL, 0},
        {"1.s.s", -EINVAL, 0},
        {"..s", -EINVAL, 0},
        {"infs", -EINVAL, 0},
        {"5\xc2\xb5s", -EINVAL, 0},
    };
    check_table(parse_duration, cases, ARRAY_SIZE(cases));
}

static void digits_stop_where_they_end(void **state)
{
    (void)state;
    static const char text[] = "12 34)";
    const char *cursor = text, *end = text + strlen(text);
    uint64_t value = UNTOUCHED;
    assert_int_equal(parse_digits(&cursor, end, &value), 0);
    assert_int_equal(value, 12);
    assert_ptr_equal(cursor, text + 2);
    assert_int_equal(parse_digits(&cursor, end, &value), -EINVAL);
    assert_ptr_equal(cursor, text + 2);
    cursor++;
    assert_int_equal(parse_digits(&cursor, cursor + 1, &value), 0);
    assert_int_equal(value, 3);
    assert_int_equal(parse_digits(&cursor, cursor, &value), -EINVAL);
    assert_int_equal(value, 3);
}

/* Decimal commas of the user's locale change nothing. */
static void locale_does_not_matter(void **state)
{
    (void)state;
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"};
    for (size_t i = 0; i < ARRAY_SIZE(locales); i++) {
        double value = 0;
        setlocale(LC_ALL, locales[i]);
        assert_int_equal(parse_double("1.5", 3, &value), 0);
        assert_true(value > 1.4 && value < 1.6);
        assert_int_equal(parse_double("1,5", 3, &value), -EINVAL);
    }
    setlocale(LC_ALL, "C");
}

/* Any bytes: no crash, and a result only with success. */
static void random_bytes_are_survived(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789.eE+-KMGTPiBsmhdwnu \0\n\xff";
    uint64_t seed = 3;
    for (int i = 0; i < 50000; i++) {
        char text[24];
        size_t length = random_next(&seed) % sizeof(text);
        for (size_t k = 0; k < length; k++)
            text[k] = alphabet[random_next(&seed) % (sizeof(alphabet) - 1)];
        u64_parser parsers[] = {parse_u64, parse_bytes, parse_duration};
        for (size_t k = 0; k < ARRAY_SIZE(parsers); k++) {
            uint64_t value = UNTOUCHED;
            int r = parse_exact(parsers[k], text, length, &value);
            assert_true(r == 0 || ((r == -EINVAL || r == -ERANGE) && value == UNTOUCHED));
        }
        double real = 77;
        int r = parse_double(text, length, &real);
        assert_true(r == 0 ? isfinite(real) : real > 76);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u64_table),
        cmocka_unit_test(i64_table),
        cmocka_unit_test(numbers_survive_printing),
        cmocka_unit_test(doubles_survive_printing),
        cmocka_unit_test(double_table),
        cmocka_unit_test(nul_is_not_an_end),
        cmocka_unit_test(bytes_table),
        cmocka_unit_test(duration_table),
        cmocka_unit_test(digits_stop_where_they_end),
        cmocka_unit_test(locale_does_not_matter),
        cmocka_unit_test(random_bytes_are_survived),
    };
    return cmocka_run_group_tests_name("base/parse", tests, NULL, NULL);
}
