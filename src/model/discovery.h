/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery as plain data: rules that say which processes are agents though nobody launched them
 * through us, and what is known of a process that they are held against.
 */
#ifndef AC_MODEL_DISCOVERY_H
#define AC_MODEL_DISCOVERY_H

#include <agentcore.h>

#include "model/agent.h"

#define DISCOVERY_RULES_MAX   64
#define DISCOVERY_NAME_MAX    63
#define DISCOVERY_PATTERN_MAX 255
#define DISCOVERY_CGROUP_MAX  511
#define DISCOVERY_CMDLINE_MAX 4096 /* the rest of a longer one is not looked at */

/* The label that discovered agents carry: the name of the rule that found them. */
#define DISCOVERY_LABEL "discovered"

enum discovery_preset {
    DISCOVERY_NO_PRESET,
    DISCOVERY_DOCKER,
    DISCOVERY_PODMAN,
    DISCOVERY_KUBERNETES,
    DISCOVERY_SYSTEMD_SLICE,
    DISCOVERY_CODING_AGENTS,
    DISCOVERY_ENVIRONMENT,
    DISCOVERY_PRESET_COUNT
};

/* What becomes the agent: the process with what it starts, or all of its cgroup. */
enum discovery_unit { DISCOVERY_AUTO, DISCOVERY_TREE, DISCOVERY_CGROUP, DISCOVERY_UNIT_COUNT };

/* Every matcher that is given ("" = none) must agree. */
struct discovery_rule {
    char name[DISCOVERY_NAME_MAX + 1];
    char id[AC_AGENT_ID_MAX + 1]; /* template, see discovery_rule_check; "" = by the kind of rule */
    char agent_template[AGENT_TEMPLATE_MAX + 1];
    char cgroup[DISCOVERY_PATTERN_MAX + 1];     /* glob; '*' stays within one directory, "**" not */
    char command[DISCOVERY_PATTERN_MAX + 1];    /* glob over the arguments joined by blanks */
    char executable[DISCOVERY_PATTERN_MAX + 1]; /* glob over the name of the program */
    enum discovery_preset preset;
    enum discovery_unit unit;
    enum ac_philosophy philosophy;
    bool environment;    /* has AGENTCORE_AGENT_ID, whose value becomes the id */
    uint32_t max_agents; /* that this rule may have found and that live; 0 = no cap of its own */
};

/* "docker", "podman", "kubernetes", "systemd-slice", "coding-agents", "environment". */
const char *discovery_preset_name(enum discovery_preset preset);
int discovery_preset_from_name(const char *name, enum discovery_preset *ret_preset);

/* "auto", "tree", "cgroup". */
const char *discovery_unit_name(enum discovery_unit unit);
int discovery_unit_from_name(const char *name, enum discovery_unit *ret_unit);

/* An empty rule, with the philosophy that discovered agents have unless told otherwise; the rule
 * that is nothing but a preset. */
void discovery_rule_init(struct discovery_rule *ret_rule);
void discovery_rule_from_preset(enum discovery_preset preset, struct discovery_rule *ret_rule);

/* The unit that DISCOVERY_AUTO stands for: the cgroup where one is matched, else the tree. */
enum discovery_unit discovery_rule_unit(const struct discovery_rule *rule);

/* Says what is wrong with a rule, and in *ret_key with which of its keys; NULL = nothing. An id
 * may hold {name}, {pid}, {uid}, {rule} and {container}. */
const char *discovery_rule_check(const struct discovery_rule *rule, const char **ret_key);

enum facts_known {
    FACTS_COMMAND = 1u << 0,
    FACTS_CGROUP = 1u << 1,
    FACTS_ENVIRONMENT = 1u << 2,
};

/* A process as it shows itself; every byte of the texts is hostile. */
struct process_facts {
    int32_t pid;
    int32_t ppid;
    uint64_t start_ticks;
    uint32_t uid;
    uint32_t known; /* enum facts_known */
    char name[16];
    uint32_t command_size;
    char command[DISCOVERY_CMDLINE_MAX + 1]; /* arguments, each ended by a NUL */
    char cgroup[DISCOVERY_CGROUP_MAX + 1];   /* "/..." below the root of its hierarchy */
    bool cgroup_v2;                          /* of the unified one, and not its root */
    char agent_id[AC_AGENT_ID_MAX + 2];      /* AGENTCORE_AGENT_ID, cut; "" = it has none */
};

#endif
