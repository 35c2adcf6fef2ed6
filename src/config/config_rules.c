/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config_rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "base/parse.h"

/* A text, kept in an array of the rule. */
struct text_key {
    const char *name;
    size_t offset;
    size_t size;
    const char *help;
};

#define TEXT(member)                                                                               \
    offsetof(struct discovery_rule, member), sizeof(((struct discovery_rule *)0)->member)

static const struct text_key text_keys[] = {
    {"name", TEXT(name),
        "Of the rule; agents carry it as their label `discovered`. Required unless there is a "
        "preset, whose name it is by default."},
    {"id", TEXT(id),
        "The agent's id: letters, digits, `_`, `-`, and `{name}` (the program), `{pid}`, `{uid}`, "
        "`{rule}`, `{container}` (the cgroup's name). Where it is taken the pid is added; where "
        "another user has reserved resources for it the agent comes once those are given back."},
    {"template", TEXT(agent_template),
        "The agent's template, for predictions; coding agents have their program's name."},
    {"cgroup", TEXT(cgroup),
        "A pattern for the path of the cgroup, or of one above it, such as "
        "`/agents.slice/*.service`. `*` and `?` stay within one directory, `**` does not."},
    {"command", TEXT(command),
        "A pattern for the whole command: its arguments joined by blanks, the first 4096 bytes."},
    {"executable", TEXT(executable),
        "A pattern for the name of the program, of the script that an interpreter runs, or of the "
        "process."},
};

struct rules {
    const char *file;
    yaml_document_t document;
    struct discovery_rule *items;
    size_t count;
    struct ac_error *error;
};

static int fail(
    const struct rules *rules, const yaml_node_t *node, const char *key, const char *problem)
{
    return error_set(rules->error, -EINVAL, "%s:%zu: discovery.rules[%zu]%s%.40s: %s", rules->file,
        node->start_mark.line + 1, rules->count, *key ? "." : "", key, problem);
}

static const char *scalar(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE &&
                   strlen((const char *)node->data.scalar.value) == node->data.scalar.length
               ? (const char *)node->data.scalar.value
               : NULL;
}

static int set_text(struct rules *rules, struct discovery_rule *rule, const struct text_key *key,
    const yaml_node_t *node, const char *value)
{
    char *target = (char *)rule + key->offset;
    if (strlen(value) >= key->size)
        return fail(rules, node, key->name, "is too long");
    for (const char *c = value; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return fail(rules, node, key->name, "has a control character");
    }
    memcpy(target, value, strlen(value) + 1);
    return 0;
}

static int set_word(struct rules *rules, struct discovery_rule *rule, const char *key,
    const yaml_node_t *node, const char *value)
{
    uint64_t number;
    if (strcmp(key, "preset") == 0)
        return discovery_preset_from_name(value, &rule->preset) == 0
                   ? 0
                   : fail(rules, node, key,
                         "is not one of docker, podman, kubernetes, systemd-slice, coding-agents, "
                         "environment");
    if (strcmp(key, "unit") == 0)
        return discovery_unit_from_name(value, &rule->unit) == 0
                   ? 0
                   : fail(rules, node, key, "is not one of auto, tree, cgroup");
    if (strcmp(key, "philosophy") == 0)
        return ac_philosophy_from_name(value, &rule->philosophy) == 0
                   ? 0
                   : fail(rules, node, key, "is not one of react, cot, multi_agent, autonomous");
    if (strcmp(key, "environment") == 0) {
        rule->environment = strcmp(value, "true") == 0;
        return rule->environment || strcmp(value, "false") == 0
                   ? 0
                   : fail(rules, node, key, "is not true or false");
    }
    if (strcmp(key, "max_agents") == 0) {
        if (parse_u64(value, strlen(value), &number) < 0 || number > 100000)
            return fail(rules, node, key, "is not a whole number from 0 to 100000");
        rule->max_agents = (uint32_t)number;
        return 0;
    }
    return fail(rules, node, key, "is not a setting of a rule");
}

static int set_key(struct rules *rules, struct discovery_rule *rule, const char *key,
    const yaml_node_t *key_node, const yaml_node_t *node)
{
    const char *value = scalar(node);
    if (!value)
        return fail(rules, key_node, key, "takes a single value");
    if (!*value)
        return fail(rules, key_node, key, "has no value");
    for (size_t i = 0; i < ARRAY_SIZE(text_keys); i++) {
        if (strcmp(text_keys[i].name, key) == 0)
            return set_text(rules, rule, &text_keys[i], node, value);
    }
    return set_word(rules, rule, key, key_node, value);
}

static yaml_node_t *node_at(struct rules *rules, int index)
{
    return yaml_document_get_node(&rules->document, index);
}

/* Whether the key of @pair is in the mapping before it. */
static bool is_repeated(struct rules *rules, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    const char *key = scalar(node_at(rules, pair->key));
    for (const yaml_node_pair_t *other = map->data.mapping.pairs.start; other < pair; other++) {
        const char *name = scalar(node_at(rules, other->key));
        if (name && strcmp(name, key) == 0)
            return true;
    }
    return false;
}

static int read_rule(struct rules *rules, const yaml_node_t *map, struct discovery_rule *rule)
{
    const char *wrong;
    discovery_rule_init(rule);
    if (map->type != YAML_MAPPING_NODE)
        return fail(rules, map, "", "a rule is a list of \"key: value\" lines");
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         pair < map->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = node_at(rules, pair->key);
        const char *key = scalar(key_node);
        if (!key)
            return fail(rules, map, "", "a key must be a word");
        if (is_repeated(rules, map, pair))
            return fail(rules, key_node, key, "is here twice");
        int r = set_key(rules, rule, key, key_node, node_at(rules, pair->value));
        if (r < 0)
            return r;
    }
    if (!*rule->name && rule->preset)
        snprintf(rule->name, sizeof(rule->name), "%s", discovery_preset_name(rule->preset));
    const char *problem = discovery_rule_check(rule, &wrong);
    if (problem)
        return fail(rules, map, wrong, problem);
    for (size_t i = 0; i < rules->count; i++) {
        if (strcmp(rules->items[i].name, rule->name) == 0)
            return fail(rules, map, "name", "is another rule's already");
    }
    return 0;
}

static int read_rules(struct rules *rules, const yaml_node_t *list)
{
    if (list->type == YAML_SCALAR_NODE && list->data.scalar.length == 0)
        return 0;
    if (list->type != YAML_SEQUENCE_NODE)
        return error_set(rules->error, -EINVAL,
            "%s:%zu: discovery.rules: is a list: each rule "
            "begins with \"- \"",
            rules->file, list->start_mark.line + 1);
    size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (count > DISCOVERY_RULES_MAX)
        return error_set(rules->error, -EINVAL, "%s:%zu: discovery.rules: more than %d rules",
            rules->file, list->start_mark.line + 1, DISCOVERY_RULES_MAX);
    rules->items = mem_alloc_array(MAX(count, (size_t)1), sizeof(*rules->items));
    if (!rules->items)
        return error_set(rules->error, -ENOMEM, "%s: no memory", rules->file);
    while (rules->count < count) {
        int item = list->data.sequence.items.start[rules->count];
        int r = read_rule(rules, node_at(rules, item), &rules->items[rules->count]);
        if (r < 0)
            return r;
        rules->count++;
    }
    return 0;
}

/* The value of a key, or NULL. */
static const yaml_node_t *value_of(struct rules *rules, const yaml_node_t *map, const char *wanted)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         pair < map->data.mapping.pairs.top; pair++) {
        const char *key = scalar(node_at(rules, pair->key));
        if (key && strcmp(key, wanted) == 0)
            return node_at(rules, pair->value);
    }
    return NULL;
}

int rules_load(
    const char *file, const char *text, size_t size, struct config *config, struct ac_error *error)
{
    struct rules rules = {.file = file, .error = error};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set(error, -ENOMEM, "%s: no memory", file);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool loaded = yaml_parser_load(&parser, &rules.document);
    yaml_parser_delete(&parser);
    if (!loaded) /* it has been read twice before: what is new can only be memory */
        return error_set(error, -ENOMEM, "%s: no memory", file);
    const yaml_node_t *section =
        value_of(&rules, yaml_document_get_root_node(&rules.document), "discovery");
    const yaml_node_t *list = value_of(&rules, section, "rules");
    int r = list ? read_rules(&rules, list) : 0;
    yaml_document_delete(&rules.document);
    if (r < 0) {
        mem_free(rules.items);
        return r;
    }
    mem_free(config->discovery.rules);
    config->discovery.rules = rules.items;
    config->discovery.n_rules = rules.count;
    return 0;
}

/* ---- Words */

void rules_write_example(struct buf *out)
{
    buf_append_str(out,
        "\n"
        "  # What is an agent: a list, the first rule that matches decides. All that a rule gives\n"
        "  # must match. See docs/configuration.md; `agentcore discover --config FILE` shows what\n"
        "  # would be found.\n"
        "  #rules:\n"
        "  #  - preset: coding-agents\n"
        "  #  - preset: docker\n"
        "  #    max_agents: 200\n"
        "  #  - name: builds\n"
        "  #    cgroup: /system.slice/build-*.service\n"
        "  #    id: build-{container}\n"
        "  #    philosophy: react\n");
}

void rules_write_markdown(struct buf *out)
{
    buf_append_str(out,
        "\n`rules` is a list; for each process the first rule decides of which everything that is "
        "given matches:\n\n"
        "```yaml\n"
        "discovery:\n"
        "  enabled: true\n"
        "  rules:\n"
        "    - preset: coding-agents\n"
        "    - preset: docker\n"
        "      max_agents: 200\n"
        "    - name: builds\n"
        "      cgroup: /system.slice/build-*.service\n"
        "      id: build-{container}\n"
        "      philosophy: react\n"
        "```\n\n"
        "| key of a rule | meaning |\n|---|---|\n");
    for (size_t i = 0; i < ARRAY_SIZE(text_keys); i++)
        buf_printf(out, "| `%s` | %s |\n", text_keys[i].name, text_keys[i].help);
    buf_append_str(out,
        "| `preset` | `docker`, `podman`, `kubernetes`, `systemd-slice`, `coding-agents` or "
        "`environment`, see below. |\n"
        "| `environment` | `true`: the process was started with `AGENTCORE_AGENT_ID`, whose value "
        "becomes the id where it is a legal one. |\n"
        "| `unit` | What becomes the agent: `tree`, the process and what it starts; `cgroup`, all "
        "of the matched cgroup; `auto` (default), the cgroup where one is matched, else the tree. "
        "|\n"
        "| `philosophy` | `react`, `cot`, `multi_agent` or `autonomous` (default). |\n"
        "| `max_agents` | Agents of this rule that may live at one time; 0: no cap but that of the "
        "section. |\n"
        "\n"
        "| preset | matches |\n|---|---|\n"
        "| `docker` | `**/docker-*.scope`, `**/docker/*`: each container |\n"
        "| `podman` | `**/libpod-*.scope`, `**/libpod_parent/libpod-*`, `**/libpod/*`, without "
        "conmon: each container |\n"
        "| `kubernetes` | `**/kubepods*/**/pod*/*`, `**/kubepods*/**/*-pod*.slice/*.scope`, also "
        "directly below, without conmon: each container of a pod |\n"
        "| `systemd-slice` | services and scopes in `agents.slice` and `agents-*.slice` |\n"
        "| `coding-agents` | aider, amp, auggie, claude, codex, copilot, crush, cursor-agent, "
        "droid, gemini, goose, kimi, kiro-cli, mini-swe-agent, opencode, openhands, plandex, qwen, "
        "sweagent: by the program's name, the script's, or the path of its package |\n"
        "| `environment` | like `environment: true` |\n"
        "\n"
        "A process below an agent belongs to that agent. Processes of one user that name the same "
        "id in `AGENTCORE_AGENT_ID` are one agent, also with one that the user started or that "
        "reports under this id. Discovered agents end like others, carry the "
        "label `discovered`, and belong to the user of their first process. Nothing is moved or "
        "changed; where an agent is a cgroup of the unified hierarchy its files and its network "
        "are metered as a whole.\n");
}
