/* SPDX-License-Identifier: Apache-2.0 */
#include "os/proc_facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/io.h"

static void cgroup_lines(void **state)
{
    (void)state;
    char longest[DISCOVERY_CGROUP_MAX + 32];
    snprintf(longest, sizeof(longest), "0::/%0*d\n", DISCOVERY_CGROUP_MAX, 7);
    const struct {
        const char *text;
        const char *path; /* NULL = nothing found */
        bool unified;
    } rows[] = {
        {"0::/docker/1\n", "/docker/1", true},
        {"0::/docker/1", "/docker/1", true},
        {"0::/\n", "/", false},
        {"3:memory:/docker/1\n0::/\n", "/docker/1", false},
        {"3:memory:/a\n0::/b\n", "/b", true},
        {"0::/b\n3:memory:/a\n", "/b", true},
        {"0::/\n3:cpu,cpuacct:/\n1:name=systemd:/x\n", "/x", false},
        {"0::/a:b:c\n", "/a:b:c", true},
        {"0::/x (deleted)\n", "/x (deleted)", true},
        {"", NULL, false},
        {"\n\n::\n:", NULL, false},
        {"0::", NULL, false},
        {"0::relative\n", NULL, false},
        {longest, NULL, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct process_facts facts = {.cgroup = "before"};
        int r = proc_facts_parse_cgroup(rows[i].text, strlen(rows[i].text), &facts);
        assert_int_equal(r, rows[i].path ? 0 : -EINVAL);
        assert_string_equal(facts.cgroup, rows[i].path ? rows[i].path : "before");
        assert_int_equal(facts.cgroup_v2, rows[i].unified);
        assert_int_equal(facts.known, rows[i].path ? FACTS_CGROUP : 0);
    }
}

#define ENVIRONMENT(text) text, sizeof(text) - 1

static void environments_in_any_pieces(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t size;
        const char *value;
    } rows[] = {
        {ENVIRONMENT("AGENTCORE_AGENT_ID=one\0"), "one"},
        {ENVIRONMENT("AGENTCORE_AGENT_ID=one"), "one"},
        {ENVIRONMENT("A=1\0AGENTCORE_AGENT_ID=two\0B=2\0"), "two"},
        {ENVIRONMENT("A=1\0AGENTCORE_AGENT_ID=\0AGENTCORE_AGENT_ID=second\0"), ""},
        {ENVIRONMENT("AGENTCORE_AGENT_ID=first\0AGENTCORE_AGENT_ID=second\0"), "first"},
        {ENVIRONMENT("XAGENTCORE_AGENT_ID=no\0"), ""},
        {ENVIRONMENT("AGENTCORE_AGENT_IDX=no\0"), ""},
        {ENVIRONMENT("A=AGENTCORE_AGENT_ID=no\0"), ""},
        {ENVIRONMENT("AGENTCORE_AGENT_ID"), ""},
        {ENVIRONMENT("\0\0\0AGENTCORE_AGENT_ID=x\0"), "x"},
        {ENVIRONMENT("AGENTCORE_AGENT_ID=\x1b\n\xff"), "\x1b\n\xff"},
        {ENVIRONMENT(""), ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t piece = 1; piece <= rows[i].size + 1; piece++) {
            struct environment_scan scan = {0};
            for (size_t at = 0; at < rows[i].size; at += piece)
                environment_scan_feed(&scan, rows[i].text + at, MIN(piece, rows[i].size - at));
            assert_string_equal(scan.value, rows[i].value);
        }
    }
}

/* ---- A fixture of /proc */

static void write_file(const char *root, const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static int make_proc(void **state)
{
    static char root[] = "/tmp/proc-facts-XXXXXX";
    char path[64];
    strcpy(root + strlen(root) - 6, "XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/7", root);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/8", root);
    mkdir(path, 0700);
    *state = root;
    return 0;
}

static int remove_proc(void **state)
{
    static const char *const names[] = {
        "7/cmdline", "7/cgroup", "7/environ", "7", "8/cmdline", "8", ""};
    char path[128];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", (const char *)*state, names[i]);
        remove(path);
    }
    return 0;
}

static void a_process_is_read(void **state)
{
    const char *root = *state;
    const uint32_t all = FACTS_COMMAND | FACTS_CGROUP | FACTS_ENVIRONMENT;
    static struct process_facts facts;
    size_t large = 128 * 1024;
    char *environment = malloc(large);
    memset(environment, 'x', large);
    memcpy(environment + large - 25, "\0AGENTCORE_AGENT_ID=last-1", 25);
    write_file(root, "7/environ", environment, large);
    write_file(root, "7/cmdline", environment, 9000); /* longer than is looked at */
    write_file(root, "7/cgroup", "0::/a/b\n", 8);
    free(environment);
    int fd cleanup_close = io_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
    assert_true(fd >= 0);
    assert_int_equal(proc_facts_read(fd, 7, all, &facts), 0);
    assert_int_equal(facts.known, all);
    assert_int_equal(facts.command_size, DISCOVERY_CMDLINE_MAX);
    assert_string_equal(facts.cgroup, "/a/b");
    assert_string_equal(facts.agent_id, "last-");
    assert_true(facts.cgroup_v2);
    /* Nothing of the last process is left over; what is not asked for is not known. */
    write_file(root, "8/cmdline", "x\0", 2);
    assert_int_equal(proc_facts_read(fd, 8, FACTS_COMMAND, &facts), 0);
    assert_int_equal(facts.known, FACTS_COMMAND);
    assert_int_equal(facts.command_size, 2);
    assert_string_equal(facts.cgroup, "");
    assert_string_equal(facts.agent_id, "");
    assert_false(facts.cgroup_v2);
    assert_int_equal(proc_facts_read(fd, 9, all, &facts), -ESRCH);
    assert_int_equal(facts.known, 0);
}

static void every_failed_call_leaves_a_fact_unknown(void **state)
{
    const uint32_t all = FACTS_COMMAND | FACTS_CGROUP | FACTS_ENVIRONMENT;
    static struct process_facts facts;
    const char *root = *state;
    write_file(root, "7/environ", "AGENTCORE_AGENT_ID=a\0", 21);
    write_file(root, "7/cmdline", "x\0", 2);
    write_file(root, "7/cgroup", "0::/a/b\n", 8);
    int fd cleanup_close = io_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_SYSCALL, n);
        int r = proc_facts_read(fd, 7, all, &facts);
        bool hit = fault_disarm();
        if (!hit) {
            assert_true(n > 4);
            assert_int_equal(facts.known, all);
            break;
        }
        if (r == 0)
            assert_int_not_equal(facts.known, all);
        else
            assert_int_equal(r, -ESRCH);
    }
}

static void we_ourselves(void **state)
{
    (void)state;
    static struct process_facts facts;
    int fd cleanup_close = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    assert_int_equal(
        proc_facts_read(fd, (int32_t)getpid(), FACTS_COMMAND | FACTS_ENVIRONMENT, &facts), 0);
    assert_int_equal(facts.known, FACTS_COMMAND | FACTS_ENVIRONMENT);
    assert_non_null(memmem(facts.command, facts.command_size, "proc_facts", 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cgroup_lines),
        cmocka_unit_test(environments_in_any_pieces),
        cmocka_unit_test_setup_teardown(a_process_is_read, make_proc, remove_proc),
        cmocka_unit_test_setup_teardown(
            every_failed_call_leaves_a_fact_unknown, make_proc, remove_proc),
        cmocka_unit_test(we_ourselves),
    };
    return cmocka_run_group_tests_name("proc_facts", tests, NULL, NULL);
}
