/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_roll.h"

#include <errno.h>

#include "base/mem.h"

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

static void add_metric(struct roll_stats *s, const struct row_axis *axis,
    const struct row_section *section, const int64_t *values)
{
    int64_t usual = row_usual_step(axis);
    for (uint32_t i = 0; i < section->n; i++) {
        if (values[i] == HIST_UNKNOWN)
            continue;
        uint64_t step = (uint64_t)row_step(axis, section->first + i, usual);
        s->min = s->known == 0 ? values[i] : MIN(s->min, values[i]);
        s->max = s->known == 0 ? values[i] : MAX(s->max, values[i]);
        s->known++;
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
        if (counter < 0 || !(section->totals.known >> counter & 1))
            continue;
        row_join_totals(!s->has_totals, &s->total_start, &s->total_end,
            section->totals.start[counter], section->totals.end[counter]);
        s->has_totals = true;
    }
}
