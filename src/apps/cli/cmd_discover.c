/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore discover: what rules of discovery would find now, without a daemon and without doing
 * anything. */
#include <string.h>

#include "apps/cli/cli.h"
#include "config/config.h"
#include "engine/discovery_dry.h"

struct discover_options {
    const char *config;
    struct opt_list presets;
};

#define DISCOVER(field) offsetof(struct discover_options, field)

static const struct opt discover_table[] = {
    {"config", 'c', OPT_TEXT, "FILE", "the rules of this configuration", DISCOVER(config), 0, 0},
    {"preset", 0, OPT_LIST, "docker|podman|kubernetes|systemd-slice|coding-agents|environment",
        "this set of rules (may be repeated)", DISCOVER(presets), 0, 0},
    {NULL},
};

struct dry_run {
    struct cli *cli;
    struct config config;
    struct discovery_rule rules[DISCOVERY_RULES_MAX];
    size_t n_rules;
    uint32_t max_agents;
    struct discovery_dry *dry;
};

/* ---- Rules */

static int add_rule(struct dry_run *run, const struct discovery_rule *rule)
{
    for (size_t i = 0; i < run->n_rules; i++) {
        if (strcmp(run->rules[i].name, rule->name) == 0)
            return 0;
    }
    if (run->n_rules == DISCOVERY_RULES_MAX)
        return cli_usage(run->cli, "more than %d rules", DISCOVERY_RULES_MAX);
    run->rules[run->n_rules++] = *rule;
    return 0;
}

static int add_preset(struct dry_run *run, const char *name)
{
    struct discovery_rule rule;
    enum discovery_preset preset;
    if (discovery_preset_from_name(name, &preset) < 0)
        return cli_usage(run->cli, "--preset: '%.60s' is not one of %s", name,
            "docker, podman, kubernetes, systemd-slice, coding-agents, environment");
    discovery_rule_from_preset(preset, &rule);
    return add_rule(run, &rule);
}

/* Without either option: all presets. */
static int gather_rules(struct dry_run *run, const struct discover_options *options)
{
    struct ac_error error = {0};
    int code = 0;
    run->max_agents = DISCOVERY_DRY_MAX;
    if (options->config) {
        if (config_load(options->config, &run->config, &error) < 0)
            return cli_fail(run->cli, EXIT_USAGE, "%s", error.message);
        run->max_agents = run->config.discovery.max_agents;
    }
    for (size_t i = 0; code == 0 && i < run->config.discovery.n_rules; i++)
        code = add_rule(run, &run->config.discovery.rules[i]);
    for (size_t i = 0; code == 0 && i < options->presets.n_items; i++)
        code = add_preset(run, options->presets.items[i]);
    bool all = !options->config && options->presets.n_items == 0;
    for (unsigned i = 1; all && code == 0 && i < DISCOVERY_PRESET_COUNT; i++)
        code = add_preset(run, discovery_preset_name((enum discovery_preset)i));
    if (code == 0 && run->n_rules == 0)
        return cli_fail(run->cli, EXIT_USAGE, "%s: has no discovery.rules", options->config);
    return code;
}

/* ---- Telling */

static json_t *text_or_null(const char *text)
{
    json_t *value = *text ? json_string(text) : NULL;
    return value ? value : json_null(); /* a cgroup's path may be no UTF-8 */
}

static int print_json(const struct dry_run *run)
{
    json_t *agents = json_array();
    json_t *out cleanup_json = json_object();
    for (size_t i = 0; i < run->dry->plan.n_found; i++) {
        const struct discovery_found *found = &run->dry->plan.found[i];
        if (found->joins)
            continue;
        json_t *agent = json_object();
        json_object_set_new(agent, "id", json_string(found->spec.id));
        json_object_set_new(agent, "rule", json_string(found->rule));
        json_object_set_new(agent, "unit", json_string(discovery_unit_name(found->unit)));
        json_object_set_new(agent, "pid", json_integer(found->spec.root_pid));
        json_object_set_new(agent, "uid", json_integer(found->spec.owner_uid));
        json_object_set_new(
            agent, "philosophy", json_string(ac_philosophy_name(found->spec.philosophy)));
        json_object_set_new(agent, "template", text_or_null(found->spec.agent_template));
        json_object_set_new(agent, "command", text_or_null(found->spec.command));
        json_object_set_new(agent, "cgroup", text_or_null(found->cgroup));
        json_object_set_new(agent, "processes", json_integer(run->dry->processes[i]));
        json_array_append_new(agents, agent);
    }
    json_object_set_new(out, "agents", agents);
    json_object_set_new(out, "processes", json_integer((json_int_t)run->dry->plan.looked_at));
    json_object_set_new(
        out, "environment_unreadable", json_integer((json_int_t)run->dry->plan.unreadable));
    json_object_set_new(out, "beyond_caps", json_integer((json_int_t)run->dry->plan.capped));
    return cli_print_json(run->cli, out, false);
}

static const struct table_column columns[] = {{.title = "ID", .least = 12}, {.title = "RULE"},
    {.title = "UNIT", .optional = 2}, {.title = "PID", .right = true},
    {.title = "UID", .right = true, .optional = 1}, {.title = "PROCS", .right = true},
    {.title = "WHAT", .least = 16}};

static void add_row(
    const struct dry_run *run, struct table *table, const struct discovery_found *found, size_t i)
{
    char number[TEXT_SHORT];
    table_row(table);
    table_cell(table, found->spec.id, STYLE_BOLD);
    table_cell(table, found->rule, STYLE_NONE);
    table_cell(table, discovery_unit_name(found->unit), STYLE_DIM);
    snprintf(number, sizeof(number), "%d", found->spec.root_pid);
    table_cell(table, number, STYLE_NONE);
    snprintf(number, sizeof(number), "%u", found->spec.owner_uid);
    table_cell(table, number, STYLE_NONE);
    snprintf(number, sizeof(number), "%u", run->dry->processes[i]);
    table_cell(table, number, STYLE_NONE);
    table_cell(table, *found->cgroup ? found->cgroup : found->spec.command, STYLE_NONE);
}

static int print_table(const struct dry_run *run)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (table_new(columns, ARRAY_SIZE(columns), &table) < 0)
        return cli_fail(run->cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < run->dry->plan.n_found; i++) {
        if (!run->dry->plan.found[i].joins)
            add_row(run, table, &run->dry->plan.found[i], i);
    }
    int code = 0;
    if (table_count(table) == 0)
        printf("Of %zu processes none would be an agent.\n", run->dry->plan.looked_at);
    else
        code = cli_print_table(run->cli, table);
    if (run->dry->plan.unreadable > 0)
        fprintf(stderr,
            "agentcore discover: the environment of %zu processes cannot be read: "
            "AGENTCORE_AGENT_ID "
            "of other users is seen by root only\n",
            run->dry->plan.unreadable);
    if (run->dry->plan.capped > 0 || run->dry->plan.more)
        fprintf(stderr, "agentcore discover: more processes match than max_agents allows\n");
    return code;
}

static void dry_run_close(struct dry_run *run)
{
    discovery_dry_free(run->dry);
    config_done(&run->config);
    mem_free(run);
}

static int discover_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct ac_error error = {0};
    struct dry_run *run = mem_alloc(sizeof(*run));
    (void)operands;
    (void)n_operands;
    if (!run)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    run->cli = cli;
    int code = gather_rules(run, data);
    if (code == 0 &&
        discovery_dry_run(run->rules, run->n_rules, run->max_agents, &run->dry, &error) < 0)
        code = cli_fail(cli, EXIT_FAILED, "%s", error.message);
    if (code == 0)
        code = cli->common.json ? print_json(run) : print_table(run);
    dry_run_close(run);
    return code;
}

const struct command cmd_discover = {
    .name = "discover",
    .summary = "Show which processes rules of discovery would make agents",
    .details = "A dry run: asks no daemon and changes nothing; what is an agent already is shown "
               "as well. Without options it tries all presets. The daemon does the same by itself "
               "where its configuration says discovery.enabled: true.",
    .options = discover_table,
    .options_size = sizeof(struct discover_options),
    .run = discover_run,
};
