/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of all slots: exact where totals were handed in, else integrated from the rates.
 *
 * Frames hold rates. Who reads them back integrates from the last counters that are in one, which
 * is not what the totals say. Where the two have drifted apart by more than a slack, and where a
 * chunk ends, the exact counters of a slot go with the frame; so a chunk that is read back begins
 * exactly, and ends within the slack.
 */
#include <string.h>

#include "store/hist_internal.h"

/* Little enough for any bill, and more than rounding makes of 120 ticks: what agrees costs nothing.
 */
static const uint64_t slack[HIST_COUNTERS] = {10 * 1000 * 1000, 65536 * 1000, 65536 * 1000};

void hist_counters_step(struct history *history, const uint32_t *given, int64_t step_ms)
{
    const struct frame_state *before = history->before;
    struct frame_state *now = history->now;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct hist_metric_info *info = hist_metric_info(m);
        if (info->counter < 0)
            continue;
        unsigned c = (unsigned)info->counter;
        uint64_t per_value = (uint64_t)(info->counter_rate / 1000) * (uint64_t)MAX(step_ms, 0);
        for (uint32_t i = 0; i < now->n; i++) {
            uint64_t value = now->values[m][i];
            uint64_t grown = value > 0 ? (value - 1) * per_value : 0;
            now->replayed[c][i] = before->replayed[c][i] + grown;
            if (!(given[i] >> c & 1))
                now->counters[c][i] = before->counters[c][i] + grown;
        }
    }
}

uint32_t hist_totals_take(
    struct history *history, uint32_t slot, const struct history_totals *totals)
{
    struct hist_slot *s = &history->slots[slot];
    const uint64_t values[HIST_COUNTERS] = {
        totals->cpu_ns, totals->disk_bytes * 1000, totals->network_bytes * 1000};
    uint32_t taken = 0;
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        if (!(totals->known >> c & 1))
            continue;
        if (s->given_known >> c & 1) {
            uint64_t grown = values[c] >= s->given[c] ? values[c] - s->given[c] : values[c];
            history->now->counters[c][slot] =
                MAX(history->before->counters[c][slot], s->at_given[c] + grown);
            taken |= 1u << c;
        }
    }
    return taken;
}

void hist_totals_taken(struct history *history, const struct history_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct history_totals *totals = rows[i].totals;
        if (totals == NULL || history->row_slots[i] == SLOT_NONE)
            continue;
        struct hist_slot *s = &history->slots[history->row_slots[i]];
        const uint64_t values[HIST_COUNTERS] = {
            totals->cpu_ns, totals->disk_bytes * 1000, totals->network_bytes * 1000};
        s->given_known |= totals->known;
        for (unsigned c = 0; c < HIST_COUNTERS; c++) {
            if (!(totals->known >> c & 1))
                continue;
            s->given[c] = values[c];
            s->at_given[c] = history->before->counters[c][history->row_slots[i]];
        }
    }
}

/* ---- What goes with the frame ------------------------------------------------------------- */

static void mark_slot(struct history *history, uint32_t slot, bool closing)
{
    struct frame_state *now = history->now;
    uint8_t off = 0;
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        int64_t drift = wrap_sub((int64_t)now->counters[c][slot], (int64_t)now->replayed[c][slot]);
        uint64_t amount = drift < 0 ? (uint64_t)-drift : (uint64_t)drift;
        off |= amount > (closing ? 0 : slack[c]);
    }
    history->exact[slot] = off;
    for (unsigned c = 0; off && c < HIST_COUNTERS; c++)
        now->replayed[c][slot] = now->counters[c][slot];
}

/* Most agree, in most ticks. */
static bool drifted(const struct frame_state *now, uint32_t first, uint32_t end)
{
    uint64_t off = 0;
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        for (uint32_t i = first; i < end; i++)
            off |= now->counters[c][i] ^ now->replayed[c][i];
    }
    return off != 0;
}

void hist_counters_mark(struct history *history)
{
    struct frame_state *now = history->now;
    memset(history->exact, 0, now->n);
    for (uint32_t first = 0; first < now->n; first += GROUP_SLOTS) {
        uint32_t end = MIN(first + GROUP_SLOTS, now->n);
        bool closing = hist_group_closes(history, group_of(first), history->sequence + 1);
        for (uint32_t i = drifted(now, first, end) ? first : end; i < end; i++)
            mark_slot(history, i, closing);
    }
    for (uint32_t first = 0; first < now->n; first += FRAME_BLOCK) {
        size_t n = MIN(now->n - first, (uint32_t)FRAME_BLOCK);
        bool key = frame_keyed(
            history->sequence, history->force_keys, history->before->n, first / FRAME_BLOCK);
        for (unsigned c = 0; key && c < HIST_COUNTERS; c++)
            memcpy(now->replayed[c] + first, now->counters[c] + first, n * sizeof(uint64_t));
    }
}

/* A history that is closed in good order is exact to the end. */
void hist_counters_settle(struct history *history)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    if (history->write.connection.db == NULL || history->status.ticks == 0)
        return;
    buf_clear(&history->scratch);
    if (frame_encode(history->codec, history->sequence - 1, true, history->before, history->before,
            NULL, &history->scratch) < 0 ||
        hist_sql(&history->write, HIST_FRAME_PUT, &statement, NULL) < 0)
        return;
    struct binder binder = {.statement = statement};
    bind_u64(&binder, history->sequence - 1);
    bind_bytes(&binder, history->scratch.data, history->scratch.size);
    if (sql_bound(&history->write.connection, &binder, NULL) == 0)
        (void)sql_run(&history->write.connection, statement, "writing history", NULL);
}
