/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Predict: what a run of an agent will need, from decaying histograms of run peaks and run
 * times, keyed template -> philosophy -> all.
 *
 * Histograms have exponential buckets growing 5 % (memory from 10 MiB, CPU from 0.5 % of
 * capacity, time from 1 s); a sample's weight halves per 24 h of the time given with it. Memory is
 * predicted as the larger of P90 and 1.7 x the median, CPU and time as P90, each from the most
 * specific key that holds 3 fresh runs, else the most specific that ever held 3. Confidence is
 * n / (n + 10) for n decayed runs, x 0.8 for a philosophy, x 0.6 for all. The cold start is 50 % of
 * CPU, 256 MiB, 60 s, confidence 0. Basis, runs and confidence are told of the key that memory
 * was predicted from (where memory has no history: CPU's, then time's).
 *
 * Pure; not safe for concurrent use.
 */
#ifndef AC_POLICY_PREDICT_H
#define AC_POLICY_PREDICT_H

#include "base/buf.h"
#include "model/agent.h"

struct predict;

/* @max_templates (at least 1): further templates replace the one unused for longest; each takes
 * 5 KiB. @seed: for hashing. Returns 0 or -ENOMEM. */
int predict_new(uint32_t max_templates, uint64_t seed, struct predict **ret_predict);
void predict_free(struct predict *predict);

/* @template "" or NULL = none. */
void predict_get(struct predict *predict, enum ac_philosophy philosophy, const char *agent_template,
    int64_t now_wall_ns, struct ac_prediction *ret_prediction);

/* Learns from a run. Returns 0; -EINVAL for values negative or infinite, a philosophy out of range
 * or a template longer than AGENT_TEMPLATE_MAX; -ENOMEM. Nothing is learnt on failure. NaN fields
 * are skipped. */
int predict_record(struct predict *predict, enum ac_philosophy philosophy,
    const char *agent_template, const struct ac_run_usage *run, int64_t now_wall_ns);

/* The learnt state as bytes for the store, versioned; load refuses (-EINVAL) what it does not
 * know or what is damaged and leaves the predictor as it was. save appends to @out; returns 0,
 * -ENOMEM or -E2BIG. load returns 0, -EINVAL or -ENOMEM. */
int predict_save(const struct predict *predict, struct buf *out);
int predict_load(struct predict *predict, const void *bytes, size_t size);

#endif
