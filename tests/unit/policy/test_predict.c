/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/predict.h"

#include "predict_fixture.h"

static void cold_start(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    assert_cold(get(predict, AC_REACT, NULL, day(0)));
    assert_cold(get(predict, AC_COT, "", day(0)));
    assert_cold(get(predict, AC_COT, "never-seen", day(0)));
    assert_cold(get(predict, AC_PHILOSOPHY_COUNT, "never-seen", day(0)));
    learn(predict, AC_REACT, NULL, 500, day(0)); /* two runs are not enough */
    learn(predict, AC_REACT, NULL, 500, day(0));
    assert_cold(get(predict, AC_REACT, NULL, day(0)));
    predict_free(predict);
    predict_free(NULL);
}

/* An upper bound of the runs that is not far above them, whatever their size. */
static void predicts_a_little_above_what_was_seen(void **state)
{
    (void)state;
    const double sizes[] = {1, 12, 50, 185, 300, 1024, 2900, 16384, 131000, 1e6};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct predict *predict = new_predict(10);
        for (int n = 0; n < 20; n++)
            learn(predict, AC_REACT, NULL, sizes[i], day(0));
        struct ac_prediction p = get(predict, AC_REACT, NULL, day(0));
        assert_true(p.memory_mb >= sizes[i]);
        assert_true(p.memory_mb <= sizes[i] * 1.8 + 20);
        assert_true(p.cpu_percent >= 40 && p.cpu_percent <= 45);
        assert_true(p.execution_time_seconds >= 300 && p.execution_time_seconds <= 320);
        assert_int_equal(p.basis, AC_BASIS_PHILOSOPHY);
        assert_int_equal(p.runs, 20);
        predict_free(predict);
    }
}

static void the_most_specific_key_counts(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    for (int n = 0; n < 10; n++) {
        learn(predict, AC_REACT, "small", 100, day(0));
        learn(predict, AC_REACT, "large", 4000, day(0));
        learn(predict, AC_COT, NULL, 1000, day(0));
    }
    struct ac_prediction small = get(predict, AC_REACT, "small", day(0));
    struct ac_prediction large = get(predict, AC_REACT, "large", day(0));
    struct ac_prediction react = get(predict, AC_REACT, NULL, day(0));
    struct ac_prediction cot = get(predict, AC_COT, "new", day(0));
    struct ac_prediction other = get(predict, AC_AUTONOMOUS, NULL, day(0));
    assert_int_equal(small.basis, AC_BASIS_TEMPLATE);
    assert_int_equal(large.basis, AC_BASIS_TEMPLATE);
    assert_int_equal(react.basis, AC_BASIS_PHILOSOPHY);
    assert_int_equal(cot.basis, AC_BASIS_PHILOSOPHY);
    assert_int_equal(other.basis, AC_BASIS_ALL);
    assert_int_equal(small.runs, 10);
    assert_int_equal(react.runs, 20);
    assert_int_equal(other.runs, 30);
    assert_true(small.memory_mb < 220);
    assert_true(large.memory_mb >= 4000 && react.memory_mb >= 4000);
    assert_true(cot.memory_mb >= 1000 && cot.memory_mb < 2000);
    /* A template is one, whatever philosophy its agents have. */
    assert_int_equal(get(predict, AC_COT, "small", day(0)).basis, AC_BASIS_TEMPLATE);
    /* Less specific, less sure. */
    assert_true(small.confidence > 0.45 && small.confidence < 0.55);
    assert_true(react.confidence > small.confidence * 0.8 * 0.9);
    assert_true(other.confidence < react.confidence);
    predict_free(predict);
}

static void confidence_grows_with_runs_and_fades_with_time(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    double before = 0;
    for (int n = 0; n < 100; n++) {
        learn(predict, AC_REACT, "t", 100, day(0));
        double now = get(predict, AC_REACT, "t", day(0)).confidence;
        assert_true(n < 2 ? now == 0 : now > before);
        before = now;
    }
    assert_true(before > 0.9);
    double later = get(predict, AC_REACT, "t", day(3)).confidence;
    assert_true(later < before && later > 0);
    predict_free(predict);
}

/* After a long pause nothing fresh is known, but old knowledge is better than none. */
static void old_knowledge_is_better_than_none(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    for (int n = 0; n < 5; n++)
        learn(predict, AC_REACT, "t", 2000, day(0));
    const double days[] = {5, 30, 365, 3650};
    for (size_t i = 0; i < ARRAY_SIZE(days); i++) {
        struct ac_prediction p = get(predict, AC_REACT, "t", day(days[i]));
        assert_int_equal(p.basis, AC_BASIS_TEMPLATE);
        assert_true(p.memory_mb >= 2000);
        assert_true(p.confidence < 0.02);
    }
    /* Fresh runs of the philosophy count more than stale ones of the template. */
    for (int n = 0; n < 5; n++)
        learn(predict, AC_REACT, NULL, 100, day(30));
    assert_int_equal(get(predict, AC_REACT, "t", day(30)).basis, AC_BASIS_PHILOSOPHY);
    predict_free(predict);
}

static void old_runs_lose_weight(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    for (int n = 0; n < 50; n++)
        learn(predict, AC_REACT, NULL, 4000, day(0));
    for (int n = 0; n < 50; n++)
        learn(predict, AC_REACT, NULL, 200, day(1));
    assert_true(get(predict, AC_REACT, NULL, day(1)).memory_mb >= 4000);
    for (int n = 0; n < 50; n++)
        learn(predict, AC_REACT, NULL, 200, day(5)); /* 50 runs weigh 1/32 of them each */
    assert_true(get(predict, AC_REACT, NULL, day(5)).memory_mb < 400);
    predict_free(predict);
}

static void a_clock_that_jumps_does_no_lasting_harm(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    for (int n = 0; n < 20; n++)
        learn(predict, AC_REACT, NULL, 300, day(0));
    learn(predict, AC_REACT, NULL, 9000, day(36500)); /* a hundred years ahead, once */
    for (int n = 0; n < 40; n++)
        learn(predict, AC_REACT, NULL, 300, day(0.1));
    struct ac_prediction p = get(predict, AC_REACT, NULL, day(0.1));
    assert_true(p.memory_mb >= 300 && p.memory_mb < 580);
    learn(predict, AC_REACT, NULL, 300, INT64_MIN);
    learn(predict, AC_REACT, NULL, 300, INT64_MAX);
    learn(predict, AC_REACT, NULL, 300, 0);
    get(predict, AC_REACT, NULL, INT64_MIN);
    get(predict, AC_REACT, NULL, INT64_MAX);
    predict_free(predict);
}

static void unknown_fields_are_skipped(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    const struct ac_run_usage only_time = {
        .cpu_peak_percent = NAN, .memory_peak_mb = NAN, .execution_time_seconds = 900};
    for (int n = 0; n < 10; n++)
        assert_int_equal(predict_record(predict, AC_REACT, "t", &only_time, day(0)), 0);
    struct ac_prediction p = get(predict, AC_REACT, "t", day(0));
    assert_close(p.cpu_percent, 50, 0);
    assert_close(p.memory_mb, 256, 0);
    assert_true(p.execution_time_seconds >= 900);
    assert_int_equal(p.basis, AC_BASIS_TEMPLATE);
    /* Memory known from elsewhere: that is the basis told about. */
    for (int n = 0; n < 4; n++)
        learn(predict, AC_COT, NULL, 700, day(0));
    p = get(predict, AC_REACT, "t", day(0));
    assert_int_equal(p.basis, AC_BASIS_ALL);
    assert_true(p.memory_mb >= 700);
    assert_true(p.execution_time_seconds >= 900);
    predict_free(predict);
}

static void bad_runs_are_refused(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    const double bad[] = {-1, INFINITY, -INFINITY, -0.001};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        for (int field = 0; field < 3; field++) {
            struct ac_run_usage run = {1, 1, 1};
            *(field == 0     ? &run.cpu_peak_percent
                : field == 1 ? &run.memory_peak_mb
                             : &run.execution_time_seconds) = bad[i];
            assert_int_equal(predict_record(predict, AC_REACT, "t", &run, day(0)), -EINVAL);
        }
    }
    const struct ac_run_usage good = {1, 1, 1};
    char name[AGENT_TEMPLATE_MAX + 2];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    assert_int_equal(predict_record(predict, AC_REACT, name, &good, day(0)), -EINVAL);
    assert_int_equal(predict_record(predict, AC_PHILOSOPHY_COUNT, NULL, &good, day(0)), -EINVAL);
    assert_int_equal(
        predict_record(predict, (enum ac_philosophy) - 1, NULL, &good, day(0)), -EINVAL);
    assert_cold(get(predict, AC_REACT, "t", day(0)));
    name[AGENT_TEMPLATE_MAX] = 0;
    const struct ac_run_usage huge = {1e308, 1e308, 1e308}, none = {0, 0, 0};
    for (int n = 0; n < 5; n++) {
        assert_int_equal(predict_record(predict, AC_REACT, name, &huge, day(0)), 0);
        assert_int_equal(predict_record(predict, AC_COT, "zero", &none, day(0)), 0);
    }
    assert_true(get(predict, AC_REACT, name, day(0)).cpu_percent <= 100);
    struct ac_prediction p = get(predict, AC_COT, "zero", day(0));
    assert_true(p.memory_mb > 0 && p.memory_mb < 20);
    predict_free(predict);
}

static void the_template_unused_for_longest_goes(void **state)
{
    (void)state;
    struct predict *predict = new_predict(3);
    const char *const names[] = {"a", "b", "c"};
    for (int n = 0; n < 3; n++) {
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            learn(predict, AC_REACT, names[i], 100, day(0));
    }
    get(predict, AC_REACT, "a", day(0)); /* used */
    for (int n = 0; n < 3; n++)
        learn(predict, AC_REACT, "d", 100, day(0)); /* replaces b */
    assert_int_equal(get(predict, AC_REACT, "b", day(0)).basis, AC_BASIS_PHILOSOPHY);
    assert_int_equal(get(predict, AC_REACT, "a", day(0)).basis, AC_BASIS_TEMPLATE);
    assert_int_equal(get(predict, AC_REACT, "c", day(0)).basis, AC_BASIS_TEMPLATE);
    assert_int_equal(get(predict, AC_REACT, "d", day(0)).basis, AC_BASIS_TEMPLATE);
    predict_free(predict);
    predict = new_predict(0); /* counts as one */
    for (int n = 0; n < 3; n++)
        learn(predict, AC_REACT, "a", 100, day(0));
    assert_int_equal(get(predict, AC_REACT, "a", day(0)).basis, AC_BASIS_TEMPLATE);
    predict_free(predict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_start),
        cmocka_unit_test(predicts_a_little_above_what_was_seen),
        cmocka_unit_test(the_most_specific_key_counts),
        cmocka_unit_test(confidence_grows_with_runs_and_fades_with_time),
        cmocka_unit_test(old_knowledge_is_better_than_none),
        cmocka_unit_test(old_runs_lose_weight),
        cmocka_unit_test(a_clock_that_jumps_does_no_lasting_harm),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(bad_runs_are_refused),
        cmocka_unit_test(the_template_unused_for_longest_goes),
    };
    return cmocka_run_group_tests_name("policy/predict", tests, NULL, NULL);
}
