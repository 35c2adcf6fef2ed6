/* SPDX-License-Identifier: Apache-2.0 */
#include <agentcore.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/agent.h"
#include "model/event.h"

/* Every value has a name of its own, and values past the end have none. */
#define CHECK_NAMES(function, type, count)                                                         \
    do {                                                                                           \
        for (int i_ = 0; i_ < (int)(count); i_++) {                                                \
            assert_string_not_equal(function((type)i_), "unknown");                                \
            for (int k_ = 0; k_ < i_; k_++)                                                        \
                assert_string_not_equal(function((type)i_), function((type)k_));                   \
        }                                                                                          \
        assert_string_equal(function((type)(count)), "unknown");                                   \
        assert_string_equal(function((type)-1), "unknown");                                        \
        assert_string_equal(function((type)0x7fffffff), "unknown");                                \
    } while (0)

/* Names lead back; other words, cases and parts of names lead nowhere and change nothing. */
#define CHECK_REVERSE(from_name, to_name, type, count)                                             \
    do {                                                                                           \
        static const char *const wrong_[] = {"", " ", "unknown", "CPU", "Critical", "re", "0"};    \
        for (int i_ = 0; i_ < (int)(count); i_++) {                                                \
            type value_ = (type)99;                                                                \
            char longer_[64];                                                                      \
            assert_int_equal(from_name(to_name((type)i_), &value_), 0);                            \
            assert_int_equal(value_, i_);                                                          \
            snprintf(longer_, sizeof(longer_), "%s ", to_name((type)i_));                          \
            assert_int_equal(from_name(longer_, &value_), -EINVAL);                                \
        }                                                                                          \
        type kept_ = (type)99;                                                                     \
        for (size_t i_ = 0; i_ < sizeof(wrong_) / sizeof(wrong_[0]); i_++)                         \
            assert_int_equal(from_name(wrong_[i_], &kept_), -EINVAL);                              \
        assert_int_equal(from_name(NULL, &kept_), -EINVAL);                                        \
        assert_int_equal(kept_, 99);                                                               \
    } while (0)

static void every_value_has_a_name(void **state)
{
    (void)state;
    CHECK_NAMES(ac_resource_name, enum ac_resource, AC_RESOURCE_COUNT);
    CHECK_NAMES(ac_severity_name, enum ac_severity, AC_SEVERITY_COUNT);
    CHECK_NAMES(ac_philosophy_name, enum ac_philosophy, AC_PHILOSOPHY_COUNT);
    CHECK_NAMES(ac_alert_state_name, enum ac_alert_state, AC_ALERT_RESOLVED + 1);
    CHECK_NAMES(ac_prediction_basis_name, enum ac_prediction_basis, AC_BASIS_TEMPLATE + 1);
    CHECK_NAMES(ac_allocation_policy_name, enum ac_allocation_policy, AC_POLICY_QUEUE + 1);
    CHECK_NAMES(ac_allocation_status_name, enum ac_allocation_status, AC_ALLOCATION_QUEUED + 1);
    CHECK_NAMES(agent_state_name, enum agent_state, AGENT_STATE_COUNT);
    CHECK_NAMES(event_kind_name, enum event_kind, EVENT_KIND_COUNT);
}

static void names_lead_back_to_values(void **state)
{
    (void)state;
    CHECK_REVERSE(ac_resource_from_name, ac_resource_name, enum ac_resource, AC_RESOURCE_COUNT);
    CHECK_REVERSE(ac_severity_from_name, ac_severity_name, enum ac_severity, AC_SEVERITY_COUNT);
    CHECK_REVERSE(
        ac_philosophy_from_name, ac_philosophy_name, enum ac_philosophy, AC_PHILOSOPHY_COUNT);
    CHECK_REVERSE(ac_allocation_policy_from_name, ac_allocation_policy_name,
        enum ac_allocation_policy, AC_POLICY_QUEUE + 1);
}

/* The words are part of files, URLs and scripts: they never change. */
static void the_words_are_fixed(void **state)
{
    (void)state;
    assert_string_equal(ac_resource_name(AC_CPU), "cpu");
    assert_string_equal(ac_resource_name(AC_MEMORY), "memory");
    assert_string_equal(ac_resource_name(AC_DISK_IO), "disk_io");
    assert_string_equal(ac_resource_name(AC_NETWORK_IO), "network_io");
    assert_string_equal(ac_resource_name(AC_FILE_DESCRIPTORS), "file_descriptors");
    assert_string_equal(ac_severity_name(AC_INFO), "info");
    assert_string_equal(ac_severity_name(AC_WARNING), "warning");
    assert_string_equal(ac_severity_name(AC_CRITICAL), "critical");
    assert_string_equal(ac_severity_name(AC_EMERGENCY), "emergency");
    assert_string_equal(ac_philosophy_name(AC_REACT), "react");
    assert_string_equal(ac_philosophy_name(AC_COT), "cot");
    assert_string_equal(ac_philosophy_name(AC_MULTI_AGENT), "multi_agent");
    assert_string_equal(ac_philosophy_name(AC_AUTONOMOUS), "autonomous");
    assert_string_equal(agent_state_name(AGENT_ORPHANS), "orphans");
    assert_string_equal(event_kind_name(EVENT_AGENT_ORPHANS), "agent_orphans");
    assert_string_equal(event_kind_name(EVENT_CONFIG), "config");
    assert_string_equal(ac_version(), AC_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_has_a_name),
        cmocka_unit_test(names_lead_back_to_values),
        cmocka_unit_test(the_words_are_fixed),
    };
    return cmocka_run_group_tests_name("model/names", tests, NULL, NULL);
}
