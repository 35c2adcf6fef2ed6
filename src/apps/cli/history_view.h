/* SPDX-License-Identifier: Apache-2.0 */
/* History answers of the API in their forms for people and for spreadsheets. */
#ifndef AC_CLI_HISTORY_VIEW_H
#define AC_CLI_HISTORY_VIEW_H

#include "apps/cli/cli.h"

enum history_format { FORMAT_TABLE, FORMAT_SPARK, FORMAT_CSV, FORMAT_JSON, FORMAT_OPENMETRICS };

/* The metrics that history has, as users and as the API name them. */
struct history_metric {
    const char *name;
    const char *alias; /* another word for it, or NULL */
    const char *field;
    const char *title;
    const char *(*text)(char out[TEXT_SHORT], double value);
};

#define HISTORY_METRICS_MAX 8

extern const struct history_metric history_metrics[];
extern const size_t n_history_metrics;

struct history_view {
    const struct history_metric *metrics[HISTORY_METRICS_MAX];
    size_t n_metrics;
    const json_t *answer; /* borrowed */
};

/* One line per metric: minimum, mean, maximum, last, and a sparkline. Returns an exit status. */
int history_print_sparks(const struct cli *cli, const struct history_view *view);

/* One row per point: mean and maximum of each metric. Returns an exit status. */
int history_print_table(const struct cli *cli, const struct history_view *view);

/* [agent,]time,samples,cpu_percent_mean,cpu_percent_min,cpu_percent_max,...; unknown is empty.
 * @agents: several answers follow, each with its agent in front. */
void history_print_csv_head(const struct history_view *view, bool agents);
void history_print_csv(const struct history_view *view, bool agents);

/* Means of an array of answers as OpenMetrics with timestamps (history_om.h). */
void history_print_openmetrics(const struct history_view *view, const json_t *answers);

/* What the API calls the resource that a metric is of. */
const char *history_resource(const struct history_metric *metric);

#endif
