/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/agent_options.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "model/usage.h"

static bool is_utf8(const char *text)
{
    json_t *string cleanup_json = json_string(text);
    return string != NULL;
}

static int set_labels(const struct cli *cli, const struct opt_list *labels, struct agent_spec *spec)
{
    for (size_t i = 0; i < labels->n_items; i++) {
        const char *item = labels->items[i], *equals = strchr(item, '=');
        struct ac_error error = {0};
        char key[AGENT_LABEL_KEY_MAX + 2] = "";
        if (!equals)
            return cli_usage(cli, "--label: '%.100s' is not KEY=VALUE", item);
        if (!is_utf8(item))
            return cli_usage(cli, "--label: '%.100s' is not valid UTF-8", item);
        if ((size_t)(equals - item) < sizeof(key))
            memcpy(key, item, (size_t)(equals - item));
        if (agent_spec_set_label(spec, key, equals + 1, &error) < 0)
            return cli_usage(cli, "--label %.100s: %s", item, error.message);
    }
    return 0;
}

int agent_options_spec(
    const struct cli *cli, const struct agent_options *options, struct agent_spec *ret_spec)
{
    struct agent_spec spec = {.philosophy = (enum ac_philosophy)options->philosophy};
    const char *name = options->agent_template;
    if (options->id) {
        int code = cli_check_id(cli, options->id);
        if (code != 0)
            return code;
        memcpy(spec.id, options->id, strlen(options->id) + 1);
    }
    if (name && (*name == 0 || strlen(name) > AGENT_TEMPLATE_MAX || !is_utf8(name)))
        return cli_usage(cli, "--template: a name has 1 to %d bytes of UTF-8", AGENT_TEMPLATE_MAX);
    if (name)
        memcpy(spec.agent_template, name, strlen(name) + 1);
    spec.limits = (struct agent_limits){.max_cpu_cores = options->cpu_cores,
        .max_memory_mb = (double)options->memory_bytes / USAGE_MIB,
        .max_execution_time_seconds = (double)options->time_ns / (double)NS_PER_SEC,
        .max_file_descriptors = options->file_descriptors};
    int code = set_labels(cli, &options->labels, &spec);
    if (code != 0)
        return code;
    *ret_spec = spec;
    return 0;
}

static json_t *limits_body(const struct agent_limits *limits)
{
    json_t *body = json_object();
    if (limits->max_cpu_cores > 0)
        json_object_set_new(body, "max_cpu_cores", json_real(limits->max_cpu_cores));
    if (limits->max_memory_mb > 0)
        json_object_set_new(body, "max_memory_mb", json_real(limits->max_memory_mb));
    if (limits->max_execution_time_seconds > 0)
        json_object_set_new(
            body, "max_execution_time_seconds", json_real(limits->max_execution_time_seconds));
    if (limits->max_file_descriptors > 0)
        json_object_set_new(
            body, "max_file_descriptors", json_integer((json_int_t)limits->max_file_descriptors));
    return body;
}

static json_t *labels_body(const struct agent_spec *spec)
{
    json_t *body = json_object();
    size_t cursor = 0;
    const char *key, *value;
    while ((key = agent_spec_next_label(spec, &cursor, &value)))
        json_object_set_new(body, key, json_string(value));
    return body;
}

json_t *agent_spec_body(const struct agent_spec *spec)
{
    json_t *body = json_object(), *limits = limits_body(&spec->limits);
    json_t *labels = labels_body(spec);
    json_object_set_new(body, "philosophy", json_string(ac_philosophy_name(spec->philosophy)));
    if (spec->agent_template[0])
        json_object_set_new(body, "template", json_string(spec->agent_template));
    if (spec->command[0])
        json_object_set_new(body, "command", json_string(spec->command));
    if (spec->root_pid > 0)
        json_object_set_new(body, "pid", json_integer(spec->root_pid));
    if (json_object_size(limits) > 0)
        json_object_set(body, "limits", limits);
    if (json_object_size(labels) > 0)
        json_object_set(body, "labels", labels);
    json_decref(limits);
    json_decref(labels);
    return body;
}

void agent_spec_make_id(struct agent_spec *spec, const char *command, int pid)
{
    const char *slash = strrchr(command, '/'), *name = slash ? slash + 1 : command;
    char safe[65] = "";
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof(safe); n++) {
        unsigned char c = (unsigned char)name[n];
        safe[n] = c < 0x80 && (isalnum(c) || c == '_' || c == '-') ? (char)c : '_';
    }
    snprintf(spec->id, sizeof(spec->id), "%s-%d", n > 0 ? safe : "agent", pid);
}

void agent_spec_set_command(struct agent_spec *spec, char *const *words)
{
    struct buf text CLEANUP(buf_done) = {0};
    for (; *words; words++) {
        if (text.size > 0)
            buf_append_char(&text, ' ');
        text_safe(&text, *words);
        if (text.size > AGENT_COMMAND_MAX)
            break;
    }
    size_t length = MIN(text.size, (size_t)AGENT_COMMAND_MAX);
    /* Not within a character: continuation bytes are 10xxxxxx. */
    while (length > 0 && length < text.size && ((unsigned char)text.data[length] & 0xc0) == 0x80)
        length--;
    if (text.failed || length == 0)
        return;
    memcpy(spec->command, text.data, length);
    spec->command[length] = 0;
}
