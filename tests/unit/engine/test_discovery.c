/* SPDX-License-Identifier: Apache-2.0 */
/* Discovery on a /proc of our own: what is found, in which order, how often files are read. */
#include "engine/discovery.h"

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
#include "base/mem.h"

#define PROCS_MAX 64

struct world {
    char root[64];
    int proc_fd;
    struct sample sample;
    struct proc_record procs[PROCS_MAX];
    struct discovery_rule rules[2];
    struct discovery *discovery;
    struct registry *registry;
    struct discovery_plan plan;
    uint64_t ms;
};

static int begin(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    snprintf(world->root, sizeof(world->root), "/tmp/discovery-XXXXXX");
    assert_non_null(mkdtemp(world->root));
    world->proc_fd = io_openat(AT_FDCWD, world->root, O_RDONLY | O_DIRECTORY, 0);
    assert_true(world->proc_fd >= 0);
    world->sample.procs = world->procs;
    world->sample.boot_ns = 1000 * NS_PER_SEC;
    discovery_rule_init(&world->rules[0]);
    snprintf(world->rules[0].name, sizeof(world->rules[0].name), "work");
    snprintf(world->rules[0].executable, sizeof(world->rules[0].executable), "work*");
    discovery_rule_init(&world->rules[1]);
    snprintf(world->rules[1].name, sizeof(world->rules[1].name), "box");
    snprintf(world->rules[1].cgroup, sizeof(world->rules[1].cgroup), "/boxes/*");
    assert_int_equal(registry_new(100, 1, &world->registry), 0);
    *state = world;
    return 0;
}

static void remove_process(struct world *world, int32_t pid)
{
    static const char *const names[] = {"/cmdline", "/cgroup", "/environ", "/stat", "/status", ""};
    char path[128];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%d%s", world->root, pid, names[i]);
        remove(path);
    }
}

static int finish(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < world->sample.n_procs; i++)
        remove_process(world, world->procs[i].pid);
    remove(world->root);
    close(world->proc_fd);
    discovery_free(world->discovery);
    registry_free(world->registry);
    mem_free(world);
    return 0;
}

static void write_file(struct world *world, int32_t pid, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%d", world->root, pid);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%d/%s", world->root, pid, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

/* Pid 100 + n started at tick n. */
static struct proc_record *process(
    struct world *world, int32_t pid, int32_t ppid, const char *command, const char *cgroup)
{
    char text[256];
    struct proc_record *proc = &world->procs[world->sample.n_procs++];
    *proc = (struct proc_record){.pid = pid,
        .ppid = ppid,
        .uid = 1000,
        .start_ticks = (uint64_t)pid,
        .state = 'S',
        .threads = 1,
        .known = PROC_KNOWN_UID | PROC_KNOWN_CPU | PROC_KNOWN_THREADS};
    snprintf(proc->name, sizeof(proc->name), "%.15s", command);
    write_file(world, pid, "cmdline", command);
    snprintf(text, sizeof(text), "0::%s\n", cgroup);
    write_file(world, pid, "cgroup", text);
    snprintf(text, sizeof(text),
        "%d (%.15s) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 "
        "0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        pid, command, ppid, pid);
    write_file(world, pid, "stat", text);
    return proc;
}

static void start(struct world *world, uint32_t looks, uint32_t found, uint32_t agents)
{
    const struct discovery_options options = {.rules = world->rules,
        .n_rules = 2,
        .max_agents = agents,
        .looks_max = looks,
        .found_max = found,
        .seed = 1,
        .proc_fd = world->proc_fd,
        .self = 500};
    assert_int_equal(discovery_new(&options, &world->discovery), 0);
}

static void scan(struct world *world)
{
    assert_int_equal(
        discovery_scan(world->discovery, world->registry, &world->sample, &world->plan), 0);
}

/* Carries the plan out, and takes the next sample. */
static void carry_out(struct world *world)
{
    struct registry_changes changes;
    const struct agent *agent;
    struct moment now = {.mono = {(1000 + world->ms) * NS_PER_MSEC}};
    for (size_t i = 0; i < world->plan.n_found; i++) {
        const struct agent_spec *spec = &world->plan.found[i].spec;
        if (world->plan.found[i].joins)
            assert_int_equal(
                registry_join(world->registry, spec->id, spec->root_pid, spec->root_start_ticks),
                0);
        else
            assert_int_equal(registry_add(world->registry, spec, now, &agent), 0);
    }
    world->ms += 1000;
    world->sample.when.mono.ns = (1000 + world->ms) * NS_PER_MSEC;
    assert_int_equal(registry_apply(world->registry, &world->sample, &changes), 0);
}

static void the_upper_one_of_two_is_found(void **state)
{
    struct world *world = *state;
    process(world, 105, 104, "work-child", "/");
    process(world, 104, 103, "shell", "/");
    process(world, 103, 1, "work", "/");
    process(world, 110, 1, "other", "/");
    process(world, 500, 1, "work-ourselves", "/");
    process(world, 501, 500, "work-ours", "/");
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.n_found, 1);
    assert_string_equal(world->plan.found[0].spec.id, "work-103");
    assert_int_equal(world->plan.found[0].spec.owner_uid, 1000);
    assert_false(world->plan.found[0].joins);
    carry_out(world);
    scan(world);
    assert_int_equal(world->plan.n_found, 0);
    assert_int_equal(registry_get(world->registry, "work-103")->processes, 3);
}

static void each_process_is_looked_at_once(void **state)
{
    struct world *world = *state;
    struct proc_record *other = process(world, 110, 1, "other", "/");
    process(world, 111, 1, "another", "/");
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.looked_at, 2);
    scan(world);
    assert_int_equal(world->plan.looked_at, 0);
    /* It became another program. */
    memcpy(other->name, "work", 5);
    write_file(world, 110, "cmdline", "work");
    scan(world);
    assert_int_equal(world->plan.looked_at, 1);
    assert_int_equal(world->plan.n_found, 1);
    assert_string_equal(world->plan.found[0].spec.id, "work-110");
}

static void young_ones_are_looked_at_again(void **state)
{
    struct world *world = *state;
    process(world, 110, 1, "other", "/");
    start(world, 0, 0, 100);
    world->sample.boot_ns = 110 * 10000000ull + NS_PER_SEC;
    scan(world);
    assert_int_equal(world->plan.looked_at, 1);
    scan(world);
    assert_int_equal(world->plan.looked_at, 1);
    world->sample.boot_ns += 2 * NS_PER_SEC;
    scan(world);
    assert_int_equal(world->plan.looked_at, 1);
    scan(world);
    assert_int_equal(world->plan.looked_at, 0);
}

static void a_cgroup_is_one_agent(void **state)
{
    struct world *world = *state;
    process(world, 120, 1, "late", "/boxes/one/inner");
    process(world, 110, 1, "init", "/boxes/one");
    process(world, 130, 1, "init", "/boxes/two");
    process(world, 140, 1, "init", "/boxes");
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.n_found, 3);
    assert_string_equal(world->plan.found[0].spec.id, "box-one");
    assert_int_equal(world->plan.found[0].spec.root_pid, 110);
    assert_string_equal(world->plan.found[0].cgroup, "/boxes/one");
    assert_int_equal(world->plan.found[0].unit, DISCOVERY_CGROUP);
    assert_true(world->plan.found[0].cgroup_v2);
    assert_true(world->plan.found[1].joins);
    assert_string_equal(world->plan.found[1].spec.id, "box-one");
    assert_int_equal(world->plan.found[1].spec.root_pid, 120);
    assert_string_equal(world->plan.found[2].spec.id, "box-two");
    carry_out(world);
    assert_int_equal(registry_get(world->registry, "box-one")->processes, 2);
    process(world, 150, 1, "exec", "/boxes/two/x");
    scan(world);
    assert_int_equal(world->plan.n_found, 1);
    assert_true(world->plan.found[0].joins);
    assert_string_equal(world->plan.found[0].spec.id, "box-two");
}

static void budgets_hold_and_nothing_is_forgotten(void **state)
{
    struct world *world = *state;
    for (int32_t i = 0; i < 20; i++)
        process(world, 110 + i, 1, i % 2 ? "work" : "other", "/");
    start(world, 6, 2, 7);
    size_t found = 0, looks = 0;
    for (int i = 0; i < 20; i++) {
        scan(world);
        assert_true(world->plan.looked_at <= 6 && world->plan.n_found <= 2);
        found += world->plan.n_found;
        looks += world->plan.looked_at;
        carry_out(world);
        if (!world->plan.more)
            break;
    }
    assert_false(world->plan.more);
    assert_int_equal(found, 7); /* the cap */
    assert_int_equal(looks, 20);
    /* One ends: one of those that wait takes its place. */
    remove_process(world, world->procs[1].pid);
    world->sample.n_procs--;
    memmove(
        &world->procs[1], &world->procs[2], (world->sample.n_procs - 1) * sizeof(world->procs[0]));
    world->plan.n_found = 0;
    carry_out(world);
    found = 0;
    for (int i = 0; i < 20; i++) {
        scan(world);
        found += world->plan.n_found;
        carry_out(world);
    }
    assert_int_equal(found, 1);
}

static void taken_ids_get_the_pid(void **state)
{
    struct world *world = *state;
    const struct agent *agent;
    struct agent_spec spec = {.id = "box-one"};
    assert_int_equal(registry_add(world->registry, &spec, (struct moment){0}, &agent), 0);
    process(world, 110, 1, "init", "/boxes/one");
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.n_found, 1);
    assert_string_equal(world->plan.found[0].spec.id, "box-one-110");
    /* What could not be added is looked at again. */
    discovery_undo(world->discovery, "box-one-110");
    scan(world);
    assert_int_equal(world->plan.n_found, 1);
}

/* An agent with that name belongs to whoever has it: others get a name of their own. */
static void names_from_the_environment_are_guarded(void **state)
{
    struct world *world = *state;
    const struct agent *agent;
    struct agent_spec reporter = {.id = "reporter", .owner_uid = 1000};
    struct agent_spec running = {
        .id = "running", .owner_uid = 1000, .root_pid = 110, .root_start_ticks = 110};
    struct agent_spec foreign = {.id = "foreign", .owner_uid = 7};
    memset(&world->rules[0].executable, 0, sizeof(world->rules[0].executable));
    world->rules[0].environment = true;
    assert_int_equal(registry_add(world->registry, &reporter, (struct moment){0}, &agent), 0);
    assert_int_equal(registry_add(world->registry, &running, (struct moment){0}, &agent), 0);
    assert_int_equal(registry_add(world->registry, &foreign, (struct moment){0}, &agent), 0);
    process(world, 110, 1, "root", "/");
    process(world, 120, 1, "a", "/");
    write_file(world, 120, "environ", "AGENTCORE_AGENT_ID=reporter");
    process(world, 130, 1, "b", "/");
    write_file(world, 130, "environ", "AGENTCORE_AGENT_ID=running");
    process(world, 140, 1, "c", "/");
    write_file(world, 140, "environ", "AGENTCORE_AGENT_ID=foreign");
    process(world, 150, 1, "d", "/");
    write_file(world, 150, "environ", "AGENTCORE_AGENT_ID=reporter");
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.n_found, 4);
    assert_string_equal(world->plan.found[0].spec.id, "reporter");
    assert_false(world->plan.found[0].joins);
    assert_string_equal(world->plan.found[1].spec.id, "running");
    assert_true(world->plan.found[1].joins);
    assert_string_equal(world->plan.found[2].spec.id, "foreign-140");
    assert_false(world->plan.found[2].joins);
    assert_string_equal(world->plan.found[3].spec.id, "reporter");
    assert_true(world->plan.found[3].joins);
    world->procs[4].uid = 8; /* of somebody else */
    discovery_free(world->discovery);
    start(world, 0, 0, 100);
    scan(world);
    assert_string_equal(world->plan.found[3].spec.id, "reporter-150");
    assert_false(world->plan.found[3].joins);
}

static void agents_from_before_are_known_again(void **state)
{
    struct world *world = *state;
    struct discovery_found found;
    process(world, 110, 1, "init", "/boxes/one");
    write_file(world, 110, "status", "Name:\tinit\nUid:\t1000\t1000\t1000\t1000\n");
    start(world, 0, 0, 100);
    scan(world);
    carry_out(world);
    discovery_free(world->discovery);
    start(world, 0, 0, 100);
    const struct agent *agent = registry_get(world->registry, "box-one");
    struct agent other = *agent;
    other.spec.owner_uid = 7;
    assert_false(discovery_reclaim(world->discovery, &other, &found));
    other = *agent;
    other.spec.root_start_ticks++;
    assert_false(discovery_reclaim(world->discovery, &other, &found));
    assert_true(discovery_reclaim(world->discovery, agent, &found));
    assert_string_equal(found.cgroup, "/boxes/one");
    assert_false(discovery_reclaim(world->discovery, agent, &found)); /* once */
    process(world, 120, 1, "exec", "/boxes/one");
    scan(world);
    assert_int_equal(world->plan.n_found, 1);
    assert_true(world->plan.found[0].joins);
    assert_string_equal(world->plan.found[0].spec.id, "box-one");
}

static void what_is_gone_meanwhile_is_no_error(void **state)
{
    struct world *world = *state;
    process(world, 110, 1, "work", "/");
    process(world, 111, 1, "work", "/");
    remove_process(world, 110);
    write_file(world, 111, "stat", /* another one has the pid */
        "111 (work) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9999 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 "
        "0 0 0 0 0 0 0 0 0 0 0 0 0\n");
    process(world, 112, 112, "work", "/"); /* its own parent */
    process(world, 113, 114, "work", "/"); /* parents in a circle */
    process(world, 114, 113, "x", "/");
    world->procs[4].state = 'Z';
    start(world, 0, 0, 100);
    scan(world);
    assert_int_equal(world->plan.n_found, 2);
    assert_int_equal(world->plan.found[0].spec.root_pid, 112);
    assert_int_equal(world->plan.found[1].spec.root_pid, 113);
}

static void every_failure_leaves_it_usable(void **state)
{
    struct world *world = *state;
    for (int32_t i = 0; i < 20; i++)
        process(world, 110 + i, 1, i % 2 ? "work" : "other", i % 3 ? "/" : "/boxes/one");
    for (unsigned n = 1;; n++) {
        const struct discovery_options options = {
            .rules = world->rules, .n_rules = 2, .max_agents = 100, .proc_fd = world->proc_fd};
        struct discovery *discovery = NULL;
        struct discovery_plan plan = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = discovery_new(&options, &discovery);
        if (r == 0)
            r = discovery_scan(discovery, NULL, &world->sample, &plan);
        bool hit = fault_disarm();
        if (discovery && r < 0) {
            assert_int_equal(discovery_scan(discovery, NULL, &world->sample, &plan), 0);
        }
        discovery_free(discovery);
        assert_true(r == 0 || r == -ENOMEM);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_upper_one_of_two_is_found, begin, finish),
        cmocka_unit_test_setup_teardown(each_process_is_looked_at_once, begin, finish),
        cmocka_unit_test_setup_teardown(young_ones_are_looked_at_again, begin, finish),
        cmocka_unit_test_setup_teardown(a_cgroup_is_one_agent, begin, finish),
        cmocka_unit_test_setup_teardown(budgets_hold_and_nothing_is_forgotten, begin, finish),
        cmocka_unit_test_setup_teardown(taken_ids_get_the_pid, begin, finish),
        cmocka_unit_test_setup_teardown(names_from_the_environment_are_guarded, begin, finish),
        cmocka_unit_test_setup_teardown(agents_from_before_are_known_again, begin, finish),
        cmocka_unit_test_setup_teardown(what_is_gone_meanwhile_is_no_error, begin, finish),
        cmocka_unit_test_setup_teardown(every_failure_leaves_it_usable, begin, finish),
    };
    return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
