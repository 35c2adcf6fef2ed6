/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schemas: what a request body, a query string or an object of an answer looks like, as tables.
 * From one table come the strict decoding into a C struct, its error texts, and the component in
 * /openapi.json.
 *
 * A decoded struct starts with a uint32_t in which bit i says that field i was given (null counts
 * as not given). Numbers are never negative in this API: a maximum of 0 means "no maximum".
 */
#ifndef AC_NET_SCHEMA_H
#define AC_NET_SCHEMA_H

#include <jansson.h>

#include "base/error.h"

enum field_kind {
    FIELD_TEXT,     /* char[capacity], NUL-terminated */
    FIELD_NUMBER,   /* double */
    FIELD_INTEGER,  /* uint64_t */
    FIELD_BOOLEAN,  /* bool; not in queries */
    FIELD_WORD,     /* unsigned: index into .words */
    FIELD_TIME,     /* int64_t: wall time in ns */
    FIELD_DURATION, /* uint64_t: ns; queries only */
    FIELD_OBJECT,   /* the struct of .object */
    FIELD_LIST,     /* of .object; answers only */
    FIELD_MAP,      /* const json_t *: an object of strings, borrowed. In a query a parameter that
                       may be repeated: struct query_values */
};

enum field_flags {
    FIELD_NULLABLE = 1u << 0,
    FIELD_REQUIRED = 1u << 1,
};

struct schema;

struct schema_field {
    const char *name;
    enum field_kind kind;
    unsigned flags;
    const char *help; /* for people: meaning, unit, default */
    double minimum;
    double maximum;           /* 0 = none */
    const char *const *words; /* NULL-terminated */
    const struct schema *object;
    size_t offset; /* into the decoded struct */
    size_t capacity;
};

struct schema {
    const char *name; /* of the component, "Agent" */
    const char *help;
    const struct schema_field *fields;
    size_t n_fields;
    size_t size; /* of the decoded struct; 0 = answers only */
};

/* A parameter that was given several times; the texts are borrowed from the query. */
#define QUERY_VALUES_MAX 8
struct query_values {
    const char *values[QUERY_VALUES_MAX];
    size_t count;
};

/* What was wrong: the path of the field ("limits.max_memory_mb", "" = the whole). */
struct schema_error {
    char field[128];
    struct ac_error error;
};

/* Parses JSON text strictly: one object, no duplicate keys, nothing behind it, at most 32 levels,
 * integers within 64 bits, valid UTF-8. Returns 0, -EINVAL with @error, -ENOMEM. */
int schema_parse(const char *text, size_t size, json_t **ret_json, struct schema_error *error);

/* Decodes @json by @schema into @ret (schema->size bytes, zeroed first; strings of FIELD_MAP
 * borrow from @json). Unknown fields, wrong types and values out of range are errors. @ret may be
 * partly filled on failure. Returns 0 or -EINVAL. */
int schema_decode(
    const struct schema *schema, const json_t *json, void *ret, struct schema_error *error);

/* One parameter of a query string: already percent-decoded text. @now_ns: what durations count
 * back from. */
struct query_param {
    const char *name;
    const char *value;
};
int schema_decode_query(const struct schema *schema, const struct query_param *params,
    size_t n_params, int64_t now_ns, void *ret, struct schema_error *error);

/* "2026-01-31T12:00:00Z", with fraction and offset as RFC 3339 has them. Returns 0 or -EINVAL. */
int time_parse(const char *text, int64_t *ret_wall_ns);

static inline bool schema_given(const void *decoded, unsigned field)
{
    return (*(const uint32_t *)decoded >> field) & 1u;
}

#endif
