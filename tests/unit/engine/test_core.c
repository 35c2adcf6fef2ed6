/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/core.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/fault.h"
#include "core_fixture.h"

static void test_tick_meters_and_judges(void **state)
{
    struct world world;
    struct event event;
    struct ac_system_metrics metrics;
    const struct agent *agent;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    struct agent_spec spec = spec_make("a", 10);
    spec.limits.max_memory_mb = 120;
    assert_int_equal(core_tick(core, &world.sample), 0);
    assert_int_equal(core_agent_add(core, &spec, world.sample.when, &agent, NULL), 0);
    assert_int_equal(drain(core, EVENT_AGENT_ADDED, NULL), 1);
    struct proc_record *proc = world_proc(&world, 10, 1);
    assert_int_equal(core_tick(core, &world.sample), 0);
    world_pass(&world, 1);
    proc->utime_ns += 2 * NS_PER_SEC;
    world.sample.machine.cpu_busy_ns += 3800 * NS_PER_MSEC;
    assert_int_equal(core_tick(core, &world.sample), 0);

    agent = registry_get(core_registry(core), "a");
    assert_true(fabs(agent->usage.cpu_percent - 50) < 0.5);
    assert_true(fabs(agent->usage.memory_mb - 100) < 0.5);
    assert_false(agent->usage.known & AC_KNOWN_NETWORK_IO);
    core_system(core, &metrics);
    assert_true(fabs(metrics.current_usage.cpu_percent - 95) < 0.5);
    assert_int_equal(metrics.active_agents, 1);
    assert_int_equal(metrics.active_alerts, 2); /* the machine's CPU, the agent's own memory */
    assert_int_equal(drain(core, EVENT_ALERT, &event), 2);
    core_free(core);
}

/* One run of an agent with a peak of 100 MiB, from start to exit. */
static void run_agent(struct core *core, struct world *world)
{
    struct agent_spec spec = spec_make("a", 10);
    world->sample.n_procs = 0;
    world_proc(world, 1, 0);
    core_tick(core, &world->sample);
    assert_int_equal(core_agent_add(core, &spec, world->sample.when, NULL, NULL), 0);
    world_proc(world, 10, 1);
    for (int i = 0; i < 3; i++) {
        core_tick(core, &world->sample);
        world_pass(world, 1);
    }
    drain(core, EVENT_ALERT, NULL);
    world->sample.n_procs = 1;
    core_tick(core, &world->sample);
}

static void test_exit_is_told_learnt_and_forgotten(void **state)
{
    struct world world;
    struct event event;
    struct core_options options;
    struct ac_prediction prediction;
    struct ac_system_metrics metrics;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.exited_retention_ns = 60 * NS_PER_SEC;
    struct core *core = core_make(&options);
    run_agent(core, &world);
    assert_int_equal(drain(core, EVENT_AGENT_EXITED, &event), 1);
    assert_string_equal(event.agent_id, "a");
    assert_non_null(registry_get(core_registry(core), "a"));
    core_system(core, &metrics);
    assert_int_equal(metrics.active_agents, 0);

    /* The name is free again at once, and each run is learnt from once. */
    for (int i = 0; i < 9; i++)
        run_agent(core, &world);
    core_predict(core, AC_REACT, "", world.sample.when, &prediction);
    assert_int_equal(prediction.runs, 10);
    assert_in_range((unsigned)prediction.memory_mb, 100, 255);

    /* The exited agent goes after its retention. */
    drain(core, EVENT_AGENT_REMOVED, NULL);
    world_pass(&world, 61);
    core_tick(core, &world.sample);
    assert_null(registry_get(core_registry(core), "a"));
    assert_int_equal(drain(core, EVENT_AGENT_REMOVED, NULL), 1);
    core_predict(core, AC_REACT, "", world.sample.when, &prediction);
    assert_int_equal(prediction.runs, 10);
    core_free(core);
}

static void test_orphans_are_told(void **state)
{
    struct world world;
    struct event event;
    (void)state;
    struct agent_spec spec = spec_make("a", 10);
    struct core *core = core_with_agent(&world, &spec, NULL);
    world_proc(&world, 11, 10);
    core_tick(core, &world.sample);
    world_pass(&world, 1);
    world.sample.n_procs = 0;
    world_proc(&world, 11, 1); /* re-parented to init, still a member */
    core_tick(core, &world.sample);
    assert_int_equal(registry_get(core_registry(core), "a")->state, AGENT_ORPHANS);
    assert_int_equal(drain(core, EVENT_AGENT_ORPHANS, &event), 0); /* it may end right now */
    world_pass(&world, 2);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_AGENT_ORPHANS, &event), 1);
    assert_non_null(strstr(event.text, "left 1 process behind"));
    world_pass(&world, 2);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_AGENT_ORPHANS, &event), 0); /* once */
    core_free(core);
}

static void test_one_process_is_one_agent(void **state)
{
    struct world world;
    struct ac_error error;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    struct agent_spec first = spec_make("first", 10), second = spec_make("second", 10);
    struct agent_spec nested = spec_make("nested", 11);
    core_tick(core, &world.sample);
    assert_int_equal(core_agent_add(core, &first, world.sample.when, NULL, NULL), 0);
    world_proc(&world, 10, 1);
    world_proc(&world, 11, 10);
    core_tick(core, &world.sample);
    assert_int_equal(core_agent_add(core, &second, world.sample.when, NULL, &error), -EEXIST);
    assert_non_null(strstr(error.message, "agent first already"));
    struct ac_usage usage;
    ac_usage_init(&usage);
    core_report(core, "second", &usage, world.sample.when, true, NULL);
    assert_int_equal(core_agent_attach(core, &second, world.sample.when, NULL, &error), -EEXIST);
    assert_int_equal(registry_get(core_registry(core), "second")->spec.root_pid, 0);
    assert_int_equal(core_agent_add(core, &nested, world.sample.when, NULL, &error), 0);
    core_tick(core, &world.sample);
    assert_int_equal(registry_get(core_registry(core), "first")->processes, 1);
    assert_int_equal(registry_get(core_registry(core), "nested")->processes, 1);
    core_free(core);
}

static void test_oom_kill_is_an_emergency_once(void **state)
{
    struct world world;
    struct event event;
    const struct agent *agent;
    (void)state;
    struct agent_spec spec = spec_make("a", 10);
    struct core *core = core_with_agent(&world, &spec, &agent);
    world.groups[0] = (struct group_record){.slot = agent->slot, .known = GROUP_KNOWN_EVENTS};
    world.sample.n_groups = 1;
    core_tick(core, &world.sample);
    drain(core, EVENT_ALERT, NULL);
    world_pass(&world, 1);
    world.groups[0].oom_kills = 2;
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_int_equal(event.of.alert.severity, AC_EMERGENCY);
    assert_string_equal(event.of.alert.rule, "oom_kill");
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 0);
    core_free(core);
}

/* The victim is often the only process: the sample that has the kill then has nobody else. */
static void test_an_oom_kill_that_ends_its_agent_is_told(void **state)
{
    struct world world;
    struct event event;
    const struct agent *agent;
    const struct ac_alert *alert;
    size_t cursor = 0;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    struct agent_spec spec = spec_make("a", 10);
    world_proc(&world, 1, 0);
    core_tick(core, &world.sample);
    core_agent_add(core, &spec, world.sample.when, &agent, NULL);
    world_proc(&world, 10, 1);
    world.groups[0] = (struct group_record){.slot = agent->slot, .known = GROUP_KNOWN_EVENTS};
    world.sample.n_groups = 1;
    core_tick(core, &world.sample);
    drain(core, EVENT_ALERT, NULL);
    world_pass(&world, 1);
    world.groups[0].oom_kills = 1;
    world.sample.n_procs = 1;
    core_tick(core, &world.sample);
    assert_true(core_next_event(core, &event));
    assert_int_equal(event.kind, EVENT_ALERT);
    assert_string_equal(event.of.alert.rule, "oom_kill");
    assert_string_equal(event.of.alert.agent_id, "a");
    assert_true(core_next_event(core, &event));
    assert_int_equal(event.kind, EVENT_AGENT_EXITED);
    assert_non_null(
        strstr(event.text, "; the kernel killed 1 of its processes for lack of memory"));
    world.sample.n_groups = 0;
    /* It stays for its time, though the agent is gone, and is forgotten, and another one comes. */
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    core_agent_add(core, &spec, world.sample.when, &agent, NULL);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 0);
    alert = rules_next(core_rules(core), &cursor);
    assert_non_null(alert);
    assert_string_equal(alert->rule, "oom_kill");
    world_pass(&world, 300);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_int_equal(event.of.alert.state, AC_ALERT_RESOLVED);
    core_free(core);
}

/* A cgroup may be older than its agent, and outlives the daemon, and so does the count of kills. */
static void test_old_oom_kills_are_not_told(void **state)
{
    struct world world;
    struct event event;
    const struct agent *agent;
    (void)state;
    struct agent_spec spec = spec_make("a", 10);
    struct core *core = core_with_agent(&world, &spec, &agent);
    world.groups[0] =
        (struct group_record){.slot = agent->slot, .known = GROUP_KNOWN_EVENTS, .oom_kills = 2};
    world.sample.n_groups = 1;
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 0);
    world_pass(&world, 1);
    world.groups[0].oom_kills = 3;
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_true(event.of.alert.current_value == 1);
    core_agent_remove(core, "a", world.sample.when);
    /* That of one that announced itself is new: a kill before the first look counts. */
    spec.announced_itself = true;
    core_agent_add(core, &spec, world.sample.when, &agent, NULL);
    world.groups[0].slot = agent->slot;
    drain(core, EVENT_ALERT, NULL);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_true(event.of.alert.current_value == 3);
    core_free(core);
}

static void test_allocations_never_promise_twice(void **state)
{
    struct world world;
    struct ac_allocation allocation;
    double promised = 0;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    core_tick(core, &world.sample);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof(id), "a%d", i);
        struct agent_spec spec = spec_make(id, 0);
        assert_int_equal(
            core_allocate(core, &spec, AC_POLICY_RECOMMEND, world.sample.when, &allocation, NULL),
            0);
        promised += allocation.memory_mb;
        assert_true(allocation.available_memory_mb <= 6144.5);
    }
    assert_true(promised <= 6144); /* 8 GiB less what others use */
    core_free(core);
}

static void test_reported_agents(void **state)
{
    struct world world;
    struct ac_usage usage, *history;
    struct ac_error error;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    core_tick(core, &world.sample);
    ac_usage_init(&usage);
    usage.cpu_percent = 30;
    usage.known = AC_KNOWN_CPU_PERCENT;
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, false, &error), -ENOENT);
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, &error), 0);
    assert_int_equal(core_report(core, "bad id", &usage, world.sample.when, true, &error), -EINVAL);
    usage.cpu_percent = NAN;
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, &error), -EINVAL);
    assert_true(registry_get(core_registry(core), "r")->usage.cpu_percent == 30);
    assert_int_equal(core_history(core, "r", 0, INT64_MAX, &history), 1);
    ac_free(history);
    assert_int_equal(core_agent_remove(core, "r", world.sample.when), 0);
    assert_int_equal(core_agent_remove(core, "r", world.sample.when), -ENOENT);
    assert_int_equal(core_history(core, "r", 0, INT64_MAX, &history), 0);
    core_free(core);
}

/* An agent that reported first and is attached later gets what it is attached with. */
static void test_attaching_a_reported_agent(void **state)
{
    struct world world;
    struct ac_usage usage;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    core_tick(core, &world.sample);
    struct agent_spec reported = spec_make("r", 0), attached = spec_make("r", 10);
    reported.owner_uid = 1000;
    assert_int_equal(core_agent_add(core, &reported, world.sample.when, NULL, NULL), 0);
    ac_usage_init(&usage);
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, false, NULL), 0);
    attached.philosophy = AC_COT;
    attached.limits.max_memory_mb = 50;
    attached.announced_itself = true;
    assert_int_equal(core_agent_attach(core, &attached, world.sample.when, NULL, NULL), 0);
    const struct agent *agent = registry_get(core_registry(core), "r");
    assert_int_equal(agent->spec.philosophy, AC_COT);
    assert_true(agent->spec.announced_itself);
    assert_int_equal(agent->spec.owner_uid, 1000);
    drain(core, EVENT_ALERT, NULL);
    world_proc(&world, 10, 1);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 1); /* 100 MiB, by its own limit */
    core_free(core);
}

/* Beyond 16 reports in a second only the last counts, and every look sees it. */
static void test_reports_in_a_tight_loop(void **state)
{
    struct world world;
    struct ac_usage usage, *history;
    struct event event;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    core_tick(core, &world.sample);
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_CPU_PERCENT;
    for (int i = 0; i <= 50; i++) {
        usage.cpu_percent = i;
        assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, NULL), 0);
    }
    assert_true(registry_get(core_registry(core), "r")->usage.cpu_percent == 50);
    assert_int_equal(core_history(core, "r", 0, INT64_MAX, &history), 16);
    assert_true(history[15].cpu_percent == 50);
    ac_free(history);
    drain(core, EVENT_ALERT, NULL);

    usage.cpu_percent = 99; /* waits, and is judged at the tick */
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, NULL), 0);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 0);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_string_equal(event.agent_id, "r");

    usage.cpu_percent = 98; /* what waits does not outlive its agent */
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, NULL), 0);
    assert_int_equal(core_agent_remove(core, "r", world.sample.when), 0);
    core_tick(core, &world.sample);
    assert_null(registry_get(core_registry(core), "r"));
    world_pass(&world, 1); /* a new second: at once again */
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, NULL), 0);
    assert_int_equal(core_history(core, "r", 0, INT64_MAX, &history), 1);
    ac_free(history);
    core_free(core);
}

/* An agent that reports for many seconds without a tick stands in the list of inboxes once. */
static void test_reports_without_a_tick(void **state)
{
    struct world world;
    struct ac_usage usage;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_CPU_PERCENT;
    usage.cpu_percent = 1;
    for (int second = 0; second < 100; second++) {
        for (int i = 0; i < 20; i++)
            assert_int_equal(core_report(core, "r", &usage, world.sample.when, true, NULL), 0);
        world_pass(&world, 1);
    }
    assert_int_equal(registry_count(core_registry(core)), 1);
    core_free(core);
}

static void test_pools(void **state)
{
    struct world world;
    struct core_pool pool;
    struct event event;
    struct ac_error error;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    struct agent_spec spec = spec_make("a", 10);
    spec.limits.max_cpu_cores = 1;
    core_tick(core, &world.sample);
    core_pool(core, AC_REACT, world.sample.when, &pool);
    assert_true(isnan(pool.utilization_percent));
    assert_int_equal(pool.decision.direction, SCALE_HOLD);
    core_agent_add(core, &spec, world.sample.when, NULL, NULL);
    struct proc_record *proc = world_proc(&world, 10, 1);
    core_tick(core, &world.sample);
    world_pass(&world, 1);
    proc->utime_ns += 900 * NS_PER_MSEC; /* 90 % of its one core */
    core_tick(core, &world.sample);
    core_pool(core, AC_REACT, world.sample.when, &pool);
    assert_true(fabs(pool.utilization_percent - 90) < 1);
    assert_int_equal(pool.decision.direction, SCALE_UP);
    assert_int_equal(drain(core, EVENT_SCALE, &event), 1);
    assert_int_equal(event.of.scale.to, 2);
    assert_int_equal(core_scale_record(core, AC_REACT, 2, world.sample.when, &error), 0);
    assert_int_equal(core_scale_record(core, AC_REACT, 0, world.sample.when, &error), -EINVAL);
    core_tick(core, &world.sample);
    core_pool(core, AC_REACT, world.sample.when, &pool);
    assert_int_equal(pool.scale, 2);
    assert_int_equal(pool.decision.direction, SCALE_HOLD);
    assert_true(pool.cooldown_left_ns == 60 * NS_PER_SEC);
    core_free(core);
}

static void test_events_are_capped(void **state)
{
    struct event event;
    (void)state;
    struct core *core = core_make(NULL);
    for (int i = 0; i < 5000; i++)
        core_config_event(core, "no", (struct moment){.wall_ns = i + 1});
    assert_int_equal(core_events_lost(core), 5000 - 4096);
    assert_true(core_next_event(core, &event)); /* the oldest went, and that is told once */
    assert_int_equal(event.kind, EVENT_LOST);
    assert_int_equal(event.of.lost, 5000 - 4096);
    assert_int_equal(event.sequence, 5000 - 4096);
    assert_int_equal(event.time_ns, 5000 - 4096 + 1);
    for (uint64_t i = 5000 - 4096 + 1; i <= 5000; i++) {
        assert_true(core_next_event(core, &event));
        assert_int_equal(event.sequence, i);
        assert_int_equal(event.kind, EVENT_CONFIG);
    }
    assert_false(core_next_event(core, &event));
    core_free(core);
}

static void scenario(struct core *core, struct world *world)
{
    struct agent_spec spec = spec_make("a", 10);
    struct ac_allocation allocation;
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.memory_mb = 5;
    usage.known = AC_KNOWN_MEMORY_MB;
    (void)core_tick(core, &world->sample);
    (void)core_agent_add(core, &spec, world->sample.when, NULL, NULL);
    world_proc(world, 10, 1);
    for (int i = 0; i < 3; i++) {
        world_pass(world, 1);
        world->sample.machine.cpu_busy_ns += 4 * NS_PER_SEC;
        (void)core_tick(core, &world->sample);
        (void)core_report(core, "r", &usage, world->sample.when, true, NULL);
    }
    (void)core_allocate(core, &spec, AC_POLICY_QUEUE, world->sample.when, &allocation, NULL);
    world->sample.n_procs = 0;
    world_proc(world, 1, 0);
    (void)core_tick(core, &world->sample);
    (void)core_agent_remove(core, "a", world->sample.when);
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct world world;
        struct core_options options;
        struct core *core = NULL;
        world_init(&world);
        core_options_init(&options);
        fault_arm(FAULT_ALLOC, n);
        int r = core_new(&options, &core);
        if (r == 0)
            scenario(core, &world);
        else
            assert_int_equal(r, -ENOMEM);
        bool hit = fault_disarm();
        core_free(core);
        if (!hit)
            break;
        assert_true(n < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tick_meters_and_judges),
        cmocka_unit_test(test_exit_is_told_learnt_and_forgotten),
        cmocka_unit_test(test_orphans_are_told),
        cmocka_unit_test(test_one_process_is_one_agent),
        cmocka_unit_test(test_oom_kill_is_an_emergency_once),
        cmocka_unit_test(test_an_oom_kill_that_ends_its_agent_is_told),
        cmocka_unit_test(test_old_oom_kills_are_not_told),
        cmocka_unit_test(test_allocations_never_promise_twice),
        cmocka_unit_test(test_reported_agents),
        cmocka_unit_test(test_attaching_a_reported_agent),
        cmocka_unit_test(test_reports_in_a_tight_loop),
        cmocka_unit_test(test_reports_without_a_tick),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_events_are_capped),
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
