/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading back what was there: slots from their tenures, the open chunks from the frames. Frames
 * are replayed in order through the same code that records them.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_internal.h"

static int put_tenure(struct history *history, sqlite3_stmt *statement)
{
    struct reader reader = {.statement = statement};
    char name[AC_AGENT_ID_MAX + 1];
    int64_t tenure = read_int(&reader);
    int64_t id = read_int(&reader);
    uint32_t slot = read_u32(&reader);
    int64_t from_ms = read_int(&reader);
    read_text(&reader, name, sizeof(name));
    if (reader.damaged || slot >= FRAME_SLOTS_MAX || strmap_get(history->by_name, name) != NULL)
        return -EUCLEAN;
    if (hist_slots_reserve(history, slot + 1) < 0)
        return -ENOMEM;
    struct hist_slot *s = &history->slots[slot];
    if (s->subject != NULL)
        return -EUCLEAN;
    struct hist_subject *subject = hist_subject_add(history, id, name);
    if (subject == NULL)
        return -ENOMEM;
    char labels[AGENT_LABELS_MAX_BYTES];
    const struct history_about about = hist_about_read(&reader, labels);
    hist_subject_note(subject, &about);
    subject->slot = slot;
    subject->stored = true;
    s->subject = subject;
    s->tenure = tenure;
    s->tenure_stored = true;
    s->from_ms = from_ms;
    s->seen_ms = SEEN_UNKNOWN;
    history->n_slots = MAX(history->n_slots, slot + 1);
    history->used_slots++;
    return 0;
}

/* Steps through a statement and calls @each for its rows. */
static int for_rows(struct history *history, sqlite3_stmt *statement,
    int (*each)(struct history *history, sqlite3_stmt *statement), struct ac_error *error)
{
    for (;;) {
        int r = sql_step(&history->write.connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = each(history, statement);
        if (r < 0)
            return error_errno(error, r, "%s: reading back", history->write.connection.path);
    }
}

static int read_rows(struct history *history, enum hist_sql which,
    int (*each)(struct history *history, sqlite3_stmt *statement), struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(&history->write, which, &statement, error);
    return r < 0 ? r : for_rows(history, statement, each, error);
}

static int put_part(struct history *history, sqlite3_stmt *statement)
{
    int64_t group = sqlite3_column_int64(statement, 0);
    if (group < 0 || group >= HIST_GROUPS_MAX)
        return 0;
    if (hist_slots_reserve(history, (uint32_t)(group + 1) * GROUP_SLOTS) < 0)
        return -ENOMEM;
    history->groups[group].first = (uint64_t)sqlite3_column_int64(statement, 1);
    return 0;
}

static int put_count(struct history *history, sqlite3_stmt *statement)
{
    int64_t group = sqlite3_column_int64(statement, 0);
    if (group < 0 || group >= HIST_GROUPS_MAX)
        return 0;
    if (hist_slots_reserve(history, (uint32_t)(group + 1) * GROUP_SLOTS) < 0)
        return -ENOMEM;
    struct hist_group *g = &history->groups[group];
    g->chunks = (uint32_t)sqlite3_column_int64(statement, 1);
    g->merge_due = g->chunks >= MERGE_CHUNKS;
    return 0;
}

static int read_max(
    struct history *history, const char *text, int64_t *value, struct ac_error *error)
{
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&history->write.connection, text, &statement, error);
    if (r == 0)
        r = hist_get_int(&history->write, statement, value, error);
    sqlite3_finalize(statement);
    return r < 0 ? r : 0;
}

/* ---- Frames ------------------------------------------------------------------------------- */

struct replay {
    uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    bool any;
};

/* Copies the state so that @now can be changed by the next frame. */
static int copy_state(struct frame_state *to, const struct frame_state *from)
{
    int r = frame_state_reserve(to, from->room);
    if (r < 0)
        return r;
    to->n = from->n;
    to->when_ms = from->when_ms;
    to->capacity = from->capacity;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        memcpy(to->values[c], from->values[c], from->n * sizeof(uint64_t));
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        memcpy(to->counters[c], from->counters[c], from->n * sizeof(uint64_t));
    return 0;
}

/* The counters of an agent that is new at this tick start at 0. (What a slot's last agent did
 * lies before the open chunk: it was away for all of the chunk before.) */
static void settle_tenants(struct history *history)
{
    for (uint32_t i = 0; i < history->now->n; i++) {
        struct hist_slot *s = &history->slots[i];
        bool arrives = s->subject != NULL && s->from_ms == history->now->when_ms &&
                       history->before->values[FRAME_PRESENT][i] == 0;
        for (unsigned c = 0; arrives && c < HIST_COUNTERS; c++)
            history->before->counters[c][i] = s->start[c] = 0;
    }
}

/* Key blocks bring exact counters; between them the rates are integrated. */
static void replay_counters(struct history *history, uint64_t sequence)
{
    int64_t step = history->now->when_ms - history->before->when_ms;
    cleanup_free uint64_t *exact =
        mem_alloc_array((size_t)history->now->n + 1, HIST_COUNTERS * sizeof(uint64_t));
    for (unsigned c = 0; exact != NULL && c < HIST_COUNTERS; c++)
        memcpy(exact + (size_t)c * history->now->n, history->now->counters[c],
            history->now->n * sizeof(uint64_t));
    hist_counters_step(history, NULL, hist_step_ms(history, step));
    for (uint32_t i = 0; exact != NULL && i < history->now->n; i++) {
        if (!frame_is_key(sequence, i / FRAME_BLOCK))
            continue;
        for (unsigned c = 0; c < HIST_COUNTERS; c++)
            history->now->counters[c][i] = exact[(size_t)c * history->now->n + i];
    }
}

/* A tick from a frame goes into the open chunks of the groups that it belongs to. */
static int replay_tick(struct history *history, uint64_t sequence)
{
    history->sequence = sequence;
    if (hist_slots_reserve(history, MAX(history->now->n, 1u)) < 0)
        return -ENOMEM;
    settle_tenants(history);
    replay_counters(history, sequence);
    for (uint32_t i = 0; i < history->now->n; i++) {
        struct hist_group *group = &history->groups[group_of(i)];
        struct hist_slot *slot = &history->slots[i];
        bool inside = sequence >= group->first;
        if (history->now->values[FRAME_PRESENT][i] != 0)
            slot->seen_ms = history->now->when_ms;
        for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
            uint64_t value = history->now->values[c][i];
            if (!inside) {
                tail_reset(&slot->streams[c], value);
            } else if (value != slot->streams[c].last) {
                if (tail_reserve(&slot->streams[c]) < 0)
                    return -ENOMEM;
                tail_change(&slot->streams[c], (uint32_t)(sequence - group->first), value);
            }
        }
        for (unsigned c = 0; !inside && c < HIST_COUNTERS; c++)
            slot->start[c] = history->now->counters[c][i];
    }
    size_t at = sequence % TICK_RING;
    history->times_ms[at] = history->now->when_ms;
    history->cpu_capacity[at] = (int64_t)history->now->capacity.cpu;
    history->memory_capacity[at] = (int64_t)history->now->capacity.memory;
    return 0;
}

/* Where frames are missing or damaged, the chunks that need them end before and start after. */
static void lose_ticks(struct history *history, uint64_t sequence)
{
    for (uint32_t g = 0; g < history->n_groups; g++)
        history->groups[g].first = MAX(history->groups[g].first, sequence);
    for (uint32_t i = 0; i < history->slots_room; i++) {
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            tail_reset(&history->slots[i].streams[c], 0);
    }
}

static int replay_frame(struct history *history, struct replay *replay, uint64_t sequence,
    const void *bytes, size_t size)
{
    if (!replay->any || sequence != history->sequence) {
        memset(replay->based, 0, sizeof(replay->based));
        lose_ticks(history, sequence);
    }
    history->sequence = sequence + 1;
    int r = copy_state(history->now, history->before);
    if (r == 0)
        r = frame_decode(history->codec, bytes, size, replay->based, history->now);
    if (r == -EPROTO || r == -ENOMEM)
        return r;
    if (r < 0) {
        atomic_fetch_add(&history->damaged, 1);
        memset(replay->based, 0, sizeof(replay->based));
        lose_ticks(history, sequence + 1);
        return 0;
    }
    r = replay_tick(history, sequence);
    if (r < 0)
        return r;
    hist_top_add(history, history->now);
    if (replay->any)
        hist_note_step(history, history->now->when_ms - history->before->when_ms);
    struct frame_state *last = history->before;
    history->before = history->now;
    history->now = last;
    history->sequence = sequence + 1;
    replay->any = true;
    return 0;
}

static int read_frames(struct history *history, struct ac_error *error)
{
    cleanup_free struct replay *replay = mem_alloc(sizeof(*replay));
    sqlite3_stmt *statement cleanup_reset = NULL;
    if (replay == NULL)
        return error_set(error, -ENOMEM, "no memory");
    int r = hist_sql(&history->write, HIST_FRAME_EACH, &statement, error);
    while (r == 0) {
        r = sql_step(&history->write.connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = replay_frame(history, replay, (uint64_t)sqlite3_column_int64(statement, 0),
            sqlite3_column_blob(statement, 1), (size_t)sqlite3_column_bytes(statement, 1));
        if (r < 0)
            return error_errno(error, r, "%s: reading back", history->write.connection.path);
    }
    return r;
}

/* Groups that no frame reached, and slots behind the last frame, start at the next tick. */
static void settle(struct history *history, int64_t after)
{
    history->sequence = MAX(history->sequence, (uint64_t)after);
    for (uint32_t g = 0; g < history->n_groups; g++) {
        struct hist_group *group = &history->groups[g];
        if (group->first > history->sequence || history->sequence - group->first > TICK_RING / 2)
            group->first = history->sequence;
    }
    history->before->n = MAX(history->before->n, history->n_slots);
    history->n_slots = history->before->n;
}

int hist_recover(struct history *history, struct ac_error *error)
{
    int64_t tenures = 0;
    int64_t subjects = 0;
    int64_t after = 0;
    int r = read_rows(history, HIST_TENURE_OPEN, put_tenure, error);
    if (r == 0)
        r = read_max(history, "SELECT max(id) FROM tenure", &tenures, error);
    if (r == 0)
        r = read_max(history, "SELECT max(id) FROM subject", &subjects, error);
    if (r == 0)
        r = read_max(history, "SELECT max(seq) FROM part", &after, error);
    if (r == 0)
        r = read_rows(history, HIST_PART_EACH, put_part, error);
    sqlite3_stmt *counts cleanup_reset = NULL;
    if (r == 0)
        r = hist_series_sql(&history->write, SERIES_CHUNK, SERIES_COUNTS, &counts, error);
    if (r == 0)
        r = for_rows(history, counts, put_count, error);
    if (r == 0)
        r = read_frames(history, error);
    if (r < 0)
        return r;
    history->next_tenure = MAX(history->next_tenure, tenures + 1);
    history->next_subject = MAX(history->next_subject, subjects + 1);
    settle(history, after);
    atomic_store(&history->went_back, history->write.went_back_ms > 0);
    r = hist_top_recover(history, error);
    history->force_keys = true;
    return r;
}
