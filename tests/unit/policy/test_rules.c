/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules.h"

#include "policy_test.h"

#include <errno.h>

/* What the sink was told, in order. */
static struct ac_alert told[4096];
static size_t n_told;

static void sink(void *userdata, const struct ac_alert *alert)
{
    (void)userdata;
    assert_true(n_told < ARRAY_SIZE(told));
    told[n_told++] = *alert;
}

static const struct ac_alert *last(void)
{
    assert_true(n_told > 0);
    return &told[n_told - 1];
}

static struct rules_options options_default(void)
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

static struct rules *new_rules(const struct rules_options *options)
{
    struct rules *rules;
    n_told = 0;
    assert_int_equal(rules_new(options, &rules), 0);
    return rules;
}

static struct rules *default_rules(void)
{
    struct rules_options options = options_default();
    return new_rules(&options);
}

static const struct rules_subject machine = {.agent_id = ""};

static struct ac_usage cpu(double percent)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_percent = percent;
    usage.known = AC_KNOWN_CPU_PERCENT;
    return usage;
}

static int check_cpu(struct rules *rules, double percent, uint64_t s)
{
    struct ac_usage usage = cpu(percent);
    return rules_check(rules, &machine, &usage, at_s(s));
}

static size_t live(const struct rules *rules)
{
    size_t n = 0;
    for (size_t cursor = 0; rules_next(rules, &cursor);)
        n++;
    return n;
}

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

static void raised_alerts(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct rules_raise raise = {.rule = "manual",
        .resource = AC_MEMORY,
        .severity = AC_WARNING,
        .message = "look at this",
        .threshold = NAN,
        .current_value = NAN};
    struct ac_alert alert;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(0), &alert), 0);
    assert_int_equal(n_told, 1);
    assert_string_equal(alert.message, "look at this");
    assert_int_equal(alert.state, AC_ALERT_FIRING);
    assert_true(isnan(alert.threshold) && isnan(alert.current_value));
    /* The same again: updated, no event. */
    raise.message = "still";
    raise.current_value = 5;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(1), NULL), 0);
    assert_int_equal(n_told, 1);
    size_t cursor = 0;
    assert_string_equal(rules_next(rules, &cursor)->message, "still");
    /* Another severity is a transition; another resource or rule is another alert. */
    raise.severity = AC_EMERGENCY;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(2), NULL), 0);
    assert_int_equal(n_told, 2);
    raise.resource = AC_CPU;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(3), NULL), 0);
    raise.rule = "oom_kill";
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(4), NULL), 0);
    assert_int_equal(rules_active(rules), 3);
    /* A rise takes an acknowledgement back, a fall does not. */
    assert_int_equal(rules_acknowledge(rules, last()->alert_id, at_s(5)), 0);
    raise.severity = AC_INFO;
    size_t before = n_told;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(6), &alert), 0);
    assert_true(alert.acknowledged && n_told == before);
    raise.severity = AC_CRITICAL;
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(7), &alert), 0);
    assert_false(alert.acknowledged);
    /* Threshold checks leave them alone. */
    assert_int_equal(check_cpu(rules, 1, 8), 0);
    assert_int_equal(rules_clear(rules, 0, AC_CPU, "oom_kill", at_s(9)), 0);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    assert_int_equal(rules_clear(rules, 0, AC_CPU, "oom_kill", at_s(9)), -ENOENT);
    assert_int_equal(rules_clear(rules, 3, AC_CPU, "oom_kill", at_s(9)), -ENOENT);
    assert_int_equal(rules_clear(rules, 12345, AC_CPU, "oom_kill", at_s(9)), -ENOENT);
    rules_free(rules);
}

static void held_alerts_end_when_nobody_raises_them(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct rules_raise raise = {.rule = "oom_kill",
        .resource = AC_MEMORY,
        .severity = AC_EMERGENCY,
        .message = "killed",
        .threshold = NAN,
        .current_value = NAN,
        .hold_ms = 10000};
    rules_raise(rules, &machine, &raise, at_s(0), NULL);
    assert_int_equal(rules_expire(rules, at_s(9)), 0);
    rules_raise(rules, &machine, &raise, at_s(9), NULL);
    assert_int_equal(rules_expire(rules, at_s(18)), 0);
    assert_int_equal(rules_expire(rules, at_s(19)), 1);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    assert_int_equal(last()->severity, AC_EMERGENCY);
    assert_int_equal(live(rules), 0);
    rules_free(rules);
}

static void bad_raises_are_refused(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    const struct rules_raise good = {
        .rule = "manual", .resource = AC_CPU, .severity = AC_WARNING, .message = "x"};
    struct rules_raise bad[] = {good, good, good, good, good, good};
    bad[0].rule = NULL;
    bad[1].rule = "";
    bad[2].rule = "a_rule_with_a_name_that_is_longer_than_an_alert_can_hold";
    bad[3].resource = AC_RESOURCE_COUNT;
    bad[4].severity = (enum ac_severity) - 1;
    bad[5].rule = "cpu_threshold"; /* the table's own */
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(rules_raise(rules, &machine, &bad[i], at_s(0), NULL), -EINVAL);
    struct rules_subject far = {.slot = 101, .agent_id = "far"};
    assert_int_equal(rules_raise(rules, &far, &good, at_s(0), NULL), -EINVAL);
    struct ac_usage usage = cpu(99);
    assert_int_equal(rules_check(rules, &far, &usage, at_s(0)), 0);
    assert_int_equal(live(rules), 0);
    far.slot = 100;
    assert_int_equal(rules_raise(rules, &far, &good, at_s(0), NULL), 0);
    rules_free(rules);
}

static void hostile_texts_are_cut(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    char long_text[1000], long_id[AC_AGENT_ID_MAX + 1];
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = 0;
    memset(long_id, 'i', AC_AGENT_ID_MAX);
    long_id[AC_AGENT_ID_MAX] = 0;
    struct rules_subject subject = {.slot = 1, .agent_id = long_id};
    struct rules_raise raise = {
        .rule = "manual", .resource = AC_CPU, .severity = AC_WARNING, .message = long_text};
    struct ac_alert alert;
    assert_int_equal(rules_raise(rules, &subject, &raise, at_s(0), &alert), 0);
    assert_int_equal(strlen(alert.message), sizeof(alert.message) - 1);
    assert_string_equal(alert.agent_id, long_id);
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.known = AC_KNOWN_DISK_IO;
    usage.disk_io_mbps = 1e300;
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(0)), 1);
    assert_int_equal(strlen(last()->message), sizeof(alert.message) - 1);
    rules_free(rules);
}

static void at_the_cap_alerts_are_counted_once(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.max_alerts = 2;
    struct rules *rules = new_rules(&options);
    struct ac_usage high = cpu(90), low = cpu(1);
    for (uint32_t slot = 1; slot <= 4; slot++) {
        struct rules_subject subject = {.slot = slot, .agent_id = "a"};
        for (int again = 0; again < 3; again++)
            rules_check(rules, &subject, &high, at_s(0));
    }
    assert_int_equal(live(rules), 2);
    assert_int_equal(rules_dropped(rules), 2);
    const struct rules_raise raise = {
        .rule = "manual", .resource = AC_CPU, .severity = AC_WARNING, .message = "x"};
    assert_int_equal(rules_raise(rules, &machine, &raise, at_s(0), NULL), -ENOSPC);
    assert_int_equal(rules_dropped(rules), 3);
    /* As soon as there is room, the crossing that still lasts gets its alert. */
    struct rules_subject first = {.slot = 1, .agent_id = "a"};
    struct rules_subject third = {.slot = 3, .agent_id = "a"};
    assert_int_equal(rules_check(rules, &first, &low, at_s(1)), 1);
    assert_int_equal(rules_check(rules, &third, &high, at_s(1)), 1);
    assert_int_equal(rules_dropped(rules), 3);
    /* One that ended in between counts anew when it comes back. */
    struct rules_subject fourth = {.slot = 4, .agent_id = "a"};
    rules_check(rules, &fourth, &low, at_s(2));
    rules_check(rules, &fourth, &high, at_s(3));
    assert_int_equal(rules_dropped(rules), 4);
    rules_free(rules);
}

static void restored_alerts_live_on(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    check_cpu(rules, 90, 0);
    struct ac_alert open = told[0];
    rules_free(rules);

    rules = default_rules();
    assert_int_equal(rules_restore(rules, 0, &open, at_s(100)), 0);
    assert_int_equal(n_told, 0);
    assert_int_equal(rules_active(rules), 1);
    assert_int_equal(rules_restore(rules, 0, &open, at_s(100)), -EEXIST);
    assert_int_equal(rules_restore(rules, 1, &open, at_s(100)), -EEXIST); /* the id */
    assert_int_equal(check_cpu(rules, 90, 101), 0);
    assert_int_equal(check_cpu(rules, 10, 102), 1);
    assert_string_equal(last()->alert_id, open.alert_id);
    assert_int_equal(last()->started_ns, open.started_ns);
    /* The same seed again: ids go on behind the restored one. */
    check_cpu(rules, 90, 103);
    assert_string_not_equal(last()->alert_id, open.alert_id);
    rules_free(rules);

    rules = default_rules();
    struct ac_alert done = open, acked = open;
    done.state = AC_ALERT_RESOLVED;
    acked.acknowledged = true;
    assert_int_equal(rules_restore(rules, 0, &done, at_s(0)), -EINVAL);
    assert_int_equal(rules_restore(rules, 5, &acked, at_s(0)), 0);
    assert_int_equal(rules_active(rules), 0);
    assert_int_equal(live(rules), 1);
    struct rules_subject subject = {.slot = 5, .agent_id = "a"};
    struct ac_usage usage = cpu(85);
    assert_int_equal(rules_check(rules, &subject, &usage, at_s(1)), 0);
    rules_free(rules);
}

static void ids_of_two_runs_differ(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    struct rules *first = new_rules(&options);
    check_cpu(first, 90, 0);
    char id[40];
    snprintf(id, sizeof(id), "%s", last()->alert_id);
    options.id_seed++;
    struct rules *second = new_rules(&options);
    check_cpu(second, 90, 0);
    assert_string_not_equal(last()->alert_id, id);
    assert_int_equal(strncmp(id, "al-", 3), 0);
    rules_free(first);
    rules_free(second);
    options.id_seed = UINT64_MAX; /* the longest */
    second = new_rules(&options);
    check_cpu(second, 90, 0);
    assert_string_equal(last()->alert_id, "al-3w5e11264sgsf-1");
    rules_free(second);
}

/* Against a plain model of one rule: random values, checks, acknowledgements, over many
 * subjects that come and go. */
struct model {
    bool live, acked;
    enum ac_severity severity;
};

static int model_check(struct model *model, double value)
{
    const double steps[] = {INFINITY, 75, 80, 95};
    enum ac_severity level = AC_INFO;
    for (int s = AC_WARNING; s <= AC_EMERGENCY; s++) {
        double step = model->live && s <= (int)model->severity ? steps[s] - 5 : steps[s];
        if (value >= step)
            level = (enum ac_severity)s;
    }
    bool was = model->live, rises = level > model->severity || !was;
    bool changes = was ? level != model->severity : level != AC_INFO;
    model->live = level != AC_INFO;
    if (changes && rises)
        model->acked = false;
    bool event = changes && (!model->acked || !model->live);
    model->severity = level;
    if (!model->live)
        model->acked = false;
    return event;
}

static void random_walk_against_a_model(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    static struct model models[41];
    memset(models, 0, sizeof(models));
    uint64_t seed = 99;
    for (uint64_t step = 0; step < 100000; step++) {
        uint32_t slot = random_below(&seed, 41);
        char id[16];
        snprintf(id, sizeof(id), "a%u", slot);
        struct rules_subject subject = {.slot = slot, .agent_id = id};
        struct model *model = &models[slot];
        n_told = 0;
        uint32_t action = random_below(&seed, 100);
        if (action == 0) {
            rules_forget(rules, slot, at_s(step));
            assert_int_equal(n_told, model->live);
            *model = (struct model){0};
            continue;
        }
        if (action < 10) {
            const struct ac_alert *alert;
            for (size_t cursor = 0; (alert = rules_next(rules, &cursor));) {
                if (strcmp(alert->agent_id, id) == 0)
                    break;
            }
            assert_int_equal(alert != NULL, model->live);
            if (alert) {
                assert_int_equal(alert->severity, model->severity);
                assert_int_equal(alert->acknowledged, model->acked);
                char alert_id[40];
                snprintf(alert_id, sizeof(alert_id), "%s", alert->alert_id);
                assert_int_equal(
                    rules_acknowledge(rules, alert_id, at_s(step)), model->acked ? -EALREADY : 0);
                model->acked = true;
            }
            continue;
        }
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage.known = AC_KNOWN_MEMORY_PERCENT;
        usage.memory_percent = 60 + random_below(&seed, 400) / 10.0;
        assert_int_equal(rules_check(rules, &subject, &usage, at_s(step)),
            model_check(model, usage.memory_percent));
        uint64_t active = 0;
        for (size_t i = 0; i < ARRAY_SIZE(models); i++)
            active += models[i].live && !models[i].acked;
        assert_int_equal(rules_active(rules), active);
    }
    rules_free(rules);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    const struct rules_raise raise = {
        .rule = "manual", .resource = AC_CPU, .severity = AC_WARNING, .message = "x"};
    struct rules *rules;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = rules_new(&options, &rules);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = rules_raise(rules, &machine, &raise, at_s(0), NULL);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(live(rules), 0);
    }
    rules_free(rules);
    /* A check that finds no memory counts the alert as dropped and makes it up later. */
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        rules = new_rules(&options);
        fault_arm(FAULT_ALLOC, n);
        int events = check_cpu(rules, 90, 0);
        hit = fault_disarm();
        assert_int_equal(events, !hit);
        assert_int_equal(rules_dropped(rules), hit);
        assert_int_equal(check_cpu(rules, 90, 1), hit);
        assert_int_equal(rules_dropped(rules), hit);
        rules_free(rules);
    }
    struct ac_alert alert = told[n_told - 1];
    for (unsigned n = 1;; n++) {
        rules = new_rules(&options);
        fault_arm(FAULT_ALLOC, n);
        int r = rules_restore(rules, 3, &alert, at_s(0));
        hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        assert_int_equal(live(rules), !hit);
        rules_free(rules);
        if (!hit)
            break;
    }
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    struct rules *rules = NULL;
    options.sink = NULL;
    assert_int_equal(rules_new(&options, &rules), -EINVAL);
    options = options_default();
    options.max_alerts = 0;
    assert_int_equal(rules_new(&options, &rules), -EINVAL);
    options = options_default();
    options.limits.max_cpu_percent = NAN;
    assert_int_equal(rules_new(&options, &rules), -EINVAL);
    assert_null(rules);
    rules_free(NULL);
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
        cmocka_unit_test(raised_alerts),
        cmocka_unit_test(held_alerts_end_when_nobody_raises_them),
        cmocka_unit_test(bad_raises_are_refused),
        cmocka_unit_test(hostile_texts_are_cut),
        cmocka_unit_test(at_the_cap_alerts_are_counted_once),
        cmocka_unit_test(restored_alerts_live_on),
        cmocka_unit_test(ids_of_two_runs_differ),
        cmocka_unit_test(random_walk_against_a_model),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests_name("policy/rules", tests, NULL, NULL);
}
