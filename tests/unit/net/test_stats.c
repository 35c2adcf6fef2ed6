/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/history/range, top, quantile and /v1/usage over a history on disk. */
#include <errno.h>

#include "base/fault.h"
#include "net/query.h"
#include "stats_fixture.h"

static void test_range(void **state)
{
    struct stats_fixture *s = *state;
    json_t *json =
        get(s, "/v1/history/range?agents=large,small&agents=gone&metrics=cpu&step=1m&aggregate=max",
            &schema_range);
    assert_int_equal(json_array_size(json_object_get(json, "series")), 3);
    assert_string_equal(text(json, "aggregate"), "max");
    static const size_t order[] = {1, 0, 3};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        const json_t *series = at(json, "series", i);
        double samples = 0;
        size_t n = json_array_size(json_object_get(series, "points"));
        assert_string_equal(text(series, "agent_id"), agents[order[i]].id);
        assert_in_range(n, 10, 11);
        assert_true(number(series, "gaps") == 0);
        for (size_t j = 0; j < n; j++) {
            const json_t *point = at(series, "points", j);
            NEAR(number(json_object_get(point, "usage"), "cpu_cores"), agents[order[i]].cores);
            assert_true(
                json_is_null(json_object_get(json_object_get(point, "usage"), "memory_mb")));
            samples += number(point, "samples");
        }
        assert_true(samples == TICKS);
    }
    json_decref(json);
    json = get(s, "/v1/history/range?agents=small&since=5m&limit=7", &schema_range);
    assert_int_equal(json_array_size(json_object_get(at(json, "series", 0), "points")), 7);
    assert_true(json_is_true(json_object_get(at(json, "series", 0), "limited")));
    json_decref(json);
    /* By label; the machine where nobody is named: it has no history here. */
    json = get(s, "/v1/history/range?label=team%3Da&step=1m", &schema_range);
    assert_int_equal(json_array_size(json_object_get(json, "series")), 2);
    json_decref(json);
    json = get(s, "/v1/history/range", &schema_range);
    assert_true(json_is_null(json_object_get(at(json, "series", 0), "agent_id")));
    assert_int_equal(json_array_size(json_object_get(at(json, "series", 0), "points")), 0);
    json_decref(json);
}

static void test_top(void **state)
{
    static const struct {
        const char *query, *first;
        size_t n;
        double value;
    } cases[] = {
        {"", "large", 4, 2},
        {"?n=2&metric=memory&aggregate=max", "large", 2, 1024},
        {"?label=team%3Db", "other", 1, 1},
        {"?philosophy=cot", "small", 1, 0.25},
        {"?agents=gone,small", "gone", 2, 0.5},
        {"?metric=disk_io", NULL, 0, 0},
        {"?until=1d&since=2d", NULL, 0, 0},
    };
    struct stats_fixture *s = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/v1/history/top%s", cases[i].query);
        json_t *json = get(s, target, &schema_top);
        assert_int_equal(json_array_size(json_object_get(json, "top")), cases[i].n);
        if (cases[i].first) {
            assert_string_equal(text(at(json, "top", 0), "agent_id"), cases[i].first);
            NEAR(number(at(json, "top", 0), "value"), cases[i].value);
        }
        json_decref(json);
    }
}

static void test_quantile(void **state)
{
    struct stats_fixture *s = *state;
    json_t *json = get(s, "/v1/history/quantile?agents=small,large,other&q=0.5", &schema_quantile);
    NEAR(number(json, "value"), 1);
    assert_true(json_is_true(json_object_get(json, "exact")));
    assert_true(number(json, "error_bound") == 0);
    assert_true(number(json, "subjects") == 3);
    assert_string_equal(text(json, "unit"), "cores");
    json_decref(json);
    json = get(s, "/v1/history/quantile?philosophy=react&q=1&metric=memory", &schema_quantile);
    NEAR(number(json, "value"), 1024);
    json_decref(json);
    /* A long span has its bound. Nothing in it is null, as is nobody. */
    json = get(s, "/v1/history/quantile?agents=large&since=7d", &schema_quantile);
    assert_true(fabs(number(json, "value") - 2) <= 2 * number(json, "error_bound") + 1e-9);
    json_decref(json);
    static const char *const empty[] = {"agents=small&since=3d&until=2d", "label=team%3Dnobody"};
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/v1/history/quantile?%s", empty[i]);
        json = get(s, target, &schema_quantile);
        assert_true(json_is_null(json_object_get(json, "value")));
        json_decref(json);
    }
}

/* CPU seconds are those of the counters: what lies between the first and the last tick. */
static void check_row(const json_t *row, const char *name, double agent_count, double cores)
{
    assert_string_equal(text(row, "name"), name);
    assert_true(number(row, "agents") == agent_count);
    double seconds = number(row, "cpu_seconds");
    assert_true(seconds >= cores * (TICKS - 1) * 0.999 && seconds <= cores * TICKS * 1.001);
}

static void test_totals(void **state)
{
    struct stats_fixture *s = *state;
    json_t *json = get(s, "/v1/usage", &schema_usage_totals);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 4);
    check_row(at(json, "rows", 0), "large", 1, 2);
    check_row(at(json, "rows", 1), "other", 1, 1);
    check_row(at(json, "rows", 2), "gone", 1, 0.5);
    assert_true(json_is_null(json_object_get(at(json, "rows", 0), "disk_bytes")));
    double gib_hours = number(at(json, "rows", 0), "memory_gib_hours");
    assert_true(gib_hours > 0.16 && gib_hours < 0.17);
    assert_true(number(json_object_get(json, "total"), "samples") == 4 * TICKS);
    json_decref(json);
    json = get(s, "/v1/usage?by=philosophy", &schema_usage_totals);
    check_row(at(json, "rows", 0), "react", 2, 3);
    check_row(at(json, "rows", 1), "(null)", 1, 0.5);
    check_row(at(json, "rows", 2), "cot", 1, 0.25);
    json_decref(json);
    json = get(s, "/v1/usage?by=label:team&limit=1", &schema_usage_totals);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 1);
    assert_true(json_is_true(json_object_get(json, "limited")));
    check_row(at(json, "rows", 0), "a", 2, 2.25);
    assert_true(number(json_object_get(json, "total"), "agents") == 4);
    json_decref(json);
    json = get(s, "/v1/usage?by=label:team&philosophy=cot", &schema_usage_totals);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 1);
    check_row(at(json, "rows", 0), "a", 1, 0.25);
    json_decref(json);
}

struct slow_reader {
    struct buf taken;
    unsigned blocks; /* that it still takes */
};

static int take_block(struct net_query *query)
{
    struct slow_reader *reader = query->sink;
    if (reader->blocks == 0) {
        atomic_store(&query->why, "the client took too long");
        return -ECANCELED;
    }
    reader->blocks--;
    buf_append(&reader->taken, query->reply.body.data, query->reply.body.size);
    buf_clear(&query->reply.body);
    return 0;
}

/* /v1/usage for a client that takes @blocks of the answer. */
static json_t *totals_cut(struct stats_fixture *s, unsigned blocks, unsigned status)
{
    struct slow_reader reader = {.blocks = blocks};
    struct net_request request = s->f->request;
    struct net_reply reply;
    request.method = "GET";
    request.target = "/v1/usage";
    request.takes_query = true;
    reply_init(&reply);
    net_dispatch(&s->f->context, &request, &reply);
    struct net_query *query = reply.query;
    assert_non_null(query);
    query->flush = take_block;
    query->sink = &reader;
    query_run(query);
    assert_int_equal(query->reply.status, status);
    buf_append(&reader.taken, query->reply.body.data, query->reply.body.size);
    json_t *json = json_loadb(reader.taken.data, reader.taken.size, 0, NULL);
    assert_non_null(json);
    query_free(query);
    buf_done(&reader.taken);
    return json;
}

/* A charge-back that a slow client does not take whole says so. */
static void test_totals_cut(void **state)
{
    enum { MANY = 400 };
    struct stats_fixture *s = *state;
    static struct ac_usage usages[MANY];
    static struct history_row rows[MANY];
    static char names[MANY][64];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "a-long-name-that-fills-blocks-sooner-%03zu", i);
        ac_usage_init(&usages[i]);
        usages[i].cpu_cores = 1;
        usages[i].known = AC_KNOWN_CPU_CORES;
        rows[i] = (struct history_row){.subject = names[i], .usage = &usages[i]};
    }
    assert_int_equal(
        history_tick(s->f->context.history, s->f->request.now.wall_ns, rows, MANY, NULL), 0);
    s->f->request.now.wall_ns += (int64_t)NS_PER_SEC;
    json_t *json = totals_cut(s, 1, 200);
    check_fields(&schema_usage_totals, json);
    assert_in_range(json_array_size(json_object_get(json, "rows")), 1, MANY);
    assert_string_equal(text(json, "error"), "the client took too long");
    assert_true(number(json_object_get(json, "total"), "agents") == MANY + 4);
    json_decref(json);
    json = totals_cut(s, 0, 503);
    assert_string_equal(text(json, "detail"), "the client took too long");
    json_decref(json);
    json = totals_cut(s, 1000, 200);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), MANY + 4);
    assert_true(json_is_null(json_object_get(json, "error")));
    json_decref(json);
}

/* A user sees own agents and the machine. */
static void test_access(void **state)
{
    struct stats_fixture *s = *state;
    fixture_user(s->f, OTHER_UID);
    json_t *json = get(s, "/v1/usage", &schema_usage_totals);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 1);
    check_row(at(json, "rows", 0), "large", 1, 2);
    json_decref(json);
    json = get(s, "/v1/history/top", &schema_top);
    assert_int_equal(json_array_size(json_object_get(json, "top")), 1);
    json_decref(json);
    json = get(s, "/v1/history/range?agents=large,system&step=1m", &schema_range);
    json_decref(json);
    json = get(s, "/v1/history/range?label=team&step=1m", &schema_range);
    assert_int_equal(json_array_size(json_object_get(json, "series")), 1);
    json_decref(json);
    fixture_expect(s->f, "GET", "/v1/history/range?agents=small", NULL, 403, "another user", NULL);
    fixture_expect(s->f, "GET", "/v1/history/quantile?agents=other", NULL, 403, "another", NULL);
    fixture_expect(s->f, "GET", "/v1/history/range?agents=gone", NULL, 404, "not known", NULL);
    fixture_expect(s->f, "POST", "/v1/history/verify", NULL, 403, "only root", NULL);
    s->f->request.peer.authenticated = false;
    fixture_expect(s->f, "GET", "/v1/usage", NULL, 401, NULL, NULL);
}

static void test_labels_outlive_agents(void **state)
{
    struct stats_fixture *s = *state;
    record_left(s, "left", HISTORY_UNOWNED);
    json_t *json = get(s, "/v1/usage?by=label:team", &schema_usage_totals);
    assert_true(number(row_named(json, "a"), "agents") == 3); /* small, large, left */
    assert_true(number(row_named(json, "b"), "agents") == 1);
    assert_true(number(row_named(json, "(null)"), "agents") == 1);
    json_decref(json);
    json = get(s, "/v1/usage?by=philosophy&label=team%3Da", &schema_usage_totals);
    assert_true(number(row_named(json, "cot"), "agents") == 2);
    NEAR(number(row_named(json, "cot"), "cpu_seconds"), 0.25 * (TICKS - 1) + 4 * 60);
    assert_true(number(row_named(json, "react"), "agents") == 1 && !row_named(json, "(null)"));
    json_decref(json);
    json = get(s, "/v1/history/top?label=team&philosophy=cot", &schema_top);
    assert_int_equal(json_array_size(json_object_get(json, "top")), 2);
    assert_string_equal(text(at(json, "top", 0), "agent_id"), "left");
    json_decref(json);
    json = get(s, "/v1/history/top?agents=left,gone,large&label=team%3Da", &schema_top);
    assert_int_equal(json_array_size(json_object_get(json, "top")), 2);
    json_decref(json);
    json = get(s, "/v1/history/top?agents=left&label=team%3Db", &schema_top);
    assert_int_equal(json_array_size(json_object_get(json, "top")), 0);
    json_decref(json);
    json = get(s, "/v1/history/quantile?philosophy=cot&q=1", &schema_quantile);
    assert_true(number(json, "subjects") == 2);
    NEAR(number(json, "value"), 4);
    json_decref(json);
    json = get(s, "/v1/history/range?label=team%3Da&metrics=cpu", &schema_range);
    assert_int_equal(json_array_size(json_object_get(json, "series")), 3);
    const json_t *series = at(json, "series", 2), *used;
    assert_string_equal(text(series, "agent_id"), "left");
    used = json_object_get(at(series, "points", 30), "used");
    NEAR(number(used, "cpu_seconds"), 4);
    assert_true(json_is_null(json_object_get(used, "disk_bytes")));
    json_decref(json);
    fixture_user(s->f, OTHER_UID);
    json = get(s, "/v1/usage?by=label:team", &schema_usage_totals);
    assert_true(number(row_named(json, "a"), "agents") == 1);
    json_decref(json);
    json = get(s, "/v1/history/range?label=team%3Da&metrics=cpu&step=1m", &schema_range);
    assert_int_equal(json_array_size(json_object_get(json, "series")), 1);
    json_decref(json);
}

static void test_bad_input(void **state)
{
    static const struct {
        const char *target, *detail, *field;
    } cases[] = {
        {"/v1/history/range?since=10&until=5", "is not before until", "since"},
        {"/v1/history/range?agents=a%20b", "letters, digits", "agents"},
        {"/v1/history/range?agents=", "letters, digits", "agents"},
        {"/v1/history/range?agents=a,,b", "letters, digits", "agents"},
        {"/v1/history/range?metrics=cpu,gpu", "\"gpu\" is not one of", "metrics"},
        {"/v1/history/range?metrics=", "\"\" is not one of", "metrics"},
        {"/v1/history/range?aggregate=sum", "not one of: mean, min, max", "aggregate"},
        {"/v1/history/range?limit=100001", "above", "limit"},
        {"/v1/history/range?step=x", "not a duration", "step"},
        {"/v1/history/range?q=1", "no such query parameter", "q"},
        {"/v1/history/top?metric=gpu", "not one of", "metric"},
        {"/v1/history/top?n=0", "below 1", "n"},
        {"/v1/history/top?n=1001", "above", "n"},
        {"/v1/history/top?aggregate=min", "not one of: mean, max, sum", "aggregate"},
        {"/v1/history/top?philosophy=swarm", "not one of", "philosophy"},
        {"/v1/history/quantile?q=1.5", "above 1", "q"},
        {"/v1/history/quantile?q=-1", "below 0", "q"},
        {"/v1/history/quantile?q=nan", "q: ", "q"},
        {"/v1/history/quantile?q=half", "is not a number", "q"},
        {"/v1/history/quantile?since=5&until=5", "is not before", "since"},
        {"/v1/usage?by=team", "agent, philosophy or label:KEY", "by"},
        {"/v1/usage?by=label:", "agent, philosophy or label:KEY", "by"},
        {"/v1/usage?by=", "agent, philosophy or label:KEY", "by"},
        {"/v1/usage?limit=0", "below 1", "limit"},
        {"/v1/usage?since=tomorrow", "is not a time", "since"},
    };
    struct stats_fixture *s = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        fixture_expect(s->f, "GET", cases[i].target, NULL, 400, cases[i].detail, cases[i].field);
    /* 65 series */
    char target[1024];
    int used = snprintf(target, sizeof(target), "/v1/history/range?agents=a0");
    for (int i = 1; i < 65; i++)
        used += snprintf(target + used, sizeof(target) - (size_t)used, ",a%d", i);
    fixture_expect(s->f, "GET", target, NULL, 400, "more than 64", "agents");
}

static void test_memory_only(void **state)
{
    static const char *const targets[] = {
        "/v1/history/range", "/v1/history/top", "/v1/history/quantile", "/v1/usage"};
    struct stats_fixture *s = *state;
    struct store *store = s->f->context.store;
    s->f->context.store = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
        fixture_expect(s->f, "GET", targets[i], NULL, 503, "no history on disk", NULL);
    s->f->context.store = store;
}

#define ALERTS 2500

/* Ended alerts come newest first, page by page, whatever order they ended in. */
static void test_pages_of_alerts(void **state)
{
    struct stats_fixture *s = *state;
    struct ac_error error = {0};
    char target[160] = "/v1/alerts?state=all&limit=7";
    size_t seen = 0;
    assert_int_equal(store_begin(s->f->context.store, &error), 0);
    for (int i = 0; i < ALERTS; i++) {
        struct ac_alert alert = {.rule = "memory", .resource = AC_MEMORY, .severity = AC_WARNING};
        int at = i * 7919 % ALERTS; /* the order in which they began */
        alert.state = AC_ALERT_RESOLVED;
        alert.started_ns = FIXTURE_WALL + at * 1000000000ll;
        alert.updated_ns = alert.ended_ns = alert.started_ns + i % 50 * 60000000000ll;
        snprintf(alert.alert_id, sizeof(alert.alert_id), "alert-%d", at);
        assert_int_equal(store_put_alert(s->f->context.store, &alert, UINT32_MAX, &error), 0);
    }
    assert_int_equal(store_commit(s->f->context.store, &error), 0);
    for (bool more = true; more;) {
        json_t *json = fixture_call(s->f, "GET", target, NULL, 200), *alert = NULL;
        const json_t *list = json_object_get(json, "alerts");
        size_t i;
        more = json_array_size(list) > 0;
        assert_true(json_array_size(list) == MIN(seen == 0 ? 7 : 1000, ALERTS - seen));
        json_array_foreach(list, i, alert)
        {
            char id[32];
            snprintf(id, sizeof(id), "alert-%zu", ALERTS - 1 - seen++);
            assert_string_equal(json_string_value(json_object_get(alert, "id")), id);
            snprintf(target, sizeof(target), "/v1/alerts?state=all&limit=1000&before=%s",
                json_string_value(json_object_get(alert, "started")));
        }
        json_decref(json);
    }
    assert_int_equal(seen, ALERTS);
    fixture_expect(s->f, "GET", "/v1/alerts?limit=1001", NULL, 400, "1000", "limit");
}

static void put_resolved(struct stats_fixture *s, const char *id, const char *agent, uint32_t owner,
    enum ac_severity severity, int64_t started_ns)
{
    struct ac_alert alert = {.rule = "memory",
        .resource = AC_MEMORY,
        .severity = severity,
        .state = AC_ALERT_RESOLVED,
        .started_ns = started_ns,
        .updated_ns = started_ns,
        .ended_ns = started_ns};
    snprintf(alert.alert_id, sizeof(alert.alert_id), "%s", id);
    snprintf(alert.agent_id, sizeof(alert.agent_id), "%s", agent);
    assert_int_equal(store_put_alert(s->f->context.store, &alert, owner, NULL), 0);
}

static void expect_alerts(struct stats_fixture *s, const char *target, const char *ids)
{
    struct buf found CLEANUP(buf_done) = {0};
    json_t *json = fixture_call(s->f, "GET", target, NULL, 200), *alert;
    size_t i;
    json_array_foreach(json_object_get(json, "alerts"), i, alert)
        buf_printf(&found, "%s ", json_string_value(json_object_get(alert, "id")));
    assert_string_equal(found.size ? found.data : "", ids);
    json_decref(json);
}

/* A rare one is found however many there are, and only by those whose agent it was about, whoever
 * has its name by now. */
static void test_rare_alerts(void **state)
{
    struct stats_fixture *s = *state;
    char id[32];
    assert_int_equal(store_begin(s->f->context.store, NULL), 0);
    put_resolved(s, "rare", "large", OTHER_UID, AC_EMERGENCY, FIXTURE_WALL);
    put_resolved(s, "machine", "", UINT32_MAX, AC_CRITICAL, FIXTURE_WALL + 1);
    put_resolved(s, "of-gone", "gone", OTHER_UID + 1, AC_CRITICAL, FIXTURE_WALL + 2);
    put_resolved(s, "of-another", "large", OTHER_UID + 2, AC_INFO, FIXTURE_WALL + 3);
    put_resolved(s, "unknown", "large", UINT32_MAX, AC_INFO, FIXTURE_WALL + 4);
    for (int i = 0; i < 12000; i++) {
        snprintf(id, sizeof(id), "many-%d", i);
        put_resolved(s, id, "small", 0, AC_WARNING, FIXTURE_WALL + 10 + i);
    }
    assert_int_equal(store_commit(s->f->context.store, NULL), 0);
    expect_alerts(s, "/v1/alerts?state=all&severity=emergency", "rare ");
    expect_alerts(s, "/v1/alerts?state=all&agent=large", "unknown of-another rare ");
    expect_alerts(s, "/v1/alerts?state=all&severity=critical", "of-gone machine ");
    expect_alerts(s, "/v1/alerts?state=all&limit=1", "many-11999 ");
    fixture_user(s->f, OTHER_UID);
    expect_alerts(s, "/v1/alerts?state=all", "machine rare ");
    expect_alerts(s, "/v1/alerts?state=live", "");
    fixture_user(s->f, OTHER_UID + 1); /* whose agent is forgotten */
    expect_alerts(s, "/v1/alerts?state=all", "of-gone machine ");
    fixture_user(s->f, 0);
}

/* One that resolves while the query waits for its thread is there once, and who leaves is not
 * worked for. */
static void test_alerts_beside_the_loop(void **state)
{
    struct stats_fixture *s = *state;
    struct net_reply reply;
    struct net_request request = s->f->request;
    const struct rules_raise raise = {
        .rule = "manual", .resource = AC_CPU, .severity = AC_WARNING, .message = "once"};
    request.method = "GET";
    request.target = "/v1/alerts?state=all";
    request.takes_query = true;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        struct ac_alert alert;
        assert_int_equal(core_raise(s->f->core, "small", &raise, request.now, &alert), 0);
        reply_init(&reply);
        net_dispatch(&s->f->context, &request, &reply);
        struct net_query *query = TAKE_PTR(reply.query);
        assert_non_null(query);
        put_resolved(s, alert.alert_id, "small", 0, AC_WARNING, FIXTURE_WALL);
        if (cancelled)
            atomic_store(&query->why, "the client left");
        query_run(query);
        assert_int_equal(query->reply.status, cancelled ? 503 : 200);
        json_t *json = json_loadb(query->reply.body.data, query->reply.body.size, 0, NULL);
        if (!cancelled)
            assert_int_equal(json_array_size(json_object_get(json, "alerts")), 1);
        json_decref(json);
        query_free(query);
        reply_done(&reply);
        core_clear(s->f->core, "small", AC_CPU, "manual", request.now);
    }
}

/* Where memory runs out there is a problem or nothing, never half an answer. */
static void test_out_of_memory(void **state)
{
    static const char *const targets[] = {"/v1/history/range?agents=small,large&step=1m",
        "/v1/history/top?n=2", "/v1/history/quantile?label=team&since=5m",
        "/v1/usage?by=label:team", "/v1/alerts?state=all&limit=100"};
    struct stats_fixture *s = *state;
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        bool hit = true;
        for (unsigned n = 1; hit; n++) {
            struct net_reply reply;
            struct net_request request = s->f->request;
            request.method = "GET";
            request.target = targets[i];
            reply_init(&reply);
            fault_arm(FAULT_ALLOC, n);
            net_dispatch(&s->f->context, &request, &reply);
            hit = fault_disarm();
            bool empty = reply.body.size == 0;
            json_t *json = empty ? NULL : json_loadb(reply.body.data, reply.body.size, 0, NULL);
            assert_true(empty || json);
            assert_true(reply.status == 200 || reply.status == 503 || reply.status == 500);
            json_decref(json);
            reply_done(&reply);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATS_TEST(test_range),
        STATS_TEST(test_top),
        STATS_TEST(test_quantile),
        STATS_TEST(test_totals),
        STATS_TEST(test_totals_cut),
        STATS_TEST(test_access),
        STATS_TEST(test_labels_outlive_agents),
        STATS_TEST(test_bad_input),
        STATS_TEST(test_memory_only),
        STATS_TEST(test_pages_of_alerts),
        STATS_TEST(test_rare_alerts),
        STATS_TEST(test_alerts_beside_the_loop),
        STATS_TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("net/stats", tests, NULL, NULL);
}
