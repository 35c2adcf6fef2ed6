/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor over figures of your own: a provider callback measures, the monitor judges.
 *
 *     cc -o provider provider.c $(pkg-config --cflags --libs agentcore) && ./provider
 */
#include <agentcore.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Memory that grows from 60 % to 99 % and falls again. */
static int measure(void *userdata, struct ac_usage *ret_usage)
{
    int *step = userdata;
    ac_usage_init(ret_usage);
    ret_usage->memory_percent = *step < 14 ? 60 + 3 * *step : 60;
    ret_usage->known = AC_KNOWN_MEMORY_PERCENT;
    ++*step;
    return 0;
}

static void print_alert(void *userdata, const struct ac_alert *alert)
{
    (void)userdata;
    printf("%-8s %-9s %s\n", ac_alert_state_name(alert->state), ac_severity_name(alert->severity),
        alert->message);
}

int main(void)
{
    struct ac_monitor_options options;
    struct ac_monitor *monitor;
    struct ac_usage *usages;
    struct ac_error error = {0};
    int step = 0;

    ac_monitor_options_init(&options);
    options.check_interval_ms = 50;
    if (ac_monitor_new(&options, &monitor, &error) < 0) {
        fprintf(stderr, "provider: %s\n", error.message);
        return 1;
    }
    ac_monitor_on_alert(monitor, print_alert, NULL, NULL, NULL);
    if (ac_monitor_start(monitor, measure, &step, &error) < 0) {
        fprintf(stderr, "provider: %s\n", error.message);
        ac_monitor_free(monitor);
        return 1;
    }
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    ac_monitor_stop(monitor);

    int64_t n = ac_monitor_history(monitor, NULL, 1, &usages);
    if (n > 0) {
        printf("%lld usages kept, the highest alert was about %.0f %%\n", (long long)n,
            options.limits.emergency_memory_percent);
        ac_free(usages);
    }
    ac_monitor_free(monitor);
    return 0;
}
