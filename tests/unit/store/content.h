/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store put into it and look for. */
#ifndef AC_TESTS_STORE_CONTENT_H
#define AC_TESTS_STORE_CONTENT_H

#include <math.h>

#include "base/mem.h"
#include "store/store.h"
#include "temporary.h"

#define cleanup_directory CLEANUP(temporary_done)

static inline int try_open(
    const struct temporary *directory, struct store **ret, struct ac_error *error)
{
    const struct store_options options = {.directory = directory->path};
    return store_open(&options, ret, error);
}

static inline struct store *open_good(const struct temporary *directory)
{
    struct store *store = NULL;
    struct ac_error error = {0};
    if (try_open(directory, &store, &error) != 0)
        fail_msg("%s", error.message);
    return store;
}

static inline struct agent_spec make_agent(const char *id)
{
    struct agent_spec spec = {.philosophy = AC_MULTI_AGENT,
        .owner_uid = 4294967295u,
        .root_pid = 4194303,
        .root_start_ticks = UINT64_MAX,
        .limits = {1.5, 512.25, 3600, 1ull << 63}};
    snprintf(spec.id, sizeof(spec.id), "%s", id);
    snprintf(spec.agent_template, sizeof(spec.agent_template), "template \"x\"; '--");
    snprintf(spec.command, sizeof(spec.command), "make -j\xc3\xa9");
    assert_int_equal(agent_spec_set_label(&spec, "team", "core", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "empty", "", NULL), 0);
    return spec;
}

static inline struct moment at(int64_t ns)
{
    return (struct moment){.mono = {3}, .wall_ns = ns, .boot_ns = UINT64_MAX - (uint64_t)ns};
}

struct seen {
    unsigned count;
    unsigned stop_at; /* return 7 at that one */
    struct agent_spec agent;
    struct moment added;
    uint64_t boot_id;
    struct ac_alert alerts[8];
    struct ac_allocation allocation;
    uint32_t owner; /* of the last allocation or alert */
};

static inline int see_agent(
    void *userdata, const struct agent_spec *spec, struct moment added, uint64_t boot_id)
{
    struct seen *seen = userdata;
    seen->agent = *spec;
    seen->added = added;
    seen->boot_id = boot_id;
    return ++seen->count == seen->stop_at ? 7 : 0;
}

static inline struct ac_alert make_alert(int n, enum ac_alert_state alert_state)
{
    struct ac_alert alert = {.resource = AC_DISK_IO,
        .severity = AC_EMERGENCY,
        .state = alert_state,
        .threshold = NAN,
        .current_value = 1e300,
        .started_ns = n,
        .updated_ns = 100 + n,
        .ended_ns = alert_state == AC_ALERT_RESOLVED ? 100 + n : 0};
    snprintf(alert.alert_id, sizeof(alert.alert_id), "alert-%d", n);
    snprintf(alert.rule, sizeof(alert.rule), "cpu_threshold");
    snprintf(alert.message, sizeof(alert.message), "disk at \xf0\x9f\x94\xa5 %d", n);
    return alert;
}

static inline unsigned count_agents(struct store *store)
{
    struct seen seen = {0};
    assert_int_equal(store_each_agent(store, see_agent, &seen, NULL), 0);
    return seen.count;
}

#endif
