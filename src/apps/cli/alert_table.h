/* SPDX-License-Identifier: Apache-2.0 */
/* Alerts as people see them. */
#ifndef AC_CLI_ALERT_TABLE_H
#define AC_CLI_ALERT_TABLE_H

#include "apps/cli/cli.h"

enum style alert_style(const char *severity);

/* A value in the resource's unit: "91.2%", "120 MiB/s", "950". */
const char *alert_value(char out[TEXT_SHORT], const json_t *alert, const char *path);

/* "firing", "acknowledged", "resolved". */
const char *alert_state(const json_t *alert);

/* A table of an array of alert objects. Returns 0 or -ENOMEM. */
int alert_table(const json_t *alerts, struct table **ret_table);

#endif
