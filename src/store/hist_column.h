/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Column codec: the values of one metric of one agent over up to 4,096 ticks.
 *
 * Layout of a column:
 *
 *     mode        byte: bits 0-2 enum column_mode, bit 3 has unknown runs, bit 4 has a divisor,
 *                 bit 5 has totals, bit 6 more bits of a number are modelled
 *     [runs]      varint number of runs, then their lengths as varints: known, unknown, known ...
 *     first       varint; the rest only where a value is known, and up to the totals only
 *                 where the mode is not CONSTANT:
 *     first-min, max-first   varints
 *     sum         signed varint: sum - count * first
 *     [divisor]   varint: every value - min is a multiple of it
 *     [totals]    varint at the start, signed varint: growth - what sum and time predict
 *     size        varint, then that many bytes of range coder (of mode CHANGES: of varints)
 *
 * Values are >= 0 and at most HIST_VALUE_MAX. A value becomes (value - min) / divisor. VALUE
 * codes that number (frame of reference), DELTA its difference to the one before, RUNS the
 * same with the zero differences counted instead of coded one by one. A number is coded as its
 * bit length (adaptive, in the context of the bit length before), the 4 bits below its leading
 * one (adaptive; 9 where bit 6 is set), and the rest raw. All models start from trained
 * probabilities (hist_priors.c). The encoder picks the mode that an estimate finds shortest.
 *
 * CHANGES is for columns that live for an hour, until they are merged, and change seldom: of
 * each change the ticks since the one before (since the first tick) as a varint and the signed
 * difference; every value is known and there is no divisor.
 *
 * Pure functions; any thread.
 */
#ifndef AC_STORE_HIST_COLUMN_H
#define AC_STORE_HIST_COLUMN_H

#include "base/buf.h"
#include "store/hist_bytes.h"

#define HIST_COLUMN_MAX 4096
#define HIST_VALUE_MAX  ((int64_t)1 << 56)
#define HIST_UNKNOWN    INT64_MIN

enum column_mode {
    COLUMN_UNKNOWN, /* no value is known: nothing follows */
    COLUMN_CONSTANT,
    COLUMN_VALUE,
    COLUMN_DELTA,
    COLUMN_RUNS,
    COLUMN_CHANGES,
    COLUMN_MODE_COUNT
};

/* What a column says without being decoded. */
struct column_stats {
    uint32_t count; /* known values; 0 = the others mean nothing */
    int64_t min;
    int64_t max;
    int64_t first;
    int64_t sum;
    bool has_totals;
    uint64_t total_start; /* exact counter before the first tick and at the last */
    uint64_t total_end;
};

/* Encodes @n (1-HIST_COLUMN_MAX) values, each HIST_UNKNOWN or 0-HIST_VALUE_MAX, and appends.
 * Of @stats, the totals are read and the rest is filled in. @growth is the predicted growth of
 * the totals per unit of sum, in 1/1024. Returns 0, or -ENOMEM with
 * @out marked as failed. */
int column_encode(
    const int64_t *values, size_t n, struct column_stats *stats, uint64_t growth, struct buf *out);

/* Encodes a column of the open chunk over its first @n ticks as CONSTANT or CHANGES. Returns 1;
 * 0 where column_encode must do it (unknown values, many changes), with nothing appended; or
 * -ENOMEM with @out marked as failed. */
struct tail_stream;
int column_encode_changes(const struct tail_stream *stream, uint32_t n, struct column_stats *stats,
    uint64_t growth, struct buf *out);

/* Encodes a column that is known throughout from its runs of equal values, of which two
 * neighbours differ, as column_encode would. Returns 0, or -ENOMEM with @out marked as failed. */
struct column_run {
    int64_t value;
    uint32_t ticks;
};
int column_encode_runs(const struct column_run *runs, uint32_t n_runs, struct column_stats *stats,
    uint64_t growth, struct buf *out);

/* Reads the header of a column; @reader is then behind the column, whose payload stays where it
 * is. Returns 0 or -EBADMSG. */
struct column_view {
    struct column_stats stats;
    enum column_mode mode;
    bool deep; /* more bits are modelled */
    uint64_t divisor;
    uint32_t n;
    uint32_t n_runs;
    const uint8_t *runs;
    const uint8_t *runs_end;
    const uint8_t *payload;
    size_t payload_size;
};
int column_read(
    struct byte_reader *reader, size_t n, uint64_t growth, struct column_view *ret_view);

/* Decodes all n values (HIST_UNKNOWN where unknown). Returns 0, or -EBADMSG where a value is out
 * of [min, max]. */
int column_decode(const struct column_view *view, int64_t *ret_values);

/* Appends the runs of a column of mode CONSTANT or CHANGES without unknown values to @runs, of
 * which there are *@n_runs, joining equal ones; there is room for a run per tick. Returns 0 or
 * -EBADMSG. */
int column_read_runs(const struct column_view *view, struct column_run *runs, uint32_t *n_runs);

/* ---- Between hist_column.c and hist_changes.c */
void column_put_head(enum column_mode mode, const struct column_stats *stats, uint64_t divisor,
    uint64_t growth, struct buf *out); /* where every value is known */
int column_decode_changes(const struct column_view *view, int64_t *ret_values);

#endif
