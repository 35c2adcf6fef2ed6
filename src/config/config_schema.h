/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of settings as a libcyaml schema: the shape of the file (which keys, in which
 * sections, single values) is libcyaml's business; every value arrives as text, so that numbers,
 * units and ranges are read by base/parse alone.
 */
#ifndef AC_CONFIG_SCHEMA_H
#define AC_CONFIG_SCHEMA_H

#include <stddef.h>

#include "base/error.h"

/* Called for each setting that the file gives, by its index in the table. */
typedef int (*config_text_fn)(void *userdata, size_t setting, const char *text);

/* Loads @text and calls @each. Returns 0; what @each returned where not 0; -ENOMEM; or -EINVAL
 * with libcyaml's own words in @ret_problem. */
int schema_load(const char *text, size_t size, config_text_fn each, void *userdata,
    char *ret_problem, size_t problem_size);

enum { SCHEMA_TEXT_MAX = 4200 }; /* longest value, in bytes */

#endif
