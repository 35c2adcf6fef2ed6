/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rollups of one agent: sections of minute rows, and records of hours and days.
 *
 * A minute row has the container of a chunk row (hist_row.h); its axis holds the starts of the
 * minutes. The body of a section is one stream of the range coder (hist_roll_minutes.c).
 *
 * An hour or day row has an axis of two ticks, the times of its first and last sample. The body
 * of a section is a head and a stream for each metric (hist_roll_hours.c).
 *
 * Cells and records are of real values: minimum and maximum occur, the sum is between what they
 * allow, and a sketch counts what is known. Encoding takes that for granted, decoding checks it.
 *
 * Pure functions; any thread.
 */
#ifndef AC_STORE_HIST_ROLL_H
#define AC_STORE_HIST_ROLL_H

#include "store/hist_row.h"
#include "store/hist_sketch.h"

struct roll_cell {
    uint32_t known; /* 0: the rest means nothing */
    int64_t sum;
    int64_t min;
    int64_t max;
};

/* The minutes of a section: cells[metric * n + minute], samples[minute]. */
struct roll_minutes {
    uint32_t n;
    uint32_t *samples;
    struct roll_cell *cells;
};
int roll_minutes_init(struct roll_minutes *ret_minutes, uint32_t n);
void roll_minutes_done(struct roll_minutes *minutes);

void roll_minutes_encode(const struct roll_minutes *minutes, struct buf *out);

/* @minutes is initialised for the section's n. Returns 0 or -EBADMSG. */
int roll_minutes_decode(struct byte_reader *reader, const struct roll_minutes *minutes);

/* An hour or a day of one metric, and of an agent. */
struct roll_stats {
    uint64_t known;
    int64_t min;
    int64_t max;
    int64_t sum;
    int64_t integral; /* value * ms */
    bool has_totals;
    uint64_t total_start;
    uint64_t total_end;
    struct sketch sketch;
};

struct roll_record {
    uint64_t samples;
    struct roll_stats metrics[HIST_METRICS];
};

void roll_clear(struct roll_record *record);

/* Adds a decoded section of a row with this axis. */
void roll_add(
    struct roll_record *record, const struct row_axis *axis, const struct row_section *section);

void roll_encode(const struct roll_record *record, struct buf *out);

/* Adds an encoded record (later in time than what is there). @only: a metric, or -1 for all.
 * Returns 0 or -EBADMSG. */
int roll_merge(struct roll_record *record, struct byte_reader *reader, int only);

#endif
