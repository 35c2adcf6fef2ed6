/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Usage history on disk (docs/history.md, docs/history-format.md). One call per tick hands over
 * all subjects; queries name a subject and a span of wall time and get rows of a fixed step.
 *
 * Every tick is kept for the raw time, then minutes, hours and days. What is not known stays
 * unknown, what was not recorded is a gap; neither is ever 0.
 *
 * All functions are safe from any thread. history_tick commits before it returns and may block
 * on the disk (unless .background); queries block too, but never hold up a tick for longer than it
 * takes to copy the open minutes of the subjects that they ask for. Nor do queries wait for each
 * other: where the receiver of one takes its time, the log of the database may grow meanwhile.
 */
#ifndef AC_STORE_HISTORY_H
#define AC_STORE_HISTORY_H

#include <stdatomic.h>

#include "store/store.h"

struct history;

/* 0 = the default in brackets. */
struct history_options {
    uint64_t keep_minutes_ns; /* [14 d] how long minute rows stay */
    uint64_t keep_raw_ns;     /* [48 h] every tick */
    uint64_t keep_hours_ns;   /* [30 d] */
    uint64_t keep_days_ns;    /* [730 d] */
    uint64_t budget_bytes;    /* [none] of history.db: the oldest raw data goes first, then
                                 minutes, then hours */
    bool full_sync;           /* fsync at each tick: a committed tick survives power loss */
    bool background;          /* a thread of its own writes: history_tick never waits for the
                                 disk, and its answer is that of an earlier tick */
    const char *directory;    /* [the store's] where history.db is */
    const char *vfs;          /* [SQLite's] for tests */
};

/* Puts history.db beside @store's database (borrowed; NULL and no directory = no history: ticks
 * are accepted and dropped, ranges are empty). Reads back what is not in chunks yet. Returns 0;
 * -EBUSY where another process has it; -EPROTONOSUPPORT for a newer schema; -errno. */
int history_open(struct store *store, const struct history_options *options,
    struct history **ret_history, struct ac_error *error);

/* Nothing is lost without it: it only truncates the log. NULL is fine. */
void history_close(struct history *history);

/* Exact counters of a subject since it began. A counter that goes back has started anew. */
struct history_totals {
    uint32_t known; /* bits: 1 cpu_ns, 2 disk_bytes, 4 network_bytes */
    uint64_t cpu_ns;
    uint64_t disk_bytes;
    uint64_t network_bytes;
};

/* Whose samples a question is about: a uid or one of these. The machine is everybody's. */
#define HISTORY_ANYBODY (-1) /* whoever they belonged to */
#define HISTORY_UNOWNED (-2) /* those of whom it is not known */

static inline int64_t history_owner_of(uint32_t uid)
{
    return uid == UINT32_MAX ? HISTORY_UNOWNED : (int64_t)uid;
}

/* What is known of a subject besides its usage: for filters and groups, also when it is gone. */
struct history_about {
    bool known; /* false: nothing of it is, as of the machine */
    enum ac_philosophy philosophy;
    uint32_t labels_size;
    const char *labels; /* as agent_labels_next takes them; borrowed */
    /* A uid, or HISTORY_UNOWNED. A name that passes to another owner is another subject: what was
     * recorded before stays with the one before. */
    int64_t owner;
};

struct history_row {
    const char *subject; /* agent id, "" = the machine */
    const struct ac_usage *usage;
    const struct history_totals *totals; /* NULL = none: integrated from the rates */
    uint32_t processes;                  /* 0 = unknown */
    struct history_about about;          /* the last one that was known is kept */
};

/* One tick. @when_ns: wall. A failure loses nothing that was committed before, leaves a gap and
 * may be followed by further ticks: recording resumes by itself. Returns 0 or -errno; -EINVAL
 * where a subject's name is too long, with all others recorded; -EAGAIN where .background has
 * four ticks waiting. */
int history_tick(struct history *history, int64_t when_ns, const struct history_row *rows,
    size_t n_rows, struct ac_error *error);

/* Waits until all ticks are written. Returns what the last one got. */
int history_flush(struct history *history, struct ac_error *error);

struct history_status {
    uint64_t ticks;
    uint64_t failed_ticks;
    uint64_t refused_ticks; /* .background: four were waiting already */
    uint32_t waiting_ticks; /* .background: now */
    uint64_t commit_sum_ns; /* the time that all recorded ticks took */
    uint64_t commit_last_ns;
    uint64_t commit_max_ns;
    int last_error;           /* of the last tick; 0 = recording */
    int64_t failing_since_ns; /* wall; 0 = recording */
    uint64_t damaged;         /* rows or sections that could not be read, since the start */
    uint64_t file_bytes;      /* of history.db, without free pages */
    uint64_t memory_bytes;
    int64_t raw_since_ns; /* the budget dropped raw data before; 0 = it did not */
    uint32_t subjects;    /* with a slot now */
};

/* Never waits for the disk: while a tick is being written, the figures are those of the one before.
 */
void history_status(struct history *history, struct history_status *ret_status);

enum history_tier_kind { HISTORY_RAW, HISTORY_MINUTES, HISTORY_HOURS, HISTORY_DAYS };
#define HISTORY_TIERS 4

/* What a tier holds in the database. Ticks of the last minutes are not in rows yet. */
struct history_tier {
    uint64_t rows;
    int64_t oldest_ns; /* wall; 0 = there is none */
};

/* Counts the rows: a query, which on a large history takes its time. 0 or -errno. */
int history_tiers(
    struct history *history, struct history_tier ret_tiers[HISTORY_TIERS], struct ac_error *error);

/* A step of history: unknown values have no bit in .known of all three. */
struct history_point {
    int64_t from_ns;
    uint64_t step_ns;
    uint32_t samples;
    struct ac_usage mean;
    struct ac_usage min;
    struct ac_usage max;
    /* What was used in it; NaN = unknown, or not asked for. Between the totals at the edges of
     * chunks, in the proportion of the rates. */
    double cpu_seconds;
    double disk_bytes;
    double network_bytes;
};

typedef int (*history_fn)(void *userdata, const struct history_point *point);

/* Queries of the calling thread end with -ECANCELED soon after *@cancel has become true, also
 * within a long statement. NULL = they run to their end. */
void history_cancel_by(const atomic_bool *cancel);

/* Points of @subject, whoever owned it, with from <= point.from_ns < to, oldest first, in steps of
 * at least
 * @step_ns (rounded up to what is stored). Gaps have no point. A non-zero return of @each ends
 * it and is returned. At most @limit points. */
int history_range(struct history *history, const char *subject, int64_t from_ns, int64_t to_ns,
    uint64_t step_ns, uint32_t limit, history_fn each, void *userdata, struct ac_error *error);

/* What an answer is made of. */
struct history_info {
    uint64_t resolution_ns; /* of the coarsest data in it; 0 = single samples only */
    uint32_t gaps;          /* spans without a sample that are longer than 3 ticks */
    uint64_t gap_ns;
    uint32_t damaged;   /* parts that could not be read and are missing */
    double error_bound; /* relative, of a quantile; 0 = exact */
    bool limited;       /* ended at the limit */
};

#define HISTORY_METRICS_ALL 0xffffffffu

/* The same with more to say. Fields that are 0 mean: no limit, all metrics, cannot be cancelled. */
struct history_query {
    const char *subject;
    int64_t owner;
    int64_t from_ns;
    int64_t to_ns;
    uint64_t step_ns;
    uint32_t limit;
    uint32_t metrics;          /* enum ac_usage_field bits: only these are decoded */
    bool used;                 /* .cpu_seconds and so on of the metrics that are decoded */
    const atomic_bool *cancel; /* becomes true: -ECANCELED */
};
int history_range_query(struct history *history, const struct history_query *query, history_fn each,
    void *userdata, struct history_info *ret_info, struct ac_error *error);

/* A subject of the past or present; borrowed for the call. */
struct history_subject {
    const char *name;
    struct history_about about;
};

/* Samples of that name that belong to @owner. */
struct history_whose {
    const char *subject;
    int64_t owner;
};

/* Whether anything of it was ever recorded and is kept. 1, 0 or -errno. */
int history_has(struct history *history, const struct history_whose *whose, struct ac_error *error);

/* Subjects of @owner that have history in the span, by name; also those that were away in just that
 * span, for less than twenty minutes. @each may not call back. */
int history_subjects(struct history *history, int64_t owner, int64_t from_ns, int64_t to_ns,
    uint32_t limit, int (*each)(void *userdata, const struct history_subject *subject),
    void *userdata, struct ac_error *error);

enum history_aggregate { HISTORY_MEAN, HISTORY_MAX, HISTORY_SUM };

struct history_top_row {
    char subject[AC_AGENT_ID_MAX + 1];
    double value; /* in the resource's unit: cores, MiB, MiB/s, count; sum: unit * seconds */
};

/* The @n (up to 1,000) subjects of the largest @aggregate of @resource in the span, largest
 * first; agents only, not the machine. @filter (NULL = all) says who takes part; it runs
 * without a lock. Answers come from minutes (hours for what is older than 3 h): the span is
 * rounded to them. Returns how many, or -errno. */
typedef bool (*history_filter)(void *userdata, const struct history_subject *subject);
int history_top(struct history *history, enum ac_resource resource,
    enum history_aggregate aggregate, int64_t from_ns, int64_t to_ns, uint32_t n,
    history_filter filter, void *userdata, struct history_top_row *ret_rows,
    struct history_info *ret_info, struct ac_error *error);

/* Quantile @q in [0, 1] of @resource over all samples of the subjects in the span, in the
 * resource's unit. Exact where every sample is still there and the span is at most 2 h; else from
 * sketches (info.error_bound). NaN where there is no sample. Returns 0 or -errno. */
int history_quantile(struct history *history, enum ac_resource resource,
    const struct history_whose *subjects, size_t n_subjects, double q, int64_t from_ns,
    int64_t to_ns, double *ret_value, struct history_info *ret_info, struct ac_error *error);

/* What a subject used in the span, for charge-back. Unknown parts are NaN. Exact at the edges of
 * chunks; within one, integrated from its samples. */
struct history_usage {
    uint64_t samples;
    double cpu_seconds;
    double memory_gib_hours;
    double disk_bytes;
    double network_bytes;
};
int history_usage(struct history *history, const struct history_whose *whose, int64_t from_ns,
    int64_t to_ns, struct history_usage *ret_usage, struct history_info *ret_info,
    struct ac_error *error);

/* Checks every checksum, column and invariant, row by row. Calls @finding for each damage.
 * Returns the number of findings, or -errno. */
int64_t history_verify(struct history *history, void (*finding)(void *userdata, const char *text),
    void *userdata, struct ac_error *error);

#endif
