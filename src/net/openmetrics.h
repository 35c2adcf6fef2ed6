/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics: OpenMetrics 1.0 text, or Prometheus 0.0.4 text for readers that know only that. The
 * metrics are tables (openmetrics.c); docs/metrics.md describes each.
 *
 * Base units, counters end in _total, an unknown value has no sample. Series per agent are
 * written for METRICS_AGENTS_MAX agents at most; how many were left out is a metric itself.
 */
#ifndef AC_NET_OPENMETRICS_H
#define AC_NET_OPENMETRICS_H

#include "net/route.h"

#define OPENMETRICS_TYPE   "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PROMETHEUS_TYPE    "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_AGENTS_MAX 1000

/* Appends the text for @peer (an unprivileged one sees its own agents only). Returns 0 or -ENOMEM.
 */
int openmetrics_write(
    const struct net_context *context, const struct net_peer *peer, bool open, struct buf *out);

/* The names of all metric families, for tests and documentation: NULL at the end. */
const char *openmetrics_name(size_t index);

#endif
