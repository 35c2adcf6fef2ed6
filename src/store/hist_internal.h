/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the history: who has which slot, what is not in a chunk yet, and the work in progress.
 *
 * A tick exists in memory exactly if it is committed: a tick that fails leaves no trace, so
 * what is read back after a crash is what was there.
 */
#ifndef AC_STORE_HIST_INTERNAL_H
#define AC_STORE_HIST_INTERNAL_H

#include <pthread.h>

#include "base/map.h"
#include "store/hist_db.h"
#include "store/hist_frame.h"
#include "store/hist_roll.h"
#include "store/hist_row.h"
#include "store/hist_tail.h"
#include "store/history.h"

#define GROUP_SLOTS      16
#define CHUNK_TICKS      600
#define MERGE_CHUNKS     6
#define MERGE_CHUNKS_MAX 7 /* of HIST_COLUMN_MAX ticks at most */
#define DAY_HOURS        24
#define TICK_RING        2048 /* ticks in memory; a group is closed long before */
#define SLOT_NONE        UINT32_MAX
#define SEEN_UNKNOWN     INT64_MAX /* it was there before the restart */
#define HIST_KEY_OWNER   8         /* letters of a key that say whose the name is */
#define MS               INT64_C(1000000)
#define MINUTE_MS        INT64_C(60000)
#define HOUR_MS          INT64_C(3600000)

struct hist_subject {
    int64_t id;
    uint32_t slot;                /* SLOT_NONE: has none now */
    bool stored;                  /* its row is in the database */
    bool about_stored;            /* what .about_hash is of is in the database */
    uint64_t about_hash;          /* 0 = nothing is known */
    struct history_about pending; /* until it is stored; .labels is the subject's own */
    int64_t owner;
    const char *name; /* in .key */
    char key[HIST_KEY_OWNER + AC_AGENT_ID_MAX + 1];
};

struct hist_slot {
    struct hist_subject *subject; /* NULL = free */
    int64_t tenure;               /* id of its row */
    bool tenure_stored;
    int64_t from_ms;
    int64_t seen_ms;                  /* the last tick at which it was there, or SEEN_UNKNOWN;
                                         nothing while it is there: hist_slot_seen */
    uint64_t given[HIST_COUNTERS];    /* last totals handed in */
    uint64_t at_given[HIST_COUNTERS]; /* the counters then */
    uint32_t given_known;
    uint64_t start[HIST_COUNTERS]; /* counters at the start of the open chunk */
    struct tail_stream streams[FRAME_COLUMNS];
};

struct hist_group {
    uint64_t first;  /* sequence of the first tick of the open chunk */
    uint32_t chunks; /* rows in SERIES_CHUNK */
    uint32_t idle;   /* turns without one, the last ones */
    bool merge_due;
};

/* What a commit will change in memory. */
struct hist_closed {
    uint32_t group;
    uint32_t released; /* bit per slot: its agent has gone */
    bool row;          /* a chunk was written */
};

struct hist_merge; /* hist_merge.c */
struct hist_top;   /* hist_top.c */

struct history {
    struct hist_worker *worker; /* NULL = ticks are written by the caller's thread */
    bool none;                  /* no database: accept and drop */
    pthread_mutex_t lock;       /* everything but .read */
    pthread_mutex_t query_lock; /* .read_taken */
    bool read_taken;            /* .read is some query's */
    struct history_options options;
    int dir_fd;
    int lock_fd;
    struct hist_db write;
    struct hist_db read;
    struct frame_codec *codec;
    struct frame_state states[2];
    struct frame_state *before; /* the last committed tick */
    struct frame_state *now;
    uint64_t sequence; /* of the next tick */
    int64_t times_ms[TICK_RING];
    int64_t cpu_capacity[TICK_RING];
    int64_t memory_capacity[TICK_RING];
    int64_t typical_ms;    /* usual step, 0 = not known yet */
    struct strmap *by_key; /* of struct hist_subject: by name and owner */
    int64_t next_subject;
    int64_t next_tenure;
    struct hist_slot *slots;
    uint32_t n_slots; /* ever used: before->n */
    uint32_t slots_room;
    uint32_t lowest_free;
    uint32_t *row_slots; /* of the rows of the last tick, by their place: usually this tick's too */
    size_t row_slots_room;
    uint8_t *exact;    /* of each slot: its counters go with the frame of this tick */
    uint16_t *changed; /* bit per column: this tick differs from the last one */
    struct hist_group *groups;
    uint32_t n_groups;
    uint32_t used_slots;
    bool force_keys;  /* the next frame stands alone */
    bool slots_dirty; /* somebody has no row yet */
    bool blank;       /* nobody has */
    struct buf scratch;
    struct hist_closed *closed;
    uint32_t n_closed;
    uint32_t closed_room;
    struct hist_merge *merge;
    struct hist_top *top;
    int64_t expire_now_ms;       /* follows the clock, but not one that jumps ahead; 0 = not set */
    uint32_t expire_next;        /* group whose old rows are looked for next */
    int64_t budget_cutoff_ms[3]; /* raw, minutes, hours before are dropped; 0 = none */
    struct history_status status;
    pthread_mutex_t shown_lock; /* .shown; taken last */
    struct history_status shown;
    atomic_ulong damaged;  /* counted by queries too */
    atomic_bool went_back; /* the clock did, in what is kept: queries check their order */
};

static inline int64_t hist_ceil_ms(int64_t ns)
{
    return ns / MS + (ns % MS > 0);
}

/* Gives a failure words where nobody has yet. Returns @r. */
static inline int hist_explain(int r, struct ac_error *error)
{
    return r < 0 && error != NULL && error->code != r ? error_errno(error, r, "history") : r;
}

/* What the record of an hour or a day stands for: at another interval than a second its 3,600
 * ticks are more (or less) than an hour. */
static inline int64_t hist_record_ms(enum hist_series series, const struct row_axis *axis)
{
    int64_t whole = series == SERIES_DAY ? DAY_HOURS * HOUR_MS : HOUR_MS;
    int64_t span = wrap_sub(axis->times_ms[1], axis->times_ms[0]);
    return MIN(MAX(whole, span), 366 * DAY_HOURS * HOUR_MS);
}

/* When the agent of a slot was last there. */
static inline int64_t hist_slot_seen(const struct history *history, uint32_t slot)
{
    const struct frame_state *last = history->before;
    bool there = slot < last->n && last->values[FRAME_PRESENT][slot] != 0;
    return there ? last->when_ms : history->slots[slot].seen_ms;
}

static inline uint32_t group_of(uint32_t slot)
{
    return slot / GROUP_SLOTS;
}

/* The tick (of CHUNK_TICKS) at which a group closes: spread evenly. */
static inline uint64_t group_phase(uint32_t group)
{
    return (uint64_t)group * 389 % CHUNK_TICKS;
}

/* ---- hist_slots.c */

int hist_slots_reserve(struct history *history, uint32_t slots);
struct hist_subject *hist_subject_add(
    struct history *history, int64_t id, const char *name, int64_t owner);

/* NULL where it is not in memory. */
struct hist_subject *hist_subject_get(
    const struct history *history, const char *name, int64_t owner);

/* The slot of a subject; gives it one where it has none. 0, -ENOMEM, -ENOSPC, -errno. */
int hist_slot_take(struct history *history, const char *name, int64_t owner, int64_t when_ms,
    uint32_t *ret_slot, struct ac_error *error);

/* Whose a row's subject is. */
static inline int64_t hist_owner(const struct history_about *about)
{
    bool owned = about->known && about->owner >= 0 && about->owner < UINT32_MAX;
    return owned ? about->owner : HISTORY_UNOWNED;
}
void hist_slots_taken(struct history *history); /* after the last one of a tick */
void hist_slot_release(struct history *history, uint32_t slot);

/* Takes over what is known of a slot's subject where that is new. 0, -ENOMEM. */
int hist_slot_describe(struct history *history, uint32_t slot, const struct history_about *about);

/* Notes what the database knows of a subject. */
void hist_subject_note(struct hist_subject *subject, const struct history_about *about);

/* Reads philosophy, labels and owner, the next three columns; what makes no sense is not known.
 * @buffer (AGENT_LABELS_MAX_BYTES) is what .labels points into. */
struct history_about hist_about_read(struct reader *reader, char *buffer);

/* Writes subjects and tenures that are not in the database; marks them after the commit. */
int hist_slots_store(struct history *history, struct ac_error *error);
void hist_slots_stored(struct history *history);
void hist_slots_done(struct history *history);

/* ---- hist_read.c */

/* A connection for the calling thread's query. 0 or -errno. */
int hist_read_take(struct history *history, struct hist_db **ret_db, struct ac_error *error);
void hist_read_give(struct history *history, struct hist_db *db); /* ends its transaction */

/* Whether the calling thread's query should end; -ECANCELED for @r where that is why it failed. */
bool hist_cancelled(void);
int hist_cancel_code(int r, struct ac_error *error);

/* ---- hist_recover.c */
int hist_recover(struct history *history, struct ac_error *error);

/* ---- hist_replay.c: all frames into the state, the open chunks and the minute of the last one.
 * Slots, and where each group's open chunk starts, are there; ticks before @after were recorded. */
int hist_replay(struct history *history, uint64_t after, struct ac_error *error);

/* ---- hist_chunk.c */

/* Takes a tick over into the open chunks; reserve before the commit, apply behind it. */
int hist_tail_reserve(struct history *history);
void hist_tail_apply(struct history *history);

/* An axis of the ticks [first, end) of the ring. 0, -ENOMEM. */
int hist_axis(
    const struct history *history, uint64_t first, uint64_t end, struct row_axis *ret_axis);

/* A slot's open chunk as columns: buffers of n * (HIST_METRICS + 1) values. Returns how many
 * ticks the agent was there; the section starts at the first of them. */
uint32_t hist_section_open(const struct history *history, uint32_t slot, uint32_t n,
    int64_t *buffer, struct row_section *ret_section);

/* Writes the chunks of the groups that are due at this tick; hist_chunks_applied after the
 * commit. */
int hist_chunks_write(struct history *history, struct ac_error *error);
bool hist_group_closes(const struct history *history, uint32_t group, uint64_t sequence);
void hist_chunks_applied(struct history *history);

/* ---- hist_merge.c */

int hist_merge_new(struct hist_merge **ret_merge);
void hist_merge_free(struct hist_merge *merge);

/* One slice of merging chunks to hours and hours to days, inside the tick's transaction. */
int hist_merge_step(struct history *history, struct ac_error *error);
void hist_merge_applied(struct history *history);
void hist_merge_undo(struct history *history);

/* ---- hist_expire.c: retention and budget, a slice per tick */
int hist_expire_step(struct history *history, int64_t now_ms, struct ac_error *error);

/* ---- hist_top.c */
int hist_top_new(struct hist_top **ret_top);
void hist_top_free(struct hist_top *top);
int hist_top_reserve(struct hist_top *top, uint32_t slots);

/* Writes the minute (and hour) that ended before @when_ms; add and applied after the commit. */
int hist_top_write(struct history *history, int64_t when_ms, struct ac_error *error);
void hist_top_add(struct history *history, const struct frame_state *now);
int hist_top_recover(struct history *history, struct ac_error *error);
int hist_top_trim(struct history *history, int64_t now_ms, struct ac_error *error);
size_t hist_top_memory(const struct hist_top *top);

/* ---- hist_worker.c */
int hist_worker_start(struct history *history); /* 0, -ENOMEM, -EAGAIN */
void hist_worker_stop(struct history *history); /* writes what waits */
int hist_worker_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error);

void hist_worker_status(struct history *history, struct history_status *status);

/* ---- hist_open.c */
void hist_status_note(struct history *history, bool sizes); /* with .lock held */

/* ---- hist_counters.c */

/* Takes exact totals: the growth since they were handed in last, whatever was integrated since
 * then. Returns the counters that are known by it, a bit each. */
uint32_t hist_totals_take(
    struct history *history, uint32_t slot, const struct history_totals *totals);
void hist_totals_taken(struct history *history, const struct history_row *rows, size_t n_rows);

/* Integrates those that are not @given (a mask per slot) over a step. */
void hist_counters_step(struct history *history, const uint32_t *given, int64_t step_ms);

/* Fills .exact for the frame of this tick. */
void hist_counters_mark(struct history *history);

/* Writes the last frame again, as one that stands alone. */
void hist_counters_settle(struct history *history);

/* ---- hist_tick.c */

/* The tick itself, with its result noted in the status. */
int hist_tick_now(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error);

/* Milliseconds that a tick stands for: the step, or the usual one where there was a gap. */
int64_t hist_step_ms(const struct history *history, int64_t step_ms);
void hist_note_step(struct history *history, int64_t step_ms);

/* ---- hist_visit.c: all that is stored of a subject in a span, coarsest and oldest first */

struct hist_visitor {
    uint32_t metrics;        /* bit per metric: decoded */
    enum hist_series finest; /* SERIES_MERGED (every tick), SERIES_MINUTE, SERIES_HOUR */
    int64_t from_ms;
    int64_t to_ms;
    bool whole_days; /* a day that lies in the span may come in place of its hours */
    bool any_order;  /* the visitor does not mind, or looks itself */
    const atomic_bool *cancel;
    struct history_info *info;
    void *userdata;
    /* A section of ticks: metrics[m] is NULL where unknown or not wanted. */
    int (*ticks)(void *userdata, const struct row_axis *axis, const struct row_section *section);
    int (*minutes)(void *userdata, const struct row_axis *axis, uint32_t first,
        const struct roll_minutes *minutes);
    /* An hour or a day: times are its first and last sample. */
    int (*record)(void *userdata, enum hist_series series, const struct row_axis *axis,
        struct byte_reader *body);
};
/* -EAGAIN, before anything was visited, where the order may not be that of time. */
int hist_visit(struct history *history, const struct history_whose *whose,
    const struct hist_visitor *visitor, struct ac_error *error);

/* Metrics that a mask of ac_usage_field needs; the metric of a resource. */
uint32_t hist_metrics_for(uint32_t fields);
enum hist_metric hist_metric_of(enum ac_resource resource);

#endif
