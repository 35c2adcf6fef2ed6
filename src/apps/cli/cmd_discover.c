/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore discover: what rules of discovery would find now, without a daemon and without doing
 * anything. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "apps/cli/cli.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/map.h"
#include "config/config.h"
#include "engine/discovery.h"
#include "os/procfs.h"

#define FOUND_MAX   4096
#define DEPTH_LIMIT 4096

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
    struct collector_source *source;
    struct discovery *discovery;
    int proc_fd;
    struct sample sample;
    struct discovery_plan plan;
    uint32_t processes[FOUND_MAX]; /* of each entry that is an agent */
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
    run->max_agents = FOUND_MAX;
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

/* ---- Looking */

static int scan(struct dry_run *run, struct ac_error *error)
{
    const struct procfs_options procfs = {.processes = true};
    run->proc_fd = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    if (run->proc_fd < 0)
        return error_errno(error, run->proc_fd, "/proc");
    const struct discovery_options options = {.rules = run->rules,
        .n_rules = run->n_rules,
        .max_agents = run->max_agents,
        .looks_max = UINT32_MAX,
        .found_max = FOUND_MAX,
        .seed = clock_mono().ns,
        .proc_fd = run->proc_fd,
        .self = (int32_t)getpid()};
    int r = procfs_new(&procfs, &run->source, error);
    if (r < 0)
        return r;
    r = discovery_new(&options, &run->discovery);
    if (r == 0)
        r = run->source->ops->read(run->source, &run->sample);
    if (r == 0)
        r = discovery_scan(run->discovery, NULL, &run->sample, &run->plan);
    return r < 0 ? error_errno(error, r, "looking at processes") : 0;
}

/* Which entry of the plan is the agent of entry @i, plus 1. */
static uintptr_t agent_of(const struct dry_run *run, size_t i)
{
    for (size_t j = 0; j <= i; j++) {
        const struct discovery_found *found = &run->plan.found[j];
        if (!found->joins && strcmp(found->spec.id, run->plan.found[i].spec.id) == 0)
            return j + 1;
    }
    return 0;
}

static void count_one(struct dry_run *run, const struct u64map *owners, const struct u64map *procs,
    const struct proc_record *proc)
{
    for (unsigned depth = 0; proc && depth < DEPTH_LIMIT; depth++) {
        uintptr_t owner = (uintptr_t)u64map_get(owners, (uint64_t)proc->pid);
        if (owner) {
            run->processes[owner - 1]++;
            return;
        }
        proc = proc->ppid > 0 ? u64map_get(procs, (uint64_t)proc->ppid) : NULL;
    }
}

static int count_processes(struct dry_run *run)
{
    struct u64map *owners = NULL, *procs = NULL;
    int r = u64map_new(1, &owners);
    if (r == 0)
        r = u64map_new(1, &procs);
    for (size_t i = 0; r == 0 && i < run->plan.n_found; i++) {
        uintptr_t owner = agent_of(run, i);
        if (owner)
            r = u64map_put(owners, (uint64_t)run->plan.found[i].spec.root_pid, (void *)owner);
    }
    for (size_t i = 0; r == 0 && i < run->sample.n_procs; i++)
        r = u64map_put(
            procs, (uint64_t)run->sample.procs[i].pid, (void *)(uintptr_t)&run->sample.procs[i]);
    for (size_t i = 0; r == 0 && i < run->sample.n_procs; i++)
        count_one(run, owners, procs, &run->sample.procs[i]);
    u64map_free(owners);
    u64map_free(procs);
    return r;
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
    for (size_t i = 0; i < run->plan.n_found; i++) {
        const struct discovery_found *found = &run->plan.found[i];
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
        json_object_set_new(agent, "processes", json_integer(run->processes[i]));
        json_array_append_new(agents, agent);
    }
    json_object_set_new(out, "agents", agents);
    json_object_set_new(out, "processes", json_integer((json_int_t)run->plan.looked_at));
    json_object_set_new(
        out, "environment_unreadable", json_integer((json_int_t)run->plan.unreadable));
    json_object_set_new(out, "beyond_caps", json_integer((json_int_t)run->plan.capped));
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
    snprintf(number, sizeof(number), "%u", run->processes[i]);
    table_cell(table, number, STYLE_NONE);
    table_cell(table, *found->cgroup ? found->cgroup : found->spec.command, STYLE_NONE);
}

static int print_table(const struct dry_run *run)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (table_new(columns, ARRAY_SIZE(columns), &table) < 0)
        return cli_fail(run->cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < run->plan.n_found; i++) {
        if (!run->plan.found[i].joins)
            add_row(run, table, &run->plan.found[i], i);
    }
    int code = 0;
    if (table_count(table) == 0)
        printf("Of %zu processes none would be an agent.\n", run->plan.looked_at);
    else
        code = cli_print_table(run->cli, table);
    if (run->plan.unreadable > 0)
        fprintf(stderr,
            "agentcore discover: the environment of %zu processes cannot be read: "
            "AGENTCORE_AGENT_ID "
            "of other users is seen by root only\n",
            run->plan.unreadable);
    if (run->plan.capped > 0 || run->plan.more)
        fprintf(stderr, "agentcore discover: more processes match than max_agents allows\n");
    return code;
}

static void dry_run_close(struct dry_run *run)
{
    discovery_free(run->discovery);
    if (run->source)
        run->source->ops->free(run->source);
    io_closep(&run->proc_fd);
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
    run->proc_fd = -1;
    int code = gather_rules(run, data);
    if (code == 0 && scan(run, &error) < 0)
        code = cli_fail(cli, EXIT_FAILED, "%s", error.message);
    if (code == 0 && count_processes(run) < 0)
        code = cli_fail(cli, EXIT_FAILED, "out of memory");
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
