/* SPDX-License-Identifier: Apache-2.0 */
/* Usage as a set of known fields: one accessor for what is stored as five resources. */
#ifndef AC_MODEL_USAGE_H
#define AC_MODEL_USAGE_H

#include <agentcore.h>

/* Fills what @target does not know from @source. Keeps @target's timestamp. */
void usage_fill(struct ac_usage *target, const struct ac_usage *source);

/* The value that @resource's limits are compared with (percent for CPU and memory, MiB/s,
 * count); NaN where unknown. */
double usage_value(const struct ac_usage *usage, enum ac_resource resource);

/* Setters that also mark the field as known; a value that is not a finite number of 0 or more, and
 * a percentage without a capacity, stay unknown. */
void usage_set_cpu(struct ac_usage *usage, double cores, double capacity_cores);
void usage_set_memory(struct ac_usage *usage, double mib, double capacity_mib);

#define USAGE_MIB 1048576.0

#endif
