/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of rules share: a sink that remembers, and usages. */
#ifndef AC_TESTS_RULES_FIXTURE_H
#define AC_TESTS_RULES_FIXTURE_H

#include "policy_test.h"

#include <errno.h>

#include "policy/rules.h"

/* What the sink was told, in order. */
static struct ac_alert told[4096];
static size_t n_told;

static inline void sink(void *userdata, const struct ac_alert *alert, uint32_t owner_uid)
{
    (void)userdata;
    (void)owner_uid;
    assert_true(n_told < ARRAY_SIZE(told));
    told[n_told++] = *alert;
}

static inline const struct ac_alert *last(void)
{
    assert_true(n_told > 0);
    return &told[n_told - 1];
}

static inline struct rules_options options_default(void)
{
    struct rules_options options = {
        .max_subjects = 100,
        .max_alerts = 50,
        .id_seed = WALL_START,
        .sink = sink,
    };
    ac_limits_init(&options.limits);
    return options;
}

static inline struct rules *new_rules(const struct rules_options *options)
{
    struct rules *rules;
    n_told = 0;
    assert_int_equal(rules_new(options, &rules), 0);
    return rules;
}

static inline struct rules *default_rules(void)
{
    struct rules_options options = options_default();
    return new_rules(&options);
}

static const struct rules_subject machine = {.agent_id = ""};

static inline struct ac_usage cpu(double percent)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_percent = percent;
    usage.known = AC_KNOWN_CPU_PERCENT;
    return usage;
}

static inline int check_cpu(struct rules *rules, double percent, uint64_t s)
{
    struct ac_usage usage = cpu(percent);
    return rules_check(rules, &machine, &usage, at_s(s));
}

static inline size_t live(const struct rules *rules)
{
    size_t n = 0;
    for (size_t cursor = 0; rules_next(rules, &cursor);)
        n++;
    return n;
}

#endif
