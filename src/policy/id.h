/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids of what policies make: "<prefix>-<seed in base 36>-<counter>", e.g. "al-kq3v9x1c2f-17". The
 * seed (wall time of the start) keeps the ids of two runs apart, the counter those of one run.
 */
#ifndef AC_POLICY_ID_H
#define AC_POLICY_ID_H

#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 40 /* of every id field in agentcore.h; the longest id has 39 characters */

struct id_source {
    char prefix[21]; /* up to and with the second '-' */
    uint64_t last;
};

/* @prefix: at most 5 letters. */
void id_source_init(struct id_source *ret_source, const char *prefix, uint64_t seed);

/* Writes the next id into @ret_id. */
void id_next(struct id_source *source, char ret_id[ID_SIZE]);

/* Takes note of an id that exists already (restored from the store), so that it is not made
 * again where the seed is the same. */
void id_seen(struct id_source *source, const char *id);

#endif
