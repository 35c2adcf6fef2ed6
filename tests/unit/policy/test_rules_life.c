/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rules.h"

#include "rules_fixture.h"

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

static void held_alerts_outlive_their_subject(void **state)
{
    (void)state;
    struct rules *rules = default_rules();
    struct rules_subject gone = {.slot = 3, .agent_id = "a"}, next = {.slot = 3, .agent_id = "b"};
    struct rules_raise raise = {.rule = "oom_kill",
        .resource = AC_MEMORY,
        .severity = AC_EMERGENCY,
        .message = "killed",
        .threshold = NAN,
        .current_value = NAN,
        .hold_ms = 10000};
    struct rules_raise lasting = raise;
    struct ac_alert alert, other;
    lasting.rule = "execution_time";
    lasting.hold_ms = 0;
    rules_raise(rules, &gone, &raise, at_s(0), &alert);
    rules_raise(rules, &gone, &lasting, at_s(0), NULL);
    n_told = 0;
    rules_forget(rules, 3, at_s(1));
    assert_int_equal(n_told, 1);
    assert_string_equal(last()->rule, "execution_time");
    assert_int_equal(rules_active(rules), 1);
    /* Whoever gets the slot has alerts of its own. */
    rules_raise(rules, &next, &raise, at_s(5), &other);
    assert_string_not_equal(other.alert_id, alert.alert_id);
    assert_int_equal(live(rules), 2);
    rules_forget(rules, 3, at_s(6));
    assert_int_equal(rules_acknowledge(rules, other.alert_id, at_s(7)), 0);
    assert_int_equal(rules_expire(rules, at_s(9)), 0);
    assert_int_equal(rules_expire(rules, at_s(10)), 1);
    assert_string_equal(last()->alert_id, alert.alert_id);
    assert_int_equal(last()->state, AC_ALERT_RESOLVED);
    /* One whose time has run out goes with its subject. */
    rules_raise(rules, &gone, &raise, at_s(11), NULL);
    n_told = 0;
    rules_forget(rules, 3, at_s(21));
    assert_int_equal(n_told, 1);
    assert_int_equal(live(rules), 1);
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

static bool fires(struct rules *rules, uint32_t slot, uint32_t owner)
{
    struct rules_subject subject = {.slot = slot, .agent_id = "a", .owner_uid = owner};
    struct ac_usage high = cpu(90);
    return rules_check(rules, &subject, &high, at_s(0)) > 0;
}

/* One user's agents leave room for those of others and of root, and all agents some for the
 * machine. */
static void owners_have_shares(void **state)
{
    (void)state;
    struct rules_options options = options_default();
    options.max_alerts = 40;
    options.users = (struct quota_users){.several = true, .own_uid = 7};
    struct rules *rules = new_rules(&options);
    uint32_t slot = 1, n;
    for (uint32_t user = 1000; user < 1004; user++) {
        for (n = 0; fires(rules, slot, user); n++)
            slot++;
        assert_int_equal(n, user < 1003 ? 10 : 0); /* of the last quarter they get nothing */
    }
    assert_int_equal(rules_owner(rules, told[10].alert_id), 1001);
    for (n = 0; fires(rules, slot, 0); n++)
        slot++;
    assert_int_equal(n, 8); /* the machine keeps two */
    assert_int_equal(check_cpu(rules, 90, 0), 1);
    /* A place that is given back is its owner's to have. */
    rules_forget(rules, 1, at_s(1));
    assert_false(fires(rules, slot, 1001));
    assert_true(fires(rules, slot, 1000));
    assert_false(fires(rules, slot + 1, 1000));
    rules_free(rules);

    options.max_alerts = 90;
    options.max_subjects = 200;
    rules = new_rules(&options);
    for (slot = 1; fires(rules, slot, 1000);)
        slot++;
    assert_int_equal(slot - 1, 22);
    struct ac_alert alert = told[0];
    for (n = 0; fires(rules, slot, 0); n++)
        slot++;
    assert_int_equal(n, 90 - 22 - 5);
    assert_int_equal(check_cpu(rules, 90, 0), 1);
    rules_free(rules);

    rules = new_rules(&options); /* what was there before a restart counts as well */
    struct rules_subject subject = {.slot = 1, .owner_uid = 1000};
    assert_int_equal(rules_restore(rules, &subject, &alert, at_s(0)), 0);
    for (slot = 2; fires(rules, slot, 1000);)
        slot++;
    assert_int_equal(slot - 1, 22);
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
    assert_int_equal(rules_restore(rules, &machine, &open, at_s(100)), 0);
    assert_int_equal(n_told, 0);
    assert_int_equal(rules_active(rules), 1);
    assert_int_equal(rules_restore(rules, &machine, &open, at_s(100)), -EEXIST);
    assert_int_equal(rules_restore(rules, &(struct rules_subject){.slot = 1}, &open, at_s(100)),
        -EEXIST); /* the id */
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
    assert_int_equal(rules_restore(rules, &machine, &done, at_s(0)), -EINVAL);
    assert_int_equal(rules_restore(rules, &(struct rules_subject){.slot = 5}, &acked, at_s(0)), 0);
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
        int r = rules_restore(rules, &(struct rules_subject){.slot = 3}, &alert, at_s(0));
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
        cmocka_unit_test(raised_alerts),
        cmocka_unit_test(held_alerts_end_when_nobody_raises_them),
        cmocka_unit_test(held_alerts_outlive_their_subject),
        cmocka_unit_test(bad_raises_are_refused),
        cmocka_unit_test(hostile_texts_are_cut),
        cmocka_unit_test(at_the_cap_alerts_are_counted_once),
        cmocka_unit_test(owners_have_shares),
        cmocka_unit_test(restored_alerts_live_on),
        cmocka_unit_test(ids_of_two_runs_differ),
        cmocka_unit_test(random_walk_against_a_model),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests_name("policy/rules_life", tests, NULL, NULL);
}
