/* SPDX-License-Identifier: Apache-2.0 */
/* Checks every row: checksums, what the columns hold against what they promise, and order. */
#include <errno.h>
#include <inttypes.h>

#include "store/crc32c.h"
#include "store/hist_internal.h"
#include "store/hist_top.h"

struct verify {
    struct hist_db *db;
    void (*finding)(void *userdata, const char *text);
    void *userdata;
    int64_t findings;
    bool went_back; /* the clock, once */
    enum hist_series series;
    const struct row_axis *axis;
    int64_t *buffer;
    int64_t group;        /* of the row that is looked at */
    struct owner *owners; /* sorted: who ever had a slot of which group */
    size_t n_owners;
    size_t owners_room;
};

struct owner {
    uint64_t subject;
    int64_t group;
};

static const char *const series_words[SERIES_COUNT] = {"chunk", "merged", "minute", "hour", "day"};

__attribute__((format(printf, 2, 3))) static void found(
    struct verify *verify, const char *format, ...)
{
    struct buf text CLEANUP(buf_done) = {0};
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    verify->findings++;
    if (verify->finding != NULL)
        verify->finding(verify->userdata, text.failed ? "no memory" : text.data);
}

/* The decoded values against count, sum, least, largest and first of the header. */
static int check_column(struct verify *verify, const struct column_view *view)
{
    struct column_stats seen = {0};
    if (column_decode(view, verify->buffer) < 0)
        return -EBADMSG;
    for (uint32_t i = 0; i < view->n; i++) {
        int64_t value = verify->buffer[i];
        if (value == HIST_UNKNOWN)
            continue;
        if (seen.count == 0)
            seen.first = seen.min = seen.max = value;
        seen.count++;
        seen.sum = wrap_add(seen.sum, value);
        seen.min = MIN(seen.min, value);
        seen.max = MAX(seen.max, value);
    }
    const struct column_stats *said = &view->stats;
    if (seen.count != said->count ||
        (seen.count > 0 && (seen.sum != said->sum || seen.min != said->min ||
                               seen.max != said->max || seen.first != said->first)))
        return -EBADMSG;
    return said->has_totals && said->total_end < said->total_start ? -EBADMSG : 0;
}

static int check_entry(struct verify *verify, const struct row_entry *entry)
{
    if (verify->series <= SERIES_MERGED) {
        struct row_view view;
        int r = row_section_read(entry, verify->axis, &view);
        if (r == 0)
            r = check_column(verify, &view.present);
        for (unsigned m = 0; m < HIST_METRICS && r == 0; m++) {
            if (view.mask >> m & 1)
                r = check_column(verify, &view.metrics[m]);
        }
        return r;
    }
    struct byte_reader body;
    if (row_body(entry, &body) < 0)
        return -EBADMSG;
    if (verify->series == SERIES_MINUTE) {
        struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
        if (roll_minutes_init(&minutes, entry->n) < 0)
            return -ENOMEM;
        int r = roll_minutes_decode(&body, &minutes);
        return r == 0 && body.at != body.end ? -EBADMSG : r;
    }
    cleanup_free struct roll_record *record = mem_alloc(sizeof(*record));
    if (record == NULL)
        return -ENOMEM;
    int r = roll_merge(record, &body, -1);
    return r == 0 && body.at != body.end ? -EBADMSG : r;
}

static int compare_owners(const void *a, const void *b)
{
    const struct owner *x = a;
    const struct owner *y = b;
    if (x->subject != y->subject)
        return x->subject < y->subject ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static int on_entry(void *userdata, const struct row_entry *entry)
{
    struct verify *verify = userdata;
    const struct owner owner = {entry->subject, verify->group};
    if (bsearch(&owner, verify->owners, verify->n_owners, sizeof(owner), compare_owners) == NULL)
        found(verify, "%s: agent %" PRIu64 " never had a place in group %" PRId64,
            series_words[verify->series], entry->subject, verify->group);
    int r = check_entry(verify, entry);
    if (r == -EBADMSG) {
        found(verify, "%s: agent %" PRIu64 ": damaged section", series_words[verify->series],
            entry->subject);
        return 0;
    }
    return r;
}

static int check_row(
    struct verify *verify, int64_t id, int64_t end_ms, const void *bytes, size_t size)
{
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    verify->axis = &axis;
    verify->group = id >> HIST_TIME_BITS;
    if (hist_cancelled())
        return -ECANCELED;
    int r = row_read(bytes, size, &axis, NULL, NULL);
    if (r == 0)
        r = row_read(bytes, size, NULL, on_entry, verify);
    if (r == -EBADMSG || r == -EPROTO) {
        found(verify, "%s: row %" PRId64 ": %s", series_words[verify->series], id,
            r == -EPROTO ? "made by a newer version" : "damaged");
        return 0;
    }
    int64_t start = id & (((int64_t)1 << HIST_TIME_BITS) - 1);
    if (r == 0 && end_ms < start)
        found(
            verify, "%s: row %" PRId64 " ends before it begins", series_words[verify->series], id);
    return r;
}

static int check_series(struct verify *verify, enum hist_series series, struct ac_error *error)
{
    struct hist_db *db = verify->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_series_sql(db, series, SERIES_EACH, &statement, error);
    verify->series = series;
    while (r == 0) {
        r = sql_step(&db->connection, statement, "verifying history", error);
        if (r != 1)
            return r;
        r = check_row(verify, sqlite3_column_int64(statement, 0),
            sqlite3_column_int64(statement, 1), sqlite3_column_blob(statement, 2),
            (size_t)sqlite3_column_bytes(statement, 2));
        if (r < 0)
            return error_errno(error, r, "verifying history");
    }
    return r;
}

static int note_owner(struct verify *verify, uint64_t subject, int64_t group)
{
    if (verify->n_owners == verify->owners_room) {
        size_t room = verify->owners_room * 2 + 256;
        struct owner *grown = mem_resize_array(verify->owners, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        verify->owners = grown;
        verify->owners_room = room;
    }
    verify->owners[verify->n_owners++] = (struct owner){subject, group};
    return 0;
}

/* Slots belong to one agent at a time, as far as the clock did not go back. */
static int check_tenures(struct verify *verify, struct ac_error *error)
{
    struct hist_db *db = verify->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    int64_t last_slot = -1, last_to = 0;
    int r = hist_sql(db, HIST_TENURE_EACH, &statement, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "verifying history", error);
        if (r != 1)
            break;
        int64_t id = sqlite3_column_int64(statement, 0);
        int64_t slot = sqlite3_column_int64(statement, 1);
        int64_t from = sqlite3_column_int64(statement, 2);
        bool open = sqlite3_column_type(statement, 3) == SQLITE_NULL;
        int64_t to = open ? INT64_MAX : sqlite3_column_int64(statement, 3);
        if (sqlite3_column_type(statement, 5) == SQLITE_NULL)
            found(verify, "tenure %" PRId64 ": its agent is not known", id);
        if (slot < 0 || slot >= FRAME_SLOTS_MAX)
            found(verify, "tenure %" PRId64 ": there is no slot %" PRId64, id, slot);
        if (slot == last_slot && (last_to == INT64_MAX || from < last_to) &&
            (!verify->went_back || (open && last_to == INT64_MAX)))
            found(verify, "tenure %" PRId64 ": slot %" PRId64 " was another's still", id, slot);
        last_slot = slot;
        last_to = to;
        r = note_owner(verify, (uint64_t)sqlite3_column_int64(statement, 4), slot / GROUP_SLOTS);
        if (r < 0)
            return error_set(error, r, "no memory");
    }
    if (r == 0 && verify->n_owners > 0)
        qsort(verify->owners, verify->n_owners, sizeof(*verify->owners), compare_owners);
    return r;
}

/* The sums of one slot against each other. */
static bool sums_agree(uint64_t known, uint64_t sum, uint64_t max)
{
    if (known == 0)
        return sum == 0 && max == 0;
    if (max > UINT64_MAX >> 12) /* an hour of such may be more than the sum holds */
        return true;
    return max <= sum && sum <= max * known;
}

static int check_top(struct verify *verify, struct ac_error *error)
{
    struct hist_db *db = verify->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    cleanup_free uint64_t *numbers = mem_alloc_array(FRAME_SLOTS_MAX, 3 * sizeof(uint64_t));
    if (numbers == NULL)
        return error_set(error, -ENOMEM, "no memory");
    const struct top_sums sums = {
        numbers, numbers + FRAME_SLOTS_MAX, numbers + 2 * (size_t)FRAME_SLOTS_MAX};
    int r = hist_sql(db, HIST_TOP_EACH, &statement, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "verifying history", error);
        if (r != 1)
            return r;
        int n = top_row_add(sqlite3_column_blob(statement, 1),
            (size_t)sqlite3_column_bytes(statement, 1), TOP_SUMS | TOP_MAXIMA, FRAME_SLOTS_MAX,
            &sums);
        bool sound = n >= 0;
        for (int i = 0; i < n; i++) {
            sound = sound && sums_agree(sums.known[i], sums.sum[i], sums.max[i]);
            sums.known[i] = sums.sum[i] = sums.max[i] = 0;
        }
        if (!sound)
            found(verify, "top: row %" PRId64 ": damaged",
                (int64_t)sqlite3_column_int64(statement, 0));
        r = hist_cancelled() ? -ECANCELED : 0;
    }
    return r;
}

static int check_frames(struct verify *verify, struct ac_error *error)
{
    struct hist_db *db = verify->db;
    sqlite3_stmt *statement cleanup_reset = NULL;
    struct frame_state state CLEANUP(frame_state_done) = {0};
    cleanup_free uint8_t *based = mem_alloc(FRAME_SLOTS_MAX / FRAME_BLOCK + 1);
    struct frame_codec *codec = NULL;
    if (based == NULL || frame_codec_new(&codec) < 0)
        return error_set(error, -ENOMEM, "no memory");
    int r = hist_sql(db, HIST_FRAME_EACH, &statement, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "verifying history", error);
        if (r != 1)
            break;
        int64_t sequence = sqlite3_column_int64(statement, 0);
        r = frame_decode(codec, sqlite3_column_blob(statement, 1),
            (size_t)sqlite3_column_bytes(statement, 1), based, &state, NULL);
        if (r == -EBADMSG || r == -EPROTO) {
            found(verify, "frame %" PRId64 ": damaged", sequence);
            r = 0;
        }
    }
    frame_codec_free(codec);
    return r;
}

/* SQLite's own check of the file, its first findings. */
static int check_file(struct verify *verify, struct ac_error *error)
{
    struct hist_db *db = verify->db;
    sqlite3_stmt *statement = NULL;
    int r = sql_prepare(&db->connection, "PRAGMA integrity_check(10)", &statement, error);
    while (r == 0) {
        r = sql_step(&db->connection, statement, "verifying history", error);
        if (r != 1)
            break;
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text == NULL || strcmp(text, "ok") != 0)
            found(verify, "file: %s", text == NULL ? "?" : text);
        r = 0;
    }
    sqlite3_finalize(statement);
    return r;
}

int64_t history_verify(struct history *history, void (*finding)(void *userdata, const char *text),
    void *userdata, struct ac_error *error)
{
    struct verify verify = {.finding = finding, .userdata = userdata};
    if (history->none)
        return 0;
    cleanup_free int64_t *buffer = mem_alloc_array(HIST_COLUMN_MAX, sizeof(int64_t));
    if (buffer == NULL)
        return error_set(error, -ENOMEM, "no memory");
    verify.buffer = buffer;
    verify.went_back = atomic_load(&history->went_back);
    int r = hist_read_take(history, &verify.db, error);
    if (r < 0)
        return hist_cancel_code(r, error);
    r = check_file(&verify, error);
    if (r == 0)
        r = check_tenures(&verify, error);
    for (unsigned s = 0; s < SERIES_COUNT && r == 0; s++)
        r = check_series(&verify, s, error);
    if (r == 0)
        r = check_frames(&verify, error);
    if (r == 0)
        r = check_top(&verify, error);
    mem_free(verify.owners);
    hist_read_give(history, verify.db);
    r = hist_cancel_code(r, error);
    if (r == -EUCLEAN) { /* so damaged that it cannot be read on: that is the finding */
        found(&verify, "%s", error == NULL ? "the file is damaged" : error->message);
        r = 0;
    }
    return r < 0 ? r : verify.findings;
}
