/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/collector.h"

#include <errno.h>
#include <stdio.h>

#include "os/bpf_collector.h"

static int open_bpf(const struct procfs_options *options, uint32_t max_agents,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct bpf_options bpf = {.max_slot = max_agents, .machine = *options};
    return bpf_collector_new(&bpf, ret_source, error);
}

int collector_open(enum config_collector wanted, const struct procfs_options *options,
    uint32_t max_agents, struct collector_source **ret_source,
    char ret_reason[COLLECTOR_REASON_MAX], struct ac_error *error)
{
    struct ac_error no_bpf = {.message = ""};
    int r = -ENOSYS;

    if (wanted != CONFIG_COLLECTOR_PROCFS)
        r = open_bpf(options, max_agents, ret_source, &no_bpf);
    if (r == 0) {
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "%s",
            wanted == CONFIG_COLLECTOR_BPF ? "the configuration asks for it"
                                           : "it sees every process, and costs least");
        return 0;
    }
    if (wanted == CONFIG_COLLECTOR_BPF)
        return error_set(error, r, "collector: bpf: %s", no_bpf.message);
    r = procfs_new(options, ret_source, error);
    if (r < 0)
        return r;
    if (wanted == CONFIG_COLLECTOR_PROCFS)
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "the configuration asks for it");
    else
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "no BPF: %.240s", no_bpf.message);
    return 0;
}
