/* SPDX-License-Identifier: Apache-2.0 */
/* One tick: rows to slots, a frame, and everything that shares its transaction. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "store/hist_internal.h"

#define CHECKPOINT_PAGES 1000
#define GAP_STEPS        3 /* a step longer than so many usual ones is a gap */
#define STEP_MAX_MS      (2 * HOUR_MS)

/* ---- Time --------------------------------------------------------------------------------- */

int64_t hist_step_ms(const struct history *history, int64_t step_ms)
{
    if (step_ms <= 0)
        return 0;
    if (history->typical_ms == 0)
        return MIN(step_ms, STEP_MAX_MS);
    return step_ms > GAP_STEPS * history->typical_ms ? history->typical_ms : step_ms;
}

void hist_note_step(struct history *history, int64_t step_ms)
{
    if (step_ms <= 0 || step_ms > STEP_MAX_MS)
        return;
    if (history->typical_ms == 0)
        history->typical_ms = step_ms;
    int64_t change = (step_ms - history->typical_ms) / 8;
    /* One long step is a gap; many of them are a new interval. */
    history->typical_ms += MIN(change, MAX(history->typical_ms / 4, (int64_t)1));
    history->typical_ms = MAX(history->typical_ms, (int64_t)1);
}

/* ---- Rows to slots ------------------------------------------------------------------------ */

static void fill_slot(struct history *history, uint32_t slot, const struct history_row *row)
{
    int64_t values[HIST_METRICS];
    int64_t processes = row->processes == 0 ? -1 : (int64_t)row->processes;
    hist_quantise(row->usage, &history->now->capacity, processes, values);
    for (unsigned m = 0; m < HIST_METRICS; m++)
        history->now->values[m][slot] = values[m] == HIST_UNKNOWN ? 0 : (uint64_t)values[m] + 1;
    history->now->values[FRAME_PRESENT][slot] = 1;
}

static void learn_capacity(struct history *history, const struct history_row *rows, size_t n_rows)
{
    struct hist_capacity capacity = {0};
    for (size_t i = 0; i < n_rows && (capacity.cpu == 0 || capacity.memory == 0); i++)
        hist_capacity_learn(rows[i].usage, &capacity);
    const struct hist_capacity *last = &history->before->capacity;
    history->now->capacity.cpu = capacity.cpu != 0 ? capacity.cpu : last->cpu;
    history->now->capacity.memory = capacity.memory != 0 ? capacity.memory : last->memory;
}

/* The slot of a row. Rows come in the same order nearly always: that of the last tick is tried
 * before the name is looked up. */
static int take_slot(struct history *history, size_t at, const struct history_row *row,
    int64_t when_ms, struct ac_error *error)
{
    uint32_t *slot = &history->row_slots[at];
    const char *name = row->subject;
    int64_t owner = hist_owner(&row->about);
    const struct hist_subject *last =
        *slot < history->n_slots ? history->slots[*slot].subject : NULL;
    if (last != NULL && last->owner == owner && strcmp(last->name, name) == 0)
        return 0;
    *slot = SLOT_NONE;
    if (strnlen(name, AC_AGENT_ID_MAX + 1) > AC_AGENT_ID_MAX)
        return 0;
    return hist_slot_take(history, name, owner, when_ms, slot, error);
}

static int take_slots(struct history *history, int64_t when_ms, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    if (n_rows > history->row_slots_room) {
        uint32_t *grown = mem_resize_array(history->row_slots, n_rows, sizeof(*grown));
        if (grown == NULL)
            return error_set(error, -ENOMEM, "no memory");
        for (size_t i = history->row_slots_room; i < n_rows; i++)
            grown[i] = SLOT_NONE;
        history->row_slots = grown;
        history->row_slots_room = n_rows;
    }
    int r = hist_slots_reserve(history, (uint32_t)MIN(n_rows, (size_t)FRAME_SLOTS_MAX));
    if (r < 0)
        return error_set(error, r, "no memory");
    for (size_t i = 0; i < n_rows && r == 0; i++) {
        r = take_slot(history, i, &rows[i], when_ms, error);
        uint32_t slot = history->row_slots[i];
        if (r == 0 && slot != SLOT_NONE && hist_slot_describe(history, slot, &rows[i].about) < 0)
            r = error_set(error, -ENOMEM, "no memory");
    }
    hist_slots_taken(history);
    return r;
}

static int fill(struct history *history, int64_t when_ms, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    int r = take_slots(history, when_ms, rows, n_rows, error);
    if (r < 0)
        return r;
    const uint32_t *slots = history->row_slots;
    cleanup_free uint32_t *given = mem_alloc_array(history->n_slots + 1, sizeof(*given));
    if (given == NULL)
        return error_set(error, -ENOMEM, "no memory");
    history->now->n = history->n_slots;
    history->now->when_ms = when_ms;
    learn_capacity(history, rows, n_rows);
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        memset(history->now->values[c], 0, history->n_slots * sizeof(uint64_t));
    for (size_t i = 0; i < n_rows; i++) {
        if (slots[i] == SLOT_NONE)
            continue;
        fill_slot(history, slots[i], &rows[i]);
        if (rows[i].totals != NULL)
            given[slots[i]] = hist_totals_take(history, slots[i], rows[i].totals);
    }
    int64_t step = history->sequence == 0 ? 0 : when_ms - history->before->when_ms;
    hist_counters_step(history, given, hist_step_ms(history, step));
    return 0;
}

/* ---- The transaction ---------------------------------------------------------------------- */

static int write_frame(struct history *history, struct ac_error *error)
{
    buf_clear(&history->scratch);
    hist_counters_mark(history);
    int r = frame_encode(history->codec, history->sequence, history->force_keys, history->before,
        history->now, history->exact, &history->scratch);
    if (r < 0)
        return error_set(error, r, "no memory");
    sqlite3_stmt *statement cleanup_reset = NULL;
    r = hist_sql(&history->write, HIST_FRAME_PUT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_u64(&binder, history->sequence);
    bind_bytes(&binder, history->scratch.data, history->scratch.size);
    r = sql_bound(&history->write.connection, &binder, error);
    return r < 0 ? r : sql_run(&history->write.connection, statement, "writing history", error);
}

/* Frames that no open chunk needs any more; one key block of each block stays before them. */
static int trim_frames(struct history *history, struct ac_error *error)
{
    uint64_t first = history->sequence;
    for (uint32_t g = 0; g < history->n_groups; g++)
        first = MIN(first, history->groups[g].first);
    if (first <= FRAME_KEY_SPACING)
        return 0;
    const int64_t numbers[] = {(int64_t)(first - FRAME_KEY_SPACING)};
    return hist_run(&history->write, HIST_FRAME_TRIM, numbers, 1, error);
}

/* Queries must know where the order of rows is not that of time. */
static int note_clock(struct history *history, int64_t when_ms, struct ac_error *error)
{
    if (history->sequence == 0 || when_ms >= history->before->when_ms)
        return 0;
    const int64_t numbers[] = {HIST_META_WENT_BACK, when_ms};
    atomic_store(&history->went_back, true);
    return hist_run(&history->write, HIST_META_PUT, numbers, ARRAY_SIZE(numbers), error);
}

static int write_all(struct history *history, int64_t when_ms, struct ac_error *error)
{
    int r = note_clock(history, when_ms, error);
    if (r == 0)
        r = hist_slots_store(history, error);
    if (r == 0)
        r = write_frame(history, error);
    if (r == 0)
        r = hist_chunks_write(history, error);
    if (r == 0)
        r = trim_frames(history, error);
    if (r == 0)
        r = hist_top_write(history, when_ms, error);
    if (r == 0)
        r = hist_merge_step(history, error);
    if (r == 0)
        r = hist_expire_step(history, when_ms, error);
    return r;
}

static int commit(struct history *history, int64_t when_ms, struct ac_error *error)
{
    int r = hist_run(&history->write, HIST_BEGIN, NULL, 0, error);
    if (r < 0)
        return r;
    r = write_all(history, when_ms, error);
    if (r == 0)
        r = hist_run(&history->write, HIST_COMMIT, NULL, 0, error);
    if (r < 0 && sqlite3_get_autocommit(history->write.connection.db) == 0)
        hist_run(&history->write, HIST_ROLLBACK, NULL, 0, NULL);
    return r;
}

/* What is committed becomes the state in memory; nothing here can fail. */
static void apply(struct history *history, int64_t when_ms)
{
    hist_slots_stored(history);
    hist_chunks_applied(history);
    hist_merge_applied(history);
    hist_tail_apply(history);
    hist_top_add(history, history->now);
    size_t at = history->sequence % TICK_RING;
    history->times_ms[at] = when_ms;
    history->cpu_capacity[at] = (int64_t)history->now->capacity.cpu;
    history->memory_capacity[at] = (int64_t)history->now->capacity.memory;
    if (history->sequence > 0)
        hist_note_step(history, when_ms - history->before->when_ms);
    struct frame_state *last = history->before;
    history->before = history->now;
    history->now = last;
    history->sequence++;
    history->force_keys = false;
}

static void checkpoint(struct history *history)
{
    if (history->sequence % 16 != 0)
        return;
    sqlite3_wal_checkpoint_v2(
        history->write.connection.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static int tick(struct history *history, int64_t when_ms, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    int r = fill(history, when_ms, rows, n_rows, error);
    if (r < 0)
        return r;
    if (hist_tail_reserve(history) < 0)
        return error_set(error, -ENOMEM, "no memory");
    r = commit(history, when_ms, error);
    if (r < 0) {
        hist_merge_undo(history);
        return r;
    }
    apply(history, when_ms);
    hist_totals_taken(history, rows, n_rows);
    return 0;
}

/* Everything else is recorded. */
static int refuse_long_names(
    struct history *history, const struct history_row *rows, size_t n_rows, struct ac_error *error)
{
    for (size_t i = 0; i < n_rows; i++) {
        if (history->row_slots[i] == SLOT_NONE)
            return error_set(
                error, -EINVAL, "history: subject \"%.40s...\" is too long", rows[i].subject);
    }
    return 0;
}

int hist_tick_now(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    struct mono start = clock_mono();
    pthread_mutex_lock(&history->lock);
    struct history_status *status = &history->status;
    int r = hist_explain(tick(history, when_ns / MS, rows, n_rows, error), error);
    status->last_error = r;
    if (r < 0) {
        status->failed_ticks++;
        if (status->failing_since_ns == 0)
            status->failing_since_ns = when_ns;
    } else {
        status->ticks++;
        status->failing_since_ns = 0;
        status->commit_last_ns = mono_since(clock_mono(), start);
        status->commit_sum_ns += status->commit_last_ns;
        status->commit_max_ns = MAX(status->commit_max_ns, status->commit_last_ns);
        checkpoint(history);
    }
    hist_status_note(history, status->ticks % 16 == 1);
    if (r == 0)
        r = refuse_long_names(history, rows, n_rows, error);
    pthread_mutex_unlock(&history->lock);
    return r;
}

int history_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error)
{
    if (history->none)
        return 0;
    return history->worker == NULL ? hist_tick_now(history, when_ns, rows, n_rows, error)
                                   : hist_worker_tick(history, when_ns, rows, n_rows, error);
}
