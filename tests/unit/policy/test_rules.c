/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules.h"

#include "rules_fixture.h"

static void nothing_crossed_nothing_told(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct ac_usage usage;
    ac_usage_init(&usage);
    assert_int_equal(rules_check(rules, &machine, &usage, at_s(0)), 0);
    usage.known = AC_KNOWN_ALL;
    usage.cpu_percent = usage.memory_percent = 74.99;
    usage.disk_io_mbps = usage.network_io_mbps = 74.99;
    usage.file_descriptors = 749;
    usage.cpu_cores = usage.memory_mb = 1e9;
    assert_int_equal(rules_check(rules, &machine, &usage, at_s(1)), 0);
    assert_int_equal(n_told, 0);
    assert_int_equal(rules_active(rules), 0);
    rules_free(rules);
}

static void each_resource_has_its_steps(void **state)
{
    (void)state;
    const struct {
        enum ac_resource resource;
        double value;
        uint64_t hard;
        enum ac_severity severity;
        double threshold;
        const char *message;
    } rows[] = {
        {AC_CPU, 75, 0, AC_WARNING, 75,
            "CPU at 75.0 % is at or above its warning threshold of 75.0 %"},
        {AC_CPU, 83.06, 0, AC_CRITICAL, 80, "CPU at 83.1 % is at or above its maximum of 80.0 %"},
        {AC_CPU, 100, 0, AC_CRITICAL, 80, "CPU at 100.0 % is at or above its maximum of 80.0 %"},
        {AC_MEMORY, 79.9, 0, AC_WARNING, 75, "memory at 79.9 % is"},
        {AC_MEMORY, 80, 0, AC_CRITICAL, 80, "memory at 80.0 % is"},
        {AC_MEMORY, 95, 0, AC_EMERGENCY, 95,
            "memory at 95.0 % is at or above its emergency threshold of 95.0 %"},
        {AC_DISK_IO, 75, 0, AC_WARNING, 75, "disk I/O at 75.0 MiB/s"},
        {AC_DISK_IO, 5000, 0, AC_CRITICAL, 100, "disk I/O at 5000.0 MiB/s"},
        {AC_NETWORK_IO, 99, 0, AC_WARNING, 75, "network I/O at 99.0 MiB/s"},
        {AC_NETWORK_IO, 100, 0, AC_CRITICAL, 100, "network I/O at 100.0 MiB/s"},
        {AC_FILE_DESCRIPTORS, 750, 0, AC_WARNING, 750, "the number of open files at 750 is"},
        {AC_FILE_DESCRIPTORS, 1000, 0, AC_CRITICAL, 1000, "the number of open files at 1000 is"},
        {AC_FILE_DESCRIPTORS, 999999, 0, AC_CRITICAL, 1000, "the number of open files at"},
        {AC_FILE_DESCRIPTORS, 973, 1024, AC_EMERGENCY, 972.8, "the number of open files at 973 is"},
        {AC_FILE_DESCRIPTORS, 95, 100, AC_EMERGENCY, 95, "the number of open files at 95 is"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rules *rules = default_rules();
        struct rules_subject subject = machine;
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage.known = AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_PERCENT | AC_KNOWN_DISK_IO |
                      AC_KNOWN_NETWORK_IO | AC_KNOWN_FILE_DESCRIPTORS;
        usage.cpu_percent = usage.memory_percent = usage.disk_io_mbps = usage.network_io_mbps = 0;
        double *fields[] = {
            &usage.cpu_percent, &usage.memory_percent, &usage.disk_io_mbps, &usage.network_io_mbps};
        if (rows[i].resource == AC_FILE_DESCRIPTORS)
            usage.file_descriptors = (uint64_t)rows[i].value;
        else
            *fields[rows[i].resource] = rows[i].value;
        subject.fds_hard_limit = rows[i].hard;
        assert_int_equal(rules_check(rules, &subject, &usage, at_s(5)), 1);
        assert_int_equal(n_told, 1);
        assert_int_equal(last()->resource, rows[i].resource);
        assert_int_equal(last()->severity, rows[i].severity);
        assert_int_equal(last()->state, AC_ALERT_FIRING);
        assert_false(last()->acknowledged);
        assert_close(last()->threshold, rows[i].threshold, 1e-9);
        assert_close(last()->current_value, rows[i].value, 0);
        assert_int_equal(strncmp(last()->message, rows[i].message, strlen(rows[i].message)), 0);
        assert_string_equal(last()->agent_id, "");
        assert_int_equal(last()->started_ns, at_s(5).wall_ns);
        assert_int_equal(last()->updated_ns, at_s(5).wall_ns);
        assert_int_equal(last()->ended_ns, 0);
        assert_int_equal(rules_active(rules), 1);
        rules_free(rules);
    }
}

/* A usage that stays high is one event, not one per check. */
static void one_event_per_transition(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    assert_int_equal(check_cpu(rules, 76, 0), 1);
    for (uint64_t s = 1; s < 1000; s++)
        assert_int_equal(check_cpu(rules, 76 + (double)(s % 3), s), 0);
    assert_int_equal(check_cpu(rules, 85, 1000), 1);
    assert_string_equal(told[0].alert_id, told[1].alert_id);
    assert_int_equal(told[1].severity, AC_CRITICAL);
    assert_int_equal(told[1].started_ns, at_s(0).wall_ns);
    assert_int_equal(told[1].updated_ns, at_s(1000).wall_ns);
    assert_int_equal(live(rules), 1);
    rules_free(rules);
}

static void severity_falls_a_margin_below(void **state)
{
    (void)state;
    const struct {
        double value;
        int events;
        enum ac_severity severity;
        enum ac_alert_state alert;
    } rows[] = {
        {85, 1, AC_CRITICAL, AC_ALERT_FIRING}, {79, 0, AC_CRITICAL, AC_ALERT_FIRING},
        {75, 0, AC_CRITICAL, AC_ALERT_FIRING}, {74.9, 1, AC_WARNING, AC_ALERT_FIRING},
        {70, 0, AC_WARNING, AC_ALERT_FIRING}, {79.9, 0, AC_WARNING, AC_ALERT_FIRING},
        {80, 1, AC_CRITICAL, AC_ALERT_FIRING},
        {69.9, 1, AC_CRITICAL, AC_ALERT_RESOLVED}, /* the last severity stays on it */
    };
    struct rules *rules = default_rules();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(check_cpu(rules, rows[i].value, i), rows[i].events);
        assert_int_equal(last()->severity, rows[i].severity);
        assert_int_equal(last()->state, rows[i].alert);
    }
    assert_int_equal(last()->ended_ns, at_s(7).wall_ns);
    assert_close(last()->current_value, 69.9, 0);
    assert_string_equal(last()->message, "CPU at 69.9 % is back below its maximum of 80.0 %");
    assert_string_equal(told[1].message,
        "CPU at 74.9 % has fallen below its maximum; the warning alert ends below 70.0 %");
    assert_int_equal(live(rules), 0);
    assert_int_equal(rules_active(rules), 0);
    /* The next crossing is another alert. */
    assert_int_equal(check_cpu(rules, 75, 100), 1);
    assert_string_not_equal(told[0].alert_id, last()->alert_id);
    rules_free(rules);
}

static void margin_of_a_rate_is_part_of_its_maximum(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.max_disk_io_mbps = 400;
    struct rules *rules = new_rules(&options);
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_DISK_IO;
    const struct {
        double value;
        int events;
    } rows[] = {{299, 0}, {300, 1}, {280, 0}, {279, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        usage.disk_io_mbps = rows[i].value;
        assert_int_equal(rules_check(rules, &machine, &usage, at_s(i)), rows[i].events);
    }
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    rules_free(rules);
}

/* A warning threshold above the maximum: the highest step that is reached counts. */
static void warning_above_maximum(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.max_cpu_percent = 50;
    struct rules *rules = new_rules(&options);
    assert_int_equal(check_cpu(rules, 49, 0), 0);
    assert_int_equal(check_cpu(rules, 50, 1), 1);
    assert_int_equal(last()->severity, AC_CRITICAL);
    assert_int_equal(check_cpu(rules, 90, 2), 0);
    assert_int_equal(check_cpu(rules, 46, 3), 0);
    assert_int_equal(check_cpu(rules, 44, 4), 1);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    rules_free(rules);
}

static void unknown_changes_nothing(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    check_cpu(rules, 90, 0);
    struct ac_usage usage;
    ac_usage_init(&usage);
    assert_int_equal(rules_check(rules, &machine, &usage, at_s(1)), 0);
    /* Values behind a missing bit are not looked at, whatever they are. */
    usage.cpu_percent = 0;
    usage.memory_percent = 100;
    usage.file_descriptors = 1000000;
    assert_int_equal(rules_check(rules, &machine, &usage, at_s(2)), 0);
    assert_int_equal(n_told, 1);
    assert_int_equal(rules_active(rules), 1);
    rules_free(rules);
}

static void for_ms_waits(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.for_ms = 10000;
    struct rules *rules = new_rules(&options);
    assert_int_equal(check_cpu(rules, 90, 0), 0);
    assert_int_equal(check_cpu(rules, 90, 9), 0);
    assert_int_equal(live(rules), 0);
    assert_int_equal(rules_active(rules), 0);
    /* Falls back: vanishes without a word, and starts anew. */
    assert_int_equal(check_cpu(rules, 74, 9), 0);
    assert_int_equal(check_cpu(rules, 90, 10), 0);
    assert_int_equal(check_cpu(rules, 90, 19), 0);
    assert_int_equal(check_cpu(rules, 78, 20), 1);
    assert_int_equal(last()->severity, AC_WARNING); /* the maximum was not exceeded at the end */
    assert_int_equal(last()->started_ns, at_s(20).wall_ns);
    /* A higher step waits as long; resolving does not. */
    assert_int_equal(check_cpu(rules, 85, 21), 0);
    assert_int_equal(check_cpu(rules, 85, 30), 0);
    assert_int_equal(check_cpu(rules, 85, 31), 1);
    assert_int_equal(last()->severity, AC_CRITICAL);
    assert_int_equal(check_cpu(rules, 10, 32), 1);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    rules_free(rules);
}

static void unknown_does_not_end_waiting(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.for_ms = 2000;
    struct rules *rules = new_rules(&options);
    struct ac_usage unknown;
    ac_usage_init(&unknown);
    check_cpu(rules, 90, 0);
    assert_int_equal(rules_check(rules, &machine, &unknown, at_s(1)), 0);
    assert_int_equal(check_cpu(rules, 90, 2), 1);
    rules_free(rules);
}

static void a_pending_alert_cannot_be_acknowledged_or_cleared(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.for_ms = 10000;
    struct rules *rules = new_rules(&options);
    check_cpu(rules, 90, 0);
    check_cpu(rules, 90, 10);
    char id[40];
    snprintf(id, sizeof(id), "%s", last()->alert_id);
    check_cpu(rules, 1, 11);
    check_cpu(rules, 90, 12);
    id[strlen(id) - 1]++; /* the id that the pending one has */
    assert_int_equal(rules_acknowledge(rules, id, at_s(13)), -ENOENT);
    assert_int_equal(rules_clear(rules, 0, AC_CPU, "cpu_threshold", at_s(13)), -ENOENT);
    assert_int_equal(check_cpu(rules, 90, 22), 1);
    assert_string_equal(last()->alert_id, id);
    assert_int_equal(rules_acknowledge(rules, id, at_s(23)), 0);
    rules_forget(rules, 0, at_s(24));
    check_cpu(rules, 90, 30);
    size_t before = n_told;
    rules_forget(rules, 0, at_s(31)); /* pending: goes without a word */
    assert_int_equal(n_told, before);
    rules_free(rules);
}

static void acknowledged_is_silent_until_it_gets_worse(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    check_cpu(rules, 78, 0);
    assert_int_equal(rules_acknowledge(rules, "al-nosuch-1", at_s(1)), -ENOENT);
    assert_int_equal(rules_acknowledge(rules, "", at_s(1)), -ENOENT);
    assert_int_equal(rules_acknowledge(rules, told[0].alert_id, at_s(1)), 0);
    assert_true(last()->acknowledged);
    assert_int_equal(last()->state, AC_ALERT_FIRING);
    assert_int_equal(rules_active(rules), 0);
    assert_int_equal(live(rules), 1);
    assert_int_equal(rules_acknowledge(rules, told[0].alert_id, at_s(2)), -EALREADY);
    /* Rises: open again. */
    assert_int_equal(check_cpu(rules, 85, 3), 1);
    assert_false(last()->acknowledged);
    assert_int_equal(rules_active(rules), 1);
    assert_int_equal(rules_acknowledge(rules, told[0].alert_id, at_s(4)), 0);
    /* Falls: silent, but the alert shows it. */
    assert_int_equal(check_cpu(rules, 74, 5), 0);
    size_t cursor = 0;
    const struct ac_alert *alert = rules_next(rules, &cursor);
    assert_int_equal(alert->severity, AC_WARNING);
    assert_true(alert->acknowledged);
    assert_close(alert->threshold, 75, 0);
    /* Resolves: told. */
    assert_int_equal(check_cpu(rules, 60, 6), 1);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    assert_true(last()->acknowledged);
    assert_int_equal(n_told, 5);
    assert_int_equal(rules_acknowledge(rules, told[0].alert_id, at_s(7)), -ENOENT);
    rules_free(rules);
}

static void renotify_repeats_what_nobody_acknowledged(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.limits.renotify_ms = 60000;
    struct rules *rules = new_rules(&options);
    check_cpu(rules, 78, 0);
    assert_int_equal(rules_expire(rules, at_s(59)), 0);
    check_cpu(rules, 79, 59);
    assert_int_equal(rules_expire(rules, at_s(60)), 1);
    assert_string_equal(
        last()->message, "CPU at 79.0 % is at or above its warning threshold of 75.0 %");
    assert_int_equal(last()->updated_ns, at_s(0).wall_ns); /* no transition */
    assert_int_equal(rules_expire(rules, at_s(119)), 0);
    assert_int_equal(rules_expire(rules, at_s(120)), 1);
    /* A transition counts as an event: the wait starts anew. */
    assert_int_equal(check_cpu(rules, 90, 150), 1);
    assert_int_equal(rules_expire(rules, at_s(180)), 0);
    assert_int_equal(rules_expire(rules, at_s(210)), 1);
    rules_acknowledge(rules, last()->alert_id, at_s(211));
    assert_int_equal(rules_expire(rules, at_s(1000)), 0);
    rules_free(rules);
}

static void agents_have_their_own_maxima(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct agent_limits limits = {
        .max_cpu_cores = 2, .max_memory_mb = 512, .max_file_descriptors = 100};
    struct rules_subject subject = {.slot = 7, .agent_id = "build-1", .limits = &limits};
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_ALL;
    usage.cpu_percent = usage.memory_percent = usage.disk_io_mbps = usage.network_io_mbps = 1;
    usage.cpu_cores = 1.49;
    usage.memory_mb = 383;
    usage.file_descriptors = 74;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(0)), 0);
    usage.cpu_cores = 1.5;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(1)), 1);
    assert_string_equal(last()->rule, "agent_cpu_limit");
    assert_string_equal(last()->agent_id, "build-1");
    assert_string_equal(last()->message,
        "agent build-1: CPU at 1.50 cores is at or above its warning threshold of 1.50 cores");
    usage.memory_mb = 512;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(2)), 1);
    assert_string_equal(last()->rule, "agent_memory_limit");
    assert_int_equal(last()->severity, AC_CRITICAL);
    assert_string_equal(last()->message,
        "agent build-1: memory at 512.0 MiB is at or above its maximum of 512.0 MiB");
    usage.file_descriptors = 75;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(3)), 1);
    assert_string_equal(last()->rule, "agent_file_descriptors_limit");
    /* The machine-wide percentages apply beside them. */
    usage.memory_percent = 96;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(4)), 1);
    assert_string_equal(last()->rule, "memory_threshold");
    assert_int_equal(last()->severity, AC_EMERGENCY);
    assert_int_equal(rules_active(rules), 4);
    /* A limit that is taken away resolves its alert, even where the value is unknown. */
    usage.known &= ~(uint32_t)AC_KNOWN_MEMORY_MB;
    limits.max_memory_mb = 0;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(5)), 1);
    assert_string_equal(last()->rule, "agent_memory_limit");
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    /* The agent goes: all resolve, and another subject keeps its own. */
    check_cpu(rules, 90, 6);
    rules_forget(rules, 7, at_s(7));
    assert_int_equal(rules_active(rules), 1);
    assert_int_equal(n_told, 9);
    rules_forget(rules, 7, at_s(8));
    rules_forget(rules, 99, at_s(8));
    assert_int_equal(n_told, 9);
    rules_free(rules);
}

/* Thresholds are met exactly, however the multiplications round. */
static void thresholds_are_exact(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct rules_options options = options_default();
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        options.limits.alert_threshold_percent = random_below(&seed, 10001) / 100.0;
        struct agent_limits limits = {.max_memory_mb = random_below(&seed, 1000000) / 7.0 + 0.1};
        struct rules_subject subject = {.slot = 1, .agent_id = "a", .limits = &limits};
        rules_set_limits(rules, &options.limits);
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage.known = AC_KNOWN_MEMORY_MB;
        usage.memory_mb = options.limits.alert_threshold_percent * (limits.max_memory_mb / 100);
        n_told = 0;
        assert_int_equal(rules_check(rules, &subject, &usage, at_s(1)), 1);
        assert_true(last()->current_value >= last()->threshold);
        rules_forget(rules, 1, at_s(2));
    }
    rules_free(rules);
}

static void new_limits_judge_live_alerts(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    struct rules *rules = new_rules(&options);
    check_cpu(rules, 78, 0);
    options.limits.max_cpu_percent = 77;
    rules_set_limits(rules, &options.limits);
    assert_close(rules_limits(rules)->max_cpu_percent, 77, 0);
    assert_int_equal(n_told, 1);
    assert_int_equal(check_cpu(rules, 78, 1), 1);
    assert_int_equal(last()->severity, AC_CRITICAL);
    options.limits.max_cpu_percent = 95;
    options.limits.alert_threshold_percent = 90;
    rules_set_limits(rules, &options.limits);
    assert_int_equal(check_cpu(rules, 78, 2), 1);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    rules_free(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_crossed_nothing_told),
        cmocka_unit_test(each_resource_has_its_steps),
        cmocka_unit_test(one_event_per_transition),
        cmocka_unit_test(severity_falls_a_margin_below),
        cmocka_unit_test(margin_of_a_rate_is_part_of_its_maximum),
        cmocka_unit_test(warning_above_maximum),
        cmocka_unit_test(unknown_changes_nothing),
        cmocka_unit_test(for_ms_waits),
        cmocka_unit_test(unknown_does_not_end_waiting),
        cmocka_unit_test(a_pending_alert_cannot_be_acknowledged_or_cleared),
        cmocka_unit_test(acknowledged_is_silent_until_it_gets_worse),
        cmocka_unit_test(renotify_repeats_what_nobody_acknowledged),
        cmocka_unit_test(agents_have_their_own_maxima),
        cmocka_unit_test(thresholds_are_exact),
        cmocka_unit_test(new_limits_judge_live_alerts),
    };
    return cmocka_run_group_tests_name("policy/rules", tests, NULL, NULL);
}
