/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"

static void memory_comes_zeroed(void **state)
{
    (void)state;
    for (size_t size = 0; size < 300; size += 7) {
        unsigned char *memory cleanup_free = mem_alloc(size);
        assert_non_null(memory);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, size);
    }
}

static void sizes_are_checked_before_they_are_multiplied(void **state)
{
    (void)state;
    assert_null(mem_alloc_array(SIZE_MAX, 2));
    assert_null(mem_alloc_array(SIZE_MAX / 2 + 1, 2));
    assert_null(mem_alloc_array((size_t)1 << 32, (size_t)1 << 32));
    char *old = mem_alloc_array(4, 1);
    memcpy(old, "abc", 4);
    assert_null(mem_resize_array(old, SIZE_MAX / 8 + 1, 8));
    assert_string_equal(old, "abc");
    old = mem_resize_array(old, 1000, 8);
    assert_string_equal(old, "abc");
    old = mem_resize_array(old, 0, 8);
    assert_non_null(old);
    mem_free(old);
    mem_free(NULL);
}

static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 4; n++) {
        char *texts[5];
        fault_arm(FAULT_ALLOC, n);
        for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
            texts[i] = mem_strdup("x");
        assert_true(fault_disarm());
        for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
            assert_true((texts[i] == NULL) == (i + 1 == n));
            mem_free(texts[i]);
        }
    }
}

static void an_injection_that_is_not_reached_says_so(void **state)
{
    (void)state;
    fault_arm(FAULT_ALLOC, 2);
    mem_free(mem_alloc(1));
    assert_false(fault_disarm());
    mem_free(mem_alloc(1));
    assert_false(fault_disarm());
    fault_arm(FAULT_SYSCALL, 1);
    char *text cleanup_free = mem_strdup("kinds are apart");
    assert_non_null(text);
    assert_false(fault_disarm());
}

static void taking_empties_the_variable(void **state)
{
    (void)state;
    char *text = mem_strdup("x");
    char *moved cleanup_free = TAKE_PTR(text);
    assert_null(text);
    assert_non_null(moved);
}

static void monotonic_differences_never_go_below_zero(void **state)
{
    (void)state;
    struct mono early = {5}, late = {UINT64_MAX};
    assert_true(mono_since(late, early) == UINT64_MAX - 5);
    assert_true(mono_since(early, late) == 0);
    assert_true(mono_since(early, early) == 0);
}

static void clocks_run_forward(void **state)
{
    (void)state;
    struct mono before = clock_mono();
    struct moment coarse = clock_moment_coarse(), exact = clock_moment();
    uint64_t boot = clock_boot_ns();
    struct mono after = clock_mono();
    assert_true(before.ns > 0 && after.ns >= exact.mono.ns && exact.mono.ns >= before.ns);
    assert_true(coarse.mono.ns <= after.ns && coarse.mono.ns + NS_PER_SEC > before.ns);
    assert_true(boot + NS_PER_SEC > before.ns);
    /* Wall time is after 2020 and before 2200. */
    assert_true(exact.wall_ns > 1577836800ll * (int64_t)NS_PER_SEC);
    assert_true(exact.wall_ns < 7258118400ll * (int64_t)NS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed),
        cmocka_unit_test(sizes_are_checked_before_they_are_multiplied),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(an_injection_that_is_not_reached_says_so),
        cmocka_unit_test(taking_empties_the_variable),
        cmocka_unit_test(monotonic_differences_never_go_below_zero),
        cmocka_unit_test(clocks_run_forward),
    };
    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
