/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/system, health, metrics, events. */
#include "net/route.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/parse.h"
#include "model/usage.h"
#include "net/json_encode.h"
#include "net/openmetrics.h"

static void write_daemon(struct json_writer *w, const struct net_daemon_stats *stats)
{
    json_key(w, "tick");
    json_object_begin(w);
    json_field_double(w, "interval_seconds", stats->interval_seconds);
    json_field_uint(w, "count", stats->ticks);
    json_field_uint(w, "missed", stats->ticks_missed);
    json_field_double(w, "last_ms", (double)stats->tick_last_ns / NS_PER_MSEC);
    json_field_double(w, "max_ms", (double)stats->tick_max_ns / NS_PER_MSEC);
    json_object_end(w);
    json_key(w, "daemon");
    json_object_begin(w);
    json_field_uint(w, "pid", (uint64_t)getpid());
    json_field_double(w, "uptime_seconds", (double)stats->uptime_ns / NS_PER_SEC);
    json_field_double(w, "cpu_seconds", (double)stats->cpu_ns / NS_PER_SEC);
    json_field_double(w, "rss_mb", (double)stats->rss_bytes / USAGE_MIB);
    json_object_end(w);
}

static void write_capacity(
    struct net_call *call, struct json_writer *w, const struct ac_system_metrics *system)
{
    double cpu = 0;
    uint64_t memory = 0;
    bool known = system->capacity_cores > 0; /* not before the first sample */
    ledger_available(core_ledger(call->context->core), &cpu, &memory);
    json_key(w, "capacity");
    json_object_begin(w);
    json_field_double_or_null(w, "cpu_cores", known, system->capacity_cores);
    json_field_double_or_null(w, "memory_mb", known, system->capacity_memory_mb);
    json_object_end(w);
    json_key(w, "available");
    json_object_begin(w);
    json_field_double_or_null(w, "cpu_percent", known, cpu);
    json_field_double_or_null(w, "memory_mb", known, (double)memory / USAGE_MIB);
    json_object_end(w);
}

int route_system(struct net_call *call)
{
    struct ac_system_metrics system;
    struct net_daemon_stats stats;
    char host[HOST_NAME_MAX + 1] = "";
    struct json_writer *w = &call->out;
    core_system(call->context->core, &system);
    context_daemon_stats(call->context, &stats);
    (void)gethostname(host, sizeof(host) - 1);
    json_object_begin(w);
    json_field_time(w, "timestamp", system.current_usage.timestamp_ns);
    json_field_text(w, "hostname", host);
    json_field_text(w, "version", AC_VERSION);
    json_key(w, "current_usage");
    encode_usage(w, &system.current_usage);
    json_key(w, "limits");
    encode_limits(w, &system.limits);
    write_capacity(call, w, &system);
    json_field_uint(w, "active_agents", system.active_agents);
    json_field_uint(w, "active_alerts", system.active_alerts);
    json_field_text(w, "collector", stats.collector);
    json_field_text(w, "state", stats.state);
    write_daemon(w, &stats);
    json_object_end(w);
    return 0;
}

static void answer_status(struct net_call *call, const char *status)
{
    json_object_begin(&call->out);
    json_field_text(&call->out, "status", status);
    json_object_end(&call->out);
}

int route_health(struct net_call *call)
{
    answer_status(call, "ok");
    return 0;
}

int route_ready(struct net_call *call)
{
    struct net_daemon_stats stats;
    context_daemon_stats(call->context, &stats);
    call->reply->status = stats.not_ready ? 503 : 200;
    answer_status(call, stats.not_ready ? stats.not_ready : "ok");
    return 0;
}

/* Clients that do not name the OpenMetrics type get the older text, which all of them read. */
int route_metrics(struct net_call *call)
{
    const char *accept = call->request->accept;
    bool open = accept && strcasestr(accept, "application/openmetrics-text");
    call->reply->content_type = open ? OPENMETRICS_TYPE : PROMETHEUS_TYPE;
    return openmetrics_write(call->context, &call->request->peer, open, &call->reply->body);
}

static bool take_kinds(struct net_call *call, uint32_t *ret_kinds)
{
    const struct query_values *kinds = &call->query.events.kinds;
    *ret_kinds = kinds->count == 0 ? UINT32_MAX : 0;
    for (size_t i = 0; i < kinds->count; i++) {
        unsigned kind = 0;
        while (words_kind[kind] && strcmp(words_kind[kind], kinds->values[i]) != 0)
            kind++;
        if (!words_kind[kind]) {
            call_problem(call, 400, "kind",
                "kind: \"%.40s\" is not one of: alert, agent_added, agent_exited, agent_orphans, "
                "agent_removed, allocation, scale, config, lost",
                kinds->values[i]);
            return false;
        }
        *ret_kinds |= 1u << kind;
    }
    return true;
}

int route_events(struct net_call *call)
{
    struct net_reply *reply = call->reply;
    const struct net_request *request = call->request;
    const char *agent = call->query.events.agent, *last = request->last_event_id;
    uint32_t kinds;
    if (!take_kinds(call, &kinds) || (*agent && !call_agent_id(call, agent, "agent")))
        return 0;
    if (last && *last) {
        if (parse_u64(last, strlen(last), &reply->resume) < 0)
            return call_problem(call, 400, NULL, "Last-Event-ID: not a number");
        reply->has_resume = true;
    }
    reply->filter = (struct stream_filter){
        .kinds = kinds, .everything = request->peer.privileged, .uid = request->peer.uid};
    memcpy(reply->filter.agent_id, agent, strlen(agent) + 1);
    reply->content_type = "text/event-stream";
    reply->stream = true;
    return 0;
}
