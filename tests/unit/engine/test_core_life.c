/* SPDX-License-Identifier: Apache-2.0 */
/* Core over reloads, restarts and at its caps. */
#include "core_fixture.h"

#include <errno.h>
#include <math.h>

/* At the cap those that exited give way, the first of them first; those that run never do. */
static void test_exited_agents_give_way(void **state)
{
    struct world world;
    struct core_options options;
    struct ac_system_metrics system;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.max_agents = 3;
    struct core *core = core_make(&options);
    struct agent_spec a = spec_make("a", 10), b = spec_make("b", 11), c = spec_make("c", 12);
    world_proc(&world, 10, 1);
    world_proc(&world, 11, 1);
    world_proc(&world, 12, 1);
    assert_int_equal(core_agent_add(core, &a, world.sample.when, NULL, NULL), 0);
    assert_int_equal(core_agent_add(core, &b, world.sample.when, NULL, NULL), 0);
    assert_int_equal(core_agent_add(core, &c, world.sample.when, NULL, NULL), 0);
    core_tick(core, &world.sample);
    struct agent_spec d = spec_make("d", 0), e = spec_make("e", 0), f = spec_make("f", 0);
    assert_int_equal(core_agent_add(core, &d, world.sample.when, NULL, NULL), -ENOSPC);
    for (size_t left = 2; left > 0; left--) { /* c ends, then b */
        world_pass(&world, 1);
        world.sample.n_procs = left;
        core_tick(core, &world.sample);
    }
    world_pass(&world, 1);
    core_system(core, &system);
    assert_int_equal(system.active_agents, 1);
    assert_int_equal(core_agent_add(core, &d, world.sample.when, NULL, NULL), 0);
    assert_null(registry_get(core_registry(core), "c"));
    assert_non_null(registry_get(core_registry(core), "b"));
    assert_int_equal(core_agent_add(core, &e, world.sample.when, NULL, NULL), 0);
    assert_null(registry_get(core_registry(core), "b"));
    assert_int_equal(core_agent_add(core, &f, world.sample.when, NULL, NULL), -ENOSPC);
    assert_non_null(registry_get(core_registry(core), "a"));
    core_system(core, &system);
    assert_int_equal(system.active_agents, 3);
    core_free(core);
}

/* A reload is for allocations as well, and one that is wrong changes nothing. */
static void test_reconfiguration(void **state)
{
    struct world world;
    struct core_options options;
    struct ac_allocation before, after;
    struct ac_error error;
    struct event event;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    struct core *core = core_make(&options);
    struct agent_spec spec = spec_make("a", 0);
    core_tick(core, &world.sample);
    assert_int_equal(
        core_allocate(core, &spec, AC_POLICY_RECOMMEND, world.sample.when, &before, &error), 0);
    options.headroom = 0;
    options.limits.max_cpu_percent = 33;
    assert_int_equal(core_reconfigure(core, &options, &error), -EINVAL);
    assert_true(rules_limits(core_rules(core))->max_cpu_percent == 80);
    options.headroom = 0.01;
    options.reservation_ttl_ns = 5 * NS_PER_SEC;
    assert_int_equal(core_reconfigure(core, &options, &error), 0);
    assert_true(rules_limits(core_rules(core))->max_cpu_percent == 33);
    assert_int_equal(
        core_allocate(core, &spec, AC_POLICY_RECOMMEND, world.sample.when, &after, &error), 0);
    assert_true(after.memory_mb < before.memory_mb);
    drain(core, EVENT_ALLOCATION, &event);
    world_pass(&world, 6);
    core_tick(core, &world.sample);
    assert_null(ledger_get(core_ledger(core), "a"));
    assert_int_equal(drain(core, EVENT_ALLOCATION, &event), 1);
    assert_int_equal(event.of.allocation.status, AC_ALLOCATION_REFUSED);
    core_free(core);
}

/* After a restart an alert of a passing cause ends by itself, others do not, acknowledged or not.
 */
static void test_restored_alerts(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    core_tick(core, &world.sample);
    static const char *const rules[] = {"memory_stall", "manual"};
    for (size_t i = 0; i < 2; i++) {
        struct ac_alert alert = {.resource = AC_MEMORY,
            .severity = AC_EMERGENCY,
            .state = AC_ALERT_FIRING,
            .acknowledged = true,
            .threshold = NAN,
            .current_value = NAN,
            .started_ns = 1,
            .updated_ns = 1};
        snprintf(alert.alert_id, sizeof(alert.alert_id), "al-%zu", i);
        snprintf(alert.rule, sizeof(alert.rule), "%s", rules[i]);
        snprintf(alert.message, sizeof(alert.message), "from before");
        assert_int_equal(core_restore_alert(core, &alert, UINT32_MAX, world.sample.when), 0);
    }
    size_t cursor = 0;
    const struct ac_alert *live;
    while ((live = rules_next(core_rules(core), &cursor)))
        assert_true(live->acknowledged);
    world_pass(&world, 301);
    core_tick(core, &world.sample);
    cursor = 0;
    live = rules_next(core_rules(core), &cursor);
    assert_non_null(live);
    assert_string_equal(live->rule, "manual");
    assert_null(rules_next(core_rules(core), &cursor));
    core_free(core);
}

/* Where there are several users, the alerts of one leave room for those of root and the machine. */
static void test_alerts_of_several_users(void **state)
{
    struct world world;
    struct core_options options;
    struct ac_usage usage;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.max_alerts = 16;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_MEMORY_MB;
    usage.memory_mb = 500;
    for (int several = 0; several < 2; several++) {
        static const uint32_t owners[] = {1000, 1001, 0, 7};
        const unsigned most[] = {several ? 4 : 7, several ? 4 : 7, several ? 7 : 1, 0};
        options.users = (struct quota_users){.several = several, .own_uid = 7};
        struct core *core = core_make(&options);
        for (size_t i = 0; i < 4; i++) {
            for (char n = 0; n < 7; n++) {
                char id[] = {(char)('a' + i), (char)('0' + n), 0};
                struct agent_spec spec = spec_make(id, 0);
                spec.owner_uid = owners[i];
                spec.limits.max_memory_mb = 1;
                assert_int_equal(core_agent_add(core, &spec, world.sample.when, NULL, NULL), 0);
                assert_int_equal(core_report(core, id, &usage, world.sample.when, false, NULL), 0);
            }
            unsigned found = 0;
            const struct ac_alert *alert;
            for (size_t at = 0; (alert = rules_next(core_rules(core), &at));) {
                found += alert->agent_id[0] == (char)('a' + i);
                if (alert->agent_id[0] == (char)('a' + i))
                    assert_int_equal(rules_owner(core_rules(core), alert->alert_id), owners[i]);
            }
            assert_int_equal(found, most[i]);
        }
        struct rules_raise raise = {
            .rule = "state", .resource = AC_DISK_IO, .severity = AC_EMERGENCY, .message = "x"};
        assert_int_equal(core_raise(core, NULL, &raise, world.sample.when, NULL), 0);
        core_free(core);
    }
}

/* What was exceeded before a restart counts on; what lies before this boot, or ahead, does not. */
static void test_replay(void **state)
{
    struct world world;
    struct core_options options;
    struct event event;
    struct ac_error error = {0};
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.limits.for_ms = 10000;
    for (int replayed = 0; replayed < 2; replayed++) {
        struct core *core = core_make(&options);
        struct agent_spec spec = spec_make("a", 0);
        struct moment now = world.sample.when;
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage.known = AC_KNOWN_MEMORY_PERCENT | AC_KNOWN_MEMORY_MB;
        usage.memory_percent = 99;
        usage.memory_mb = 700;
        assert_int_equal(core_agent_add(core, &spec, now, NULL, &error), 0);
        usage.timestamp_ns = now.wall_ns;
        assert_int_equal(core_replay(core, "a", &usage, now), -ERANGE);
        usage.timestamp_ns = now.wall_ns - (int64_t)now.mono.ns;
        assert_int_equal(core_replay(core, "a", &usage, now), -ERANGE);
        for (int64_t before = 8; replayed && before > 4; before--) {
            usage.timestamp_ns = now.wall_ns - before * (int64_t)NS_PER_SEC;
            assert_int_equal(core_replay(core, "a", &usage, now), 0);
        }
        assert_int_equal(drain(core, EVENT_ALERT, &event), 0);
        usage.timestamp_ns = now.wall_ns + 3 * (int64_t)NS_PER_SEC;
        struct moment later = {
            .mono = {now.mono.ns + 3 * NS_PER_SEC}, .wall_ns = usage.timestamp_ns};
        assert_int_equal(core_check(core, "a", &usage, later), replayed);
        assert_int_equal(drain(core, EVENT_ALERT, &event), replayed);
        assert_int_equal(core_replay_peaks(core, "a", &usage), 0);
        assert_int_equal(core_replay_peaks(core, "b", &usage), -ENOENT);
        const struct agent *agent = registry_get(core_registry(core), "a");
        assert_true(agent->totals.memory_peak_bytes == 700ull << 20);
        core_free(core);
    }
}

/* Execution time goes on while the machine is suspended, and no step of the clock moves it. */
static void test_execution_time(void **state)
{
    struct world world;
    struct event event;
    (void)state;
    struct agent_spec spec = spec_make("a", 10);
    spec.limits.max_execution_time_seconds = 1000;
    struct core *core = core_with_agent(&world, &spec, NULL);
    world_pass(&world, 400);
    world.sample.when.wall_ns += 86400 * (int64_t)NS_PER_SEC;
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, NULL), 0);
    world.sample.boot_ns += 700 * NS_PER_SEC; /* suspended */
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_ALERT, &event), 1);
    assert_string_equal(event.of.alert.rule, "execution_time");
    assert_true(event.of.alert.current_value == 1101);
    world.sample.n_procs = 0;
    world_proc(&world, 1, 0);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(drain(core, EVENT_AGENT_EXITED, &event), 1);
    assert_non_null(strstr(event.text, "ended after 1102.0 s"));
    core_free(core);
}

static void report(struct core *core, const char *id, double memory_percent, struct moment now)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_MEMORY_PERCENT | AC_KNOWN_MEMORY_MB;
    usage.memory_percent = memory_percent;
    usage.memory_mb = 300;
    assert_int_equal(core_report(core, id, &usage, now, false, NULL), 0);
}

static enum agent_state state_of(struct core *core, const char *id)
{
    return registry_get(core_registry(core), id)->state;
}

/* An agent that only reports has exited when it was silent for the configured time: its alerts
 * end, its share is free, its run is learnt up to its last report. */
static void test_silent_agents_exit(void **state)
{
    struct world world;
    struct core_options options;
    struct ac_allocation allocation;
    struct ac_prediction prediction;
    struct ac_system_metrics system;
    struct event event;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.report_timeout_ns = 60 * NS_PER_SEC;
    struct core *core = core_make(&options);
    struct agent_spec silent, talks = spec_make("talks", 0), metered = spec_make("metered", 10);
    core_tick(core, &world.sample);
    static const char *const runs[] = {"one", "two", "silent"};
    for (size_t i = 0; i < 3; i++) { /* as many as say something */
        silent = spec_make(runs[i], 0);
        assert_int_equal(core_agent_add(core, &silent, world.sample.when, NULL, NULL), 0);
    }
    assert_int_equal(core_agent_add(core, &talks, world.sample.when, NULL, NULL), 0);
    assert_int_equal(core_agent_add(core, &metered, world.sample.when, NULL, NULL), 0);
    world_proc(&world, 10, 1);
    world_pass(&world, 40);
    for (size_t i = 0; i < 3; i++)
        report(core, runs[i], 99, world.sample.when);
    assert_int_equal(
        core_allocate(core, &silent, AC_POLICY_RECOMMEND, world.sample.when, &allocation, NULL), 0);
    world_pass(&world, 59);
    report(core, "talks", 10, world.sample.when);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "silent"), AGENT_RUNNING);
    assert_non_null(ledger_get(core_ledger(core), "silent"));
    drain(core, EVENT_ALERT, NULL);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "silent"), AGENT_EXITED);
    assert_int_equal(state_of(core, "talks"), AGENT_RUNNING);
    assert_int_equal(state_of(core, "metered"), AGENT_RUNNING);
    assert_null(ledger_get(core_ledger(core), "silent"));
    core_system(core, &system);
    assert_int_equal(system.active_agents, 2);
    assert_int_equal(system.active_alerts, 0);
    core_predict(core, AC_REACT, "", world.sample.when, &prediction);
    assert_int_equal(prediction.runs, 3);
    assert_in_range((unsigned)prediction.execution_time_seconds, 40, 99);
    assert_int_equal(drain(core, EVENT_AGENT_EXITED, &event), 3);
    assert_string_equal(event.agent_id, "silent");
    assert_non_null(strstr(event.text, "has not reported for 60 s: it ended after 40.0 s"));
    core_free(core);
}

/* A report that comes after the last process is gone takes nothing from others. */
static void test_reports_of_the_ended(void **state)
{
    struct world world;
    struct ac_system_metrics system;
    struct ac_error error;
    struct ac_usage usage;
    double cpu;
    uint64_t before, after;
    (void)state;
    world_init(&world);
    struct core *core = core_make(NULL);
    struct agent_spec spec = spec_make("a", 10);
    core_tick(core, &world.sample);
    world_proc(&world, 10, 1);
    assert_int_equal(core_agent_add(core, &spec, world.sample.when, NULL, NULL), 0);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    world.sample.n_procs = 0;
    world_proc(&world, 1, 0);
    world_pass(&world, 1);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "a"), AGENT_EXITED);
    ledger_available(core_ledger(core), &cpu, &before);
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_MEMORY_PERCENT | AC_KNOWN_MEMORY_MB;
    usage.memory_percent = 99;
    usage.memory_mb = 400;
    assert_int_equal(core_report(core, "a", &usage, world.sample.when, false, &error), -EALREADY);
    assert_string_equal(error.message, "agent a has ended already");
    core_tick(core, &world.sample);
    ledger_available(core_ledger(core), &cpu, &after);
    assert_int_equal(after, before);
    core_system(core, &system);
    assert_int_equal(system.active_alerts, 0);
    assert_int_equal(core_report(core, "a", &usage, world.sample.when, true, NULL), 0); /* anew */
    assert_int_equal(state_of(core, "a"), AGENT_RUNNING);
    core_free(core);
}

/* What reports say of their time does not make old ones young. */
static void test_reports_from_the_future(void **state)
{
    struct world world;
    struct core_options options;
    struct core_pool pool;
    struct ac_usage usage;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.scale.stale_ns = 30 * NS_PER_SEC;
    struct core *core = core_make(&options);
    struct agent_spec spec = spec_make("r", 0);
    spec.limits.max_memory_mb = 100;
    core_tick(core, &world.sample);
    assert_int_equal(core_agent_add(core, &spec, world.sample.when, NULL, NULL), 0);
    ac_usage_init(&usage);
    usage.memory_mb = 99;
    usage.known = AC_KNOWN_MEMORY_MB;
    usage.timestamp_ns = INT64_MAX;
    assert_int_equal(core_report(core, "r", &usage, world.sample.when, false, NULL), 0);
    assert_int_equal(
        registry_get(core_registry(core), "r")->usage.timestamp_ns, world.sample.when.wall_ns);
    core_tick(core, &world.sample);
    core_pool(core, AC_REACT, world.sample.when, &pool);
    assert_null(strstr(pool.decision.reason, "stale"));
    world_pass(&world, 3600);
    world.sample.when.wall_ns -= 3600 * (int64_t)NS_PER_SEC; /* nor does a clock set back */
    core_tick(core, &world.sample);
    core_pool(core, AC_REACT, world.sample.when, &pool);
    assert_non_null(strstr(pool.decision.reason, "stale"));
    core_free(core);
}

/* It comes back by reporting, or by somebody judging what it uses, as what it was; or it is
 * forgotten as others are. */
static void test_silent_agents_return(void **state)
{
    struct world world;
    struct core_options options;
    struct event event;
    struct ac_usage usage;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    options.report_timeout_ns = 60 * NS_PER_SEC;
    options.exited_retention_ns = 300 * NS_PER_SEC;
    struct core *core = core_make(&options);
    struct agent_spec spec = spec_make("a", 0);
    spec.philosophy = AC_COT;
    spec.owner_uid = 1000;
    assert_int_equal(agent_spec_set_label(&spec, "team", "web", NULL), 0);
    core_tick(core, &world.sample);
    assert_int_equal(core_agent_add(core, &spec, world.sample.when, NULL, NULL), 0);
    for (int judged = 0; judged < 2; judged++) {
        world_pass(&world, 60);
        core_tick(core, &world.sample);
        assert_int_equal(state_of(core, "a"), AGENT_EXITED);
        drain(core, EVENT_AGENT_EXITED, NULL);
        world_pass(&world, 5);
        ac_usage_init(&usage);
        if (judged)
            assert_int_equal(core_check(core, "a", &usage, world.sample.when), 0);
        else
            report(core, "a", 10, world.sample.when);
        const struct agent *agent = registry_get(core_registry(core), "a");
        assert_int_equal(agent->state, AGENT_RUNNING);
        assert_int_equal(agent->added.mono.ns, world.sample.when.mono.ns);
        assert_memory_equal(&agent->spec, &spec, sizeof(spec));
        assert_int_equal(drain(core, EVENT_AGENT_ADDED, &event), 1);
        assert_int_equal(event.owner_uid, 1000);
    }
    world_pass(&world, 60);
    core_tick(core, &world.sample);
    world_pass(&world, 300);
    core_tick(core, &world.sample);
    assert_null(registry_get(core_registry(core), "a"));
    core_free(core);
}

/* Neither a restart nor a reload makes it exit at once, and without a time limit nothing does. */
static void test_silence_counts_from_the_restart(void **state)
{
    struct world world;
    struct core_options options;
    (void)state;
    world_init(&world);
    core_options_init(&options);
    struct core *core = core_make(&options);
    struct agent_spec spec = spec_make("a", 0);
    struct moment before = {
        .mono = {1 * NS_PER_SEC}, .wall_ns = world.sample.when.wall_ns - 999 * (int64_t)NS_PER_SEC};
    core_tick(core, &world.sample);
    assert_int_equal(core_agent_add(core, &spec, before, NULL, NULL), 0);
    world_pass(&world, 59);
    core_tick(core, &world.sample);
    options.report_timeout_ns = 60 * NS_PER_SEC;
    assert_int_equal(core_reconfigure(core, &options, NULL), 0);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "a"), AGENT_RUNNING);
    options.report_timeout_ns = 0;
    assert_int_equal(core_reconfigure(core, &options, NULL), 0);
    world_pass(&world, 86400);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "a"), AGENT_RUNNING);
    options.report_timeout_ns = 60 * NS_PER_SEC;
    assert_int_equal(core_reconfigure(core, &options, NULL), 0);
    core_tick(core, &world.sample);
    assert_int_equal(state_of(core, "a"), AGENT_EXITED);
    core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exited_agents_give_way),
        cmocka_unit_test(test_reconfiguration),
        cmocka_unit_test(test_restored_alerts),
        cmocka_unit_test(test_alerts_of_several_users),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_execution_time),
        cmocka_unit_test(test_silent_agents_exit),
        cmocka_unit_test(test_reports_of_the_ended),
        cmocka_unit_test(test_reports_from_the_future),
        cmocka_unit_test(test_silent_agents_return),
        cmocka_unit_test(test_silence_counts_from_the_restart),
    };
    return cmocka_run_group_tests_name("core_life", tests, NULL, NULL);
}
