/* SPDX-License-Identifier: Apache-2.0 */
/* What the public objects of this folder need of each other. */
#ifndef AC_ENGINE_WRAPPERS_H
#define AC_ENGINE_WRAPPERS_H

#include "base/clock.h"
#include "engine/host.h"
#include "policy/scale.h"

/* A predictor that is a view of a host's core (borrowed). 0 or -ENOMEM. */
int predictor_new_view(struct host *host, struct ac_predictor **ret_predictor);

/* A monitor that is a view of a host's core (borrowed); its start takes a provider of its own. */
int monitor_new_view(
    struct host *host, const struct ac_monitor_options *options, struct ac_monitor **ret_monitor);

/* Its host, borrowed, and the time between two checks. */
struct host *monitor_host(struct ac_monitor *monitor);
int64_t monitor_interval_ns(const struct ac_monitor *monitor);

#endif
