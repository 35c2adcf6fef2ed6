/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore top: the agents and the machine, again and again. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/cli/top_view.h"
#include "base/clock.h"

struct top_options {
    unsigned sort; /* enum agent_sort */
    bool reverse;
    const char *filter;
    uint64_t delay_ns;
    uint64_t count;
    bool plain;
};

#define TOP(field) offsetof(struct top_options, field)

static const struct top_options top_defaults = {.sort = SORT_CPU, .delay_ns = NS_PER_SEC};

static const struct opt top_table[] = {
    {"delay", 'd', OPT_DURATION, "DURATION", "time between two pictures [1s]", TOP(delay_ns), 0.1,
        86400},
    {"count", 'n', OPT_COUNT, "N", "end after so many", TOP(count), 1, 1e15},
    {"sort", 's', OPT_CHOICE, AGENT_SORT_WORDS, "order [cpu]", TOP(sort), 0, 0},
    {"reverse", 'r', OPT_FLAG, NULL, "turn the order round", TOP(reverse), 0, 0},
    {"filter", 'f', OPT_TEXT, "TEXT", "only agents with this in id, state, philosophy or command",
        TOP(filter), 0, 0},
    {"plain", 0, OPT_FLAG, NULL, "tables one below the other, as where output is no terminal",
        TOP(plain), 0, 0},
    {NULL},
};

/* ---- Without a terminal */

static int print_json(const struct cli *cli, const struct top_data *data)
{
    json_t *out cleanup_json = json_object(), *agents = json_array();
    for (size_t i = 0; i < data->list.n_agents; i++)
        json_array_append(agents, (json_t *)data->list.agents[i]);
    json_object_set(out, "system", data->system);
    json_object_set_new(out, "agents", agents);
    json_object_set(out, "alerts", (json_t *)field_get(data->alerts, "alerts"));
    return cli_print_json(cli, out, true);
}

static int print_once(const struct cli *cli, const struct top_data *data)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (cli->common.json)
        return print_json(cli, data);
    top_print_head(cli, data);
    if (agent_list_table(&data->list, false, &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_print_table(cli, table);
    fflush(stdout);
    return code;
}

static void sleep_until(struct mono due)
{
    const struct timespec time = {(time_t)(due.ns / NS_PER_SEC), (long)(due.ns % NS_PER_SEC)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int run_plain(
    struct cli *cli, const struct top_options *options, struct top_setting *setting)
{
    struct mono due = clock_mono();
    for (uint64_t n = 1;; n++) {
        struct top_data data CLEANUP(top_data_done) = {0};
        int code = top_fetch(cli, setting, &data);
        if (code == 0)
            code = print_once(cli, &data);
        if (code != 0 || ferror(stdout) || n == options->count)
            return code;
        if (!cli->common.json)
            putchar('\n');
        due.ns = MAX(due.ns + options->delay_ns, clock_mono().ns);
        sleep_until(due);
    }
}

/* ---- Full screen */

static int run_screen(struct cli *cli, const struct top_options *options,
    struct top_setting *setting, struct tui *tui)
{
    struct top_screen screen = {.cli = cli, .setting = setting, .tui = tui};
    struct mono due = {0};
    uint64_t n = 0;
    int code = 0;
    while (!screen.quit) {
        uint64_t left = mono_since(due, clock_mono());
        if (left == 0) {
            if (options->count > 0 && n == options->count)
                break;
            code = top_screen_refresh(&screen);
            due.ns = clock_mono().ns + options->delay_ns;
            n++;
            if (code != 0)
                break;
            continue;
        }
        top_screen_key(&screen, tui_key(tui, (int)MIN(left / NS_PER_MSEC + 1, 3600000u)));
    }
    top_data_done(&screen.data);
    return code;
}

static int top_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct top_options *options = data;
    struct top_setting setting = {
        .sort = (enum agent_sort)options->sort, .reverse = options->reverse};
    struct tui *tui = NULL;
    (void)operands;
    (void)n_operands;
    if (options->filter && strlen(options->filter) >= sizeof(setting.filter))
        return cli_usage(cli, "--filter: at most %zu bytes", sizeof(setting.filter) - 1);
    if (options->filter)
        memcpy(setting.filter, options->filter, strlen(options->filter) + 1);
    int code = cli_call(cli, "GET", "/v1/system", NULL, NULL);
    if (code != 0) /* said before the screen is taken over */
        return code;
    if (options->plain || cli->common.json || tui_open(cli->colour, &tui, NULL) < 0)
        return run_plain(cli, options, &setting);
    setting.quiet = true;
    code = run_screen(cli, options, &setting, tui);
    tui_close(tui);
    if (code != 0)
        return cli_fail(cli, code, "%s", setting.error.message);
    return 0;
}

const struct command cmd_top = {
    .name = "top",
    .summary = "Show agents and machine, refreshed every second",
    .details =
        "Keys: q quit; arrows, page up and down, home, end scroll; c m d n f p a i sort by cpu,\n"
        "memory, disk, network, files, processes, age, id (again: the other way round); / filter\n"
        "(enter keeps, escape drops it); space stops and continues. Where output is no terminal,\n"
        "tables are printed one below the other; with --json, one object a line.",
    .options = top_table,
    .options_size = sizeof(struct top_options),
    .defaults = &top_defaults,
    .run = top_run,
};
