/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/alert_table.h"

#include <math.h>
#include <string.h>

#include <agentcore.h>

#include "base/clock.h"

enum style alert_style(const char *severity)
{
    static const enum style styles[AC_SEVERITY_COUNT] = {
        STYLE_NONE, STYLE_WARNING, STYLE_BAD, STYLE_WORST};
    enum ac_severity value;
    if (!severity || ac_severity_from_name(severity, &value) < 0)
        return STYLE_NONE;
    return styles[value];
}

const char *alert_value(char out[TEXT_SHORT], const json_t *alert, const char *path)
{
    const char *name = field_text(alert, "resource"), *rule = field_text(alert, "rule");
    double value = field_number(alert, path);
    enum ac_resource resource;
    char number[TEXT_SHORT - 8];
    /* A rule on an agent's own limit is in its unit, not in percent. */
    bool own = rule && strstr(rule, "limit") != NULL;
    if (!isfinite(value) || !name || ac_resource_from_name(name, &resource) < 0)
        return text_count(out, value);
    if (resource == AC_DISK_IO || resource == AC_NETWORK_IO)
        return text_rate_long(out, value);
    if (resource == AC_FILE_DESCRIPTORS)
        return text_count(out, value);
    snprintf(number, sizeof(number), "%.*f", value < 10 ? 2 : 1, value);
    if (!own)
        snprintf(out, TEXT_SHORT, "%s%%", number);
    else if (resource == AC_MEMORY)
        text_size_long(out, value);
    else
        snprintf(out, TEXT_SHORT, "%s cores", number);
    return out;
}

const char *alert_state(const json_t *alert)
{
    const char *state = field_text(alert, "state");
    bool firing = state && strcmp(state, "firing") == 0;
    return firing && field_true(alert, "acknowledged") ? "acknowledged" : state;
}

static const struct table_column columns[] = {
    {"ID", false, 0, 0},
    {"SEVERITY", false, 0, 0},
    {"SUBJECT", false, 10, 0},
    {"RESOURCE", false, 0, 2},
    {"STATE", false, 0, 3},
    {"VALUE", true, 0, 5},
    {"THRESHOLD", true, 0, 6},
    {"SINCE", true, 0, 4},
    {"MESSAGE", false, 16, 1},
};

static void add_row(struct table *table, const json_t *alert, int64_t now)
{
    char text[TEXT_SHORT];
    const char *subject = field_text(alert, "agent_id"), *severity = field_text(alert, "severity");
    table_row(table);
    table_cell(table, field_text(alert, "id"), STYLE_NONE);
    table_cell(table, severity, alert_style(severity));
    table_cell(table, subject ? subject : "(machine)", STYLE_BOLD);
    table_cell(table, field_text(alert, "resource"), STYLE_NONE);
    table_cell(table, alert_state(alert), STYLE_NONE);
    table_cell(table, alert_value(text, alert, "current_value"), STYLE_NONE);
    table_cell(table, alert_value(text, alert, "threshold"), STYLE_NONE);
    table_cell(table, text_time_short(text, field_time(alert, "started"), now), STYLE_NONE);
    table_cell(table, field_text(alert, "message"), STYLE_NONE);
}

int alert_table(const json_t *alerts, struct table **ret_table)
{
    struct table *table;
    int r = table_new(columns, ARRAY_SIZE(columns), &table);
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(alerts); i++)
        add_row(table, json_array_get(alerts, i), clock_wall_ns());
    *ret_table = table;
    return 0;
}
