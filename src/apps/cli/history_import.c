/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history import: a file goes family by family, the history tick by tick. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/cli/history_om.h"
#include "apps/cli/history_store.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/map.h"
#include "store/history.h"

#define SAMPLES_MAX  50000000
#define SUBJECTS_MAX 100000

struct import_sample {
    int64_t wall_ms;
    uint32_t subject;
    uint32_t family;
    double value;
};

struct import_subject {
    uint32_t index;
    char name[AC_AGENT_ID_MAX + 1];
};

struct import {
    const struct cli *cli;
    struct history *history;
    struct import_sample *samples;
    size_t n_samples, room;
    struct strmap *by_name; /* of struct import_subject */
    struct import_subject **subjects;
    size_t n_subjects, subjects_room;
    uint64_t others, ticks;
};

static void import_done(struct import *import)
{
    for (size_t i = 0; i < import->n_subjects; i++)
        mem_free(import->subjects[i]);
    mem_free(import->subjects);
    mem_free(import->samples);
    strmap_free(import->by_name);
    history_close(import->history);
}

/* ---- Reading */

static int find_subject(struct import *import, const char *name, uint32_t *ret_index)
{
    struct import_subject *subject = strmap_get(import->by_name, name);
    if (subject) {
        *ret_index = subject->index;
        return 0;
    }
    if (import->n_subjects == SUBJECTS_MAX)
        return -E2BIG;
    if (import->n_subjects == import->subjects_room) {
        size_t room = MAX(import->subjects_room * 2, (size_t)16);
        void *subjects = mem_resize_array(import->subjects, room, sizeof(*import->subjects));
        if (!subjects)
            return -ENOMEM;
        import->subjects = subjects;
        import->subjects_room = room;
    }
    subject = mem_alloc(sizeof(*subject));
    if (!subject)
        return -ENOMEM;
    subject->index = (uint32_t)import->n_subjects;
    snprintf(subject->name, sizeof(subject->name), "%s", name);
    import->subjects[import->n_subjects++] = subject;
    *ret_index = subject->index;
    return strmap_put(import->by_name, subject->name, subject);
}

static int keep_sample(struct import *import, const struct om_sample *sample)
{
    uint32_t subject;
    int r = find_subject(import, sample->subject, &subject);
    if (r < 0)
        return r;
    if (import->n_samples == SAMPLES_MAX)
        return -E2BIG;
    if (import->n_samples == import->room) {
        size_t room = MAX(import->room * 2, (size_t)4096);
        void *samples = mem_resize_array(import->samples, room, sizeof(*import->samples));
        if (!samples)
            return -ENOMEM;
        import->samples = samples;
        import->room = room;
    }
    import->samples[import->n_samples++] = (struct import_sample){.wall_ms = sample->wall_ms,
        .subject = subject,
        .family = (uint32_t)(sample->family - om_families),
        .value = sample->value};
    return 0;
}

static int read_lines(struct import *import, FILE *in, const char *path)
{
    char line[4096];
    bool ended = false;
    for (uint64_t number = 1; fgets(line, sizeof(line), in); number++) {
        struct om_sample sample;
        struct ac_error error = {0};
        size_t length = strlen(line);
        bool whole = length > 0 && line[length - 1] == '\n';
        line[length - whole] = 0;
        int kind = ended   ? error_set(&error, -EINVAL, "something behind # EOF")
                   : whole ? om_read_line(line, &sample, &error)
                           : error_set(&error, -EINVAL, "a line that is cut or too long");
        ended = kind == OM_EOF;
        import->others += kind == OM_OTHER;
        if (kind == -EINVAL)
            return cli_fail(
                import->cli, EXIT_FAILED, "%s:%" PRIu64 ": %s", path, number, error.message);
        int r = kind == OM_SAMPLE ? keep_sample(import, &sample) : 0;
        if (r == -E2BIG)
            return cli_fail(import->cli, EXIT_FAILED,
                "%s: more than %d samples or %d agents: split it by time", path, SAMPLES_MAX,
                SUBJECTS_MAX);
        if (r < 0)
            return cli_fail(import->cli, EXIT_FAILED, "out of memory");
    }
    if (ferror(in))
        return cli_fail(import->cli, EXIT_FAILED, "%s: cannot be read", path);
    if (!ended)
        return cli_fail(import->cli, EXIT_FAILED, "%s: # EOF is missing: it was cut off", path);
    return 0;
}

/* ---- Writing */

static int by_time(const void *a, const void *b)
{
    const struct import_sample *left = a, *right = b;
    if (left->wall_ms != right->wall_ms)
        return left->wall_ms < right->wall_ms ? -1 : 1;
    return (left->subject > right->subject) - (left->subject < right->subject);
}

/* Room for one tick of all subjects. */
struct tick {
    struct history_row *rows;
    struct ac_usage *usages;
    struct history_totals *totals;
    size_t n;
};

static void tick_done(struct tick *tick)
{
    mem_free(tick->rows);
    mem_free(tick->usages);
    mem_free(tick->totals);
}

static void put_total(struct tick *tick, size_t row, uint32_t counter, double value)
{
    struct history_totals *totals = &tick->totals[row];
    uint64_t amount = (uint64_t)llround(fmin(counter == 1 ? value * 1e9 : value, 1e18));
    *(counter == 1     ? &totals->cpu_ns
        : counter == 2 ? &totals->disk_bytes
                       : &totals->network_bytes) = amount;
    totals->known |= counter;
    tick->rows[row].totals = totals;
}

/* The samples of one moment, which are sorted by subject, as a tick. Returns how many. */
static size_t make_tick(const struct import *import, size_t first, struct tick *tick)
{
    const struct import_sample *samples = import->samples;
    size_t i = first, n = 0;
    for (; i < import->n_samples && samples[i].wall_ms == samples[first].wall_ms; i++) {
        const struct om_family *family = &om_families[samples[i].family];
        if (i == first || samples[i].subject != samples[i - 1].subject) {
            ac_usage_init(&tick->usages[n]);
            tick->usages[n].known = 0;
            tick->totals[n] = (struct history_totals){0};
            tick->rows[n] = (struct history_row){
                .subject = import->subjects[samples[i].subject]->name, .usage = &tick->usages[n]};
            n++;
        }
        if (family->counter)
            put_total(tick, n - 1, family->counter, samples[i].value);
        else
            om_usage_set(&tick->usages[n - 1], family, samples[i].value);
    }
    tick->n = n;
    return i - first;
}

static int write_ticks(struct import *import)
{
    struct tick tick CLEANUP(tick_done) = {
        .rows = mem_alloc_array(import->n_subjects, sizeof(*tick.rows)),
        .usages = mem_alloc_array(import->n_subjects, sizeof(*tick.usages)),
        .totals = mem_alloc_array(import->n_subjects, sizeof(*tick.totals))};
    struct ac_error error = {0};
    if (!tick.rows || !tick.usages || !tick.totals)
        return cli_fail(import->cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < import->n_samples; import->ticks++) {
        int64_t when_ns = import->samples[i].wall_ms * 1000000;
        i += make_tick(import, i, &tick);
        int r = history_tick(import->history, when_ns, tick.rows, tick.n, &error);
        if (r < 0)
            return cli_fail(
                import->cli, EXIT_FAILED, "%s", error.message[0] ? error.message : strerror(-r));
    }
    return 0;
}

static int stop_at_first(void *userdata, const struct history_subject *subject)
{
    (void)userdata;
    (void)subject;
    return 1;
}

/* Time only goes on. */
static int check_newer(const struct import *import)
{
    struct ac_error error = {0};
    int64_t first = import->samples[0].wall_ms * 1000000;
    int64_t last = MAX(clock_wall_ns(), first) + 86400 * (int64_t)NS_PER_SEC;
    int r = history_subjects(
        import->history, HISTORY_ANYBODY, first, last, 1, stop_at_first, NULL, &error);
    if (r < 0)
        return cli_fail(import->cli, EXIT_FAILED, "%s", error.message);
    if (r > 0)
        return cli_fail(import->cli, EXIT_REFUSED,
            "there is history of the same time or later: import into a directory of its own");
    return 0;
}

static int import_file(struct import *import, FILE *in, const char *state, const char *path)
{
    if (strmap_new((uint64_t)clock_wall_ns(), &import->by_name) < 0)
        return cli_fail(import->cli, EXIT_FAILED, "out of memory");
    int code = read_lines(import, in, path);
    if (code == 0 && import->n_samples == 0)
        code = cli_fail(import->cli, EXIT_FAILED, "%s: no samples of agentcore's history", path);
    if (code == 0)
        code = history_open_state(import->cli, state, true, &import->history);
    if (code != 0)
        return code;
    qsort(import->samples, import->n_samples, sizeof(*import->samples), by_time);
    code = check_newer(import);
    return code == 0 ? write_ticks(import) : code;
}

static int print_counts(const struct import *import)
{
    json_t *counts cleanup_json = json_object();
    json_object_set_new(counts, "samples", json_integer((json_int_t)import->n_samples));
    json_object_set_new(counts, "subjects", json_integer((json_int_t)import->n_subjects));
    json_object_set_new(counts, "ticks", json_integer((json_int_t)import->ticks));
    json_object_set_new(counts, "others", json_integer((json_int_t)import->others));
    return cli_print_json(import->cli, counts, false);
}

int history_import(const struct cli *cli, const char *state, const char *path)
{
    struct import import CLEANUP(import_done) = {.cli = cli};
    bool standard = strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "re");
    if (!in)
        return cli_fail(cli, EXIT_FAILED, "%s: %s", path, strerror(errno));
    int code = import_file(&import, in, state, path);
    if (!standard)
        fclose(in);
    if (code != 0)
        return code;
    if (cli->common.json)
        return print_counts(&import);
    printf("%zu samples of %zu subjects in %" PRIu64 " ticks", import.n_samples, import.n_subjects,
        import.ticks);
    if (import.others > 0)
        printf("; %" PRIu64 " of other metrics left out", import.others);
    putchar('\n');
    return 0;
}
