/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open chunks: each tick is added to them, and at its turn a group's is encoded and written.
 *
 * A group closes when its phase comes round and whenever it has been held up, so that the work of
 * compaction is the same at every tick. What a commit changes here is done only after it.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_internal.h"

#define IDLE_TURNS 3 /* a group without agents for so long is merged with what it has */

/* ---- Taking a tick over ------------------------------------------------------------------- */

/* Which columns of each slot differ from the tick before: a bit per column. */
static void find_changes(struct history *history)
{
    uint16_t *changed = history->changed;
    uint32_t n = history->now->n;
    memset(changed, 0, n * sizeof(*changed));
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        const uint64_t *now = history->now->values[c];
        const uint64_t *before = history->before->values[c];
        for (uint32_t i = 0; i < n; i++)
            changed[i] |= (uint16_t)((now[i] != before[i]) << c);
    }
}

int hist_tail_reserve(struct history *history)
{
    find_changes(history);
    for (uint32_t i = 0; i < history->now->n; i++) {
        bool starts = history->groups[group_of(i)].first == history->sequence;
        for (unsigned left = history->changed[i]; left != 0; left &= left - 1) {
            struct tail_stream *stream = &history->slots[i].streams[__builtin_ctz(left)];
            if (!(starts && stream->size == 0) && tail_reserve(stream) < 0)
                return -ENOMEM;
        }
    }
    return 0;
}

void hist_tail_apply(struct history *history)
{
    for (uint32_t i = 0; i < history->now->n; i++) {
        unsigned left = history->changed[i];
        if (left == 0)
            continue;
        struct hist_slot *slot = &history->slots[i];
        uint64_t tick = history->sequence - history->groups[group_of(i)].first;
        if ((left >> FRAME_PRESENT & 1) && history->now->values[FRAME_PRESENT][i] == 0)
            slot->seen_ms = history->before->when_ms;
        for (; left != 0; left &= left - 1) {
            unsigned c = (unsigned)__builtin_ctz(left);
            tail_change(&slot->streams[c], (uint32_t)tick, history->now->values[c][i]);
        }
    }
}

/* ---- Reading the open chunk --------------------------------------------------------------- */

int hist_axis(
    const struct history *history, uint64_t first, uint64_t end, struct row_axis *ret_axis)
{
    int r = row_axis_init(ret_axis, (uint32_t)(end - first));
    if (r < 0)
        return r;
    for (uint64_t s = first; s < end; s++) {
        size_t at = s % TICK_RING;
        ret_axis->times_ms[s - first] = history->times_ms[at];
        ret_axis->cpu_capacity[s - first] = history->cpu_capacity[at];
        ret_axis->memory_capacity[s - first] = history->memory_capacity[at];
    }
    return 0;
}

/* Slot values (0 unknown, value + 1) to values, in place. */
static bool to_values(int64_t *values, uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        any |= values[i] != 0;
        values[i] = values[i] == 0 ? HIST_UNKNOWN : values[i] - 1;
    }
    return any;
}

uint32_t hist_section_open(const struct history *history, uint32_t slot, uint32_t n,
    int64_t *buffer, struct row_section *ret_section)
{
    const struct hist_slot *s = &history->slots[slot];
    int64_t *present = buffer;
    tail_read(&s->streams[FRAME_PRESENT], n, (uint64_t *)present);
    uint32_t first = 0;
    uint32_t end = n;
    while (first < n && present[first] == 0)
        first++;
    while (end > first && present[end - 1] == 0)
        end--;
    if (first == end)
        return 0;
    *ret_section = (struct row_section){.subject = (uint64_t)s->subject->id,
        .slot = slot % GROUP_SLOTS,
        .first = first,
        .n = end - first,
        .present = present + first};
    uint32_t count = 0;
    for (uint32_t i = first; i < end; i++) {
        count += present[i] != 0;
        present[i] = present[i] == 0 ? HIST_UNKNOWN : 1;
    }
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        int64_t *values = buffer + (size_t)(m + 1) * n;
        tail_read(&s->streams[m], n, (uint64_t *)values);
        if (to_values(values + first, end - first))
            ret_section->metrics[m] = values + first;
        int counter = hist_metric_info(m)->counter;
        if (counter < 0 || ret_section->metrics[m] == NULL)
            continue;
        ret_section->totals.known |= 1u << counter;
        ret_section->totals.start[counter] = s->start[counter];
        ret_section->totals.end[counter] = history->before->counters[counter][slot];
    }
    return count;
}

/* ---- Closing ------------------------------------------------------------------------------ */

static int release(struct history *history, uint32_t slot, struct ac_error *error)
{
    const struct hist_slot *s = &history->slots[slot];
    int64_t seen = hist_slot_seen(history, slot);
    seen = seen == SEEN_UNKNOWN ? history->now->when_ms : seen;
    const int64_t numbers[] = {seen, s->tenure};
    return hist_run(&history->write, HIST_TENURE_END, numbers, ARRAY_SIZE(numbers), error);
}

/* A metric of a slot whose agent was there at every tick. Returns whether it is in the section. */
static bool add_column(const struct history *history, uint32_t slot, unsigned metric,
    const struct row_axis *axis, int64_t *values, struct buf *body)
{
    const struct hist_slot *s = &history->slots[slot];
    const struct tail_stream *stream = &s->streams[metric];
    int counter = hist_metric_info(metric)->counter;
    struct column_stats stats = {.has_totals = counter >= 0};
    if (stream->size == 0 && stream->first == 0)
        return false;
    if (counter >= 0) {
        stats.total_start = s->start[counter];
        stats.total_end = history->before->counters[counter][slot];
    }
    if (column_encode_changes(stream, axis->n, &stats, row_growth(axis, metric), body) != 0)
        return true;
    tail_read(stream, axis->n, (uint64_t *)values);
    if (!to_values(values, axis->n))
        return false;
    column_encode(values, axis->n, &stats, row_growth(axis, metric), body);
    return true;
}

/* The section of a slot whose agent was there at every tick, column by column. */
static int add_steady(const struct history *history, uint32_t slot, const struct row_axis *axis,
    int64_t *values, struct row_builder *builder)
{
    static const struct tail_stream always = {.first = 2};
    struct buf columns CLEANUP(buf_done) = {0};
    struct buf body CLEANUP(buf_done) = {0};
    struct column_stats stats = {0};
    uint32_t mask = 0;
    for (unsigned m = 0; m < HIST_METRICS; m++)
        mask |= (uint32_t)add_column(history, slot, m, axis, values, &columns) << m;
    column_encode_changes(&always, axis->n, &stats, 0, &body);
    buf_put_varint(&body, mask);
    buf_append(&body, columns.data, columns.size);
    const struct row_section section = {.subject = (uint64_t)history->slots[slot].subject->id,
        .slot = slot % GROUP_SLOTS,
        .n = axis->n};
    return body.failed || columns.failed ? -ENOMEM
                                         : row_add_body(builder, &section, body.data, body.size);
}

static bool always_there(const struct tail_stream *present)
{
    return present->size == 0 && present->first != 0;
}

/* Encodes the slots of a group; those whose agent was not there go into @ret_released. */
static int build_row(struct history *history, uint32_t group, const struct row_axis *axis,
    struct row_builder *builder, uint32_t *ret_released)
{
    cleanup_free int64_t *buffer =
        mem_alloc_array((size_t)axis->n * (HIST_METRICS + 1), sizeof(int64_t));
    if (buffer == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
        uint32_t slot = group * GROUP_SLOTS + i;
        if (slot >= history->before->n || history->slots[slot].subject == NULL)
            continue;
        struct row_section section;
        int r = 0;
        if (always_there(&history->slots[slot].streams[FRAME_PRESENT]))
            r = add_steady(history, slot, axis, buffer, builder);
        else if (hist_section_open(history, slot, axis->n, buffer, &section) > 0)
            r = row_add(builder, axis, &section);
        else if (history->now->values[FRAME_PRESENT][slot] == 0)
            *ret_released |= 1u << i;
        if (r < 0)
            return r;
    }
    return 0;
}

static void span_of(const struct row_axis *axis, int64_t *ret_start, int64_t *ret_end)
{
    *ret_start = *ret_end = axis->times_ms[0];
    for (uint32_t i = 1; i < axis->n; i++) {
        *ret_start = MIN(*ret_start, axis->times_ms[i]);
        *ret_end = MAX(*ret_end, axis->times_ms[i]);
    }
}

static int write_row(struct history *history, uint32_t group, const struct row_axis *axis,
    struct row_builder *builder, struct ac_error *error)
{
    int64_t start;
    int64_t end;
    buf_clear(&history->scratch);
    if (row_finish(builder, axis, &history->scratch) < 0)
        return error_set(error, -ENOMEM, "no memory");
    span_of(axis, &start, &end);
    return hist_series_put(&history->write, SERIES_CHUNK, group, start, end, history->scratch.data,
        history->scratch.size, error);
}

static int note_closed(struct history *history, struct hist_closed closed)
{
    if (history->n_closed == history->closed_room) {
        uint32_t room = history->closed_room * 2 + 8;
        struct hist_closed *grown = mem_resize_array(history->closed, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        history->closed = grown;
        history->closed_room = room;
    }
    history->closed[history->n_closed++] = closed;
    return 0;
}

static int close_group(struct history *history, uint32_t group, struct ac_error *error)
{
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    struct row_builder builder CLEANUP(row_builder_done) = {0};
    struct hist_closed closed = {.group = group};
    int r = hist_axis(history, history->groups[group].first, history->sequence, &axis);
    if (r == 0)
        r = build_row(history, group, &axis, &builder, &closed.released);
    if (r < 0)
        return error_set(error, r, "no memory");
    closed.row = builder.count > 0;
    if (closed.row)
        r = write_row(history, group, &axis, &builder, error);
    for (uint32_t i = 0; r == 0 && i < GROUP_SLOTS; i++) {
        if (closed.released >> i & 1)
            r = release(history, group * GROUP_SLOTS + i, error);
    }
    const int64_t part[] = {group, (int64_t)history->sequence};
    if (r == 0)
        r = hist_run(&history->write, HIST_PART_PUT, part, ARRAY_SIZE(part), error);
    return r == 0 ? note_closed(history, closed) : r;
}

bool hist_group_closes(const struct history *history, uint32_t group, uint64_t sequence)
{
    uint64_t ticks = sequence - history->groups[group].first;
    bool turn = sequence % CHUNK_TICKS == group_phase(group);
    return ticks > 0 && (turn || ticks >= CHUNK_TICKS);
}

int hist_chunks_write(struct history *history, struct ac_error *error)
{
    history->n_closed = 0;
    for (uint32_t g = 0; g < history->n_groups; g++) {
        if (!hist_group_closes(history, g, history->sequence))
            continue;
        int r = close_group(history, g, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static void reset_slot(struct history *history, uint32_t slot)
{
    struct hist_slot *s = &history->slots[slot];
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        tail_reset(&s->streams[c], history->before->values[c][slot]);
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        s->start[c] = history->before->counters[c][slot];
}

/* Groups take turns, so that chunks do not pile up until all of them are merged at once. */
static bool merges_now(const struct history *history, uint32_t group)
{
    return history->sequence / CHUNK_TICKS % MERGE_CHUNKS == group % MERGE_CHUNKS;
}

void hist_chunks_applied(struct history *history)
{
    for (uint32_t k = 0; k < history->n_closed; k++) {
        const struct hist_closed *closed = &history->closed[k];
        struct hist_group *group = &history->groups[closed->group];
        group->first = history->sequence;
        group->chunks += closed->row;
        group->idle = closed->row ? 0 : group->idle + 1;
        bool turn = group->idle >= IDLE_TURNS || merges_now(history, closed->group);
        if (group->chunks >= MERGE_CHUNKS || (group->chunks > 0 && turn))
            group->merge_due = true;
        for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
            uint32_t slot = closed->group * GROUP_SLOTS + i;
            if (slot >= history->slots_room || slot >= history->before->room)
                break;
            reset_slot(history, slot);
            if (closed->released >> i & 1)
                hist_slot_release(history, slot);
        }
    }
    history->n_closed = 0;
}
