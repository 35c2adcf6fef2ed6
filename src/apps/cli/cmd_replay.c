/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentcore replay: feeds a recording through the pipeline with the recording's own clock, and
 * tells what would have been measured and alerted on.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/cli/cli.h"
#include "apps/cli/replay_usage.h"
#include "base/io.h"
#include "config/config.h"
#include "engine/core.h"
#include "model/usage.h"
#include "os/record.h"

#define REPLAY_AGENTS_MAX 100000

struct replay_options {
    const char *config_path;
    double speed;
    bool events;
    bool usage;
};

#define REPLAY(field) offsetof(struct replay_options, field)

static const struct opt replay_table[] = {
    {"config", 'c', OPT_TEXT, "FILE", "take limits and scaling from this configuration",
        REPLAY(config_path), 0, 0},
    {"events", 'e', OPT_FLAG, NULL, "print every event", REPLAY(events), 0, 0},
    {"speed", 0, OPT_REAL, "FACTOR", "1 = as it was recorded (default: as fast as it goes)",
        REPLAY(speed), 0.001, 1e6},
    {"usage", 'u', OPT_FLAG, NULL, "print every agent's usage at every sample (CSV, JSON)",
        REPLAY(usage), 0, 0},
    {NULL},
};

/* What is told of an agent at the end, kept when it goes. */
struct ended_agent {
    char id[AC_AGENT_ID_MAX + 1];
    struct agent_totals totals;
    double seconds;
    double gpu_memory_peak_mb, pss_mb; /* NaN = unknown */
};

struct told {
    agent_slot slot;
    bool added; /* else removed */
    struct agent_spec spec;
};

struct replay {
    struct cli *cli;
    const struct replay_options *options;
    struct core *core;
    struct replay_usage *usage; /* NULL = not asked for */
    struct moment now;          /* of the last sample */
    uint64_t samples, alerts;
    double seconds;
    struct ended_agent *ended;
    size_t n_ended, ended_capacity;
    struct told *told;
    size_t n_told, told_capacity;
    int failure; /* of the callback */
};

static void keep_agent(struct replay *replay, const struct agent *agent)
{
    if (replay->n_ended == replay->ended_capacity) {
        size_t capacity = MAX(replay->ended_capacity * 2, (size_t)16);
        struct ended_agent *ended = mem_resize_array(replay->ended, capacity, sizeof(*ended));
        if (!ended) {
            replay->failure = -ENOMEM;
            return;
        }
        replay->ended = ended;
        replay->ended_capacity = capacity;
    }
    struct moment end = agent->state == AGENT_EXITED ? agent->ended : replay->now;
    struct ended_agent *kept = &replay->ended[replay->n_ended++];
    *kept = (struct ended_agent){.totals = agent->totals,
        .seconds = (double)moment_since(end, agent->added) / NS_PER_SEC,
        .gpu_memory_peak_mb = agent->gpu_memory_peak_mb,
        .pss_mb = agent->pss_mb};
    snprintf(kept->id, sizeof(kept->id), "%s", agent->spec.id);
}

/* Somebody came or went before the next sample: kept until that sample tells the time. */
static void replay_told(void *userdata, agent_slot slot, const struct agent_spec *spec)
{
    struct replay *replay = userdata;
    if (replay->n_told == replay->told_capacity) {
        size_t capacity = MAX(replay->told_capacity * 2, (size_t)8);
        struct told *told = mem_resize_array(replay->told, capacity, sizeof(*told));
        if (!told) {
            replay->failure = -ENOMEM;
            return;
        }
        replay->told = told;
        replay->told_capacity = capacity;
    }
    struct told *told = &replay->told[replay->n_told++];
    *told = (struct told){.slot = slot, .added = spec != NULL};
    if (spec)
        told->spec = *spec;
}

/* Slots in the samples are the recorder's: ours must be the same, and are, as both give out slots
 * in the same order. */
static int apply_told(struct replay *replay)
{
    int r = replay->failure;
    for (size_t i = 0; r == 0 && i < replay->n_told; i++) {
        const struct told *told = &replay->told[i];
        const struct agent *agent = registry_at(core_registry(replay->core), told->slot);
        if (told->added) {
            r = core_agent_add(replay->core, &told->spec, replay->now, &agent, NULL);
            if (r == 0 && agent->slot != told->slot)
                r = -EBADMSG;
        } else if (agent) {
            char id[AC_AGENT_ID_MAX + 1];
            snprintf(id, sizeof(id), "%s", agent->spec.id);
            keep_agent(replay, agent);
            r = core_agent_remove(replay->core, id, replay->now);
        }
    }
    replay->n_told = 0;
    return r;
}

static void print_event(const struct replay *replay, const struct event *event)
{
    char when[TEXT_SHORT];
    text_rfc3339(when, event->time_ns);
    if (replay->cli->common.json) {
        json_t *line cleanup_json =
            json_pack("{s:s, s:s, s:s?, s:s}", "time", when, "kind", event_kind_name(event->kind),
                "agent_id", event->agent_id[0] ? event->agent_id : NULL, "text", event->text);
        if (line)
            (void)cli_print_json(replay->cli, line, true);
        return;
    }
    struct buf text CLEANUP(buf_done) = {0};
    text_safe(&text, event->text);
    if (!text.failed)
        printf("%s  %-13s  %s\n", when, event_kind_name(event->kind), text.data);
}

static void drain(struct replay *replay)
{
    struct event event;
    while (core_next_event(replay->core, &event)) {
        replay->alerts += event.kind == EVENT_ALERT;
        if (replay->options->events)
            print_event(replay, &event);
    }
}

static void keep_pace(struct replay *replay, uint64_t gap_ns)
{
    if (!(replay->options->speed > 0) || replay->samples == 0)
        return;
    double seconds = fmin((double)gap_ns / NS_PER_SEC / replay->options->speed, 3600);
    struct timespec pause = {
        .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&pause, NULL);
}

/* All samples. Returns 0 at the end of the recording, else -errno. */
static int replay_samples(struct replay *replay, struct collector_source *source)
{
    struct sample sample;
    for (;;) {
        int r = source->ops->read(source, &sample);
        if (r < 0)
            return r == -ENODATA ? replay->failure : r;
        uint64_t gap = mono_since(sample.when.mono, replay->now.mono);
        keep_pace(replay, gap);
        if (replay->samples > 0)
            replay->seconds += (double)gap / NS_PER_SEC;
        replay->now = sample_moment(&sample);
        r = apply_told(replay);
        if (r == 0)
            r = core_tick(replay->core, &sample);
        if (r < 0)
            return r;
        replay->samples++;
        drain(replay);
        if (replay->usage)
            r = replay_usage_print(replay->usage, core_registry(replay->core), sample.when);
        if (r < 0)
            return r;
    }
}

/* ---- The end */

static double total(const struct agent_totals *totals, uint32_t known, double value)
{
    return totals->known & known ? value : NAN;
}

static json_t *agent_json(const struct ended_agent *agent)
{
    const struct agent_totals *t = &agent->totals;
    return json_pack("{s:s, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", agent->id,
        "seconds", agent->seconds, "cpu_seconds",
        field_real(total(t, TOTALS_KNOWN_CPU, (double)t->cpu_ns / NS_PER_SEC)), "memory_peak_mb",
        field_real(total(t, TOTALS_KNOWN_MEMORY, (double)t->memory_peak_bytes / USAGE_MIB)),
        "disk_read_mb",
        field_real(total(t, TOTALS_KNOWN_DISK, (double)t->disk_read_bytes / USAGE_MIB)),
        "disk_write_mb",
        field_real(total(t, TOTALS_KNOWN_DISK, (double)t->disk_written_bytes / USAGE_MIB)),
        "network_mb",
        field_real(total(t, TOTALS_KNOWN_NETWORK,
            (double)(t->net_received_bytes + t->net_sent_bytes) / USAGE_MIB)),
        "processes_total", field_real(total(t, TOTALS_KNOWN_PROCESSES, (double)t->processes_total)),
        "file_descriptors_peak", field_real(total(t, TOTALS_KNOWN_FDS, (double)t->fds_peak)),
        "gpu_memory_peak_mb", field_real(agent->gpu_memory_peak_mb), "pss_mb",
        field_real(agent->pss_mb));
}

static int print_result_json(const struct replay *replay, bool cut)
{
    json_t *agents = json_array();
    for (size_t i = 0; i < replay->n_ended; i++)
        json_array_append_new(agents, agent_json(&replay->ended[i]));
    json_t *result cleanup_json = json_pack("{s:I, s:f, s:b, s:I, s:o}", "samples",
        (json_int_t)replay->samples, "seconds", replay->seconds, "cut", cut, "alert_transitions",
        (json_int_t)replay->alerts, "agents", agents);
    if (!result)
        return cli_fail(replay->cli, EXIT_FAILED, "out of memory");
    return cli_print_json(replay->cli, result, replay->options->events);
}

static const struct table_column result_columns[] = {
    {"AGENT", false, 8, 0},
    {"TIME", true, 0, 0},
    {"CPU TIME", true, 0, 0},
    {"MEM PEAK", true, 0, 0},
    {"READ", true, 0, 2},
    {"WRITTEN", true, 0, 2},
    {"NET", true, 0, 1},
    {"GPU MEM", true, 0, 3},
    {"PROCS", true, 0, 0},
};

static int print_result(const struct replay *replay, bool cut)
{
    struct table *table CLEANUP(table_freep) = NULL;
    char text[TEXT_SHORT];
    printf("%llu samples over %s, %llu alert transitions%s\n", (unsigned long long)replay->samples,
        text_duration(text, replay->seconds), (unsigned long long)replay->alerts,
        cut ? "; the file was cut in the middle of one" : "");
    if (table_new(result_columns, ARRAY_SIZE(result_columns), &table) < 0)
        return cli_fail(replay->cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < replay->n_ended; i++) {
        const struct ended_agent *agent = &replay->ended[i];
        const struct agent_totals *t = &agent->totals;
        double values[] = {total(t, TOTALS_KNOWN_MEMORY, (double)t->memory_peak_bytes / USAGE_MIB),
            total(t, TOTALS_KNOWN_DISK, (double)t->disk_read_bytes / USAGE_MIB),
            total(t, TOTALS_KNOWN_DISK, (double)t->disk_written_bytes / USAGE_MIB),
            total(t, TOTALS_KNOWN_NETWORK,
                (double)(t->net_received_bytes + t->net_sent_bytes) / USAGE_MIB),
            agent->gpu_memory_peak_mb};
        table_row(table);
        table_cell(table, agent->id, STYLE_BOLD);
        table_cell(table, text_duration(text, agent->seconds), STYLE_NONE);
        table_cell(table,
            text_duration(text, total(t, TOTALS_KNOWN_CPU, (double)t->cpu_ns / NS_PER_SEC)),
            STYLE_NONE);
        for (size_t v = 0; v < ARRAY_SIZE(values); v++)
            table_cell(table, text_size(text, values[v]), STYLE_NONE);
        table_cell(table,
            text_count(text, total(t, TOTALS_KNOWN_PROCESSES, (double)t->processes_total)),
            STYLE_NONE);
    }
    return table_print(table, stdout, replay->cli->width, replay->cli->colour) < 0
               ? cli_fail(replay->cli, EXIT_FAILED, "out of memory")
               : 0;
}

static int replay_core(struct replay *replay)
{
    struct core_options options;
    struct ac_error error;
    core_options_init(&options);
    options.max_agents = REPLAY_AGENTS_MAX;
    options.exited_retention_ns = UINT64_MAX; /* the recording tells when they go */
    if (replay->options->config_path) {
        struct config config;
        if (config_load(replay->options->config_path, &config, &error) < 0)
            return cli_fail(replay->cli, EXIT_USAGE, "%s", error.message);
        options.limits = config.limits;
        config_done(&config);
    }
    int r = core_new(&options, &replay->core);
    return r < 0 ? cli_fail(replay->cli, EXIT_FAILED, "%s", strerror(-r)) : 0;
}

static int replay_file(struct replay *replay, const char *path)
{
    struct collector_source *source;
    struct ac_error error = {0};
    const struct agent *agent;
    agent_slot slot = 0;
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : io_openat(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0)
        return cli_fail(replay->cli, EXIT_FAILED, "%s: %s", path, strerror(-fd));
    int r = replay_open(fd, replay_told, replay, &source, &error);
    if (r < 0) {
        close(fd);
        return cli_fail(replay->cli, EXIT_FAILED, "%s: %s", path, error.message);
    }
    r = replay_samples(replay, source);
    bool cut = replay_was_cut(source);
    source->ops->free(source);
    if (r < 0)
        return cli_fail(replay->cli, EXIT_FAILED, "%s: after %llu samples: %s", path,
            (unsigned long long)replay->samples,
            r == -EBADMSG ? "the file is damaged behind them" : strerror(-r));
    while ((agent = registry_next(core_registry(replay->core), &slot)))
        keep_agent(replay, agent);
    if (replay->usage)
        return 0;
    return replay->cli->common.json ? print_result_json(replay, cut) : print_result(replay, cut);
}

static int replay_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct replay replay = {.cli = cli, .options = data};
    (void)n_operands;
    if (replay.options->usage && replay.options->events)
        return cli_usage(cli, "--usage and --events exclude each other");
    int code = replay_core(&replay);
    if (code == 0 && replay.options->usage && replay_usage_new(cli->common.json, &replay.usage) < 0)
        code = cli_fail(cli, EXIT_FAILED, "out of memory");
    if (code == 0)
        code = replay_file(&replay, operands[0]);
    replay_usage_free(replay.usage);
    core_free(replay.core);
    mem_free(replay.ended);
    mem_free(replay.told);
    return code;
}

const struct command cmd_replay = {
    .name = "replay",
    .operands = "FILE",
    .summary = "Feed a recording through the pipeline and tell the outcome",
    .details = "The recording's own clock drives thresholds and totals, so a day replays in "
               "seconds. \"-\" reads standard input.",
    .options = replay_table,
    .options_size = sizeof(struct replay_options),
    .least_operands = 1,
    .most_operands = 1,
    .run = replay_run,
};
