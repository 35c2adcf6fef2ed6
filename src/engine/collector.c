/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/collector.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "os/bpf_collector.h"
#include "os/netlink_collector.h"

#define REASON_PART 100 /* of what is wrong with one */

static int open_bpf(const struct procfs_options *options, uint32_t max_agents,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct bpf_options bpf = {.max_slot = max_agents, .machine = *options};
    return bpf_collector_new(&bpf, ret_source, error);
}

static int open_procfs(const struct procfs_options *options, uint32_t max_agents,
    struct collector_source **ret_source, struct ac_error *error)
{
    struct procfs_options watching = *options;
    watching.max_slot = max_agents;
    return procfs_new(&watching, ret_source, error);
}

/* The best comes first. */
static const struct candidate {
    const char *name;
    int (*open)(const struct procfs_options *options, uint32_t max_agents,
        struct collector_source **ret_source, struct ac_error *error);
    enum config_collector forced_by; /* auto: nothing asks for this one alone */
} candidates[] = {
    {"bpf", open_bpf, CONFIG_COLLECTOR_BPF},
    {"procfs+netlink", netlink_collector_new, CONFIG_COLLECTOR_AUTO},
    {"procfs", open_procfs, CONFIG_COLLECTOR_PROCFS},
};

/* What is wrong with a better one is the reason for the next, so that a person can mend it. */
static void reason_add(
    char reason[COLLECTOR_REASON_MAX], const struct candidate *candidate, const char *trouble)
{
    size_t used = strlen(reason);
    snprintf(reason + used, COLLECTOR_REASON_MAX - used, "%sno %s: %.*s", used > 0 ? "; " : "",
        candidate->name, REASON_PART, trouble);
}

int collector_open(enum config_collector wanted, const struct procfs_options *options,
    uint32_t max_agents, struct collector_source **ret_source,
    char ret_reason[COLLECTOR_REASON_MAX], struct ac_error *error)
{
    char reason[COLLECTOR_REASON_MAX] = "";
    int r = -EINVAL;

    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
        const struct candidate *candidate = &candidates[i];
        struct ac_error trouble = {.message = ""};
        bool forced = wanted != CONFIG_COLLECTOR_AUTO;
        if (forced && candidate->forced_by != wanted)
            continue;
        r = candidate->open(options, max_agents, ret_source, &trouble);
        if (r < 0 && forced)
            return error_set(error, r, "collector: %s: %s", candidate->name, trouble.message);
        if (r < 0) {
            reason_add(reason, candidate, trouble.message);
            continue;
        }
        snprintf(ret_reason, COLLECTOR_REASON_MAX, "%s",
            forced      ? "the configuration asks for it"
            : reason[0] ? reason
                        : "it sees every process, and costs least");
        return 0;
    }
    return error_set(error, r, "collector: %s", reason);
}
