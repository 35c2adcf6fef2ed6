/* SPDX-License-Identifier: Apache-2.0 */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t now_ns;

static uint64_t test_clock(void *userdata)
{
    (void)userdata;
    return now_ns;
}

static struct ac_scaler *make(double cooldown)
{
    struct ac_scaler_options options;
    struct ac_scaler *scaler;
    ac_scaler_options_init(&options);
    options.cooldown_seconds = cooldown;
    options.clock = test_clock;
    assert_int_equal(ac_scaler_new(&options, &scaler, NULL), 0);
    return scaler;
}

static void test_thresholds(void **state)
{
    (void)state;
    struct ac_scaler *scaler = make(60);
    assert_true(ac_scaler_should_scale_up(scaler, AC_REACT, 75));
    assert_false(ac_scaler_should_scale_up(scaler, AC_REACT, 74.9));
    assert_false(ac_scaler_should_scale_up(scaler, AC_REACT, NAN));
    assert_false(ac_scaler_should_scale_down(scaler, AC_REACT, 10)); /* floor of 1 */
    assert_int_equal(ac_scaler_current(scaler, AC_REACT), 1);
    assert_int_equal(ac_scaler_set_state(scaler, AC_REACT, 3, UINT64_MAX), 0);
    assert_true(ac_scaler_should_scale_down(scaler, AC_REACT, 25));
    assert_false(ac_scaler_should_scale_down(scaler, AC_REACT, 25.1));
    assert_false(ac_scaler_should_scale_down(scaler, AC_REACT, NAN));
    ac_scaler_free(scaler);
}

static void test_cooldown_is_per_philosophy(void **state)
{
    (void)state;
    now_ns = 1000;
    struct ac_scaler *scaler = make(60);
    assert_int_equal(ac_scaler_record(scaler, AC_REACT, 3), 0);
    assert_true(ac_scaler_cooling_down(scaler, AC_REACT));
    assert_false(ac_scaler_should_scale_up(scaler, AC_REACT, 90));
    assert_false(ac_scaler_should_scale_down(scaler, AC_REACT, 5));
    assert_true(ac_scaler_should_scale_up(scaler, AC_COT, 90));
    now_ns += 60000000000ull - 1;
    assert_false(ac_scaler_should_scale_up(scaler, AC_REACT, 90));
    now_ns += 1;
    assert_true(ac_scaler_should_scale_up(scaler, AC_REACT, 90));
    assert_int_equal(ac_scaler_current(scaler, AC_REACT), 3);
    assert_int_equal(ac_scaler_last_action_ns(scaler, AC_REACT), 1000);
    ac_scaler_free(scaler);
}

static void test_bad_input_changes_nothing(void **state)
{
    (void)state;
    struct ac_scaler_options options;
    struct ac_scaler *scaler = make(60), *untouched = NULL;
    struct ac_error error = {0};
    assert_int_equal(ac_scaler_record(scaler, AC_REACT, 0), -EINVAL);
    assert_int_equal(ac_scaler_record(scaler, (enum ac_philosophy)17, 2), -EINVAL);
    assert_int_equal(ac_scaler_current(scaler, AC_REACT), 1);
    static const double bad[][3] = {
        {25, 75, 60}, {75, 75, 60}, {NAN, 25, 60}, {75, -1, 60}, {75, 25, -1}, {75, 25, INFINITY}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ac_scaler_options_init(&options);
        options.scale_up_threshold = bad[i][0];
        options.scale_down_threshold = bad[i][1];
        options.cooldown_seconds = bad[i][2];
        assert_int_equal(ac_scaler_new(&options, &untouched, &error), -EINVAL);
        assert_null(untouched);
        assert_true(strlen(error.message) > 10);
        assert_int_equal(ac_scaler_set_options(scaler, &options, NULL), -EINVAL);
    }
    ac_scaler_get_options(scaler, &options);
    assert_true(options.scale_up_threshold == 75);
    ac_scaler_free(scaler);
    ac_scaler_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_cooldown_is_per_philosophy),
        cmocka_unit_test(test_bad_input_changes_nothing),
    };
    return cmocka_run_group_tests_name("scaler", tests, NULL, NULL);
}
