/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_roll.h"

#include <errno.h>

#include "base/mem.h"

#define KIND_CONSTANT 1
#define KIND_TOTALS   2
#define KIND_CHANGING 1 /* of a minute section */
#define COUNT_MAX     ((uint64_t)1 << 40)

/* ---- Minutes ------------------------------------------------------------------------------ */

int roll_minutes_init(struct roll_minutes *ret_minutes, uint32_t n)
{
    struct roll_minutes minutes = {.n = n};
    minutes.samples = mem_alloc_array(n, sizeof(uint32_t));
    minutes.cells = mem_alloc_array(n, HIST_METRICS * sizeof(struct roll_cell));
    if (minutes.samples == NULL || minutes.cells == NULL) {
        roll_minutes_done(&minutes);
        return -ENOMEM;
    }
    *ret_minutes = minutes;
    return 0;
}

void roll_minutes_done(struct roll_minutes *minutes)
{
    mem_free(minutes->samples);
    mem_free(minutes->cells);
    *minutes = (struct roll_minutes){0};
}

static bool never_changes(const struct roll_minutes *minutes, const struct roll_cell *cells)
{
    const struct roll_cell *first = NULL;
    for (uint32_t i = 0; i < minutes->n; i++) {
        if (cells[i].known != minutes->samples[i])
            return false;
        if (cells[i].known == 0)
            continue;
        if (first == NULL)
            first = &cells[i];
        if (cells[i].min != first->min || cells[i].max != first->min)
            return false;
    }
    return first != NULL;
}

static int64_t cell_part(const struct roll_cell *cell, unsigned part)
{
    if (part == 0)
        return cell->known;
    if (cell->known == 0)
        return HIST_UNKNOWN;
    if (part == 1)
        return cell->sum;
    return part == 2 ? cell->min : cell->max - cell->min;
}

static void encode_cells(
    const struct roll_minutes *minutes, const struct roll_cell *cells, struct buf *out)
{
    int64_t values[HIST_COLUMN_MAX];
    if (never_changes(minutes, cells)) {
        uint32_t i = 0;
        while (cells[i].known == 0)
            i++;
        buf_put_u8(out, 0);
        buf_put_varint(out, (uint64_t)cells[i].min);
        return;
    }
    buf_put_u8(out, KIND_CHANGING);
    for (unsigned part = 0; part < 4; part++) {
        for (uint32_t i = 0; i < minutes->n; i++)
            values[i] = cell_part(&cells[i], part);
        struct column_stats stats = {0};
        if (column_encode(values, minutes->n, &stats, 0, out) < 0)
            out->failed = true;
    }
}

void roll_minutes_encode(const struct roll_minutes *minutes, struct buf *out)
{
    int64_t samples[HIST_COLUMN_MAX];
    for (uint32_t i = 0; i < minutes->n; i++)
        samples[i] = minutes->samples[i];
    struct column_stats stats = {0};
    column_encode(samples, minutes->n, &stats, 0, out);
    uint32_t mask = 0;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        for (uint32_t i = 0; i < minutes->n; i++)
            mask |= (uint32_t)(minutes->cells[m * minutes->n + i].known > 0) << m;
    }
    buf_put_varint(out, mask);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        if (mask >> m & 1)
            encode_cells(minutes, &minutes->cells[m * minutes->n], out);
    }
}

static void set_part(struct roll_cell *cell, unsigned part, int64_t value)
{
    if (part == 0) {
        *cell = (struct roll_cell){.known = value == HIST_UNKNOWN ? 0 : (uint32_t)value};
        return;
    }
    if (value == HIST_UNKNOWN)
        cell->known = 0;
    else if (part == 1)
        cell->sum = value;
    else if (part == 2)
        cell->min = value;
    else
        cell->max = wrap_add(cell->min, value);
}

static int decode_cells(
    struct byte_reader *r, const struct roll_minutes *minutes, struct roll_cell *cells)
{
    if (get_capped(r, KIND_CHANGING) == 0) {
        int64_t value = (int64_t)get_capped(r, HIST_VALUE_MAX);
        for (uint32_t i = 0; i < minutes->n; i++)
            cells[i] = (struct roll_cell){
                minutes->samples[i], wrap_mul(minutes->samples[i], value), value, value};
        return r->bad ? -EBADMSG : 0;
    }
    int64_t values[HIST_COLUMN_MAX];
    for (unsigned part = 0; part < 4; part++) {
        struct column_view view;
        if (column_read(r, minutes->n, 0, &view) < 0 || column_decode(&view, values) < 0)
            return -EBADMSG;
        for (uint32_t i = 0; i < minutes->n; i++)
            set_part(&cells[i], part, values[i]);
    }
    return 0;
}

int roll_minutes_decode(struct byte_reader *r, const struct roll_minutes *minutes)
{
    int64_t samples[HIST_COLUMN_MAX];
    struct column_view view;
    if (minutes->n == 0 || column_read(r, minutes->n, 0, &view) < 0 ||
        column_decode(&view, samples) < 0)
        return -EBADMSG;
    for (uint32_t i = 0; i < minutes->n; i++)
        minutes->samples[i] = samples[i] == HIST_UNKNOWN ? 0 : (uint32_t)samples[i];
    uint32_t mask = (uint32_t)get_capped(r, (1u << HIST_METRICS) - 1);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct roll_cell *cells = &minutes->cells[m * minutes->n];
        if (!(mask >> m & 1))
            memset(cells, 0, minutes->n * sizeof(*cells));
        else if (decode_cells(r, minutes, cells) < 0)
            return -EBADMSG;
    }
    return r->bad ? -EBADMSG : 0;
}

/* ---- Hours and days ----------------------------------------------------------------------- */

void roll_clear(struct roll_record *record)
{
    record->samples = 0;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct roll_stats *s = &record->metrics[m];
        sketch_clear(&s->sketch);
        s->known = 0;
        s->min = s->max = s->sum = s->integral = 0;
        s->has_totals = false;
        s->total_start = s->total_end = 0;
    }
}

static void join(struct roll_stats *s, uint64_t known, int64_t min, int64_t max)
{
    s->min = s->known == 0 || min < s->min ? min : s->min;
    s->max = s->known == 0 || max > s->max ? max : s->max;
    s->known += known;
}

static void join_totals(struct roll_stats *s, uint64_t start, uint64_t end)
{
    row_join_totals(!s->has_totals, &s->total_start, &s->total_end, start, end);
    s->has_totals = true;
}

static void add_metric(struct roll_stats *s, const struct row_axis *axis,
    const struct row_section *section, const int64_t *values)
{
    int64_t usual = row_usual_step(axis);
    for (uint32_t i = 0; i < section->n; i++) {
        if (values[i] == HIST_UNKNOWN)
            continue;
        uint64_t step = (uint64_t)row_step(axis, section->first + i, usual);
        join(s, 1, values[i], values[i]);
        s->sum = wrap_add(s->sum, values[i]);
        s->integral = wrap_add(s->integral, (int64_t)((uint64_t)values[i] * step));
        sketch_add(&s->sketch, (uint64_t)values[i]);
    }
}

void roll_add(
    struct roll_record *record, const struct row_axis *axis, const struct row_section *section)
{
    for (uint32_t i = 0; i < section->n; i++)
        record->samples += section->present[i] != HIST_UNKNOWN;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct roll_stats *s = &record->metrics[m];
        if (section->metrics[m] != NULL)
            add_metric(s, axis, section, section->metrics[m]);
        int counter = hist_metric_info(m)->counter;
        if (counter >= 0 && section->totals.known >> counter & 1)
            join_totals(s, section->totals.start[counter], section->totals.end[counter]);
    }
}

static void encode_stats(const struct roll_stats *s, uint64_t samples, struct buf *out)
{
    bool constant = s->known == samples && s->min == s->max;
    buf_put_u8(out, (uint8_t)((constant ? KIND_CONSTANT : 0) | (s->has_totals ? KIND_TOTALS : 0)));
    if (constant) {
        buf_put_varint(out, (uint64_t)s->min);
    } else {
        buf_put_varint(out, s->known);
        buf_put_varint(out, (uint64_t)s->min);
        buf_put_varint(out, (uint64_t)(s->max - s->min));
        buf_put_signed(out, wrap_sub(s->sum, (int64_t)(s->known * (uint64_t)s->min)));
    }
    buf_put_signed(out, s->integral);
    if (s->has_totals) {
        buf_put_varint(out, s->total_start);
        buf_put_varint(out, s->total_end - s->total_start);
    }
    if (!constant)
        sketch_encode(&s->sketch, out);
}

void roll_encode(const struct roll_record *record, struct buf *out)
{
    uint32_t mask = 0;
    for (unsigned m = 0; m < HIST_METRICS; m++)
        mask |= (uint32_t)(record->metrics[m].known > 0 || record->metrics[m].has_totals) << m;
    buf_put_varint(out, record->samples);
    buf_put_varint(out, mask);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        if (mask >> m & 1)
            encode_stats(&record->metrics[m], record->samples, out);
    }
}

static int merge_stats(struct roll_stats *s, struct byte_reader *r, uint64_t samples)
{
    unsigned kind = get_u8(r);
    bool constant = kind & KIND_CONSTANT;
    uint64_t known = constant ? samples : get_capped(r, COUNT_MAX);
    int64_t min = (int64_t)get_capped(r, HIST_VALUE_MAX);
    int64_t max = constant ? min : min + (int64_t)get_capped(r, HIST_VALUE_MAX);
    int64_t sum = (int64_t)(known * (uint64_t)min);
    if (!constant)
        sum = wrap_add(sum, get_signed(r));
    int64_t integral = get_signed(r);
    if (kind & KIND_TOTALS) {
        uint64_t start = get_varint(r);
        uint64_t grown = get_varint(r);
        if (!r->bad)
            join_totals(s, start, start + grown);
    }
    if (r->bad || kind > (KIND_CONSTANT | KIND_TOTALS))
        return -EBADMSG;
    if (known > 0)
        join(s, known, min, max);
    s->sum = wrap_add(s->sum, sum);
    s->integral = wrap_add(s->integral, integral);
    if (constant) {
        sketch_add_many(&s->sketch, (uint64_t)min, known);
        return 0;
    }
    return sketch_merge(&s->sketch, r);
}

int roll_merge(struct roll_record *record, struct byte_reader *r, int only)
{
    static _Thread_local struct roll_stats ignored;
    uint64_t samples = get_capped(r, COUNT_MAX);
    uint32_t mask = (uint32_t)get_capped(r, (1u << HIST_METRICS) - 1);
    record->samples += samples;
    for (unsigned m = 0; m < HIST_METRICS && !r->bad; m++) {
        if (!(mask >> m & 1))
            continue;
        bool wanted = only < 0 || (unsigned)only == m;
        int result = merge_stats(wanted ? &record->metrics[m] : &ignored, r, samples);
        if (result < 0)
            return result;
        if ((unsigned)only == m)
            return 0;
    }
    return r->bad ? -EBADMSG : 0;
}
