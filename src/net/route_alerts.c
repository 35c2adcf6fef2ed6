/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/alerts. */
#include <errno.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "net/json_encode.h"
#include "net/query.h"

#define LIMIT_DEFAULT 1000

static bool sees_alert(const struct net_call *call, const struct ac_alert *alert)
{
    if (call->request->peer.privileged || alert->agent_id[0] == 0)
        return true;
    return rules_owner(core_rules(call->context->core), alert->alert_id) == call->request->peer.uid;
}

static bool alert_fits(const struct alerts_query *query, const struct ac_alert *alert)
{
    if (schema_given(query, ALERTS_SEVERITY) && (unsigned)alert->severity != query->severity)
        return false;
    if (schema_given(query, ALERTS_AGENT)) {
        const char *agent = strcmp(query->agent, "system") == 0 ? "" : query->agent;
        if (strcmp(agent, alert->agent_id) != 0)
            return false;
    }
    if (schema_given(query, ALERTS_BEFORE) && alert->started_ns >= query->before_ns)
        return false;
    return query->state != ALERTS_ACTIVE ||
           (!alert->acknowledged && alert->state == AC_ALERT_FIRING);
}

/* The newest alerts that were found, as copies (the store's live during a callback only): a heap
 * with the oldest of them at its top. */
struct found {
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

/* Those in memory: all that live. */
static int find_live(struct net_call *call, struct found *found)
{
    size_t cursor = 0;
    const struct ac_alert *alert;
    while ((alert = rules_next(core_rules(call->context->core), &cursor))) {
        int r = alert_fits(&call->query.alerts, alert) && sees_alert(call, alert)
                    ? found_add(found, alert)
                    : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static void write_found(struct json_writer *w, struct found *found)
{
    if (found->count > 0)
        qsort(found->alerts, found->count, sizeof(found->alerts[0]), newest_first);
    json_object_begin(w);
    json_key(w, "alerts");
    json_array_begin(w);
    for (size_t i = 0; i < found->count; i++)
        encode_alert(w, &found->alerts[i]);
    json_array_end(w);
    json_object_end(w);
}

/* ---- With those that resolved: on a thread, as all that are kept may have to be looked at */

struct stored_query {
    struct net_query query;
    const struct store *store;
    struct alerts_query wanted;
    struct found found;  /* those that live, as of the request */
    struct strmap *live; /* their ids: one may have resolved meanwhile */
    struct buf live_ids;
    bool everybodys;
    uint32_t uid; /* else whose are seen, beside the machine's */
};

static void stored_done(struct net_query *query)
{
    struct stored_query *stored = (struct stored_query *)query;
    mem_free(stored->found.alerts);
    strmap_free(stored->live);
    buf_done(&stored->live_ids);
}

/* The last that resolved comes first, and none started after it ended: what is left cannot be
 * newer than what was found. */
static int found_stored(void *userdata, const struct ac_alert *alert, uint32_t owner_uid)
{
    struct stored_query *stored = userdata;
    struct found *found = &stored->found;
    if (atomic_load(&stored->query.why))
        return -ECANCELED;
    if (found->count == found->limit && alert->updated_ns < found->alerts[0].started_ns)
        return 1;
    if (alert->state != AC_ALERT_RESOLVED || !alert_fits(&stored->wanted, alert) ||
        (alert->agent_id[0] && !stored->everybodys && owner_uid != stored->uid) ||
        strmap_get(stored->live, alert->alert_id))
        return 0;
    return found_add(found, alert);
}

static int run_stored(struct net_query *query)
{
    struct stored_query *stored = (struct stored_query *)query;
    struct store *reader = NULL;
    struct ac_error error = {0};
    int r = store_open_reader(stored->store, &reader, &error);
    if (r == 0)
        r = store_each_alert(reader, false, 0, UINT32_MAX, found_stored, stored, &error);
    store_close(reader);
    if (r < 0)
        return query_error(query, r, &error);
    write_found(&query->out, &stored->found);
    return 0;
}

static int stored_fill(struct net_call *call, struct stored_query *stored)
{
    int r = find_live(call, &stored->found);
    for (size_t i = 0; i < stored->found.count; i++) {
        const char *id = stored->found.alerts[i].alert_id;
        buf_append(&stored->live_ids, id, strlen(id) + 1);
    }
    if (r == 0)
        r = stored->live_ids.failed ? -ENOMEM
                                    : strmap_new(call->request->now.mono.ns, &stored->live);
    for (size_t i = 0; r == 0 && i < stored->live_ids.size;) {
        char *id = stored->live_ids.data + i;
        r = strmap_put(stored->live, id, id);
        i += strlen(id) + 1;
    }
    return r;
}

static int list_stored(struct net_call *call, size_t limit)
{
    struct stored_query *stored = mem_alloc(sizeof(*stored));
    int r = query_plan(call, stored ? &stored->query : NULL);
    if (r < 0)
        return r;
    stored->query.run = run_stored;
    stored->query.done = stored_done;
    stored->store = call->context->store;
    stored->wanted = call->query.alerts;
    stored->found.limit = limit;
    stored->everybodys = call->request->peer.privileged;
    stored->uid = call->request->peer.uid;
    return stored_fill(call, stored);
}

int route_alerts_list(struct net_call *call)
{
    const struct alerts_query *query = &call->query.alerts;
    size_t limit = schema_given(query, ALERTS_LIMIT) ? query->limit : LIMIT_DEFAULT;
    if (schema_given(query, ALERTS_AGENT) && !call_agent_id(call, query->agent, "agent"))
        return 0;
    if (query->state == ALERTS_ALL && call->context->store)
        return list_stored(call, limit);
    struct found found = {.limit = limit};
    int r = find_live(call, &found);
    if (r == 0)
        write_found(&call->out, &found);
    mem_free(found.alerts);
    return r;
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
