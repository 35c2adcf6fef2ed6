/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's command line. */
#ifndef AC_DAEMON_OPTIONS_H
#define AC_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "config/config.h"

enum options_action {
    OPTIONS_RUN,
    OPTIONS_CHECK,   /* --check-config */
    OPTIONS_EXAMPLE, /* --print-config: the commented example */
    OPTIONS_DOCS,    /* --print-config-docs: the table of keys in Markdown */
    OPTIONS_EXIT,    /* help or version were printed */
};

/* Strings are borrowed from argv. */
struct options {
    enum options_action action;
    const char *config_path; /* NULL: the default path where it exists, else defaults */
    const char *socket;      /* NULL = as configured; the same for the rest */
    const char *state;
    const char *log_level;
    const char *interval;
};

/* Returns 0, or -EINVAL after a line on standard error. */
int options_parse(int argc, char **argv, struct options *ret_options);

/* The configuration file with the command line's values over it. */
int options_load_config(
    const struct options *options, struct config *ret_config, struct ac_error *error);

#endif
