/* SPDX-License-Identifier: Apache-2.0 */
#include "net/json_write.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net/api.h"

/* ---- Writing */

static void test_numbers(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {12.345678, "12.345678"},
        {0.1234567, "0.123457"},
        {0.0000004, "0"},
        {-0.0000004, "0"},
        {99.9999999, "100"},
        {1e12, "1000000000000"},
        {8999999999999.5, "8999999999999.5"},
        {0.9999999, "1"},
        {9007199254740993.0, "9007199254740992"},
        {1e13, "10000000000000"},
        {1.8446744073709552e19, "18446744073709551616"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out CLEANUP(buf_done) = {0};
        number_format(&out, cases[i].value);
        assert_string_equal(out.data, cases[i].text);
    }
}

static void test_structure(void **state)
{
    struct buf out CLEANUP(buf_done) = {0};
    struct json_writer w = {.out = &out};
    (void)state;
    json_object_begin(&w);
    json_field_double(&w, "nan", NAN);
    json_field_double(&w, "inf", -INFINITY);
    json_field_uint(&w, "most", UINT64_MAX);
    json_field_int(&w, "least", INT64_MIN);
    json_field_bool(&w, "yes", true);
    json_field_text(&w, "none", NULL);
    json_field_time(&w, "never", 0);
    json_field_time(&w, "then", 1700000000123999999);
    json_field_time(&w, "before", -1);
    json_field_double_or_null(&w, "unknown", false, 7);
    json_field_uint_or_null(&w, "known", true, 7);
    json_key(&w, "list");
    json_array_begin(&w);
    json_put_null(&w);
    json_array_begin(&w);
    json_array_end(&w);
    json_object_begin(&w);
    json_object_end(&w);
    json_put_bool(&w, false);
    json_array_end(&w);
    json_object_end(&w);
    assert_string_equal(out.data,
        "{\"nan\":null,\"inf\":null,\"most\":18446744073709551615,\"least\":-9223372036854775808,"
        "\"yes\":true,\"none\":null,\"never\":null,\"then\":\"2023-11-14T22:13:20.123Z\","
        "\"before\":\"1969-12-31T23:59:59.999Z\",\"unknown\":null,\"known\":7,"
        "\"list\":[null,[],{},false]}");
}

static void test_hostile_text(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"", "\"\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"\n\r\t\x01\x1f\x7f", "\"\\u000a\\u000d\\u0009\\u0001\\u001f\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xff", "\"\xef\xbf\xbd\""},
        {"\xc3", "\"\xef\xbf\xbd\""},                                 /* cut off */
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* surrogate */
        {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82"
         "a",
            "\"\xef\xbf\xbd\xef\xbf\xbd"
            "a\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out CLEANUP(buf_done) = {0};
        struct json_writer w = {.out = &out};
        json_put_text(&w, cases[i].text);
        assert_string_equal(out.data, cases[i].json);
        json_t *back = json_loads(out.data, JSON_DECODE_ANY, NULL);
        assert_non_null(back);
        json_decref(back);
    }
}

/* Every pair of bytes comes out as JSON that a strict reader takes. */
static void test_all_bytes(void **state)
{
    (void)state;
    for (unsigned a = 1; a < 256; a++) {
        for (unsigned b = 1; b < 256; b++) {
            char text[3] = {(char)a, (char)b, 0};
            struct buf out CLEANUP(buf_done) = {0};
            struct json_writer w = {.out = &out};
            json_put_text(&w, text);
            json_t *back = json_loadb(out.data, out.size, JSON_DECODE_ANY, NULL);
            assert_non_null(back);
            json_decref(back);
        }
    }
}

/* ---- Times */

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ns; /* -1 = refused */
    } cases[] = {
        {"2023-11-14T22:13:20Z", 1700000000000000000},
        {"2023-11-14t22:13:20z", 1700000000000000000},
        {"2023-11-14 22:13:20Z", 1700000000000000000},
        {"2023-11-14T22:13:20.5Z", 1700000000500000000},
        {"2023-11-14T22:13:20.123456789123Z", 1700000000123456789},
        {"2023-11-15T00:13:20+02:00", 1700000000000000000},
        {"2023-11-14T16:43:20-05:30", 1700000000000000000},
        {"1970-01-01T00:00:00Z", 0},
        {"2024-02-29T00:00:00Z", 1709164800000000000},
        {"2023-02-29T00:00:00Z", -1},
        {"2023-04-31T00:00:00Z", -1},
        {"2023-00-10T00:00:00Z", -1},
        {"2023-13-10T00:00:00Z", -1},
        {"2023-11-14T24:00:00Z", -1},
        {"2023-11-14T22:60:00Z", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"2262-01-01T00:00:00Z", -1},
        {"2023-11-14T22:13:20", -1},
        {"2023-11-14T22:13:20.Z", -1},
        {"2023-11-14T22:13:20Zx", -1},
        {"2023-11-14T22:13:20+2:00", -1},
        {"2023-11-14T22:13:20+24:00", -1},
        {"2023-11-14", -1},
        {"", -1},
        {"now", -1},
        {"-023-11-14T22:13:20Z", -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t ns = -7;
        int r = time_parse(cases[i].text, &ns);
        if ((r == 0) != (cases[i].ns >= 0))
            print_message("%s: %d\n", cases[i].text, r);
        assert_int_equal(r, cases[i].ns >= 0 ? 0 : -EINVAL);
        assert_true(ns == (r == 0 ? cases[i].ns : -7));
    }
}

/* ---- Parsing and decoding */

static void test_parse_refuses(void **state)
{
    static const char *const bad[] = {"", " ", "{", "{}}", "{} {}", "[]", "1", "null", "\"a\"",
        "{\"a\":1,\"a\":2}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":-Infinity}",
        "{\"a\":1e999}", "{\"a\":99999999999999999999}", "{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}",
        "{\"a\":0x10}", "{a:1}", "{'a':1}", "{\"a\":1,}", "{\"a\":\"\xff\"}", "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}", "{\"a\":\"\n\"}", "\xef\xbb\xbf{}", "{\"a\":1}//", "{\"a\":tru}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *json = NULL;
        struct schema_error error = {0};
        int r = schema_parse(bad[i], strlen(bad[i]), &json, &error);
        if (r != -EINVAL)
            print_message("taken: %s\n", bad[i]);
        assert_int_equal(r, -EINVAL);
        assert_null(json);
        assert_true(error.error.message[0] != 0);
    }
}

static void test_parse_depth(void **state)
{
    (void)state;
    for (unsigned depth = 1; depth < 70000; depth = depth < 40 ? depth + 1 : depth * 7) {
        struct buf text CLEANUP(buf_done) = {0};
        json_t *json = NULL;
        struct schema_error error = {0};
        buf_append_str(&text, "{\"a\":");
        for (unsigned i = 1; i < depth; i++)
            buf_append_char(&text, '[');
        buf_append_str(&text, "\"]]]\\\"[[[\"");
        for (unsigned i = 1; i < depth; i++)
            buf_append_char(&text, ']');
        buf_append_char(&text, '}');
        int r = schema_parse(text.data, text.size, &json, &error);
        assert_int_equal(r, depth <= 32 ? 0 : -EINVAL);
        json_decref(json);
    }
}

static int decode(
    const struct schema *schema, const char *text, void *ret, struct schema_error *error)
{
    json_t *json = NULL;
    int r = schema_parse(text, strlen(text), &json, error);
    if (r == 0)
        r = schema_decode(schema, json, ret, error);
    json_decref(json);
    return r;
}

static void test_decode_agent(void **state)
{
    struct agent_body body;
    struct schema_error error = {0};
    (void)state;
    assert_int_equal(
        decode(&schema_agent_body,
            "{\"philosophy\":\"cot\",\"pid\":77,\"self\":true,\"template\":null,\"command\":\"x\","
            "\"limits\":{\"max_cpu_cores\":1.5,\"max_memory_mb\":null,\"max_file_descriptors\":9}}",
            &body, &error),
        0);
    assert_int_equal(body.philosophy, AC_COT);
    assert_int_equal(body.pid, 77);
    assert_true(body.self);
    assert_string_equal(body.command, "x");
    assert_string_equal(body.agent_template, "");
    assert_true(body.limits.max_cpu_cores == 1.5);
    assert_true(body.limits.max_memory_mb == 0);
    assert_int_equal(body.limits.max_file_descriptors, 9);
    assert_false(schema_given(&body.limits, 1));
    assert_true(schema_given(&body.limits, 3));
    assert_null(body.labels);
}

static void test_decode_refuses(void **state)
{
    static const struct {
        const struct schema *schema;
        const char *text, *field, *detail;
    } cases[] = {
        {&schema_agent_body, "{\"pidd\":1}", "pidd", "no such field"},
        {&schema_agent_body, "{\"pid\":\"1\"}", "pid", "not an integer"},
        {&schema_agent_body, "{\"pid\":1.0}", "pid", "not an integer"},
        {&schema_agent_body, "{\"pid\":0}", "pid", "0 is below 1"},
        {&schema_agent_body, "{\"pid\":-5}", "pid", "-5 is below 1"},
        {&schema_agent_body, "{\"pid\":-9223372036854775808}", "pid", "is below 1"},
        {&schema_agent_body, "{\"pid\":4194305}", "pid", "4194305 is above 4194304"},
        {&schema_agent_body, "{\"pid\":true}", "pid", "not an integer"},
        {&schema_agent_body, "{\"self\":1}", "self", "not true or false"},
        {&schema_agent_body, "{\"philosophy\":null}", "philosophy", "not a string"},
        {&schema_agent_body, "{\"philosophy\":\"React\"}", "philosophy",
            "\"React\" is not one of: react, cot, multi_agent, autonomous"},
        {&schema_agent_body, "{\"limits\":[]}", "limits", "not an object"},
        {&schema_agent_body, "{\"limits\":{\"max_memory_mb\":-1}}", "limits.max_memory_mb",
            "limits.max_memory_mb: -1 is below 0"},
        {&schema_agent_body, "{\"limits\":{\"max_memory_mb\":1e300}}", "limits.max_memory_mb",
            "is above"},
        {&schema_agent_body, "{\"limits\":{\"max_memory_mb\":\"5\"}}", "limits.max_memory_mb",
            "not a number"},
        {&schema_agent_body, "{\"limits\":{\"memory\":1}}", "limits.memory", "no such field"},
        {&schema_agent_body, "{\"labels\":{\"a\":1}}", "labels.a", "not a string"},
        {&schema_agent_body, "{\"labels\":\"a\"}", "labels", "not an object"},
        {&schema_agent_body, "{\"command\":5}", "command", "not a string"},
        {&schema_usage_body, "{\"cpu_percent\":101}", "cpu_percent", "above 100.5"},
        {&schema_usage_body, "{\"timestamp\":5}", "timestamp", "not a string"},
        {&schema_usage_body, "{\"timestamp\":\"yesterday\"}", "timestamp", "is not a time"},
        {&schema_allocation_body, "{}", "agent_id", "missing"},
        {&schema_allocation_body, "{\"agent_id\":null}", "agent_id", "not a string"},
        {&schema_pool_body, "{\"scale\":0}", "scale", "below 1"},
        {&schema_pool_body, "{\"scale\":4294967296}", "scale", "above 1000000"},
        {&schema_stop_body, "{\"signal\":\"STOP\"}", "signal", "is not one of"},
        {&schema_stop_body, "{\"grace_seconds\":3601}", "grace_seconds", "above 3600"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char body[4096];
        struct schema_error error = {0};
        assert_true(cases[i].schema->size <= sizeof(body));
        int r = decode(cases[i].schema, cases[i].text, body, &error);
        if (r != -EINVAL || strcmp(error.field, cases[i].field) != 0 ||
            !strstr(error.error.message, cases[i].detail))
            print_message("%s: %d %s: %s\n", cases[i].text, r, error.field, error.error.message);
        assert_int_equal(r, -EINVAL);
        assert_string_equal(error.field, cases[i].field);
        assert_non_null(strstr(error.error.message, cases[i].detail));
    }
}

static void test_decode_long_text(void **state)
{
    char text[4096], long_id[200];
    struct allocation_body body;
    struct schema_error error = {0};
    (void)state;
    memset(long_id, 'a', sizeof(long_id));
    for (int length = 127; length <= 130; length++) {
        snprintf(text, sizeof(text), "{\"agent_id\":\"%.*s\"}", length, long_id);
        assert_int_equal(
            decode(&schema_allocation_body, text, &body, &error), length <= 128 ? 0 : -EINVAL);
    }
    assert_string_equal(error.field, "agent_id");
}

static void test_query(void **state)
{
    static const struct {
        const char *name, *value;
        int64_t since; /* -1 = refused */
    } cases[] = {
        {"since", "2023-11-14T22:13:20Z", 1700000000000000000},
        {"since", "1700000000", 1700000000000000000},
        {"since", "1700000000.25", 1700000000250000000},
        {"since", "1h", 1700000000000000000 - 3600000000000},
        {"since", "90s", 1700000000000000000 - 90000000000},
        {"since", "-1", -1},
        {"since", "nan", -1},
        {"since", "1e400", -1},
        {"since", "", -1},
        {"since", "1y", -1},
        {"since", "99999999w", -1},
        {"sinse", "1h", -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct span_query query;
        struct schema_error error = {0};
        struct query_param param = {cases[i].name, cases[i].value};
        int r = schema_decode_query(
            &schema_history_query, &param, 1, 1700000000000000000, &query, &error);
        if ((r == 0) != (cases[i].since >= 0))
            print_message("%s=%s: %d\n", cases[i].name, cases[i].value, r);
        assert_int_equal(r, cases[i].since >= 0 ? 0 : -EINVAL);
        if (r == 0)
            assert_true(query.since_ns == cases[i].since);
        else
            assert_string_equal(error.field, cases[i].name);
    }
}

static void test_query_repeats(void **state)
{
    struct query_param params[QUERY_VALUES_MAX + 1];
    struct agents_query agents;
    struct alerts_query alerts;
    struct schema_error error = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(params); i++)
        params[i] = (struct query_param){"label", "a=b"};
    assert_int_equal(
        schema_decode_query(&schema_agents_query, params, QUERY_VALUES_MAX, 0, &agents, &error), 0);
    assert_int_equal(agents.labels.count, QUERY_VALUES_MAX);
    assert_int_equal(
        schema_decode_query(&schema_agents_query, params, ARRAY_SIZE(params), 0, &agents, &error),
        -EINVAL);
    params[0] = params[1] = (struct query_param){"severity", "info"};
    assert_int_equal(
        schema_decode_query(&schema_alerts_query, params, 2, 0, &alerts, &error), -EINVAL);
    assert_non_null(strstr(error.error.message, "given twice"));
}

/* Words of the API are those of the library, in the same order. */
static void test_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        assert_string_equal(words_philosophy[i], ac_philosophy_name((enum ac_philosophy)i));
    assert_null(words_philosophy[AC_PHILOSOPHY_COUNT]);
    for (unsigned i = 0; i < AC_SEVERITY_COUNT; i++)
        assert_string_equal(words_severity[i], ac_severity_name((enum ac_severity)i));
    assert_null(words_severity[AC_SEVERITY_COUNT]);
    for (unsigned i = 0; i < AC_RESOURCE_COUNT; i++)
        assert_string_equal(words_resource[i], ac_resource_name((enum ac_resource)i));
    assert_null(words_resource[AC_RESOURCE_COUNT]);
    for (unsigned i = 0; words_alert_state[i]; i++)
        assert_string_equal(words_alert_state[i], ac_alert_state_name((enum ac_alert_state)i));
    for (unsigned i = 0; i < AGENT_STATE_COUNT; i++)
        assert_string_equal(words_agent_state[i], agent_state_name((enum agent_state)i));
    assert_null(words_agent_state[AGENT_STATE_COUNT]);
    for (unsigned i = 0; words_policy[i]; i++)
        assert_string_equal(
            words_policy[i], ac_allocation_policy_name((enum ac_allocation_policy)i));
    for (unsigned i = 0; words_status[i]; i++)
        assert_string_equal(
            words_status[i], ac_allocation_status_name((enum ac_allocation_status)i));
    for (unsigned i = 0; words_basis[i]; i++)
        assert_string_equal(words_basis[i], ac_prediction_basis_name((enum ac_prediction_basis)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_all_bytes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_depth),
        cmocka_unit_test(test_decode_agent),
        cmocka_unit_test(test_decode_refuses),
        cmocka_unit_test(test_decode_long_text),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_repeats),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests_name("net/json", tests, NULL, NULL);
}
