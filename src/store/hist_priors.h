/* SPDX-License-Identifier: Apache-2.0 */
/* The models of the column codec and the probabilities that they start from. */
#ifndef AC_STORE_HIST_PRIORS_H
#define AC_STORE_HIST_PRIORS_H

#include "store/hist_range.h"

#define PRIOR_ZERO_CONTEXTS  8
#define PRIOR_CLASS_CONTEXTS 20
#define PRIOR_CLASS_NODES    64
#define PRIOR_TOP_CLASSES    24
#define PRIOR_TOP_NODES      16
#define PRIOR_RUN_CONTEXTS   8
#define PRIOR_RUN_NODES      16

/* One flat set of binary models. */
struct column_models {
    struct range_model zero[PRIOR_ZERO_CONTEXTS];
    struct range_model sign[4];
    struct range_model size[PRIOR_CLASS_CONTEXTS][PRIOR_CLASS_NODES];
    struct range_model top[PRIOR_TOP_CLASSES][PRIOR_TOP_NODES];
    struct range_model run_size[PRIOR_RUN_CONTEXTS][PRIOR_RUN_NODES];
    struct range_model run_top[PRIOR_RUN_NODES][4];
};

#define PRIOR_MODELS (sizeof(struct column_models) / sizeof(struct range_model))

enum prior_set { PRIOR_VALUE, PRIOR_DELTA, PRIOR_RUNS, PRIOR_SET_COUNT };

/* Fills @models for a mode. */
void prior_load(enum prior_set set, struct column_models *ret_models);

#endif
