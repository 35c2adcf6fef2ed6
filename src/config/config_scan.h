/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands where in a configuration file. libcyaml knows the schema but neither the line of a
 * value nor what to say about it; this pass over the same text knows the lines, and refuses what
 * no configuration needs: aliases, several documents, keys twice, deep nesting.
 */
#ifndef AC_CONFIG_SCAN_H
#define AC_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum mark_shape { MARK_SCALAR, MARK_MAPPING, MARK_SEQUENCE };

/* A key of the file, at the top or in a section. Deeper ones are not kept. */
struct mark {
    char *section; /* "" = at the top */
    char *name;
    int line; /* of the key, from 1 */
    enum mark_shape shape;
    bool empty;    /* a scalar without characters */
    size_t length; /* of the scalar */
};

struct marks {
    struct mark *items;
    size_t count;
};

void marks_done(struct marks *marks);

/* Fills @ret_marks (empty at entry, to be released also on failure). No keys at all is fine.
 * Returns 0; -EINVAL with "FILE:LINE: what" in @error; -ENOMEM. */
int marks_scan(const char *file, const char *text, size_t size, struct marks *ret_marks,
    struct ac_error *error);

/* NULL where the file has no such key. */
const struct mark *marks_find(const struct marks *marks, const char *section, const char *name);

#endif
