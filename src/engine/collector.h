/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the collector of samples at run time, and says why. */
#ifndef AC_ENGINE_COLLECTOR_H
#define AC_ENGINE_COLLECTOR_H

#include "config/config.h"
#include "os/procfs.h"

#define COLLECTOR_REASON_MAX 256

/* Opens the best collector that @wanted allows: BPF, else procfs with process events where the
 * kernel sends them to us, else procfs alone. @max_agents is the largest slot that will be
 * adopted. @ret_reason says in a sentence why this one. Returns 0; -errno where none works (or
 * the one that was forced does not). */
int collector_open(enum config_collector wanted, const struct procfs_options *options,
    uint32_t max_agents, struct collector_source **ret_source,
    char ret_reason[COLLECTOR_REASON_MAX], struct ac_error *error);

#endif
