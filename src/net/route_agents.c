/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/agents: registering, looking, reporting, stopping, forgetting. */
#include "net/route.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/json_encode.h"
#include "os/procfs.h"
#include "policy/quota.h"

#define MEMBERS_MAX 4096

/* ---- Alerts per agent */

/* An alert may outlive its agent, and another user's agent have the name by then. */
static bool is_active(
    const struct rules *rules, const struct ac_alert *alert, const struct agent *agent)
{
    return alert->state == AC_ALERT_FIRING && !alert->acknowledged &&
           rules_owner(rules, alert->alert_id) == agent->spec.owner_uid;
}

static uint64_t count_alerts(struct core *core, const struct agent *agent)
{
    const struct rules *rules = core_rules(core);
    uint64_t count = 0;
    size_t cursor = 0;
    const struct ac_alert *alert;
    while ((alert = rules_next(rules, &cursor))) {
        if (strcmp(alert->agent_id, agent->spec.id) == 0 && is_active(rules, alert, agent))
            count++;
    }
    return count;
}

/* Counts by slot, in one pass over the alerts. */
static uint32_t *count_all_alerts(struct core *core)
{
    const struct registry *registry = core_registry(core);
    const struct rules *rules = core_rules(core);
    agent_slot cursor = 0, last = 0;
    const struct agent *agent;
    const struct ac_alert *alert;
    size_t at = 0;
    while ((agent = registry_next(registry, &cursor)))
        last = agent->slot;
    uint32_t *counts = mem_alloc_array((size_t)last + 1, sizeof(*counts));
    while (counts && (alert = rules_next(rules, &at))) {
        agent = alert->agent_id[0] ? registry_get(registry, alert->agent_id) : NULL;
        if (agent && agent->slot <= last && is_active(rules, alert, agent))
            counts[agent->slot]++;
    }
    return counts;
}

static void answer_agent(struct net_call *call, const struct agent *agent)
{
    encode_agent(&call->out, agent, count_alerts(call->context->core, agent), NULL);
}

/* ---- Looking */

static bool agent_wanted(const struct net_call *call, const struct agent *agent)
{
    const struct agents_query *query = &call->query.agents;
    if (!call_owns(call, agent))
        return false;
    if (schema_given(query, AGENTS_STATE) && (unsigned)agent->state != query->state)
        return false;
    return call_fits(&agent->spec,
        schema_given(query, AGENTS_PHILOSOPHY) ? &query->philosophy : NULL, &query->labels);
}

int route_agents_list(struct net_call *call)
{
    struct core *core = call->context->core;
    uint32_t *counts cleanup_free = count_all_alerts(core);
    agent_slot cursor = 0;
    const struct agent *agent;
    if (!counts)
        return -ENOMEM;
    json_object_begin(&call->out);
    json_key(&call->out, "agents");
    json_array_begin(&call->out);
    while ((agent = registry_next(core_registry(core), &cursor))) {
        if (agent_wanted(call, agent))
            encode_agent(&call->out, agent, counts[agent->slot], NULL);
    }
    json_array_end(&call->out);
    json_object_end(&call->out);
    return 0;
}

int route_agent_get(struct net_call *call)
{
    struct core *core = call->context->core;
    const struct agent *agent = call_agent(call);
    if (!agent)
        return 0;
    size_t capacity = MIN((size_t)agent->processes + 64, (size_t)MEMBERS_MAX);
    struct proc_record *procs cleanup_free = mem_alloc_array(capacity, sizeof(*procs));
    if (!procs)
        return -ENOMEM;
    size_t count = registry_members(core_registry(core), agent->slot, procs, capacity);
    struct encode_members members = {.procs = procs, .count = MIN(count, capacity)};
    encode_agent(&call->out, agent, count_alerts(core, agent), &members);
    return 0;
}

int route_usage_get(struct net_call *call)
{
    const struct agent *agent = call_agent(call);
    if (agent)
        encode_usage(&call->out, &agent->usage);
    return 0;
}

/* ---- Registering */

static void take_limits(const struct limits_body *body, struct agent_limits *ret_limits)
{
    *ret_limits = (struct agent_limits){.max_cpu_cores = body->max_cpu_cores,
        .max_memory_mb = body->max_memory_mb,
        .max_execution_time_seconds = body->max_execution_time_seconds,
        .max_file_descriptors = body->max_file_descriptors};
}

/* Who asks says that it is the root: the kernel knows which process that is, whatever it calls
 * itself in a pid namespace of its own. What it calls itself must fit, for it may have come through
 * another process (a forwarded socket). Returns its pid here, or 0 with the problem in the reply.
 */
static int32_t own_pid(struct net_call *call)
{
    const struct net_peer *peer = &call->request->peer;
    uint64_t said = call->body.agent.pid;
    int32_t inner;
    bool nested;
    if (said == 0)
        call_problem(call, 400, "pid", "pid: missing: with self it is what you call yourself");
    else if (peer->uid == UINT32_MAX)
        call_problem(call, 400, "self",
            "self: a process becomes an agent over the daemon's unix socket, not over TCP");
    else if (peer->pid == 0)
        call_problem(call, 400, "self",
            "self: the daemon does not see you: it runs in a pid namespace that is not above "
            "yours");
    else if (procfs_inner_pid(call->context->proc_fd, peer->pid, &inner, &nested) < 0)
        call_problem(call, 400, "self", "self: there is no process %d", peer->pid);
    else if ((uint64_t)inner != said)
        call_problem(call, 400, "pid",
            "pid: you call yourself %d, but the connection is process %d's: the socket leads "
            "through another process, or from another machine",
            (int)said, inner);
    else
        return peer->pid;
    return 0;
}

/* What another process attaches, by its number: that must mean the same process to both. */
static int32_t others_pid(struct net_call *call)
{
    const struct net_peer *peer = &call->request->peer;
    int32_t pid = (int32_t)call->body.agent.pid, inner;
    bool nested = peer->uid != UINT32_MAX && peer->pid == 0;
    if (peer->pid > 0)
        (void)procfs_inner_pid(call->context->proc_fd, peer->pid, &inner, &nested);
    if (!nested)
        return pid;
    call_problem(call, 400, "pid",
        "pid: you live in another pid namespace than the daemon, where %d is another process: "
        "attach from there",
        pid);
    return 0;
}

/* The process must exist, be this user's, and not be one of ours. The start time is read before
 * and after the owner, so that both are of one process. */
static bool take_process(struct net_call *call, int32_t pid, struct agent_spec *spec)
{
    int proc_fd = call->context->proc_fd;
    uint64_t before, after;
    uint32_t owner;
    if (pid == 1 || pid == getpid()) {
        call_problem(call, 400, "pid", "pid: %d is not an agent's process", pid);
        return false;
    }
    if (procfs_start_ticks(proc_fd, pid, &before) < 0 || procfs_owner(proc_fd, pid, &owner) < 0 ||
        procfs_start_ticks(proc_fd, pid, &after) < 0 || before != after) {
        call_problem(call, 400, "pid", "pid: there is no process %d", pid);
        return false;
    }
    if (!call->request->peer.privileged && owner != call->request->peer.uid) {
        call_problem(call, 403, "pid", "pid: process %d belongs to another user", pid);
        return false;
    }
    if (geteuid() != 0 && owner != geteuid()) {
        call_problem(call, 403, "pid",
            "pid: process %d belongs to another user, and the daemon is not root", pid);
        return false;
    }
    spec->root_pid = pid;
    spec->root_start_ticks = before;
    spec->announced_itself = pid == call->request->peer.pid;
    spec->owner_uid = call->request->peer.uid == UINT32_MAX ? owner : call->request->peer.uid;
    return true;
}

static bool take_pid(struct net_call *call, struct agent_spec *spec)
{
    const struct agent_body *body = &call->body.agent;
    if (body->pid == 0 && !body->self)
        return true;
    if (call->context->proc_fd < 0) {
        call_problem(call, 400, "pid", "pid: the daemon sees no processes");
        return false;
    }
    int32_t pid = body->self ? own_pid(call) : others_pid(call);
    return pid != 0 && take_process(call, pid, spec);
}

static bool take_labels(struct net_call *call, struct agent_spec *spec)
{
    const char *key;
    json_t *value;
    struct ac_error error = {0};
    if (!call->body.agent.labels)
        return true;
    json_object_foreach((json_t *)call->body.agent.labels, key, value)
    {
        int r = agent_spec_set_label(spec, key, json_string_value(value), &error);
        if (r < 0) {
            call_problem(
                call, 400, "labels", "labels: %s", error.message[0] ? error.message : strerror(-r));
            return false;
        }
    }
    return true;
}

static bool take_spec(struct net_call *call, struct agent_spec *ret_spec)
{
    const struct agent_body *body = &call->body.agent;
    *ret_spec = (struct agent_spec){
        .philosophy = (enum ac_philosophy)body->philosophy, .owner_uid = call_uid(call)};
    if (!call_agent_id(call, call->param, "id"))
        return false;
    snprintf(ret_spec->id, sizeof(ret_spec->id), "%.*s", AC_AGENT_ID_MAX, call->param);
    snprintf(
        ret_spec->agent_template, sizeof(ret_spec->agent_template), "%s", body->agent_template);
    snprintf(ret_spec->command, sizeof(ret_spec->command), "%s", body->command);
    take_limits(&body->limits, &ret_spec->limits);
    return take_pid(call, ret_spec) && take_labels(call, ret_spec);
}

/* A name is taken by whoever has it, also after the agent exited, and by whoever has a reservation
 * for the agent that is to come. */
static bool may_take_name(struct net_call *call)
{
    const struct agent *old = registry_get(core_registry(call->context->core), call->param);
    const struct ledger *ledger = core_ledger(call->context->core);
    const struct net_peer *peer = &call->request->peer;
    bool reserved = !peer->privileged && ledger_get(ledger, call->param) &&
                    ledger_owner(ledger, call->param) != peer->uid;
    if (old && !call_owns(call, old))
        call_problem(call, 403, "id", "agent %s belongs to another user", call->param);
    else if (reserved)
        call_problem(
            call, 409, "id", "another user has reserved resources for agent %s", call->param);
    else
        return true;
    return false;
}

/* An ordinary user may have a quarter of all agents, so that nobody can lock the others out. */
static bool has_room(struct net_call *call)
{
    const struct net_peer *peer = &call->request->peer;
    const struct config *config = call->context->config;
    uint32_t most = config ? quota_of(config->caps.max_agents) : UINT32_MAX, count = 0;
    agent_slot cursor = 0;
    const struct agent *agent;
    if (peer->privileged)
        return true;
    while ((agent = registry_next(core_registry(call->context->core), &cursor)))
        count += agent->spec.owner_uid == peer->uid;
    if (count < most)
        return true;
    call_problem(call, 503, NULL,
        "you have %u agents, a quarter of caps.max_agents: remove some, or have it raised", count);
    return false;
}

/* Hands the new agent to the daemon; what it cannot take over is not added. */
static const struct agent *announce(struct net_call *call, const struct agent *agent)
{
    const struct net_hooks *hooks = &call->context->hooks;
    struct ac_error error = {0};
    int r = hooks->agent_added ? hooks->agent_added(hooks->userdata, agent, &error) : 0;
    if (r < 0) {
        (void)core_agent_remove(call->context->core, call->param, call->request->now);
        (void)call_changed(call);
        call_error(call, r, &error);
        return NULL;
    }
    if (!call_changed(call))
        return NULL;
    return registry_get(core_registry(call->context->core), call->param);
}

/* Whether the agent that has the name ended after the last sample. Then a sample is taken, so
 * that a name is free as soon as its agent is gone. One that is known to have ended, or to have
 * left processes behind, is none: asking again and again costs no samples. */
static bool ended_unseen(struct net_call *call)
{
    const struct net_hooks *hooks = &call->context->hooks;
    const struct agent *old = registry_get(core_registry(call->context->core), call->param);
    uint64_t ticks;
    if (!hooks->sample || !old || old->state != AGENT_RUNNING || old->spec.root_pid == 0 ||
        call->context->proc_fd < 0 ||
        (procfs_start_ticks(call->context->proc_fd, old->spec.root_pid, &ticks) == 0 &&
            ticks == old->spec.root_start_ticks))
        return false;
    hooks->sample(hooks->userdata);
    return true;
}

static int add_or_attach(struct net_call *call, const struct agent_spec *spec,
    const struct agent **ret_agent, struct ac_error *error)
{
    struct core *core = call->context->core;
    return spec->root_pid > 0 ? core_agent_attach(core, spec, call->request->now, ret_agent, error)
                              : core_agent_add(core, spec, call->request->now, ret_agent, error);
}

int route_agent_put(struct net_call *call)
{
    struct agent_spec spec;
    struct ac_error error = {0};
    const struct agent *agent;
    if (!take_spec(call, &spec) || !may_take_name(call) || !has_room(call))
        return 0;
    int r = add_or_attach(call, &spec, &agent, &error);
    if (r == -EEXIST && ended_unseen(call))
        r = add_or_attach(call, &spec, &agent, &error);
    if (r < 0)
        return call_error(call, r, &error);
    agent = announce(call, agent);
    if (!agent)
        return 0;
    call->reply->status = 201;
    answer_agent(call, agent);
    return 0;
}

/* ---- Reporting */

/* Of a pair that says one thing in two units, the missing one follows from the capacity. */
static void fill_pair(struct ac_usage *usage, uint32_t percent_bit, double *percent,
    uint32_t amount_bit, double *amount, double capacity)
{
    uint32_t known = usage->known & (percent_bit | amount_bit);
    if (capacity <= 0)
        return;
    if (known == amount_bit)
        *percent = fmin(*amount / capacity * 100, 100);
    else if (known == percent_bit)
        *amount = *percent * capacity / 100;
    else
        return;
    usage->known |= percent_bit | amount_bit;
}

static void take_usage(const struct net_call *call, struct ac_usage *ret_usage)
{
    const struct usage_body *body = &call->body.usage;
    struct ac_system_metrics system;
    core_system(call->context->core, &system);
    *ret_usage = (struct ac_usage){.cpu_percent = fmin(body->cpu_percent, 100),
        .cpu_cores = body->cpu_cores,
        .memory_mb = body->memory_mb,
        .memory_percent = fmin(body->memory_percent, 100),
        .disk_io_mbps = body->disk_io_mbps,
        .network_io_mbps = body->network_io_mbps,
        .file_descriptors = body->file_descriptors,
        .timestamp_ns = body->timestamp_ns,
        .known = body->given & AC_KNOWN_ALL};
    fill_pair(ret_usage, AC_KNOWN_CPU_PERCENT, &ret_usage->cpu_percent, AC_KNOWN_CPU_CORES,
        &ret_usage->cpu_cores, system.capacity_cores);
    fill_pair(ret_usage, AC_KNOWN_MEMORY_PERCENT, &ret_usage->memory_percent, AC_KNOWN_MEMORY_MB,
        &ret_usage->memory_mb, system.capacity_memory_mb);
}

int route_usage_put(struct net_call *call)
{
    struct core *core = call->context->core;
    struct ac_error error = {0};
    struct ac_usage usage;
    const struct agent *agent;
    if (!call_agent_id(call, call->param, "id") || !may_take_name(call))
        return 0;
    take_usage(call, &usage);
    agent = registry_get(core_registry(core), call->param);
    if (!agent && !has_room(call))
        return 0;
    if (!agent) {
        struct agent_spec spec = {.owner_uid = call_uid(call)};
        snprintf(spec.id, sizeof(spec.id), "%.*s", AC_AGENT_ID_MAX, call->param);
        int r = core_agent_add(core, &spec, call->request->now, &agent, &error);
        if (r < 0)
            return call_error(call, r, &error);
        if (!announce(call, agent))
            return 0;
    }
    int r = core_report(core, call->param, &usage, call->request->now, false, &error);
    if (r < 0)
        return call_error(call, r, &error);
    if (!call_changed(call))
        return 0;
    agent = registry_get(core_registry(core), call->param);
    if (!agent)
        return -ENOENT;
    answer_agent(call, agent);
    return 0;
}

/* ---- Ending */

int route_agent_delete(struct net_call *call)
{
    const struct net_hooks *hooks = &call->context->hooks;
    const struct agent *agent = call_agent(call);
    if (!agent)
        return 0;
    if (hooks->agent_removing)
        hooks->agent_removing(hooks->userdata, agent);
    int r = core_agent_remove(call->context->core, call->param, call->request->now);
    if (r < 0)
        return r;
    if (call_changed(call))
        call->reply->status = 204;
    return 0;
}

int route_agent_stop(struct net_call *call)
{
    const struct net_hooks *hooks = &call->context->hooks;
    const struct stop_body *body = &call->body.stop;
    const struct agent *agent = call_agent(call);
    struct ac_error error = {0};
    uint32_t signalled = 0;
    double grace = schema_given(body, STOP_GRACE) ? body->grace_seconds : 10;
    if (!agent)
        return 0;
    if (agent->processes == 0 && agent->spec.root_pid == 0)
        return call_problem(call, 409, NULL,
            "agent %s only reports its usage: there is no process to stop", agent->spec.id);
    if (agent->state == AGENT_EXITED)
        return call_problem(call, 409, NULL, "agent %s has ended already", agent->spec.id);
    if (!hooks->agent_stop)
        return -EOPNOTSUPP;
    int r = hooks->agent_stop(hooks->userdata, agent, stop_signals[body->signal],
        (uint64_t)(grace * 1e9),
        call->request->peer.privileged ? UINT32_MAX : call->request->peer.uid, &signalled, &error);
    if (r < 0)
        return call_error(call, r, &error);
    if (!call_changed(call))
        return 0;
    call->reply->status = 202;
    json_object_begin(&call->out);
    json_field_uint(&call->out, "signalled", signalled);
    json_object_end(&call->out);
    return 0;
}
