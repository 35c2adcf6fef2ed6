/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recent usage in memory: per subject a list of blocks of samples, under one cap over all
 * subjects; at the cap the oldest block of all goes first. Samples are kept for the configured
 * time. More than 16 samples of one subject within a second replace the last one.
 *
 * Values are kept to 7 significant digits or better (decimals that people write come back exactly,
 * see recent.c), timestamps exactly, known bits exactly; a value that is no finite number of 0 or
 * more becomes unknown. A sample takes about 39 bytes.
 *
 * Subjects are slots (0 = the machine). Not safe for concurrent use. An append costs about
 * 20 ns.
 */
#ifndef AC_STORE_RECENT_H
#define AC_STORE_RECENT_H

#include <agentcore.h>

#include "model/sample.h"

struct recent;

/* @budget_bytes caps the samples; memory is taken as they come. Returns 0 or -ENOMEM. */
int recent_new(uint64_t keep_ns, size_t budget_bytes, struct recent **ret_recent);
void recent_free(struct recent *recent);

/* Appends; timestamps of one subject should not go back (one that does is kept in its place of
 * arrival). Returns 0 or -ENOMEM (not while there is an older block to give up). */
int recent_append(struct recent *recent, agent_slot slot, const struct ac_usage *usage);

/* Drops all of a subject. */
void recent_forget(struct recent *recent, agent_slot slot);

/* Samples with from <= timestamp <= to, oldest first, as one array (freed with mem_free).
 * Returns their number, 0 without an array, or -ENOMEM. */
int64_t recent_range(const struct recent *recent, agent_slot slot, int64_t from_ns, int64_t to_ns,
    struct ac_usage **ret_usages);

/* Oldest sample kept, 0 = none; memory in use. */
int64_t recent_oldest(const struct recent *recent, agent_slot slot);
size_t recent_memory(const struct recent *recent);

#endif
