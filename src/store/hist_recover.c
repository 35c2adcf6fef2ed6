/* SPDX-License-Identifier: Apache-2.0 */
/* Reading back what was there: slots from their tenures, the open chunks from the frames. */
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
    char labels[AGENT_LABELS_MAX_BYTES];
    const struct history_about about = hist_about_read(&reader, labels);
    if (reader.damaged || slot >= FRAME_SLOTS_MAX ||
        hist_subject_get(history, name, about.owner) != NULL)
        return -EUCLEAN;
    if (hist_slots_reserve(history, slot + 1) < 0)
        return -ENOMEM;
    struct hist_slot *s = &history->slots[slot];
    if (s->subject != NULL)
        return -EUCLEAN;
    struct hist_subject *subject = hist_subject_add(history, id, name, about.owner);
    if (subject == NULL)
        return -ENOMEM;
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
        r = hist_replay(history, (uint64_t)after, error);
    if (r < 0)
        return r;
    history->next_tenure = MAX(history->next_tenure, tenures + 1);
    history->blank = subjects == 0;
    history->next_subject = MAX(history->next_subject, subjects + 1);
    atomic_store(&history->went_back, history->write.went_back_ms > 0);
    r = hist_top_recover(history, error);
    history->force_keys = true;
    return r;
}
