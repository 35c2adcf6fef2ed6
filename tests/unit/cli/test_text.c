/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "apps/cli/text.h"
#include "base/fault.h"
#include "base/mem.h"

static void in_locale(const char *name)
{
    setenv("LC_ALL", name, 1);
    text_init();
}

static void assert_safe(const char *text, const char *wanted)
{
    struct buf out CLEANUP(buf_done) = {0};
    text_safe(&out, text);
    assert_false(out.failed);
    assert_string_equal(out.data ? out.data : "", wanted);
}

static void test_safe(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", ""},
        {NULL, "-"},
        {"plain text (1) [2]", "plain text (1) [2]"},
        {"\033[31mred", "\\x1b[31mred"},
        {"a\nb\tc\r\a\b\v\f", "a\\nb\\tc\\r\\a\\b\\v\\f"},
        {"\x7f\x01", "\\x7f\\x01"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xc2\x9b"
         "31m",
            "\\u{9b}31m"}, /* the 8-bit escape introducer */
        {"\xe2\x80\xae"
         "evil",
            "\\u{202e}evil"},          /* right-to-left override */
        {"\xe2\x80\x8b", "\\u{200b}"}, /* zero-width space */
        {"\xef\xbb\xbf", "\\u{feff}"},
        {"\xf3\xa0\x81\x81", "\\u{e0041}"}, /* a tag character */
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},          /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
        {"\xe2\x82", "\\xe2\\x82"},                   /* cut */
        {"\xe2(\xa1", "\\xe2(\\xa1"},
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
    };
    (void)state;
    in_locale("C.UTF-8");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_safe(cases[i].text, cases[i].wanted);
}

/* Every byte and every pair of bytes leaves nothing but printable characters. */
static void test_safe_leaves_no_control(void **state)
{
    (void)state;
    in_locale("C.UTF-8");
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        char text[3] = {(char)(pair >> 8), (char)pair, 0};
        struct buf out CLEANUP(buf_done) = {0};
        text_safe(&out, text);
        for (size_t i = 0; i < out.size; i++) {
            unsigned char c = (unsigned char)out.data[i];
            assert_true(c >= 0x20 && c != 0x7f);
            assert_false(c == 0xc2 && (unsigned char)out.data[i + 1] < 0xa0);
        }
    }
}

static void test_safe_in_ascii(void **state)
{
    (void)state;
    in_locale("C");
    assert_false(text_is_utf8());
    assert_safe("gr\xc3\xbc\xc3\x9f", "gr\\u{fc}\\u{df}");
    assert_safe("\xff", "\\xff");
    assert_string_equal(text_spark(1, 1), "#");
}

static void assert_fit(const char *text, unsigned columns, enum text_pad pad, const char *wanted)
{
    struct buf out CLEANUP(buf_done) = {0};
    text_fit(&out, text, columns, pad);
    assert_string_equal(out.data ? out.data : "", wanted);
}

static void test_fit(void **state)
{
    (void)state;
    in_locale("C.UTF-8");
    assert_fit("abc", 5, TEXT_PAD_RIGHT, "abc  ");
    assert_fit("abc", 5, TEXT_PAD_LEFT, "  abc");
    assert_fit("abc", 5, TEXT_NO_PAD, "abc");
    assert_fit("abc", 3, TEXT_PAD_LEFT, "abc");
    assert_fit("abcdef", 4, TEXT_NO_PAD, "abc\xe2\x80\xa6");
    assert_fit("abcdef", 1, TEXT_NO_PAD, "\xe2\x80\xa6");
    assert_fit("abcdef", 0, TEXT_NO_PAD, "");
    assert_fit("", 2, TEXT_PAD_RIGHT, "  ");
    /* A wide character is never cut in half: a blank stands for its missing half. */
    assert_fit("\xe6\x97\xa5\xe6\x9c\xac", 4, TEXT_NO_PAD, "\xe6\x97\xa5\xe6\x9c\xac");
    assert_fit("\xe6\x97\xa5\xe6\x9c\xac", 3, TEXT_NO_PAD, "\xe6\x97\xa5\xe2\x80\xa6");
    assert_fit("\xe6\x97\xa5\xe6\x9c\xac", 2, TEXT_NO_PAD, "\xe2\x80\xa6 ");
    assert_int_equal(text_width("\xe6\x97\xa5 a"), 4);
    in_locale("C");
    assert_fit("abcdef", 4, TEXT_NO_PAD, "abc~");
}

static void test_numbers(void **state)
{
    static const struct {
        const char *(*format)(char out[TEXT_SHORT], double value);
        double value;
        const char *wanted;
    } cases[] = {
        {text_percent, 12.34, "12.3"},
        {text_percent, NAN, "-"},
        {text_percent, 0, "0.0"},
        {text_percent, INFINITY, "-"},
        {text_size, NAN, "-"},
        {text_size, 0, "0"},
        {text_size, 0.5 / 1024, "0.5K"},
        {text_size, 1, "1.0M"},
        {text_size, 9.96, "10M"},
        {text_size, 512, "512M"},
        {text_size, 999.4, "999M"},
        {text_size, 999.6, "1.0G"},
        {text_size, 1023, "1.0G"},
        {text_size, 1536, "1.5G"},
        {text_size, 16 * 1024, "16G"},
        {text_size, 3e6, "2.9T"},
        {text_size, 1e12, "953674T"},
        {text_size_long, 512, "512 MiB"},
        {text_size_long, 0, "0 B"},
        {text_rate_long, 1.5, "1.5 MiB/s"},
        {text_rate_long, 0, "0 B/s"},
        {text_rate_long, NAN, "-"},
        {text_count, 17, "17"},
        {text_count, NAN, "-"},
        {text_count, 99999, "99999"},
        {text_count, 123456, "123k"},
        {text_count, 2e9, "2000M"},
        {text_duration, 0, "0s"},
        {text_duration, 0.34, "0.3s"},
        {text_duration, 5, "5s"},
        {text_duration, 42.4, "42s"},
        {text_duration, 99.6, "1m40s"},
        {text_duration, 252, "4m12s"},
        {text_duration, 3599.7, "1h00m"},
        {text_duration, 7500, "2h05m"},
        {text_duration, 273600, "3d04h"},
        {text_duration, NAN, "-"},
        {text_duration, 1e300, "-"},
        {text_duration, -3, "3s"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[TEXT_SHORT];
        assert_string_equal(cases[i].format(out, cases[i].value), cases[i].wanted);
    }
}

/* No value overruns the caller's array, whatever the API sends. */
static void test_numbers_are_short(void **state)
{
    static const double values[] = {
        1e308, -1e308, 1e15, -1e15, 1.7976931348623157e308, 5e-324, -0.0};
    char out[TEXT_SHORT];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        assert_true(strlen(text_percent(out, values[i])) < TEXT_SHORT);
        assert_true(strlen(text_size(out, values[i])) < TEXT_SHORT);
        assert_true(strlen(text_rate_long(out, values[i])) < TEXT_SHORT);
        assert_true(strlen(text_count(out, values[i])) < TEXT_SHORT);
        assert_true(strlen(text_duration(out, values[i])) < TEXT_SHORT);
    }
}

static void test_times(void **state)
{
    static const char *const wrong[] = {NULL, "", "now", "2026-01-31", "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00.Zx", "2026-13-31T12:00:00Z"};
    char out[TEXT_SHORT];
    int64_t time = 7;
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    assert_int_equal(text_parse_rfc3339("2026-01-31T12:00:00.250Z", &time), 0);
    assert_true(time == 1769860800250000000);
    assert_string_equal(text_rfc3339(out, time), "2026-01-31T12:00:00.250Z");
    assert_string_equal(text_time(out, time), "2026-01-31 12:00:00");
    assert_string_equal(text_time_short(out, time, time + 1000000000), "12:00:00");
    assert_string_equal(
        text_time_short(out, time, time + 100000 * (int64_t)1000000000), "2026-01-31 12:00:00");
    assert_string_equal(text_time(out, 0), "-");
    assert_string_equal(text_rfc3339(out, 0), "-");
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        time = 7;
        assert_int_equal(text_parse_rfc3339(wrong[i], &time), -EINVAL);
        assert_true(time == 7);
    }
}

static void test_spark(void **state)
{
    (void)state;
    in_locale("C.UTF-8");
    assert_string_equal(text_spark(0, 10), "\xe2\x96\x81");
    assert_string_equal(text_spark(5, 10), "\xe2\x96\x84");
    assert_string_equal(text_spark(10, 10), "\xe2\x96\x88");
    assert_string_equal(text_spark(99, 10), "\xe2\x96\x88");
    assert_string_equal(text_spark(0, 0), "\xe2\x96\x81");
    assert_string_equal(text_spark(NAN, 10), " ");
}

static void test_no_memory(void **state)
{
    (void)state;
    in_locale("C.UTF-8");
    for (unsigned n = 1;; n++) {
        struct buf out CLEANUP(buf_done) = {0};
        fault_arm(FAULT_ALLOC, n);
        text_safe(&out, "a fairly long text with \033 and \xc3\xbc that needs memory");
        text_fit(&out, "and more", 100, TEXT_PAD_RIGHT);
        if (!fault_disarm())
            break;
        assert_true(out.failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe),
        cmocka_unit_test(test_safe_leaves_no_control),
        cmocka_unit_test(test_safe_in_ascii),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_are_short),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_spark),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("cli/text", tests, NULL, NULL);
}
