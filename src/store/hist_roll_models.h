/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The models of minute, hour and day rows. They start from probabilities that
 * bench/history/train_roll_priors.c counts; those are part of the format.
 */
#ifndef AC_STORE_HIST_ROLL_MODELS_H
#define AC_STORE_HIST_ROLL_MODELS_H

#include "store/hist_code.h"
#include "store/hist_metric.h"
#include "store/hist_sketch.h"

#define ROLL_CONTEXTS 8

/* A number with its bit length in so many contexts. */
#define ROLL_NUMBER(contexts)                                                                      \
    struct {                                                                                       \
        struct range_model size[contexts][1 << CODE_LEVELS];                                       \
        struct range_model top[1 << CODE_LEVELS];                                                  \
    }

/* What a section of minutes shares. */
struct section_models {
    struct range_model same[2]; /* samples: as in the minute before; was that one so? */
    ROLL_NUMBER(1) samples;
    struct range_model known[HIST_METRICS];
    struct range_model steady[HIST_METRICS];
    struct range_model divided[HIST_METRICS];
    ROLL_NUMBER(1) value;
    ROLL_NUMBER(1) divisor;
};

/* The minutes of one metric. */
struct cell_models {
    struct range_model full[3];
    struct range_model none[3];
    struct range_model flat[8];
    struct range_model same_max[2]; /* of a flat cell: the value is the last maximum */
    struct range_model same_min[4];
    struct range_model zero[2];
    struct range_model risen; /* min: the last maximum */
    struct range_model sign[2];
    struct range_model same_top[2]; /* max: the last one */
    struct range_model even[8];     /* the sum is that of minima and maxima alone */
    ROLL_NUMBER(ROLL_CONTEXTS) distance;
    ROLL_NUMBER(ROLL_CONTEXTS) spread;
    struct range_model whole_size[8][1 << CODE_SMALL_LEVELS];
    struct range_model whole_top[1 << CODE_SMALL_LEVELS];
};

/* An hour or a day of one metric. */
struct hour_models {
    struct range_model totals;
    struct range_model steady;
    struct range_model full;
    ROLL_NUMBER(1) min;
    ROLL_NUMBER(1) spread;
    struct sketch_models sketch;
    struct range_model sum[1 << CODE_LEVELS];
    struct range_model sum_wide[1 << CODE_LEVELS];
    struct range_model integral[1 << CODE_LEVELS];
    struct range_model start[1 << CODE_LEVELS];
    struct range_model growth[1 << CODE_LEVELS];
};

/* Each for one metric, but for the section's. */
void section_models_load(struct section_models *ret_models);
void cell_models_load(unsigned metric, struct cell_models *ret_models);
void hour_models_load(unsigned metric, struct hour_models *ret_models);

/* Metrics that behave alike share what they start from. */
enum roll_kind { ROLL_RATE, ROLL_MEMORY, ROLL_COUNT, ROLL_KINDS };

static inline enum roll_kind roll_kind(unsigned metric)
{
    if (metric == HIST_MEMORY || metric == HIST_MEMORY_PERCENT)
        return ROLL_MEMORY;
    return metric == HIST_FILE_DESCRIPTORS || metric == HIST_PROCESSES ? ROLL_COUNT : ROLL_RATE;
}

#endif
