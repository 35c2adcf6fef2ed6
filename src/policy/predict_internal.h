/* SPDX-License-Identifier: Apache-2.0 */
/* What predict.c (learning, predicting) and predict_state.c (saving, loading) share. */
#ifndef AC_POLICY_PREDICT_INTERNAL_H
#define AC_POLICY_PREDICT_INTERNAL_H

#include "base/map.h"
#include "policy/histogram.h"
#include "policy/predict.h"

enum dimension { DIMENSION_CPU, DIMENSION_MEMORY, DIMENSION_TIME, DIMENSION_COUNT };

/* The runs of one template, of one philosophy, or of all. */
struct predict_key {
    uint64_t runs;
    struct histogram histograms[DIMENSION_COUNT];
};

struct predict_template {
    struct predict_key key;
    struct predict_template *older, *newer; /* by last use */
    char name[];
};

struct predict {
    uint32_t max_templates;
    uint64_t seed;
    struct strmap *templates; /* owns them */
    struct predict_template *oldest, *newest;
    struct predict_key philosophies[AC_PHILOSOPHY_COUNT];
    struct predict_key all;
};

/* The width of a dimension's first bucket. */
double predict_first_bucket(enum dimension dimension);

/* Adds an empty template, which becomes the newest; at max_templates the oldest goes. Returns
 * NULL without memory. */
struct predict_template *predict_template_add(struct predict *predict, const char *name);

#endif
