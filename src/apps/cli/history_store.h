/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history verify, export and import. All return an exit status after printing why. */
#ifndef AC_CLI_HISTORY_STORE_H
#define AC_CLI_HISTORY_STORE_H

#include "apps/cli/cli.h"

/* Checks the history of a daemon that does not run: one line per finding, EXIT_FAILED with any. */
int history_verify_state(const struct cli *cli, const char *state);

/* The same of the daemon that runs, by itself. */
int history_verify_daemon(struct cli *cli);

/* Writes what there is in the span to @path ("-" = standard output), from the directory of a
 * daemon that does not run, or (@state NULL) from the daemon. */
int history_export(
    struct cli *cli, const char *state, const char *path, int64_t from_ns, int64_t to_ns);

/* Puts the samples of the file @path ("-" = standard input) into a state directory, which is made
 * where it is missing and must hold no history of the same time or later. */
int history_import(const struct cli *cli, const char *state, const char *path);

/* The history in a state directory. Returns 0 or an exit status. */
struct history;
int history_open_state(
    const struct cli *cli, const char *state, bool make, struct history **ret_history);

#endif
