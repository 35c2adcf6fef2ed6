/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `run` without a daemon: this process stays as the parent of the command, passes signals and
 * job control on, reaps everything that loses its parent below it, meters the tree, and says at
 * the end what was used.
 */
#ifndef AC_CLI_RUN_STANDALONE_H
#define AC_CLI_RUN_STANDALONE_H

#include <signal.h>

#include "apps/cli/cli.h"
#include "apps/cli/run_meter.h"

struct standalone {
    struct agent_spec spec; /* .root_pid is filled in */
    char **command;         /* ends with NULL */
    bool kill_orphans;      /* end what the command leaves behind */
    bool quiet;             /* no summary for people */
};

/* How it went, for the summary. */
struct standalone_result {
    int exit_code; /* the command's own, 128 + n for a signal, 126, 127 */
    bool started;  /* false: it could not be executed */
    double wall_seconds;
    bool metered; /* .totals are filled */
    struct meter_totals totals;
    uint64_t orphans;             /* descendants that outlived the command */
    uint64_t killed;              /* of these, ended by us */
    struct meter_process left[8]; /* some of those that still live */
    size_t n_left;
};

/* Runs the command to its end. Returns the exit status of the program. */
int run_standalone(struct cli *cli, struct standalone *standalone);

/* Signals and children (run_child.c). */

/* What the parent was born with and the command must get. */
struct child_setting {
    sigset_t mask;
    struct sigaction chld, pipe, tstp;
};

/* Becomes a subreaper and blocks the signals that are passed on. Returns 0 or -errno. */
int child_prepare(struct child_setting *ret_setting);

/* Starts the command. Returns 0; or -errno where it cannot be executed. */
int child_start(
    const struct child_setting *setting, char *const *command, const char *id, pid_t *ret_pid);

/* Waits until @due for a signal and deals with it: passes it on, stops with the command. */
void child_wait(const struct child_setting *setting, pid_t pid, struct mono due);

/* Reaps whatever has ended, the command included, into @meter (may be NULL). Returns 1 when the
 * command ended with *ret_status (of waitpid), 0 otherwise, -ECHILD where no child is left. */
int child_reap(pid_t pid, struct meter *meter, int *ret_status);

/* The summary (run_report.c): for people, or one JSON object on one line. */
void report_people(
    const struct cli *cli, const struct standalone *run, const struct standalone_result *result);
void report_json(const struct standalone *run, const struct standalone_result *result);

#endif
