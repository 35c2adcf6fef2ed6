/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decaying histogram with exponential buckets: bucket 0 is [0, first), and each further one is
 * 5 % wider than the one before, as in the recommender of the Kubernetes Vertical Pod Autoscaler
 * (autoscaler/vertical-pod-autoscaler, util/histogram_options.go): bucket n begins at
 * first x (1.05^n - 1) / 0.05. A sample's weight halves per HISTOGRAM_HALF_LIFE_NS.
 *
 * Weights are kept relative to a reference time, so that adding a sample touches one bucket; time
 * that runs backwards counts as standing still.
 */
#ifndef AC_POLICY_HISTOGRAM_H
#define AC_POLICY_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS      212 /* 1 s to a week; the other scales need fewer */
#define HISTOGRAM_HALF_LIFE_NS 86400000000000ll

struct histogram {
    double first;         /* width of the first bucket */
    int64_t reference_ns; /* wall: when a sample of weight 1 has weight 1 */
    uint64_t samples;     /* ever added, undecayed */
    double total;         /* sum of weights at the reference */
    double weights[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *ret_histogram, double first);

/* @value: finite and >= 0; beyond the last bucket it counts as there. */
void histogram_add(struct histogram *histogram, double value, int64_t now_ns);

/* The end of the bucket in which the quantile @q (0-1) lies: an upper bound of it. 0 where there
 * is no sample. */
double histogram_quantile(const struct histogram *histogram, double q);

/* The decayed number of samples. */
double histogram_weight(const struct histogram *histogram, int64_t now_ns);

#endif
