/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/discovery: a dry run of the rules, beside the loop, as it reads all of /proc. */
#include <errno.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "engine/discovery_dry.h"
#include "net/json_encode.h"
#include "net/query.h"

/* A process of an agent, as of the last sample. */
struct managed {
    int32_t pid;
    uint64_t start_ticks;
    size_t id_at; /* in .ids; SIZE_MAX = not for this user to know */
};

struct discovery_work {
    struct net_query query;
    struct discovery_rule rules[DISCOVERY_RULES_MAX];
    size_t n_rules;
    uint32_t max_agents;
    bool privileged;
    uint32_t uid;
    struct managed *managed;
    size_t n_managed, capacity;
    struct buf ids;
    struct u64map *by_pid;
};

static void work_done(struct net_query *query)
{
    struct discovery_work *work = (struct discovery_work *)query;
    mem_free(work->managed);
    buf_done(&work->ids);
    u64map_free(work->by_pid);
}

/* ---- On the loop's thread */

static int add_members(
    struct net_call *call, const struct agent *agent, struct discovery_work *work)
{
    const struct registry *registry = core_registry(call->context->core);
    size_t n = registry_members(registry, agent->slot, NULL, 0);
    struct proc_record *procs cleanup_free = mem_alloc_array(n + 1, sizeof(*procs));
    if (!procs)
        return -ENOMEM;
    n = MIN(n, registry_members(registry, agent->slot, procs, n));
    size_t need = work->n_managed + n;
    if (need > work->capacity) {
        size_t capacity = MAX(work->capacity * 2, need);
        struct managed *more = mem_resize_array(work->managed, capacity, sizeof(*more));
        if (!more)
            return -ENOMEM;
        work->managed = more;
        work->capacity = capacity;
    }
    size_t id_at = call_owns(call, agent) ? work->ids.size : SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        work->managed[work->n_managed++] =
            (struct managed){procs[i].pid, procs[i].start_ticks, id_at};
    return id_at == SIZE_MAX ? 0
                             : buf_append(&work->ids, agent->spec.id, strlen(agent->spec.id) + 1);
}

static int take_managed(struct net_call *call, struct discovery_work *work)
{
    const struct agent *agent;
    int r = u64map_new(call->request->now.mono.ns, &work->by_pid);
    for (agent_slot at = 0;
         r == 0 && (agent = registry_next(core_registry(call->context->core), &at));)
        r = agent->state == AGENT_EXITED ? 0 : add_members(call, agent, work);
    for (size_t i = 0; r == 0 && i < work->n_managed; i++)
        r = u64map_put(work->by_pid, (uint64_t)work->managed[i].pid, &work->managed[i]);
    return r;
}

/* Returns whether all presets that were asked for are known. */
static bool take_rules(struct net_call *call, struct discovery_work *work)
{
    const struct query_values *presets = &call->query.discovery.presets;
    const struct config *config = call->context->config;
    enum discovery_preset preset;
    work->max_agents = config ? config->discovery.max_agents : DISCOVERY_DRY_MAX;
    for (size_t i = 0; i < presets->count; i++) {
        if (discovery_preset_from_name(presets->values[i], &preset) < 0) {
            call_problem(call, 400, "preset",
                "preset: \"%.40s\" is not one of: docker, podman, kubernetes, systemd-slice, "
                "coding-agents, environment",
                presets->values[i]);
            return false;
        }
        discovery_rule_from_preset(preset, &work->rules[work->n_rules++]);
    }
    if (work->n_rules == 0 && config && config->discovery.n_rules > 0) {
        work->n_rules = config->discovery.n_rules;
        memcpy(work->rules, config->discovery.rules, work->n_rules * sizeof(work->rules[0]));
    }
    bool all = work->n_rules == 0;
    for (unsigned i = 1; all && i < DISCOVERY_PRESET_COUNT; i++)
        discovery_rule_from_preset((enum discovery_preset)i, &work->rules[work->n_rules++]);
    return true;
}

/* ---- On a thread */

static void write_found(
    struct discovery_work *work, const struct discovery_found *found, uint32_t processes)
{
    struct json_writer *w = &work->query.out;
    const struct agent_spec *spec = &found->spec;
    const struct managed *managed = u64map_get(work->by_pid, (uint64_t)spec->root_pid);
    if (managed && managed->start_ticks != spec->root_start_ticks)
        managed = NULL;
    json_object_begin(w);
    json_field_text(w, "id", spec->id);
    json_field_text(w, "rule", found->rule);
    json_field_text(w, "unit", discovery_unit_name(found->unit));
    json_field_int(w, "pid", spec->root_pid);
    json_field_uint(w, "uid", spec->owner_uid);
    json_field_text(w, "philosophy", ac_philosophy_name(spec->philosophy));
    json_field_text(w, "template", *spec->agent_template ? spec->agent_template : NULL);
    json_field_text(w, "command", *spec->command ? spec->command : NULL);
    json_field_text(w, "cgroup", *found->cgroup ? found->cgroup : NULL);
    json_field_uint(w, "processes", processes);
    json_field_bool(w, "managed", managed != NULL);
    json_field_text(w, "agent_id",
        managed && managed->id_at != SIZE_MAX ? work->ids.data + managed->id_at : NULL);
    json_object_end(w);
}

static int run_discovery(struct net_query *query)
{
    struct discovery_work *work = (struct discovery_work *)query;
    struct json_writer *w = &query->out;
    struct discovery_dry *dry;
    struct ac_error error = {0};
    int r = discovery_dry_run(work->rules, work->n_rules, work->max_agents, &dry, &error);
    if (r < 0)
        return query_error(query, r, &error);
    json_object_begin(w);
    json_key(w, "agents");
    json_array_begin(w);
    for (size_t i = 0; i < dry->plan.n_found; i++) {
        const struct discovery_found *found = &dry->plan.found[i];
        if (!found->joins && (work->privileged || found->spec.owner_uid == work->uid))
            write_found(work, found, dry->processes[i]);
    }
    json_array_end(w);
    json_field_uint_or_null(w, "looked_at", work->privileged, dry->plan.looked_at);
    json_field_uint_or_null(w, "environment_unreadable", work->privileged, dry->plan.unreadable);
    json_field_uint_or_null(w, "beyond_caps", work->privileged, dry->plan.capped);
    json_object_end(w);
    discovery_dry_free(dry);
    return 0;
}

int route_discovery(struct net_call *call)
{
    struct discovery_work *work = mem_alloc(sizeof(*work));
    int r = query_plan(call, work ? &work->query : NULL);
    if (r < 0)
        return r;
    work->query.run = run_discovery;
    work->query.done = work_done;
    work->privileged = call->request->peer.privileged;
    work->uid = call->request->peer.uid;
    if (take_rules(call, work))
        return take_managed(call, work);
    query_free(TAKE_PTR(call->reply->query));
    return 0;
}
