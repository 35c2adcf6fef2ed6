/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "unit/base/random.h"

#define cleanup_strmap CLEANUP(strmap_freep)
#define cleanup_u64map CLEANUP(u64map_freep)

static void strmap_freep(struct strmap **map)
{
    strmap_free(*map);
}

static void u64map_freep(struct u64map **map)
{
    u64map_free(*map);
}

#define KEYS 500

/* The reference: one value per possible key. */
struct reference {
    char keys[KEYS][24];
    int values[KEYS]; /* index into marks; 0 = absent */
    size_t count;
};

static char marks[64];

static void check_strmap_contents(const struct strmap *map, const struct reference *reference)
{
    size_t seen[sizeof(marks)] = {0}, expected[sizeof(marks)] = {0}, cursor = 0, n = 0;
    assert_int_equal(strmap_count(map), reference->count);
    for (char *value = strmap_next(map, &cursor); value; value = strmap_next(map, &cursor), n++)
        seen[value - marks]++;
    for (int i = 0; i < KEYS; i++) {
        void *value = reference->values[i] ? &marks[reference->values[i]] : NULL;
        assert_ptr_equal(strmap_get(map, reference->keys[i]), value);
        if (value)
            expected[reference->values[i]]++;
    }
    assert_int_equal(n, reference->count);
    assert_memory_equal(seen, expected, sizeof(seen));
}

static void strmap_step(struct strmap *map, struct reference *reference, uint64_t *seed)
{
    int key = (int)(random_next(seed) % KEYS), old = reference->values[key];
    int value = 1 + (int)(random_next(seed) % (sizeof(marks) - 1));
    if (random_next(seed) % 5 < 3) {
        assert_int_equal(strmap_put(map, reference->keys[key], &marks[value]), 0);
        reference->values[key] = value;
        reference->count += !old;
    } else {
        void *removed = strmap_remove(map, reference->keys[key]);
        assert_ptr_equal(removed, old ? &marks[old] : NULL);
        reference->values[key] = 0;
        reference->count -= !!old;
    }
}

static void strmap_behaves_like_a_reference(void **state)
{
    (void)state;
    static struct reference reference;
    for (uint64_t round = 0; round < 8; round++) {
        struct strmap *map cleanup_strmap = NULL;
        uint64_t seed = round;
        memset(&reference, 0, sizeof(reference));
        for (int i = 0; i < KEYS; i++)
            snprintf(reference.keys[i], sizeof(reference.keys[i]), "agent-%d", i);
        assert_int_equal(strmap_new(round * 77, &map), 0);
        for (int step = 0; step < 4000; step++) {
            strmap_step(map, &reference, &seed);
            if (step % 500 == 0)
                check_strmap_contents(map, &reference);
        }
        check_strmap_contents(map, &reference);
    }
}

static uint64_t hostile_key(uint64_t i)
{
    /* Multiples of large powers of two, neighbours, and both ends. */
    switch (i % 4) {
    case 0:
        return i << 48;
    case 1:
        return i;
    case 2:
        return UINT64_MAX - i;
    default:
        return i * 0x9e3779b97f4a7c15ull;
    }
}

static void u64map_step(struct u64map *map, int values[KEYS], size_t *count, uint64_t *seed)
{
    int i = (int)(random_next(seed) % KEYS), old = values[i];
    int value = 1 + (int)(random_next(seed) % (sizeof(marks) - 1));
    if (random_next(seed) % 5 < 3) {
        assert_int_equal(u64map_put(map, hostile_key((uint64_t)i), &marks[value]), 0);
        values[i] = value;
        *count += !old;
    } else {
        void *removed = u64map_remove(map, hostile_key((uint64_t)i));
        assert_ptr_equal(removed, old ? &marks[old] : NULL);
        values[i] = 0;
        *count -= !!old;
    }
}

static void u64map_behaves_like_a_reference(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 8; round++) {
        struct u64map *map cleanup_u64map = NULL;
        uint64_t seed = round + 100;
        int values[KEYS] = {0};
        size_t count = 0, cursor = 0, n = 0;
        assert_int_equal(u64map_new(round, &map), 0);
        for (int step = 0; step < 4000; step++)
            u64map_step(map, values, &count, &seed);
        assert_int_equal(u64map_count(map), count);
        for (int i = 0; i < KEYS; i++) {
            void *value = values[i] ? &marks[values[i]] : NULL;
            assert_ptr_equal(u64map_get(map, hostile_key((uint64_t)i)), value);
        }
        while (u64map_next(map, &cursor))
            n++;
        assert_int_equal(n, count);
        u64map_clear(map);
        assert_int_equal(u64map_count(map), 0);
        assert_null(u64map_get(map, hostile_key(1)));
        cursor = 0;
        assert_null(u64map_next(map, &cursor));
    }
}

static void part_of_a_text_is_a_key(void **state)
{
    (void)state;
    struct strmap *map cleanup_strmap = NULL;
    assert_int_equal(strmap_new(5, &map), 0);
    assert_int_equal(strmap_put(map, "abc", &marks[1]), 0);
    assert_int_equal(strmap_put(map, "", &marks[2]), 0);
    assert_ptr_equal(strmap_get_n(map, "abcdef", 3), &marks[1]);
    assert_null(strmap_get_n(map, "abcdef", 2));
    assert_null(strmap_get_n(map, "abcdef", 4));
    assert_null(strmap_get_n(map, "abc\0", 4));
    assert_ptr_equal(strmap_get_n(map, "x", 0), &marks[2]);
}

/* The key that came with the value is the one that is kept: the old one may be freed. */
static void replacing_replaces_the_key_pointer(void **state)
{
    (void)state;
    struct strmap *map cleanup_strmap = NULL;
    assert_int_equal(strmap_new(5, &map), 0);
    char *first = mem_strdup("id"), *second cleanup_free = mem_strdup("id");
    assert_int_equal(strmap_put(map, first, &marks[1]), 0);
    assert_int_equal(strmap_put(map, second, &marks[2]), 0);
    mem_free(first);
    assert_int_equal(strmap_count(map), 1);
    assert_ptr_equal(strmap_get(map, "id"), &marks[2]);
}

static void failed_growth_changes_nothing(void **state)
{
    (void)state;
    struct u64map *map cleanup_u64map = NULL;
    assert_int_equal(u64map_new(1, &map), 0);
    uint64_t key = 0;
    int r;
    do {
        fault_arm(FAULT_ALLOC, 1);
        r = u64map_put(map, key, &marks[1 + key % 50]);
        key += r == 0;
    } while (!fault_disarm());
    assert_int_equal(r, -ENOMEM);
    assert_true(key >= 8);
    assert_int_equal(u64map_count(map), key);
    assert_null(u64map_get(map, key));
    for (uint64_t i = 0; i < key; i++)
        assert_ptr_equal(u64map_get(map, i), &marks[1 + i % 50]);
    /* Replacing needs no memory. */
    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(u64map_put(map, 0, &marks[63]), 0);
    assert_false(fault_disarm());
    assert_int_equal(u64map_put(map, key, &marks[2]), 0);
    assert_ptr_equal(u64map_get(map, 0), &marks[63]);
}

static void creation_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 2; n++) {
        struct strmap *map = NULL;
        struct u64map *numbers = NULL;
        fault_arm(FAULT_ALLOC, n);
        assert_int_equal(strmap_new(0, &map), -ENOMEM);
        assert_true(fault_disarm());
        fault_arm(FAULT_ALLOC, n);
        assert_int_equal(u64map_new(0, &numbers), -ENOMEM);
        assert_true(fault_disarm());
        assert_null(map);
        assert_null(numbers);
    }
    strmap_free(NULL);
    u64map_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strmap_behaves_like_a_reference),
        cmocka_unit_test(u64map_behaves_like_a_reference),
        cmocka_unit_test(part_of_a_text_is_a_key),
        cmocka_unit_test(replacing_replaces_the_key_pointer),
        cmocka_unit_test(failed_growth_changes_nothing),
        cmocka_unit_test(creation_may_fail),
    };
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
