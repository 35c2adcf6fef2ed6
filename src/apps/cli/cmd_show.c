/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore show: everything about one agent. */
#include <math.h>
#include <string.h>

#include "apps/cli/alert_table.h"
#include "base/clock.h"

static void pair_text(
    const struct cli *cli, const char *name, const json_t *agent, const char *path)
{
    cli_print_pair(cli, name, field_text(agent, path), STYLE_NONE);
}

static void pair_time(
    const struct cli *cli, const char *name, const json_t *agent, const char *path)
{
    char text[TEXT_SHORT];
    cli_print_pair(cli, name, text_time(text, field_time(agent, path)), STYLE_NONE);
}

/* "512 MiB of 1.0 GiB" */
static void pair_usage(
    const struct cli *cli, const char *name, const char *value, const char *limit)
{
    char line[2 * TEXT_SHORT + 8];
    bool limited = strcmp(limit, "-") != 0;
    snprintf(line, sizeof(line), "%s%s%s", value, limited ? " of " : "", limited ? limit : "");
    cli_print_pair(cli, name, line, STYLE_NONE);
}

static const char *cores(char out[TEXT_SHORT], double value)
{
    if (!isfinite(value))
        return text_count(out, value);
    snprintf(out, TEXT_SHORT, "%.2f cores", value);
    return out;
}

static void print_identity(const struct cli *cli, const json_t *agent)
{
    char text[TEXT_SHORT];
    const char *state = field_text(agent, "state"), *key;
    json_t *value;
    cli_print_pair(cli, "Agent", field_text(agent, "id"), STYLE_BOLD);
    pair_text(cli, "Philosophy", agent, "philosophy");
    pair_text(cli, "Template", agent, "template");
    pair_text(cli, "Command", agent, "command");
    cli_print_pair(
        cli, "State", state, state && strcmp(state, "orphans") == 0 ? STYLE_WARNING : STYLE_NONE);
    snprintf(text, sizeof(text), "%.0f", field_number(agent, "pid"));
    cli_print_pair(cli, "Pid", isnan(field_number(agent, "pid")) ? "-" : text, STYLE_NONE);
    snprintf(text, sizeof(text), "%.0f", field_number(agent, "uid"));
    cli_print_pair(cli, "User id", isnan(field_number(agent, "uid")) ? "-" : text, STYLE_NONE);
    pair_time(cli, "Started", agent, "started");
    pair_time(cli, "Ended", agent, "ended");
    json_object_foreach((json_t *)field_get(agent, "labels"), key, value)
    {
        struct buf line CLEANUP(buf_done) = {0};
        buf_printf(&line, "%s=%s", key, json_is_string(value) ? json_string_value(value) : "");
        cli_print_pair(cli, "Label", line.data, STYLE_NONE);
    }
}

/* "96 MiB, shared pages in parts (4 s old)" */
static void print_pss(const struct cli *cli, const json_t *agent)
{
    char size[TEXT_SHORT], age[TEXT_SHORT], line[3 * TEXT_SHORT];
    if (!isfinite(field_number(agent, "pss_mb")))
        return;
    snprintf(line, sizeof(line), "%s, shared pages in parts (%s old)",
        text_size_long(size, field_number(agent, "pss_mb")),
        text_duration(age, field_number(agent, "pss_age_seconds")));
    cli_print_pair(cli, "PSS", line, STYLE_NONE);
}

static void print_usage(const struct cli *cli, const json_t *agent)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], line[3 * TEXT_SHORT];
    putchar('\n');
    pair_text(cli, "Source", agent, "source");
    snprintf(line, sizeof(line), "%s%% of the machine",
        text_percent(a, field_number(agent, "usage.cpu_percent")));
    if (isfinite(field_number(agent, "usage.cpu_percent")))
        cli_print_pair(cli, "CPU share", line, STYLE_NONE);
    pair_usage(cli, "CPU", cores(a, field_number(agent, "usage.cpu_cores")),
        cores(b, field_number(agent, "limits.max_cpu_cores")));
    pair_usage(cli, "Memory", text_size_long(a, field_number(agent, "usage.memory_mb")),
        text_size_long(b, field_number(agent, "limits.max_memory_mb")));
    print_pss(cli, agent);
    cli_print_pair(
        cli, "Disk", text_rate_long(a, field_number(agent, "usage.disk_io_mbps")), STYLE_NONE);
    cli_print_pair(cli, "Network", text_rate_long(a, field_number(agent, "usage.network_io_mbps")),
        STYLE_NONE);
    if (isfinite(field_number(agent, "gpu_memory_mb")))
        cli_print_pair(
            cli, "GPU memory", text_size_long(a, field_number(agent, "gpu_memory_mb")), STYLE_NONE);
    snprintf(line, sizeof(line), "%s%% of one device",
        text_percent(a, field_number(agent, "gpu_percent")));
    if (isfinite(field_number(agent, "gpu_percent")))
        cli_print_pair(cli, "GPU", line, STYLE_NONE);
    pair_usage(cli, "Open files", text_count(a, field_number(agent, "usage.file_descriptors")),
        text_count(b, field_number(agent, "limits.max_file_descriptors")));
    int64_t started = field_time(agent, "started"), ended = field_time(agent, "ended");
    double age = (double)((ended ? ended : clock_wall_ns()) - started) / NS_PER_SEC;
    pair_usage(cli, "Time", text_duration(a, started ? age : NAN),
        text_duration(b, field_number(agent, "limits.max_execution_time_seconds")));
    double threads = field_number(agent, "threads");
    snprintf(line, sizeof(line), "%s (%s thread%s)",
        text_count(a, field_number(agent, "processes")), text_count(b, threads),
        threads == 1 ? "" : "s");
    cli_print_pair(cli, "Processes", line, STYLE_NONE);
}

static void print_totals(const struct cli *cli, const json_t *agent)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], line[3 * TEXT_SHORT];
    puts("\nSince its start");
    double cpu = field_number(agent, "totals.cpu_seconds");
    snprintf(line, sizeof(line), "%.2f s", cpu);
    cli_print_pair(cli, "CPU time", isnan(cpu) ? "-" : line, STYLE_NONE);
    cli_print_pair(cli, "Memory peak",
        text_size_long(a, field_number(agent, "totals.memory_peak_mb")), STYLE_NONE);
    snprintf(line, sizeof(line), "%s read, %s written",
        text_size_long(a, field_number(agent, "totals.disk_read_mb")),
        text_size_long(b, field_number(agent, "totals.disk_write_mb")));
    cli_print_pair(cli, "Disk", line, STYLE_NONE);
    cli_print_pair(
        cli, "Network", text_size_long(a, field_number(agent, "totals.network_mb")), STYLE_NONE);
    cli_print_pair(
        cli, "Processes", text_count(a, field_number(agent, "totals.processes_total")), STYLE_NONE);
    cli_print_pair(cli, "Open files peak",
        text_count(a, field_number(agent, "totals.file_descriptors_peak")), STYLE_NONE);
}

static const struct table_column member_columns[] = {
    {"PID", true, 0, 0},
    {"PPID", true, 0, 3},
    {"STATE", false, 0, 2},
    {"CPU TIME", true, 0, 0},
    {"MEM", true, 0, 0},
    {"THREADS", true, 0, 4},
    {"FDS", true, 0, 5},
    {"NAME", false, 4, 0},
};

static void add_member(struct table *table, const json_t *member)
{
    char text[TEXT_SHORT];
    table_row(table);
    snprintf(text, sizeof(text), "%.0f", field_number(member, "pid"));
    table_cell(table, text, STYLE_NONE);
    snprintf(text, sizeof(text), "%.0f", field_number(member, "ppid"));
    table_cell(table, text, STYLE_NONE);
    table_cell(table, field_text(member, "state"), STYLE_NONE);
    table_cell(table, text_duration(text, field_number(member, "cpu_seconds")), STYLE_NONE);
    table_cell(table, text_size(text, field_number(member, "memory_mb")), STYLE_NONE);
    table_cell(table, text_count(text, field_number(member, "threads")), STYLE_NONE);
    table_cell(table, text_count(text, field_number(member, "file_descriptors")), STYLE_NONE);
    table_cell(table, field_text(member, "name"), STYLE_NONE);
}

static int print_members(const struct cli *cli, const json_t *members)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (json_array_size(members) == 0)
        return 0;
    if (table_new(member_columns, ARRAY_SIZE(member_columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < json_array_size(members); i++)
        add_member(table, json_array_get(members, i));
    putchar('\n');
    return cli_print_table(cli, table);
}

static int print_alerts(const struct cli *cli, const json_t *alerts)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (json_array_size(alerts) == 0)
        return 0;
    if (alert_table(alerts, &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    putchar('\n');
    return cli_print_table(cli, table);
}

static int fetch(struct cli *cli, const char *id, json_t **ret_agent, json_t **ret_alerts)
{
    struct buf path CLEANUP(buf_done) = {0}, alerts CLEANUP(buf_done) = {0};
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, id);
    buf_append_str(&alerts, "/v1/alerts");
    client_query_add(&alerts, "state", "live");
    client_query_add(&alerts, "agent", id);
    if (path.failed || alerts.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_call(cli, "GET", path.data, NULL, ret_agent);
    return code ? code : cli_call(cli, "GET", alerts.data, NULL, ret_alerts);
}

static int show_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    json_t *agent cleanup_json = NULL, *alerts cleanup_json = NULL;
    (void)data;
    (void)n_operands;
    int code = cli_check_id(cli, operands[0]);
    if (code == 0)
        code = fetch(cli, operands[0], &agent, &alerts);
    if (code != 0)
        return code;
    if (cli->common.json) {
        json_object_set(agent, "alerts", (json_t *)field_get(alerts, "alerts"));
        return cli_print_json(cli, agent, false);
    }
    print_identity(cli, agent);
    print_usage(cli, agent);
    print_totals(cli, agent);
    code = print_members(cli, field_get(agent, "members"));
    return code ? code : print_alerts(cli, field_get(alerts, "alerts"));
}

const struct command cmd_show = {
    .name = "show",
    .operands = "ID",
    .summary = "Show one agent: what it is, uses and used, its processes and alerts",
    .least_operands = 1,
    .most_operands = 1,
    .run = show_run,
};
