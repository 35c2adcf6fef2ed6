/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/top_view.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "apps/cli/alert_table.h"
#include "base/clock.h"

/* ---- Data */

void top_data_done(struct top_data *data)
{
    json_decref(data->system);
    json_decref(data->alerts);
    agent_list_done(&data->list);
    *data = (struct top_data){0};
}

/* cli_call, but silent where a screen would be disturbed. */
static int fetch(
    struct cli *cli, struct top_setting *setting, const char *path, json_t **ret_answer)
{
    json_t *answer = NULL;
    long status = 0;
    if (!setting->quiet)
        return cli_call(cli, "GET", path, NULL, ret_answer);
    int r = client_call(cli->client, "GET", path, NULL, &status, &answer, &setting->error);
    if (r < 0) /* a screen waits for a daemon that hangs as for one that went away */
        return r == -ETIMEDOUT ? EXIT_NO_DAEMON : cli_status_of(r);
    if (client_check(status, answer, &setting->error) < 0) {
        json_decref(answer);
        return cli_status_of_http(status);
    }
    *ret_answer = answer;
    return 0;
}

int top_fetch(struct cli *cli, struct top_setting *setting, struct top_data *ret_data)
{
    struct top_data data CLEANUP(top_data_done) = {0};
    struct agent_filter filter = {.text = setting->filter};
    json_t *agents = NULL;
    int code = fetch(cli, setting, "/v1/system", &data.system);
    if (code == 0)
        code = fetch(cli, setting, "/v1/alerts", &data.alerts);
    if (code == 0)
        code = fetch(cli, setting, "/v1/agents", &agents);
    if (code != 0)
        return code;
    if (agent_list_make(agents, &filter, setting->sort, setting->reverse, &data.list) < 0)
        return EXIT_FAILED;
    *ret_data = data;
    data = (struct top_data){0};
    return 0;
}

/* ---- Lines about machine and alerts */

static void title_line(const struct top_data *data, struct buf *out)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], time[TEXT_SHORT];
    const json_t *system = data->system;
    double agents = field_number(system, "active_agents");
    double alerts = field_number(system, "active_alerts");
    int64_t now = field_time(system, "timestamp");
    buf_append_str(out, "agentcore  ");
    text_safe(out, field_text(system, "hostname"));
    buf_printf(out, "  %s  %s agent%s  %s alert%s  up %s", text_time_short(time, now, now),
        text_count(a, agents), agents == 1 ? "" : "s", text_count(b, alerts),
        alerts == 1 ? "" : "s",
        text_duration((char[TEXT_SHORT]){0}, field_number(system, "daemon.uptime_seconds")));
}

static void flow_line(const struct top_data *data, struct buf *out)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], c[TEXT_SHORT], d[TEXT_SHORT], e[TEXT_SHORT];
    const json_t *system = data->system;
    buf_printf(out, "disk %s  network %s  open files %s  to give away %s%% CPU, %s",
        text_rate_long(a, field_number(system, "current_usage.disk_io_mbps")),
        text_rate_long(b, field_number(system, "current_usage.network_io_mbps")),
        text_count(c, field_number(system, "current_usage.file_descriptors")),
        text_percent(d, field_number(system, "available.cpu_percent")),
        text_size_long(e, field_number(system, "available.memory_mb")));
}

/* The worst alert, and how many there are beside it. */
static enum style alert_line(const struct top_data *data, struct buf *out)
{
    const json_t *alerts = field_get(data->alerts, "alerts"), *worst = NULL;
    enum style worst_style = STYLE_NONE;
    for (size_t i = 0; i < json_array_size(alerts); i++) {
        const json_t *alert = json_array_get(alerts, i);
        enum style style = alert_style(field_text(alert, "severity"));
        if (!worst || style > worst_style) {
            worst = alert;
            worst_style = style;
        }
    }
    if (!worst) {
        buf_append_str(out, "no alerts");
        return STYLE_DIM;
    }
    text_safe(out, field_text(worst, "severity"));
    buf_append_str(out, ": ");
    text_safe(out, field_text(worst, "message"));
    if (json_array_size(alerts) > 1)
        buf_printf(out, " (and %zu more)", json_array_size(alerts) - 1);
    return worst_style;
}

static void bar_texts(const struct top_data *data, struct buf *cpu, struct buf *memory)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], c[TEXT_SHORT];
    const json_t *system = data->system;
    buf_printf(cpu, "%s%% of %g cores",
        text_percent(a, field_number(system, "current_usage.cpu_percent")),
        field_number(system, "capacity.cpu_cores"));
    buf_printf(memory, "%s%%, %s of %s",
        text_percent(a, field_number(system, "current_usage.memory_percent")),
        text_size_long(b, field_number(system, "current_usage.memory_mb")),
        text_size_long(c, field_number(system, "capacity.memory_mb")));
}

void top_print_head(const struct cli *cli, const struct top_data *data)
{
    struct buf title CLEANUP(buf_done) = {0}, flow CLEANUP(buf_done) = {0};
    struct buf alert CLEANUP(buf_done) = {0}, cpu CLEANUP(buf_done) = {0};
    struct buf memory CLEANUP(buf_done) = {0};
    title_line(data, &title);
    flow_line(data, &flow);
    enum style style = alert_line(data, &alert);
    bar_texts(data, &cpu, &memory);
    if (title.failed || flow.failed || alert.failed || cpu.failed || memory.failed)
        return;
    printf("%s\nCPU %s   memory %s\n%s\n%s%s%s\n", title.data, cpu.data, memory.data, flow.data,
        style_on(style, cli->colour), alert.data, style_off(style, cli->colour));
}

/* ---- The picture */

static enum tui_style tui_style_of(enum style style)
{
    static const enum tui_style styles[STYLE_COUNT] = {[STYLE_DIM] = TUI_DIM,
        [STYLE_BOLD] = TUI_BOLD,
        [STYLE_GOOD] = TUI_GOOD,
        [STYLE_WARNING] = TUI_WARNING,
        [STYLE_BAD] = TUI_BAD,
        [STYLE_WORST] = TUI_BAD};
    return styles[style];
}

static enum tui_style bar_style(double percent, double limit)
{
    if (!isfinite(percent))
        return TUI_DIM;
    return percent >= limit ? TUI_BAD : percent >= limit * 0.9 ? TUI_WARNING : TUI_GOOD;
}

static enum tui_style row_style(const json_t *agent)
{
    const char *state = field_text(agent, "state");
    if (field_number(agent, "active_alerts") > 0)
        return TUI_BAD;
    if (state && strcmp(state, "orphans") == 0)
        return TUI_WARNING;
    return state && strcmp(state, "exited") == 0 ? TUI_DIM : TUI_PLAIN;
}

/* The table's lines, one text each. */
struct lines {
    struct buf *texts; /* [0] is the heading */
    struct tui_line *rows;
    size_t n;
};

static void lines_done(struct lines *lines)
{
    for (size_t i = 0; lines->texts && i <= lines->n; i++)
        buf_done(&lines->texts[i]);
    mem_free(lines->texts);
    mem_free(lines->rows);
}

static int lines_make(const struct agent_list *list, unsigned width, struct lines *ret_lines)
{
    struct table *table CLEANUP(table_freep) = NULL;
    struct lines lines = {.n = list->n_agents};
    if (agent_list_table(list, false, &table) < 0)
        return -ENOMEM;
    lines.texts = mem_alloc_array(lines.n + 1, sizeof(*lines.texts));
    lines.rows = mem_alloc_array(lines.n, sizeof(*lines.rows));
    bool failed = !lines.texts || !lines.rows || table_count(table) != lines.n;
    table_layout(table, width);
    for (size_t i = 0; !failed && i <= lines.n; i++) {
        table_line(table, i == 0 ? SIZE_MAX : i - 1, false, &lines.texts[i]);
        buf_append_char(&lines.texts[i], ' ');
        failed = lines.texts[i].failed;
        if (i > 0)
            lines.rows[i - 1] =
                (struct tui_line){lines.texts[i].data, row_style(list->agents[i - 1])};
    }
    if (failed) {
        lines_done(&lines);
        return -ENOMEM;
    }
    *ret_lines = lines;
    return 0;
}

static void foot_line(const struct top_screen *screen, struct buf *out)
{
    static const char *const words[SORT_COUNT] = {"id", "philosophy", "state", "cpu", "memory",
        "disk", "network", "files", "processes", "age"};
    const struct top_setting *setting = screen->setting;
    if (screen->filtering) {
        buf_append_str(out, "filter: ");
        text_safe(out, setting->filter);
        buf_append_str(out, "_   enter keeps it, escape drops it");
        return;
    }
    buf_printf(out, "q quit  c m d n f p a i sort (%s%s)  / filter", words[setting->sort],
        setting->reverse ? ", reversed" : "");
    if (setting->filter[0]) {
        buf_append_str(out, " (");
        text_safe(out, setting->filter);
        buf_append_char(out, ')');
    }
    buf_append_str(out, screen->paused ? "  space: go on (stopped)" : "  space stop");
}

/* The row of the agent that was highlighted before; where it is gone, the row that it had. */
static void follow_selected(struct top_screen *screen)
{
    const struct agent_list *list = &screen->data.list;
    for (size_t i = 0; i < list->n_agents && screen->selected[0]; i++) {
        const char *id = field_text(list->agents[i], "id");
        if (id && strcmp(id, screen->selected) == 0) {
            screen->place = i;
            return;
        }
    }
    screen->place = MIN(screen->place, list->n_agents ? list->n_agents - 1 : 0);
}

static void select_row(struct top_screen *screen, size_t place)
{
    const struct agent_list *list = &screen->data.list;
    screen->place = MIN(place, list->n_agents ? list->n_agents - 1 : 0);
    const char *id = list->n_agents ? field_text(list->agents[screen->place], "id") : NULL;
    snprintf(screen->selected, sizeof(screen->selected), "%s", id ? id : "");
}

/* Everything that one picture is made of. */
struct picture {
    struct buf title, flow, alert, cpu, memory, foot;
    struct lines lines;
    struct tui_line head[3];
    struct tui_bar bars[2];
};

static void picture_done(struct picture *picture)
{
    struct buf *texts[] = {&picture->title, &picture->flow, &picture->alert, &picture->cpu,
        &picture->memory, &picture->foot};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        buf_done(texts[i]);
    lines_done(&picture->lines);
}

static void picture_bars(struct picture *picture, const json_t *system)
{
    double cpu = field_number(system, "current_usage.cpu_percent");
    double memory = field_number(system, "current_usage.memory_percent");
    picture->bars[0] = (struct tui_bar){"CPU", cpu,
        bar_style(cpu, field_number(system, "limits.max_cpu_percent")), picture->cpu.data};
    picture->bars[1] = (struct tui_bar){"MEM", memory,
        bar_style(memory, field_number(system, "limits.max_memory_percent")), picture->memory.data};
}

static bool picture_make(struct top_screen *screen, struct picture *picture)
{
    const struct top_data *data = &screen->data;
    enum style style = STYLE_BAD;
    title_line(data, &picture->title);
    flow_line(data, &picture->flow);
    if (screen->setting->error.message[0])
        text_safe(&picture->alert, screen->setting->error.message);
    else
        style = alert_line(data, &picture->alert);
    bar_texts(data, &picture->cpu, &picture->memory);
    foot_line(screen, &picture->foot);
    if (picture->title.failed || picture->flow.failed || picture->alert.failed ||
        picture->cpu.failed || picture->memory.failed || picture->foot.failed)
        return false;
    if (lines_make(&data->list, tui_width(screen->tui), &picture->lines) < 0)
        return false;
    picture->head[0] = (struct tui_line){picture->title.data, TUI_BOLD};
    picture->head[1] = (struct tui_line){picture->flow.data, TUI_PLAIN};
    picture->head[2] = (struct tui_line){picture->alert.data, tui_style_of(style)};
    picture_bars(picture, data->system);
    return true;
}

static struct tui_frame picture_frame(
    const struct top_screen *screen, const struct picture *picture)
{
    return (struct tui_frame){.head = picture->head,
        .n_head = ARRAY_SIZE(picture->head),
        .bars = picture->bars,
        .n_bars = ARRAY_SIZE(picture->bars),
        .heading = picture->lines.texts[0].data,
        .rows = picture->lines.rows,
        .n_rows = picture->lines.n,
        .selected = picture->lines.n > 0 ? screen->place : SIZE_MAX,
        .foot = picture->foot.data};
}

/* Draws what is known. Returns the rows of a page. */
static size_t draw(struct top_screen *screen)
{
    struct picture picture CLEANUP(picture_done) = {0};
    if (!screen->have_data)
        return 1;
    follow_selected(screen);
    if (!picture_make(screen, &picture))
        return 1;
    struct tui_frame frame = picture_frame(screen, &picture);
    tui_draw(screen->tui, &frame);
    return tui_page(screen->tui, &frame);
}

int top_screen_refresh(struct top_screen *screen)
{
    struct top_data data;
    if (screen->paused) {
        draw(screen);
        return 0;
    }
    screen->setting->error.message[0] = 0;
    int code = top_fetch(screen->cli, screen->setting, &data);
    if (code == 0) {
        top_data_done(&screen->data);
        screen->data = data;
        screen->have_data = true;
    } else if (!screen->have_data || code != EXIT_NO_DAEMON) {
        return code;
    }
    draw(screen);
    return 0;
}

/* ---- Keys */

static void filter_key(struct top_screen *screen, int key)
{
    char *filter = screen->setting->filter;
    size_t length = strlen(filter), most = sizeof(screen->setting->filter) - 1;
    if (key == TUI_ENTER) {
        screen->filtering = false;
    } else if (key == TUI_ESCAPE) {
        screen->filtering = false;
        filter[0] = 0;
    } else if (key == TUI_BACKSPACE && length > 0) {
        filter[length - 1] = 0;
    } else if (key >= ' ' && key < 0x7f && length < most) {
        filter[length] = (char)key;
        filter[length + 1] = 0;
    }
}

static bool sort_key(struct top_setting *setting, int key)
{
    static const struct {
        int key;
        enum agent_sort sort;
    } keys[] = {{'c', SORT_CPU}, {'m', SORT_MEMORY}, {'d', SORT_DISK}, {'n', SORT_NETWORK},
        {'f', SORT_FILES}, {'p', SORT_PROCESSES}, {'a', SORT_AGE}, {'i', SORT_ID}};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].key != key)
            continue;
        setting->reverse = setting->sort == keys[i].sort && !setting->reverse;
        setting->sort = keys[i].sort;
        return true;
    }
    return false;
}

static void move_key(struct top_screen *screen, int key, size_t page)
{
    size_t place = screen->place;
    if (key == TUI_UP || key == 'k')
        select_row(screen, place > 0 ? place - 1 : 0);
    else if (key == TUI_DOWN || key == 'j')
        select_row(screen, place + 1);
    else if (key == TUI_PAGE_UP)
        select_row(screen, place > page ? place - page : 0);
    else if (key == TUI_PAGE_DOWN)
        select_row(screen, place + page);
    else if (key == TUI_HOME)
        select_row(screen, 0);
    else if (key == TUI_END)
        select_row(screen, SIZE_MAX);
}

/* Sorts and filters what is there already, without asking the daemon again. */
static void arrange(struct top_screen *screen)
{
    struct agent_filter filter = {.text = screen->setting->filter};
    struct agent_list list;
    if (!screen->have_data)
        return;
    json_t *answer = json_incref(screen->data.list.answer);
    if (agent_list_make(answer, &filter, screen->setting->sort, screen->setting->reverse, &list) <
        0)
        return;
    agent_list_done(&screen->data.list);
    screen->data.list = list;
}

void top_screen_key(struct top_screen *screen, int key)
{
    if (key == TUI_NO_KEY)
        return;
    if (key == TUI_CLOSED) {
        screen->quit = true;
        return;
    }
    if (screen->filtering) {
        filter_key(screen, key);
        arrange(screen);
    } else if (key == 'q' || key == 'Q') {
        screen->quit = true;
        return;
    } else if (key == '/') {
        screen->filtering = true;
    } else if (key == TUI_ESCAPE) {
        screen->setting->filter[0] = 0;
        arrange(screen);
    } else if (key == ' ') {
        screen->paused = !screen->paused;
    } else if (sort_key(screen->setting, key)) {
        arrange(screen);
    }
    size_t page = draw(screen);
    if (!screen->filtering && key != TUI_RESIZE) {
        move_key(screen, key, page);
        draw(screen);
    }
}
