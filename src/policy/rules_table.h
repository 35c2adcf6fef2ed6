/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of threshold rules: which value of a usage is judged, from where on it is how bad,
 * and how that is said. Adding a rule is adding a row.
 *
 * A row whose maximum is NaN for a subject does not apply to it.
 */
#ifndef AC_POLICY_RULES_TABLE_H
#define AC_POLICY_RULES_TABLE_H

#include "policy/rules.h"

enum rule_index {
    RULE_CPU,
    RULE_MEMORY,
    RULE_DISK_IO,
    RULE_NETWORK_IO,
    RULE_FILE_DESCRIPTORS,
    RULE_AGENT_CPU,
    RULE_AGENT_MEMORY,
    RULE_AGENT_FILE_DESCRIPTORS,
    RULE_COUNT
};

struct rule {
    const char *name;
    enum ac_resource resource;
    const char *what; /* in messages: "CPU" */
    const char *unit; /* with a leading space: " %" */
    int decimals;
    /* alert_threshold_percent and the margin are points themselves (percent of capacity), and not
     * parts of the maximum. */
    bool in_points;
    double (*value)(const struct ac_usage *usage); /* NaN = unknown */
    double (*maximum)(const struct ac_limits *limits, const struct rules_subject *subject);
    double (*emergency)(const struct ac_limits *limits, const struct rules_subject *subject);
};

extern const struct rule rules_table[RULE_COUNT];

/* The index of a rule by its name and resource, or -1. */
int rule_find(enum ac_resource resource, const char *name);

/* From where on a value has which severity: INFINITY where a severity does not exist. at[AC_INFO]
 * is never used: INFO stands for "nothing crossed". */
struct rule_steps {
    double at[AC_SEVERITY_COUNT];
    double margin; /* this far below its step a severity is left */
};

/* Returns whether the rule applies to the subject. */
bool rule_steps(const struct rule *rule, const struct ac_limits *limits,
    const struct rules_subject *subject, struct rule_steps *ret_steps);

/* The highest severity that @value reaches, AC_INFO for none. */
enum ac_severity rule_level(const struct rule_steps *steps, double value);

/* Writes .message of an alert from its other fields: for firing at .severity (having fallen from
 * @fallen_from where that is higher), or for being resolved. */
void rule_describe(const struct rule *rule, const struct rule_steps *steps,
    enum ac_severity fallen_from, bool resolved, struct ac_alert *alert);

#endif
