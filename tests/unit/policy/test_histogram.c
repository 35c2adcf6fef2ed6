/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/histogram.h"

#include "predict_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_bounds),
        cmocka_unit_test(histogram_quantiles_against_sorted_values),
        cmocka_unit_test(histogram_decay_against_a_plain_sum),
    };
    return cmocka_run_group_tests_name("policy/histogram", tests, NULL, NULL);
}
