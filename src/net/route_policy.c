/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/allocations, /v1/pools, /v1/predictions. */
#include "net/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/json_encode.h"

/* ---- Allocations */

static const struct agent *find_agent(const struct net_call *call, const char *id)
{
    return registry_get(core_registry(call->context->core), id);
}

static bool sees_allocation(const struct net_call *call, const struct ac_allocation *allocation)
{
    const struct net_peer *peer = &call->request->peer;
    return peer->privileged ||
           ledger_owner(core_ledger(call->context->core), allocation->allocation_id) == peer->uid;
}

/* What was asked for, filled up with what is known of the agent. */
static void take_request(const struct net_call *call, const struct agent *agent,
    struct agent_spec *ret_spec, enum ac_allocation_policy *ret_policy)
{
    const struct allocation_body *body = &call->body.allocation;
    *ret_spec = agent ? agent->spec : (struct agent_spec){.owner_uid = call_uid(call)};
    snprintf(ret_spec->id, sizeof(ret_spec->id), "%s", body->agent_id);
    if (schema_given(body, ALLOCATION_PHILOSOPHY))
        ret_spec->philosophy = (enum ac_philosophy)body->philosophy;
    if (schema_given(body, ALLOCATION_TEMPLATE))
        snprintf(
            ret_spec->agent_template, sizeof(ret_spec->agent_template), "%s", body->agent_template);
    if (schema_given(body, ALLOCATION_LIMITS))
        ret_spec->limits = (struct agent_limits){.max_cpu_cores = body->limits.max_cpu_cores,
            .max_memory_mb = body->limits.max_memory_mb,
            .max_execution_time_seconds = body->limits.max_execution_time_seconds,
            .max_file_descriptors = body->limits.max_file_descriptors};
    *ret_policy = (enum ac_allocation_policy)body->policy;
    if (!schema_given(body, ALLOCATION_POLICY) && call->context->config)
        *ret_policy = (enum ac_allocation_policy)call->context->config->allocation.policy;
}

int route_allocation_post(struct net_call *call)
{
    static const unsigned statuses[] = {
        [AC_ALLOCATION_GRANTED] = 201, [AC_ALLOCATION_REFUSED] = 409, [AC_ALLOCATION_QUEUED] = 202};
    const struct allocation_body *body = &call->body.allocation;
    struct ac_allocation allocation;
    struct ac_error error = {0};
    struct agent_spec spec;
    enum ac_allocation_policy policy;
    if (!call_agent_id(call, body->agent_id, "agent_id"))
        return 0;
    const struct agent *agent = find_agent(call, body->agent_id);
    if (agent && !call_owns(call, agent))
        return call_problem(
            call, 403, "agent_id", "agent %s belongs to another user", body->agent_id);
    if (!agent && !call->request->peer.privileged)
        return call_problem(call, 403, "agent_id",
            "agent %s is not known: register it first (PUT /v1/agents/%s), so that it is yours",
            body->agent_id, body->agent_id);
    take_request(call, agent, &spec, &policy);
    int r =
        core_allocate(call->context->core, &spec, policy, call->request->now, &allocation, &error);
    if (r < 0)
        return call_error(call, r, &error);
    if (!call_changed(call))
        return 0;
    call->reply->status = statuses[allocation.status];
    encode_allocation(&call->out, &allocation);
    return 0;
}

int route_allocations_list(struct net_call *call)
{
    size_t cursor = 0;
    const struct ac_allocation *allocation;
    json_object_begin(&call->out);
    json_key(&call->out, "allocations");
    json_array_begin(&call->out);
    while ((allocation = ledger_next(core_ledger(call->context->core), &cursor))) {
        if (sees_allocation(call, allocation))
            encode_allocation(&call->out, allocation);
    }
    json_array_end(&call->out);
    json_object_end(&call->out);
    return 0;
}

static const struct ac_allocation *call_allocation(struct net_call *call)
{
    const struct ac_allocation *allocation =
        ledger_get(core_ledger(call->context->core), call->param);
    if (!allocation) {
        call_problem(call, 404, NULL, "there is no allocation %.130s", call->param);
        return NULL;
    }
    if (!sees_allocation(call, allocation)) {
        call_problem(call, 403, NULL, "that allocation is another user's");
        return NULL;
    }
    return allocation;
}

int route_allocation_get(struct net_call *call)
{
    const struct ac_allocation *allocation = call_allocation(call);
    if (allocation)
        encode_allocation(&call->out, allocation);
    return 0;
}

int route_allocation_delete(struct net_call *call)
{
    if (!call_allocation(call))
        return 0;
    int r = core_release(call->context->core, call->param, call->request->now);
    if (r < 0)
        return r;
    if (call_changed(call))
        call->reply->status = 204;
    return 0;
}

/* ---- Pools and predictions */

static bool take_philosophy(struct net_call *call, enum ac_philosophy *ret_philosophy)
{
    if (ac_philosophy_from_name(call->param, ret_philosophy) == 0)
        return true;
    call_problem(call, 404, "philosophy",
        "\"%.40s\" is not one of: react, cot, multi_agent, autonomous", call->param);
    return false;
}

static void answer_pool(struct net_call *call, enum ac_philosophy philosophy)
{
    struct core_pool pool;
    core_pool(call->context->core, philosophy, call->request->now, &pool);
    encode_pool(&call->out, &pool);
}

int route_pools_list(struct net_call *call)
{
    json_object_begin(&call->out);
    json_key(&call->out, "pools");
    json_array_begin(&call->out);
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        answer_pool(call, (enum ac_philosophy)i);
    json_array_end(&call->out);
    json_object_end(&call->out);
    return 0;
}

int route_pool_get(struct net_call *call)
{
    enum ac_philosophy philosophy;
    if (take_philosophy(call, &philosophy))
        answer_pool(call, philosophy);
    return 0;
}

int route_pool_put(struct net_call *call)
{
    enum ac_philosophy philosophy;
    struct ac_error error = {0};
    if (!take_philosophy(call, &philosophy))
        return 0;
    int r = core_scale_record(call->context->core, philosophy, (uint32_t)call->body.pool.scale,
        call->request->now, &error);
    if (r == -EINVAL)
        return call_problem(call, 400, "scale", "%s", error.message);
    if (r < 0)
        return call_error(call, r, &error);
    if (call_changed(call))
        answer_pool(call, philosophy);
    return 0;
}

int route_prediction_get(struct net_call *call)
{
    enum ac_philosophy philosophy;
    struct ac_prediction prediction;
    const char *agent_template = call->query.prediction.agent_template;
    if (!take_philosophy(call, &philosophy))
        return 0;
    core_predict(call->context->core, philosophy, agent_template, call->request->now, &prediction);
    encode_prediction(&call->out, philosophy, agent_template, &prediction);
    return 0;
}
