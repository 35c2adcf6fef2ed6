/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's context with agents, some of them with history on disk. */
#ifndef AC_TESTS_NET_STATS_FIXTURE_H
#define AC_TESTS_NET_STATS_FIXTURE_H

#include <math.h>
#include <string.h>

#include "../store/temporary.h"
#include "base/mem.h"
#include "net_fixture.h"
#include "store/history.h"

#define TICKS 600

/* Agents with history: their CPU in cores, and memory in MiB, all the time. */
static const struct {
    const char *id, *body;
    double cores, memory;
    struct history_about about;
} agents[] = {
    {"small", "{\"philosophy\":\"cot\",\"labels\":{\"team\":\"a\"}}", 0.25, 256,
        {true, AC_COT, 7, "team\0a", 0}},
    {"large", "{\"philosophy\":\"react\",\"labels\":{\"team\":\"a\"}}", 2, 1024,
        {true, AC_REACT, 7, "team\0a", OTHER_UID}},
    {"other", "{\"philosophy\":\"react\",\"labels\":{\"team\":\"b\"}}", 1, 512,
        {true, AC_REACT, 7, "team\0b", 0}},
    {"gone", NULL, 0.5, 128, {0}}, /* not registered any more, and nobody knows whose it was */
};

struct stats_fixture {
    struct fixture *f;
    struct temporary directory;
};

static inline void record_tick(struct history *history, int64_t when_ns, uint64_t second)
{
    struct ac_usage usages[ARRAY_SIZE(agents)];
    struct history_totals totals[ARRAY_SIZE(agents)];
    struct history_row rows[ARRAY_SIZE(agents)];
    struct ac_error error = {0};
    for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
        ac_usage_init(&usages[i]);
        usages[i].cpu_cores = agents[i].cores;
        usages[i].memory_mb = agents[i].memory;
        usages[i].known = AC_KNOWN_CPU_CORES | AC_KNOWN_MEMORY_MB;
        totals[i] = (struct history_totals){
            .known = 1, .cpu_ns = (uint64_t)(agents[i].cores * 1e9) * second};
        rows[i] = (struct history_row){.subject = agents[i].id,
            .usage = &usages[i],
            .totals = &totals[i],
            .about = agents[i].about};
    }
    assert_int_equal(history_tick(history, when_ns, rows, ARRAY_SIZE(rows), &error), 0);
}

/* Ten minutes that end now. "large" belongs to somebody else. */
static inline int setup(void **state)
{
    struct stats_fixture *s = calloc(1, sizeof(*s));
    void *inner;
    struct ac_error error = {0};
    fixture_setup(&inner);
    s->f = inner;
    s->directory = temporary_make();
    const struct store_options options = {.directory = s->directory.path};
    assert_int_equal(store_open(&options, &s->f->context.store, &error), 0);
    const struct history_options keep = {0};
    assert_int_equal(history_open(s->f->context.store, &keep, &s->f->context.history, &error), 0);
    for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
        char target[64];
        fixture_user(s->f, i == 1 ? OTHER_UID : 0);
        snprintf(target, sizeof(target), "/v1/agents/%s", agents[i].id);
        if (agents[i].body)
            json_decref(fixture_call(s->f, "PUT", target, agents[i].body, 201));
    }
    fixture_user(s->f, 0);
    int64_t now = s->f->request.now.wall_ns;
    for (uint64_t i = 0; i < TICKS; i++)
        record_tick(s->f->context.history, now - (int64_t)((TICKS - i) * NS_PER_SEC), i);
    *state = s;
    return 0;
}

static inline int teardown(void **state)
{
    struct stats_fixture *s = *state;
    void *inner = s->f;
    history_close(s->f->context.history);
    store_close(s->f->context.store);
    temporary_done(&s->directory);
    free(s);
    return fixture_teardown(&inner);
}

static inline const json_t *at(const json_t *json, const char *key, size_t index)
{
    return json_array_get(json_object_get(json, key), index);
}

static inline double number(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static inline const char *text(const json_t *json, const char *key)
{
    const char *value = json_string_value(json_object_get(json, key));
    return value ? value : "(null)";
}

#define NEAR(value, wanted)                                                                        \
    assert_true(fabs((value) - (double)(wanted)) <= 1e-6 + 0.001 * fabs((double)(wanted)))

/* Every field of the schema is there, and no other. */
static inline void check_fields(const struct schema *schema, const json_t *json)
{
    assert_int_equal(json_object_size(json), schema->n_fields);
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct schema_field *field = &schema->fields[i];
        const json_t *value = json_object_get(json, field->name);
        assert_true(value && (!json_is_null(value) || (field->flags & FIELD_NULLABLE)));
        if (field->kind == FIELD_OBJECT)
            check_fields(field->object, value);
        for (size_t j = 0; field->kind == FIELD_LIST && j < json_array_size(value); j++)
            check_fields(field->object, json_array_get(value, j));
    }
}

static inline json_t *get(struct stats_fixture *s, const char *target, const struct schema *schema)
{
    json_t *json = fixture_call(s->f, "GET", target, NULL, 200);
    check_fields(schema, json);
    return json;
}

/* An agent of philosophy cot and team a with 4 cores, for a minute from now on, that is not
 * registered. */
static inline void record_left(struct stats_fixture *s, const char *id, int64_t owner)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.cpu_cores = 4;
    usage.known = AC_KNOWN_CPU_CORES;
    const struct history_row row = {.subject = id,
        .usage = &usage,
        .about = {.known = true,
            .philosophy = AC_COT,
            .labels = "team\0a",
            .labels_size = 7,
            .owner = owner}};
    for (int64_t i = 0; i < 60; i++)
        assert_int_equal(history_tick(s->f->context.history,
                             s->f->request.now.wall_ns + i * (int64_t)NS_PER_SEC, &row, 1, NULL),
            0);
    s->f->request.now.wall_ns += 60 * (int64_t)NS_PER_SEC;
}

static inline const json_t *row_named(const json_t *json, const char *name)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(json, "rows"), i, row)
    {
        if (strcmp(text(row, "name"), name) == 0)
            return row;
    }
    return NULL;
}

#define STATS_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
