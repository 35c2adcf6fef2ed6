/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/scale.h"

#include "policy_test.h"

#include <errno.h>

static struct scale scale;

static struct scale_options options_default(void)
{
    struct scale_options options;
    scale_options_init(&options);
    return options;
}

static struct mono t(uint64_t s)
{
    return at_s(s).mono;
}

static struct scale_decision decide(double usage, uint64_t s)
{
    struct scale_decision decision;
    scale_decide(&scale, AC_REACT, usage, 0, t(s), &decision);
    assert_true(decision.reason[0] != 0);
    assert_int_equal(decision.from, scale.pools[AC_REACT].scale);
    if (decision.direction == SCALE_HOLD)
        assert_int_equal(decision.to, decision.from);
    else if (decision.direction == SCALE_UP)
        assert_true(decision.to > decision.from);
    else
        assert_true(decision.to < decision.from);
    return decision;
}

static void record(uint32_t to, uint64_t s)
{
    assert_int_equal(scale_record(&scale, AC_REACT, to, t(s)), 0);
}

static void defaults_are_the_guides(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    assert_true(options.up_threshold == 75 && options.down_threshold == 25);
    assert_int_equal(options.cooldown_ns, 60 * NS_PER_SEC);
    assert_int_equal(options.step, 1);
    assert_int_equal(options.minimum, 1);
    assert_int_equal(options.maximum, 0);
    assert_int_equal(scale_options_validate(&options, NULL), 0);
    scale_init(&scale, &options);
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        assert_int_equal(scale.pools[i].scale, 1);
}

static void guide_questions(void **state)
{
    (void)state;
    const struct {
        uint32_t scale;
        double usage;
        bool up, down;
    } rows[] = {
        {1, 75, true, false},
        {1, 74.999, false, false},
        {1, 100, true, false},
        {1, 25, false, false}, /* the floor */
        {1, 0, false, false},
        {2, 25, false, true},
        {2, 25.001, false, false},
        {2, 0, false, true},
        {2, NAN, false, false},
        {1000, 80, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scale_options options = options_default();
        scale_init(&scale, &options);
        scale.pools[AC_REACT].scale = rows[i].scale;
        assert_int_equal(scale_should_up(&scale, AC_REACT, rows[i].usage, t(0)), rows[i].up);
        assert_int_equal(scale_should_down(&scale, AC_REACT, rows[i].usage, t(0)), rows[i].down);
    }
}

static void cooldown_is_per_philosophy_and_ends_on_the_second(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    scale_init(&scale, &options);
    assert_false(scale_cooling_down(&scale, AC_REACT, t(0)));
    record(3, 100);
    assert_true(scale_cooling_down(&scale, AC_REACT, t(100)));
    assert_false(scale_should_up(&scale, AC_REACT, 80, t(100)));
    assert_false(scale_should_down(&scale, AC_REACT, 10, t(159)));
    assert_true(scale_cooling_down(&scale, AC_REACT, t(159)));
    assert_false(scale_cooling_down(&scale, AC_REACT, t(160)));
    assert_true(scale_should_up(&scale, AC_REACT, 80, t(160)));
    assert_true(scale_should_down(&scale, AC_REACT, 10, t(160)));
    assert_true(scale_should_up(&scale, AC_COT, 80, t(100)));
    assert_int_equal(scale.pools[AC_REACT].scale, 3);
    assert_int_equal(scale.pools[AC_COT].scale, 1);
    options.cooldown_ns = 0;
    scale_init(&scale, &options);
    record(2, 5);
    assert_true(scale_should_up(&scale, AC_REACT, 80, t(5)));
}

static void record_refuses_what_is_out_of_bounds(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.minimum = 2;
    options.maximum = 5;
    scale_init(&scale, &options);
    assert_int_equal(scale.pools[AC_REACT].scale, 2);
    assert_int_equal(scale_record(&scale, AC_REACT, 0, t(0)), -EINVAL);
    assert_int_equal(scale_record(&scale, AC_REACT, 1, t(0)), -EINVAL);
    assert_int_equal(scale_record(&scale, AC_REACT, 6, t(0)), -EINVAL);
    assert_false(scale_cooling_down(&scale, AC_REACT, t(0)));
    assert_int_equal(scale_record(&scale, AC_REACT, 5, t(0)), 0);
    assert_false(scale_should_up(&scale, AC_REACT, 99, t(100)));
    assert_int_equal(scale_record(&scale, AC_REACT, 2, t(0)), 0);
    assert_false(scale_should_down(&scale, AC_REACT, 1, t(100)));
}

static void steps_are_bounded(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.cooldown_ns = 0;
    options.step = 4;
    options.maximum = 10;
    scale_init(&scale, &options);
    struct scale_decision decision = decide(90, 0);
    assert_int_equal(decision.direction, SCALE_UP);
    assert_int_equal(decision.to, 5);
    record(9, 1);
    assert_int_equal(decide(90, 2).to, 10);
    record(10, 3);
    decision = decide(90, 4);
    assert_int_equal(decision.direction, SCALE_HOLD);
    assert_non_null(strstr(decision.reason, "10 is the maximum"));
    record(3, 5);
    assert_int_equal(decide(5, 6).to, 1);
    record(1, 7);
    decision = decide(5, 8);
    assert_int_equal(decision.direction, SCALE_HOLD);
    assert_non_null(strstr(decision.reason, "1 is the minimum"));
    assert_int_equal(decide(50, 9).direction, SCALE_HOLD);
}

static void reasons_name_cause_and_numbers(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    scale_init(&scale, &options);
    assert_string_equal(
        decide(80.25, 0).reason, "up from 1 to 2: utilisation 80.2 % is at or above 75 %");
    record(2, 10);
    assert_string_equal(decide(80, 30).reason,
        "hold at 2: utilisation 80.0 % is at or above 75 %, but the cooldown lasts 40 s more");
    assert_string_equal(
        decide(10, 70).reason, "down from 2 to 1: utilisation 10.0 % is at or below 25 %");
    assert_string_equal(
        decide(50, 70).reason, "hold at 2: utilisation 50.0 % is between 25 % and 75 %");
}

static void unknown_and_stale_usage_hold(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.stale_ns = 10 * NS_PER_SEC;
    scale_init(&scale, &options);
    record(4, 0);
    const double bad[] = {NAN, INFINITY, -INFINITY, -1};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct scale_decision decision = decide(bad[i], 100);
        assert_int_equal(decision.direction, SCALE_HOLD);
        assert_non_null(strstr(decision.reason, "unknown"));
    }
    struct scale_decision decision;
    scale_decide(&scale, AC_REACT, 0, 10 * NS_PER_SEC, t(100), &decision);
    assert_int_equal(decision.direction, SCALE_DOWN);
    scale_decide(&scale, AC_REACT, 0, 10 * NS_PER_SEC + 1, t(100), &decision);
    assert_int_equal(decision.direction, SCALE_HOLD);
    assert_non_null(strstr(decision.reason, "stale"));
    scale.options.stale_ns = 0;
    scale_decide(&scale, AC_REACT, 0, UINT64_MAX, t(100), &decision);
    assert_int_equal(decision.direction, SCALE_DOWN);
}

static void target_tracking(void **state)
{
    (void)state;
    const struct {
        uint32_t scale;
        double usage;
        uint32_t to;
    } rows[] = {
        {8, 70, 8}, {8, 77, 8},                                            /* within 10 % of 70 */
        {8, 63, 8},                                                        /* so is this */
        {8, 77.1, 9},                                                      /* ceil(8.81) */
        {8, 62.9, 8},                                                      /* ceil(7.19) */
        {8, 52.5, 6},                                                      /* exactly 6 */
        {3, 93.33333333333334, 4}, {1, 100, 2}, {4, 0, 1}, {100, 100, 20}, /* the maximum */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scale_options options = options_default();
        options.target_percent = 70;
        options.cooldown_ns = 0;
        options.maximum = 20;
        scale_init(&scale, &options);
        scale.pools[AC_REACT].scale = rows[i].scale;
        assert_int_equal(decide(rows[i].usage, 0).to, rows[i].to);
    }
}

static void stabilization_goes_down_only_to_the_highest_wish(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.target_percent = 50;
    options.tolerance_percent = 0;
    options.cooldown_ns = 0;
    options.stabilization_ns = 100 * NS_PER_SEC;
    scale_init(&scale, &options);
    scale.pools[AC_REACT].scale = 10;
    /* Nothing is known of the time before: the present scale counts for one window. */
    assert_int_equal(decide(25, 0).direction, SCALE_HOLD);  /* wishes 5 */
    assert_int_equal(decide(40, 50).direction, SCALE_HOLD); /* wishes 8 */
    assert_non_null(strstr(decide(5, 99).reason, "10 were wanted"));
    struct scale_decision decision = decide(5, 100); /* wishes 1; 8 is the highest left */
    assert_int_equal(decision.direction, SCALE_DOWN);
    assert_int_equal(decision.to, 8);
    record(8, 100);
    assert_int_equal(decide(5, 149).direction, SCALE_HOLD);
    assert_int_equal(decide(5, 201).to, 1);
    /* Up is never slowed. */
    assert_int_equal(decide(100, 202).to, 16);
}

static void a_gap_in_the_data_starts_the_window_anew(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.cooldown_ns = 0;
    options.stabilization_ns = 60 * NS_PER_SEC;
    scale_init(&scale, &options);
    scale.pools[AC_REACT].scale = 5;
    decide(10, 0);
    decide(10, 30);
    assert_int_equal(decide(10, 60).to, 4);
    for (uint64_t s = 61; s < 500; s++)
        assert_int_equal(decide(NAN, s).direction, SCALE_HOLD);
    assert_int_equal(decide(10, 500).direction, SCALE_HOLD);
    assert_int_equal(decide(10, 530).direction, SCALE_HOLD);
    assert_int_equal(decide(10, 560).to, 4);
}

static void a_scale_set_by_hand_is_kept_for_the_window(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.cooldown_ns = 0;
    options.stabilization_ns = 60 * NS_PER_SEC;
    scale_init(&scale, &options);
    for (uint64_t s = 0; s < 100; s++)
        decide(10, s);
    record(6, 100);
    assert_int_equal(decide(10, 130).direction, SCALE_HOLD);
    assert_int_equal(decide(10, 159).direction, SCALE_HOLD);
    assert_int_equal(decide(10, 160).to, 5);
}

/* More distinct wishes in one window than the ring has room for: never below what a plain
 * maximum over the window would say. */
static void the_ring_never_forgets_a_higher_wish(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.target_percent = 50;
    options.tolerance_percent = 0;
    options.cooldown_ns = 0;
    options.stabilization_ns = 300 * NS_PER_SEC;
    scale_init(&scale, &options);
    scale.pools[AC_REACT].scale = 1000;
    static uint32_t wishes[3000];
    uint64_t seed = 7;
    for (uint32_t s = 0; s < ARRAY_SIZE(wishes); s++) {
        double usage = s % 1000 < 900 ? 50.0 - (double)(s % 1000) / 20 : random_below(&seed, 50);
        struct scale_decision decision = decide(usage, s);
        wishes[s] = (uint32_t)ceil(1000 * usage / 50 - 1e-9);
        uint32_t highest = 1;
        for (uint32_t i = s >= 299 ? s - 299 : 0; i <= s; i++)
            highest = MAX(highest, wishes[i]);
        assert_true(decision.to >= highest);
        assert_true(scale.pools[AC_REACT].n_wishes <= SCALE_WISHES);
    }
}

static void new_bounds_pull_the_pool_in(void **state)
{
    (void)state;
    struct scale_options options = options_default();
    options.stabilization_ns = 60 * NS_PER_SEC;
    scale_init(&scale, &options);
    scale.pools[AC_REACT].scale = 10;
    scale.options.maximum = 4;
    struct scale_decision decision = decide(90, 0);
    assert_int_equal(decision.direction, SCALE_DOWN);
    assert_int_equal(decision.to, 4);
    assert_string_equal(decision.reason, "down from 10 to 4: the maximum is 4");
    scale.options.maximum = 0;
    scale.options.minimum = 12;
    decision = decide(50, 0);
    assert_int_equal(decision.direction, SCALE_UP);
    assert_int_equal(decision.to, 12);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    const struct {
        const char *field;
        double up, down, target, tolerance;
        uint32_t step, minimum, maximum;
    } rows[] = {
        {"scale_up_threshold", 101, 25, 0, 10, 1, 1, 0},
        {"scale_up_threshold", NAN, 25, 0, 10, 1, 1, 0},
        {"scale_up_threshold", 25, 25, 0, 10, 1, 1, 0},
        {"scale_down_threshold", 75, -1, 0, 10, 1, 1, 0},
        {"target_percent", 75, 25, INFINITY, 10, 1, 1, 0},
        {"tolerance_percent", 75, 25, 0, 101, 1, 1, 0},
        {"step", 75, 25, 0, 10, 0, 1, 0},
        {"step", 75, 25, 0, 10, 1000001, 1, 0},
        {"minimum", 75, 25, 0, 10, 1, 0, 0},
        {"maximum", 75, 25, 0, 10, 1, 5, 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ac_error error = {0};
        struct scale_options options = {
            .up_threshold = rows[i].up,
            .down_threshold = rows[i].down,
            .target_percent = rows[i].target,
            .tolerance_percent = rows[i].tolerance,
            .step = rows[i].step,
            .minimum = rows[i].minimum,
            .maximum = rows[i].maximum,
        };
        assert_int_equal(scale_options_validate(&options, &error), -EINVAL);
        assert_int_equal(strncmp(error.message, rows[i].field, strlen(rows[i].field)), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_guides),
        cmocka_unit_test(guide_questions),
        cmocka_unit_test(cooldown_is_per_philosophy_and_ends_on_the_second),
        cmocka_unit_test(record_refuses_what_is_out_of_bounds),
        cmocka_unit_test(steps_are_bounded),
        cmocka_unit_test(reasons_name_cause_and_numbers),
        cmocka_unit_test(unknown_and_stale_usage_hold),
        cmocka_unit_test(target_tracking),
        cmocka_unit_test(stabilization_goes_down_only_to_the_highest_wish),
        cmocka_unit_test(a_gap_in_the_data_starts_the_window_anew),
        cmocka_unit_test(a_scale_set_by_hand_is_kept_for_the_window),
        cmocka_unit_test(the_ring_never_forgets_a_higher_wish),
        cmocka_unit_test(new_bounds_pull_the_pool_in),
        cmocka_unit_test(bad_options_are_named),
    };
    return cmocka_run_group_tests_name("policy/scale", tests, NULL, NULL);
}
