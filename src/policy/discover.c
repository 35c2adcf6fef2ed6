/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/discover.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define CONTAINER_ID_SHOWN 12

/* What one rule has found out about one process. */
struct finding {
    const struct discovery_rule *rule;
    const struct process_facts *facts;
    const char *coding_agent; /* NULL = none */
    bool named;
    char cgroup[DISCOVERY_CGROUP_MAX + 1];
};

uint32_t discover_needs(const struct discovery_rule *rules, size_t n_rules)
{
    uint32_t needs = FACTS_COMMAND; /* shown to people, and part of most ids */
    for (size_t i = 0; i < n_rules; i++) {
        if (*rules[i].cgroup || discover_preset_cgroups(rules[i].preset))
            needs |= FACTS_CGROUP;
        if (rules[i].environment || rules[i].preset == DISCOVERY_ENVIRONMENT)
            needs |= FACTS_ENVIRONMENT;
    }
    return needs;
}

bool discover_is_below(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return n > 0 && strncmp(path, directory, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* ---- Matchers */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Whether the beginning of a cgroup's path with @length bytes matches, kept in @finding. */
static bool cgroup_prefix_matches(struct finding *finding, size_t length)
{
    const struct discovery_rule *rule = finding->rule;
    const char *path = finding->facts->cgroup;
    const char *const *patterns = discover_preset_cgroups(rule->preset);
    memcpy(finding->cgroup, path, length);
    finding->cgroup[length] = 0;
    if (*rule->cgroup && !discover_glob(rule->cgroup, path, length, true))
        return false;
    if (!patterns)
        return true;
    if (discover_preset_excludes(rule->preset, last_part(finding->cgroup)))
        return false;
    for (; *patterns; patterns++) {
        if (discover_glob(*patterns, path, length, true))
            return true;
    }
    return false;
}

static bool cgroup_matches(struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    if (!*finding->rule->cgroup && !discover_preset_cgroups(finding->rule->preset))
        return true;
    size_t length = strlen(facts->cgroup);
    if (!(facts->known & FACTS_CGROUP) || length < 2)
        return false;
    for (size_t i = 1; i <= length; i++) {
        if ((facts->cgroup[i] == '/' || i == length) && cgroup_prefix_matches(finding, i))
            return true;
    }
    finding->cgroup[0] = 0;
    return false;
}

static bool command_matches(const struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    char joined[DISCOVERY_CMDLINE_MAX];
    if (!*finding->rule->command)
        return true;
    size_t size = MIN((size_t)facts->command_size, sizeof(joined));
    if (!(facts->known & FACTS_COMMAND) || size == 0)
        return false;
    memcpy(joined, facts->command, size);
    while (size > 0 && joined[size - 1] == 0)
        size--;
    for (size_t i = 0; i < size; i++)
        joined[i] = joined[i] ? joined[i] : ' ';
    return discover_glob(finding->rule->command, joined, size, false);
}

static bool executable_matches(const struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    const char *pattern = finding->rule->executable;
    if (!*pattern)
        return true;
    if (!(facts->known & FACTS_COMMAND) || facts->command_size == 0)
        return false; /* a kernel thread may have any name */
    struct discover_text first = {facts->command, strnlen(facts->command, facts->command_size)};
    struct discover_text base = discover_basename(first);
    struct discover_text program =
        discover_basename(discover_program(facts->command, facts->command_size));
    return discover_glob(pattern, base.text, base.size, false) ||
           discover_glob(pattern, program.text, program.size, false) ||
           discover_glob(pattern, facts->name, strnlen(facts->name, sizeof(facts->name)), false);
}

static bool environment_matches(struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    if (!finding->rule->environment && finding->rule->preset != DISCOVERY_ENVIRONMENT)
        return true;
    finding->named = (facts->known & FACTS_ENVIRONMENT) && ac_agent_id_valid(facts->agent_id);
    return finding->named;
}

static bool coding_agent_matches(struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    if (finding->rule->preset != DISCOVERY_CODING_AGENTS)
        return true;
    if (facts->known & FACTS_COMMAND)
        finding->coding_agent = discover_coding_agent(facts->command, facts->command_size);
    return finding->coding_agent != NULL;
}

/* ---- Names */

/* Adds to an id, with '-' for what may not stand in one. */
static void id_add(char *id, struct discover_text part)
{
    size_t length = strlen(id);
    for (size_t i = 0; i < part.size && length < AC_AGENT_ID_MAX; i++) {
        char c = part.text[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-';
        id[length++] = fine ? c : '-';
    }
    id[length] = 0;
}

static void id_add_number(char *id, long long number)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", number);
    id_add(id, (struct discover_text){text, (size_t)n});
}

static bool is_hex(struct discover_text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!memchr("0123456789abcdef", text.text[i], 16))
            return false;
    }
    return true;
}

/* "docker-0123...ef.scope" is "0123456789ab", "build.service" is "build". */
static void id_add_container(char *id, const char *cgroup)
{
    static const char *const before[] = {"docker-", "libpod-", "cri-containerd-", "crio-"};
    static const char *const behind[] = {".scope", ".service"};
    struct discover_text name = discover_basename((struct discover_text){cgroup, strlen(cgroup)});
    for (size_t i = 0; i < ARRAY_SIZE(behind); i++) {
        size_t n = strlen(behind[i]);
        if (name.size > n && memcmp(name.text + name.size - n, behind[i], n) == 0)
            name.size -= n;
    }
    for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
        size_t n = strlen(before[i]);
        if (name.size > n && memcmp(name.text, before[i], n) == 0)
            name = (struct discover_text){name.text + n, name.size - n};
    }
    if (name.size >= 32 && is_hex(name))
        name.size = CONTAINER_ID_SHOWN;
    id_add(id, name);
}

static void id_add_name(char *id, const struct finding *finding)
{
    const struct process_facts *facts = finding->facts;
    struct discover_text name =
        discover_basename(discover_program(facts->command, facts->command_size));
    if (finding->coding_agent)
        name = (struct discover_text){finding->coding_agent, strlen(finding->coding_agent)};
    else if (name.size == 0)
        name = (struct discover_text){facts->name, strnlen(facts->name, sizeof(facts->name))};
    name.size = MIN(name.size, (size_t)64);
    id_add(id, name);
}

static void id_add_word(char *id, const struct finding *finding, char letter)
{
    switch (letter) {
    case 'n':
        id_add_name(id, finding);
        break;
    case 'p':
        id_add_number(id, finding->facts->pid);
        break;
    case 'u':
        id_add_number(id, finding->facts->uid);
        break;
    case 'r':
        id_add(id, (struct discover_text){finding->rule->name, strlen(finding->rule->name)});
        break;
    default:
        id_add_container(id, finding->cgroup);
    }
}

static const char *default_template(const struct finding *finding)
{
    if (discovery_rule_unit(finding->rule) == DISCOVERY_TREE)
        return "{name}-{pid}";
    return finding->rule->preset == DISCOVERY_SYSTEMD_SLICE ? "{container}" : "{rule}-{container}";
}

static void make_id(const struct finding *finding, char ret_id[AC_AGENT_ID_MAX + 1])
{
    const char *text = *finding->rule->id ? finding->rule->id : default_template(finding);
    ret_id[0] = 0;
    if (finding->named)
        text = finding->facts->agent_id;
    while (*text) {
        size_t plain = strcspn(text, "{");
        id_add(ret_id, (struct discover_text){text, plain});
        text += plain;
        const char *end = *text ? strchr(text, '}') : NULL;
        if (!end)
            break;
        id_add_word(ret_id, finding, text[1]);
        text = end + 1;
    }
    if (!*ret_id)
        id_add_word(ret_id, finding, 'r');
}

/* ---- Together */

static void fill(const struct finding *finding, struct discover_match *ret_match)
{
    const struct discovery_rule *rule = finding->rule;
    ret_match->unit = discovery_rule_unit(rule);
    ret_match->named = finding->named;
    ret_match->philosophy = rule->philosophy;
    memcpy(ret_match->cgroup, finding->cgroup, sizeof(ret_match->cgroup));
    memcpy(ret_match->agent_template, rule->agent_template, sizeof(ret_match->agent_template));
    if (!*rule->agent_template && finding->coding_agent)
        snprintf(ret_match->agent_template, sizeof(ret_match->agent_template), "%s",
            finding->coding_agent);
    make_id(finding, ret_match->id);
}

bool discover_match(const struct discovery_rule *rules, size_t n_rules,
    const struct process_facts *facts, struct discover_match *ret_match)
{
    for (size_t i = 0; i < n_rules; i++) {
        struct finding finding = {.rule = &rules[i], .facts = facts};
        if (!environment_matches(&finding) || !cgroup_matches(&finding) ||
            !coding_agent_matches(&finding) || !executable_matches(&finding) ||
            !command_matches(&finding))
            continue;
        ret_match->rule = (uint32_t)i;
        fill(&finding, ret_match);
        return true;
    }
    return false;
}

void discover_make_unique(char id[AC_AGENT_ID_MAX + 1], int32_t pid)
{
    char suffix[16];
    int n = snprintf(suffix, sizeof(suffix), "-%d", pid);
    if (strlen(id) + (size_t)n > AC_AGENT_ID_MAX)
        id[AC_AGENT_ID_MAX - (size_t)n] = 0;
    id_add(id, (struct discover_text){suffix, (size_t)n});
}

void discover_command(const struct process_facts *facts, char ret_command[AGENT_COMMAND_MAX + 1])
{
    size_t length = 0, size = facts->command_size;
    while (size > 0 && facts->command[size - 1] == 0)
        size--;
    for (size_t i = 0; i < size;) {
        const char *at = facts->command + i;
        size_t n = utf8_character(at, size - i);
        bool control = (unsigned char)*at < 0x20 || *at == 0x7f;
        size_t step = MAX(n, (size_t)1);
        if (length + step > AGENT_COMMAND_MAX)
            break;
        if (n == 0 || control)
            ret_command[length++] = *at ? '?' : ' ';
        else
            memcpy(ret_command + length, at, n), length += n;
        i += step;
    }
    ret_command[length] = 0;
}
