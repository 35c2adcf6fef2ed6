/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"

#include "policy_test.h"

static void ids_count_up(void **state)
{
    (void)state;
    struct id_source source;
    char id[ID_SIZE];
    id_source_init(&source, "al", 35);
    id_next(&source, id);
    assert_string_equal(id, "al-z-1");
    id_next(&source, id);
    assert_string_equal(id, "al-z-2");
    id_source_init(&source, "al", 0);
    id_next(&source, id);
    assert_string_equal(id, "al-0-1");
}

static void the_longest_id_fits(void **state)
{
    (void)state;
    struct id_source source;
    char id[ID_SIZE], before[ID_SIZE];
    id_source_init(&source, "alloc", UINT64_MAX);
    source.last = UINT64_MAX - 1;
    id_next(&source, id);
    source.last = 999999999999999997ull;
    id_next(&source, before);
    id_next(&source, id);
    assert_string_equal(id, "alloc-3w5e11264sgsf-999999999999999999");
    assert_string_not_equal(id, before);
}

static void seen_ids_are_not_made_again(void **state)
{
    (void)state;
    const struct {
        const char *id;
        const char *next;
    } rows[] = {
        {"al-z-41", "al-z-42"},
        {"al-z-0", "al-z-8"},
        {"al-z-7", "al-z-8"}, /* not above the last one made */
        {"al-z-", "al-z-8"},
        {"al-z-x", "al-z-8"},
        {"al-z-9x", "al-z-8"},
        {"al-y-41", "al-z-8"}, /* another run's */
        {"alloc-z-41", "al-z-8"},
        {"", "al-z-8"},
        {"al-z-99999999999999999999999", "al-z-8"},
        {"al-z-18446744073709551615", "al-z-8"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct id_source source;
        char id[ID_SIZE];
        id_source_init(&source, "al", 35);
        source.last = 7;
        id_seen(&source, rows[i].id);
        id_next(&source, id);
        assert_string_equal(id, rows[i].next);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_count_up),
        cmocka_unit_test(the_longest_id_fits),
        cmocka_unit_test(seen_ids_are_not_made_again),
    };
    return cmocka_run_group_tests_name("policy/id", tests, NULL, NULL);
}
