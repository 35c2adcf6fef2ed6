/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proportional memory (PSS) of agents' processes, read on a budget beside the samples. The reader
 * may be NULL in all of these: nothing is read then.
 */
#ifndef AC_ENGINE_PSS_METER_H
#define AC_ENGINE_PSS_METER_H

#include "os/pss.h"
#include "policy/registry.h"

#define PSS_BUDGET_PERCENT 0.05 /* of a core, where nobody says otherwise */

/* Before the sample is applied: adds what was read since the last one. */
void pss_meter_fill(struct pss_reader *reader, struct sample *sample);

/* After that: has those read whose turn it is. */
void pss_meter_ask(struct pss_reader *reader, const struct registry *registry);

#endif
