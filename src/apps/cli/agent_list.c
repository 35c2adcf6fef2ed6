/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/agent_list.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"

/* How agents are ordered: by a number or by a text of the agent object. */
static const struct {
    const char *path;
    bool number;
} sort_keys[SORT_COUNT] = {
    [SORT_ID] = {"id", false},
    [SORT_PHILOSOPHY] = {"philosophy", false},
    [SORT_STATE] = {"state", false},
    [SORT_CPU] = {"usage.cpu_percent", true},
    [SORT_MEMORY] = {"usage.memory_mb", true},
    [SORT_DISK] = {"usage.disk_io_mbps", true},
    [SORT_NETWORK] = {"usage.network_io_mbps", true},
    [SORT_FILES] = {"usage.file_descriptors", true},
    [SORT_PROCESSES] = {"processes", true},
    [SORT_AGE] = {"started", false},
};

void agent_list_path(const struct agent_filter *filter, struct buf *path)
{
    buf_append_str(path, "/v1/agents");
    if (filter->state)
        client_query_add(path, "state", filter->state);
    if (filter->philosophy)
        client_query_add(path, "philosophy", filter->philosophy);
    for (size_t i = 0; filter->labels && i < filter->labels->n_items; i++)
        client_query_add(path, "label", filter->labels->items[i]);
}

static bool contains(const json_t *agent, const char *path, const char *text)
{
    const char *field = field_text(agent, path);
    return field && strcasestr(field, text) != NULL;
}

static bool matches(const json_t *agent, const struct agent_filter *filter)
{
    const char *text = filter->text;
    return !text || !*text || contains(agent, "id", text) || contains(agent, "philosophy", text) ||
           contains(agent, "template", text) || contains(agent, "command", text) ||
           contains(agent, "state", text);
}

struct order {
    enum agent_sort sort;
    bool reverse;
};

static int compare_numbers(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b);
    return (a < b) - (a > b);
}

static int compare_texts(const json_t *a, const json_t *b, const char *path)
{
    const char *x = field_text(a, path), *y = field_text(b, path);
    return strcmp(x ? x : "", y ? y : "");
}

static int compare(const void *left, const void *right, void *data)
{
    const struct order *order = data;
    const json_t *a = *(const json_t *const *)left, *b = *(const json_t *const *)right;
    const char *path = sort_keys[order->sort].path;
    int difference = 0;
    if (sort_keys[order->sort].number) {
        double x = field_number(a, path), y = field_number(b, path);
        difference = compare_numbers(x, y);
        if (order->reverse && !isnan(x) && !isnan(y)) /* the unknown stays last */
            difference = -difference;
    } else {
        difference = compare_texts(a, b, path);
        difference = order->reverse ? -difference : difference;
    }
    return difference ? difference : compare_texts(a, b, "id");
}

int agent_list_make(json_t *answer, const struct agent_filter *filter, enum agent_sort sort,
    bool reverse, struct agent_list *ret_list)
{
    const json_t *array = field_get(answer, "agents");
    struct agent_list list = {.answer = answer};
    struct order order = {sort, reverse};
    list.agents = mem_alloc_array(json_array_size(array), sizeof(*list.agents));
    if (!list.agents) {
        json_decref(answer);
        return -ENOMEM;
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *agent = json_array_get(array, i);
        if (matches(agent, filter))
            list.agents[list.n_agents++] = agent;
    }
    qsort_r(list.agents, list.n_agents, sizeof(*list.agents), compare, &order);
    *ret_list = list;
    return 0;
}

void agent_list_done(struct agent_list *list)
{
    json_decref(list->answer);
    mem_free(list->agents);
    *list = (struct agent_list){0};
}

/* ---- As a table. On narrow terminals the columns with the highest number go first. */

static const struct table_column narrow_columns[] = {
    {"ID", false, 8, 0},
    {"PHILOSOPHY", false, 0, 5},
    {"STATE", false, 0, 4},
    {"CPU%", true, 0, 0},
    {"MEM", true, 0, 0},
    {"DISK", true, 0, 6},
    {"NET", true, 0, 7},
    {"FDS", true, 0, 8},
    {"PROCS", true, 0, 3},
    {"AGE", true, 0, 2},
    {"COMMAND", false, 8, 1},
};

static const struct table_column wide_columns[] = {
    {"ID", false, 0, 0},
    {"PHILOSOPHY", false, 0, 0},
    {"STATE", false, 0, 0},
    {"CPU%", true, 0, 0},
    {"MEM", true, 0, 0},
    {"DISK", true, 0, 0},
    {"NET", true, 0, 0},
    {"FDS", true, 0, 0},
    {"PROCS", true, 0, 0},
    {"AGE", true, 0, 0},
    {"PID", true, 0, 0},
    {"UID", true, 0, 0},
    {"SOURCE", false, 0, 0},
    {"ALERTS", true, 0, 0},
    {"TEMPLATE", false, 0, 0},
    {"LABELS", false, 0, 0},
    {"COMMAND", false, 0, 0},
};

static void cell_count(struct table *table, const json_t *agent, const char *path)
{
    char text[TEXT_SHORT];
    table_cell(table, text_count(text, field_number(agent, path)), STYLE_NONE);
}

static void cell_whole(struct table *table, const json_t *agent, const char *path)
{
    char text[TEXT_SHORT] = "-";
    double value = field_number(agent, path);
    if (isfinite(value))
        snprintf(text, sizeof(text), "%.0f", value);
    table_cell(table, text, STYLE_NONE);
}

static void cell_size(struct table *table, const json_t *agent, const char *path)
{
    char text[TEXT_SHORT];
    table_cell(table, text_size(text, field_number(agent, path)), STYLE_NONE);
}

static void cell_age(struct table *table, const json_t *agent)
{
    char text[TEXT_SHORT];
    int64_t started = field_time(agent, "started"), ended = field_time(agent, "ended");
    int64_t end = ended ? ended : clock_wall_ns();
    double age = started ? (double)(end - started) / NS_PER_SEC : NAN;
    table_cell(table, text_duration(text, age < 0 ? 0 : age), STYLE_NONE);
}

static void cell_labels(struct table *table, const json_t *agent)
{
    struct buf text CLEANUP(buf_done) = {0};
    const json_t *labels = field_get(agent, "labels");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)labels, key, value) buf_printf(&text, "%s%s=%s",
        text.size > 0 ? "," : "", key, json_is_string(value) ? json_string_value(value) : "");
    table_cell(table, text.size > 0 ? text.data : NULL, STYLE_NONE);
}

static void add_row(struct table *table, const json_t *agent, bool wide)
{
    char text[TEXT_SHORT];
    const char *state = field_text(agent, "state");
    bool orphans = state && strcmp(state, "orphans") == 0;
    bool exited = state && strcmp(state, "exited") == 0;
    bool alerts = field_number(agent, "active_alerts") > 0;
    table_row(table);
    table_cell(table, field_text(agent, "id"), alerts ? STYLE_BAD : STYLE_BOLD);
    table_cell(table, field_text(agent, "philosophy"), STYLE_NONE);
    table_cell(table, state, orphans ? STYLE_WARNING : exited ? STYLE_DIM : STYLE_GOOD);
    table_cell(table, text_percent(text, field_number(agent, "usage.cpu_percent")), STYLE_NONE);
    cell_size(table, agent, "usage.memory_mb");
    cell_size(table, agent, "usage.disk_io_mbps");
    cell_size(table, agent, "usage.network_io_mbps");
    cell_count(table, agent, "usage.file_descriptors");
    cell_count(table, agent, "processes");
    cell_age(table, agent);
    if (wide) {
        cell_whole(table, agent, "pid");
        cell_whole(table, agent, "uid");
        table_cell(table, field_text(agent, "source"), STYLE_NONE);
        cell_count(table, agent, "active_alerts");
        table_cell(table, field_text(agent, "template"), STYLE_NONE);
        cell_labels(table, agent);
    }
    table_cell(table, field_text(agent, "command"), STYLE_DIM);
}

int agent_list_table(const struct agent_list *list, bool wide, struct table **ret_table)
{
    struct table *table;
    int r = wide ? table_new(wide_columns, ARRAY_SIZE(wide_columns), &table)
                 : table_new(narrow_columns, ARRAY_SIZE(narrow_columns), &table);
    if (r < 0)
        return r;
    for (size_t i = 0; i < list->n_agents; i++)
        add_row(table, list->agents[i], wide);
    *ret_table = table;
    return 0;
}
