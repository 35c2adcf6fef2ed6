/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history --top and --quantile. Both return an exit status after printing why. */
#ifndef AC_CLI_HISTORY_STATS_H
#define AC_CLI_HISTORY_STATS_H

#include "apps/cli/history_view.h"

#define HISTORY_QUANTILES_MAX 8

/* What is asked for; all borrowed. */
struct history_ask {
    const char *since; /* NULL = an hour ago */
    const char *until; /* NULL = now */
    const char *philosophy;
    const struct opt_list *labels;
    const char *const *ids; /* of --quantile; none and no group = the machine */
    size_t n_ids;
    const struct history_metric *const *metrics; /* --top takes the first */
    size_t n_metrics;
    unsigned aggregate; /* mean, max, sum */
    uint64_t top;
    const double *quantiles;
    size_t n_quantiles;
    enum history_format format;
};

int history_top_run(struct cli *cli, const struct history_ask *ask);
int history_quantile_run(struct cli *cli, const struct history_ask *ask);

#endif
