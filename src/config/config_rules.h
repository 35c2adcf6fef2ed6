/* SPDX-License-Identifier: Apache-2.0 */
/* The list of rules of the discovery section, the one list in the configuration. */
#ifndef AC_CONFIG_CONFIG_RULES_H
#define AC_CONFIG_CONFIG_RULES_H

#include "config/config.h"

/* Reads discovery.rules from @text, which is YAML already, and sets the rules of @config. Returns
 * 0; -EINVAL with "FILE:LINE: discovery.rules[1].KEY: what" in @error; -ENOMEM. */
int rules_load(
    const char *file, const char *text, size_t size, struct config *config, struct ac_error *error);

/* What the example file and the documentation say of the list. */
void rules_write_example(struct buf *out);
void rules_write_markdown(struct buf *out);

#endif
