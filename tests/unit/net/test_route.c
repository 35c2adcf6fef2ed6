/* SPDX-License-Identifier: Apache-2.0 */
#include "net/route.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net_fixture.h"

/* ---- Answers hold what their schemas say: no more, no less */

static bool type_fits(const struct schema_field *field, const json_t *value)
{
    if (json_is_null(value))
        return field->flags & FIELD_NULLABLE;
    switch (field->kind) {
    case FIELD_NUMBER:
        return json_is_number(value) && json_number_value(value) >= 0;
    case FIELD_INTEGER:
        return json_is_integer(value);
    case FIELD_BOOLEAN:
        return json_is_boolean(value);
    case FIELD_LIST:
        return json_is_array(value);
    case FIELD_OBJECT:
    case FIELD_MAP:
        return json_is_object(value);
    default:
        return json_is_string(value);
    }
}

static void check_object(const struct schema *schema, const json_t *json);

static void check_field(const struct schema_field *field, const json_t *value)
{
    int64_t time;
    if (!type_fits(field, value))
        print_message("%s has the wrong type\n", field->name);
    assert_true(type_fits(field, value));
    if (json_is_null(value))
        return;
    if (field->kind == FIELD_TIME)
        assert_int_equal(time_parse(json_string_value(value), &time), 0);
    if (field->kind == FIELD_WORD) {
        unsigned i = 0;
        while (field->words[i] && strcmp(field->words[i], json_string_value(value)) != 0)
            i++;
        assert_non_null(field->words[i]);
    }
    if (field->kind == FIELD_OBJECT)
        check_object(field->object, value);
    for (size_t i = 0; field->kind == FIELD_LIST && i < json_array_size(value); i++)
        check_object(field->object, json_array_get(value, i));
}

static void check_object(const struct schema *schema, const json_t *json)
{
    size_t found = 0;
    assert_true(json_is_object(json));
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct schema_field *field = &schema->fields[i];
        const json_t *value = json_object_get(json, field->name);
        if (!value && (field->flags & FIELD_REQUIRED))
            print_message("%s: %s is missing\n", schema->name, field->name);
        assert_true(value || !(field->flags & FIELD_REQUIRED));
        if (!value)
            continue;
        check_field(field, value);
        found++;
    }
    if (json_object_size(json) != found)
        print_message("%s: %s\n", schema->name, json_dumps(json, 0));
    assert_int_equal(json_object_size(json), found);
}

static json_t *call_checked(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status, const struct schema *schema)
{
    json_t *json = fixture_call(fixture, method, target, body, status);
    assert_non_null(json);
    check_object(schema, json);
    return json;
}

static void check_answer(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status, const struct schema *schema)
{
    json_decref(call_checked(fixture, method, target, body, status, schema));
}

/* A process of ours to be metered. */
static pid_t child_start(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;)
            pause();
    }
    return pid;
}

static void child_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_every_answer(void **state)
{
    struct fixture *f = *state;
    char body[128], target[128];
    pid_t pid = child_start();
    struct proc_record *proc = fixture_proc(f, pid, 1);
    snprintf(body, sizeof(body),
        "{\"pid\":%d,\"labels\":{\"team\":\"a\",\"x\":\"\"},\"command\":\"make\","
        "\"limits\":{\"max_memory_mb\":50}}",
        pid);
    check_answer(f, "PUT", "/v1/agents/metered", body, 201, &schema_agent);
    const struct agent *agent = registry_get(core_registry(f->core), "metered");
    proc->start_ticks = agent->spec.root_start_ticks;
    fixture_tick(f);
    fixture_tick(f); /* 100 MiB of 50: an alert */
    check_answer(f, "PUT", "/v1/agents/reported/usage",
        "{\"cpu_percent\":90,\"memory_mb\":10,\"file_descriptors\":3}", 200, &schema_agent);
    check_answer(f, "GET", "/v1/agents", NULL, 200, &schema_agents);
    json_t *json = call_checked(f, "GET", "/v1/agents/metered", NULL, 200, &schema_agent_detail);
    assert_int_equal(json_array_size(json_object_get(json, "members")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "active_alerts")), 1);
    assert_string_equal(json_string_value(json_object_get(json, "source")), "measured");
    json_decref(json);
    check_answer(f, "GET", "/v1/agents/reported", NULL, 200, &schema_agent_detail);
    check_answer(f, "GET", "/v1/agents/metered/usage", NULL, 200, &schema_usage);
    check_answer(f, "GET", "/v1/agents/reported/history", NULL, 200, &schema_history);
    check_answer(f, "GET", "/v1/system/history?step=10s", NULL, 200, &schema_history);
    check_answer(f, "GET", "/v1/system", NULL, 200, &schema_system);
    check_answer(f, "GET", "/v1/discovery", NULL, 200, &schema_discovery);
    check_answer(
        f, "GET", "/v1/discovery?preset=docker&preset=environment", NULL, 200, &schema_discovery);
    json = call_checked(f, "GET", "/v1/alerts", NULL, 200, &schema_alerts);
    assert_true(json_array_size(json_object_get(json, "alerts")) >= 2);
    json_t *alert = json_array_get(json_object_get(json, "alerts"), 0);
    snprintf(target, sizeof(target), "/v1/alerts/%s/acknowledge",
        json_string_value(json_object_get(alert, "id")));
    json_decref(json);
    check_answer(f, "POST", target, NULL, 200, &schema_alert);
    check_answer(f, "POST", target, NULL, 409, &schema_problem);
    check_answer(
        f, "POST", "/v1/allocations", "{\"agent_id\":\"reported\"}", 201, &schema_allocation);
    check_answer(f, "GET", "/v1/allocations", NULL, 200, &schema_allocations);
    check_answer(f, "GET", "/v1/allocations/reported", NULL, 200, &schema_allocation);
    check_answer(f, "GET", "/v1/pools", NULL, 200, &schema_pools);
    check_answer(f, "GET", "/v1/pools/react", NULL, 200, &schema_pool);
    json = call_checked(f, "PUT", "/v1/pools/react", "{\"scale\":3}", 200, &schema_pool);
    assert_int_equal(json_integer_value(json_object_get(json, "scale")), 3);
    assert_true(json_number_value(json_object_get(json, "cooldown_seconds")) > 0);
    json_decref(json);
    check_answer(f, "GET", "/v1/predictions/cot?template=t", NULL, 200, &schema_prediction);
    check_answer(f, "POST", "/v1/agents/metered/stop", "{\"signal\":\"INT\",\"grace_seconds\":2.5}",
        202, &schema_stopped);
    assert_int_equal(f->last_signal, SIGINT);
    assert_int_equal(f->last_grace_ns, 2500000000);
    check_answer(f, "GET", "/healthz", NULL, 200, &schema_health);
    check_answer(f, "GET", "/readyz", NULL, 200, &schema_health);
    f->daemon.not_ready = "no sample yet";
    check_answer(f, "GET", "/readyz", NULL, 503, &schema_health);
    assert_null(fixture_call(f, "DELETE", "/v1/allocations/reported", NULL, 204));
    assert_null(fixture_call(f, "DELETE", "/v1/agents/metered", NULL, 204));
    assert_int_equal(f->removing, 1);
    check_answer(f, "GET", "/v1/agents/metered", NULL, 404, &schema_problem);
    child_end(pid);
}

/* Before the first sample nothing is known, and nothing says 0. */
static void test_before_first_sample(void **state)
{
    struct fixture *f = *state;
    struct core *ticked = f->core, *fresh;
    struct core_options options;
    core_options_init(&options);
    assert_int_equal(core_new(&options, &fresh), 0);
    f->core = f->context.core = fresh;
    json_t *json = call_checked(f, "GET", "/v1/system", NULL, 200, &schema_system);
    json_t *capacity = json_object_get(json, "capacity");
    assert_true(json_is_null(json_object_get(capacity, "cpu_cores")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "available"), "memory_mb")));
    assert_true(
        json_is_null(json_object_get(json_object_get(json, "current_usage"), "cpu_percent")));
    json_decref(json);
    f->core = f->context.core = ticked;
    core_free(fresh);
}

/* ---- Finding a route */

static void test_routing(void **state)
{
    static const struct {
        const char *method, *target;
        unsigned status;
    } cases[] = {
        {"GET", "/", 404},
        {"GET", "", 404},
        {"GET", "*", 404},
        {"GET", "/v1", 404},
        {"GET", "/v1/system/", 404},
        {"GET", "//v1/system", 404},
        {"GET", "/v1//system", 404},
        {"GET", "/V1/system", 404},
        {"GET", "/v1/system", 200},
        {"HEAD", "/v1/system", 200},
        {"GET", "/v1/system?", 200},
        {"GET", "/v1/system?&&", 200},
        {"GET", "/v1/system?a=b", 400},
        {"GET", "/v1/agents/", 404},
        {"GET", "/v1/agents/%61", 404},       /* decoded: agent "a", which is not there */
        {"GET", "/v1/agents/a%2Fusage", 400}, /* an id with a slash, not another path */
        {"GET", "/v1/agents/a%00b", 400},
        {"GET", "/v1/agents/a%", 400},
        {"GET", "/v1/agents/a%4", 400},
        {"GET", "/v1/agents/a%zz", 400},
        {"GET", "/v1/agents/..", 400},
        {"GET", "/v1/agents/a/b/usage", 404},
        {"GET", "/v1/agents?state=%67one", 400},
        {"GET", "/v1/agents?state=%00", 400},
        {"GET", "/v1/agents?state=running&state=running", 400},
        {"GET", "/v1/agents?a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1&j=1&k=1&l=1&m=1&n=1&o=1&p=1&q=1",
            400},
        {"POST", "/v1/system", 405},
        {"DELETE", "/healthz", 405},
        {"get", "/v1/system", 405},
        {"PATCH", "/v1/agents/a", 405},
        {"TRACE", "/nowhere", 404},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        json_decref(fixture_call(f, cases[i].method, cases[i].target, NULL, cases[i].status));
}

static void test_long_target(void **state)
{
    static char target[8192];
    struct fixture *f = *state;
    memset(target, 'a', sizeof(target) - 1);
    memcpy(target, "/v1/agents/", 11);
    for (size_t length = 120; length < sizeof(target); length += 1) {
        char cut = target[length];
        target[length] = 0;
        unsigned status = length <= 11 + 128 ? 404 : length <= 4096 ? 400 : 414;
        json_decref(fixture_call(f, "GET", target, NULL, status));
        target[length] = cut;
        length += length > 300 ? 997 : 0;
    }
    /* A query that is all name, and one that is all value. */
    memset(target, 'a', sizeof(target) - 1);
    memcpy(target, "/v1/agents?", 11);
    target[4096] = 0;
    json_decref(fixture_call(f, "GET", target, NULL, 400));
    memcpy(target, "/v1/agents?label=", 17);
    json_decref(fixture_call(f, "GET", target, NULL, 200));
}

static void test_allow(void **state)
{
    struct fixture *f = *state;
    struct net_reply reply;
    struct net_request request = f->request;
    request.method = "POST";
    request.target = "/v1/agents/a";
    reply_init(&reply);
    net_dispatch(&f->context, &request, &reply);
    assert_int_equal(reply.status, 405);
    assert_string_equal(reply.allow, "PUT, GET, HEAD, DELETE");
    assert_string_equal(reply.content_type, "application/problem+json");
    reply_done(&reply);
}

/* ---- Bad input changes nothing */

static void test_bad_bodies(void **state)
{
    static const struct {
        const char *method, *target, *body, *detail, *field;
    } cases[] = {
        {"PUT", "/v1/agents/a", "{", "not JSON", NULL},
        {"PUT", "/v1/agents/a", "[]", "not a JSON object", NULL},
        {"PUT", "/v1/agents/a", "{\"pid\":4194304}", "there is no process", "pid"},
        {"PUT", "/v1/agents/a", "{\"pid\":1}", "is not an agent's process", "pid"},
        {"PUT", "/v1/agents/a", "{\"limits\":{\"max_cpu_cores\":-1}}", "-1 is below 0",
            "limits.max_cpu_cores"},
        {"PUT", "/v1/agents/a", "{\"labels\":{\"1a\":\"x\"}}", "labels", "labels"},
        {"PUT", "/v1/agents/a b", "{}", "letters, digits", "id"},
        {"PUT", "/v1/agents/a%0Ab", "{}", "letters, digits", "id"},
        {"PUT", "/v1/agents/a/usage", "{\"cpu_percent\":NaN}", "not JSON", NULL},
        {"PUT", "/v1/agents/a/usage", "{\"cpu_percent\":1e999}", "not JSON", NULL},
        {"PUT", "/v1/agents/a/usage", "{\"memory_mb\":-1}", "-1 is below 0", "memory_mb"},
        {"PUT", "/v1/agents/a/usage", "{\"cpu\":1}", "no such field", "cpu"},
        {"POST", "/v1/allocations", "", "missing", "agent_id"},
        {"POST", "/v1/allocations", "{\"agent_id\":\"a b\"}", "letters, digits", "agent_id"},
        {"POST", "/v1/allocations", "{\"agent_id\":\"\"}", "letters, digits", "agent_id"},
        {"PUT", "/v1/pools/react", "{}", "missing", "scale"},
        {"POST", "/v1/alerts/x/acknowledge", "{}", "takes no body", NULL},
        {"GET", "/v1/system", "{}", "takes no body", NULL},
        {"GET", "/v1/system/history?since=10&until=5", NULL, "is not before until", "since"},
        {"GET", "/v1/system/history?limit=0", NULL, "0 is below 1", "limit"},
        {"GET", "/v1/system/history?limit=100001", NULL, "above", "limit"},
        {"GET", "/v1/system/history?step=-1s", NULL, "not a duration", "step"},
        {"GET", "/v1/alerts?agent=a%20b", NULL, "letters, digits", "agent"},
        {"GET", "/v1/alerts?state=old", NULL, "not one of: active, live, all", "state"},
        {"GET", "/v1/discovery?preset=docker&preset=x", NULL, "not one of: docker", "preset"},
        {"GET", "/v1/events?kind=alert&kind=alarm", NULL, "\"alarm\" is not one of", "kind"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        fixture_expect(f, cases[i].method, cases[i].target, cases[i].body, 400, cases[i].detail,
            cases[i].field);
    assert_int_equal(registry_count(core_registry(f->core)), 0);
    assert_int_equal(f->changed, 0);
    assert_int_equal(f->added, 0);
    f->request.content_type = "text/plain";
    fixture_expect(f, "PUT", "/v1/agents/a", "{}", 415, "application/json", NULL);
    f->request.content_type = "application/jsonp";
    fixture_expect(f, "PUT", "/v1/agents/a", "{}", 415, "application/json", NULL);
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", NULL, 201)); /* no body, no type */
}

static void test_missing(void **state)
{
    static const struct {
        const char *method, *target, *body;
    } cases[] = {{"GET", "/v1/agents/a", NULL}, {"DELETE", "/v1/agents/a", NULL},
        {"POST", "/v1/agents/a/stop", "{}"}, {"GET", "/v1/agents/a/usage", NULL},
        {"GET", "/v1/agents/a/history", NULL}, {"GET", "/v1/allocations/a", NULL},
        {"DELETE", "/v1/allocations/a", NULL}, {"POST", "/v1/alerts/a/acknowledge", NULL},
        {"GET", "/v1/pools/swarm", NULL}, {"PUT", "/v1/pools/swarm", "{\"scale\":2}"},
        {"GET", "/v1/predictions/swarm", NULL}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        json_decref(fixture_call(*state, cases[i].method, cases[i].target, cases[i].body, 404));
}

static void test_conflicts(void **state)
{
    struct fixture *f = *state;
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", "{\"philosophy\":\"cot\"}", 201));
    fixture_expect(f, "PUT", "/v1/agents/a", "{}", 409, "exists", NULL);
    fixture_expect(f, "POST", "/v1/agents/a/stop", NULL, 409, "only reports", NULL);
    /* A reported agent gets its processes later; then it has some. */
    char body[64];
    pid_t pid = child_start();
    snprintf(body, sizeof(body), "{\"pid\":%d}", pid);
    json_t *json = fixture_call(f, "PUT", "/v1/agents/a", body, 201);
    assert_int_equal(json_integer_value(json_object_get(json, "pid")), pid);
    json_decref(json);
    fixture_expect(f, "PUT", "/v1/agents/a", body, 409, "exists", NULL);
    child_end(pid);
}

static void hook_sample(void *userdata)
{
    struct fixture *f = userdata;
    f->sampled++;
    fixture_tick(f);
}

/* Only a first end is worth a sample, however often somebody asks for the name. */
static void test_name_of_an_agent_that_left_processes_behind(void **state)
{
    struct fixture *f = *state;
    char body[64];
    pid_t pid = child_start();
    f->context.hooks.sample = hook_sample;
    snprintf(body, sizeof(body), "{\"pid\":%d}", pid);
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", body, 201));
    const struct agent *agent = registry_get(core_registry(f->core), "a");
    struct proc_record *root = fixture_proc(f, pid, 1);
    root->start_ticks = agent->spec.root_start_ticks;
    fixture_proc(f, 4000000, pid)->start_ticks = root->start_ticks;
    fixture_tick(f);
    assert_int_equal(agent->processes, 2);
    fixture_expect(f, "PUT", "/v1/agents/a", "{}", 409, "exists", NULL);
    assert_int_equal(f->sampled, 0);
    child_end(pid);
    f->procs[0] = f->procs[1];
    f->procs[0].ppid = 1;
    f->sample.n_procs = 1;
    for (int i = 0; i < 5; i++)
        fixture_expect(f, "PUT", "/v1/agents/a", "{}", 409, "exists", NULL);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    assert_int_equal(f->sampled, 1);
}

static void test_agents_at_cap(void **state)
{
    struct fixture *f = *state;
    char target[64];
    for (int i = 0; i < 50; i++) {
        snprintf(target, sizeof(target), "/v1/agents/a%d", i);
        json_decref(fixture_call(f, "PUT", target, NULL, 201));
    }
    fixture_expect(f, "PUT", "/v1/agents/more", NULL, 503, "caps.max_agents", NULL);
    fixture_expect(f, "PUT", "/v1/agents/more/usage", "{}", 503, "caps.max_agents", NULL);
    assert_int_equal(registry_count(core_registry(f->core)), 50);
}

/* What the daemon cannot take over or keep is said so. */
static void test_hooks_fail(void **state)
{
    struct fixture *f = *state;
    f->added_result = -EIO;
    fixture_expect(f, "PUT", "/v1/agents/a", NULL, 500, "the collector said no", NULL);
    fixture_expect(f, "PUT", "/v1/agents/a/usage", "{}", 500, "the collector said no", NULL);
    assert_int_equal(registry_count(core_registry(f->core)), 0);
    f->added_result = 0;
    f->changed_result = -ENOSPC;
    fixture_expect(f, "PUT", "/v1/agents/a", NULL, 503, "disk full", NULL);
    fixture_expect(f, "PUT", "/v1/pools/react", "{\"scale\":2}", 503, "disk full", NULL);
    fixture_expect(f, "POST", "/v1/allocations", "{\"agent_id\":\"a\"}", 503, "disk full", NULL);
    fixture_expect(f, "DELETE", "/v1/agents/a", NULL, 503, "disk full", NULL);
}

/* ---- Filters and queries */

static size_t count_agents(struct fixture *fixture, const char *target)
{
    json_t *json = fixture_call(fixture, "GET", target, NULL, 200);
    size_t n = json_array_size(json_object_get(json, "agents"));
    json_decref(json);
    return n;
}

static void test_agent_filters(void **state)
{
    struct fixture *f = *state;
    json_decref(fixture_call(f, "PUT", "/v1/agents/a",
        "{\"philosophy\":\"cot\",\"labels\":{\"k\":\"v\",\"empty\":\"\"}}", 201));
    json_decref(fixture_call(f, "PUT", "/v1/agents/b", "{\"labels\":{\"k\":\"w=x\"}}", 201));
    assert_int_equal(count_agents(f, "/v1/agents"), 2);
    assert_int_equal(count_agents(f, "/v1/agents?philosophy=cot"), 1);
    assert_int_equal(count_agents(f, "/v1/agents?state=exited"), 0);
    assert_int_equal(count_agents(f, "/v1/agents?state=running"), 2);
    assert_int_equal(count_agents(f, "/v1/agents?label=k"), 2);
    assert_int_equal(count_agents(f, "/v1/agents?label=k=v"), 1);
    assert_int_equal(count_agents(f, "/v1/agents?label=k%3Dw%3Dx"), 1);
    assert_int_equal(count_agents(f, "/v1/agents?label=k=v&label=empty="), 1);
    assert_int_equal(count_agents(f, "/v1/agents?label=k=v&label=other"), 0);
    assert_int_equal(count_agents(f, "/v1/agents?label=empty=x"), 0);
}

static void test_usage_units(void **state)
{
    struct fixture *f = *state;
    json_t *json = fixture_call(f, "PUT", "/v1/agents/a/usage",
        "{\"cpu_cores\":2,\"memory_percent\":25,\"disk_io_mbps\":null,"
        "\"timestamp\":\"2023-11-14T22:13:20.250Z\"}",
        200);
    json_t *usage = json_object_get(json, "usage");
    assert_true(json_number_value(json_object_get(usage, "cpu_percent")) == 50);
    assert_true(json_number_value(json_object_get(usage, "memory_mb")) == 2048);
    assert_true(json_is_null(json_object_get(usage, "disk_io_mbps")));
    assert_true(json_is_null(json_object_get(usage, "file_descriptors")));
    assert_string_equal(
        json_string_value(json_object_get(usage, "timestamp")), "2023-11-14T22:13:20.250Z");
    assert_string_equal(json_string_value(json_object_get(json, "source")), "reported");
    assert_true(json_is_null(json_object_get(json, "processes")));
    json_decref(json);
}

static void test_history_steps(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 120; i++)
        fixture_tick(f);
    json_t *json = fixture_call(f, "GET", "/v1/system/history", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "points")), 121);
    assert_true(json_number_value(json_object_get(json, "step_seconds")) == 0);
    json_decref(json);
    json = fixture_call(f, "GET", "/v1/system/history?step=1m&since=2m", NULL, 200);
    json_t *points = json_object_get(json, "points");
    assert_int_equal(json_array_size(points), 3); /* the first and the last are cut */
    json_t *second = json_array_get(points, 1);
    assert_int_equal(json_integer_value(json_object_get(second, "samples")), 60);
    assert_string_equal(
        json_string_value(json_object_get(second, "time")), "2023-11-14T22:14:00.000Z");
    double disk =
        json_number_value(json_object_get(json_object_get(second, "mean"), "disk_io_mbps"));
    assert_true(disk > 0.99 && disk < 1.01);
    json_decref(json);
    /* More samples than points: the step grows. */
    json = fixture_call(f, "GET", "/v1/system/history?limit=10", NULL, 200);
    assert_true(json_array_size(json_object_get(json, "points")) <= 10);
    assert_true(json_number_value(json_object_get(json, "step_seconds")) > 0);
    json_decref(json);
}

/* ---- Nothing leaks and nothing lies where memory runs out */

static void fail_each_allocation(
    struct fixture *fixture, const char *method, const char *target, const char *body)
{
    for (unsigned n = 1;; n++) {
        struct net_reply reply;
        struct net_request request = fixture->request;
        request.method = method;
        request.target = target;
        request.body = body;
        request.body_size = body ? strlen(body) : 0;
        request.content_type = "application/json";
        reply_init(&reply);
        fault_arm(FAULT_ALLOC, n);
        net_dispatch(&fixture->context, &request, &reply);
        bool hit = fault_disarm();
        bool empty = reply.body.size == 0;
        json_t *json = empty ? NULL : json_loadb(reply.body.data, reply.body.size, 0, NULL);
        assert_true(empty || json);
        json_decref(json);
        unsigned status = reply.status;
        reply_done(&reply);
        if (!hit) {
            assert_true(status < 300);
            break;
        }
    }
}

static void test_out_of_memory(void **state)
{
    struct fixture *f = *state;
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", "{\"labels\":{\"k\":\"v\"}}", 201));
    fail_each_allocation(f, "GET", "/v1/system", NULL);
    fail_each_allocation(f, "GET", "/v1/agents", NULL);
    fail_each_allocation(f, "GET", "/v1/agents/a", NULL);
    fail_each_allocation(f, "GET", "/v1/system/history?step=1s", NULL);
    fail_each_allocation(f, "PUT", "/v1/agents/a/usage", "{\"cpu_percent\":99}");
    fail_each_allocation(f, "GET", "/v1/alerts", NULL);
    fail_each_allocation(f, "GET", "/v1/discovery?preset=docker", NULL);
    fail_each_allocation(f, "GET", "/openapi.json", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_every_answer),
        FIXTURE_TEST(test_before_first_sample),
        FIXTURE_TEST(test_routing),
        FIXTURE_TEST(test_long_target),
        FIXTURE_TEST(test_allow),
        FIXTURE_TEST(test_bad_bodies),
        FIXTURE_TEST(test_missing),
        FIXTURE_TEST(test_conflicts),
        FIXTURE_TEST(test_name_of_an_agent_that_left_processes_behind),
        FIXTURE_TEST(test_agents_at_cap),
        FIXTURE_TEST(test_hooks_fail),
        FIXTURE_TEST(test_agent_filters),
        FIXTURE_TEST(test_usage_units),
        FIXTURE_TEST(test_history_steps),
        FIXTURE_TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("net/route", tests, NULL, NULL);
}
