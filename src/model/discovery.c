/* SPDX-License-Identifier: Apache-2.0 */
#include "model/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const preset_names[DISCOVERY_PRESET_COUNT] = {
    [DISCOVERY_NO_PRESET] = "none",
    [DISCOVERY_DOCKER] = "docker",
    [DISCOVERY_PODMAN] = "podman",
    [DISCOVERY_KUBERNETES] = "kubernetes",
    [DISCOVERY_SYSTEMD_SLICE] = "systemd-slice",
    [DISCOVERY_CODING_AGENTS] = "coding-agents",
    [DISCOVERY_ENVIRONMENT] = "environment",
};

static const char *const unit_names[DISCOVERY_UNIT_COUNT] = {"auto", "tree", "cgroup"};

const char *discovery_preset_name(enum discovery_preset preset)
{
    return (unsigned)preset < DISCOVERY_PRESET_COUNT ? preset_names[preset] : "unknown";
}

int discovery_preset_from_name(const char *name, enum discovery_preset *ret_preset)
{
    for (unsigned i = 1; i < DISCOVERY_PRESET_COUNT; i++) {
        if (strcmp(preset_names[i], name) == 0) {
            *ret_preset = (enum discovery_preset)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *discovery_unit_name(enum discovery_unit unit)
{
    return (unsigned)unit < DISCOVERY_UNIT_COUNT ? unit_names[unit] : "unknown";
}

int discovery_unit_from_name(const char *name, enum discovery_unit *ret_unit)
{
    for (unsigned i = 0; i < DISCOVERY_UNIT_COUNT; i++) {
        if (strcmp(unit_names[i], name) == 0) {
            *ret_unit = (enum discovery_unit)i;
            return 0;
        }
    }
    return -EINVAL;
}

void discovery_rule_init(struct discovery_rule *ret_rule)
{
    *ret_rule = (struct discovery_rule){.philosophy = AC_AUTONOMOUS};
}

void discovery_rule_from_preset(enum discovery_preset preset, struct discovery_rule *ret_rule)
{
    discovery_rule_init(ret_rule);
    ret_rule->preset = preset;
    snprintf(ret_rule->name, sizeof(ret_rule->name), "%s", discovery_preset_name(preset));
}

static bool preset_has_cgroup(enum discovery_preset preset)
{
    return preset >= DISCOVERY_DOCKER && preset <= DISCOVERY_SYSTEMD_SLICE;
}

enum discovery_unit discovery_rule_unit(const struct discovery_rule *rule)
{
    if (rule->unit != DISCOVERY_AUTO)
        return rule->unit;
    return *rule->cgroup || preset_has_cgroup(rule->preset) ? DISCOVERY_CGROUP : DISCOVERY_TREE;
}

/* Whether all between braces is known, and all else may stand in an id. */
static bool template_fine(const char *text)
{
    static const char *const words[] = {"{name}", "{pid}", "{uid}", "{rule}", "{container}"};
    while (*text) {
        size_t skip =
            strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
        for (size_t i = 0; skip == 0 && i < sizeof(words) / sizeof(words[0]); i++) {
            if (strncmp(text, words[i], strlen(words[i])) == 0)
                skip = strlen(words[i]);
        }
        if (skip == 0)
            return false;
        text += skip;
    }
    return true;
}

const char *discovery_rule_check(const struct discovery_rule *rule, const char **ret_key)
{
    *ret_key = "name";
    if (!ac_agent_id_valid(rule->name))
        return "is not 1 to 63 letters, digits, '_' or '-'";
    *ret_key = "id";
    if (!template_fine(rule->id))
        return "holds something else than letters, digits, '_', '-', {name}, {pid}, {uid}, {rule} "
               "and {container}";
    *ret_key = "cgroup";
    if (*rule->cgroup && rule->cgroup[0] != '/' && rule->cgroup[0] != '*')
        return "does not begin with / or *";
    *ret_key = "unit";
    bool has_cgroup = *rule->cgroup || preset_has_cgroup(rule->preset);
    if (rule->unit == DISCOVERY_CGROUP && !has_cgroup)
        return "is cgroup, and nothing in the rule says which";
    *ret_key = "name";
    if (!has_cgroup && !rule->preset && !*rule->command && !*rule->executable && !rule->environment)
        return "is of a rule that matches everything: give it a preset, cgroup, command, "
               "executable or environment";
    return NULL;
}
