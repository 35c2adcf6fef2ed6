/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: rows of the database and the minute in memory as one. */
#include "store/history.h"

#include <errno.h>
#include <string.h>

#include "store/history_internal.h"

/* Steps of whole minutes, counted from 1970, and the one that is being filled. */
struct range {
    int64_t step; /* minutes */
    int64_t to_ns;
    int64_t bucket;
    struct fold fold;
    uint32_t left;
    history_fn each;
    void *userdata;
};

static int emit(struct range *range)
{
    if (range->fold.samples == 0 || range->left == 0)
        return 0;
    struct history_point point = {
        .from_ns = range->bucket * range->step * HISTORY_MINUTE_NS,
        .step_ns = (uint64_t)range->step * (uint64_t)HISTORY_MINUTE_NS,
    };
    fold_point(&range->fold, &point);
    range->fold = (struct fold){0};
    range->left--;
    return range->each(range->userdata, &point);
}

static int add_minute(struct range *range, int64_t minute, const struct fold *fold)
{
    int64_t bucket = history_floor(minute, range->step);
    if (bucket != range->bucket) {
        int r = emit(range);
        if (r != 0)
            return r;
        range->bucket = bucket;
    }
    fold_merge(&range->fold, fold);
    return 0;
}

/* The minutes [*first, *last] that may have something: asked for and, widened by the minute in
 * memory, in the subject's span. */
struct source {
    int64_t id;                        /* 0 = not in the database */
    const struct history_entry *entry; /* NULL = not in memory */
    int64_t first;
    int64_t last;
};

static int find_source(
    struct history *history, const char *subject, struct source *ret_source, struct ac_error *error)
{
    struct source source = {.first = INT64_MAX, .last = INT64_MIN};
    int r = history_find_subject(history, subject, &source.id, &source.first, &source.last, error);
    if (r < 0)
        return r;
    source.entry = strmap_get(history->by_name, subject);
    if (source.entry && source.entry->fold.samples > 0) {
        source.first = MIN(source.first, history->minute);
        source.last = MAX(source.last, history->minute);
    }
    *ret_source = source;
    return 0;
}

/* Returns 1 with what is known of the minute, 0 with nothing, or -errno. */
static int read_minute(struct history *history, const struct source *source, int64_t minute,
    struct fold *ret_fold, struct ac_error *error)
{
    int r = 0;
    *ret_fold = (struct fold){0};
    if (source->id != 0)
        r = history_get_minute(history, source->id, minute, ret_fold, error);
    if (r < 0)
        return r;
    if (source->entry && minute == history->minute)
        fold_merge(ret_fold, &source->entry->fold);
    return ret_fold->samples > 0;
}

static int walk(struct history *history, const struct source *source, struct range *range,
    struct ac_error *error)
{
    for (int64_t minute = source->first; minute <= source->last && range->left > 0; minute++) {
        struct fold fold;
        int r = read_minute(history, source, minute, &fold, error);
        if (r == 1)
            r = add_minute(range, minute, &fold);
        if (r != 0)
            return r;
    }
    return emit(range);
}

int history_range(struct history *history, const char *subject, int64_t from_ns, int64_t to_ns,
    uint64_t step_ns, uint32_t limit, history_fn each, void *userdata, struct ac_error *error)
{
    struct source source;
    if (!history->store || from_ns >= to_ns)
        return 0;
    int r = find_source(history, subject, &source, error);
    if (r < 0)
        return r;
    struct range range = {.left = limit, .each = each, .userdata = userdata, .bucket = INT64_MIN};
    uint64_t minutes =
        step_ns / (uint64_t)HISTORY_MINUTE_NS + (step_ns % (uint64_t)HISTORY_MINUTE_NS != 0);
    minutes = MIN(minutes, (uint64_t)(INT64_MAX / HISTORY_MINUTE_NS));
    range.step = minutes > 0 ? (int64_t)minutes : 1;
    /* The first step that begins at or after from, the last that begins before to. */
    int64_t span = range.step * HISTORY_MINUTE_NS;
    int64_t first = history_floor(from_ns, span) + (from_ns % span != 0);
    int64_t last = history_floor(to_ns - 1, span);
    source.first = MAX(source.first, first * range.step);
    source.last = MIN(source.last, last * range.step + range.step - 1);
    return walk(history, &source, &range, error);
}

struct subjects {
    int64_t from; /* minutes */
    int64_t to;
    uint32_t left;
    int (*each)(void *userdata, const char *subject);
    void *userdata;
};

static int stored_subjects(
    struct history *history, struct subjects *subjects, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = history_sql(history, HISTORY_SQL_SUBJECTS, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, subjects->from);
    bind_int(&binder, subjects->to);
    bind_int(&binder, subjects->left);
    r = sql_bound(history->store, &binder, error);
    while (r == 0) {
        r = sql_step(history->store, statement, "reading history", error);
        if (r <= 0)
            return r;
        struct reader reader = {.statement = statement};
        subjects->left--;
        r = subjects->each(subjects->userdata, read_word(&reader));
    }
    return r;
}

/* Those of the minute in memory that the database does not know yet, or not in this span. */
static int further_subjects(
    struct history *history, struct subjects *subjects, struct ac_error *error)
{
    int r = 0;
    for (size_t i = 0; i < history->n_entries && subjects->left > 0 && r == 0; i++) {
        struct history_entry *entry = history->entries[i];
        if (entry->fold.samples == 0)
            continue;
        if (entry->id == 0)
            r = history_find_subject(
                history, entry->name, &entry->id, &entry->first_minute, &entry->last_minute, error);
        if (r < 0)
            return r;
        r = 0;
        if (entry->id != 0 && entry->last_minute >= subjects->from &&
            entry->first_minute < subjects->to)
            continue;
        subjects->left--;
        r = subjects->each(subjects->userdata, entry->name);
    }
    return r;
}

int history_subjects(struct history *history, int64_t from_ns, int64_t to_ns, uint32_t limit,
    int (*each)(void *userdata, const char *subject), void *userdata, struct ac_error *error)
{
    if (!history->store || from_ns >= to_ns)
        return 0;
    struct subjects subjects = {
        .from = history_floor(from_ns, HISTORY_MINUTE_NS),
        .to = history_floor(to_ns - 1, HISTORY_MINUTE_NS) + 1,
        .left = limit,
        .each = each,
        .userdata = userdata,
    };
    int r = stored_subjects(history, &subjects, error);
    if (r != 0 || history->minute < subjects.from || history->minute >= subjects.to)
        return r;
    return further_subjects(history, &subjects, error);
}
