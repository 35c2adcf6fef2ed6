/* SPDX-License-Identifier: Apache-2.0 */
#include "net/openmetrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net/openapi.h"
#include "net_fixture.h"

static char *scrape(struct fixture *fixture, bool open)
{
    struct buf out CLEANUP(buf_done) = {0};
    assert_int_equal(openmetrics_write(&fixture->context, &fixture->request.peer, open, &out), 0);
    char *text = strdup(out.data);
    return text;
}

static void populate(struct fixture *fixture)
{
    json_decref(fixture_call(
        fixture, "PUT", "/v1/agents/a/usage", "{\"cpu_percent\":99,\"memory_mb\":10.5}", 200));
    json_decref(fixture_call(fixture, "PUT", "/v1/agents/b", "{\"philosophy\":\"cot\"}", 201));
    json_decref(fixture_call(fixture, "POST", "/v1/allocations", "{\"agent_id\":\"a\"}", 201));
}

static void expect_line(const char *text, const char *line)
{
    size_t length = strlen(line);
    for (const char *at = strstr(text, line); at; at = strstr(at + 1, line)) {
        if ((at == text || at[-1] == '\n') && at[length] == '\n')
            return;
    }
    print_message("no line \"%s\"\n", line);
    fail();
}

static void test_values(void **state)
{
    struct fixture *f = *state;
    populate(f);
    char *text = scrape(f, true);
    expect_line(text, "agentcore_build_info{version=\"" AC_VERSION "\"} 1");
    expect_line(text, "agentcore_machine_cpu_capacity_cores 4");
    expect_line(text, "agentcore_machine_memory_capacity_bytes 8589934592");
    expect_line(text, "agentcore_machine_memory_used_bytes 2147483648");
    expect_line(text, "agentcore_machine_memory_usage_ratio 0.25");
    expect_line(text, "agentcore_machine_disk_read_bytes_total 1048576");
    expect_line(text, "agentcore_agents_running{philosophy=\"react\"} 1");
    expect_line(text, "agentcore_agents_running{philosophy=\"cot\"} 1");
    expect_line(text, "agentcore_agent_cpu_usage_ratio{agent=\"a\",philosophy=\"react\"} 0.99");
    expect_line(text, "agentcore_agent_memory_bytes{agent=\"a\",philosophy=\"react\"} 11010048");
    expect_line(text, "agentcore_alerts{severity=\"critical\"} 1");
    expect_line(text, "agentcore_allocations{status=\"granted\"} 1");
    expect_line(text, "agentcore_pool_scale{philosophy=\"react\"} 1");
    expect_line(text, "agentcore_ticks_total 3");
    expect_line(text, "agentcore_tick_duration_seconds_total 0.005");
    expect_line(text, "agentcore_daemon_cpu_seconds_total 0.02");
    expect_line(text, "agentcore_daemon_resident_memory_bytes 9437184");
    expect_line(text, "# UNIT agentcore_agent_memory_bytes bytes");
    /* What is unknown has no sample: this machine's network, this agent's descriptors. */
    assert_null(strstr(text, "\nagentcore_machine_network_received_bytes_total"));
    assert_null(strstr(text, "\nagentcore_agent_open_files{"));
    assert_null(strstr(text, "NaN"));
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    free(text);
}

static bool ends_with(const char *text, size_t size, const char *ending)
{
    size_t length = strlen(ending);
    return size >= length && memcmp(text + size - length, ending, length) == 0;
}

/* Each line is a comment of a family or a sample of the family above; each family appears once. */
static void check_form(const char *text, bool open)
{
    char family[128] = "", type[16] = "", seen[200][128];
    size_t n_seen = 0;
    size_t size;
    for (const char *line = text; *line; line += size + 1) {
        const char *end_of_line = strchr(line, '\n');
        assert_non_null(end_of_line);
        size = (size_t)(end_of_line - line);
        size_t name = strcspn(line, "{ \n");
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
            for (size_t i = 0; i < n_seen; i++)
                assert_string_not_equal(seen[i], family);
            memcpy(seen[n_seen++], family, sizeof(family));
            assert_true(ends_with(line, size, ".")); /* help is a sentence */
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_memory_equal(line + 7, family, strlen(family));
            const char *word = memchr(line + 7, ' ', size - 7);
            assert_non_null(word);
            snprintf(type, sizeof(type), "%.*s", (int)(line + size - word - 1), word + 1);
        } else if (strncmp(line, "# UNIT ", 7) == 0) {
            const char *unit = memchr(line + 7, ' ', size - 7);
            assert_non_null(unit);
            assert_true(open);
            assert_memory_equal(line + 7, family, strlen(family));
            char ending[32];
            snprintf(ending, sizeof(ending), "_%.*s", (int)(line + size - unit - 1), unit + 1);
            assert_true(ends_with(family, strlen(family), ending));
        } else if (strncmp(line, "# EOF", 5) == 0) {
            assert_true(open && line[6] == 0);
        } else {
            char expected[160];
            const char *ending = !open                          ? ""
                                 : strcmp(type, "counter") == 0 ? "_total"
                                 : strcmp(type, "info") == 0    ? "_info"
                                                                : "";
            snprintf(expected, sizeof(expected), "%s%s", family, ending);
            assert_int_equal(name, strlen(expected));
            assert_memory_equal(line, expected, name);
            const char *value = memchr(line, ' ', size);
            char *end;
            assert_non_null(value);
            assert_true(strtod(value + 1, &end) >= 0 && *end == '\n');
        }
    }
    assert_true(n_seen > 30);
}

static void test_form(void **state)
{
    struct fixture *f = *state;
    populate(f);
    for (int open = 0; open < 2; open++) {
        char *text = scrape(f, open);
        check_form(text, open);
        free(text);
    }
}

static void test_negotiation(void **state)
{
    static const struct {
        const char *accept, *type;
    } cases[] = {
        {NULL, PROMETHEUS_TYPE},
        {"*/*", PROMETHEUS_TYPE},
        {"text/plain; version=0.0.4", PROMETHEUS_TYPE},
        {"application/openmetrics-text; version=1.0.0,text/plain;q=0.5", OPENMETRICS_TYPE},
        {"Application/OpenMetrics-Text", OPENMETRICS_TYPE},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct net_reply reply;
        struct net_request request = f->request;
        request.method = "GET";
        request.target = "/metrics";
        request.accept = cases[i].accept;
        reply_init(&reply);
        net_dispatch(&f->context, &request, &reply);
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.content_type, cases[i].type);
        reply_done(&reply);
    }
}

static void test_cardinality(void **state)
{
    struct fixture *f = *state;
    struct core_options options;
    struct core *full, *own = f->core;
    core_options_init(&options);
    assert_int_equal(core_new(&options, &full), 0);
    assert_int_equal(core_tick(full, &f->sample), 0);
    for (int i = 0; i < METRICS_AGENTS_MAX + 7; i++) {
        struct agent_spec spec = {.owner_uid = i % 2 ? OTHER_UID : 0};
        const struct agent *agent;
        snprintf(spec.id, sizeof(spec.id), "agent-%d", i);
        assert_int_equal(core_agent_add(full, &spec, f->request.now, &agent, NULL), 0);
        struct ac_usage usage = {.memory_mb = 1, .known = AC_KNOWN_MEMORY_MB};
        assert_int_equal(core_report(full, spec.id, &usage, f->request.now, false, NULL), 0);
    }
    f->core = f->context.core = full;
    char *text = scrape(f, true);
    expect_line(text, "agentcore_agents_omitted 7");
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, "\nagentcore_agent_memory_bytes{")); at++)
        n++;
    assert_int_equal(n, METRICS_AGENTS_MAX);
    free(text);
    /* An ordinary user gets his own agents' series only. */
    fixture_user(f, OTHER_UID);
    text = scrape(f, true);
    assert_null(strstr(text, "\"agent-0\""));
    assert_non_null(strstr(text, "\"agent-1\""));
    expect_line(text, "agentcore_agents_omitted 0");
    free(text);
    f->core = f->context.core = own;
    core_free(full);
}

static void test_metrics_out_of_memory(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 1;; n++) {
        struct buf out CLEANUP(buf_done) = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = openmetrics_write(&f->context, &f->request.peer, true, &out);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -12 : 0);
        if (!hit)
            break;
    }
}

static char *read_document(const char *name)
{
    char path[512], *text = calloc(1, 1 << 17);
    const char *root = getenv("SOURCE_ROOT");
    snprintf(path, sizeof(path), "%s/docs/%s", root ? root : ".", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, (1 << 17) - 1, file) > 0);
    fclose(file);
    return text;
}

static bool has_text(const char *document, const char *name, const char *text)
{
    if (!strstr(document, text))
        print_message("docs/%s lacks %s\n", name, text);
    return strstr(document, text) != NULL;
}

/* docs/metrics.md has a row for each metric, and none for others. */
static void test_metrics_documented(void **state)
{
    char *text = read_document("metrics.md"), row[160];
    size_t n = 0, rows = 0;
    bool all = true;
    (void)state;
    for (; openmetrics_name(n); n++) {
        snprintf(row, sizeof(row), "| `%s` |", openmetrics_name(n));
        all = has_text(text, "metrics.md", row) && all;
    }
    for (const char *at = text; (at = strstr(at, "\n| `agentcore_")); at++)
        rows++;
    free(text);
    assert_true(all);
    assert_int_equal(rows, n);
}

static bool fields_documented(const char *text, const struct schema *schema)
{
    char name[80];
    bool all = true;
    for (size_t i = 0; schema && i < schema->n_fields; i++) {
        snprintf(name, sizeof(name), "\"%s\"", schema->fields[i].name);
        all = has_text(text, "http-api.md", name) && all;
        all = fields_documented(text, schema->fields[i].object) && all;
    }
    return all;
}

/* docs/http-api.md names every route, parameter and field. */
static void test_api_documented(void **state)
{
    char *text = read_document("http-api.md"), name[160];
    bool all = true;
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &route_table[i];
        snprintf(name, sizeof(name), "`%s %s`", route->method, route->pattern);
        all = has_text(text, "http-api.md", name) && all;
        all = fields_documented(text, route->body) && all;
        for (size_t k = 0; k < ARRAY_SIZE(route->answers); k++)
            all = fields_documented(text, route->answers[k].schema) && all;
        for (size_t k = 0; route->query && k < route->query->n_fields; k++) {
            snprintf(name, sizeof(name), "`%s", route->query->fields[k].name);
            all = has_text(text, "http-api.md", name) && all;
        }
    }
    free(text);
    assert_true(all);
}

/* ---- OpenAPI */

static const json_t *path_of(const json_t *document, const struct route *route)
{
    char method[8] = "";
    for (size_t i = 0; route->method[i]; i++)
        method[i] = (char)(route->method[i] | 0x20);
    const json_t *item = json_object_get(json_object_get(document, "paths"), route->pattern);
    return json_object_get(item, method);
}

/* Every $ref leads somewhere. */
static void check_refs(const json_t *document, const json_t *node)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach((json_t *)node, i, value) check_refs(document, value);
        return;
    }
    json_object_foreach((json_t *)node, key, value)
    {
        if (strcmp(key, "$ref") == 0) {
            const char *name = strrchr(json_string_value(value), '/') + 1;
            const json_t *schemas =
                json_object_get(json_object_get(document, "components"), "schemas");
            assert_non_null(json_object_get(schemas, name));
        }
        check_refs(document, value);
    }
}

static void test_openapi(void **state)
{
    struct fixture *f = *state;
    json_t *document = fixture_call(f, "GET", "/openapi.json", NULL, 200);
    size_t operations = 0;
    const char *pattern, *method;
    json_t *item, *operation;
    assert_string_equal(json_string_value(json_object_get(document, "openapi")), "3.1.0");
    check_refs(document, document);
    json_object_foreach(json_object_get(document, "paths"), pattern, item)
    {
        json_object_foreach(item, method, operation) operations++;
    }
    assert_int_equal(operations, route_count);
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &route_table[i];
        const json_t *one = path_of(document, route);
        assert_non_null(one);
        assert_string_equal(json_string_value(json_object_get(one, "operationId")), route->name);
        assert_true((json_object_get(one, "requestBody") != NULL) == (route->body != NULL));
        size_t parameters = (strchr(route->pattern, '{') != NULL) +
                            (route->query ? route->query->n_fields : 0) +
                            (route->handler == route_events);
        assert_int_equal(json_array_size(json_object_get(one, "parameters")), parameters);
        const json_t *responses = json_object_get(one, "responses");
        assert_non_null(json_object_get(responses, "default"));
        for (size_t k = 0; k < ARRAY_SIZE(route->answers) && route->answers[k].status; k++) {
            char status[12];
            snprintf(status, sizeof(status), "%u", route->answers[k].status);
            assert_non_null(json_object_get(responses, status));
        }
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(route->name, route_table[k].name);
    }
    json_decref(document);
}

/* With --write DIR: the texts that outside validators look at. */
static int write_samples(const char *directory)
{
    static const struct {
        const char *name;
        bool open;
    } files[] = {{"metrics.prom", false}, {"metrics.openmetrics", true}};
    void *state;
    char path[512];
    fixture_setup(&state);
    struct fixture *f = state;
    populate(f);
    fixture_proc(f, 99, 1);
    for (size_t i = 0; i < 3; i++) {
        struct buf out CLEANUP(buf_done) = {0};
        snprintf(path, sizeof(path), "%s/%s", directory, i < 2 ? files[i].name : "openapi.json");
        if (i < 2)
            openmetrics_write(&f->context, &f->request.peer, files[i].open, &out);
        else
            openapi_write(&out);
        FILE *file = fopen(path, "w");
        if (!file || fwrite(out.data, 1, out.size, file) != out.size || fclose(file) != 0)
            return 1;
    }
    fixture_teardown(&state);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_samples(argv[2]);
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_values),
        FIXTURE_TEST(test_form),
        FIXTURE_TEST(test_negotiation),
        FIXTURE_TEST(test_cardinality),
        FIXTURE_TEST(test_metrics_out_of_memory),
        cmocka_unit_test(test_metrics_documented),
        cmocka_unit_test(test_api_documented),
        FIXTURE_TEST(test_openapi),
    };
    return cmocka_run_group_tests_name("net/metrics", tests, NULL, NULL);
}
