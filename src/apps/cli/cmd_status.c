/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore status: the machine and the daemon. */
#include <math.h>
#include <string.h>

#include "apps/cli/cli.h"

/* "12.3%  (limit 80%)", coloured from the limit on. */
static void print_percent(
    const struct cli *cli, const char *name, double value, double limit, const char *more)
{
    char number[TEXT_SHORT], line[160];
    bool known = isfinite(value);
    snprintf(line, sizeof(line), "%s%s%s", text_percent(number, value), known ? "%" : "", more);
    cli_print_pair(cli, name, line, known && value >= limit ? STYLE_BAD : STYLE_NONE);
}

static void print_machine(const struct cli *cli, const json_t *system)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], line[3 * TEXT_SHORT];
    const json_t *usage = field_get(system, "current_usage");
    cli_print_pair(cli, "Machine", field_text(system, "hostname"), STYLE_BOLD);
    snprintf(line, sizeof(line), " of %g cores", field_number(system, "capacity.cpu_cores"));
    print_percent(cli, "CPU", field_number(usage, "cpu_percent"),
        field_number(system, "limits.max_cpu_percent"), line);
    snprintf(line, sizeof(line), ", %s of %s", text_size_long(a, field_number(usage, "memory_mb")),
        text_size_long(b, field_number(system, "capacity.memory_mb")));
    print_percent(cli, "Memory", field_number(usage, "memory_percent"),
        field_number(system, "limits.max_memory_percent"), line);
    cli_print_pair(cli, "Disk", text_rate_long(a, field_number(usage, "disk_io_mbps")), STYLE_NONE);
    cli_print_pair(
        cli, "Network", text_rate_long(a, field_number(usage, "network_io_mbps")), STYLE_NONE);
    cli_print_pair(
        cli, "Open files", text_count(a, field_number(usage, "file_descriptors")), STYLE_NONE);
    snprintf(line, sizeof(line), "%s%% CPU, %s memory",
        text_percent(a, field_number(system, "available.cpu_percent")),
        text_size_long(b, field_number(system, "available.memory_mb")));
    cli_print_pair(cli, "To give away", line, STYLE_NONE);
    cli_print_pair(cli, "Agents", text_count(a, field_number(system, "active_agents")), STYLE_NONE);
    double alerts = field_number(system, "active_alerts");
    cli_print_pair(
        cli, "Active alerts", text_count(a, alerts), alerts > 0 ? STYLE_WARNING : STYLE_NONE);
}

static void print_daemon(const struct cli *cli, const json_t *system)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], c[TEXT_SHORT], line[256];
    const char *version = field_text(system, "version");
    putchar('\n');
    snprintf(line, sizeof(line), "agentcored %.40s, pid %.0f, up %s", version ? version : "-",
        field_number(system, "daemon.pid"),
        text_duration(a, field_number(system, "daemon.uptime_seconds")));
    cli_print_pair(cli, "Daemon", line, STYLE_NONE);
    snprintf(line, sizeof(line), "%s CPU, %s memory",
        text_duration(a, field_number(system, "daemon.cpu_seconds")),
        text_size_long(b, field_number(system, "daemon.rss_mb")));
    cli_print_pair(cli, "Its own use", line, STYLE_NONE);
    cli_print_pair(cli, "Measures by", field_text(system, "collector"), STYLE_NONE);
    cli_print_pair(cli, "State in", field_text(system, "state"), STYLE_NONE);
    double missed = field_number(system, "tick.missed"),
           last = field_number(system, "tick.last_ms");
    snprintf(a, sizeof(a), isfinite(last) ? "%.1f ms" : "-", last);
    snprintf(line, sizeof(line), "every %s, last took %s, %s missed of %s",
        text_duration(b, field_number(system, "tick.interval_seconds")), a, text_count(c, missed),
        text_count((char[TEXT_SHORT]){0}, field_number(system, "tick.count")));
    cli_print_pair(cli, "Ticks", line, missed > 0 ? STYLE_WARNING : STYLE_NONE);
}

static int status_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    json_t *system cleanup_json = NULL;
    (void)data;
    (void)operands;
    (void)n_operands;
    int code = cli_call(cli, "GET", "/v1/system", NULL, &system);
    if (code != 0)
        return code;
    if (cli->common.json)
        return cli_print_json(cli, system, false);
    print_machine(cli, system);
    print_daemon(cli, system);
    return 0;
}

const struct command cmd_status = {
    .name = "status",
    .summary = "Show the machine's use and the daemon's state",
    .run = status_run,
};
