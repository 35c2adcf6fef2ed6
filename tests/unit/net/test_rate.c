/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rate.h"

#include "net_fixture.h"

static unsigned take_all(struct rate *rate, uint32_t uid, uint64_t now_ns)
{
    unsigned n = 0;
    while (n < 100000 && rate_take(rate, uid, (struct mono){now_ns}))
        n++;
    return n;
}

static void test_bucket(void **state)
{
    struct rate rate = {.per_second = 100};
    uint64_t now = 5000 * NS_PER_SEC;
    (void)state;
    assert_int_equal(take_all(&rate, 1000, now), 200);
    assert_int_equal(take_all(&rate, 1001, now), 200); /* each has his own */
    assert_int_equal(take_all(&rate, 1000, now + NS_PER_SEC / 10), 10);
    assert_int_equal(take_all(&rate, 1000, now + NS_PER_SEC), 90);
    assert_int_equal(take_all(&rate, 1000, now + 1000 * NS_PER_SEC), 200);
    assert_int_equal(take_all(&rate, 1000, now), 0); /* a clock that goes back gives nothing */
}

static void test_no_limit(void **state)
{
    struct rate rate = {0};
    (void)state;
    assert_int_equal(take_all(&rate, 1000, 0), 100000);
}

/* More users than there are places: nobody is refused for that. */
static void test_many_users(void **state)
{
    struct rate rate = {.per_second = 10};
    (void)state;
    for (uint32_t uid = 0; uid < 3 * RATE_USERS_MAX; uid++)
        assert_int_equal(take_all(&rate, uid, 7 * NS_PER_SEC + uid), 20);
    assert_int_equal(take_all(&rate, 3 * RATE_USERS_MAX - 1, 8 * NS_PER_SEC), 9);
}

/* Who may do everything is not counted. */
static void test_over_a_server(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    fixture_options(f, &options);
    options.max_requests = 1;
    fixture_serve(f, &options);
    for (int i = 0; i < 5; i++) /* root */
        expect(f, GET("/healthz"), 200, NULL);
    assert_int_equal(stats_of(f).requests_limited, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_many_users),
        FIXTURE_TEST(test_over_a_server),
    };
    return cmocka_run_group_tests_name("net/rate", tests, NULL, NULL);
}
