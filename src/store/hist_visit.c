/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that is stored of a subject in a span of time, from the coarsest and oldest to the
 * open chunk in memory. Days stand in for hours that have gone, hours for minutes, minutes for
 * ticks: of each group, a tier starts where its oldest row is, and what is older comes from the
 * next coarser one.
 */
#include <errno.h>
#include <string.h>

#include "store/hist_internal.h"

struct tenancy {
    uint32_t slot;
    int64_t from_ms;
    int64_t to_ms; /* INT64_MAX: still */
};

/* The open chunk of a slot as it was when the query began. */
struct open_part {
    bool there;
    struct row_axis axis;
    struct row_section section;
    int64_t *buffer;
};

struct visit {
    struct history *history;
    struct hist_db *db;
    const struct hist_visitor *visitor;
    uint64_t *subjects; /* more than one where the name had several owners */
    size_t n_subjects;
    struct tenancy *tenancies;
    size_t n_tenancies;
    size_t tenancies_room;
    bool interleaved;        /* away in another group and back, or of several owners */
    struct open_part *open;  /* of each subject */
    enum hist_series series; /* of the rows that come */
    int64_t *buffer;         /* of one section */
    size_t buffer_room;
};

static void visit_done(struct visit *visit)
{
    for (size_t i = 0; visit->open != NULL && i < visit->n_subjects; i++) {
        mem_free(visit->open[i].buffer);
        row_axis_done(&visit->open[i].axis);
    }
    mem_free(visit->open);
    mem_free(visit->subjects);
    mem_free(visit->tenancies);
    mem_free(visit->buffer);
}

uint32_t hist_metrics_for(uint32_t fields)
{
    static const uint32_t needs[] = {
        1u << HIST_CPU | 1u << HIST_CPU_PERCENT,
        1u << HIST_CPU,
        1u << HIST_MEMORY,
        1u << HIST_MEMORY | 1u << HIST_MEMORY_PERCENT,
        1u << HIST_DISK_IO,
        1u << HIST_NETWORK_IO,
        1u << HIST_FILE_DESCRIPTORS,
    };
    uint32_t metrics = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
        if (fields >> i & 1)
            metrics |= needs[i];
    }
    return metrics;
}

enum hist_metric hist_metric_of(enum ac_resource resource)
{
    static const enum hist_metric metrics[AC_RESOURCE_COUNT] = {
        [AC_CPU] = HIST_CPU,
        [AC_MEMORY] = HIST_MEMORY,
        [AC_DISK_IO] = HIST_DISK_IO,
        [AC_NETWORK_IO] = HIST_NETWORK_IO,
        [AC_FILE_DESCRIPTORS] = HIST_FILE_DESCRIPTORS,
    };
    return metrics[resource];
}

/* ---- One row ------------------------------------------------------------------------------ */

struct finding {
    const struct visit *visit;
    struct row_entry entries[16]; /* sections of what is visited in one row */
    unsigned n;
};

static int find_entry(void *userdata, const struct row_entry *entry)
{
    struct finding *finding = userdata;
    const struct visit *visit = finding->visit;
    for (size_t i = 0; i < visit->n_subjects; i++) {
        if (entry->subject == visit->subjects[i] && finding->n < ARRAY_SIZE(finding->entries))
            finding->entries[finding->n++] = *entry;
    }
    return 0;
}

static int64_t *reserve_buffer(struct visit *visit, size_t values)
{
    if (values > visit->buffer_room) {
        mem_free(visit->buffer);
        visit->buffer = mem_alloc_array(values, sizeof(int64_t));
        visit->buffer_room = visit->buffer == NULL ? 0 : values;
    }
    return visit->buffer;
}

static int visit_ticks(
    struct visit *visit, const struct row_axis *axis, const struct row_entry *entry)
{
    struct row_view view;
    int r = row_section_read(entry, axis, &view);
    if (r < 0)
        return r;
    uint32_t n = entry->n;
    int64_t *buffer = reserve_buffer(visit, (size_t)n * (HIST_METRICS + 1));
    if (buffer == NULL)
        return -ENOMEM;
    struct row_section section = {.subject = entry->subject,
        .slot = entry->slot,
        .first = entry->first,
        .n = n,
        .present = buffer};
    r = column_decode(&view.present, buffer);
    for (unsigned m = 0; m < HIST_METRICS && r == 0; m++) {
        if (!(view.mask & visit->visitor->metrics & 1u << m))
            continue;
        int64_t *values = buffer + (size_t)(m + 1) * n;
        r = column_decode(&view.metrics[m], values);
        section.metrics[m] = values;
        const struct column_stats *stats = &view.metrics[m].stats;
        int counter = hist_metric_info(m)->counter;
        if (counter >= 0 && stats->has_totals) {
            section.totals.known |= 1u << counter;
            section.totals.start[counter] = stats->total_start;
            section.totals.end[counter] = stats->total_end;
        }
    }
    return r < 0 ? r : visit->visitor->ticks(visit->visitor->userdata, axis, &section);
}

static int visit_minutes(
    struct visit *visit, const struct row_axis *axis, const struct row_entry *entry)
{
    struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
    struct byte_reader body;
    int r = row_body(entry, &body);
    if (r == 0)
        r = roll_minutes_init(&minutes, entry->n);
    if (r == 0)
        r = roll_minutes_decode(&body, &minutes);
    return r < 0 ? r
                 : visit->visitor->minutes(visit->visitor->userdata, axis, entry->first, &minutes);
}

static int visit_entry(
    struct visit *visit, const struct row_axis *axis, const struct row_entry *entry)
{
    if (visit->series == SERIES_CHUNK || visit->series == SERIES_MERGED)
        return visit_ticks(visit, axis, entry);
    if (visit->series == SERIES_MINUTE)
        return visit_minutes(visit, axis, entry);
    struct byte_reader body;
    int r = axis->n == 2 ? row_body(entry, &body) : -EBADMSG;
    return r < 0 ? r : visit->visitor->record(visit->visitor->userdata, visit->series, axis, &body);
}

static void count_damage(struct visit *visit)
{
    atomic_fetch_add(&visit->history->damaged, 1);
    visit->visitor->info->damaged++;
}

/* A row that is damaged is missing from the answer, and the answer says so. */
static int visit_row(void *userdata, int64_t id, int64_t end_ms, const void *bytes, size_t size)
{
    (void)id;
    (void)end_ms;
    struct visit *visit = userdata;
    const struct hist_visitor *v = visit->visitor;
    struct finding finding = {.visit = visit};
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    if (hist_cancelled() ||
        (v->cancel != NULL && atomic_load_explicit(v->cancel, memory_order_relaxed)))
        return -ECANCELED;
    int r = row_read(bytes, size, NULL, find_entry, &finding);
    if (r == 0 && finding.n > 0)
        r = row_read(bytes, size, &axis, NULL, NULL);
    for (unsigned i = 0; i < finding.n && r == 0; i++) {
        r = visit_entry(visit, &axis, &finding.entries[i]);
        if (r == -EBADMSG) {
            count_damage(visit);
            r = 0;
        }
    }
    if (r == -EBADMSG || r == -EPROTO) {
        count_damage(visit);
        return 0;
    }
    return r;
}

/* ---- The tiers of one tenancy ------------------------------------------------------------- */

static int visit_series(struct visit *visit, enum hist_series series, uint32_t group,
    int64_t from_ms, int64_t to_ms, struct ac_error *error)
{
    if (from_ms >= to_ms)
        return 0;
    visit->series = series;
    return hist_series_each(visit->db, series, group, from_ms, to_ms, visit_row, visit, error);
}

/* Days and hours of a group. A day stands for its hours where some of them have gone, and where
 * the visitor takes it for all of them. */
struct coarse {
    struct visit *visit;
    uint32_t group;
    int64_t hours_from; /* the oldest hour that is left */
    bool whole_days;
    int64_t next_ms; /* everything before was visited */
};

static int visit_hours(struct coarse *coarse, int64_t to_ms, struct ac_error *error)
{
    int64_t from_ms = MAX(coarse->next_ms, coarse->hours_from);
    return visit_series(coarse->visit, SERIES_HOUR, coarse->group, from_ms, to_ms, error);
}

static int visit_day(void *userdata, int64_t id, int64_t end_ms, const void *bytes, size_t size)
{
    struct coarse *coarse = userdata;
    const struct hist_visitor *v = coarse->visit->visitor;
    int64_t start_ms = id & (((int64_t)1 << HIST_TIME_BITS) - 1);
    bool whole = coarse->whole_days && start_ms >= v->from_ms && end_ms < v->to_ms;
    if (start_ms >= coarse->hours_from && !whole)
        return 0;
    int r = visit_hours(coarse, start_ms, NULL);
    if (r != 0)
        return r;
    coarse->visit->series = SERIES_DAY;
    coarse->next_ms = MAX(coarse->next_ms, end_ms + 1);
    return visit_row(coarse->visit, id, end_ms, bytes, size);
}

static int visit_coarse(struct visit *visit, uint32_t group, int64_t from_ms, int64_t hours_from,
    int64_t to_ms, struct ac_error *error)
{
    /* Where the clock went back, a day does not have all hours of its time. */
    struct coarse coarse = {.visit = visit,
        .group = group,
        .hours_from = hours_from,
        .whole_days = visit->visitor->whole_days && !atomic_load(&visit->history->went_back),
        .next_ms = from_ms};
    int64_t days_to = coarse.whole_days ? to_ms : MIN(hours_from, to_ms);
    int r = 0;
    if (from_ms < days_to)
        r = hist_series_each(
            visit->db, SERIES_DAY, group, from_ms, days_to, visit_day, &coarse, error);
    return r == 0 ? visit_hours(&coarse, to_ms, error) : r;
}

/* From the coarsest tier to the finest that is wanted, each up to where the next one begins. */
static int visit_tiers(
    struct visit *visit, uint32_t group, int64_t from_ms, int64_t to_ms, struct ac_error *error)
{
    static const enum hist_series tiers[] = {SERIES_HOUR, SERIES_MINUTE, SERIES_MERGED};
    int64_t starts[ARRAY_SIZE(tiers)];
    size_t n = 0;
    while (tiers[n] != visit->visitor->finest)
        n++;
    n++;
    int64_t end = to_ms;
    for (size_t i = n; i-- > 0;) {
        starts[i] = end;
        int r = 0;
        if (end > from_ms) /* else the finer ones hold all of the span */
            r = hist_series_oldest(visit->db, tiers[i], group, &starts[i], error);
        if (r < 0)
            return r;
        starts[i] = MIN(starts[i], end);
        end = starts[i];
    }
    int r = visit_coarse(
        visit, group, from_ms, starts[0], n > 1 ? MIN(starts[1], to_ms) : to_ms, error);
    for (size_t i = 1; i < n && r == 0; i++) {
        int64_t stop = i + 1 < n ? starts[i + 1] : to_ms;
        r = visit_series(visit, tiers[i], group, MAX(from_ms, starts[i]), MIN(stop, to_ms), error);
    }
    return r == 0 ? visit_series(visit, SERIES_CHUNK, group, from_ms, to_ms, error) : r;
}

/* ---- What the query sees ------------------------------------------------------------------ */

static int copy_open(struct visit *visit, uint32_t slot, struct open_part *open)
{
    struct history *history = visit->history;
    uint64_t first = history->groups[group_of(slot)].first;
    uint64_t n = history->sequence - first;
    if (n == 0)
        return 0;
    open->buffer = mem_alloc_array((size_t)n * (HIST_METRICS + 1), sizeof(int64_t));
    if (open->buffer == NULL || hist_axis(history, first, history->sequence, &open->axis) < 0)
        return -ENOMEM;
    open->there = hist_section_open(history, slot, (uint32_t)n, open->buffer, &open->section) > 0;
    return 0;
}

/* Two tenancies in one group share its rows: they are read once. */
static bool joined(struct visit *visit, const struct tenancy *tenancy)
{
    for (size_t i = 0; i < visit->n_tenancies; i++) {
        struct tenancy *t = &visit->tenancies[i];
        if (group_of(t->slot) != group_of(tenancy->slot))
            continue;
        t->to_ms = MAX(t->to_ms, tenancy->to_ms);
        visit->interleaved |= i + 1 < visit->n_tenancies;
        return true;
    }
    return false;
}

static int read_tenancies(struct visit *visit, uint64_t subject, struct ac_error *error)
{
    struct hist_db *db = visit->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(db, HIST_TENURE_OF, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_u64(&binder, subject);
    bind_int(&binder, visit->visitor->to_ms);
    bind_int(&binder, visit->visitor->from_ms);
    r = sql_bound(&db->connection, &binder, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        bool still = sqlite3_column_type(statement, 2) == SQLITE_NULL;
        const struct tenancy tenancy = {(uint32_t)sqlite3_column_int64(statement, 0),
            sqlite3_column_int64(statement, 1),
            still ? INT64_MAX : sqlite3_column_int64(statement, 2)};
        r = 0;
        if (joined(visit, &tenancy))
            continue;
        if (visit->n_tenancies == visit->tenancies_room) {
            size_t room = visit->n_tenancies * 2 + 4;
            struct tenancy *grown = mem_resize_array(visit->tenancies, room, sizeof(*grown));
            if (grown == NULL)
                return error_set(error, -ENOMEM, "no memory");
            visit->tenancies = grown;
            visit->tenancies_room = room;
        }
        visit->tenancies[visit->n_tenancies++] = tenancy;
    }
    return r;
}

static int add_subject(struct visit *visit, int64_t id)
{
    size_t n = visit->n_subjects;
    uint64_t *subjects = mem_resize_array(visit->subjects, n + 1, sizeof(*subjects));
    if (subjects == NULL)
        return -ENOMEM;
    visit->subjects = subjects;
    struct open_part *open = mem_resize_array(visit->open, n + 1, sizeof(*open));
    if (open == NULL)
        return -ENOMEM;
    visit->open = open;
    open[n] = (struct open_part){0};
    subjects[n] = (uint64_t)id;
    visit->n_subjects++;
    return 0;
}

/* Who it is, with what is open of each. */
static int find_subjects(
    struct visit *visit, const struct history_whose *whose, struct ac_error *error)
{
    struct history *history = visit->history;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(visit->db, HIST_SUBJECT_NAMED, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, whose->subject);
    bind_int(&binder, whose->owner);
    r = sql_bound(&visit->db->connection, &binder, error);
    while (r == 0) {
        r = sql_step(&visit->db->connection, statement, "reading history", error);
        if (r != 1)
            return r;
        r = add_subject(visit, sqlite3_column_int64(statement, 0));
        const struct hist_subject *subject =
            hist_subject_get(history, whose->subject, sqlite3_column_int64(statement, 1));
        if (r == 0 && subject != NULL && subject->slot != SLOT_NONE)
            r = copy_open(visit, subject->slot, &visit->open[visit->n_subjects - 1]);
        if (r < 0)
            return error_set(error, r, "no memory");
    }
    return r;
}

/* Under the lock: the state of the database, and the open chunks that go with it. */
static int snapshot(struct visit *visit, const struct history_whose *whose, struct ac_error *error)
{
    int r = hist_run(visit->db, HIST_BEGIN_READ, NULL, 0, error);
    if (r == 0)
        r = find_subjects(visit, whose, error);
    memcpy(visit->db->span_ms, visit->history->write.span_ms, sizeof(visit->db->span_ms));
    for (size_t i = 0; i < visit->n_subjects && r == 0; i++)
        r = read_tenancies(visit, visit->subjects[i], error);
    visit->interleaved |= visit->n_subjects > 1;
    return r == 0 && visit->interleaved && !visit->visitor->any_order ? -EAGAIN : r;
}

static int visit_all(struct visit *visit, struct ac_error *error)
{
    const struct hist_visitor *v = visit->visitor;
    for (size_t i = 0; i < visit->n_tenancies; i++) {
        const struct tenancy *t = &visit->tenancies[i];
        int64_t to = t->to_ms == INT64_MAX ? v->to_ms : MIN(v->to_ms, t->to_ms + 1);
        /* A clock that went back leaves rows before the start of the tenure. */
        int r = visit_tiers(visit, group_of(t->slot), v->from_ms, to, error);
        if (r != 0)
            return r;
    }
    for (size_t i = 0; i < visit->n_subjects; i++) {
        const struct open_part *open = &visit->open[i];
        int r = open->there ? v->ticks(v->userdata, &open->axis, &open->section) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

int hist_visit(struct history *history, const struct history_whose *whose,
    const struct hist_visitor *visitor, struct ac_error *error)
{
    struct visit visit CLEANUP(visit_done) = {.history = history, .visitor = visitor};
    if (history->none || visitor->from_ms >= visitor->to_ms)
        return 0;
    int r = hist_read_take(history, &visit.db, error);
    if (r < 0)
        return hist_cancel_code(r, error);
    pthread_mutex_lock(&history->lock);
    r = snapshot(&visit, whose, error);
    pthread_mutex_unlock(&history->lock);
    if (r == 0)
        r = visit_all(&visit, error);
    hist_read_give(history, visit.db);
    r = hist_cancel_code(r, error);
    return r == -EAGAIN || r == -ENODATA ? r : hist_explain(r, error);
}
