/* SPDX-License-Identifier: Apache-2.0 */
/* The options that say what an agent is and may use: shared by run, attach and allocate. */
#ifndef AC_CLI_AGENT_OPTIONS_H
#define AC_CLI_AGENT_OPTIONS_H

#include "apps/cli/cli.h"
#include "model/agent.h"

struct agent_options {
    const char *id;
    unsigned philosophy; /* enum ac_philosophy */
    const char *agent_template;
    uint64_t memory_bytes; /* 0 = no limit, as the following ones */
    double cpu_cores;
    uint64_t time_ns;
    uint64_t file_descriptors;
    struct opt_list labels;
};

#define PHILOSOPHY_WORDS "react|cot|multi_agent|autonomous"

/* Entries of an option table for `struct agent_options` at @at in the target. */
#define AGENT_OPTION_ID(at)                                                                        \
    {                                                                                              \
        "id", 0, OPT_TEXT, "ID", "the agent's id: A-Z a-z 0-9 _ -, up to 128",                     \
            (at) + offsetof(struct agent_options, id), 0, 0                                        \
    }
#define AGENT_OPTION_ENTRIES(at)                                                                   \
    {"philosophy", 'p', OPT_CHOICE, PHILOSOPHY_WORDS, "how the agent works [react]",               \
        (at) + offsetof(struct agent_options, philosophy), 0, 0},                                  \
        {"template", 0, OPT_TEXT, "NAME", "agents of one template are predicted together",         \
            (at) + offsetof(struct agent_options, agent_template), 0, 0},                          \
        {"memory", 'm', OPT_BYTES, "SIZE", "memory it may use: 512M, 1.5G",                        \
            (at) + offsetof(struct agent_options, memory_bytes), 1, 1048576e9},                    \
        {"cpu", 'c', OPT_REAL, "CORES", "CPU it may use: 1.5 = one and a half cores",              \
            (at) + offsetof(struct agent_options, cpu_cores), 0.001, 1e6},                         \
        {"time", 't', OPT_DURATION, "DURATION", "how long it may run: 90s, 30m, 2h",               \
            (at) + offsetof(struct agent_options, time_ns), 0.001, 1e9},                           \
    {                                                                                              \
        "files", 0, OPT_COUNT, "N", "open file descriptors it may have",                           \
            (at) + offsetof(struct agent_options, file_descriptors), 1, 1e9                        \
    }
#define AGENT_OPTION_LABEL(at)                                                                     \
    {                                                                                              \
        "label", 'l', OPT_LIST, "KEY=VALUE", "a label (may be repeated)",                          \
            (at) + offsetof(struct agent_options, labels), 0, 0                                    \
    }

/* Checks the options and makes a spec of them; without an id the spec's id is "". Returns 0, or
 * EXIT_USAGE after printing why. */
int agent_options_spec(
    const struct cli *cli, const struct agent_options *options, struct agent_spec *ret_spec);

/* The request body for a spec: philosophy, template, limits, labels, command and pid where they
 * are set. A new reference; NULL without memory. */
json_t *agent_spec_body(const struct agent_spec *spec);

/* Makes an id out of a command's name and a pid: "pytest-4711". */
void agent_spec_make_id(struct agent_spec *spec, const char *command, int pid);

/* The words joined with blanks, made safe and cut to what a spec holds. */
void agent_spec_set_command(struct agent_spec *spec, char *const *words);

#endif
