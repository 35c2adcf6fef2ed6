/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging: six chunks of a group become one row, its minutes and its hour; 24 hours a day.
 *
 * A merge is spread over ticks, a few agents at each; its rows are written and its sources
 * deleted in one transaction at the end. What is unfinished at a crash starts again.
 */
#include "store/hist_merge.h"

#include <errno.h>
#include <string.h>

#define HOUR_ROW     1300 /* bytes: three are in a page, of twice the size one alone */
#define HOUR_ROW_MAX 3900 /* what is larger has pages of its own */

int hist_merge_new(struct hist_merge **ret_merge)
{
    struct hist_merge *merge = mem_alloc(sizeof(*merge));
    if (merge == NULL)
        return -ENOMEM;
    merge->record = mem_alloc(sizeof(*merge->record));
    if (merge->record == NULL) {
        mem_free(merge);
        return -ENOMEM;
    }
    *ret_merge = merge;
    return 0;
}

/* Forgets the merge in progress. */
static void reset(struct hist_merge *merge)
{
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        mem_free(merge->sources[i].bytes);
        row_axis_done(&merge->sources[i].axis);
    }
    memset(merge->sources, 0, sizeof(merge->sources));
    merge->n_sources = merge->n_units = merge->next_unit = 0;
    row_axis_done(&merge->axis);
    row_axis_done(&merge->minutes_axis);
    mem_free(merge->minute_of);
    mem_free(merge->minute_from);
    mem_free(merge->elapsed_ms);
    mem_free(merge->buffer);
    mem_free(merge->runs);
    merge->minute_of = merge->minute_from = NULL;
    merge->elapsed_ms = NULL;
    merge->buffer = NULL;
    merge->runs = NULL;
    roll_minutes_done(&merge->minutes);
    row_builder_done(&merge->merged_row);
    row_builder_done(&merge->minute_row);
    buf_done(&merge->hours);
    merge->merged_row = merge->minute_row = (struct row_builder){0};
    merge->active = merge->written = false;
}

void hist_merge_free(struct hist_merge *merge)
{
    if (merge == NULL)
        return;
    reset(merge);
    mem_free(merge->units);
    mem_free(merge->record);
    mem_free(merge);
}

/* ---- Beginning ---------------------------------------------------------------------------- */

static int take_source(void *userdata, int64_t id, int64_t end_ms, const void *bytes, size_t size)
{
    (void)end_ms;
    struct hist_merge *merge = userdata;
    if (merge->n_sources == MERGE_CHUNKS_MAX)
        return 1;
    struct merge_source *source = &merge->sources[merge->n_sources];
    source->bytes = mem_alloc(size + 1);
    if (source->bytes == NULL)
        return -ENOMEM;
    memcpy(source->bytes, bytes, size);
    source->size = size;
    source->id = id;
    merge->n_sources++;
    return 0;
}

int merge_take_unit(void *userdata, const struct row_entry *entry)
{
    struct hist_merge *merge = userdata;
    if (merge->n_units == merge->units_room) {
        uint32_t room = merge->units_room * 2 + 128;
        struct merge_unit *grown = mem_resize_array(merge->units, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        merge->units = grown;
        merge->units_room = room;
    }
    merge->units[merge->n_units++] =
        (struct merge_unit){entry->subject, entry->slot, merge->next_unit, *entry};
    return 0;
}

/* Reads the directories; sources beyond what one axis holds wait for the next time. */
static int read_sources(struct history *history, struct hist_merge *merge)
{
    uint32_t ticks = 0;
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        struct merge_source *source = &merge->sources[i];
        uint32_t units = merge->n_units;
        merge->next_unit = i; /* the source of what merge_take_unit sees */
        int r = row_read(source->bytes, source->size, &source->axis, merge_take_unit, merge);
        if (r == -ENOMEM)
            return r;
        if (r < 0) {
            atomic_fetch_add(&history->damaged, 1);
            source->damaged = true;
            merge->n_units = units;
            row_axis_done(&source->axis);
        }
        if (ticks + source->axis.n > HIST_COLUMN_MAX) {
            merge->n_units = units;
            for (uint32_t k = i; k < merge->n_sources; k++) {
                mem_free(merge->sources[k].bytes);
                row_axis_done(&merge->sources[k].axis);
                merge->sources[k] = (struct merge_source){0};
            }
            merge->n_sources = i;
            break;
        }
        source->offset = ticks;
        ticks += source->axis.n;
    }
    merge->next_unit = 0;
    return (int)ticks;
}

int merge_compare_units(const void *a, const void *b)
{
    const struct merge_unit *x = a;
    const struct merge_unit *y = b;
    if (x->subject != y->subject)
        return x->subject < y->subject ? -1 : 1;
    return x->source < y->source ? -1 : x->source > y->source;
}

static int64_t minute_start(int64_t ms)
{
    return ms - ((ms % MINUTE_MS) + MINUTE_MS) % MINUTE_MS;
}

static int make_room(struct hist_merge *merge, uint32_t ticks)
{
    int r = row_axis_init(&merge->axis, ticks);
    if (r == 0)
        r = row_axis_init(&merge->minutes_axis, ticks);
    merge->minute_of = mem_alloc_array(ticks, sizeof(uint32_t));
    merge->minute_from = mem_alloc_array((size_t)ticks + 1, sizeof(uint32_t));
    merge->elapsed_ms = mem_alloc_array((size_t)ticks + 1, sizeof(uint64_t));
    merge->buffer = mem_alloc_array((size_t)ticks * (HIST_METRICS + 1), sizeof(int64_t));
    merge->runs = mem_alloc_array(ticks, sizeof(*merge->runs));
    return r < 0 || merge->minute_of == NULL || merge->minute_from == NULL ||
                   merge->elapsed_ms == NULL || merge->buffer == NULL || merge->runs == NULL
               ? -ENOMEM
               : 0;
}

/* The axis of all sources, and of their minutes. */
static int make_axes(struct hist_merge *merge, uint32_t ticks)
{
    int r = make_room(merge, ticks);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        const struct merge_source *s = &merge->sources[i];
        if (s->axis.n == 0)
            continue;
        size_t size = s->axis.n * sizeof(int64_t);
        memcpy(merge->axis.times_ms + s->offset, s->axis.times_ms, size);
        memcpy(merge->axis.cpu_capacity + s->offset, s->axis.cpu_capacity, size);
        memcpy(merge->axis.memory_capacity + s->offset, s->axis.memory_capacity, size);
    }
    uint32_t minutes = 0;
    struct row_axis *m = &merge->minutes_axis;
    int64_t usual = row_usual_step(&merge->axis);
    for (uint32_t i = 0; i < ticks; i++) {
        int64_t start = minute_start(merge->axis.times_ms[i]);
        if (minutes == 0 || m->times_ms[minutes - 1] != start) {
            merge->minute_from[minutes] = i;
            m->times_ms[minutes++] = start;
        }
        m->cpu_capacity[minutes - 1] = merge->axis.cpu_capacity[i];
        m->memory_capacity[minutes - 1] = merge->axis.memory_capacity[i];
        merge->minute_of[i] = minutes - 1;
        merge->elapsed_ms[i + 1] =
            merge->elapsed_ms[i] + (uint64_t)row_step(&merge->axis, i, usual);
    }
    merge->minute_from[minutes] = ticks;
    m->n = minutes;
    return roll_minutes_init(&merge->minutes, minutes);
}

static int begin(struct history *history, uint32_t group, struct ac_error *error)
{
    struct hist_merge *merge = history->merge;
    reset(merge);
    merge->group = group;
    int r = hist_series_each(&history->write, SERIES_CHUNK, group, 0, (int64_t)1 << HIST_TIME_BITS,
        take_source, merge, error);
    if (r == -EUCLEAN || (r >= 0 && merge->n_sources == 0)) {
        /* A damaged page must not stop the recording. */
        history->groups[group].chunks = 0;
        history->groups[group].merge_due = false;
        atomic_fetch_add(&history->damaged, r < 0);
        reset(merge);
        return 0;
    }
    if (r < 0)
        return r;
    int ticks = read_sources(history, merge);
    if (ticks > 0)
        r = make_axes(merge, (uint32_t)ticks);
    if (ticks < 0 || r < 0) {
        reset(merge);
        return error_set(error, -ENOMEM, "no memory");
    }
    qsort(merge->units, merge->n_units, sizeof(*merge->units), merge_compare_units);
    merge->active = true;
    return 0;
}

/* ---- One agent ---------------------------------------------------------------------------- */

static int decode_unit(
    struct hist_merge *merge, const struct merge_unit *unit, struct row_totals *totals)
{
    const struct merge_source *source = &merge->sources[unit->source];
    struct row_view view;
    uint32_t n = merge->axis.n;
    int r = row_section_read(&unit->entry, &source->axis, &view);
    if (r < 0)
        return r;
    int64_t *at = merge->buffer + source->offset + unit->entry.first;
    r = column_decode(&view.present, at);
    for (unsigned m = 0; m < HIST_METRICS && r == 0; m++) {
        if (!(view.mask >> m & 1))
            continue;
        r = column_decode(&view.metrics[m], at + (size_t)(m + 1) * n);
        const struct column_stats *stats = &view.metrics[m].stats;
        int counter = hist_metric_info(m)->counter;
        if (counter < 0 || !stats->has_totals)
            continue;
        bool first = !(totals->known >> counter & 1);
        row_join_totals(first, &totals->start[counter], &totals->end[counter], stats->total_start,
            stats->total_end);
        totals->known |= 1u << counter;
    }
    return r;
}

static void add_minutes(struct hist_merge *merge, const struct row_section *section)
{
    struct roll_minutes *minutes = &merge->minutes;
    memset(minutes->samples, 0, minutes->n * sizeof(*minutes->samples));
    memset(minutes->cells, 0, (size_t)minutes->n * HIST_METRICS * sizeof(*minutes->cells));
    for (uint32_t i = 0; i < section->n; i++) {
        uint32_t minute = merge->minute_of[section->first + i];
        minutes->samples[minute] += section->present[i] != HIST_UNKNOWN;
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            if (section->metrics[m] == NULL || section->metrics[m][i] == HIST_UNKNOWN)
                continue;
            struct roll_cell *cell = &minutes->cells[(size_t)m * minutes->n + minute];
            int64_t value = section->metrics[m][i];
            cell->min = cell->known == 0 ? value : MIN(cell->min, value);
            cell->max = cell->known == 0 ? value : MAX(cell->max, value);
            cell->sum = wrap_add(cell->sum, value);
            cell->known++;
        }
    }
}

/* The ticks between the first and the last at which the agent was there. */
static bool make_section(struct hist_merge *merge, const struct merge_unit *unit,
    const struct row_totals *totals, struct row_section *ret_section)
{
    uint32_t n = merge->axis.n;
    uint32_t first = 0;
    uint32_t end = n;
    while (first < n && merge->buffer[first] == HIST_UNKNOWN)
        first++;
    while (end > first && merge->buffer[end - 1] == HIST_UNKNOWN)
        end--;
    *ret_section = (struct row_section){.subject = unit->subject,
        .slot = unit->slot,
        .first = first,
        .n = end - first,
        .totals = *totals,
        .present = merge->buffer + first};
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const int64_t *values = merge->buffer + (size_t)(m + 1) * n + first;
        for (uint32_t i = 0; i < end - first; i++) {
            if (values[i] != HIST_UNKNOWN) {
                ret_section->metrics[m] = values;
                break;
            }
        }
    }
    return end > first;
}

int merge_add_rollups(struct hist_merge *merge, uint64_t subject, uint32_t slot)
{
    struct buf body CLEANUP(buf_done) = {0};
    struct row_section whole = {.subject = subject, .slot = slot, .n = merge->minutes.n};
    roll_minutes_encode(&merge->minutes, &body);
    int r = body.failed ? -ENOMEM : row_add_body(&merge->minute_row, &whole, body.data, body.size);
    buf_clear(&body);
    roll_encode(merge->record, &body);
    buf_put_varint(&merge->hours, subject);
    buf_put_varint(&merge->hours, slot);
    buf_put_varint(&merge->hours, body.size);
    buf_append(&merge->hours, body.data, body.size);
    return r < 0 || body.failed || merge->hours.failed ? -ENOMEM : 0;
}

static int add_rows(struct hist_merge *merge, const struct row_section *section)
{
    int r = row_add(&merge->merged_row, &merge->axis, section);
    add_minutes(merge, section);
    roll_clear(merge->record);
    roll_add(merge->record, &merge->axis, section);
    return r == 0 ? merge_add_rollups(merge, section->subject, section->slot) : r;
}

/* Agents that came, went or were away; and those with damaged sections. */
static int merge_any(struct history *history, struct hist_merge *merge, uint32_t end)
{
    size_t cells = (size_t)merge->axis.n * (HIST_METRICS + 1);
    struct row_totals totals = {0};
    for (size_t i = 0; i < cells; i++)
        merge->buffer[i] = HIST_UNKNOWN;
    for (uint32_t i = merge->next_unit; i < end; i++) {
        if (decode_unit(merge, &merge->units[i], &totals) < 0)
            atomic_fetch_add(&history->damaged, 1);
    }
    struct row_section section;
    if (!make_section(merge, &merge->units[merge->next_unit], &totals, &section))
        return 0;
    return add_rows(merge, &section);
}

/* Reads the columns' headers. Returns whether the agent was there at every tick. */
static bool read_steady(const struct hist_merge *merge, uint32_t end, struct row_view *ret_views)
{
    const struct merge_unit *units = &merge->units[merge->next_unit];
    if (end - merge->next_unit != merge->n_sources)
        return false;
    for (uint32_t i = 0; i < merge->n_sources; i++) {
        const struct merge_source *source = &merge->sources[i];
        if (units[i].source != i || units[i].entry.first != 0 ||
            units[i].entry.n != source->axis.n ||
            row_section_read(&units[i].entry, &source->axis, &ret_views[i]) < 0)
            return false;
        const struct column_view *present = &ret_views[i].present;
        if (present->mode != COLUMN_CONSTANT || present->stats.count != source->axis.n)
            return false;
    }
    return true;
}

static int merge_subject(struct history *history, struct hist_merge *merge)
{
    struct row_view views[MERGE_CHUNKS_MAX];
    uint32_t first = merge->next_unit;
    uint32_t end = first;
    while (end < merge->n_units && merge->units[end].subject == merge->units[first].subject)
        end++;
    int r = -EBADMSG;
    if (read_steady(merge, end, views))
        r = merge_add_steady(merge, &merge->units[first], views);
    if (r == -EBADMSG)
        r = merge_any(history, merge, end);
    if (r == 0)
        merge->next_unit = end;
    return r;
}

/* ---- Finishing ---------------------------------------------------------------------------- */

static int put_row(struct history *history, enum hist_series series, struct row_builder *builder,
    const struct row_axis *axis, struct ac_error *error)
{
    const struct row_axis *ticks = &history->merge->axis;
    int64_t start = ticks->times_ms[0];
    int64_t end = ticks->times_ms[0];
    for (uint32_t i = 1; i < ticks->n; i++) {
        start = MIN(start, ticks->times_ms[i]);
        end = MAX(end, ticks->times_ms[i]);
    }
    buf_clear(&history->scratch);
    if (row_finish(builder, axis, &history->scratch) < 0)
        return error_set(error, -ENOMEM, "no memory");
    return hist_series_put(&history->write, series, history->merge->group, start, end,
        history->scratch.data, history->scratch.size, error);
}

/* The hours of all agents in rows of a size that fills pages. */
static int put_hours(struct history *history, const struct row_axis *axis, struct ac_error *error)
{
    const struct buf *hours = &history->merge->hours;
    struct byte_reader reader = byte_reader(hours->data, hours->size);
    size_t rows = hours->size > HOUR_ROW_MAX ? 1 : (hours->size + HOUR_ROW - 1) / HOUR_ROW;
    int r = 0;
    for (size_t i = 1; i <= rows && r == 0; i++) {
        struct row_builder builder CLEANUP(row_builder_done) = {0};
        size_t left = hours->size - hours->size * i / rows;
        while (reader_left(&reader) > left && r == 0) {
            struct row_section whole = {.subject = get_varint(&reader), .n = 2};
            whole.slot = (uint32_t)get_varint(&reader);
            size_t size = get_varint(&reader);
            r = row_add_body(&builder, &whole, get_bytes(&reader, size), size);
        }
        if (r < 0)
            return error_set(error, r, "no memory");
        if (builder.count > 0)
            r = put_row(history, SERIES_HOUR, &builder, axis, error);
    }
    return r;
}

static int finish(struct history *history, struct ac_error *error)
{
    struct hist_merge *merge = history->merge;
    int r = 0;
    if (merge->merged_row.count > 0) {
        int64_t ends[2] = {merge->axis.times_ms[0], merge->axis.times_ms[merge->axis.n - 1]};
        int64_t cpu[2] = {merge->axis.cpu_capacity[0], merge->axis.cpu_capacity[merge->axis.n - 1]};
        int64_t memory[2] = {
            merge->axis.memory_capacity[0], merge->axis.memory_capacity[merge->axis.n - 1]};
        const struct row_axis hour = {2, ends, cpu, memory};
        r = put_row(history, SERIES_MERGED, &merge->merged_row, &merge->axis, error);
        if (r == 0)
            r = put_row(history, SERIES_MINUTE, &merge->minute_row, &merge->minutes_axis, error);
        if (r == 0)
            r = put_hours(history, &hour, error);
    }
    for (uint32_t i = 0; i < merge->n_sources && r == 0; i++)
        r = hist_series_drop(&history->write, SERIES_CHUNK, merge->sources[i].id, error);
    merge->written = r == 0;
    return r;
}

/* ---- The tick's share --------------------------------------------------------------------- */

static int begin_next(struct history *history, struct ac_error *error)
{
    struct hist_merge *merge = history->merge;
    for (uint32_t k = 0; k < history->n_groups; k++) {
        uint32_t group = (merge->next_group + k) % history->n_groups;
        if (!history->groups[group].merge_due)
            continue;
        merge->next_group = group + 1;
        return begin(history, group, error);
    }
    return 0;
}

int hist_merge_step(struct history *history, struct ac_error *error)
{
    struct hist_merge *merge = history->merge;
    int r = 0;
    if (!merge->active)
        r = begin_next(history, error);
    if (r < 0 || !merge->active)
        return r;
    /* Every agent comes once in so many ticks; a third more, to catch up. */
    uint32_t units = history->used_slots * 4 / 3 / (CHUNK_TICKS * MERGE_CHUNKS) + 1;
    for (; units > 0 && merge->next_unit < merge->n_units; units--) {
        if (merge_subject(history, merge) < 0)
            return error_set(error, -ENOMEM, "no memory");
    }
    if (merge->next_unit < merge->n_units)
        return 0;
    r = finish(history, error);
    return r == 0 ? hist_day_step(history, merge->group, error) : r;
}

void hist_merge_applied(struct history *history)
{
    struct hist_merge *merge = history->merge;
    if (!merge->written)
        return;
    struct hist_group *group = &history->groups[merge->group];
    group->chunks -= MIN(group->chunks, merge->n_sources);
    group->merge_due = group->chunks >= MERGE_CHUNKS;
    reset(merge);
}

/* The transaction is undone: what was written is written again at the next tick. */
void hist_merge_undo(struct history *history)
{
    history->merge->written = false;
}
