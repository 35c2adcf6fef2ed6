/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/alerts. */
#include "net/route.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"

#define LIMIT_DEFAULT 1000
#define STORED_MAX    10000 /* that are looked at */

static bool sees_alert(const struct net_call *call, const struct ac_alert *alert)
{
    if (call->request->peer.privileged || alert->agent_id[0] == 0)
        return true;
    const struct agent *agent = registry_get(core_registry(call->context->core), alert->agent_id);
    return agent && call_owns(call, agent);
}

static bool alert_wanted(const struct net_call *call, const struct ac_alert *alert)
{
    const struct alerts_query *query = &call->query.alerts;
    if (schema_given(query, ALERTS_SEVERITY) && (unsigned)alert->severity != query->severity)
        return false;
    if (schema_given(query, ALERTS_AGENT)) {
        const char *agent = strcmp(query->agent, "system") == 0 ? "" : query->agent;
        if (strcmp(agent, alert->agent_id) != 0)
            return false;
    }
    if (schema_given(query, ALERTS_BEFORE) && alert->started_ns >= query->before_ns)
        return false;
    if (query->state == ALERTS_ACTIVE && (alert->acknowledged || alert->state != AC_ALERT_FIRING))
        return false;
    return sees_alert(call, alert);
}

/* The newest alerts that were found, as copies (the store's live during a callback only): a heap
 * with the oldest of them at its top. */
struct found {
    const struct net_call *call;
    struct ac_alert *alerts;
    size_t count, capacity, limit;
};

static int newest_first(const void *a, const void *b)
{
    const struct ac_alert *one = a, *other = b;
    if (one->started_ns != other->started_ns)
        return one->started_ns < other->started_ns ? 1 : -1;
    return strcmp(one->alert_id, other->alert_id);
}

static void swap_alerts(struct ac_alert *a, struct ac_alert *b)
{
    struct ac_alert kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_up(struct ac_alert *alerts, size_t i)
{
    for (; i > 0 && newest_first(&alerts[i], &alerts[(i - 1) / 2]) > 0; i = (i - 1) / 2)
        swap_alerts(&alerts[i], &alerts[(i - 1) / 2]);
}

static void sift_down(struct ac_alert *alerts, size_t count)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && newest_first(&alerts[child + 1], &alerts[child]) > 0)
            child++;
        if (newest_first(&alerts[i], &alerts[child]) >= 0)
            break;
        swap_alerts(&alerts[i], &alerts[child]);
    }
}

static int found_add(struct found *found, const struct ac_alert *alert)
{
    if (found->count == found->limit) {
        if (newest_first(alert, &found->alerts[0]) < 0) {
            found->alerts[0] = *alert;
            sift_down(found->alerts, found->count);
        }
        return 0;
    }
    if (found->count == found->capacity) {
        size_t capacity = found->capacity ? found->capacity * 2 : 32;
        struct ac_alert *more = mem_resize_array(found->alerts, capacity, sizeof(*more));
        if (!more)
            return -ENOMEM;
        found->alerts = more;
        found->capacity = capacity;
    }
    found->alerts[found->count] = *alert;
    sift_up(found->alerts, found->count++);
    return 0;
}

/* Live alerts come from memory; the store adds those that resolved, the last that did first. None
 * started after it ended: what is left cannot be newer than what was found. */
static int found_stored(void *userdata, const struct ac_alert *alert)
{
    struct found *found = userdata;
    if (found->count == found->limit && alert->updated_ns < found->alerts[0].started_ns)
        return 1;
    if (alert->state != AC_ALERT_RESOLVED || !alert_wanted(found->call, alert))
        return 0;
    return found_add(found, alert);
}

static int find_alerts(struct net_call *call, struct found *found, struct ac_error *error)
{
    size_t cursor = 0;
    const struct ac_alert *alert;
    int r = 0;
    while (r == 0 && (alert = rules_next(core_rules(call->context->core), &cursor))) {
        if (alert_wanted(call, alert))
            r = found_add(found, alert);
    }
    if (r == 0 && call->query.alerts.state == ALERTS_ALL && call->context->store)
        r = store_each_alert(
            call->context->store, false, 0, STORED_MAX, found_stored, found, error);
    if (r >= 0 && found->count > 0)
        qsort(found->alerts, found->count, sizeof(found->alerts[0]), newest_first);
    return r;
}

int route_alerts_list(struct net_call *call)
{
    const struct alerts_query *query = &call->query.alerts;
    struct ac_error error = {0};
    struct found found = {
        .call = call, .limit = schema_given(query, ALERTS_LIMIT) ? query->limit : LIMIT_DEFAULT};
    if (schema_given(query, ALERTS_AGENT) && !call_agent_id(call, query->agent, "agent"))
        return 0;
    int r = find_alerts(call, &found, &error);
    if (r < 0) {
        mem_free(found.alerts);
        return call_error(call, r, &error);
    }
    json_object_begin(&call->out);
    json_key(&call->out, "alerts");
    json_array_begin(&call->out);
    for (size_t i = 0; i < found.count; i++)
        encode_alert(&call->out, &found.alerts[i]);
    json_array_end(&call->out);
    json_object_end(&call->out);
    mem_free(found.alerts);
    return 0;
}

static const struct ac_alert *find_alert(const struct net_call *call)
{
    size_t cursor = 0;
    const struct ac_alert *alert;
    while ((alert = rules_next(core_rules(call->context->core), &cursor))) {
        if (strcmp(alert->alert_id, call->param) == 0)
            return alert;
    }
    return NULL;
}

int route_alert_acknowledge(struct net_call *call)
{
    const struct ac_alert *alert = find_alert(call);
    if (!alert)
        return call_problem(call, 404, NULL, "there is no live alert %.40s", call->param);
    if (!sees_alert(call, alert))
        return call_problem(call, 403, NULL, "alert %.40s is another user's", call->param);
    if (alert->agent_id[0] == 0 && !call->request->peer.privileged)
        return call_problem(call, 403, NULL,
            "only root, the daemon's user and members of the configured group may acknowledge "
            "the machine's alerts");
    int r = core_acknowledge(call->context->core, call->param, call->request->now);
    if (r == -EALREADY)
        return call_problem(call, 409, NULL, "alert %.40s is acknowledged already", call->param);
    if (r < 0)
        return call_error(call, r, NULL);
    if (!call_changed(call))
        return 0;
    alert = find_alert(call);
    if (!alert)
        return -ENOENT;
    encode_alert(&call->out, alert);
    return 0;
}
