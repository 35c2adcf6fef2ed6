/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "config/config_rules.h"
#include "config/config_scan.h"
#include "config/config_schema.h"
#include "config/config_table.h"

enum { FILE_SIZE_MAX = 1 << 20, KEY_SIZE = 64 + 64 + 2, PROBLEM_SIZE = 240 };

/* ---- Defaults ----------------------------------------------------------------------------- */

/* A variable of the environment that must be an absolute path, or NULL. */
static const char *path_variable(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

static int set_path(char **target, struct buf *path)
{
    char *text = buf_take(path, NULL);
    if (!text)
        return -ENOMEM;
    mem_free(*target);
    *target = text;
    return 0;
}

/* What a service has under /run and /var/lib an ordinary user has in places of their own. */
static int user_defaults(struct config *config)
{
    struct buf socket CLEANUP(buf_done) = {0}, state CLEANUP(buf_done) = {0};
    const char *runtime = path_variable("XDG_RUNTIME_DIR");
    const char *state_home = path_variable("XDG_STATE_HOME"), *home = path_variable("HOME");
    if (geteuid() == 0)
        buf_append_str(&socket, "/run/agentcore/agentcore.sock");
    else if (runtime)
        buf_printf(&socket, "%s/agentcore.sock", runtime);
    else
        buf_printf(&socket, "/tmp/agentcore-%u/agentcore.sock", (unsigned)geteuid());
    if (geteuid() == 0)
        buf_append_str(&state, "/var/lib/agentcore");
    else if (state_home)
        buf_printf(&state, "%s/agentcore", state_home);
    else if (home)
        buf_printf(&state, "%s/.local/state/agentcore", home);
    else
        buf_printf(&state, "/tmp/agentcore-%u/state", (unsigned)geteuid());
    int r = set_path(&config->socket, &socket);
    return r < 0 ? r : set_path(&config->state, &state);
}

void config_done(struct config *config)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        if (config_settings[i].kind == SETTING_TEXT)
            mem_free(*(char **)((char *)config + config_settings[i].offset));
    }
    mem_free(config->discovery.rules);
    *config = (struct config){0};
}

int config_defaults(struct config *ret_config)
{
    struct config config = {0};
    char problem[PROBLEM_SIZE];
    ac_limits_init(&config.limits);
    int r = user_defaults(&config);
    for (size_t i = 0; r == 0 && i < config_setting_count; i++) {
        if (config_settings[i].default_text)
            r = setting_parse(&config_settings[i], config_settings[i].default_text, &config,
                problem, sizeof(problem));
    }
    if (r < 0) {
        config_done(&config);
        return r;
    }
    *ret_config = config;
    return 0;
}

/* ---- Loading ------------------------------------------------------------------------------ */

struct load {
    const char *file;
    const struct marks *marks;
    struct config *config;
    struct ac_error *error;
};

/* "FILE:LINE: KEY: PROBLEM"; without line where the file does not have the key. */
static int fail_setting(
    const struct load *load, const struct setting *setting, int code, const char *problem)
{
    char key[KEY_SIZE];
    const struct mark *mark = marks_find(load->marks, setting->section, setting->name);
    setting_key(setting, key, sizeof(key));
    if (!mark)
        return error_set(load->error, code, "%s: %s: %s", load->file, key, problem);
    return error_set(load->error, code, "%s:%d: %s: %s", load->file, mark->line, key, problem);
}

static int on_text(void *userdata, size_t index, const char *text)
{
    struct load *load = userdata;
    char problem[PROBLEM_SIZE];
    int r = setting_parse(&config_settings[index], text, load->config, problem, sizeof(problem));
    return r < 0 ? fail_setting(load, &config_settings[index], r, problem) : 0;
}

static bool is_section(const char *name)
{
    for (size_t i = 1; i < config_section_count; i++) {
        if (strcmp(config_sections[i].name, name) == 0)
            return true;
    }
    return false;
}

/* How many letters must change to make one word of the other; words of up to 40 letters. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[41];
    size_t n = strlen(b);
    if (strlen(a) > 40 || n > 40)
        return 99;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(MIN(row[j], row[j - 1]) + 1, change);
        }
    }
    return row[n];
}

/* The key somebody may have meant: of a like name in the same section, or of that name in
 * another. "" where none comes near. */
static void suggest(const struct mark *mark, char *ret_key, size_t size)
{
    const struct setting *best = NULL;
    unsigned best_distance = 3;
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct setting *setting = &config_settings[i];
        unsigned d = distance(mark->name, setting->name);
        if (strcmp(setting->section, mark->section) != 0)
            d = d == 0 ? 2 : 99;
        if (d < best_distance) {
            best_distance = d;
            best = setting;
        }
    }
    ret_key[0] = 0;
    if (best)
        setting_key(best, ret_key, size);
    for (size_t i = 1; !best && !*mark->section && i < config_section_count; i++) {
        if (distance(mark->name, config_sections[i].name) < 3)
            snprintf(ret_key, size, "%s", config_sections[i].name);
    }
}

static int fail_unknown(const struct load *load, const struct mark *mark)
{
    char meant[KEY_SIZE];
    suggest(mark, meant, sizeof(meant));
    return error_set(load->error, -EINVAL, "%s:%d: %s%s%.64s: is not a setting%s%s%s", load->file,
        mark->line, mark->section, *mark->section ? "." : "", mark->name,
        *meant ? "; did you mean " : "", meant, *meant ? "?" : "");
}

/* Says in our words, with the line, what libcyaml refused. */
static int explain(const struct load *load, const char *problem)
{
    for (size_t i = 0; i < load->marks->count; i++) {
        const struct mark *mark = &load->marks->items[i];
        bool section = !*mark->section && is_section(mark->name);
        const struct setting *setting = setting_find(mark->section, mark->name);
        if (strcmp(mark->section, "discovery") == 0 && strcmp(mark->name, "rules") == 0)
            continue;
        if (!section && !setting)
            return fail_unknown(load, mark);
        if (section && mark->shape != MARK_MAPPING && !mark->empty)
            return error_set(load->error, -EINVAL,
                "%s:%d: %s: is a section: settings belong below it, indented", load->file,
                mark->line, mark->name);
        if (setting && mark->shape != MARK_SCALAR)
            return fail_setting(load, setting, -EINVAL, "takes a single value, not a list");
        if (setting && mark->length > SCHEMA_TEXT_MAX)
            return fail_setting(load, setting, -EINVAL, "is too long");
    }
    return error_set(load->error, -EINVAL, "%s: %s", load->file, problem);
}

static int load_text(const struct load *load, const char *text, size_t size)
{
    char problem[PROBLEM_SIZE];
    const struct setting *setting = NULL;
    int r;
    if (load->marks->count > 0) {
        r = schema_load(text, size, on_text, (void *)load, problem, sizeof(problem));
        if (r == -ENOMEM)
            return error_set(load->error, r, "%s: no memory", load->file);
        if (r == -EINVAL && *problem)
            return explain(load, problem);
        if (r < 0)
            return r; /* on_text has said it */
        r = rules_load(load->file, text, size, load->config, load->error);
        if (r < 0)
            return r;
    }
    r = settings_check_together(load->config, &setting, problem, sizeof(problem));
    if (r < 0)
        return fail_setting(load, setting, r, problem);
    struct ac_error limits = {0};
    r = ac_limits_validate(&load->config->limits, &limits);
    return r < 0 ? error_set(load->error, r, "%s: limits.%s", load->file, limits.message) : 0;
}

int config_parse(const char *name, const char *text, size_t size, struct config *ret_config,
    struct ac_error *error)
{
    struct marks marks CLEANUP(marks_done) = {0};
    struct config config CLEANUP(config_done) = {0};
    const char *nul = size > 0 ? memchr(text, 0, size) : NULL;
    if (size > FILE_SIZE_MAX)
        return error_set(error, -EFBIG, "%s: larger than 1 MiB", name);
    if (nul)
        return error_set(error, -EINVAL, "%s: byte %zu is NUL: this is no text file in UTF-8", name,
            (size_t)(nul - text) + 1);
    int r = config_defaults(&config);
    if (r < 0)
        return error_set(error, r, "%s: no memory", name);
    r = marks_scan(name, text, size, &marks, error);
    if (r < 0)
        return r;
    const struct load load = {.file = name, .marks = &marks, .config = &config, .error = error};
    r = load_text(&load, text, size);
    if (r < 0)
        return r;
    *ret_config = config;
    config = (struct config){0};
    return 0;
}

int config_load(const char *path, struct config *ret_config, struct ac_error *error)
{
    struct stat status;
    int fd cleanup_close = io_openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(error, fd, "%s", path);
    if (fstat(fd, &status) < 0)
        return error_errno(error, -errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(error, -EINVAL, "%s: is not a regular file", path);
    if (status.st_size > FILE_SIZE_MAX)
        return error_set(error, -EFBIG, "%s: larger than 1 MiB", path);
    /* Room for a file that grows meanwhile, so that it is refused, not cut. */
    size_t capacity = FILE_SIZE_MAX + 2;
    char *text cleanup_free = mem_alloc(capacity);
    if (!text)
        return error_set(error, -ENOMEM, "%s: no memory", path);
    ssize_t size = io_read_again(fd, text, capacity);
    if (size < 0)
        return error_errno(error, (int)size, "%s", path);
    return config_parse(path, text, (size_t)size, ret_config, error);
}

const char *config_needs_restart(const struct config *old, const struct config *new_config)
{
    static _Thread_local char key[KEY_SIZE];
    for (size_t i = 0; i < config_setting_count; i++) {
        if (config_settings[i].restart && !setting_equal(&config_settings[i], old, new_config)) {
            setting_key(&config_settings[i], key, sizeof(key));
            return key;
        }
    }
    return NULL;
}
