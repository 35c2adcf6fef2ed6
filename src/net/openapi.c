/* SPDX-License-Identifier: Apache-2.0 */
#include "net/openapi.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define SCHEMAS_MAX 64

/* Schemas that were referred to: the components, in the order of their first mention. */
struct components {
    const struct schema *schemas[SCHEMAS_MAX];
    size_t count;
};

static void components_add(struct components *components, const struct schema *schema)
{
    for (size_t i = 0; i < components->count; i++) {
        if (components->schemas[i] == schema)
            return;
        assert(strcmp(components->schemas[i]->name, schema->name) != 0);
    }
    assert(components->count < SCHEMAS_MAX);
    components->schemas[components->count++] = schema;
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (schema->fields[i].object)
            components_add(components, schema->fields[i].object);
    }
}

static void write_ref(struct json_writer *w, const struct schema *schema)
{
    char ref[96];
    snprintf(ref, sizeof(ref), "#/components/schemas/%s", schema->name);
    json_object_begin(w);
    json_field_text(w, "$ref", ref);
    json_object_end(w);
}

static const char *openapi_type(enum field_kind kind)
{
    static const char *const types[] = {
        [FIELD_TEXT] = "string",
        [FIELD_NUMBER] = "number",
        [FIELD_INTEGER] = "integer",
        [FIELD_BOOLEAN] = "boolean",
        [FIELD_WORD] = "string",
        [FIELD_TIME] = "string",
        [FIELD_DURATION] = "string",
        [FIELD_OBJECT] = "object",
        [FIELD_LIST] = "array",
        [FIELD_MAP] = "object",
    };
    return types[kind];
}

static void write_type(struct json_writer *w, const struct schema_field *field)
{
    json_key(w, "type");
    if (!(field->flags & FIELD_NULLABLE)) {
        json_put_text(w, openapi_type(field->kind));
        return;
    }
    json_array_begin(w);
    json_put_text(w, openapi_type(field->kind));
    json_put_text(w, "null");
    json_array_end(w);
}

static void write_words(struct json_writer *w, const char *const *words)
{
    json_key(w, "enum");
    json_array_begin(w);
    for (size_t i = 0; words[i]; i++)
        json_put_text(w, words[i]);
    json_array_end(w);
}

/* The keywords that narrow a scalar down. */
static void write_constraints(struct json_writer *w, const struct schema_field *field)
{
    if (field->words && field->kind == FIELD_WORD)
        write_words(w, field->words);
    if (field->kind == FIELD_TIME)
        json_field_text(w, "format", "date-time");
    if (field->kind == FIELD_NUMBER || field->kind == FIELD_INTEGER)
        json_field_double(w, "minimum", field->minimum);
    if (field->maximum > 0)
        json_field_double(w, "maximum", field->maximum);
    if (field->kind == FIELD_TEXT && field->capacity > 0)
        json_field_uint(w, "maxLength", field->capacity - 1);
}

static void write_object_field(struct json_writer *w, const struct schema_field *field)
{
    json_key(w, "anyOf");
    json_array_begin(w);
    write_ref(w, field->object);
    if (field->flags & FIELD_NULLABLE) {
        json_object_begin(w);
        json_field_text(w, "type", "null");
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_field(struct json_writer *w, const struct schema_field *field)
{
    json_object_begin(w);
    json_field_text(w, "description", field->help);
    if (field->kind == FIELD_OBJECT) {
        write_object_field(w, field);
    } else {
        write_type(w, field);
        write_constraints(w, field);
    }
    if (field->kind == FIELD_LIST) {
        json_key(w, "items");
        write_ref(w, field->object);
    }
    if (field->kind == FIELD_MAP) {
        json_key(w, "additionalProperties");
        json_object_begin(w);
        json_field_text(w, "type", "string");
        json_object_end(w);
    }
    json_object_end(w);
}

static void write_schema(struct json_writer *w, const struct schema *schema)
{
    json_object_begin(w);
    json_field_text(w, "type", "object");
    json_field_text(w, "description", schema->help);
    json_key(w, "properties");
    json_object_begin(w);
    for (size_t i = 0; i < schema->n_fields; i++) {
        json_key(w, schema->fields[i].name);
        write_field(w, &schema->fields[i]);
    }
    json_object_end(w);
    json_key(w, "required");
    json_array_begin(w);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (schema->fields[i].flags & FIELD_REQUIRED)
            json_put_text(w, schema->fields[i].name);
    }
    json_array_end(w);
    if (schema->size > 0)
        json_field_bool(w, "additionalProperties", false);
    json_object_end(w);
}

/* ---- Operations */

static void write_parameter_head(
    struct json_writer *w, const char *name, const char *in, bool required, const char *help)
{
    json_object_begin(w);
    json_field_text(w, "name", name);
    json_field_text(w, "in", in);
    json_field_bool(w, "required", required);
    json_field_text(w, "description", help);
    json_key(w, "schema");
    json_object_begin(w);
}

static void write_query_parameter(struct json_writer *w, const struct schema_field *field)
{
    write_parameter_head(w, field->name, "query", field->flags & FIELD_REQUIRED, field->help);
    if (field->kind == FIELD_MAP) {
        json_field_text(w, "type", "array");
        json_field_uint(w, "maxItems", QUERY_VALUES_MAX);
        json_key(w, "items");
        json_object_begin(w);
        json_field_text(w, "type", "string");
        if (field->words)
            write_words(w, field->words);
        json_object_end(w);
    } else {
        json_field_text(w, "type", openapi_type(field->kind));
        if (field->kind != FIELD_TIME) /* durations and Unix seconds are times here, too */
            write_constraints(w, field);
    }
    json_object_end(w);
    json_object_end(w);
}

static void write_path_parameter(struct json_writer *w, const char *pattern)
{
    const char *open = strchr(pattern, '{');
    char name[32] = "";
    if (!open)
        return;
    snprintf(name, sizeof(name), "%.*s", (int)(strchr(open, '}') - open - 1), open + 1);
    bool is_agent = strncmp(pattern, "/v1/agents/", 11) == 0;
    write_parameter_head(w, name, "path", true, is_agent ? "Agent id" : "Which one");
    json_field_text(w, "type", "string");
    if (is_agent)
        json_field_text(w, "pattern", "^[A-Za-z0-9_-]{1,128}$");
    if (strcmp(name, "philosophy") == 0)
        write_words(w, words_philosophy);
    json_object_end(w);
    json_object_end(w);
}

static void write_parameters(struct json_writer *w, const struct route *route)
{
    json_key(w, "parameters");
    json_array_begin(w);
    write_path_parameter(w, route->pattern);
    for (size_t i = 0; route->query && i < route->query->n_fields; i++)
        write_query_parameter(w, &route->query->fields[i]);
    if (route->handler == route_events) {
        write_parameter_head(w, "Last-Event-ID", "header", false,
            "Resume after this event; the last 1,024 are kept");
        json_field_text(w, "type", "integer");
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_content(struct json_writer *w, const char *type, const struct schema *schema)
{
    json_key(w, "content");
    json_object_begin(w);
    json_key(w, type);
    json_object_begin(w);
    if (schema) {
        json_key(w, "schema");
        write_ref(w, schema);
    }
    json_object_end(w);
    json_object_end(w);
}

static const char *answer_type(const struct route *route)
{
    if (route->handler == route_events)
        return "text/event-stream";
    return route->handler == route_metrics ? "application/openmetrics-text" : "application/json";
}

static void write_responses(struct json_writer *w, const struct route *route)
{
    json_key(w, "responses");
    json_object_begin(w);
    for (size_t i = 0; i < ARRAY_SIZE(route->answers) && route->answers[i].status != 0; i++) {
        const struct route_answer *answer = &route->answers[i];
        char status[12];
        snprintf(status, sizeof(status), "%u", answer->status);
        json_key(w, status);
        json_object_begin(w);
        json_field_text(w, "description", answer->help);
        if (answer->status != 204)
            write_content(w, answer_type(route), answer->schema);
        json_object_end(w);
    }
    json_key(w, "default");
    json_object_begin(w);
    json_field_text(w, "description", "What went wrong");
    write_content(w, "application/problem+json", &schema_problem);
    json_object_end(w);
    json_object_end(w);
}

static void write_operation(
    struct json_writer *w, const struct route *route, struct components *components)
{
    char method[8] = "";
    for (size_t i = 0; route->method[i] && i < sizeof(method) - 1; i++)
        method[i] = (char)(route->method[i] | 0x20);
    json_key(w, method);
    json_object_begin(w);
    json_field_text(w, "operationId", route->name);
    json_field_text(w, "summary", route->summary);
    if (route->access == ACCESS_OPEN) {
        json_key(w, "security");
        json_array_begin(w);
        json_array_end(w);
    }
    write_parameters(w, route);
    if (route->body) {
        components_add(components, route->body);
        json_key(w, "requestBody");
        json_object_begin(w);
        write_content(w, "application/json", route->body);
        json_object_end(w);
    }
    for (size_t i = 0; i < ARRAY_SIZE(route->answers); i++) {
        if (route->answers[i].schema)
            components_add(components, route->answers[i].schema);
    }
    write_responses(w, route);
    json_object_end(w);
}

/* Routes of one path are not always neighbours: the first one writes them all. */
static void write_paths(struct json_writer *w, struct components *components)
{
    json_key(w, "paths");
    json_object_begin(w);
    for (size_t i = 0; i < route_count; i++) {
        size_t first = 0;
        while (strcmp(route_table[first].pattern, route_table[i].pattern) != 0)
            first++;
        if (first != i)
            continue;
        json_key(w, route_table[i].pattern);
        json_object_begin(w);
        for (size_t k = i; k < route_count; k++) {
            if (strcmp(route_table[k].pattern, route_table[i].pattern) == 0)
                write_operation(w, &route_table[k], components);
        }
        json_object_end(w);
    }
    json_object_end(w);
}

static void write_components(struct json_writer *w, const struct components *components)
{
    json_key(w, "components");
    json_object_begin(w);
    json_key(w, "schemas");
    json_object_begin(w);
    for (size_t i = 0; i < components->count; i++) {
        json_key(w, components->schemas[i]->name);
        write_schema(w, components->schemas[i]);
    }
    json_object_end(w);
    json_key(w, "securitySchemes");
    json_object_begin(w);
    json_key(w, "bearer");
    json_object_begin(w);
    json_field_text(w, "type", "http");
    json_field_text(w, "scheme", "bearer");
    json_field_text(w, "description", "Over TCP; the unix socket knows its users by the kernel");
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
}

static void write_head(struct json_writer *w)
{
    json_field_text(w, "openapi", "3.1.0");
    json_key(w, "info");
    json_object_begin(w);
    json_field_text(w, "title", "AgentCore");
    json_field_text(w, "version", AC_VERSION);
    json_field_text(w, "description",
        "The resource manager for AI agents. What could not be measured is null, never 0; memory "
        "is MiB, rates are MiB/s, CPU percentages are of the machine's capacity.");
    json_key(w, "license");
    json_object_begin(w);
    json_field_text(w, "name", "Apache 2.0");
    json_field_text(w, "identifier", "Apache-2.0");
    json_object_end(w);
    json_object_end(w);
    json_key(w, "security");
    json_array_begin(w);
    json_object_begin(w);
    json_key(w, "bearer");
    json_array_begin(w);
    json_array_end(w);
    json_object_end(w);
    json_array_end(w);
}

int openapi_write(struct buf *out)
{
    struct json_writer w = {.out = out};
    struct components components = {0};
    json_object_begin(&w);
    write_head(&w);
    write_paths(&w, &components);
    components_add(&components, &schema_problem);
    write_components(&w, &components);
    json_object_end(&w);
    return out->failed ? -ENOMEM : 0;
}

int route_openapi(struct net_call *call)
{
    return openapi_write(&call->reply->body);
}
