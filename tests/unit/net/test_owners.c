/* SPDX-License-Identifier: Apache-2.0 */
/* Whose history each user may ask for when the agents are no longer registered, or are another's.
 */
#include "stats_fixture.h"

static size_t count_of(struct stats_fixture *s, const char *target, const char *list)
{
    json_t *json = fixture_call(s->f, "GET", target, NULL, 200);
    size_t n = json_array_size(json_object_get(json, list));
    json_decref(json);
    return n;
}

static double first_value(
    struct stats_fixture *s, const char *target, const char *list, const char *field)
{
    json_t *json = fixture_call(s->f, "GET", target, NULL, 200);
    double value = number(list ? at(json, list, 0) : json, field);
    json_decref(json);
    return value;
}

/* Every query by those who have nothing to do with "left": as if it had never been. */
static void check_stranger(struct stats_fixture *s, uint32_t uid)
{
    static const char *const named[] = {"/v1/history/range?agents=left",
        "/v1/history/range?agents=system,left", "/v1/history/quantile?agents=left",
        "/v1/agents/left/history"};
    fixture_user(s->f, uid);
    for (size_t i = 0; i < ARRAY_SIZE(named); i++)
        fixture_expect(s->f, "GET", named[i], NULL, 404, "agent left is not known", NULL);
    size_t own = uid == OTHER_UID; /* "large" */
    assert_int_equal(count_of(s, "/v1/history/range?label=team%3Da", "series"), own);
    assert_int_equal(count_of(s, "/v1/history/range?philosophy=cot", "series"), 0);
    assert_int_equal(count_of(s, "/v1/history/top", "top"), own);
    assert_int_equal(count_of(s, "/v1/history/top?agents=left", "top"), 0);
    assert_int_equal(count_of(s, "/v1/history/top?philosophy=cot", "top"), 0);
    assert_true(first_value(s, "/v1/history/quantile?philosophy=cot", NULL, "subjects") == 0);
    assert_int_equal(count_of(s, "/v1/usage", "rows"), own);
    assert_int_equal(count_of(s, "/v1/usage?agents=left", "rows"), 0);
    assert_int_equal(count_of(s, "/v1/usage?by=philosophy&philosophy=cot", "rows"), 0);
    assert_int_equal(count_of(s, "/v1/usage?by=label:team", "rows"), own);
}

/* And by those who see it. */
static void check_owner(struct stats_fixture *s, uint32_t uid, size_t own)
{
    fixture_user(s->f, uid);
    assert_int_equal(count_of(s, "/v1/history/range?agents=left,system", "series"), 2);
    json_t *json = get(s, "/v1/history/range?agents=left", &schema_range);
    assert_int_equal(json_array_size(json_object_get(at(json, "series", 0), "points")), 60);
    json_decref(json);
    assert_int_equal(count_of(s, "/v1/agents/left/history", "points"), 60);
    assert_true(first_value(s, "/v1/history/quantile?agents=left&q=1", NULL, "value") == 4);
    assert_true(first_value(s, "/v1/history/quantile?philosophy=cot&q=1", NULL, "value") == 4);
    assert_true(first_value(s, "/v1/history/top", "top", "value") == 4);
    assert_int_equal(count_of(s, "/v1/history/top?agents=left", "top"), 1);
    assert_int_equal(count_of(s, "/v1/usage", "rows"), own);
    assert_int_equal(count_of(s, "/v1/usage?agents=left", "rows"), 1);
    json = get(s, "/v1/usage?by=philosophy", &schema_usage_totals);
    assert_true(number(row_named(json, "cot"), "agents") >= 1);
    json_decref(json);
    json = get(s, "/v1/usage?by=label:team", &schema_usage_totals);
    assert_true(number(row_named(json, "a"), "samples") >= 60);
    json_decref(json);
}

static void test_owners_of_the_forgotten(void **state)
{
    struct stats_fixture *s = *state;
    record_left(s, "left", OTHER_UID + 1);
    check_owner(s, OTHER_UID + 1, 1);
    assert_int_equal(count_of(s, "/v1/history/range?label=team", "series"), 1);
    check_stranger(s, OTHER_UID);
    check_stranger(s, OTHER_UID + 2);
    fixture_expect(s->f, "GET", "/v1/agents/gone/history", NULL, 404, "not known", NULL);
    check_owner(s, 0, 5);
    assert_int_equal(count_of(s, "/v1/agents/gone/history", "points"), TICKS);
}

/* "left" was one user's and is registered by another one now. */
static void test_names_that_changed_hands(void **state)
{
    struct stats_fixture *s = *state;
    record_left(s, "left", OTHER_UID + 1);
    fixture_user(s->f, OTHER_UID);
    json_decref(fixture_call(s->f, "PUT", "/v1/agents/left", "{\"philosophy\":\"react\"}", 201));
    json_decref(fixture_call(s->f, "PUT", "/v1/agents/left/usage", "{\"cpu_percent\":99}", 200));
    check_owner(s, OTHER_UID + 1, 1); /* nothing of what is in memory */
    fixture_user(s->f, OTHER_UID);    /* nothing of what was */
    assert_int_equal(count_of(s, "/v1/usage", "rows"), 1);
    assert_int_equal(count_of(s, "/v1/usage?by=philosophy", "rows"), 1);
    assert_int_equal(count_of(s, "/v1/history/top?agents=left", "top"), 0);
    assert_true(isnan(first_value(s, "/v1/history/quantile?agents=left", NULL, "value")));
    json_t *json = get(s, "/v1/history/range?philosophy=react&agents=left", &schema_range);
    assert_int_equal(json_array_size(json_object_get(at(json, "series", 0), "points")), 0);
    json_decref(json);
    fixture_user(s->f, OTHER_UID + 2);
    fixture_expect(s->f, "GET", "/v1/history/range?agents=left", NULL, 403, "another user", NULL);
    fixture_expect(s->f, "GET", "/v1/agents/left/history", NULL, 403, "another user", NULL);
    /* Now both have history: a user sees one of them, root both. */
    record_left(s, "left", OTHER_UID);
    fixture_user(s->f, OTHER_UID);
    assert_true(first_value(s, "/v1/usage?agents=left", "rows", "samples") == 60);
    fixture_user(s->f, OTHER_UID + 1);
    assert_true(first_value(s, "/v1/usage?agents=left", "rows", "samples") == 60);
    fixture_user(s->f, 0);
    json = get(s, "/v1/usage?agents=left", &schema_usage_totals);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 1);
    assert_true(number(at(json, "rows", 0), "agents") == 2);
    assert_true(number(at(json, "rows", 0), "samples") == 120);
    json_decref(json);
    assert_int_equal(count_of(s, "/v1/history/top?agents=left", "top"), 2);
    json = get(s, "/v1/history/range?agents=left", &schema_range);
    assert_int_equal(json_array_size(json_object_get(at(json, "series", 0), "points")), 120);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATS_TEST(test_owners_of_the_forgotten),
        STATS_TEST(test_names_that_changed_hands),
    };
    return cmocka_run_group_tests_name("net/owners", tests, NULL, NULL);
}
