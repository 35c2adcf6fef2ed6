/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

static void append_grows_and_terminates(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_append_char(&buf, (char)('a' + i % 26)), 0);
        assert_int_equal(buf.size, i + 1);
        assert_true(buf.capacity > buf.size);
        assert_int_equal(buf.data[buf.size], 0);
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
}

static void empty_buffer_reads_as_empty(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {0};
    assert_int_equal(buf_append(&buf, NULL, 0), 0);
    assert_string_equal(buf.data, "");
    assert_int_equal(buf.size, 0);
    buf_clear(&buf);
    assert_string_equal(buf.data, "");
}

static void bytes_with_nul_are_kept(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {0};
    assert_int_equal(buf_append(&buf, "a\0b", 3), 0);
    assert_int_equal(buf_append_str(&buf, "c"), 0);
    assert_int_equal(buf.size, 4);
    assert_memory_equal(buf.data, "a\0bc", 5);
}

/* printf takes its first try in the free room and a second one after growing: lengths around
 * the boundary must come out the same. */
static void printf_at_every_fill_level(void **state)
{
    (void)state;
    for (size_t fill = 0; fill < 300; fill++) {
        struct buf buf CLEANUP(buf_done) = {0};
        for (size_t i = 0; i < fill; i++)
            assert_int_equal(buf_append_char(&buf, '.'), 0);
        assert_int_equal(buf_printf(&buf, "%s-%d", "abcdefghijklmnopqrstuvwxyz", 42), 0);
        assert_int_equal(buf.size, fill + 29);
        assert_string_equal(buf.data + fill, "abcdefghijklmnopqrstuvwxyz-42");
    }
}

static void limit_refuses_and_marks(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {.limit = 8};
    assert_int_equal(buf_append_str(&buf, "12345678"), 0);
    assert_int_equal(buf_append_char(&buf, '9'), -E2BIG);
    assert_true(buf.failed);
    assert_string_equal(buf.data, "12345678");
    assert_true(buf_append_str(&buf, "") < 0);
    assert_null(buf_take(&buf, NULL));
    buf_clear(&buf);
    assert_false(buf.failed);
    assert_int_equal(buf_append_str(&buf, "again"), 0);
    assert_int_equal(buf.limit, 8);
}

static void printf_past_the_limit_leaves_text(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {.limit = 10};
    assert_int_equal(buf_append_str(&buf, "head"), 0);
    assert_int_equal(buf_printf(&buf, "%s", "longer than the rest"), -E2BIG);
    assert_true(buf.failed);
    assert_int_equal(buf.size, 4);
    assert_string_equal(buf.data, "head");
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 4 + 1};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct buf buf CLEANUP(buf_done) = {0};
        assert_int_equal(buf_append_str(&buf, "x"), 0);
        assert_int_equal(buf_reserve(&buf, sizes[i]), -E2BIG);
        assert_string_equal(buf.data, "x");
    }
}

static void take_moves_the_bytes(void **state)
{
    (void)state;
    struct buf buf CLEANUP(buf_done) = {0};
    assert_int_equal(buf_append_str(&buf, "mine"), 0);
    size_t size = 99;
    char *text cleanup_free = buf_take(&buf, &size);
    assert_string_equal(text, "mine");
    assert_int_equal(size, 4);
    assert_null(buf.data);
    assert_int_equal(buf.size, 0);
    char *empty cleanup_free = buf_take(&buf, &size);
    assert_string_equal(empty, "");
    assert_int_equal(size, 0);
}

static int build_text(char **ret_text)
{
    struct buf buf CLEANUP(buf_done) = {0};
    for (int i = 0; i < 200; i++)
        buf_printf(&buf, "line %d\n", i);
    char *text = buf_take(&buf, NULL);
    if (!text)
        return -ENOMEM;
    *ret_text = text;
    return 0;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned n = 1;
    for (;; n++) {
        char *text cleanup_free = NULL;
        fault_arm(FAULT_ALLOC, n);
        int r = build_text(&text);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            assert_int_equal(strlen(text), 10 * 7 + 90 * 8 + 100 * 9);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(text);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_grows_and_terminates),
        cmocka_unit_test(empty_buffer_reads_as_empty),
        cmocka_unit_test(bytes_with_nul_are_kept),
        cmocka_unit_test(printf_at_every_fill_level),
        cmocka_unit_test(limit_refuses_and_marks),
        cmocka_unit_test(printf_past_the_limit_leaves_text),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(take_moves_the_bytes),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
