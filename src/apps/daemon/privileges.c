/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least privilege: once everything is open, root keeps only what metering and stopping agents
 * need, and can gain nothing back. An ordinary user has nothing to give up.
 */
#include "daemon_internal.h"

#include <cap-ng.h>
#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mem.h"

static const capng_type_t both = (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED);

static const struct {
    unsigned capability;
    const char *why;
} kept[] = {
    {CAP_BPF, "read the BPF collector's maps and iterators"},
    {CAP_PERFMON, "start the BPF iterator"},
    {CAP_NET_ADMIN, "count the network of new agents' cgroups"},
    {CAP_SYS_PTRACE, "read io and descriptors of other users' processes"},
    {CAP_DAC_READ_SEARCH, "look into their /proc directories"},
    {CAP_KILL, "stop agents of other users"},
};

int privileges_drop(struct ac_error *error)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_errno(error, -errno, "no_new_privs");
    if (geteuid() != 0)
        return 0;
    if (capng_get_caps_process() != 0)
        return error_set(error, -EPERM, "capabilities cannot be read");
    unsigned held = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        held |= (unsigned)(capng_have_capability(CAPNG_PERMITTED, kept[i].capability) != 0) << i;
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        if (held & 1u << i)
            capng_update(CAPNG_ADD, both, kept[i].capability);
    }
    /* The bounding set as well, where we may: a container may not. */
    if (capng_apply(CAPNG_SELECT_BOTH) != 0 && capng_apply(CAPNG_SELECT_CAPS) != 0)
        return error_set(error, -EPERM, "capabilities cannot be given up");
    return 0;
}
