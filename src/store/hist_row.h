/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk row: the ticks of one group of agents, and of each agent a section of columns.
 *
 * Layout:
 *
 *     version     byte: 2 (1 was never released)
 *     registry    byte: version of the metric registry
 *     ticks       varint: n, 1-4,096
 *     start       signed varint: time of the first tick, ms
 *     least       signed varint, then a column of n - 1 steps less that (only where n > 1)
 *     capacity    two columns of n: cpu, memory (0 = unknown)
 *     sections    varint: how many; for each of them
 *         subject, slot in group, first tick, ticks, bytes    varints
 *     crc         CRC-32C of the bytes so far
 *     sections    in the order of the directory; each
 *         crc     CRC-32C of its bytes behind this field
 *         present column of its ticks: 1 where the agent was there, else unknown
 *         metrics varint: a bit for each metric that follows, then their columns in order
 *
 * Everything inside a section is relative to its own ticks. Reading a section needs the head of
 * the row and that section, nothing of the other agents.
 */
#ifndef AC_STORE_HIST_ROW_H
#define AC_STORE_HIST_ROW_H

#include "base/buf.h"
#include "store/hist_metric.h"

#define ROW_VERSION      2
#define ROW_SECTIONS_MAX 4096

struct row_axis {
    uint32_t n;
    int64_t *times_ms; /* n of each */
    int64_t *cpu_capacity;
    int64_t *memory_capacity;
};

int row_axis_init(struct row_axis *ret_axis, uint32_t n); /* 0, -ENOMEM */
void row_axis_done(struct row_axis *axis);

/* The capacity at a tick. */
static inline struct hist_capacity row_capacity(const struct row_axis *axis, uint32_t tick)
{
    return (struct hist_capacity){
        (uint64_t)axis->cpu_capacity[tick], (uint64_t)axis->memory_capacity[tick]};
}

/* Exact counters of a section before its first tick and at its last; .known: a bit for each. */
struct row_totals {
    uint32_t known;
    uint64_t start[HIST_COUNTERS];
    uint64_t end[HIST_COUNTERS];
};

/* A section in memory: present[i] is 1 or HIST_UNKNOWN; metrics are rows of n values. */
struct row_section {
    uint64_t subject;
    uint32_t slot;
    uint32_t first;
    uint32_t n;
    struct row_totals totals;
    const int64_t *present;
    const int64_t *metrics[HIST_METRICS]; /* NULL = all unknown */
};

/* Builds a row section by section. Zeroed = empty. */
struct row_builder {
    struct buf directory;
    struct buf sections;
    uint32_t count;
};
void row_builder_done(struct row_builder *builder);
int row_add(
    struct row_builder *builder, const struct row_axis *axis, const struct row_section *section);

/* The same for a body that is encoded already. */
int row_add_body(
    struct row_builder *builder, const struct row_section *section, const void *body, size_t size);

/* Puts the head in front. Returns 0 or -ENOMEM. */
int row_finish(struct row_builder *builder, const struct row_axis *axis, struct buf *out);

/* One entry of the directory, and where its bytes are. */
struct row_entry {
    uint64_t subject;
    uint32_t slot;
    uint32_t first;
    uint32_t n;
    const uint8_t *bytes;
    size_t size;
};

/* Reads the head. @each is called for each section in order; non-zero ends it and is returned.
 * @axis is filled where not NULL (row_axis_done by the caller also on failure; pass it zeroed).
 * Returns 0; -EBADMSG; -EPROTO for a newer version; -ENOMEM. */
typedef int (*row_entry_fn)(void *userdata, const struct row_entry *entry);
int row_read(
    const void *bytes, size_t size, struct row_axis *axis, row_entry_fn each, void *userdata);

/* A section's columns, read but not decoded. */
struct row_view {
    uint32_t n;
    uint32_t mask; /* of metrics */
    struct column_view present;
    struct column_view metrics[HIST_METRICS];
};

/* The body of a section behind its CRC. Returns 0 or -EBADMSG. */
int row_body(const struct row_entry *entry, struct byte_reader *ret_reader);

/* Checks the CRC and reads the heads of the columns. @axis is the row's. 0 or -EBADMSG. */
int row_section_read(
    const struct row_entry *entry, const struct row_axis *axis, struct row_view *ret_view);

/* The median step between ticks in ms, at least 1: what a tick stands for where there was a gap. */
int64_t row_usual_step(const struct row_axis *axis);

/* How long the tick at @i stood: the step before it, or the usual one at the start and behind a
 * gap of more than three of those; 0 where the clock went back. */
int64_t row_step(const struct row_axis *axis, uint32_t i, int64_t usual_ms);

/* Puts the next stretch of a counter behind another; one that starts lower started anew. */
static inline void row_join_totals(
    bool first, uint64_t *start, uint64_t *end, uint64_t next_start, uint64_t next_end)
{
    if (first)
        *start = next_start;
    *end = first || next_start >= *end ? next_end : *end + (next_end - next_start);
}

/* Counter growth per unit of sum in 1/1024, see column_encode. */
uint64_t row_growth(const struct row_axis *axis, unsigned metric);

#endif
