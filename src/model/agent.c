/* SPDX-License-Identifier: Apache-2.0 */
#include "model/agent.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/export.h"
#include "base/mem.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

EXPORT bool ac_agent_id_valid(const char *id)
{
    if (!id || !*id)
        return false;
    for (size_t i = 0; id[i]; i++) {
        if (i == AC_AGENT_ID_MAX || (!is_alnum(id[i]) && id[i] != '_' && id[i] != '-'))
            return false;
    }
    return true;
}

EXPORT void ac_agent_config_init(struct ac_agent_config *ret_config)
{
    *ret_config = (struct ac_agent_config){.size = sizeof(*ret_config)};
}

static int check_range(const char *name, double value, double maximum, struct ac_error *error)
{
    if (isfinite(value) && value >= 0 && value <= maximum)
        return 0;
    return error_set(error, -EINVAL, "%s: %g is outside 0 (no limit) to %g", name, value, maximum);
}

EXPORT int ac_agent_config_validate(const struct ac_agent_config *config, struct ac_error *error)
{
    if (!config || config->size < sizeof(*config))
        return error_set(error, -EINVAL, "config: not initialised with ac_agent_config_init");
    if (!ac_agent_id_valid(config->agent_id))
        return error_set(error, -EINVAL,
            "agent_id: \"%.40s\" is not 1 to %d letters, digits, '_' or '-'",
            config->agent_id ? config->agent_id : "", AC_AGENT_ID_MAX);
    if ((unsigned)config->philosophy >= AC_PHILOSOPHY_COUNT)
        return error_set(error, -EINVAL, "philosophy: %d is not one", (int)config->philosophy);
    if (config->agent_template && strlen(config->agent_template) > AGENT_TEMPLATE_MAX)
        return error_set(
            error, -EINVAL, "agent_template: longer than %d characters", AGENT_TEMPLATE_MAX);
    int r = check_range("max_cpu_cores", config->max_cpu_cores, 1e5, error);
    if (r == 0)
        r = check_range("max_memory_mb", config->max_memory_mb, 1e9, error);
    if (r == 0)
        r = check_range(
            "max_execution_time_seconds", config->max_execution_time_seconds, 1e9, error);
    return r;
}

int agent_spec_from_config(
    const struct ac_agent_config *config, struct agent_spec *ret_spec, struct ac_error *error)
{
    int r = ac_agent_config_validate(config, error);
    if (r < 0)
        return r;
    memset(ret_spec, 0, sizeof(*ret_spec));
    snprintf(ret_spec->id, sizeof(ret_spec->id), "%s", config->agent_id);
    if (config->agent_template)
        snprintf(ret_spec->agent_template, sizeof(ret_spec->agent_template), "%s",
            config->agent_template);
    ret_spec->philosophy = config->philosophy;
    ret_spec->limits = (struct agent_limits){
        .max_cpu_cores = config->max_cpu_cores,
        .max_memory_mb = config->max_memory_mb,
        .max_execution_time_seconds = config->max_execution_time_seconds,
        .max_file_descriptors = config->max_file_descriptors,
    };
    return 0;
}

static bool label_key_valid(const char *key)
{
    if (!*key || strlen(key) > AGENT_LABEL_KEY_MAX || (*key >= '0' && *key <= '9'))
        return false;
    for (const char *c = key; *c; c++) {
        if (!is_alnum(*c) && *c != '_' && ((*c != '.' && *c != '-') || c == key))
            return false;
    }
    return true;
}

const char *agent_labels_next(
    const char *labels, size_t size, size_t *cursor, const char **ret_value)
{
    if (*cursor >= size)
        return NULL;
    const char *key = labels + *cursor;
    *ret_value = key + strlen(key) + 1;
    *cursor += strlen(key) + strlen(*ret_value) + 2;
    return key;
}

const char *agent_spec_next_label(
    const struct agent_spec *spec, size_t *cursor, const char **ret_value)
{
    return agent_labels_next(spec->labels, spec->labels_size, cursor, ret_value);
}

bool agent_labels_sound(const char *labels, size_t size)
{
    size_t strings = 0;
    for (size_t i = 0; i < size; i++)
        strings += labels[i] == 0;
    return size == 0 || (strings % 2 == 0 && labels[size - 1] == 0);
}

static void remove_label(struct agent_spec *spec, const char *key)
{
    const char *found, *value;
    for (size_t cursor = 0, start = 0;; start = cursor) {
        found = agent_spec_next_label(spec, &cursor, &value);
        if (!found)
            return;
        if (strcmp(found, key) == 0) {
            memmove(spec->labels + start, spec->labels + cursor, spec->labels_size - cursor);
            spec->labels_size -= (uint32_t)(cursor - start);
            return;
        }
    }
}

int agent_spec_set_label(
    struct agent_spec *spec, const char *key, const char *value, struct ac_error *error)
{
    if (!label_key_valid(key))
        return error_set(error, -EINVAL,
            "label \"%.64s\": a key is 1 to %d letters, digits, '_', '.' or '-' and starts with a "
            "letter or '_'",
            key, AGENT_LABEL_KEY_MAX);
    struct agent_spec changed = *spec;
    remove_label(&changed, key);
    size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
    if (value_size > AGENT_LABELS_MAX_BYTES ||
        changed.labels_size + key_size + value_size > AGENT_LABELS_MAX_BYTES)
        return error_set(error, -ENOSPC, "labels: keys and values take more than %d bytes",
            AGENT_LABELS_MAX_BYTES);
    memcpy(changed.labels + changed.labels_size, key, key_size);
    memcpy(changed.labels + changed.labels_size + key_size, value, value_size);
    changed.labels_size += (uint32_t)(key_size + value_size);
    *spec = changed;
    return 0;
}
