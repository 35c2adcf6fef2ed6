/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames that are kept, one after the other: what they change goes into the state of the last
 * tick and into the open chunks. All work is by change, not by slot and tick.
 *
 * Counters grow by rate and time. They are brought up to date where a rate changes, where a chunk
 * starts, and at the end; key blocks hold them exactly.
 *
 * Where frames are missing or damaged, nothing is known of a slot until the next key block of its
 * block: its agent counts as away for these ticks. What lies before stays.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_internal.h"

#define BLOCKS_MAX (FRAME_SLOTS_MAX / FRAME_BLOCK + 1)

struct replay {
    struct history *history;
    uint64_t sequence;     /* of the frame that is applied */
    bool any;              /* one was */
    uint64_t known;        /* sequence of the last frame that was applied, */
    int64_t last_ms;       /* and its time */
    uint64_t until_ms;     /* sum of all steps up to that */
    uint64_t now_ms;       /* and up to this one */
    int64_t newest_minute; /* the one of the newest frame */
    bool in_newest;        /* the last frame was in it */
    uint8_t based[BLOCKS_MAX];
    uint64_t lost[BLOCKS_MAX]; /* since when a block has no base */
    uint32_t room;
    uint64_t *since_ms[HIST_COUNTERS]; /* up to where a slot's counter is integrated */
};

/* ---- Counters ----------------------------------------------------------------------------- */

static int reserve(struct replay *replay, uint32_t slots)
{
    struct history *history = replay->history;
    if (hist_slots_reserve(history, MAX(slots, 1u)) < 0)
        return -ENOMEM;
    uint32_t room = history->before->room;
    for (unsigned c = 0; c < HIST_COUNTERS && room > replay->room; c++) {
        uint64_t *grown = mem_resize_array(replay->since_ms[c], room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        memset(grown + replay->room, 0, (room - replay->room) * sizeof(*grown));
        replay->since_ms[c] = grown;
    }
    replay->room = MAX(replay->room, room);
    return 0;
}

/* @slot had this rate since its counter was last brought up to date. */
static void integrate(struct replay *replay, const struct hist_metric_info *info, uint32_t slot,
    uint64_t rate, uint64_t until_ms)
{
    unsigned c = (unsigned)info->counter;
    uint64_t ms = until_ms - replay->since_ms[c][slot];
    if (rate > 0)
        replay->history->before->counters[c][slot] +=
            (rate - 1) * (uint64_t)(info->counter_rate / 1000) * ms;
    replay->since_ms[c][slot] = until_ms;
}

/* Up to the frame that was applied last. */
static void integrate_slots(struct replay *replay, uint32_t first, uint32_t end)
{
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct hist_metric_info *info = hist_metric_info(m);
        const uint64_t *values = replay->history->before->values[m];
        for (uint32_t i = first; info->counter >= 0 && i < MIN(end, replay->room); i++)
            integrate(replay, info, i, values[i], replay->now_ms);
    }
}

static void on_counted(void *userdata, uint32_t first, uint32_t n)
{
    struct replay *replay = userdata;
    struct history *history = replay->history;
    uint32_t block = first / FRAME_BLOCK;
    for (uint32_t i = first; i < first + n; i++) {
        struct hist_slot *slot = &history->slots[i];
        uint64_t start = history->groups[group_of(i)].first;
        /* The chunk started where nothing was known. */
        bool late = !replay->based[block] && start > replay->lost[block] &&
                    start <= replay->sequence && slot->from_ms < history->before->when_ms;
        for (unsigned c = 0; c < HIST_COUNTERS; c++) {
            uint64_t counter = history->before->counters[c][i];
            replay->since_ms[c][i] = replay->now_ms;
            /* (A start that was integrated may be a little too high.) */
            slot->start[c] = late ? counter : MIN(slot->start[c], counter);
        }
    }
}

/* ---- Open chunks -------------------------------------------------------------------------- */

static void start_group(struct replay *replay, uint32_t group)
{
    struct history *history = replay->history;
    uint32_t first = group * GROUP_SLOTS;
    uint32_t end = MIN(first + GROUP_SLOTS, MIN(history->slots_room, replay->room));
    integrate_slots(replay, first, end);
    for (uint32_t i = first; i < end; i++) {
        struct hist_slot *slot = &history->slots[i];
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            tail_reset(&slot->streams[c], history->before->values[c][i]);
        for (unsigned c = 0; c < HIST_COUNTERS; c++)
            slot->start[c] = history->before->counters[c][i];
    }
}

/* The counters of an agent that is new at this tick start at 0. (What a slot's last agent did
 * lies before the open chunk: it was away for all of the chunk before.) */
static void arrive(struct replay *replay, uint32_t slot)
{
    struct history *history = replay->history;
    struct hist_slot *s = &history->slots[slot];
    if (s->subject == NULL || s->from_ms != history->before->when_ms)
        return;
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        history->before->counters[c][slot] = s->start[c] = 0;
        replay->since_ms[c][slot] = replay->until_ms;
    }
}

static inline int change(
    struct history *history, uint32_t slot, unsigned column, uint64_t sequence, uint64_t value)
{
    uint64_t first = history->groups[group_of(slot)].first;
    struct tail_stream *stream = &history->slots[slot].streams[column];
    if (sequence < first)
        return 0;
    if (tail_reserve(stream) < 0)
        return -ENOMEM;
    tail_change(stream, (uint32_t)(sequence - first), value);
    return 0;
}

static int on_changed(
    void *userdata, unsigned column, const uint32_t *slots, const uint64_t *before, uint32_t n)
{
    struct replay *replay = userdata;
    struct history *history = replay->history;
    const struct hist_metric_info *info = hist_metric_info(column);
    const uint64_t *values = history->before->values[column];
    for (uint32_t k = 0; info != NULL && info->counter >= 0 && k < n; k++)
        integrate(replay, info, slots[k], before[k], replay->until_ms);
    for (uint32_t k = 0; column == FRAME_PRESENT && k < n; k++) {
        if (before[k] == 0)
            arrive(replay, slots[k]);
        else if (values[slots[k]] == 0)
            history->slots[slots[k]].seen_ms = replay->last_ms;
    }
    for (uint32_t k = 0; k < n; k++) {
        if (change(history, slots[k], column, replay->sequence, values[slots[k]]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static void note_seen(struct replay *replay)
{
    const struct frame_state *state = replay->history->before;
    for (uint32_t i = 0; i < MIN(state->n, replay->room); i++) {
        if (state->values[FRAME_PRESENT][i] != 0)
            replay->history->slots[i].seen_ms = replay->last_ms;
    }
}

/* Chunks whose first tick is in (@from, @to]. */
static void start_groups(struct replay *replay, uint64_t from, uint64_t to)
{
    for (uint32_t g = 0; g < replay->history->n_groups; g++) {
        uint64_t first = replay->history->groups[g].first;
        if (first > from && first <= to)
            start_group(replay, g);
    }
}

/* Nothing is known from tick @sequence on. */
static int forget(struct replay *replay, uint64_t sequence)
{
    struct history *history = replay->history;
    integrate_slots(replay, 0, replay->room);
    note_seen(replay);
    for (uint32_t b = 0; b < BLOCKS_MAX; b++) {
        if (replay->based[b])
            replay->lost[b] = sequence;
        replay->based[b] = 0;
    }
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        for (uint32_t i = 0; i < replay->room; i++) {
            uint64_t *value = &history->before->values[c][i];
            if (*value != 0 && change(history, i, c, sequence, 0) < 0)
                return -ENOMEM;
            *value = 0;
        }
    }
    return 0;
}

/* The open chunks start at tick @sequence, or later. */
static void begin(struct replay *replay, uint64_t sequence)
{
    struct history *history = replay->history;
    for (uint32_t g = 0; g < history->n_groups; g++)
        history->groups[g].first = MAX(history->groups[g].first, sequence);
    for (uint32_t i = 0; i < history->slots_room; i++) {
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            tail_reset(&history->slots[i].streams[c], 0);
    }
}

/* ---- Frames ------------------------------------------------------------------------------- */

static void note_time(struct history *history, uint64_t sequence, int64_t when_ms)
{
    size_t at = sequence % TICK_RING;
    history->times_ms[at] = when_ms;
    history->cpu_capacity[at] = (int64_t)history->before->capacity.cpu;
    history->memory_capacity[at] = (int64_t)history->before->capacity.memory;
}

/* Ticks that are lost before @end lie evenly between those around them. */
static void note_lost_times(struct replay *replay, uint64_t end, int64_t end_ms)
{
    uint64_t n = end - replay->known;
    for (uint64_t i = 1; i < n; i++)
        note_time(replay->history, replay->known + i,
            replay->last_ms + (end_ms - replay->last_ms) / (int64_t)n * (int64_t)i);
}

static int apply(
    struct replay *replay, const struct frame_head *head, const void *bytes, size_t size)
{
    struct history *history = replay->history;
    const struct frame_watch watch = {replay, on_changed, on_counted};
    int64_t step = head->when_ms - history->before->when_ms;
    replay->until_ms = replay->now_ms;
    replay->now_ms += (uint64_t)hist_step_ms(history, step);
    int r = frame_decode(history->codec, bytes, size, replay->based, history->before, &watch);
    if (r < 0)
        return r;
    start_groups(replay, replay->sequence, replay->sequence + 1);
    if (replay->any) {
        hist_note_step(history, step);
        note_lost_times(replay, replay->sequence, head->when_ms);
    }
    note_time(history, replay->sequence, head->when_ms);
    replay->known = replay->sequence;
    replay->last_ms = head->when_ms;
    replay->any = true;
    return 0;
}

/* Only the newest minute is added up: those before are in rows of their own. */
static void add_up(struct replay *replay)
{
    int64_t when_ms = replay->history->before->when_ms;
    bool newest = MAX(when_ms, 0) / MINUTE_MS == replay->newest_minute;
    if (newest || replay->in_newest) /* leaving it empties the sums */
        hist_top_add(replay->history, replay->history->before);
    replay->in_newest = newest;
}

/* Frames from history->sequence up to @sequence are lost. */
static int lose(struct replay *replay, uint64_t sequence)
{
    struct history *history = replay->history;
    uint64_t first = history->sequence;
    int r = forget(replay, first);
    history->sequence = sequence;
    if (r < 0)
        return r;
    if (replay->any && sequence - replay->known <= CHUNK_TICKS) {
        start_groups(replay, first, sequence);
        return 0;
    }
    begin(replay, sequence);
    replay->any = false;
    return 0;
}

static int replay_frame(struct replay *replay, uint64_t sequence, const void *bytes, size_t size)
{
    struct history *history = replay->history;
    struct frame_head head;
    int whole = frame_check(bytes, size, &head);
    int r = whole == -EPROTO ? whole : 0;
    if (r == 0 && (sequence != history->sequence || !replay->any))
        r = lose(replay, sequence);
    replay->sequence = sequence;
    if (r == 0 && whole == 0)
        r = reserve(replay, head.n);
    if (r == 0)
        r = whole == 0 ? apply(replay, &head, bytes, size) : whole;
    if (r == -EBADMSG) {
        atomic_fetch_add(&history->damaged, 1);
        return lose(replay, sequence + 1);
    }
    history->sequence = sequence + 1;
    if (r == 0)
        add_up(replay);
    return r;
}

static int read_frames(struct replay *replay, struct ac_error *error)
{
    struct hist_db *db = &replay->history->write;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, HIST_FRAME_EACH, &statement, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = replay_frame(replay, (uint64_t)sqlite3_column_int64(statement, 0),
            sqlite3_column_blob(statement, 1), (size_t)sqlite3_column_bytes(statement, 1));
        if (r < 0)
            return error_errno(error, r, "%s: reading back", db->connection.path);
    }
    return r;
}

static int find_newest(struct replay *replay, struct ac_error *error)
{
    struct hist_db *db = &replay->history->write;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, HIST_FRAME_NEWEST, &statement, error);
    while (r == 0) {
        struct frame_head head;
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = 0;
        if (frame_check(sqlite3_column_blob(statement, 0),
                (size_t)sqlite3_column_bytes(statement, 0), &head) < 0)
            continue;
        replay->newest_minute = MAX(head.when_ms, 0) / MINUTE_MS;
        break;
    }
    return r;
}

/* Brings everything up to the last tick. */
static void finish(struct replay *replay)
{
    struct history *history = replay->history;
    int64_t lost = (int64_t)(history->sequence - replay->known) - 1;
    integrate_slots(replay, 0, replay->room);
    note_seen(replay);
    if (replay->any)
        note_lost_times(
            replay, history->sequence, replay->last_ms + (lost + 1) * history->typical_ms);
    for (uint32_t g = 0; g < history->n_groups; g++) {
        struct hist_group *group = &history->groups[g];
        bool later = group->first > history->sequence;
        if (!later && history->sequence - group->first <= TICK_RING / 2)
            continue;
        group->first = history->sequence;
        start_group(replay, g);
    }
    history->before->n = MAX(history->before->n, history->n_slots);
    history->n_slots = history->before->n;
}

int hist_replay(struct history *history, uint64_t after, struct ac_error *error)
{
    cleanup_free struct replay *replay = mem_alloc(sizeof(*replay));
    if (replay == NULL)
        return error_set(error, -ENOMEM, "no memory");
    replay->history = history;
    int r = find_newest(replay, error);
    if (r == 0)
        r = read_frames(replay, error);
    if (r == 0 && history->sequence < after && lose(replay, after) < 0)
        r = error_set(error, -ENOMEM, "no memory");
    if (r == 0)
        finish(replay);
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        mem_free(replay->since_ms[c]);
    return r;
}
