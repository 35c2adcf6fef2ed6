/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void utf8_table(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        size_t want;
    } cases[] = {
        {"", 0, 0},
        {"a", 1, 1},
        {"\0", 1, 1},
        {"\x7f", 1, 1},
        {"\xc3\xa4", 2, 2},
        {"\xe2\x82\xac", 3, 3},
        {"\xf0\x9f\xa4\x96", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\x80", 1, 0},
        {"\xbf", 1, 0},
        {"\xc3", 1, 0},
        {"\xc3(", 2, 0},
        {"\xe2\x82", 2, 0},
        {"\xe2\x82(", 3, 0},
        {"\xf0\x9f\xa4", 3, 0},
        {"\xf0\x9f\xa4(", 4, 0},
        {"\xc0\x80", 2, 0},         /* overlong NUL */
        {"\xc1\xbf", 2, 0},         /* overlong */
        {"\xe0\x9f\xbf", 3, 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, 0}, /* overlong */
        {"\xed\xa0\x80", 3, 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0}, /* past U+10FFFF */
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xfe", 1, 0},
        {"\xff", 1, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *copy cleanup_free = mem_alloc(cases[i].length);
        memcpy(copy, cases[i].bytes, cases[i].length);
        size_t got = utf8_character(copy, cases[i].length);
        if (got != cases[i].want)
            fail_msg("case %zu: %zu instead of %zu", i, got, cases[i].want);
    }
}

/* Every code point that is not a surrogate has exactly one form, and it is taken. */
static void every_code_point_is_a_character(void **state)
{
    (void)state;
    for (unsigned long c = 0x80; c <= 0x10ffff; c++) {
        char text[4];
        size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)(0x80 | ((c >> (6 * (n - 1 - i))) & 0x3f));
        text[0] = (char)((unsigned char)(0xf0 << (4 - n)) | (c >> (6 * (n - 1))));
        size_t want = c >= 0xd800 && c < 0xe000 ? 0 : n;
        if (utf8_character(text, n) != want)
            fail_msg("U+%04lX", c);
    }
}

static void errors_name_their_cause(void **state)
{
    (void)state;
    struct ac_error error = {0};
    assert_int_equal(error_set(&error, -EINVAL, "limits: %d is below %s", -1, "0"), -EINVAL);
    assert_int_equal(error.code, -EINVAL);
    assert_string_equal(error.message, "limits: -1 is below 0");
    assert_int_equal(error_errno(&error, -ENOENT, "cannot open %s", "/x"), -ENOENT);
    assert_string_equal(error.message, "cannot open /x: No such file or directory");
    assert_int_equal(error_set(NULL, -EPERM, "nobody listens"), -EPERM);
    assert_int_equal(error_errno(NULL, -EPERM, "nobody listens"), -EPERM);
}

static void hostile_text_becomes_one_clean_line(void **state)
{
    (void)state;
    struct ac_error error = {0};
    error_set(&error, -EINVAL, "\"%s\"", "a\nb\x1b[31m\x7f\xff\xc3\xa4\xed\xa0\x80 end");
    assert_string_equal(error.message, "\"a?b?[31m??\xc3\xa4??? end\"");
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    struct ac_error error = {0};
    char text[600] = "";
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 0, sizeof(text));
        memset(text, '.', shift);
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        error_errno(&error, -EIO, "%s", text);
        size_t length = strlen(error.message);
        assert_int_equal(length, sizeof(error.message) - 1);
        for (size_t i = 0; i < length;) {
            size_t n = utf8_character(error.message + i, length - i);
            assert_true(n > 0);
            i += n;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_table),
        cmocka_unit_test(every_code_point_is_a_character),
        cmocka_unit_test(errors_name_their_cause),
        cmocka_unit_test(hostile_text_becomes_one_clean_line),
        cmocka_unit_test(long_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
