/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/predict.h"

#include "policy_test.h"

#include <errno.h>

#include "policy/histogram.h"

#define DAY_NS 86400000000000ll

static int64_t day(double n)
{
    return WALL_START + (int64_t)(n * (double)DAY_NS);
}

static struct predict *new_predict(uint32_t max_templates)
{
    struct predict *predict;
    assert_int_equal(predict_new(max_templates, 42, &predict), 0);
    return predict;
}

static void learn(struct predict *predict, enum ac_philosophy philosophy, const char *name,
    double memory, int64_t now)
{
    struct ac_run_usage run = {
        .cpu_peak_percent = 40, .memory_peak_mb = memory, .execution_time_seconds = 300};
    assert_int_equal(predict_record(predict, philosophy, name, &run, now), 0);
}

static struct ac_prediction get(
    struct predict *predict, enum ac_philosophy philosophy, const char *name, int64_t now)
{
    struct ac_prediction prediction;
    predict_get(predict, philosophy, name, now, &prediction);
    assert_true(prediction.confidence >= 0 && prediction.confidence < 1);
    assert_true(isfinite(prediction.memory_mb) && prediction.memory_mb >= 0);
    assert_true(isfinite(prediction.cpu_percent) && prediction.cpu_percent >= 0);
    assert_true(isfinite(prediction.execution_time_seconds));
    return prediction;
}

static void assert_cold(struct ac_prediction prediction)
{
    assert_close(prediction.cpu_percent, 50, 0);
    assert_close(prediction.memory_mb, 256, 0);
    assert_close(prediction.execution_time_seconds, 60, 0);
    assert_close(prediction.confidence, 0, 0);
    assert_int_equal(prediction.basis, AC_BASIS_DEFAULT);
    assert_int_equal(prediction.runs, 0);
}

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

/* ---- Histogram */

static void histogram_bounds(void **state)
{
    (void)state;
    const double firsts[] = {0.5, 1, 10};
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++) {
        struct histogram h;
        double first = firsts[i % 3];
        histogram_init(&h, first);
        double value = exp(random_below(&seed, 14000) / 1000.0) - 1; /* up to 1.2 million */
        value = fmin(value, first * 600000);
        histogram_add(&h, value, day(0));
        double end = histogram_quantile(&h, 0.9);
        assert_true(end >= value);
        assert_true(end <= value * 1.0501 + first + 1e-9);
    }
}

static void histogram_quantiles_against_sorted_values(void **state)
{
    (void)state;
    struct histogram h;
    histogram_init(&h, 10);
    assert_close(histogram_quantile(&h, 0.5), 0, 0);
    for (int n = 1; n <= 1000; n++)
        histogram_add(&h, n, day(0));
    const double qs[] = {0, 0.01, 0.1, 0.5, 0.9, 0.98, 1};
    for (size_t i = 0; i < ARRAY_SIZE(qs); i++) {
        double exact = fmax(1, ceil(qs[i] * 1000));
        double got = histogram_quantile(&h, qs[i]);
        assert_true(got >= exact && got <= exact * 1.06 + 10);
    }
    assert_close(histogram_weight(&h, day(0)), 1000, 1e-6);
    assert_close(histogram_weight(&h, day(1)), 500, 1e-6);
    assert_close(histogram_weight(&h, day(-1)), 1000, 1e-6);
}

/* Decayed weights against a plain sum over all samples, across many moves of the reference. */
static void histogram_decay_against_a_plain_sum(void **state)
{
    (void)state;
    static struct {
        double value;
        double day;
    } samples[800];
    struct histogram h;
    uint64_t seed = 11;
    histogram_init(&h, 1);
    double now = 0;
    for (size_t n = 0; n < ARRAY_SIZE(samples); n++) {
        now += random_below(&seed, 1000) / 2000.0;
        samples[n].value = random_below(&seed, 5000);
        samples[n].day = now;
        histogram_add(&h, samples[n].value, day(now));
        double sum = 0;
        for (size_t i = 0; i <= n; i++)
            sum += exp2(samples[i].day - now);
        assert_close(histogram_weight(&h, day(now)) / sum, 1, 1e-6);
    }
}

/* ---- Saving and loading */

static struct predict *trained(uint32_t max_templates)
{
    struct predict *predict = new_predict(max_templates);
    uint64_t seed = 17;
    for (int n = 0; n < 300; n++) {
        char name[16];
        snprintf(name, sizeof(name), "t%u", random_below(&seed, 8));
        struct ac_run_usage run = {.cpu_peak_percent = random_below(&seed, 100),
            .memory_peak_mb = random_below(&seed, 5000),
            .execution_time_seconds = random_below(&seed, 3) ? random_below(&seed, 900) : NAN};
        predict_record(predict, (enum ac_philosophy)random_below(&seed, 4),
            random_below(&seed, 4) ? name : NULL, &run, day(n / 40.0));
    }
    return predict;
}

static void assert_equal(struct ac_prediction x, struct ac_prediction y)
{
    assert_true(x.cpu_percent == y.cpu_percent && x.memory_mb == y.memory_mb);
    assert_true(x.execution_time_seconds == y.execution_time_seconds);
    assert_close(x.confidence, y.confidence, 1e-9);
    assert_int_equal(x.basis, y.basis);
    assert_int_equal(x.runs, y.runs);
}

static void assert_same(struct predict *a, struct predict *b)
{
    for (int philosophy = 0; philosophy < AC_PHILOSOPHY_COUNT; philosophy++) {
        for (int i = -1; i < 9; i++) {
            char name[16] = "";
            if (i >= 0)
                snprintf(name, sizeof(name), "t%d", i);
            struct ac_prediction x = get(a, (enum ac_philosophy)philosophy, name, day(8));
            struct ac_prediction y = get(b, (enum ac_philosophy)philosophy, name, day(8));
            assert_equal(x, y);
        }
    }
}

static void saved_state_comes_back(void **state)
{
    (void)state;
    struct predict *predict = trained(100), *loaded = new_predict(100);
    struct buf bytes CLEANUP(buf_done) = {0}, again CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    learn(loaded, AC_REACT, "other", 1, day(0));
    assert_int_equal(predict_load(loaded, bytes.data, bytes.size), 0);
    assert_same(predict, loaded);
    assert_int_equal(predict_load(predict, bytes.data, bytes.size), 0);
    assert_int_equal(predict_save(predict, &again), 0);
    assert_int_equal(again.size, bytes.size);
    assert_memory_equal(again.data, bytes.data, bytes.size);
    /* What was learnt goes on from there. */
    learn(predict, AC_REACT, "t1", 3000, day(9));
    learn(loaded, AC_REACT, "t1", 3000, day(9));
    predict_free(loaded);
    /* Fewer templates fit: those used last stay. */
    loaded = new_predict(2);
    assert_int_equal(predict_load(loaded, bytes.data, bytes.size), 0);
    int kept = 0;
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        kept += get(loaded, AC_REACT, name, day(8)).basis == AC_BASIS_TEMPLATE;
    }
    assert_int_equal(kept, 2);
    predict_free(loaded);
    predict_free(predict);
}

static void an_empty_state_comes_back(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    learn(predict, AC_REACT, "t", 100, day(0));
    assert_int_equal(predict_load(predict, bytes.data, bytes.size), 0);
    assert_cold(get(predict, AC_REACT, "t", day(0)));
    predict_free(predict);
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct predict *predict = trained(100), *other = new_predict(100);
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    for (int n = 0; n < 3; n++)
        learn(other, AC_REACT, "mine", 123, day(0));
    struct ac_prediction before = get(other, AC_REACT, "mine", day(0));
    for (size_t size = 0; size < bytes.size; size += size < 64 ? 1 : 37)
        assert_int_equal(predict_load(other, bytes.data, size), -EINVAL);
    for (size_t i = 0; i < bytes.size; i += i < 64 ? 1 : 29) {
        bytes.data[i] ^= 0x40;
        assert_int_equal(predict_load(other, bytes.data, bytes.size), -EINVAL);
        bytes.data[i] ^= 0x40;
    }
    assert_int_equal(predict_load(other, NULL, 0), -EINVAL);
    buf_append_char(&bytes, 0);
    assert_int_equal(predict_load(other, bytes.data, bytes.size), -EINVAL);
    struct ac_prediction after = get(other, AC_REACT, "mine", day(0));
    assert_equal(before, after);
    predict_free(predict);
    predict_free(other);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct predict *predict;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_new(10, 1, &predict);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            predict_free(predict);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    predict = trained(100);
    /* Learning with a new template: all or nothing. */
    const struct ac_run_usage run = {10, 10, 10};
    uint64_t runs = get(predict, AC_REACT, NULL, day(8)).runs;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_record(predict, AC_REACT, "fresh", &run, day(8));
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        assert_int_equal(get(predict, AC_REACT, NULL, day(8)).runs, runs + !hit);
        if (!hit)
            break;
    }
    struct buf bytes CLEANUP(buf_done) = {0};
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_save(predict, &bytes);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
        buf_done(&bytes);
        bytes.failed = false;
    }
    struct predict *loaded = new_predict(100);
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_load(loaded, bytes.data, bytes.size);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
        assert_cold(get(loaded, AC_REACT, "t1", day(8)));
    }
    assert_same(predict, loaded);
    predict_free(loaded);
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
        cmocka_unit_test(histogram_bounds),
        cmocka_unit_test(histogram_quantiles_against_sorted_values),
        cmocka_unit_test(histogram_decay_against_a_plain_sum),
        cmocka_unit_test(saved_state_comes_back),
        cmocka_unit_test(an_empty_state_comes_back),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("policy/predict", tests, NULL, NULL);
}
