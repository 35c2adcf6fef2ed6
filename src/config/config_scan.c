/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config_scan.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"

enum { DEPTH_MAX = 16, MARKS_MAX = 1000, NAME_MAX_BYTES = 256 };

/* @depth counts open mappings and sequences; at depth 1 and 2, where those are mappings,
 * @key alternates between names and values. */
struct scan {
    const char *file;
    const char *text;
    size_t size;
    struct marks *marks;
    struct ac_error *error;
    yaml_parser_t parser;
    int documents;
    int depth;
    bool in_section; /* depth 2 is the mapping of a section */
    bool have_key;   /* a name was read and its value comes next */
    size_t section;  /* index of the mark that the section belongs to */
};

void marks_done(struct marks *marks)
{
    for (size_t i = 0; i < marks->count; i++) {
        mem_free(marks->items[i].section);
        mem_free(marks->items[i].name);
    }
    mem_free(marks->items);
    *marks = (struct marks){0};
}

const struct mark *marks_find(const struct marks *marks, const char *section, const char *name)
{
    for (size_t i = 0; i < marks->count; i++) {
        if (strcmp(marks->items[i].name, name) == 0 &&
            strcmp(marks->items[i].section, section) == 0)
            return &marks->items[i];
    }
    return NULL;
}

static int fail(const struct scan *scan, const yaml_event_t *event, const char *what)
{
    return error_set(
        scan->error, -EINVAL, "%s:%zu: %s", scan->file, event->start_mark.line + 1, what);
}

/* libyaml's reader knows the byte only, its scanner and parser the line. */
static int fail_syntax(const struct scan *scan)
{
    const yaml_parser_t *parser = &scan->parser;
    size_t line = parser->problem_mark.line + 1;
    if (parser->error == YAML_MEMORY_ERROR)
        return error_set(scan->error, -ENOMEM, "%s: no memory", scan->file);
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < scan->size; i++)
            line += scan->text[i] == '\n';
    }
    return error_set(scan->error, -EINVAL, "%s:%zu: not YAML: %s", scan->file, line,
        parser->problem ? parser->problem : "syntax error");
}

static int add_mark(struct scan *scan, const yaml_event_t *event)
{
    struct marks *marks = scan->marks;
    const char *section = scan->in_section ? marks->items[scan->section].name : "";
    const char *name = (const char *)event->data.scalar.value;
    if (strlen(name) != event->data.scalar.length || event->data.scalar.length > NAME_MAX_BYTES)
        return fail(scan, event, "a key is too long or has a NUL");
    if (marks_find(marks, section, name))
        return error_set(scan->error, -EINVAL,
            "%s:%zu: %s%s%.64s: is here twice (before in line %d)", scan->file,
            event->start_mark.line + 1, section, *section ? "." : "", name,
            marks_find(marks, section, name)->line);
    if (marks->count == MARKS_MAX)
        return fail(scan, event, "too many keys");
    struct mark *items = mem_resize_array(marks->items, marks->count + 1, sizeof(*items));
    if (!items)
        return error_set(scan->error, -ENOMEM, "%s: no memory", scan->file);
    marks->items = items;
    struct mark *mark = &items[marks->count++];
    *mark = (struct mark){.section = mem_strdup(section),
        .name = mem_strdup(name),
        .line = (int)event->start_mark.line + 1};
    if (!mark->section || !mark->name)
        return error_set(scan->error, -ENOMEM, "%s: no memory", scan->file);
    scan->have_key = true;
    return 0;
}

/* Whether the event stands directly in the root mapping or in a section's. */
static bool at_keys(const struct scan *scan)
{
    return scan->depth == 1 || (scan->depth == 2 && scan->in_section);
}

static int on_scalar(struct scan *scan, const yaml_event_t *event)
{
    if (scan->depth == 0) {
        /* "---" alone is a document with an empty scalar. */
        return event->data.scalar.length == 0
                   ? 0
                   : fail(scan, event, "a list of \"key: value\" lines belongs here");
    }
    if (!at_keys(scan))
        return 0;
    if (!scan->have_key)
        return add_mark(scan, event);
    struct mark *mark = &scan->marks->items[scan->marks->count - 1];
    mark->empty = event->data.scalar.length == 0;
    mark->length = event->data.scalar.length;
    scan->have_key = false;
    if (strlen((const char *)event->data.scalar.value) != mark->length)
        return fail(scan, event, "a value has a NUL");
    return 0;
}

static int on_open(struct scan *scan, const yaml_event_t *event, enum mark_shape shape)
{
    if (scan->depth == 0 && shape != MARK_MAPPING)
        return fail(scan, event, "a list of \"key: value\" lines belongs here");
    if (at_keys(scan)) {
        if (!scan->have_key)
            return fail(scan, event, "a key must be a word");
        scan->marks->items[scan->marks->count - 1].shape = shape;
        scan->have_key = false;
        if (scan->depth == 1 && shape == MARK_MAPPING) {
            scan->in_section = true;
            scan->section = scan->marks->count - 1;
        }
    }
    if (++scan->depth > DEPTH_MAX)
        return fail(scan, event, "nested too deeply");
    return 0;
}

static int on_close(struct scan *scan)
{
    scan->depth--;
    if (scan->depth == 1)
        scan->in_section = false;
    return 0;
}

static int on_event(struct scan *scan, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++scan->documents > 1)
            return fail(scan, event, "a second document begins here; one is read");
        return 0;
    case YAML_ALIAS_EVENT:
        return fail(scan, event, "aliases (*name) are not supported");
    case YAML_SCALAR_EVENT:
        return on_scalar(scan, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(scan, event, MARK_MAPPING);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(scan, event, MARK_SEQUENCE);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_close(scan);
    default:
        return 0;
    }
}

static int scan_events(struct scan *scan)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&scan->parser, &event))
            return fail_syntax(scan);
        bool end = event.type == YAML_STREAM_END_EVENT;
        int r = on_event(scan, &event);
        yaml_event_delete(&event);
        if (r < 0 || end)
            return r;
    }
}

int marks_scan(const char *file, const char *text, size_t size, struct marks *ret_marks,
    struct ac_error *error)
{
    struct scan scan = {
        .file = file, .text = text, .size = size, .marks = ret_marks, .error = error};
    if (!yaml_parser_initialize(&scan.parser))
        return error_set(error, -ENOMEM, "%s: no memory", file);
    yaml_parser_set_input_string(&scan.parser, (const unsigned char *)text, size);
    int r = scan_events(&scan);
    yaml_parser_delete(&scan.parser);
    return r;
}
