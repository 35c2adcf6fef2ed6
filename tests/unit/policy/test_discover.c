/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/discover.h"

#include "policy_test.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Arguments as a literal with NULs in it: its own end is the last one. */
#define FACTS(name_, command_, cgroup_, id_)                                                       \
    make_facts(name_, command_, sizeof(command_) - (sizeof(command_) > 1 ? 0 : 1), cgroup_, id_)

static struct process_facts make_facts(
    const char *name, const char *command, size_t size, const char *cgroup, const char *id)
{
    struct process_facts facts = {.pid = 4711,
        .ppid = 1,
        .uid = 1000,
        .known = FACTS_COMMAND | FACTS_CGROUP | FACTS_ENVIRONMENT};
    snprintf(facts.name, sizeof(facts.name), "%s", name);
    memcpy(facts.command, command, size);
    facts.command_size = (uint32_t)size;
    snprintf(facts.cgroup, sizeof(facts.cgroup), "%s", cgroup);
    snprintf(facts.agent_id, sizeof(facts.agent_id), "%s", id);
    return facts;
}

static void globs(void **state)
{
    (void)state;
    const struct {
        const char *pattern;
        const char *text;
        bool path;
        bool plain;
    } rows[] = {
        {"", "", true, true},
        {"", "a", false, false},
        {"*", "", true, true},
        {"*", "abc", true, true},
        {"*", "a/c", false, true},
        {"**", "/a/b/c", true, true},
        {"a*c", "abc", true, true},
        {"a*c", "abd", false, false},
        {"a?c", "abc", true, true},
        {"a?c", "a/c", false, true},
        {"a?c", "ac", false, false},
        {"/x/*", "/x/y", true, true},
        {"/x/*", "/x/y/z", false, true},
        {"/x/**", "/x/y/z", true, true},
        {"**/docker/*", "/docker/1", true, true},
        {"**/docker/*", "/a/b/docker/1", true, true},
        {"**/docker/*", "/a/mydocker/1", false, false},
        {"**/k*/**/p*/*", "/kube/q/p1/c", true, true},
        {"**/k*/**/p*/*", "/kube/p1/c", false, false},
        {"*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, false},
        {"[a]", "a", false, false}, /* no classes */
        {"\xff*", "\xff\x01", true, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t size = strlen(rows[i].text);
        bool path = discover_glob(rows[i].pattern, rows[i].text, size, true);
        bool plain = discover_glob(rows[i].pattern, rows[i].text, size, false);
        if (path != rows[i].path || plain != rows[i].plain)
            fail_msg("%s ~ %s", rows[i].pattern, rows[i].text);
    }
    char longest[DISCOVERY_PATTERN_MAX + 2];
    memset(longest, '*', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    assert_false(discover_glob(longest, "x", 1, false)); /* one byte too long */
    longest[DISCOVERY_PATTERN_MAX] = 0;
    assert_true(discover_glob(longest, "x", 1, false));
    memset(longest, '?', DISCOVERY_PATTERN_MAX);
    assert_true(discover_glob(longest, longest, strlen(longest), false));
}

static void presets_find_containers(void **state)
{
    (void)state;
    const struct {
        enum discovery_preset preset;
        const char *cgroup;
        const char *id; /* NULL = no match */
        const char *directory;
    } rows[] = {
        {DISCOVERY_DOCKER, "/system.slice/docker-" HASH ".scope", "docker-0123456789ab",
            "/system.slice/docker-" HASH ".scope"},
        {DISCOVERY_DOCKER, "/docker/" HASH, "docker-0123456789ab", "/docker/" HASH},
        {DISCOVERY_DOCKER, "/docker/" HASH "/init.scope/x", "docker-0123456789ab", "/docker/" HASH},
        {DISCOVERY_DOCKER, "/system.slice/docker.service", NULL, NULL},
        {DISCOVERY_DOCKER, "/docker", NULL, NULL},
        {DISCOVERY_DOCKER, "/", NULL, NULL},
        {DISCOVERY_DOCKER, "", NULL, NULL},
        {DISCOVERY_PODMAN, "/user.slice/user-1000.slice/x/libpod-" HASH ".scope/container",
            "podman-0123456789ab", "/user.slice/user-1000.slice/x/libpod-" HASH ".scope"},
        {DISCOVERY_PODMAN, "/machine.slice/libpod-conmon-" HASH ".scope", NULL, NULL},
        {DISCOVERY_KUBERNETES, "/kubepods/burstable/pod1-2-3/" HASH, "kubernetes-0123456789ab",
            "/kubepods/burstable/pod1-2-3/" HASH},
        {DISCOVERY_KUBERNETES, "/kubepods/pod1-2-3/" HASH, "kubernetes-0123456789ab",
            "/kubepods/pod1-2-3/" HASH},
        {DISCOVERY_KUBERNETES,
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/"
            "cri-containerd-" HASH ".scope",
            "kubernetes-0123456789ab",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/"
            "cri-containerd-" HASH ".scope"},
        {DISCOVERY_KUBERNETES, "/kubepods.slice/kubepods-pod1_2.slice/crio-" HASH ".scope",
            "kubernetes-0123456789ab", "/kubepods.slice/kubepods-pod1_2.slice/crio-" HASH ".scope"},
        {DISCOVERY_KUBERNETES, "/kubepods.slice/kubepods-pod1_2.slice/crio-conmon-1.scope", NULL,
            NULL},
        {DISCOVERY_KUBERNETES, "/kubepods.slice/kubepods-besteffort.slice", NULL, NULL},
        {DISCOVERY_SYSTEMD_SLICE, "/agents.slice/build@7.service", "build-7",
            "/agents.slice/build@7.service"},
        {DISCOVERY_SYSTEMD_SLICE, "/agents.slice/agents-web.slice/run-1.scope/sub", "run-1",
            "/agents.slice/agents-web.slice/run-1.scope"},
        {DISCOVERY_SYSTEMD_SLICE, "/system.slice/build.service", NULL, NULL},
        {DISCOVERY_SYSTEMD_SLICE, "/agents.slice", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct process_facts facts = FACTS("x", "x", rows[i].cgroup, "");
        struct discovery_rule rule;
        struct discover_match match;
        discovery_rule_from_preset(rows[i].preset, &rule);
        bool found = discover_match(&rule, 1, &facts, &match);
        if (found != (rows[i].id != NULL))
            fail_msg("row %zu: %s", i, rows[i].cgroup);
        if (!found)
            continue;
        assert_string_equal(match.id, rows[i].id);
        assert_string_equal(match.cgroup, rows[i].directory);
        assert_int_equal(match.unit, DISCOVERY_CGROUP);
        facts.known &= ~(uint32_t)FACTS_CGROUP;
        assert_false(discover_match(&rule, 1, &facts, &match));
    }
}

static void presets_find_coding_agents(void **state)
{
    (void)state;
    const struct {
        struct process_facts facts;
        const char *name;
    } rows[] = {
        {FACTS("claude", "claude", "/", ""), "claude"},
        {FACTS("node", "/usr/bin/node\0/usr/local/bin/claude\0-p\0x", "/", ""), "claude"},
        {FACTS("node",
             "node\0--max-old-space-size=4096\0/x/node_modules/@anthropic-ai/claude-code/cli.js",
             "/", ""),
            "claude"},
        {FACTS("codex", "/opt/codex\0exec", "/", ""), "codex"},
        {FACTS("aider", "/usr/bin/python3.12\0/home/u/.local/bin/aider\0--yes", "/", ""), "aider"},
        {FACTS("python3", "python3\0-m\0aider", "/", ""), "aider"},
        {FACTS("gemini", "node\0/x/@google/gemini-cli/dist/index.js", "/", ""), "gemini"},
        {FACTS("opencode", "opencode\0serve", "/", ""), "opencode"},
        {FACTS("goose", "goose\0session", "/", ""), "goose"},
        {FACTS("cursor-agent", "cursor-agent", "/", ""), "cursor-agent"},
        {FACTS("copilot", "copilot", "/", ""), "copilot"},
        {FACTS("amp", "node\0/x/@sourcegraph/amp/dist/main.js", "/", ""), "amp"},
        {FACTS("vim", "vim\0claude", "/", ""), NULL},
        {FACTS("cat", "cat\0/x/node_modules/@anthropic-ai/claude-code/cli.js", "/", ""), NULL},
        {FACTS("claude", "", "/", ""), NULL}, /* a kernel thread, or a zombie */
        {FACTS("sh", "sh\0-c\0claude", "/", ""), NULL},
        {FACTS("node", "node", "/", ""), NULL},
        {FACTS("node", "node\0--\0--\0-", "/", ""), NULL},
        {FACTS("x", "\0\0\0", "/", ""), NULL},
        {FACTS("x", "/", "/", ""), NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct discovery_rule rule;
        struct discover_match match;
        char id[64];
        discovery_rule_from_preset(DISCOVERY_CODING_AGENTS, &rule);
        if (discover_match(&rule, 1, &rows[i].facts, &match) != (rows[i].name != NULL))
            fail_msg("row %zu", i);
        if (!rows[i].name)
            continue;
        snprintf(id, sizeof(id), "%s-4711", rows[i].name);
        assert_string_equal(match.id, id);
        assert_string_equal(match.agent_template, rows[i].name);
        assert_int_equal(match.unit, DISCOVERY_TREE);
        assert_int_equal(match.philosophy, AC_AUTONOMOUS);
    }
}

static void the_environment_names_agents(void **state)
{
    (void)state;
    char longest[AC_AGENT_ID_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[AC_AGENT_ID_MAX + 1] = 0;
    const struct {
        const char *value;
        bool found;
    } rows[] = {{"build-1", true}, {"", false}, {"a b", false}, {"../x", false}, {"\x1b[2J", false},
        {longest + 1, true}, {longest, false}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct process_facts facts = FACTS("x", "x", "/", rows[i].value);
        struct discovery_rule rule;
        struct discover_match match;
        discovery_rule_from_preset(DISCOVERY_ENVIRONMENT, &rule);
        assert_int_equal(discover_match(&rule, 1, &facts, &match), rows[i].found);
        if (rows[i].found) {
            assert_string_equal(match.id, rows[i].value);
            assert_true(match.named);
        }
        facts.known &= ~(uint32_t)FACTS_ENVIRONMENT;
        assert_false(discover_match(&rule, 1, &facts, &match));
    }
}

static void all_matchers_of_a_rule_must_agree(void **state)
{
    (void)state;
    struct process_facts facts = FACTS("make", "/usr/bin/make\0-j2\0all", "/build/one/sub", "m");
    const struct {
        const char *cgroup, *command, *executable;
        bool found;
    } rows[] = {
        {"/build/*", "*make -j? all", "make", true},
        {"", "*make -j2 all", "", true},
        {"", "make*", "", false}, /* the whole command */
        {"", "*-j2\n*", "", false},
        {"/other/*", "*make*", "make", false},
        {"/build/*", "*cc*", "make", false},
        {"/build/*", "*make*", "cc", false},
        {"", "", "m?k*", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct discovery_rule rules[2];
        struct discover_match match;
        discovery_rule_from_preset(DISCOVERY_CODING_AGENTS, &rules[0]);
        discovery_rule_init(&rules[1]);
        snprintf(rules[1].name, sizeof(rules[1].name), "builds");
        snprintf(rules[1].cgroup, sizeof(rules[1].cgroup), "%s", rows[i].cgroup);
        snprintf(rules[1].command, sizeof(rules[1].command), "%s", rows[i].command);
        snprintf(rules[1].executable, sizeof(rules[1].executable), "%s", rows[i].executable);
        if (discover_match(rules, 2, &facts, &match) != rows[i].found)
            fail_msg("row %zu", i);
        if (rows[i].found) {
            assert_int_equal(match.rule, 1);
            assert_string_equal(match.id, *rows[i].cgroup ? "builds-one" : "make-4711");
        }
    }
}

static void ids_are_always_legal(void **state)
{
    (void)state;
    const struct {
        const char *template;
        const char *id;
    } rows[] = {
        {"{name}-{pid}-{uid}", "a-b-1m----4711-1000"}, {"x", "x"}, {"{rule}-{container}", "r-"},
        {"{container}", "r"}, /* nothing is left of it: the rule's name */
    };
    struct process_facts facts = FACTS("n", "/bin/a b\x1b[1m\xc3\xa4", "/", "");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct discovery_rule rule;
        struct discover_match match;
        const char *key;
        discovery_rule_init(&rule);
        snprintf(rule.name, sizeof(rule.name), "r");
        snprintf(rule.command, sizeof(rule.command), "*");
        snprintf(rule.id, sizeof(rule.id), "%s", rows[i].template);
        assert_null(discovery_rule_check(&rule, &key));
        assert_true(discover_match(&rule, 1, &facts, &match));
        if (i == 0)
            assert_true(strncmp(match.id, "a-b", 3) == 0 && strstr(match.id, "-4711-1000"));
        else
            assert_string_equal(match.id, rows[i].id);
        assert_true(ac_agent_id_valid(match.id));
    }
    char id[AC_AGENT_ID_MAX + 1];
    memset(id, 'x', AC_AGENT_ID_MAX);
    id[AC_AGENT_ID_MAX] = 0;
    discover_make_unique(id, INT32_MAX);
    assert_int_equal(strlen(id), AC_AGENT_ID_MAX);
    assert_string_equal(id + AC_AGENT_ID_MAX - 11, "-2147483647");
}

static void commands_are_safe_to_show(void **state)
{
    (void)state;
    char command[AGENT_COMMAND_MAX + 1];
    struct process_facts facts = FACTS("x", "a\0b\x1b[2J\xff\xc3\xa4\n", "/", "");
    discover_command(&facts, command);
    assert_string_equal(command, "a b?[2J?\xc3\xa4?");
    memset(facts.command, 'y', sizeof(facts.command));
    facts.command_size = DISCOVERY_CMDLINE_MAX;
    discover_command(&facts, command);
    assert_int_equal(strlen(command), AGENT_COMMAND_MAX);
    facts.command_size = 0;
    discover_command(&facts, command);
    assert_string_equal(command, "");
}

static void rules_are_checked(void **state)
{
    (void)state;
    const struct {
        struct discovery_rule rule;
        const char *key; /* NULL = fine */
    } rows[] = {
        {{.name = "x", .command = "*"}, NULL},
        {{.name = "x", .preset = DISCOVERY_DOCKER}, NULL},
        {{.name = "x", .environment = true}, NULL},
        {{.name = "", .command = "*"}, "name"},
        {{.name = "a b", .command = "*"}, "name"},
        {{.name = "x"}, "name"},
        {{.name = "x", .command = "*", .id = "{nothing}"}, "id"},
        {{.name = "x", .command = "*", .id = "a/b"}, "id"},
        {{.name = "x", .command = "*", .id = "{pid"}, "id"},
        {{.name = "x", .cgroup = "a/b"}, "cgroup"},
        {{.name = "x", .command = "*", .unit = DISCOVERY_CGROUP}, "unit"},
        {{.name = "x", .preset = DISCOVERY_PODMAN, .unit = DISCOVERY_CGROUP}, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *key, *problem = discovery_rule_check(&rows[i].rule, &key);
        assert_int_equal(problem != NULL, rows[i].key != NULL);
        if (problem)
            assert_string_equal(key, rows[i].key);
    }
    for (unsigned i = 1; i < DISCOVERY_PRESET_COUNT; i++) {
        enum discovery_preset preset;
        assert_int_equal(
            discovery_preset_from_name(discovery_preset_name((enum discovery_preset)i), &preset),
            0);
        assert_int_equal(preset, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs),
        cmocka_unit_test(presets_find_containers),
        cmocka_unit_test(presets_find_coding_agents),
        cmocka_unit_test(the_environment_names_agents),
        cmocka_unit_test(all_matchers_of_a_rule_must_agree),
        cmocka_unit_test(ids_are_always_legal),
        cmocka_unit_test(commands_are_safe_to_show),
        cmocka_unit_test(rules_are_checked),
    };
    return cmocka_run_group_tests_name("discover", tests, NULL, NULL);
}
