/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon: one sd-event loop that owns all state. daemon.c wires and ticks, persist.c keeps the
 * store in step with the events, control.c does what the API asks of processes.
 */
#ifndef AC_DAEMON_DAEMON_H
#define AC_DAEMON_DAEMON_H

#include "config/config.h"
#include "options.h"

struct daemon;

/* Takes @config over, also on failure. Opens everything; nothing is sampled yet. */
int daemon_new(const struct options *options, struct config *config, struct daemon **ret_daemon,
    struct ac_error *error);

/* Runs until SIGTERM or SIGINT. Returns 0 or -errno. */
int daemon_run(struct daemon *daemon);

/* Stops, writes what is left, closes. NULL is fine. */
void daemon_free(struct daemon *daemon);

#endif
