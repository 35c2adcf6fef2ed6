/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

bool stats_take_span(struct net_call *call, struct stats_span *ret_span)
{
    const struct stats_query *query = &call->query.stats;
    int64_t now = call->request->now.wall_ns;
    struct stats_span span = {.since = schema_given(query, STATS_SINCE)
                                           ? query->since_ns
                                           : now - 3600 * (int64_t)NS_PER_SEC,
        .until = schema_given(query, STATS_UNTIL) ? query->until_ns : now};
    if (span.since >= span.until) {
        call_problem(call, 400, "since", "since: is not before until");
        return false;
    }
    *ret_span = span;
    return true;
}

bool stats_stored(struct net_call *call)
{
    if (call->context->history && call->context->store)
        return true;
    call_problem(call, 503, NULL,
        "this daemon keeps no history on disk: give it a directory with 'state' in its "
        "configuration");
    return false;
}

bool stats_named(const struct net_call *call)
{
    const struct stats_query *query = &call->query.stats;
    return query->agents.count > 0 || query->labels.count > 0 ||
           schema_given(query, STATS_PHILOSOPHY);
}

/* ---- Who */

struct stats_agent {
    size_t id, group; /* in the scope's text */
    bool grouped;
    bool here;
    int64_t owner;
};

static bool listed(const struct query_values *lists, const char *subject)
{
    const char *word = *subject ? subject : "system";
    size_t length = strlen(word);
    for (size_t i = 0; i < lists->count; i++) {
        for (const char *c = lists->values[i];; c++) {
            size_t n = strcspn(c, ",");
            if (n == length && memcmp(c, word, n) == 0)
                return true;
            c += n;
            if (*c == 0)
                break;
        }
    }
    return lists->count == 0;
}

static bool wanted(const struct net_call *call, const char *subject)
{
    const struct stats_query *query = &call->query.stats;
    bool filtered = query->labels.count > 0 || schema_given(query, STATS_PHILOSOPHY);
    const struct agent *agent = registry_get(core_registry(call->context->core), subject);
    if (!listed(&query->agents, subject))
        return false;
    if (!agent) /* with filters, what the history keeps of it decides */
        return call->request->peer.privileged && !filtered;
    return call_owns(call, agent) &&
           call_fits(&agent->spec,
               schema_given(query, STATS_PHILOSOPHY) ? &query->philosophy : NULL, &query->labels);
}

static bool about_fits(const struct stats_scope *scope, const struct history_about *about)
{
    if (!scope->filtered)
        return true;
    if (!about->known || (scope->of_philosophy && (unsigned)about->philosophy != scope->philosophy))
        return false;
    for (size_t i = 0; i < scope->labels.size; i += strlen(scope->labels.data + i) + 1) {
        if (!labels_have(about->labels, about->labels_size, scope->labels.data + i))
            return false;
    }
    return true;
}

void stats_scope_done(struct stats_scope *scope)
{
    strmap_free(scope->who);
    buf_done(&scope->agents);
    buf_done(&scope->text);
    buf_done(&scope->labels);
    *scope = (struct stats_scope){0};
}

static struct history_about about_of(const struct agent *agent)
{
    return (struct history_about){.known = true,
        .philosophy = agent->spec.philosophy,
        .labels = agent->spec.labels,
        .labels_size = agent->spec.labels_size,
        .owner = history_owner_of(agent->spec.owner_uid)};
}

/* @here: registered, and let through; else what the history keeps of it decides. */
static void scope_add(struct net_call *call, const char *subject, bool here, stats_group_fn group,
    void *userdata, struct stats_scope *scope)
{
    const struct agent *agent = registry_get(core_registry(call->context->core), subject);
    const struct history_about about =
        agent ? about_of(agent) : (struct history_about){.owner = HISTORY_UNOWNED};
    const char *name = agent && here && group ? group(userdata, &about) : NULL;
    struct stats_agent add = {.id = scope->text.size, .here = here, .owner = about.owner};
    buf_append(&scope->text, subject, strlen(subject) + 1);
    add.group = scope->text.size;
    add.grouped = name;
    name = name ? name : "";
    buf_append(&scope->text, name, strlen(name) + 1);
    buf_append(&scope->agents, &add, sizeof(add));
}

static void scope_add_listed(
    struct net_call *call, stats_group_fn group, void *userdata, struct stats_scope *scope)
{
    const struct query_values *lists = &call->query.stats.agents;
    for (size_t i = 0; i < lists->count; i++) {
        for (const char *list = lists->values[i];; list++) {
            char word[AC_AGENT_ID_MAX + 2];
            size_t n = strcspn(list, ",");
            snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), list);
            if (strcmp(word, "system") == 0)
                word[0] = 0;
            bool known = registry_get(core_registry(call->context->core), word) || *word == 0;
            if (n <= AC_AGENT_ID_MAX)
                scope_add(call, word, known && wanted(call, word), group, userdata, scope);
            list += n;
            if (*list == 0)
                break;
        }
    }
}

static int scope_index(struct stats_scope *scope)
{
    const struct stats_agent *agents = (const void *)scope->agents.data;
    if (scope->text.failed || scope->agents.failed || scope->labels.failed ||
        strmap_new((uint64_t)clock_wall_ns(), &scope->who) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < scope->agents.size / sizeof(*agents); i++) {
        if (strmap_put(scope->who, scope->text.data + agents[i].id, (void *)&agents[i]) < 0)
            return -ENOMEM;
    }
    return 0;
}

int stats_scope_take(
    struct net_call *call, stats_group_fn group, void *userdata, struct stats_scope *ret_scope)
{
    const struct registry *registry = core_registry(call->context->core);
    const struct stats_query *query = &call->query.stats;
    struct stats_scope scope = {.all = call->request->peer.privileged && !stats_named(call),
        .owner = call_whose(call),
        .listed = query->agents.count > 0,
        .of_philosophy = schema_given(query, STATS_PHILOSOPHY),
        .philosophy = query->philosophy};
    const struct agent *agent;
    agent_slot cursor = 0;
    scope.filtered = scope.of_philosophy || query->labels.count > 0;
    for (size_t i = 0; i < query->labels.count; i++)
        buf_append(&scope.labels, query->labels.values[i], strlen(query->labels.values[i]) + 1);
    if (call->query.stats.agents.count > 0) {
        scope_add_listed(call, group, userdata, &scope);
    } else if (!scope.all || group) {
        while ((agent = registry_next(registry, &cursor))) {
            if (wanted(call, agent->spec.id))
                scope_add(call, agent->spec.id, true, group, userdata, &scope);
        }
    }
    int r = scope_index(&scope);
    if (r < 0)
        stats_scope_done(&scope);
    else
        *ret_scope = scope;
    return r;
}

/* The registered agent that a subject is, where it was let through. */
static const struct stats_agent *registered(
    const struct stats_scope *scope, const struct history_subject *subject)
{
    const struct stats_agent *agent = strmap_get(scope->who, subject->name);
    return agent && agent->here && agent->owner == subject->about.owner ? agent : NULL;
}

bool stats_scope_has(const struct stats_scope *scope, const struct history_subject *subject)
{
    if (scope->all || registered(scope, subject))
        return true;
    return *subject->name &&
           (scope->owner == HISTORY_ANYBODY || scope->owner == subject->about.owner) &&
           (!scope->listed || strmap_get(scope->who, subject->name)) &&
           about_fits(scope, &subject->about);
}

const char *stats_scope_group(const struct stats_scope *scope,
    const struct history_subject *subject, stats_group_fn group, void *userdata)
{
    const struct stats_agent *agent = registered(scope, subject);
    if (agent)
        return agent->grouped ? scope->text.data + agent->group : NULL;
    return subject->about.known ? group(userdata, &subject->about) : NULL;
}

void stats_subjects_done(struct stats_subjects *subjects)
{
    mem_free(subjects->list);
    *subjects = (struct stats_subjects){0};
}

int stats_subjects_add(struct stats_subjects *subjects, const char *name, int64_t owner)
{
    if (subjects->count == subjects->room) {
        size_t room = MAX(subjects->room * 2, (size_t)16);
        void *list = mem_resize_array(subjects->list, room, sizeof(*subjects->list));
        if (!list)
            return -ENOMEM;
        subjects->list = list;
        subjects->room = room;
    }
    struct stats_subject *subject = &subjects->list[subjects->count++];
    *subject = (struct stats_subject){.owner = owner};
    memcpy(subject->name, name, strlen(name) + 1);
    return 0;
}

static int too_many(struct net_call *call, const char *field, size_t most)
{
    call_problem(call, 400, field, "%s: more than %zu subjects", field, most);
    return 1;
}

/* Somebody who is asked for by name. What an ordinary user is not the owner of now may have been
 * his before: the history knows. */
static int take_named(
    struct net_call *call, const char *word, size_t most, struct stats_subjects *subjects)
{
    const struct agent *agent = registry_get(core_registry(call->context->core), word);
    if (strcmp(word, "system") == 0)
        word = "";
    else if (!call_agent_id(call, word, "agents"))
        return 1;
    for (size_t i = 0; i < subjects->count; i++) {
        if (strcmp(subjects->list[i].name, word) == 0)
            return 0;
    }
    if (subjects->count == most)
        return too_many(call, "agents", most);
    int r = stats_subjects_add(subjects, word, call_whose(call));
    bool own = *word == 0 || call->request->peer.privileged || (agent && call_owns(call, agent));
    if (r == 0 && !own)
        subjects->list[subjects->count - 1].missing = agent ? 403 : 404;
    return r;
}

static int take_list(
    struct net_call *call, const char *list, size_t most, struct stats_subjects *subjects)
{
    for (;;) {
        char word[AC_AGENT_ID_MAX + 2];
        size_t n = strcspn(list, ",");
        snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), list);
        int r = take_named(call, word, most, subjects);
        if (r != 0 || list[n] == 0)
            return r;
        list += n + 1;
    }
}

static int take_filtered(struct net_call *call, size_t most, struct stats_subjects *subjects)
{
    const struct registry *registry = core_registry(call->context->core);
    const struct agent *agent;
    agent_slot cursor = 0;
    while ((agent = registry_next(registry, &cursor))) {
        if (!wanted(call, agent->spec.id))
            continue;
        if (subjects->count == most)
            return too_many(call, "agents", most);
        int r =
            stats_subjects_add(subjects, agent->spec.id, history_owner_of(agent->spec.owner_uid));
        if (r < 0)
            return r;
    }
    return 0;
}

int stats_subjects_take(struct net_call *call, size_t most, struct stats_subjects *ret_subjects)
{
    const struct query_values *agents = &call->query.stats.agents;
    struct stats_subjects subjects = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < agents->count; i++)
        r = take_list(call, agents->values[i], most, &subjects);
    if (agents->count == 0 && stats_named(call))
        r = take_filtered(call, most, &subjects);
    else if (agents->count == 0)
        r = stats_subjects_add(&subjects, "", call_whose(call));
    if (r != 0)
        stats_subjects_done(&subjects);
    else
        *ret_subjects = subjects;
    return r;
}

struct adding {
    const struct stats_scope *scope;
    struct stats_subjects *subjects;
    size_t most;
    bool full;
    int failure;
};

static int add_gone(void *userdata, const struct history_subject *subject)
{
    struct adding *adding = userdata;
    if (registered(adding->scope, subject) || !stats_scope_has(adding->scope, subject))
        return 0; /* the living are there already */
    adding->full = adding->subjects->count == adding->most;
    if (!adding->full)
        adding->failure = stats_subjects_add(adding->subjects, subject->name, subject->about.owner);
    return adding->full || adding->failure < 0;
}

int stats_missing(struct net_query *query, unsigned missing, const char *name)
{
    return query_problem(query, missing,
        missing == 403 ? "agent %s belongs to another user" : "agent %s is not known", name);
}

/* 0, 1 where the reply is a problem, -errno. */
static int check_named(
    struct net_query *query, const struct stats_subjects *subjects, struct ac_error *error)
{
    for (size_t i = 0; i < subjects->count; i++) {
        const struct stats_subject *subject = &subjects->list[i];
        const struct history_whose whose = {subject->name, subject->owner};
        int r = subject->missing == 0 ? 1 : history_has(query->history, &whose, error);
        if (r == 0)
            stats_missing(query, subject->missing, subject->name);
        if (r != 1)
            return r < 0 ? r : 1;
    }
    return 0;
}

int stats_subjects_complete(struct net_query *query, const struct stats_scope *scope,
    const struct stats_span *span, size_t most, struct stats_subjects *subjects,
    struct ac_error *error)
{
    struct adding adding = {.scope = scope, .subjects = subjects, .most = most};
    int r = check_named(query, subjects, error);
    if (r != 0 || !scope->filtered || scope->listed)
        return r;
    r = history_subjects(query->history, scope->owner, span->since, span->until, UINT32_MAX,
        add_gone, &adding, error);
    if (adding.full) {
        query_problem(query, 400, "more than %zu agents fit: ask for fewer", most);
        return 1;
    }
    return adding.failure < 0 ? adding.failure : MIN(r, 0);
}

/* ---- What an answer is made of */

void stats_write_info(struct json_writer *w, const struct history_info *info)
{
    json_field_double(w, "resolution_seconds", (double)info->resolution_ns / NS_PER_SEC);
    json_field_uint(w, "gaps", info->gaps);
    json_field_double(w, "gap_seconds", (double)info->gap_ns / NS_PER_SEC);
    json_field_uint(w, "damaged", info->damaged);
    json_field_double(w, "error_bound", info->error_bound);
    json_field_bool(w, "limited", info->limited);
}

void stats_write_span(struct json_writer *w, const struct stats_span *span)
{
    json_field_time(w, "since", span->since);
    json_field_time(w, "until", span->until);
}

void stats_info_add(struct history_info *sum, const struct history_info *info)
{
    sum->resolution_ns = MAX(sum->resolution_ns, info->resolution_ns);
    sum->gaps += info->gaps;
    sum->gap_ns += info->gap_ns;
    sum->damaged += info->damaged;
    sum->error_bound = MAX(sum->error_bound, info->error_bound);
    sum->limited |= info->limited;
}

const char *stats_unit(enum ac_resource resource)
{
    static const char *const units[] = {"cores", "MiB", "MiB/s", "MiB/s", "count"};
    return units[resource];
}
