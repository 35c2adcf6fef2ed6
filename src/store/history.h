/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Usage history on disk. One call per tick hands over all subjects; queries name a subject and a
 * span of wall time and get rows of a fixed step.
 */
#ifndef AC_STORE_HISTORY_H
#define AC_STORE_HISTORY_H

#include "store/store.h"

struct history;

struct history_options {
    uint64_t keep_minutes_ns; /* how long minute rows stay */
};

/* Works inside @store's database (borrowed, closed later than this; NULL = no history: ticks are
 * accepted and dropped, ranges are empty). Returns 0 or -ENOMEM. */
int history_open(struct store *store, const struct history_options *options,
    struct history **ret_history, struct ac_error *error);

/* Writes what is still in memory. */
void history_close(struct history *history);

struct history_row {
    const char *subject; /* agent id, "" = the machine */
    const struct ac_usage *usage;
};

/* One tick. @when_ns: wall; it may go back. Rows are written when their minute has ended, so that
 * is when a failure shows: it loses nothing that was committed before, leaves that minute a gap and
 * may be followed by further ticks. At most 200,000 subjects in one minute; further ones are left
 * out. Returns 0 or -errno. */
int history_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error);

/* A step of history: unknown values have no bit in .known of all three. */
struct history_point {
    int64_t from_ns;
    uint64_t step_ns;
    uint32_t samples;
    struct ac_usage mean;
    struct ac_usage min;
    struct ac_usage max;
};

typedef int (*history_fn)(void *userdata, const struct history_point *point);

/* Points of @subject with from <= point.from_ns < to, oldest first, in steps of at least
 * @step_ns (rounded up to what is stored). Gaps have no point. A non-zero return of @each ends
 * it and is returned. At most @limit points. */
int history_range(struct history *history, const char *subject, int64_t from_ns, int64_t to_ns,
    uint64_t step_ns, uint32_t limit, history_fn each, void *userdata, struct ac_error *error);

/* Subjects that were seen before the end and after the start of the span (and may have a gap
 * there): up to @limit, those on disk by name, then those seen only in this minute. */
int history_subjects(struct history *history, int64_t from_ns, int64_t to_ns, uint32_t limit,
    int (*each)(void *userdata, const char *subject), void *userdata, struct ac_error *error);

#endif
