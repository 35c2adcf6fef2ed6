/* SPDX-License-Identifier: Apache-2.0 */
#include "net/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/parse.h"
#include "net/json_write.h"

#define DEPTH_MAX 32

/* "limits" + "max_memory_mb" -> "limits.max_memory_mb". */
struct place {
    const struct place *above;
    const char *name;
};

static void place_format(const struct place *place, char *out, size_t capacity)
{
    if (!place) {
        out[0] = 0;
        return;
    }
    place_format(place->above, out, capacity);
    size_t used = strlen(out);
    snprintf(out + used, capacity - used, "%s%.60s", used > 0 ? "." : "", place->name);
}

__attribute__((format(printf, 3, 4))) static int fail(
    struct schema_error *error, const struct place *place, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    place_format(place, error->field, sizeof(error->field));
    return error_set(&error->error, -EINVAL, "%s%s%s", error->field, place ? ": " : "", text);
}

/* ---- JSON text */

static bool too_deep(const char *text, size_t size)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0)
            depth--;
        if (depth > DEPTH_MAX)
            return true;
    }
    return false;
}

int schema_parse(const char *text, size_t size, json_t **ret_json, struct schema_error *error)
{
    json_error_t where;
    if (too_deep(text, size))
        return fail(error, NULL, "the body is nested deeper than %d levels", DEPTH_MAX);
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!json && json_error_code(&where) == json_error_out_of_memory)
        return -ENOMEM;
    if (!json)
        return fail(error, NULL, "the body is not JSON: line %d, column %d: %s", where.line,
            where.column, where.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return fail(error, NULL, "the body is not a JSON object");
    }
    *ret_json = json;
    return 0;
}

/* ---- Times */

static int time_digits(const char **cursor, unsigned count, char after, int *ret_value)
{
    int value = 0;
    for (unsigned i = 0; i < count; i++, (*cursor)++) {
        if (**cursor < '0' || **cursor > '9')
            return -EINVAL;
        value = value * 10 + (**cursor - '0');
    }
    if (after != 0 && **cursor != after)
        return -EINVAL;
    *cursor += after != 0;
    *ret_value = value;
    return 0;
}

/* ".123456789", any number of digits; those beyond nanoseconds are dropped. */
static int time_fraction(const char **cursor, int64_t *ret_ns)
{
    int64_t ns = 0, digit = NS_PER_SEC / 10;
    if (**cursor != '.') {
        *ret_ns = 0;
        return 0;
    }
    (*cursor)++;
    if (**cursor < '0' || **cursor > '9')
        return -EINVAL;
    for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++, digit /= 10)
        ns += (**cursor - '0') * digit;
    *ret_ns = ns;
    return 0;
}

static int time_offset(const char **cursor, int64_t *ret_seconds)
{
    int hours, minutes, sign = **cursor == '-' ? -1 : 1;
    if (**cursor == 'Z' || **cursor == 'z') {
        (*cursor)++;
        *ret_seconds = 0;
        return 0;
    }
    if (**cursor != '+' && **cursor != '-')
        return -EINVAL;
    (*cursor)++;
    if (time_digits(cursor, 2, ':', &hours) < 0 || time_digits(cursor, 2, 0, &minutes) < 0 ||
        hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return 0;
}

int time_parse(const char *text, int64_t *ret_wall_ns)
{
    struct tm tm = {0};
    const char *c = text;
    int64_t fraction, offset;
    if (time_digits(&c, 4, '-', &tm.tm_year) < 0 || time_digits(&c, 2, '-', &tm.tm_mon) < 0 ||
        time_digits(&c, 2, 0, &tm.tm_mday) < 0 || (*c != 'T' && *c != 't' && *c != ' '))
        return -EINVAL;
    c++;
    if (time_digits(&c, 2, ':', &tm.tm_hour) < 0 || time_digits(&c, 2, ':', &tm.tm_min) < 0 ||
        time_digits(&c, 2, 0, &tm.tm_sec) < 0 || time_fraction(&c, &fraction) < 0 ||
        time_offset(&c, &offset) < 0 || *c != 0)
        return -EINVAL;
    int day = tm.tm_mday, month = tm.tm_mon;
    if (tm.tm_year < 1970 || tm.tm_year > 2261 || tm.tm_hour > 23 || tm.tm_min > 59 ||
        tm.tm_sec > 60)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t seconds = timegm(&tm);
    if (tm.tm_mday != day || tm.tm_mon != month - 1) /* 31 February became March */
        return -EINVAL;
    *ret_wall_ns = (seconds - offset) * (int64_t)NS_PER_SEC + fraction;
    return 0;
}

/* ---- Values that body and query share */

static int store_number(const struct schema_field *field, double value, void *at,
    const struct place *place, struct schema_error *error)
{
    char range[64];
    if (!isfinite(value))
        return fail(error, place, "not a finite number");
    if (value < field->minimum) {
        snprintf(range, sizeof(range), "%g", field->minimum);
        return fail(error, place, "%.15g is below %s", value, range);
    }
    if (field->maximum > 0 && value > field->maximum) {
        snprintf(range, sizeof(range), "%.15g", field->maximum);
        return fail(error, place, "%.15g is above %s", value, range);
    }
    *(double *)at = value;
    return 0;
}

static int store_integer(const struct schema_field *field, bool negative, uint64_t value, void *at,
    const struct place *place, struct schema_error *error)
{
    const char *sign = negative ? "-" : "";
    if (negative || (double)value < field->minimum)
        return fail(error, place, "%s%" PRIu64 " is below %.0f", sign, value, field->minimum);
    if (field->maximum > 0 && (double)value > field->maximum)
        return fail(error, place, "%" PRIu64 " is above %.0f", value, field->maximum);
    *(uint64_t *)at = value;
    return 0;
}

static int store_text(const struct schema_field *field, const char *text, void *at,
    const struct place *place, struct schema_error *error)
{
    size_t length = strlen(text);
    if (length >= field->capacity)
        return fail(
            error, place, "%zu bytes long; at most %zu are kept", length, field->capacity - 1);
    memcpy(at, text, length + 1);
    return 0;
}

static int store_word(const struct schema_field *field, const char *text, void *at,
    const struct place *place, struct schema_error *error)
{
    struct buf all CLEANUP(buf_done) = {0};
    for (unsigned i = 0; field->words[i]; i++) {
        if (strcmp(field->words[i], text) == 0) {
            *(unsigned *)at = i;
            return 0;
        }
        buf_printf(&all, "%s%s", i > 0 ? ", " : "", field->words[i]);
    }
    return fail(error, place, "\"%.40s\" is not one of: %s", text, all.data ? all.data : "");
}

static int store_time(
    const char *text, void *at, const struct place *place, struct schema_error *error)
{
    int r = time_parse(text, at);
    return r < 0 ? fail(error, place, "\"%.40s\" is not a time such as 2026-01-31T12:00:00.000Z",
                       text)
                 : 0;
}

/* ---- Bodies */

static int decode_object(const struct schema *schema, const json_t *json, void *ret,
    const struct place *above, struct schema_error *error);

static int decode_map(
    const json_t *json, void *at, const struct place *place, struct schema_error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(json))
        return fail(error, place, "not an object");
    json_object_foreach((json_t *)json, key, value)
    {
        struct place inside = {place, key};
        if (!json_is_string(value))
            return fail(error, &inside, "not a string");
    }
    *(const json_t **)at = json;
    return 0;
}

static int decode_integer(const struct schema_field *field, const json_t *json, void *at,
    const struct place *place, struct schema_error *error)
{
    if (!json_is_integer(json))
        return fail(error, place, "not an integer");
    json_int_t value = json_integer_value(json);
    return store_integer(
        field, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, at, place, error);
}

static int decode_field(const struct schema_field *field, const json_t *json, void *at,
    const struct place *place, struct schema_error *error)
{
    bool textual =
        field->kind == FIELD_TEXT || field->kind == FIELD_WORD || field->kind == FIELD_TIME;
    if (textual && !json_is_string(json))
        return fail(error, place, "not a string");
    switch (field->kind) {
    case FIELD_TEXT:
        return store_text(field, json_string_value(json), at, place, error);
    case FIELD_WORD:
        return store_word(field, json_string_value(json), at, place, error);
    case FIELD_TIME:
        return store_time(json_string_value(json), at, place, error);
    case FIELD_NUMBER:
        if (!json_is_number(json))
            return fail(error, place, "not a number");
        return store_number(field, json_number_value(json), at, place, error);
    case FIELD_INTEGER:
        return decode_integer(field, json, at, place, error);
    case FIELD_BOOLEAN:
        if (!json_is_boolean(json))
            return fail(error, place, "not true or false");
        *(bool *)at = json_is_true(json);
        return 0;
    case FIELD_OBJECT:
        return decode_object(field->object, json, at, place, error);
    case FIELD_MAP:
        return decode_map(json, at, place, error);
    default:
        return fail(error, place, "cannot be set");
    }
}

static const struct schema_field *find_field(
    const struct schema *schema, const char *name, unsigned *ret_index)
{
    for (unsigned i = 0; i < schema->n_fields; i++) {
        if (strcmp(schema->fields[i].name, name) == 0) {
            *ret_index = i;
            return &schema->fields[i];
        }
    }
    return NULL;
}

static int check_required(const struct schema *schema, const void *ret, const struct place *above,
    struct schema_error *error)
{
    for (unsigned i = 0; i < schema->n_fields; i++) {
        struct place place = {above, schema->fields[i].name};
        if ((schema->fields[i].flags & FIELD_REQUIRED) && !schema_given(ret, i))
            return fail(error, &place, "missing");
    }
    return 0;
}

static int decode_object(const struct schema *schema, const json_t *json, void *ret,
    const struct place *above, struct schema_error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(json))
        return fail(error, above, "not an object");
    json_object_foreach((json_t *)json, key, value)
    {
        unsigned index;
        struct place place = {above, key};
        const struct schema_field *field = find_field(schema, key, &index);
        if (!field)
            return fail(error, &place, "no such field");
        if (json_is_null(value) && (field->flags & FIELD_NULLABLE))
            continue;
        int r = decode_field(field, value, (char *)ret + field->offset, &place, error);
        if (r < 0)
            return r;
        *(uint32_t *)ret |= 1u << index;
    }
    return check_required(schema, ret, above, error);
}

int schema_decode(
    const struct schema *schema, const json_t *json, void *ret, struct schema_error *error)
{
    memset(ret, 0, schema->size);
    return decode_object(schema, json, ret, NULL, error);
}

/* ---- Queries */

/* A time, Unix seconds, or a duration back from now. */
static int query_time(const char *text, int64_t now_ns, void *at, const struct place *place,
    struct schema_error *error)
{
    size_t length = strlen(text);
    uint64_t value;
    double seconds;
    if (time_parse(text, at) == 0)
        return 0;
    if (parse_double(text, length, &seconds) == 0) {
        if (seconds < 0 || seconds > 9.2e9)
            return fail(error, place, "%s is no time in Unix seconds", text);
        *(int64_t *)at =
            (int64_t)seconds * (int64_t)NS_PER_SEC + (int64_t)((seconds - floor(seconds)) * 1e9);
        return 0;
    }
    if (parse_duration(text, length, &value) < 0 || value > (uint64_t)now_ns)
        return fail(error, place,
            "\"%.40s\" is not a time (2026-01-31T12:00:00Z), Unix seconds, or a duration back "
            "from now (90s, 1h)",
            text);
    *(int64_t *)at = now_ns - (int64_t)value;
    return 0;
}

static int query_values_add(struct query_values *list, const char *text, const struct place *place,
    struct schema_error *error)
{
    if (list->count == QUERY_VALUES_MAX)
        return fail(error, place, "given more than %d times", QUERY_VALUES_MAX);
    list->values[list->count++] = text;
    return 0;
}

static int query_field(const struct schema_field *field, const char *text, int64_t now_ns, void *at,
    const struct place *place, struct schema_error *error)
{
    size_t length = strlen(text);
    bool negative = text[0] == '-';
    uint64_t value;
    double number;
    switch (field->kind) {
    case FIELD_TEXT:
        return store_text(field, text, at, place, error);
    case FIELD_WORD:
        return store_word(field, text, at, place, error);
    case FIELD_NUMBER:
        if (parse_double(text, length, &number) < 0)
            return fail(error, place, "\"%.40s\" is not a number", text);
        return store_number(field, number, at, place, error);
    case FIELD_TIME:
        return query_time(text, now_ns, at, place, error);
    case FIELD_DURATION:
        if (parse_duration(text, length, at) < 0)
            return fail(error, place, "\"%.40s\" is not a duration such as 10s or 5m", text);
        return 0;
    case FIELD_INTEGER:
        if (parse_u64(text + negative, length - negative, &value) < 0)
            return fail(error, place, "\"%.40s\" is not an integer", text);
        return store_integer(field, negative, value, at, place, error);
    case FIELD_MAP:
        return query_values_add(at, text, place, error);
    default:
        return fail(error, place, "cannot be set");
    }
}

int schema_decode_query(const struct schema *schema, const struct query_param *params,
    size_t n_params, int64_t now_ns, void *ret, struct schema_error *error)
{
    memset(ret, 0, schema->size);
    for (size_t i = 0; i < n_params; i++) {
        unsigned index;
        struct place place = {NULL, params[i].name};
        const struct schema_field *field = find_field(schema, params[i].name, &index);
        if (!field)
            return fail(error, &place, "no such query parameter");
        if (schema_given(ret, index) && field->kind != FIELD_MAP)
            return fail(error, &place, "given twice");
        int r =
            query_field(field, params[i].value, now_ns, (char *)ret + field->offset, &place, error);
        if (r < 0)
            return r;
        *(uint32_t *)ret |= 1u << index;
    }
    return check_required(schema, ret, NULL, error);
}
