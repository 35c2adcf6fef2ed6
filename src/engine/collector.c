/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/collector.h"

#include <errno.h>
#include <stdio.h>

int collector_open(enum config_collector wanted, const struct procfs_options *options,
    struct collector_source **ret_source, char ret_reason[COLLECTOR_REASON_MAX],
    struct ac_error *error)
{
    if (wanted == CONFIG_COLLECTOR_BPF)
        return error_set(error, -EOPNOTSUPP,
            "collector: bpf is not built in; use \"auto\" or \"procfs\"");
    int r = procfs_new(options, ret_source, error);
    if (r < 0)
        return r;
    snprintf(ret_reason, COLLECTOR_REASON_MAX, "%s",
        wanted == CONFIG_COLLECTOR_PROCFS ? "the configuration asks for it" : "it works everywhere");
    return 0;
}
