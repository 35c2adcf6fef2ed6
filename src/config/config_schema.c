/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config_schema.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/config_table.h"

enum { FIELDS_MAX = 96, SECTIONS_MAX = 16 };

/*
 * What libcyaml fills: an array of pointers for each mapping. A pointer of the root is the text
 * of a setting, or the array of a section. Fields of one mapping stand together in .fields, a
 * field without key behind them.
 */
struct schema {
    cyaml_schema_field_t fields[FIELDS_MAX];
    size_t n_fields;
    size_t first[SECTIONS_MAX]; /* field where a section begins; [0] = the root's */
    cyaml_schema_value_t root;
    cyaml_config_t config;
    char *problem;
    size_t problem_size;
};

static void *schema_memory(void *context, void *memory, size_t size)
{
    (void)context;
    if (size == 0) {
        mem_free(memory);
        return NULL;
    }
    return mem_resize_array(memory, size, 1);
}

/* Keeps the first line; what follows is a backtrace. */
__attribute__((format(printf, 3, 0))) static void schema_log(
    cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct schema *schema = context;
    if (level != CYAML_LOG_ERROR || *schema->problem)
        return;
    vsnprintf(schema->problem, schema->problem_size, format, args);
    schema->problem[strcspn(schema->problem, "\n")] = 0;
}

static cyaml_schema_field_t *add_field(struct schema *schema, const char *key, size_t index)
{
    cyaml_schema_field_t *field = &schema->fields[schema->n_fields++];
    *field = (cyaml_schema_field_t){.key = key, .data_offset = (uint32_t)(index * sizeof(char *))};
    return field;
}

/* Adds the settings of a section. Returns how many there are. */
static size_t add_settings(struct schema *schema, const char *section)
{
    size_t count = 0;
    for (size_t i = 0; i < config_setting_count; i++) {
        if (strcmp(config_settings[i].section, section) != 0)
            continue;
        cyaml_schema_field_t *field = add_field(schema, config_settings[i].name, count++);
        field->value = (cyaml_schema_value_t){
            CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, SCHEMA_TEXT_MAX)};
    }
    /* The one list is read by config_rules. */
    if (strcmp(section, "discovery") == 0)
        add_field(schema, "rules", count++)->value =
            (cyaml_schema_value_t){.type = CYAML_IGNORE, .flags = CYAML_FLAG_OPTIONAL};
    return count;
}

static void build(struct schema *schema)
{
    size_t counts[SECTIONS_MAX] = {0};
    assert(config_section_count <= SECTIONS_MAX);
    assert(config_setting_count + 2 * config_section_count <= FIELDS_MAX);
    for (size_t s = 1; s < config_section_count; s++) {
        schema->first[s] = schema->n_fields;
        counts[s] = add_settings(schema, config_sections[s].name);
        add_field(schema, NULL, 0);
    }
    schema->first[0] = schema->n_fields;
    counts[0] = add_settings(schema, "");
    for (size_t s = 1; s < config_section_count; s++) {
        cyaml_schema_field_t *field = add_field(schema, config_sections[s].name, counts[0]++);
        field->value = (cyaml_schema_value_t){
            CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER_NULL_STR | CYAML_FLAG_OPTIONAL, char *,
                &schema->fields[schema->first[s]])};
        field->value.data_size = (uint32_t)(counts[s] * sizeof(char *));
    }
    add_field(schema, NULL, 0);
    schema->root = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, char *, &schema->fields[schema->first[0]])};
    schema->root.data_size = (uint32_t)(counts[0] * sizeof(char *));
    schema->config = (cyaml_config_t){.log_fn = schema_log,
        .log_ctx = schema,
        .mem_fn = schema_memory,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS};
}

static int visit_mapping(const struct schema *schema, size_t first, void **texts,
    const char *section, config_text_fn each, void *userdata)
{
    for (size_t i = 0; schema->fields[first + i].key; i++) {
        if (!texts[i] || schema->fields[first + i].value.type != CYAML_STRING)
            continue;
        const struct setting *setting = setting_find(section, schema->fields[first + i].key);
        int r = each(userdata, (size_t)(setting - config_settings), texts[i]);
        if (r != 0)
            return r;
    }
    return 0;
}

static int visit(const struct schema *schema, void **root, config_text_fn each, void *userdata)
{
    if (!root)
        return 0; /* nothing but comments */
    int r = visit_mapping(schema, schema->first[0], root, "", each, userdata);
    size_t n_settings = 0;
    while (schema->fields[schema->first[0] + n_settings].value.type == CYAML_STRING)
        n_settings++;
    for (size_t s = 1; r == 0 && s < config_section_count; s++) {
        void **texts = root[n_settings + s - 1];
        if (texts)
            r = visit_mapping(
                schema, schema->first[s], texts, config_sections[s].name, each, userdata);
    }
    return r;
}

int schema_load(const char *text, size_t size, config_text_fn each, void *userdata,
    char *ret_problem, size_t problem_size)
{
    struct schema *schema cleanup_free = mem_alloc(sizeof(*schema));
    cyaml_data_t *data = NULL;
    if (!schema)
        return -ENOMEM;
    schema->problem = ret_problem;
    schema->problem_size = problem_size;
    *ret_problem = 0;
    build(schema);
    cyaml_err_t e =
        cyaml_load_data((const uint8_t *)text, size, &schema->config, &schema->root, &data, NULL);
    if (e == CYAML_ERR_OOM)
        return -ENOMEM;
    if (e != CYAML_OK) {
        if (!*ret_problem)
            snprintf(ret_problem, problem_size, "%s", cyaml_strerror(e));
        return -EINVAL;
    }
    int r = visit(schema, data, each, userdata);
    cyaml_free(&schema->config, &schema->root, data, 0);
    return r;
}
