/* SPDX-License-Identifier: Apache-2.0 */
#include "net/openmetrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/usage.h"
#include "net/json_write.h"

enum metric_type { GAUGE, COUNTER, INFO };

/* What all getters look at: read once per scrape. */
struct scrape {
    const struct net_context *context;
    const struct net_peer *peer;
    bool open; /* OpenMetrics, else Prometheus */
    struct buf *out;
    struct ac_system_metrics system;
    const struct machine_record *machine;
    struct net_daemon_stats daemon;
    double available_cpu, available_memory;
    uint64_t agents[AC_PHILOSOPHY_COUNT][AGENT_STATE_COUNT];
    uint64_t alerts[AC_SEVERITY_COUNT];
    uint64_t allocations[3]; /* by enum ac_allocation_status */
    uint64_t agents_omitted;
    struct core_pool pools[AC_PHILOSOPHY_COUNT];
    struct net_server_stats http;
    bool stored; /* there is a history on disk */
    struct history_status history;
    bool tiers_known;
    struct history_tier tiers[HISTORY_TIERS];
};

/* NaN = unknown: no sample. @index counts the label values of the family. */
typedef double (*metric_value)(const struct scrape *scrape, size_t index);
typedef double (*agent_value)(const struct agent *agent);

struct metric {
    const char *name; /* without _total */
    const char *help;
    enum metric_type type;
    const char *unit; /* of OpenMetrics: the name's ending; NULL = none */
    metric_value value;
    const char *label;        /* NULL = one sample without label */
    const char *const *words; /* the label's values, NULL-terminated */
    agent_value agent;        /* instead of .value: one sample per agent */
};

static double known(bool is_known, double value)
{
    return is_known ? value : (double)NAN;
}

static double seconds(uint64_t ns)
{
    return (double)ns / NS_PER_SEC;
}

/* How long nothing has been recorded. */
static double gap_seconds(const struct history_status *status)
{
    int64_t gap = clock_wall_ns() - status->failing_since_ns;
    return status->failing_since_ns > 0 && gap > 0 ? seconds((uint64_t)gap) : 0;
}

#define VALUE(name, expression)                                                                    \
    static double name(const struct scrape *s, size_t i)                                           \
    {                                                                                              \
        (void)s;                                                                                   \
        (void)i;                                                                                   \
        return (expression);                                                                       \
    }

#define MACHINE(bit, expression) known(s->machine->known &(bit), (double)(expression))
#define USED(bit, expression)    known(s->system.current_usage.known &(bit), (double)(expression))

VALUE(build_info, (1))
VALUE(cpu_capacity, known(s->system.capacity_cores > 0, s->system.capacity_cores))
VALUE(cpu_ratio, USED(AC_KNOWN_CPU_PERCENT, s->system.current_usage.cpu_percent / 100))
VALUE(cpu_seconds, MACHINE(MACHINE_KNOWN_CPU, seconds(s->machine->cpu_busy_ns)))
VALUE(memory_capacity, MACHINE(MACHINE_KNOWN_MEMORY, s->machine->capacity_memory_bytes))
VALUE(memory_used, MACHINE(MACHINE_KNOWN_MEMORY, s->machine->memory_used_bytes))
VALUE(memory_ratio, USED(AC_KNOWN_MEMORY_PERCENT, s->system.current_usage.memory_percent / 100))
VALUE(disk_read, MACHINE(MACHINE_KNOWN_DISK, s->machine->disk_read_bytes))
VALUE(disk_written, MACHINE(MACHINE_KNOWN_DISK, s->machine->disk_written_bytes))
VALUE(net_received, MACHINE(MACHINE_KNOWN_NETWORK, s->machine->net_received_bytes))
VALUE(net_sent, MACHINE(MACHINE_KNOWN_NETWORK, s->machine->net_sent_bytes))
VALUE(open_files, MACHINE(MACHINE_KNOWN_FDS, s->machine->fds))
VALUE(open_files_max, known((s->machine->known & MACHINE_KNOWN_FDS) && s->machine->fds_max > 0,
                          (double)s->machine->fds_max))
VALUE(memory_stall, MACHINE(MACHINE_KNOWN_PRESSURE, s->machine->memory_full_percent / 100))
VALUE(cpu_available, known(s->system.capacity_cores > 0, s->available_cpu / 100))
VALUE(memory_available, known(s->system.capacity_cores > 0, s->available_memory))
VALUE(alerts, (double)s->alerts[i])
VALUE(alerts_dropped, (double)rules_dropped(core_rules(s->context->core)))
VALUE(allocations, (double)s->allocations[i])
VALUE(pool_scale, s->pools[i].scale)
VALUE(pool_agents, s->pools[i].agents)
VALUE(pool_ratio, s->pools[i].utilization_percent / 100)
VALUE(agents_running, (double)s->agents[i][AGENT_RUNNING])
VALUE(agents_exited, (double)s->agents[i][AGENT_EXITED])
VALUE(agents_orphans, (double)s->agents[i][AGENT_ORPHANS])
VALUE(agents_omitted, (double)s->agents_omitted)
VALUE(ticks, (double)s->daemon.ticks)
VALUE(ticks_missed, (double)s->daemon.ticks_missed)
VALUE(tick_seconds, seconds(s->daemon.tick_sum_ns))
VALUE(tick_last, known(s->daemon.ticks > 0, seconds(s->daemon.tick_last_ns)))
VALUE(tick_max, known(s->daemon.ticks > 0, seconds(s->daemon.tick_max_ns)))
VALUE(daemon_cpu, seconds(s->daemon.cpu_ns))
VALUE(daemon_rss, known(s->daemon.rss_bytes > 0, (double)s->daemon.rss_bytes))
VALUE(daemon_uptime, seconds(s->daemon.uptime_ns))
VALUE(events_lost, (double)core_events_lost(s->context->core))
VALUE(samples_lost, (double)s->daemon.samples_lost)
VALUE(hist_file, known(s->stored, (double)s->history.file_bytes))
VALUE(hist_memory, known(s->stored, (double)s->history.memory_bytes))
VALUE(hist_rows, known(s->tiers_known, (double)s->tiers[i].rows))
VALUE(hist_oldest,
    known(s->tiers_known && s->tiers[i].rows > 0, seconds((uint64_t)s->tiers[i].oldest_ns)))
VALUE(hist_subjects, known(s->stored, s->history.subjects))
VALUE(hist_ticks, known(s->stored, (double)s->history.ticks))
VALUE(hist_failed, known(s->stored, (double)s->history.failed_ticks))
VALUE(hist_refused, known(s->stored, (double)s->history.refused_ticks))
VALUE(hist_waiting, known(s->stored, s->history.waiting_ticks))
VALUE(hist_gap, known(s->stored, gap_seconds(&s->history)))
VALUE(hist_damaged, known(s->stored, (double)s->history.damaged))
VALUE(hist_commit, known(s->stored, seconds(s->history.commit_sum_ns)))
VALUE(hist_commit_last, known(s->history.ticks > 0, seconds(s->history.commit_last_ns)))
VALUE(hist_commit_max, known(s->history.ticks > 0, seconds(s->history.commit_max_ns)))
VALUE(queries, (double)s->http.queries[i])
VALUE(queries_running, s->http.queries_running)
VALUE(queries_waiting, s->http.queries_waiting)
VALUE(http_requests, (double)s->http.requests[i + 1])
VALUE(http_connections, (double)s->http.connections)
VALUE(http_limited, (double)s->http.requests_limited)
VALUE(http_refused, (double)s->http.connections_refused)
VALUE(http_expired, (double)s->http.connections_expired)
VALUE(http_streams, (double)s->http.streams)
VALUE(http_streams_refused, (double)s->http.streams_refused)
VALUE(http_streams_slow, (double)s->http.streams_slow)

#define AGENT(name, expression)                                                                    \
    static double name(const struct agent *a)                                                      \
    {                                                                                              \
        return (expression);                                                                       \
    }
#define TOTAL(bit, expression) known(a->totals.known &(bit), (double)(expression))

AGENT(agent_cpu_seconds, TOTAL(TOTALS_KNOWN_CPU, seconds(a->totals.cpu_ns)))
AGENT(agent_cpu_ratio, known(a->usage.known &AC_KNOWN_CPU_PERCENT, a->usage.cpu_percent / 100))
AGENT(agent_memory, known(a->usage.known &AC_KNOWN_MEMORY_MB, a->usage.memory_mb *USAGE_MIB))
AGENT(agent_memory_peak, TOTAL(TOTALS_KNOWN_MEMORY, a->totals.memory_peak_bytes))
AGENT(agent_pss, isnan(a->pss_mb) ? NAN : a->pss_mb *USAGE_MIB)
AGENT(agent_pss_age, a->pss_age_seconds)
AGENT(agent_disk_read, TOTAL(TOTALS_KNOWN_DISK, a->totals.disk_read_bytes))
AGENT(agent_disk_written, TOTAL(TOTALS_KNOWN_DISK, a->totals.disk_written_bytes))
AGENT(agent_net_received, TOTAL(TOTALS_KNOWN_NETWORK, a->totals.net_received_bytes))
AGENT(agent_net_sent, TOTAL(TOTALS_KNOWN_NETWORK, a->totals.net_sent_bytes))
AGENT(agent_open_files,
    known(a->usage.known &AC_KNOWN_FILE_DESCRIPTORS, (double)a->usage.file_descriptors))
AGENT(agent_processes, TOTAL(TOTALS_KNOWN_PROCESSES, a->processes))
AGENT(agent_gpu_memory, isnan(a->gpu_memory_mb) ? NAN : a->gpu_memory_mb *USAGE_MIB)
AGENT(agent_gpu_ratio, isnan(a->gpu_percent) ? NAN : a->gpu_percent / 100)
AGENT(agent_processes_started, TOTAL(TOTALS_KNOWN_PROCESSES, a->totals.processes_total))

static const char *const words_version[] = {AC_VERSION, NULL};
static const char *const words_tier[] = {"raw", "minutes", "hours", "days", NULL};
static const char *const words_outcome[] = {"done", "refused", "cancelled", "late", NULL};
static const char *const words_code[] = {"1xx", "2xx", "3xx", "4xx", "5xx", NULL};

#define ONE(metric_name, metric_type, metric_unit, getter, text)                                   \
    {                                                                                              \
        .name = "agentcore_" metric_name, .help = (text), .type = (metric_type),                   \
        .unit = (metric_unit), .value = (getter)                                                   \
    }
#define EACH(metric_name, metric_type, metric_unit, getter, by, values, text)                      \
    {                                                                                              \
        .name = "agentcore_" metric_name, .help = (text), .type = (metric_type),                   \
        .unit = (metric_unit), .value = (getter), .label = (by), .words = (values)                 \
    }
#define PER_AGENT(metric_name, metric_type, metric_unit, getter, text)                             \
    {                                                                                              \
        .name = "agentcore_agent_" metric_name, .help = (text), .type = (metric_type),             \
        .unit = (metric_unit), .agent = (getter)                                                   \
    }

static const struct metric metrics[] = {
    EACH("build", INFO, NULL, build_info, "version", words_version, "The daemon's version."),
    ONE("machine_cpu_capacity_cores", GAUGE, "cores", cpu_capacity,
        "Cores that the daemon and its agents may use."),
    ONE("machine_cpu_usage_ratio", GAUGE, "ratio", cpu_ratio, "CPU in use, of capacity."),
    ONE("machine_cpu_seconds", COUNTER, "seconds", cpu_seconds, "CPU time used."),
    ONE("machine_memory_capacity_bytes", GAUGE, "bytes", memory_capacity,
        "Memory that the daemon and its agents may use."),
    ONE("machine_memory_used_bytes", GAUGE, "bytes", memory_used,
        "Capacity less what is available."),
    ONE("machine_memory_usage_ratio", GAUGE, "ratio", memory_ratio, "Memory in use, of capacity."),
    ONE("machine_memory_stall_ratio", GAUGE, "ratio", memory_stall,
        "Part of the last ten seconds in which all tasks waited for memory."),
    ONE("machine_disk_read_bytes", COUNTER, "bytes", disk_read, "Read from whole disks."),
    ONE("machine_disk_written_bytes", COUNTER, "bytes", disk_written, "Written to whole disks."),
    ONE("machine_network_received_bytes", COUNTER, "bytes", net_received,
        "Received, without loopback."),
    ONE("machine_network_sent_bytes", COUNTER, "bytes", net_sent, "Sent, without loopback."),
    ONE("machine_open_files", GAUGE, NULL, open_files, "Open files of the whole system."),
    ONE("machine_open_files_limit", GAUGE, NULL, open_files_max,
        "Open files that the system allows."),
    ONE("available_cpu_ratio", GAUGE, "ratio", cpu_available,
        "CPU that is free to give away, of capacity, before headroom."),
    ONE("available_memory_bytes", GAUGE, "bytes", memory_available,
        "Memory that is free to give away, before headroom."),
    EACH("agents_running", GAUGE, NULL, agents_running, "philosophy", words_philosophy,
        "Agents that live."),
    EACH("agents_exited", GAUGE, NULL, agents_exited, "philosophy", words_philosophy,
        "Agents that ended and are still shown."),
    EACH("agents_orphans", GAUGE, NULL, agents_orphans, "philosophy", words_philosophy,
        "Agents that ended and left processes behind."),
    ONE("agents_omitted", GAUGE, NULL, agents_omitted,
        "Agents without series of their own here, because there are too many."),
    EACH("alerts", GAUGE, NULL, alerts, "severity", words_severity,
        "Firing alerts that nobody acknowledged."),
    ONE("alerts_dropped", COUNTER, NULL, alerts_dropped, "Alerts beyond the cap."),
    EACH("allocations", GAUGE, NULL, allocations, "status", words_status,
        "Reservations and queued requests."),
    EACH("pool_scale", GAUGE, NULL, pool_scale, "philosophy", words_philosophy,
        "Agents that the pool should have, as recorded."),
    EACH("pool_agents", GAUGE, NULL, pool_agents, "philosophy", words_philosophy,
        "Agents that the pool has."),
    EACH("pool_utilization_ratio", GAUGE, "ratio", pool_ratio, "philosophy", words_philosophy,
        "Use of what the pool's agents may use."),
    ONE("ticks", COUNTER, NULL, ticks, "Passes over all agents."),
    ONE("ticks_missed", COUNTER, NULL, ticks_missed, "Passes whose deadline was missed."),
    ONE("tick_duration_seconds", COUNTER, "seconds", tick_seconds, "Time spent in passes."),
    ONE("tick_last_duration_seconds", GAUGE, "seconds", tick_last, "Duration of the last pass."),
    ONE("tick_longest_duration_seconds", GAUGE, "seconds", tick_max,
        "Duration of the longest pass."),
    ONE("daemon_cpu_seconds", COUNTER, "seconds", daemon_cpu, "CPU time of the daemon itself."),
    ONE("daemon_resident_memory_bytes", GAUGE, "bytes", daemon_rss, "Memory of the daemon itself."),
    ONE("daemon_uptime_seconds", GAUGE, "seconds", daemon_uptime, "Since the daemon's start."),
    ONE("events_lost", COUNTER, NULL, events_lost, "Events dropped from the full queue."),
    ONE("samples_lost", COUNTER, NULL, samples_lost, "Process records that did not fit."),
    ONE("history_file_bytes", GAUGE, "bytes", hist_file,
        "The history on disk, without free pages."),
    ONE("history_memory_bytes", GAUGE, "bytes", hist_memory, "Memory that the history keeps."),
    EACH("history_rows", GAUGE, NULL, hist_rows, "tier", words_tier,
        "Rows of the history; each holds several agents."),
    EACH("history_oldest_timestamp_seconds", GAUGE, "seconds", hist_oldest, "tier", words_tier,
        "Unix time of the oldest row."),
    ONE("history_subjects", GAUGE, NULL, hist_subjects, "Agents, and the machine, recorded now."),
    ONE("history_ticks", COUNTER, NULL, hist_ticks, "Passes that were recorded."),
    ONE("history_ticks_failed", COUNTER, NULL, hist_failed, "Passes that the disk refused."),
    ONE("history_ticks_refused", COUNTER, NULL, hist_refused,
        "Passes that found too many waiting for the disk."),
    ONE("history_ticks_waiting", GAUGE, NULL, hist_waiting, "Passes that wait for the disk."),
    ONE("history_gap_seconds", GAUGE, "seconds", hist_gap,
        "How long nothing could be recorded; 0 while it can."),
    ONE("history_damaged", COUNTER, NULL, hist_damaged, "Parts that could not be read."),
    ONE("history_commit_duration_seconds", COUNTER, "seconds", hist_commit,
        "Time spent recording passes."),
    ONE("history_commit_last_duration_seconds", GAUGE, "seconds", hist_commit_last,
        "Time that recording the last pass took."),
    ONE("history_commit_longest_duration_seconds", GAUGE, "seconds", hist_commit_max,
        "The longest of them."),
    EACH("history_queries", COUNTER, NULL, queries, "outcome", words_outcome,
        "Queries of the history: done, refused at the cap, cancelled with their client, too late."),
    ONE("history_queries_running", GAUGE, NULL, queries_running, "Queries that run now."),
    ONE("history_queries_waiting", GAUGE, NULL, queries_waiting, "Queries that wait for a thread."),
    EACH("http_requests", COUNTER, NULL, http_requests, "code", words_code, "Requests answered."),
    ONE("http_requests_limited", COUNTER, NULL, http_limited,
        "Requests of users who sent too many in a short time."),
    ONE("http_connections", GAUGE, NULL, http_connections, "Connections now."),
    ONE("http_connections_refused", COUNTER, NULL, http_refused, "Connections above the cap."),
    ONE("http_connections_expired", COUNTER, NULL, http_expired,
        "Connections ended because the client was too slow."),
    ONE("http_streams", GAUGE, NULL, http_streams, "Event streams now."),
    ONE("http_streams_refused", COUNTER, NULL, http_streams_refused,
        "Event streams above the cap."),
    ONE("http_streams_slow", COUNTER, NULL, http_streams_slow,
        "Event streams dropped because the client fell behind."),
    PER_AGENT("cpu_seconds", COUNTER, "seconds", agent_cpu_seconds,
        "CPU time of all processes it ever had."),
    PER_AGENT("cpu_usage_ratio", GAUGE, "ratio", agent_cpu_ratio, "CPU in use, of capacity."),
    PER_AGENT("memory_bytes", GAUGE, "bytes", agent_memory, "Memory in use."),
    PER_AGENT("memory_peak_bytes", GAUGE, "bytes", agent_memory_peak, "The most it ever used."),
    PER_AGENT("memory_pss_bytes", GAUGE, "bytes", agent_pss,
        "Memory of its processes, pages that n processes share counted 1/n in each."),
    PER_AGENT("memory_pss_age_seconds", GAUGE, "seconds", agent_pss_age,
        "Age of the oldest reading in memory_pss_bytes."),
    PER_AGENT("disk_read_bytes", COUNTER, "bytes", agent_disk_read, "Read from disk."),
    PER_AGENT("disk_written_bytes", COUNTER, "bytes", agent_disk_written, "Written to disk."),
    PER_AGENT("network_received_bytes", COUNTER, "bytes", agent_net_received,
        "Received, without loopback."),
    PER_AGENT("network_sent_bytes", COUNTER, "bytes", agent_net_sent, "Sent, without loopback."),
    PER_AGENT("open_files", GAUGE, NULL, agent_open_files, "Open files."),
    PER_AGENT("processes", GAUGE, NULL, agent_processes, "Processes now."),
    PER_AGENT(
        "processes_started", COUNTER, NULL, agent_processes_started, "Processes it ever had."),
    PER_AGENT("gpu_memory_bytes", GAUGE, "bytes", agent_gpu_memory, "GPU memory in use."),
    PER_AGENT("gpu_usage_ratio", GAUGE, "ratio", agent_gpu_ratio,
        "GPU in use, of one device: above 1 where it uses several."),
};

const char *openmetrics_name(size_t index)
{
    return index < ARRAY_SIZE(metrics) ? metrics[index].name : NULL;
}

/* ---- Writing */

static void write_head(const struct scrape *scrape, const struct metric *metric)
{
    static const char *const types[] = {"gauge", "counter", "info"};
    static const char *const endings[] = {"", "_total", "_info"};
    struct buf *out = scrape->out;
    /* In the older text the type belongs to the sample's name, and info is unknown. */
    const char *ending = scrape->open ? "" : endings[metric->type];
    const char *type = !scrape->open && metric->type == INFO ? "gauge" : types[metric->type];
    buf_printf(out, "# HELP %s%s %s\n", metric->name, ending, metric->help);
    buf_printf(out, "# TYPE %s%s %s\n", metric->name, ending, type);
    if (scrape->open && metric->unit)
        buf_printf(out, "# UNIT %s %s\n", metric->name, metric->unit);
}

static void write_name(const struct scrape *scrape, const struct metric *metric)
{
    static const char *const endings[] = {"", "_total", "_info"};
    buf_append_str(scrape->out, metric->name);
    buf_append_str(scrape->out, endings[metric->type]);
}

static void write_value(const struct scrape *scrape, double value)
{
    buf_append_char(scrape->out, ' ');
    number_format(scrape->out, value);
    buf_append_char(scrape->out, '\n');
}

static void write_values(const struct scrape *scrape, const struct metric *metric)
{
    for (size_t i = 0; metric->label ? metric->words[i] != NULL : i == 0; i++) {
        double value = metric->value(scrape, i);
        if (!isfinite(value))
            continue;
        write_name(scrape, metric);
        if (metric->label)
            buf_printf(scrape->out, "{%s=\"%s\"}", metric->label, metric->words[i]);
        write_value(scrape, value);
    }
}

static bool visible(const struct scrape *scrape, const struct agent *agent)
{
    return scrape->peer->privileged || agent->spec.owner_uid == scrape->peer->uid;
}

/* Ids are [A-Za-z0-9_-]: nothing to escape. */
static void write_agents(const struct scrape *scrape, const struct metric *metric)
{
    const struct registry *registry = core_registry(scrape->context->core);
    agent_slot cursor = 0;
    const struct agent *agent;
    size_t count = 0;
    while (count < METRICS_AGENTS_MAX && (agent = registry_next(registry, &cursor))) {
        if (agent->state == AGENT_EXITED || !visible(scrape, agent))
            continue;
        count++;
        double value = metric->agent(agent);
        if (!isfinite(value))
            continue;
        write_name(scrape, metric);
        buf_printf(scrape->out, "{agent=\"%s\",philosophy=\"%s\"}", agent->spec.id,
            ac_philosophy_name(agent->spec.philosophy));
        write_value(scrape, value);
    }
}

/* ---- Reading the state once */

static void count_agents(struct scrape *scrape)
{
    const struct registry *registry = core_registry(scrape->context->core);
    agent_slot cursor = 0;
    const struct agent *agent;
    uint64_t with_series = 0;
    while ((agent = registry_next(registry, &cursor))) {
        scrape->agents[agent->spec.philosophy][agent->state]++;
        if (agent->state != AGENT_EXITED && visible(scrape, agent))
            with_series++;
    }
    if (with_series > METRICS_AGENTS_MAX)
        scrape->agents_omitted = with_series - METRICS_AGENTS_MAX;
}

static void count_rest(struct scrape *scrape)
{
    struct core *core = scrape->context->core;
    const struct ac_alert *alert;
    const struct ac_allocation *allocation;
    size_t cursor = 0;
    while ((alert = rules_next(core_rules(core), &cursor))) {
        if (alert->state == AC_ALERT_FIRING && !alert->acknowledged)
            scrape->alerts[alert->severity]++;
    }
    cursor = 0;
    while ((allocation = ledger_next(core_ledger(core), &cursor)))
        scrape->allocations[allocation->status]++;
}

int openmetrics_write(
    const struct net_context *context, const struct net_peer *peer, bool open, struct buf *out)
{
    struct scrape scrape = {.context = context, .peer = peer, .open = open, .out = out};
    uint64_t memory = 0;
    core_system(context->core, &scrape.system);
    scrape.machine = registry_machine(core_registry(context->core));
    context_daemon_stats(context, &scrape.daemon);
    ledger_available(core_ledger(context->core), &scrape.available_cpu, &memory);
    scrape.available_memory = (double)memory;
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        core_pool(context->core, (enum ac_philosophy)i, clock_moment(), &scrape.pools[i]);
    if (context->server) {
        net_server_stats(context->server, &scrape.http);
        scrape.tiers_known = net_server_tiers(context->server, scrape.tiers);
    }
    scrape.stored = context->history && context->store;
    if (scrape.stored)
        history_status(context->history, &scrape.history);
    count_agents(&scrape);
    count_rest(&scrape);
    for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
        write_head(&scrape, &metrics[i]);
        if (metrics[i].agent)
            write_agents(&scrape, &metrics[i]);
        else
            write_values(&scrape, &metrics[i]);
    }
    if (open)
        buf_append_str(out, "# EOF\n");
    return out->failed ? -ENOMEM : 0;
}
