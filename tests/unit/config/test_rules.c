/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of discovery in the configuration. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"

static const char full[] = "interval: 2s\n"
                           "discovery:\n"
                           "  enabled: true\n"
                           "  rules:\n"
                           "    - preset: docker\n"
                           "      max_agents: 7\n"
                           "    - name: builds\n"
                           "      id: build-{container}\n"
                           "      template: make\n"
                           "      philosophy: cot\n"
                           "      cgroup: /a/b-*.service\n"
                           "      command: \"*make*\"\n"
                           "      executable: make\n"
                           "      environment: true\n"
                           "      unit: tree\n"
                           "  max_agents: 9\n";

static void rules_are_read(void **state)
{
    (void)state;
    struct config config;
    struct ac_error error;
    assert_int_equal(config_parse("f", full, strlen(full), &config, &error), 0);
    assert_true(config.discovery.enabled);
    assert_int_equal(config.discovery.max_agents, 9);
    assert_int_equal(config.discovery.n_rules, 2);
    const struct discovery_rule *rule = config.discovery.rules;
    assert_string_equal(rule->name, "docker");
    assert_int_equal(rule->preset, DISCOVERY_DOCKER);
    assert_int_equal(rule->max_agents, 7);
    assert_int_equal(rule->philosophy, AC_AUTONOMOUS);
    rule++;
    assert_string_equal(rule->name, "builds");
    assert_string_equal(rule->id, "build-{container}");
    assert_string_equal(rule->agent_template, "make");
    assert_int_equal(rule->philosophy, AC_COT);
    assert_string_equal(rule->cgroup, "/a/b-*.service");
    assert_string_equal(rule->command, "*make*");
    assert_string_equal(rule->executable, "make");
    assert_true(rule->environment);
    assert_int_equal(rule->unit, DISCOVERY_TREE);
    config_done(&config);
}

static void without_rules_nothing_is_discovered(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "discovery:\n", "discovery:\n  rules:\n",
        "discovery:\n  rules: []\n", "discovery:\n  enabled: false\n  interval: 10s\n"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config config;
        struct ac_error error = {0};
        if (config_parse("f", rows[i], strlen(rows[i]), &config, &error) != 0)
            fail_msg("%s: %s", rows[i], error.message);
        assert_false(config.discovery.enabled);
        assert_int_equal(config.discovery.n_rules, 0);
        config_done(&config);
    }
}

#define RULE(text) "discovery:\n  rules:\n    - " text "\n"

static void wrong_rules_are_named(void **state)
{
    (void)state;
    const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"discovery:\n  enabled: true\n", "f:2: discovery.enabled: needs discovery.rules"},
        {"discovery:\n  rules: 5\n", "f:2: discovery.rules: is a list"},
        {RULE("5"), "f:3: discovery.rules[0]: a rule is a list of"},
        {RULE("preset: dokcer"), "f:3: discovery.rules[0].preset: is not one of docker,"},
        {RULE("nmae: x"), "f:3: discovery.rules[0].nmae: is not a setting of a rule"},
        {RULE("name: x"), "f:3: discovery.rules[0].name: is of a rule that matches everything"},
        {RULE("name: a b\n      command: x"), "discovery.rules[0].name: is not 1 to 63"},
        {RULE("command: x"), "discovery.rules[0].name: is not 1 to 63"},
        {RULE("preset: docker\n      id: a/b"), "discovery.rules[0].id: holds something else"},
        {RULE("preset: docker\n      unit: slice"), "f:4: discovery.rules[0].unit: is not one of"},
        {RULE("preset: docker\n      philosophy: x"), "f:4: discovery.rules[0].philosophy: is not"},
        {RULE("preset: docker\n      environment: 1"), "environment: is not true or false"},
        {RULE("preset: docker\n      max_agents: -1"), "max_agents: is not a whole number"},
        {RULE("preset: docker\n      command: [a]"), "f:4: discovery.rules[0].command: takes a"},
        {RULE("preset: docker\n      command:"), "discovery.rules[0].command: has no value"},
        {RULE("preset: docker\n      command: \"a\\x1b\""), "command: has a control character"},
        {RULE("preset: docker\n      preset: podman"), "f:4: discovery.rules[0].preset: is here"},
        {RULE("preset: docker\n    - preset: docker"), "f:4: discovery.rules[1].name: is another"},
        {RULE("name: x\n      cgroup: a/b"), "discovery.rules[0].cgroup: does not begin with"},
        {RULE("name: x\n      executable: a\n      unit: cgroup"), "unit: is cgroup, and nothing"},
        {"gpu:\n  library: libx.so\n", "f:2: gpu.library: \"libx.so\" is neither auto, off nor"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config config = {0};
        struct ac_error error = {0};
        assert_int_equal(
            config_parse("f", rows[i].text, strlen(rows[i].text), &config, &error), -EINVAL);
        if (!strstr(error.message, rows[i].says))
            fail_msg("%s\nsays %s", rows[i].text, error.message);
        assert_null(config.discovery.rules);
    }
}

static void there_may_be_64_rules_of_255_bytes(void **state)
{
    (void)state;
    struct buf text CLEANUP(buf_done) = {0};
    struct config config;
    struct ac_error error;
    buf_append_str(&text, "discovery:\n  rules:\n");
    for (int i = 0; i < DISCOVERY_RULES_MAX; i++)
        buf_printf(&text, "    - name: r%d\n      command: %0255d\n", i, i);
    assert_int_equal(config_parse("f", text.data, text.size, &config, &error), 0);
    assert_int_equal(config.discovery.n_rules, DISCOVERY_RULES_MAX);
    assert_int_equal(strlen(config.discovery.rules[63].command), 255);
    config_done(&config);
    buf_append_str(&text, "    - preset: docker\n");
    assert_int_equal(config_parse("f", text.data, text.size, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "more than 64 rules"));
    buf_clear(&text);
    buf_printf(&text, RULE("name: x\n      command: %0256d"), 1);
    assert_int_equal(config_parse("f", text.data, text.size, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "command: is too long"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct config config = {0};
        struct ac_error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = config_parse("f", full, strlen(full), &config, &error);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            config_done(&config);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(config.discovery.rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_read),
        cmocka_unit_test(without_rules_nothing_is_discovered),
        cmocka_unit_test(wrong_rules_are_named),
        cmocka_unit_test(there_may_be_64_rules_of_255_bytes),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
