/* SPDX-License-Identifier: Apache-2.0 */
/* Days: the records of 24 hours of a group as one row. */
#include <errno.h>
#include <string.h>

#include "store/hist_merge.h"

/* All records of the hours, one after the other, by subject. */
struct day {
    struct merge_source *hours; /* rows: one or some of each hour */
    uint32_t n;
    uint32_t room;
    struct hist_merge collect; /* only its list of units is used */
};

static int take_hour(void *userdata, int64_t id, int64_t end_ms, const void *bytes, size_t size)
{
    (void)end_ms;
    struct day *day = userdata;
    if (day->n == day->room) {
        uint32_t room = day->room * 2 + DAY_HOURS;
        struct merge_source *grown = mem_resize_array(day->hours, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        day->hours = grown;
        day->room = room;
    }
    struct merge_source *hour = &day->hours[day->n];
    *hour = (struct merge_source){.id = id, .size = size};
    hour->bytes = mem_alloc(size + 1);
    if (hour->bytes == NULL)
        return -ENOMEM;
    memcpy(hour->bytes, bytes, size);
    day->n++;
    return 0;
}

static void day_free(struct day **day)
{
    for (uint32_t i = 0; *day != NULL && i < (*day)->n; i++) {
        mem_free((*day)->hours[i].bytes);
        row_axis_done(&(*day)->hours[i].axis);
    }
    if (*day != NULL) {
        mem_free((*day)->collect.units);
        mem_free((*day)->hours);
    }
    mem_free(*day);
}

static int day_subjects(struct history *history, struct day *day, struct row_builder *builder)
{
    struct hist_merge *list = &day->collect;
    struct roll_record *record = history->merge->record;
    qsort(list->units, list->n_units, sizeof(*list->units), merge_compare_units);
    for (uint32_t i = 0; i < list->n_units;) {
        const struct merge_unit *first = &list->units[i];
        roll_clear(record);
        for (; i < list->n_units && list->units[i].subject == first->subject; i++) {
            struct byte_reader body;
            if (row_body(&list->units[i].entry, &body) < 0 || roll_merge(record, &body, -1) < 0)
                atomic_fetch_add(&history->damaged, 1);
        }
        struct buf bytes CLEANUP(buf_done) = {0};
        struct row_section section = {.subject = first->subject, .slot = first->slot, .n = 2};
        roll_encode(record, &bytes);
        if (bytes.failed || row_add_body(builder, &section, bytes.data, bytes.size) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int write_day(
    struct history *history, uint32_t group, struct day *day, struct ac_error *error)
{
    struct row_builder builder CLEANUP(row_builder_done) = {0};
    int64_t ends[2] = {INT64_MAX, INT64_MIN};
    int64_t cpu[2] = {0};
    int64_t memory[2] = {0};
    for (uint32_t i = 0; i < day->n; i++) {
        struct merge_source *hour = &day->hours[i];
        day->collect.next_unit = i;
        uint32_t units = day->collect.n_units;
        if (row_read(hour->bytes, hour->size, &hour->axis, merge_take_unit, &day->collect) < 0 ||
            hour->axis.n != 2) {
            day->collect.n_units = units;
            atomic_fetch_add(&history->damaged, 1);
            continue;
        }
        ends[0] = MIN(ends[0], hour->axis.times_ms[0]);
        ends[1] = MAX(ends[1], hour->axis.times_ms[1]);
        cpu[0] = cpu[1] = hour->axis.cpu_capacity[1];
        memory[0] = memory[1] = hour->axis.memory_capacity[1];
    }
    if (day->collect.n_units == 0)
        return 0;
    const struct row_axis axis = {2, ends, cpu, memory};
    buf_clear(&history->scratch);
    if (day_subjects(history, day, &builder) < 0 ||
        row_finish(&builder, &axis, &history->scratch) < 0)
        return error_set(error, -ENOMEM, "no memory");
    return hist_series_put(&history->write, SERIES_DAY, group, ends[0], ends[1],
        history->scratch.data, history->scratch.size, error);
}

int hist_day_step(struct history *history, uint32_t group, struct ac_error *error)
{
    int64_t after = -1;
    int64_t hours = 0;
    const int64_t ids[] = {hist_row_id(group, 0), hist_row_id(group + 1, 0)};
    int r = hist_query_int(&history->write, HIST_DAY_END, ids, 2, &after, error);
    if (r < 0)
        return r;
    const int64_t since[] = {hist_row_id(group, after + 1), hist_row_id(group + 1, 0)};
    r = hist_query_int(&history->write, HIST_HOURS, since, 2, &hours, error);
    if (r < 0 || hours < DAY_HOURS)
        return r < 0 ? r : 0;
    struct day *day CLEANUP(day_free) = mem_alloc(sizeof(*day));
    if (day == NULL)
        return error_set(error, -ENOMEM, "no memory");
    sqlite3_stmt *statement cleanup_reset = NULL;
    r = hist_series_sql(&history->write, SERIES_HOUR, SERIES_AFTER, &statement, error);
    for (size_t i = 0; r == 0 && i < 2; i++)
        r = sqlite3_bind_int64(statement, (int)i + 1, since[i]) == SQLITE_OK ? 0 : -EIO;
    while (r == 0) {
        r = sql_step(&history->write.connection, statement, "reading history", error);
        if (r != 1)
            break;
        r = take_hour(day, sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
            sqlite3_column_blob(statement, 2), (size_t)sqlite3_column_bytes(statement, 2));
    }
    return r < 0 ? r : write_day(history, group, day, error);
}
