/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery, the deciding part: does a process match a rule, and what would its agent be called.
 * Pure, without state. Texts of processes are any bytes; patterns come from the configuration.
 *
 * A cgroup pattern matches a process whose cgroup, or a directory above it, matches; the topmost
 * match is the agent's cgroup. The patterns of the presets are in discover_table.c. Ids unless the
 * rule says otherwise:
 *
 *   docker, podman, kubernetes   the preset and the container: docker-0123456789ab
 *   systemd-slice                the unit's name
 *   environment                  the value of AGENTCORE_AGENT_ID
 *   others with a cgroup         the rule and the cgroup's name
 *   coding-agents, others        the program and the pid: claude-4711
 */
#ifndef AC_POLICY_DISCOVER_H
#define AC_POLICY_DISCOVER_H

#include "model/discovery.h"

struct discover_match {
    uint32_t rule;                /* its place among the rules */
    enum discovery_unit unit;     /* DISCOVERY_TREE or DISCOVERY_CGROUP */
    bool named;                   /* the process chose the id itself */
    char id[AC_AGENT_ID_MAX + 1]; /* legal; not yet unique */
    char agent_template[AGENT_TEMPLATE_MAX + 1];
    enum ac_philosophy philosophy;
    char cgroup[DISCOVERY_CGROUP_MAX + 1]; /* the matched one, "" without */
};

/* Which facts the rules look at (enum facts_known). */
uint32_t discover_needs(const struct discovery_rule *rules, size_t n_rules);

/* The first rule that @facts match. A fact that is not known matches nothing. */
bool discover_match(const struct discovery_rule *rules, size_t n_rules,
    const struct process_facts *facts, struct discover_match *ret_match);

/* Whether @path is @directory or below it. */
bool discover_is_below(const char *path, const char *directory);

/* Appends "-PID" to an id that is taken, shortening it where it gets too long. */
void discover_make_unique(char id[AC_AGENT_ID_MAX + 1], int32_t pid);

/* The command for people: arguments joined by blanks, cut, without control characters. */
void discover_command(const struct process_facts *facts, char ret_command[AGENT_COMMAND_MAX + 1]);

/* '?' one byte, '*' any number; with @path neither matches '/', and "**" does. Time is at most
 * length times pattern. A pattern is at most DISCOVERY_PATTERN_MAX bytes. */
bool discover_glob(const char *pattern, const char *text, size_t size, bool path);

/* ---- discover_table.c */

/* The patterns of a preset, NULL at the end; NULL where it has none. */
const char *const *discover_preset_cgroups(enum discovery_preset preset);

/* What must not match though a pattern does. */
bool discover_preset_excludes(enum discovery_preset preset, const char *directory_name);

/* The name of the coding agent that these arguments start, or NULL. */
const char *discover_coding_agent(const char *command, size_t size);

/* The last part of a path; the argument that an interpreter runs ("node x.js", "python3 -m x"),
 * or argv[0]. Not NUL-terminated: inside @command. */
struct discover_text {
    const char *text;
    size_t size;
};
struct discover_text discover_basename(struct discover_text path);
struct discover_text discover_program(const char *command, size_t size);

#endif
