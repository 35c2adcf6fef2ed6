/* SPDX-License-Identifier: Apache-2.0 */
/* The public monitor: a host, and a ticker that calls the provider. */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/export.h"
#include "base/mem.h"
#include "engine/ticker.h"
#include "engine/wrappers.h"

/* The rule of the alert that says the provider fails. */
#define PROVIDER_RULE "provider"

struct ac_monitor {
    struct host *host;
    bool owns_host;
    uint32_t check_interval_ms;
    uint32_t provider_timeout_ms;
    struct ticker_seat seat; /* its lock is taken before the host's */
    uint64_t checks;         /* guarded by the host's lock */
    _Atomic uint64_t provider_failures;
    _Atomic bool provider_failing;
};

EXPORT void ac_monitor_options_init(struct ac_monitor_options *ret_options)
{
    *ret_options = (struct ac_monitor_options){
        .size = sizeof(*ret_options),
        .check_interval_ms = 5000,
        .history_minutes = 1440,
        .history_budget_mb = 64,
        .max_subjects = 100000,
        .max_alerts = 10000,
    };
    ac_limits_init(&ret_options->limits);
}

static int check_u32(
    const char *name, uint32_t value, uint32_t minimum, uint32_t maximum, struct ac_error *error)
{
    if (value >= minimum && value <= maximum)
        return 0;
    return error_set(error, -EINVAL, "%s: %u is outside %u to %u", name, value, minimum, maximum);
}

static int monitor_check_options(const struct ac_monitor_options *options, struct ac_error *error)
{
    if (options->size < sizeof(*options))
        return error_set(error, -EINVAL, "options: not initialised with ac_monitor_options_init");
    int r = ac_limits_validate(&options->limits, error);
    if (r == 0)
        r = check_u32("check_interval_ms", options->check_interval_ms, 10, 86400000, error);
    if (r == 0)
        r = check_u32("provider_timeout_ms", options->provider_timeout_ms, 0, 86400000, error);
    if (r == 0)
        r = check_u32("history_minutes", options->history_minutes, 1, 525600, error);
    if (r == 0)
        r = check_u32("history_budget_mb", options->history_budget_mb, 1, 65536, error);
    if (r == 0)
        r = check_u32("max_subjects", options->max_subjects, 1, 1000000, error);
    if (r == 0)
        r = check_u32("max_alerts", options->max_alerts, 1, 1000000, error);
    return r;
}

int monitor_new_view(
    struct host *host, const struct ac_monitor_options *options, struct ac_monitor **ret_monitor)
{
    struct ac_monitor *monitor = mem_alloc(sizeof(*monitor));
    if (!monitor)
        return -ENOMEM;
    ticker_seat_init(&monitor->seat);
    monitor->host = host;
    monitor->check_interval_ms = options->check_interval_ms;
    monitor->provider_timeout_ms = options->provider_timeout_ms
                                       ? options->provider_timeout_ms
                                       : MAX(options->check_interval_ms, 1000u);
    *ret_monitor = monitor;
    return 0;
}

struct host *monitor_host(struct ac_monitor *monitor)
{
    return monitor->host;
}

int64_t monitor_interval_ns(const struct ac_monitor *monitor)
{
    return (int64_t)(monitor->check_interval_ms * NS_PER_MSEC);
}

EXPORT int ac_monitor_new(const struct ac_monitor_options *options, struct ac_monitor **ret_monitor,
    struct ac_error *error)
{
    struct ac_monitor_options defaults;
    struct core_options core;
    struct host *host;
    ac_monitor_options_init(&defaults);
    options = options ? options : &defaults;
    int r = monitor_check_options(options, error);
    if (r < 0)
        return r;
    core_options_init(&core);
    core.limits = options->limits;
    core.max_agents = options->max_subjects;
    core.max_alerts = options->max_alerts;
    core.recent_ns = options->history_minutes * 60 * NS_PER_SEC;
    core.recent_budget_bytes = (size_t)options->history_budget_mb << 20;
    r = host_new(&core, options->clock, options->clock_userdata, &host);
    if (r < 0)
        return error_errno(error, r, "monitor");
    r = monitor_new_view(host, options, ret_monitor);
    if (r < 0) {
        host_free(host);
        return error_errno(error, r, "monitor");
    }
    (*ret_monitor)->owns_host = true;
    return 0;
}

EXPORT void ac_monitor_free(struct ac_monitor *monitor)
{
    if (!monitor)
        return;
    ac_monitor_stop(monitor);
    if (monitor->owns_host)
        host_free(monitor->host);
    ticker_seat_done(&monitor->seat);
    mem_free(monitor);
}

/* ---- The provider */

static void provider_alert(struct ac_monitor *monitor, const char *reason)
{
    char text[256];
    uint64_t failures = ++monitor->provider_failures;
    monitor->provider_failing = true;
    snprintf(text, sizeof(text),
        "the usage provider failed (%.120s); %llu failures so far; retrying", reason,
        (unsigned long long)failures);
    struct rules_raise raise = {.rule = PROVIDER_RULE,
        .resource = AC_CPU,
        .severity = AC_WARNING,
        .message = text,
        .threshold = NAN,
        .current_value = (double)failures};
    struct moment now = host_now(monitor->host);
    (void)core_raise(host_lock(monitor->host), NULL, &raise, now, NULL);
    host_unlock(monitor->host);
}

static void provider_works(struct ac_monitor *monitor)
{
    if (!monitor->provider_failing)
        return;
    monitor->provider_failing = false;
    struct moment now = host_now(monitor->host);
    (void)core_clear(host_lock(monitor->host), NULL, AC_CPU, PROVIDER_RULE, now);
    host_unlock(monitor->host);
}

EXPORT void ac_monitor_provider_result(struct ac_monitor *monitor, const char *reason)
{
    if (reason)
        provider_alert(monitor, reason);
    else
        provider_works(monitor);
}

static void monitor_commit(void *userdata, int result, const struct ac_usage *usage)
{
    struct ac_monitor *monitor = userdata;
    struct ac_error error;
    if (result == -ETIMEDOUT) {
        provider_alert(monitor, "it did not answer in time");
    } else if (result == -EBUSY) {
        provider_alert(monitor, "too many of its calls hang");
    } else if (result < 0) {
        provider_alert(monitor, strerror(-result));
    } else if (ac_usage_validate(usage, &error) < 0) {
        provider_alert(monitor, error.message);
    } else {
        struct ac_usage stamped = *usage;
        provider_works(monitor);
        (void)ac_monitor_record(monitor, NULL, &stamped);
        (void)ac_monitor_check(monitor, NULL, &stamped);
    }
}

EXPORT int ac_monitor_start(
    struct ac_monitor *monitor, ac_usage_provider provider, void *userdata, struct ac_error *error)
{
    if (!provider)
        return error_set(error, -EINVAL, "provider: missing");
    struct ticker_options options = {
        .measure = provider,
        .measure_userdata = userdata,
        .commit = monitor_commit,
        .commit_userdata = monitor,
        .interval_ms = monitor->check_interval_ms,
        .timeout_ms = monitor->provider_timeout_ms,
    };
    int r = ticker_seat_start(&monitor->seat, &options);
    if (r == -EALREADY)
        return error_set(error, r, "the monitor runs already");
    if (r < 0)
        return error_errno(error, r, "starting the monitor's thread");
    return 0;
}

EXPORT void ac_monitor_stop(struct ac_monitor *monitor)
{
    ticker_seat_stop(&monitor->seat);
}

EXPORT bool ac_monitor_running(const struct ac_monitor *monitor)
{
    return ticker_seat_taken(&((struct ac_monitor *)monitor)->seat);
}

/* ---- Usage, alerts, history */

EXPORT int ac_monitor_on_alert(struct ac_monitor *monitor, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler)
{
    return host_add_handler(monitor->host, handler, userdata, free_userdata, ret_handler);
}

EXPORT int ac_monitor_remove_handler(struct ac_monitor *monitor, uint64_t handler)
{
    return host_remove_handler(monitor->host, handler);
}

EXPORT int ac_monitor_record(
    struct ac_monitor *monitor, const char *subject, const struct ac_usage *usage)
{
    struct moment now = host_now(monitor->host);
    int r = core_record(host_lock(monitor->host), subject, usage, now);
    host_unlock(monitor->host);
    return r;
}

EXPORT int ac_monitor_check(
    struct ac_monitor *monitor, const char *subject, const struct ac_usage *usage)
{
    struct moment now = host_now(monitor->host);
    struct core *core = host_lock(monitor->host);
    monitor->checks++;
    int r = core_check(core, subject, usage, now);
    host_unlock(monitor->host);
    return r;
}

EXPORT int ac_monitor_trigger(struct ac_monitor *monitor, enum ac_resource resource,
    enum ac_severity severity, const char *message, const char *agent_id, double threshold,
    double current_value, struct ac_alert *ret_alert)
{
    if ((unsigned)resource >= AC_RESOURCE_COUNT || (unsigned)severity >= AC_SEVERITY_COUNT ||
        !message || isinf(threshold) || isinf(current_value))
        return -EINVAL;
    struct rules_raise raise = {.rule = "manual",
        .resource = resource,
        .severity = severity,
        .message = message,
        .threshold = threshold,
        .current_value = current_value};
    struct moment now = host_now(monitor->host);
    int r = core_raise(host_lock(monitor->host), agent_id, &raise, now, ret_alert);
    host_unlock(monitor->host);
    return r;
}

static int newest_first(const void *a, const void *b)
{
    const struct ac_alert *left = a, *right = b;
    if (left->started_ns != right->started_ns)
        return left->started_ns < right->started_ns ? 1 : -1;
    return strcmp(right->alert_id, left->alert_id);
}

EXPORT int ac_monitor_alerts(struct ac_monitor *monitor, int severity, struct ac_alert **ret_alerts)
{
    struct rules *rules = core_rules(host_lock(monitor->host));
    struct ac_alert *alerts = mem_alloc_array(rules_active(rules) + 1, sizeof(*alerts));
    const struct ac_alert *alert;
    size_t cursor = 0, n = 0, room = rules_active(rules);
    while (alerts && n < room && (alert = rules_next(rules, &cursor))) {
        if (!alert->acknowledged && (severity < 0 || (int)alert->severity == severity))
            alerts[n++] = *alert;
    }
    host_unlock(monitor->host);
    if (!alerts)
        return -ENOMEM;
    qsort(alerts, n, sizeof(*alerts), newest_first);
    *ret_alerts = alerts;
    return (int)n;
}

EXPORT int ac_monitor_acknowledge(struct ac_monitor *monitor, const char *alert_id)
{
    if (!alert_id)
        return -EINVAL;
    struct moment now = host_now(monitor->host);
    int r = core_acknowledge(host_lock(monitor->host), alert_id, now);
    host_unlock(monitor->host);
    return r;
}

EXPORT int64_t ac_monitor_history(struct ac_monitor *monitor, const char *subject,
    double duration_minutes, struct ac_usage **ret_usages)
{
    if (!(duration_minutes > 0) || isinf(duration_minutes))
        return -EINVAL;
    int64_t now = clock_wall_ns();
    double span = fmin(duration_minutes * 60e9, (double)now);
    int64_t n =
        core_history(host_lock(monitor->host), subject, now - (int64_t)span, INT64_MAX, ret_usages);
    host_unlock(monitor->host);
    return n;
}

EXPORT void ac_monitor_stats(struct ac_monitor *monitor, struct ac_monitor_stats *ret_stats)
{
    struct core *core = host_lock(monitor->host);
    *ret_stats = (struct ac_monitor_stats){
        .checks = monitor->checks,
        .provider_failures = monitor->provider_failures,
        .alerts_dropped = rules_dropped(core_rules(core)),
        .subjects = registry_count(core_registry(core)),
        .events_lost = core_events_lost(core),
    };
    host_unlock(monitor->host);
    ret_stats->provider_hanging = ticker_seat_hanging(&monitor->seat);
}

EXPORT void ac_monitor_limits(struct ac_monitor *monitor, struct ac_limits *ret_limits)
{
    *ret_limits = *rules_limits(core_rules(host_lock(monitor->host)));
    host_unlock(monitor->host);
}

EXPORT int ac_monitor_set_limits(
    struct ac_monitor *monitor, const struct ac_limits *limits, struct ac_error *error)
{
    int r = ac_limits_validate(limits, error);
    if (r < 0)
        return r;
    core_set_limits(host_lock(monitor->host), limits);
    host_unlock(monitor->host);
    return 0;
}

EXPORT void ac_free(void *memory)
{
    mem_free(memory);
}
