/* SPDX-License-Identifier: Apache-2.0 */
#include "net/json_encode.h"

#include <math.h>

#include "base/mem.h"
#include "model/usage.h"

const char *scale_direction_name(enum scale_direction direction)
{
    static const char *const names[] = {
        [SCALE_HOLD] = "hold", [SCALE_UP] = "up", [SCALE_DOWN] = "down"};
    return (size_t)direction < ARRAY_SIZE(names) ? names[direction] : "unknown";
}

const char *agent_source_name(const struct agent *agent)
{
    static const char *const names[] = {"none", "measured", "reported", "both"};
    return names[(agent->measured.known != 0) + 2 * (agent->reported.known != 0)];
}

/* "" stands for "none" in the fixed-size texts of model/. */
static void field_text_or_null(struct json_writer *w, const char *key, const char *text)
{
    json_field_text(w, key, text && *text ? text : NULL);
}

void encode_usage(struct json_writer *w, const struct ac_usage *usage)
{
    uint32_t known = usage->known;
    json_object_begin(w);
    json_field_double_or_null(w, "cpu_percent", known & AC_KNOWN_CPU_PERCENT, usage->cpu_percent);
    json_field_double_or_null(w, "cpu_cores", known & AC_KNOWN_CPU_CORES, usage->cpu_cores);
    json_field_double_or_null(w, "memory_mb", known & AC_KNOWN_MEMORY_MB, usage->memory_mb);
    json_field_double_or_null(
        w, "memory_percent", known & AC_KNOWN_MEMORY_PERCENT, usage->memory_percent);
    json_field_double_or_null(w, "disk_io_mbps", known & AC_KNOWN_DISK_IO, usage->disk_io_mbps);
    json_field_double_or_null(
        w, "network_io_mbps", known & AC_KNOWN_NETWORK_IO, usage->network_io_mbps);
    json_field_uint_or_null(
        w, "file_descriptors", known & AC_KNOWN_FILE_DESCRIPTORS, usage->file_descriptors);
    json_field_time(w, "timestamp", usage->timestamp_ns);
    json_object_end(w);
}

void encode_limits(struct json_writer *w, const struct ac_limits *limits)
{
    json_object_begin(w);
    json_field_double(w, "max_cpu_percent", limits->max_cpu_percent);
    json_field_double(w, "max_memory_percent", limits->max_memory_percent);
    json_field_double(w, "max_disk_io_mbps", limits->max_disk_io_mbps);
    json_field_double(w, "max_network_io_mbps", limits->max_network_io_mbps);
    json_field_uint(w, "max_file_descriptors", limits->max_file_descriptors);
    json_field_double(w, "alert_threshold_percent", limits->alert_threshold_percent);
    json_field_double(w, "emergency_memory_percent", limits->emergency_memory_percent);
    json_field_double(
        w, "emergency_file_descriptor_percent", limits->emergency_file_descriptor_percent);
    json_field_double(w, "emergency_stall_percent", limits->emergency_stall_percent);
    json_field_double(w, "clear_margin_percent", limits->clear_margin_percent);
    json_field_double(w, "for_seconds", limits->for_ms / 1e3);
    json_field_double(w, "renotify_seconds", limits->renotify_ms / 1e3);
    json_object_end(w);
}

void encode_alert(struct json_writer *w, const struct ac_alert *alert)
{
    json_object_begin(w);
    json_field_text(w, "id", alert->alert_id);
    field_text_or_null(w, "agent_id", alert->agent_id);
    json_field_text(w, "rule", alert->rule);
    json_field_text(w, "resource", ac_resource_name(alert->resource));
    json_field_text(w, "severity", ac_severity_name(alert->severity));
    json_field_text(w, "state", ac_alert_state_name(alert->state));
    json_field_bool(w, "acknowledged", alert->acknowledged);
    json_field_text(w, "message", alert->message);
    json_field_double(w, "threshold", alert->threshold);
    json_field_double(w, "current_value", alert->current_value);
    json_field_time(w, "started", alert->started_ns);
    json_field_time(w, "updated", alert->updated_ns);
    json_field_time(w, "ended", alert->ended_ns);
    json_object_end(w);
}

void encode_allocation(struct json_writer *w, const struct ac_allocation *allocation)
{
    json_object_begin(w);
    json_field_text(w, "id", allocation->allocation_id);
    json_field_text(w, "agent_id", allocation->agent_id);
    json_field_text(w, "policy", ac_allocation_policy_name(allocation->policy));
    json_field_text(w, "status", ac_allocation_status_name(allocation->status));
    json_field_double(w, "cpu_percent", allocation->cpu_percent);
    json_field_double(w, "memory_mb", allocation->memory_mb);
    json_field_double(w, "execution_time_seconds", allocation->execution_time_seconds);
    json_field_double(w, "available_cpu_percent", allocation->available_cpu_percent);
    json_field_double(w, "available_memory_percent", allocation->available_memory_percent);
    json_field_double(w, "available_memory_mb", allocation->available_memory_mb);
    json_field_double(w, "confidence", allocation->confidence);
    json_field_uint_or_null(
        w, "queue_position", allocation->queue_position != 0, allocation->queue_position);
    json_field_time(w, "created", allocation->created_ns);
    json_field_time(w, "expires", allocation->expires_ns);
    json_field_text(w, "explanation", allocation->explanation);
    json_object_end(w);
}

void encode_prediction(struct json_writer *w, enum ac_philosophy philosophy,
    const char *agent_template, const struct ac_prediction *prediction)
{
    json_object_begin(w);
    json_field_text(w, "philosophy", ac_philosophy_name(philosophy));
    field_text_or_null(w, "template", agent_template);
    json_field_double(w, "cpu_percent", prediction->cpu_percent);
    json_field_double(w, "memory_mb", prediction->memory_mb);
    json_field_double(w, "execution_time_seconds", prediction->execution_time_seconds);
    json_field_double(w, "confidence", prediction->confidence);
    json_field_text(w, "basis", ac_prediction_basis_name(prediction->basis));
    json_field_uint(w, "runs", prediction->runs);
    json_object_end(w);
}

void encode_pool(struct json_writer *w, const struct core_pool *pool)
{
    json_object_begin(w);
    json_field_text(w, "philosophy", ac_philosophy_name(pool->philosophy));
    json_field_uint(w, "scale", pool->scale);
    json_field_uint(w, "agents", pool->agents);
    json_field_double(w, "utilization_percent", pool->utilization_percent);
    json_field_double(w, "cooldown_seconds", (double)pool->cooldown_left_ns / NS_PER_SEC);
    json_key(w, "decision");
    json_object_begin(w);
    json_field_text(w, "direction", scale_direction_name(pool->decision.direction));
    json_field_uint(w, "from", pool->decision.from);
    json_field_uint(w, "to", pool->decision.to);
    json_field_text(w, "reason", pool->decision.reason);
    json_object_end(w);
    json_object_end(w);
}

void encode_event(struct json_writer *w, const struct event *event)
{
    json_object_begin(w);
    json_field_uint(w, "sequence", event->sequence);
    json_field_time(w, "time", event->time_ns);
    json_field_text(w, "kind", event_kind_name(event->kind));
    field_text_or_null(w, "agent_id", event->agent_id);
    json_field_text(w, "text", event->text);
    if (event->kind == EVENT_ALERT) {
        json_key(w, "alert");
        encode_alert(w, &event->of.alert);
    } else if (event->kind == EVENT_ALLOCATION) {
        json_key(w, "allocation");
        encode_allocation(w, &event->of.allocation);
    } else if (event->kind == EVENT_SCALE) {
        json_key(w, "scale");
        json_object_begin(w);
        json_field_text(w, "philosophy", ac_philosophy_name(event->of.scale.philosophy));
        json_field_uint(w, "from", event->of.scale.from);
        json_field_uint(w, "to", event->of.scale.to);
        json_object_end(w);
    } else if (event->kind == EVENT_LOST) {
        json_field_uint(w, "lost", event->of.lost);
    }
    json_object_end(w);
}

static void encode_agent_limits(struct json_writer *w, const struct agent_limits *limits)
{
    json_object_begin(w);
    json_field_double_or_null(w, "max_cpu_cores", limits->max_cpu_cores > 0, limits->max_cpu_cores);
    json_field_double_or_null(w, "max_memory_mb", limits->max_memory_mb > 0, limits->max_memory_mb);
    json_field_double_or_null(w, "max_execution_time_seconds",
        limits->max_execution_time_seconds > 0, limits->max_execution_time_seconds);
    json_field_uint_or_null(
        w, "max_file_descriptors", limits->max_file_descriptors > 0, limits->max_file_descriptors);
    json_object_end(w);
}

static void encode_labels(struct json_writer *w, const struct agent_spec *spec)
{
    size_t cursor = 0;
    const char *key, *value;
    json_object_begin(w);
    while ((key = agent_spec_next_label(spec, &cursor, &value)))
        json_field_text(w, key, value);
    json_object_end(w);
}

static void encode_totals(struct json_writer *w, const struct agent_totals *totals)
{
    uint32_t known = totals->known;
    json_object_begin(w);
    json_field_double_or_null(
        w, "cpu_seconds", known & TOTALS_KNOWN_CPU, (double)totals->cpu_ns / NS_PER_SEC);
    json_field_double_or_null(
        w, "disk_read_mb", known & TOTALS_KNOWN_DISK, (double)totals->disk_read_bytes / USAGE_MIB);
    json_field_double_or_null(w, "disk_write_mb", known & TOTALS_KNOWN_DISK,
        (double)totals->disk_written_bytes / USAGE_MIB);
    json_field_double_or_null(w, "network_mb", known & TOTALS_KNOWN_NETWORK,
        ((double)totals->net_received_bytes + (double)totals->net_sent_bytes) / USAGE_MIB);
    json_field_double_or_null(w, "memory_peak_mb", known & TOTALS_KNOWN_MEMORY,
        (double)totals->memory_peak_bytes / USAGE_MIB);
    json_field_uint_or_null(
        w, "processes_total", known & TOTALS_KNOWN_PROCESSES, totals->processes_total);
    json_field_uint_or_null(w, "file_descriptors_peak", known & TOTALS_KNOWN_FDS, totals->fds_peak);
    json_object_end(w);
}

static void encode_member(struct json_writer *w, const struct proc_record *proc)
{
    char state[2] = {proc->state, 0};
    uint64_t rss = proc->rss_anon_bytes + proc->rss_file_bytes + proc->rss_shmem_bytes;
    json_object_begin(w);
    json_field_int(w, "pid", proc->pid);
    json_field_int(w, "ppid", proc->ppid);
    json_field_text(w, "name", proc->name);
    field_text_or_null(w, "state", state);
    json_field_double_or_null(w, "cpu_seconds", proc->known & PROC_KNOWN_CPU,
        (double)(proc->utime_ns + proc->stime_ns) / NS_PER_SEC);
    json_field_double_or_null(
        w, "memory_mb", proc->known & PROC_KNOWN_RSS, (double)rss / USAGE_MIB);
    json_field_uint_or_null(w, "threads", proc->known & PROC_KNOWN_THREADS, proc->threads);
    json_field_uint_or_null(w, "file_descriptors", proc->known & PROC_KNOWN_FDS, proc->fds);
    json_object_end(w);
}

static void encode_identity(struct json_writer *w, const struct agent *agent)
{
    const struct agent_spec *spec = &agent->spec;
    json_field_text(w, "id", spec->id);
    json_field_text(w, "philosophy", ac_philosophy_name(spec->philosophy));
    field_text_or_null(w, "template", spec->agent_template);
    field_text_or_null(w, "command", spec->command);
    json_field_text(w, "state", agent_state_name(agent->state));
    json_field_uint_or_null(w, "pid", spec->root_pid > 0, (uint64_t)spec->root_pid);
    json_field_uint(w, "uid", spec->owner_uid);
    json_key(w, "labels");
    encode_labels(w, spec);
    json_key(w, "limits");
    encode_agent_limits(w, &spec->limits);
}

void encode_agent(struct json_writer *w, const struct agent *agent, uint64_t active_alerts,
    const struct encode_members *members)
{
    json_object_begin(w);
    encode_identity(w, agent);
    json_key(w, "usage");
    encode_usage(w, &agent->usage);
    json_field_text(w, "source", agent_source_name(agent));
    /* An agent that only reports, or was not seen in a sample yet, has no processes that we know
     * of: that is not none. */
    bool metered = (agent->totals.known & TOTALS_KNOWN_PROCESSES) || agent->processes > 0;
    json_field_uint_or_null(w, "processes", metered, agent->processes);
    json_field_uint_or_null(w, "threads", metered, agent->threads);
    json_field_double(w, "pss_mb", agent->pss_mb);
    json_field_double(w, "pss_age_seconds", agent->pss_age_seconds);
    json_field_double(w, "gpu_memory_mb", agent->gpu_memory_mb);
    json_field_double(w, "gpu_percent", agent->gpu_percent);
    json_key(w, "totals");
    encode_totals(w, &agent->totals);
    json_field_time(w, "started", agent->added.wall_ns);
    json_field_time(w, "ended", agent->ended.wall_ns);
    json_field_uint(w, "active_alerts", active_alerts);
    if (members) {
        json_key(w, "members");
        json_array_begin(w);
        for (size_t i = 0; i < members->count; i++)
            encode_member(w, &members->procs[i]);
        json_array_end(w);
    }
    json_object_end(w);
}
