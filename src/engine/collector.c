/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/collector.h"

#include <errno.h>
#include <stdio.h>

#include "os/bpf_collector.h"
#include "os/netlink_collector.h"

static int open_procfs(const struct procfs_options *options, uint32_t max_agents,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct procfs_options watching = *options;
    watching.max_slot = max_agents;
    return procfs_new(&watching, ret_source, error);
}

static int open_bpf(const struct procfs_options *options, uint32_t max_agents,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct bpf_options bpf = {.max_slot = max_agents, .machine = *options};
    return bpf_collector_new(&bpf, ret_source, error);
}

/* What is wrong with the better ones goes in front, so that a person can mend it. */
static int open_fallback(const struct procfs_options *options, uint32_t max_agents,
    const char *no_bpf, struct collector_source **ret_source, char ret_reason[COLLECTOR_REASON_MAX],
    struct ac_error *error)
{
    struct ac_error no_netlink = {.message = ""};

    int r = netlink_collector_new(options, max_agents, ret_source, &no_netlink);
    if (r == 0) {
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "no BPF: %.200s", no_bpf);
        return 0;
    }
    r = procfs_new(options, ret_source, error);
    if (r < 0)
        return r;
    snprintf(
        ret_reason, COLLECTOR_REASON_MAX, "no BPF: %.120s; %.100s", no_bpf, no_netlink.message);
    return 0;
}

int collector_open(enum config_collector wanted, const struct procfs_options *options,
    uint32_t max_agents, struct collector_source **ret_source,
    char ret_reason[COLLECTOR_REASON_MAX], struct ac_error *error)
{
    struct ac_error no_bpf = {.message = ""};
    int r;

    if (wanted == CONFIG_COLLECTOR_PROCFS) {
        r = open_procfs(options, max_agents, ret_source, error);
        if (r == 0)
            snprintf(ret_reason, COLLECTOR_REASON_MAX, "the configuration asks for it");
        return r;
    }
    r = open_bpf(options, max_agents, ret_source, &no_bpf);
    if (r == 0) {
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "%s",
            wanted == CONFIG_COLLECTOR_BPF ? "the configuration asks for it"
                                           : "it sees every process, and costs least");
        return 0;
    }
    if (wanted == CONFIG_COLLECTOR_BPF)
        return error_set(error, r, "collector: bpf: %s", no_bpf.message);
    return open_fallback(options, max_agents, no_bpf.message, ret_source, ret_reason, error);
}
