/* SPDX-License-Identifier: Apache-2.0 */
/* A merge in progress: inside hist_merge.c, hist_merge_steady.c and hist_day.c. */
#ifndef AC_STORE_HIST_MERGE_H
#define AC_STORE_HIST_MERGE_H

#include "store/hist_internal.h"

/* A row that is merged. */
struct merge_source {
    int64_t id;
    uint8_t *bytes;
    size_t size;
    struct row_axis axis;
    uint32_t offset; /* of its ticks in the merged axis */
    bool damaged;
};

/* A section of a source. */
struct merge_unit {
    uint64_t subject;
    uint32_t slot;
    uint32_t source;
    struct row_entry entry;
};

struct hist_merge {
    bool active;
    bool written; /* in the transaction that is open */
    uint32_t group;
    uint32_t next_group;
    struct merge_source sources[MERGE_CHUNKS_MAX];
    uint32_t n_sources;
    struct merge_unit *units; /* sections of all sources, by subject */
    uint32_t n_units;
    uint32_t units_room;
    uint32_t next_unit;
    struct row_axis axis;
    struct row_axis minutes_axis;
    uint32_t *minute_of;   /* of each tick */
    uint32_t *minute_from; /* first tick of each minute, and the number of ticks */
    uint64_t *elapsed_ms;  /* before each tick, and at the end: the sum of row_step */
    int64_t *buffer;       /* present and metrics of the merged axis */
    struct column_run *runs;
    struct roll_minutes minutes;
    struct roll_record *record;
    struct row_builder merged_row;
    struct row_builder minute_row;
    struct buf hours; /* of each agent: subject, slot, size (varints), body */
};

/* Of row_read with a struct hist_merge: takes a section as one of source .next_unit. */
int merge_take_unit(void *userdata, const struct row_entry *entry);
int merge_compare_units(const void *a, const void *b); /* by subject, then source */

/* Adds the sections of a subject to the rows. @views: one of each source; the agent was there
 * at every tick of every source. Returns 0, -EBADMSG where a column is damaged (nothing was
 * added), -ENOMEM. */
int merge_add_steady(
    struct hist_merge *merge, const struct merge_unit *first_unit, const struct row_view *views);

/* Adds what is in .minutes and .record to the rows of minutes and hours. 0 or -ENOMEM. */
int merge_add_rollups(struct hist_merge *merge, uint64_t subject, uint32_t slot);

/* ---- hist_day.c */

/* Writes a day where enough hours have come together since the last one. */
int hist_day_step(struct history *history, uint32_t group, struct ac_error *error);

#endif
