/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentcore replay --usage: a line per agent and sample, as CSV or JSON. Unknown values are empty
 * fields or null. The interval of an agent's first line has no rates.
 */
#ifndef AC_CLI_REPLAY_USAGE_H
#define AC_CLI_REPLAY_USAGE_H

#include "apps/cli/cli.h"
#include "policy/registry.h"

struct replay_usage;

/* Returns 0 or -ENOMEM. Prints the heading of CSV. */
int replay_usage_new(bool json, struct replay_usage **ret_usage);
void replay_usage_free(struct replay_usage *usage);

/* All agents after a sample of @now. Returns 0, -ENOMEM, or -EIO where standard output ended. */
int replay_usage_print(
    struct replay_usage *usage, const struct registry *registry, struct moment now);

#endif
