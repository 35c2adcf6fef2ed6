/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by hist_top.c (adding up, rows) and hist_top_ask.c (questions). */
#ifndef AC_STORE_HIST_TOP_H
#define AC_STORE_HIST_TOP_H

#include "store/hist_internal.h"
#include "store/hist_top_row.h"

#define MINUTE_ROWS_KEPT 180
#define NO_PERIOD        INT64_MIN /* nothing was added up yet */

enum top_level { TOP_MINUTE, TOP_HOUR, TOP_LEVELS };

extern const int64_t top_level_ms[TOP_LEVELS];

struct hist_top {
    uint32_t room;
    uint32_t n;
    int64_t period[TOP_LEVELS]; /* that is being added up */
    struct top_sums sums[TOP_LEVELS][HIST_METRICS];
};

static inline int64_t top_period(enum top_level level, int64_t when_ms)
{
    return when_ms < 0 ? 0 : when_ms / top_level_ms[level];
}

/* The minutes from @first to before @end have all rows, those of hours too; none: both 0. 0,
 * -errno.
 */
int top_row_span(struct hist_db *db, int64_t *ret_first, int64_t *ret_end, struct ac_error *error);

/* Reads a row. The bytes are the statement's. 1, 0 where there is none, -errno. */
int top_row_get(struct hist_db *db, enum top_level level, int64_t period, unsigned metric,
    sqlite3_stmt **statement, const void **ret_bytes, size_t *ret_size, struct ac_error *error);

#endif
