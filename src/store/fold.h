/* SPDX-License-Identifier: Apache-2.0 */
/* Folds samples of usage into points of a fixed step: mean, minimum and maximum of each field over
 * the samples that know it. Pure. */
#ifndef AC_STORE_FOLD_H
#define AC_STORE_FOLD_H

#include "store/history.h"

/* Zero-initialised is an empty fold. */
struct fold {
    struct history_point point;
    double sums[7]; /* by bit of enum ac_usage_field */
    uint32_t counts[7];
};

/* Starts a point at @from_ns. */
void fold_begin(struct fold *fold, int64_t from_ns, uint64_t step_ns);
void fold_put(struct fold *fold, const struct ac_usage *usage);

/* The point so far; its three usages have the start as their timestamp. Borrowed. */
const struct history_point *fold_end(struct fold *fold);

/* Where the step that holds @time_ns begins; steps are aligned to 1970. */
int64_t fold_align(int64_t time_ns, uint64_t step_ns);

/* Calls @each for the points of @n usages (oldest first); @step_ns 0 = one point per usage.
 * Returns 0 or what @each returned. */
int fold_usages(
    const struct ac_usage *usages, size_t n, uint64_t step_ns, history_fn each, void *userdata);

#endif
