/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of prediction share: days, and a predictor that checks its answers. */
#ifndef AC_TESTS_PREDICT_FIXTURE_H
#define AC_TESTS_PREDICT_FIXTURE_H

#include "policy_test.h"

#include <errno.h>

#include "policy/predict.h"

#define DAY_NS 86400000000000ll

static inline int64_t day(double n)
{
    return WALL_START + (int64_t)(n * (double)DAY_NS);
}

static inline struct predict *new_predict(uint32_t max_templates)
{
    struct predict *predict;
    assert_int_equal(predict_new(max_templates, 42, &predict), 0);
    return predict;
}

static inline void learn(struct predict *predict, enum ac_philosophy philosophy, const char *name,
    double memory, int64_t now)
{
    struct ac_run_usage run = {
        .cpu_peak_percent = 40, .memory_peak_mb = memory, .execution_time_seconds = 300};
    assert_int_equal(predict_record(predict, philosophy, name, &run, now), 0);
}

static inline struct ac_prediction get(
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

static inline void assert_cold(struct ac_prediction prediction)
{
    assert_close(prediction.cpu_percent, 50, 0);
    assert_close(prediction.memory_mb, 256, 0);
    assert_close(prediction.execution_time_seconds, 60, 0);
    assert_close(prediction.confidence, 0, 0);
    assert_int_equal(prediction.basis, AC_BASIS_DEFAULT);
    assert_int_equal(prediction.runs, 0);
}

#endif
