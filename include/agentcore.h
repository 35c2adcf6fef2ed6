/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AgentCore: the resource manager for AI agents. The public C API.
 *
 * Every concept of the system is an object here that works without a daemon: limits, usage,
 * alerts, a monitor, a scaler, a predictor, and a manager that ties them together.
 *
 * Conventions
 *   - Functions return 0 (or a documented count or outcome) and a negative errno on failure.
 *     Outputs come last, are named ret_..., and are untouched on failure.
 *   - A `struct ac_error *` may be NULL; where given it receives a sentence for a person.
 *   - Option structs start with their own size: initialise them with their ac_..._init function
 *     (or set .size = sizeof), so that the ABI can grow.
 *   - Percentages of CPU and memory are of the machine's capacity: what this process may use,
 *     the smaller of the hardware and its own cgroup's limits. Megabytes are MiB (2^20 bytes),
 *     rates are MiB per second, read and written together.
 *   - A value that could not be measured is *unknown*, never 0: its bit is missing in
 *     ac_usage.known and its field is NaN (0 for integers).
 *   - Wall times are nanoseconds since 1970-01-01 UTC.
 *   - All objects are safe to use from several threads. Handlers and providers are called
 *     with no lock held; they may call back into the API but must not free the object that
 *     calls them.
 *
 * Plain C99, also C++.
 */
#ifndef AGENTCORE_H
#define AGENTCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AC_VERSION "0.1.0"

/* The version of the library that is loaded, as "major.minor.patch". Static storage. */
const char *ac_version(void);

/* ---- Errors ------------------------------------------------------------------------------- */

/* What went wrong, for a person: what, where, what to do. Owned by the caller, never allocates. */
struct ac_error {
    int code;          /* negative errno */
    char message[380]; /* one line, NUL-terminated */
};

/* ---- Words -------------------------------------------------------------------------------- */

enum ac_resource {
    AC_CPU,
    AC_MEMORY,
    AC_DISK_IO,
    AC_NETWORK_IO,
    AC_FILE_DESCRIPTORS,
    AC_RESOURCE_COUNT
};

enum ac_severity { AC_INFO, AC_WARNING, AC_CRITICAL, AC_EMERGENCY, AC_SEVERITY_COUNT };

enum ac_philosophy { AC_REACT, AC_COT, AC_MULTI_AGENT, AC_AUTONOMOUS, AC_PHILOSOPHY_COUNT };

/* Names as users write them: "cpu", "disk_io"; "warning"; "multi_agent". Static storage;
 * "unknown" for a value out of range. */
const char *ac_resource_name(enum ac_resource resource);
const char *ac_severity_name(enum ac_severity severity);
const char *ac_philosophy_name(enum ac_philosophy philosophy);

/* The reverse. Return 0, or -EINVAL where @name is not one of the words. */
int ac_resource_from_name(const char *name, enum ac_resource *ret_resource);
int ac_severity_from_name(const char *name, enum ac_severity *ret_severity);
int ac_philosophy_from_name(const char *name, enum ac_philosophy *ret_philosophy);

#define AC_AGENT_ID_MAX 128

/* Whether @id is a legal agent id: [A-Za-z0-9_-]{1,128}. */
bool ac_agent_id_valid(const char *id);

/* ---- Usage -------------------------------------------------------------------------------- */

enum ac_usage_field {
    AC_KNOWN_CPU_PERCENT = 1u << 0,
    AC_KNOWN_CPU_CORES = 1u << 1,
    AC_KNOWN_MEMORY_MB = 1u << 2,
    AC_KNOWN_MEMORY_PERCENT = 1u << 3,
    AC_KNOWN_DISK_IO = 1u << 4,
    AC_KNOWN_NETWORK_IO = 1u << 5,
    AC_KNOWN_FILE_DESCRIPTORS = 1u << 6,
    AC_KNOWN_ALL = (1u << 7) - 1
};

struct ac_usage {
    double cpu_percent;     /* 0-100 of capacity */
    double cpu_cores;       /* cores in use, 1.0 = one core busy */
    double memory_mb;       /* MiB */
    double memory_percent;  /* 0-100 of capacity */
    double disk_io_mbps;    /* MiB/s, read + written */
    double network_io_mbps; /* MiB/s, received + sent */
    uint64_t file_descriptors;
    int64_t timestamp_ns; /* wall time; 0 = "now" where a usage is handed in */
    uint32_t known;       /* enum ac_usage_field bits */
    uint32_t reserved;    /* 0 */
};

/* All fields unknown (NaN), timestamp 0. */
void ac_usage_init(struct ac_usage *ret_usage);

/* Checks a usage from outside: known fields finite and >= 0, percentages <= 100 (a rounding
 * excess up to 100.5 is let through). Returns 0 or -EINVAL with the field named in @error. */
int ac_usage_validate(const struct ac_usage *usage, struct ac_error *error);

/* ---- Limits ------------------------------------------------------------------------------- */

/* Thresholds of alerts. Defaults in brackets. */
struct ac_limits {
    size_t size;
    double max_cpu_percent;          /* [80] critical from here, 0-100 of capacity */
    double max_memory_percent;       /* [80] */
    double max_disk_io_mbps;         /* [100] MiB/s, > 0 */
    double max_network_io_mbps;      /* [100] MiB/s, > 0 */
    uint64_t max_file_descriptors;   /* [1000] >= 1 */
    double alert_threshold_percent;  /* [75] warning from here: of 100 for CPU and memory, of the
                                        maximum for the others */
    double emergency_memory_percent; /* [95] of capacity */
    double emergency_file_descriptor_percent; /* [95] of the hard limit */
    double emergency_stall_percent; /* [40] of time in which all tasks wait for memory (PSI) */
    double clear_margin_percent;    /* [5] points (or percent of the maximum) below a threshold at
                                       which its severity falls again */
    uint32_t for_ms;      /* [0] how long a threshold must be exceeded before the alert fires */
    uint32_t renotify_ms; /* [0 = never] repeat the event of an unacknowledged alert */
};

void ac_limits_init(struct ac_limits *ret_limits);

/* Returns 0, or -EINVAL with field, value and range in @error. */
int ac_limits_validate(const struct ac_limits *limits, struct ac_error *error);

/* ---- Alerts ------------------------------------------------------------------------------- */

enum ac_alert_state { AC_ALERT_PENDING, AC_ALERT_FIRING, AC_ALERT_RESOLVED };

/* "pending", "firing", "resolved". */
const char *ac_alert_state_name(enum ac_alert_state state);

struct ac_alert {
    char alert_id[40];
    char agent_id[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    char rule[40];                      /* e.g. "cpu_threshold", "oom_kill", "manual" */
    enum ac_resource resource;
    enum ac_severity severity; /* of a resolved alert: its last one */
    enum ac_alert_state state;
    bool acknowledged;
    char message[256];
    double threshold;     /* in the resource's unit; NaN where there is none */
    double current_value; /* in the resource's unit; NaN where unknown */
    int64_t started_ns;   /* wall: when it fired */
    int64_t updated_ns;   /* wall: last transition */
    int64_t ended_ns;     /* wall: when it resolved; 0 while it lives */
};

/* Called once per transition of an alert: fired, severity changed, acknowledged by somebody,
 * resolved, or repeated after renotify_ms. @alert is valid during the call only. */
typedef void (*ac_alert_handler)(void *userdata, const struct ac_alert *alert);

/* ---- Agents ------------------------------------------------------------------------------- */

/* What an agent is and what it may use. Defaults in brackets. */
struct ac_agent_config {
    size_t size;
    const char *agent_id;              /* required, see ac_agent_id_valid */
    enum ac_philosophy philosophy;     /* [AC_REACT] */
    const char *agent_template;        /* [NULL] agents of one template are predicted together */
    double max_cpu_cores;              /* [0 = no limit] cores */
    double max_memory_mb;              /* [0 = no limit] MiB */
    double max_execution_time_seconds; /* [0 = no limit] since it was added, suspended time too */
    uint64_t max_file_descriptors;     /* [0 = no limit] */
};

void ac_agent_config_init(struct ac_agent_config *ret_config);

/* Returns 0, or -EINVAL with field, value and range in @error. */
int ac_agent_config_validate(const struct ac_agent_config *config, struct ac_error *error);

/* ---- Clock -------------------------------------------------------------------------------- */

/* Monotonic nanoseconds; replaces the system's monotonic clock where a test or a simulation
 * drives time. NULL in options = CLOCK_MONOTONIC. */
typedef uint64_t (*ac_clock_fn)(void *userdata);

/* ---- History ------------------------------------------------------------------------------ */

/*
 * What a monitor or a manager keeps in memory, asked for as the daemon's history is. Spans are
 * [from_ns, to_ns) of wall time. All of it is made of single samples, so that every answer is
 * exact but for integrals over time, where a sample stands for the time since the one before it,
 * and the first one, or one behind a gap (more than three usual steps), for one usual step. Of CPU
 * and memory the amount follows from the percentage, and the other way round, where the capacity
 * of the machine is known: a manager knows it, a monitor of its own does not.
 *
 * All calls are thread-safe. They copy the samples of one subject after the other under the
 * object's lock, and work on the copies without it. With monitoring off there is no history.
 *
 * How far back: to when the object was made, at most history_minutes, and less where
 * history_budget_mb is full, which the oldest samples of all subjects leave first. At 39 bytes a
 * sample the default of 64 MiB holds a day of 100 subjects measured every 5 s. An agent that is
 * forgotten takes its history along. Nothing is read from or kept on disk, as the library needs
 * nothing but the C library: a history of weeks that survives restarts is the daemon's.
 */

struct ac_history_query {
    size_t size;
    const char *const *subjects; /* [NULL] agent ids; "system" = the machine */
    size_t n_subjects;           /* [0 = all agents] */
    int philosophy;              /* [-1 = any] enum ac_philosophy: only agents of this one */
    int64_t from_ns;             /* [0] */
    int64_t to_ns;               /* [INT64_MAX] > from_ns */
};

void ac_history_query_init(struct ac_history_query *ret_query);

/* What an answer is made of. */
struct ac_history_info {
    uint64_t subjects; /* with at least one sample in the span */
    uint64_t samples;
    uint64_t gaps; /* spans without a sample of more than three usual steps */
    int64_t gap_ns;
};

/* One step of a subject's usage, or (step_ns 0) one sample. A field that no sample of the step
 * knows is unknown in all three; their timestamp_ns is from_ns. */
struct ac_history_point {
    int64_t from_ns;
    uint64_t step_ns;
    uint64_t samples;
    struct ac_usage mean;
    struct ac_usage min;
    struct ac_usage max;
};

enum ac_history_aggregate { AC_HISTORY_MEAN, AC_HISTORY_MAX, AC_HISTORY_SUM };

struct ac_history_top {
    char agent_id[AC_AGENT_ID_MAX + 1];
    double value; /* cores, MiB, MiB/s, count; AC_HISTORY_SUM: the same times seconds */
};

/* Unknown parts are NaN. */
struct ac_history_usage {
    char agent_id[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    enum ac_philosophy philosophy;      /* AC_PHILOSOPHY_COUNT for the machine */
    uint64_t samples;
    double cpu_seconds;
    double memory_gib_hours;
    double disk_bytes;    /* read + written */
    double network_bytes; /* received + sent */
};

/* ---- Monitor ------------------------------------------------------------------------------ */

struct ac_monitor;

/* Measures one usage. Returns 0 with @ret_usage filled, or negative errno. Called on a thread of
 * the monitor's; it may block, and a call longer than provider_timeout_ms counts as failed. */
typedef int (*ac_usage_provider)(void *userdata, struct ac_usage *ret_usage);

struct ac_monitor_options {
    size_t size;
    struct ac_limits limits;
    uint32_t check_interval_ms;   /* [5000] 10 - 86,400,000 */
    uint32_t provider_timeout_ms; /* [0 = the check interval, at least 1000] */
    uint32_t history_minutes;     /* [1440] how long usage is kept in memory */
    uint32_t history_budget_mb;   /* [64] cap over all subjects; the oldest goes first */
    uint32_t max_subjects;        /* [100000] agents with usage or history */
    uint32_t max_alerts;          /* [10000] live alerts; further ones are counted, not kept */
    ac_clock_fn clock;            /* [NULL] */
    void *clock_userdata;
};

void ac_monitor_options_init(struct ac_monitor_options *ret_options);

/* @options may be NULL for the defaults. Returns 0, -EINVAL or -ENOMEM. Free with
 * ac_monitor_free, which stops it first. */
int ac_monitor_new(const struct ac_monitor_options *options, struct ac_monitor **ret_monitor,
    struct ac_error *error);
void ac_monitor_free(struct ac_monitor *monitor);

/* Starts checking every check interval. Returns 0; -EALREADY while it runs; -EINVAL without a
 * provider; -EAGAIN where no thread could be made. */
int ac_monitor_start(
    struct ac_monitor *monitor, ac_usage_provider provider, void *userdata, struct ac_error *error);

/* Stops and waits for the sampler (not for a provider that hangs: that one is left behind and
 * its result dropped). Idempotent. Blocks up to one provider call. */
void ac_monitor_stop(struct ac_monitor *monitor);
bool ac_monitor_running(const struct ac_monitor *monitor);

/* Handlers. At most 64. Return 0, -ENOSPC; -ENOENT.
 *
 * Removing does not wait for a call that another thread is in: such a call still uses @userdata
 * when ac_monitor_remove_handler returns. @free_userdata (may be NULL) is called after the last
 * call has ended; who frees @userdata otherwise has to know that by itself. */
int ac_monitor_on_alert(struct ac_monitor *monitor, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler);
int ac_monitor_remove_handler(struct ac_monitor *monitor, uint64_t handler);

/* Puts a usage of @subject (an agent id; NULL or "system" = the machine) into the history.
 * Returns 0; -EINVAL; -ENOSPC at max_subjects. Does not block. */
int ac_monitor_record(
    struct ac_monitor *monitor, const char *subject, const struct ac_usage *usage);

/* Compares a usage of @subject with the limits and moves its alerts; handlers run before it
 * returns. Returns the number of transitions, or -EINVAL. */
int ac_monitor_check(struct ac_monitor *monitor, const char *subject, const struct ac_usage *usage);

/* Raises an alert by hand (rule "manual"). @agent_id NULL or "" = the machine; threshold and
 * current_value may be NaN. A live manual alert of the same subject and resource is updated.
 * @ret_alert may be NULL. Returns 0, -EINVAL, -ENOSPC. */
int ac_monitor_trigger(struct ac_monitor *monitor, enum ac_resource resource,
    enum ac_severity severity, const char *message, const char *agent_id, double threshold,
    double current_value, struct ac_alert *ret_alert);

/* A provider outside the library's threads (an event loop's) reports that it failed or, with
 * @reason NULL, that it works again. Counted and alerted on like a failing provider. */
void ac_monitor_provider_result(struct ac_monitor *monitor, const char *reason);

/* Firing alerts that nobody acknowledged, newest first. @severity -1 = all. The caller frees
 * *ret_alerts with ac_free. Returns their number, or -ENOMEM. */
int ac_monitor_alerts(struct ac_monitor *monitor, int severity, struct ac_alert **ret_alerts);

/* Returns 0; -ENOENT where no live alert has that id; -EALREADY where it is acknowledged. */
int ac_monitor_acknowledge(struct ac_monitor *monitor, const char *alert_id);

/* Usage of @subject over the last @duration_minutes, oldest first; caller frees with ac_free.
 * Returns the number (0 for an unknown subject), -EINVAL or -ENOMEM. */
int64_t ac_monitor_history(struct ac_monitor *monitor, const char *subject, double duration_minutes,
    struct ac_usage **ret_usages);

/* Points of @subject (an agent id; NULL or "system" = the machine), oldest first, in steps of
 * @step_ns that begin at multiples of it since 1970; 0 = every sample as it is. Steps without a
 * sample have no point. The caller frees *ret_points with ac_free (NULL with 0 points).
 * @ret_info may be NULL. Returns their number (0 for an unknown subject), -EINVAL or -ENOMEM. */
int64_t ac_monitor_history_range(struct ac_monitor *monitor, const char *subject, int64_t from_ns,
    int64_t to_ns, uint64_t step_ns, struct ac_history_point **ret_points,
    struct ac_history_info *ret_info);

/* The @n (1 - 100,000) agents of the largest @aggregate of @resource, the largest first; never the
 * machine. An agent that has no sample that knows it is left out. The caller frees *ret_rows with
 * ac_free. Returns their number, -EINVAL or -ENOMEM. */
int64_t ac_monitor_history_top(struct ac_monitor *monitor, const struct ac_history_query *query,
    enum ac_resource resource, enum ac_history_aggregate aggregate, uint32_t n,
    struct ac_history_top **ret_rows, struct ac_history_info *ret_info);

/* The quantile @q (0 - 1, nearest rank) of @resource over all samples of all subjects together,
 * in cores, MiB, MiB/s or a count; NaN where there is none. Returns 0, -EINVAL or -ENOMEM. */
int ac_monitor_history_quantile(struct ac_monitor *monitor, const struct ac_history_query *query,
    enum ac_resource resource, double q, double *ret_value, struct ac_history_info *ret_info);

/* What each subject of the query with a sample in the span used, in the order of the query, or by
 * agent id. The caller frees *ret_rows with ac_free. Returns their number, -EINVAL or -ENOMEM. */
int64_t ac_monitor_history_usage(struct ac_monitor *monitor, const struct ac_history_query *query,
    struct ac_history_usage **ret_rows, struct ac_history_info *ret_info);

struct ac_monitor_stats {
    uint64_t checks;            /* usages checked */
    uint64_t provider_failures; /* calls that failed or timed out */
    uint64_t provider_hanging;  /* provider calls that have not come back */
    uint64_t alerts_dropped;    /* at max_alerts */
    uint64_t subjects;
    uint64_t events_lost; /* more than 4,096 at once: handlers may lack transitions of alerts */
};
void ac_monitor_stats(struct ac_monitor *monitor, struct ac_monitor_stats *ret_stats);

/* The limits in force, and new ones. set returns 0 or -EINVAL, unchanged. */
void ac_monitor_limits(struct ac_monitor *monitor, struct ac_limits *ret_limits);
int ac_monitor_set_limits(
    struct ac_monitor *monitor, const struct ac_limits *limits, struct ac_error *error);

/* ---- Scaler ------------------------------------------------------------------------------- */

struct ac_scaler;

struct ac_scaler_options {
    size_t size;
    double scale_up_threshold;   /* [75] percent of utilisation, > scale_down_threshold */
    double scale_down_threshold; /* [25] */
    double cooldown_seconds;     /* [60] after each recorded action, per philosophy */
    ac_clock_fn clock;           /* [NULL] */
    void *clock_userdata;
};

void ac_scaler_options_init(struct ac_scaler_options *ret_options);

/* @options may be NULL. Returns 0, -EINVAL, -ENOMEM. */
int ac_scaler_new(
    const struct ac_scaler_options *options, struct ac_scaler **ret_scaler, struct ac_error *error);
void ac_scaler_free(struct ac_scaler *scaler);

/* Up: usage >= threshold, no cooldown. Down: usage <= threshold, scale > 1, no cooldown. A NaN
 * usage is unknown and holds. They decide only: record what was done with ac_scaler_record. */
bool ac_scaler_should_scale_up(
    struct ac_scaler *scaler, enum ac_philosophy philosophy, double current_usage_percent);
bool ac_scaler_should_scale_down(
    struct ac_scaler *scaler, enum ac_philosophy philosophy, double current_usage_percent);

/* Sets the scale and starts the cooldown. Returns 0; -EINVAL for a scale below 1. */
int ac_scaler_record(struct ac_scaler *scaler, enum ac_philosophy philosophy, uint32_t new_scale);
uint32_t ac_scaler_current(struct ac_scaler *scaler, enum ac_philosophy philosophy);

/* Whether a cooldown holds now, and the time of the last action on the scaler's clock in ns
 * (UINT64_MAX: none yet). set_state puts both back without starting a cooldown of its own. */
bool ac_scaler_cooling_down(struct ac_scaler *scaler, enum ac_philosophy philosophy);
uint64_t ac_scaler_last_action_ns(struct ac_scaler *scaler, enum ac_philosophy philosophy);
int ac_scaler_set_state(struct ac_scaler *scaler, enum ac_philosophy philosophy, uint32_t scale,
    uint64_t last_action_ns);
void ac_scaler_get_options(struct ac_scaler *scaler, struct ac_scaler_options *ret_options);
int ac_scaler_set_options(
    struct ac_scaler *scaler, const struct ac_scaler_options *options, struct ac_error *error);

/* ---- Predictor ---------------------------------------------------------------------------- */

struct ac_predictor;

enum ac_prediction_basis { AC_BASIS_DEFAULT, AC_BASIS_ALL, AC_BASIS_PHILOSOPHY, AC_BASIS_TEMPLATE };

struct ac_prediction {
    double cpu_percent;             /* of capacity */
    double memory_mb;               /* MiB, peak */
    double execution_time_seconds;  /* */
    double confidence;              /* 0-1 */
    enum ac_prediction_basis basis; /* whose history it rests on */
    uint64_t runs;                  /* how many runs that history holds (undecayed) */
};

/* "default", "all", "philosophy", "template". */
const char *ac_prediction_basis_name(enum ac_prediction_basis basis);

/* What one finished run of an agent used. Unknown values NaN. */
struct ac_run_usage {
    double cpu_peak_percent; /* of capacity */
    double memory_peak_mb;
    double execution_time_seconds;
};

/* Returns 0 or -ENOMEM. */
int ac_predictor_new(struct ac_predictor **ret_predictor);
void ac_predictor_free(struct ac_predictor *predictor);

/* Predicts from the decaying histories of template, philosophy and all, the first that holds
 * enough; the cold start is 50 %, 256 MiB, 60 s at confidence 0. @config's maxima cap nothing
 * here. Returns 0 or -EINVAL. */
int ac_predictor_predict(struct ac_predictor *predictor, const struct ac_agent_config *config,
    struct ac_prediction *ret_prediction);

/* Learns from a run. Returns 0 or -EINVAL (negative or infinite values). */
int ac_predictor_record(struct ac_predictor *predictor, const struct ac_agent_config *config,
    const struct ac_run_usage *run);

/* ---- Manager ------------------------------------------------------------------------------ */

struct ac_manager;

struct ac_manager_options {
    size_t size;
    struct ac_limits limits;
    bool enable_monitoring;      /* [true] */
    bool enable_dynamic_scaling; /* [true] */
    uint32_t check_interval_ms;  /* [5000] */
    uint32_t history_minutes;    /* [1440] */
    uint32_t history_budget_mb;  /* [64] */
    uint32_t max_agents;         /* [100000] */
    struct ac_scaler_options scaler;
    const char *proc_path;           /* [NULL = "/proc"] where the kernel's process files are */
    uint32_t report_timeout_seconds; /* [0 = never] see ac_manager_track; at most 604800 */
};

void ac_manager_options_init(struct ac_manager_options *ret_options);

/* Makes a manager and takes a first sample of the machine. @options may be NULL. Returns 0,
 * -EINVAL, -ENOMEM, or what reading /proc failed with. */
int ac_manager_new(const struct ac_manager_options *options, struct ac_manager **ret_manager,
    struct ac_error *error);
void ac_manager_free(struct ac_manager *manager);

/* The process-wide manager, made with the defaults at the first call. NULL only without memory
 * or /proc. Never freed by the caller. */
struct ac_manager *ac_manager_default(void);

/* Starts and stops the sampler thread. Both idempotent. start is a no-op with monitoring off.
 * Return 0 or -EAGAIN. */
int ac_manager_start(struct ac_manager *manager, struct ac_error *error);
void ac_manager_stop(struct ac_manager *manager);

/* Its monitor (NULL with monitoring off), scaler (NULL with scaling off) and predictor,
 * borrowed until the manager is freed. */
struct ac_monitor *ac_manager_monitor(struct ac_manager *manager);
struct ac_scaler *ac_manager_scaler(struct ac_manager *manager);
struct ac_predictor *ac_manager_predictor(struct ac_manager *manager);

/* Takes a usage that an agent's runtime reports; an unknown agent is added (philosophy
 * unknown). One without a process tree stays until ac_manager_cleanup; where
 * report_timeout_seconds is set and it does not report for so long, it has exited at the next
 * sample: its alerts resolve, its reservation goes, and ten minutes later it is forgotten. Its next
 * report adds it again. Returns 0; -EINVAL; -ENOSPC at max_agents. Does not block. */
int ac_manager_track(
    struct ac_manager *manager, const char *agent_id, const struct ac_usage *usage);

/* Meters the process tree of @pid as @config's agent. Returns 0; -ESRCH; -EEXIST where the
 * agent has a process tree already; -EINVAL; -ENOSPC. */
int ac_manager_attach(struct ac_manager *manager, const struct ac_agent_config *config, int32_t pid,
    struct ac_error *error);

/* The last usage: measured where measured, else reported. Returns 0 or -ENOENT. */
int ac_manager_usage(struct ac_manager *manager, const char *agent_id, struct ac_usage *ret_usage);

/* Forgets an agent: its usage, its reservation and its alerts (which resolve); what the run
 * used goes to the predictor. Returns 0 or -ENOENT. */
int ac_manager_cleanup(struct ac_manager *manager, const char *agent_id);

/* Ids of all agents, sorted; one allocation, freed with ac_free. Returns the number. */
int64_t ac_manager_agents(struct ac_manager *manager, char (**ret_ids)[AC_AGENT_ID_MAX + 1]);

enum ac_allocation_policy {
    AC_POLICY_RECOMMEND, /* always answers with what there is, as the guide has it */
    AC_POLICY_STRICT,    /* refuses where less than the prediction fits */
    AC_POLICY_QUEUE      /* waits its turn */
};
const char *ac_allocation_policy_name(enum ac_allocation_policy policy);
int ac_allocation_policy_from_name(const char *name, enum ac_allocation_policy *ret_policy);

enum ac_allocation_status { AC_ALLOCATION_GRANTED, AC_ALLOCATION_REFUSED, AC_ALLOCATION_QUEUED };
const char *ac_allocation_status_name(enum ac_allocation_status status);

struct ac_allocation {
    char allocation_id[40];
    char agent_id[AC_AGENT_ID_MAX + 1];
    enum ac_allocation_policy policy;
    enum ac_allocation_status status;
    double cpu_percent;              /* of capacity */
    double memory_mb;                /* MiB */
    double execution_time_seconds;   /* predicted */
    double available_cpu_percent;    /* before this allocation */
    double available_memory_percent; /* before this allocation */
    double available_memory_mb;
    double confidence;       /* of the prediction, 0-1 */
    uint32_t queue_position; /* 1 = next; 0 = not queued */
    int64_t created_ns;      /* wall */
    int64_t expires_ns;      /* wall; 0 = when the agent ends */
    char explanation[320];   /* one sentence or two */
};

/* Predicts what the agent needs and reserves min(predicted, 0.8 x available) for it, capped by
 * its own maxima; a second call for one agent replaces its reservation. Answers from the last
 * sample, does not block. The status is an outcome, not an error. Returns 0, -EINVAL, -ENOSPC. */
int ac_manager_allocate(struct ac_manager *manager, const struct ac_agent_config *config,
    enum ac_allocation_policy policy, struct ac_allocation *ret_allocation, struct ac_error *error);

struct ac_system_metrics {
    struct ac_usage current_usage;
    struct ac_limits limits;
    double capacity_cores;
    double capacity_memory_mb;
    uint64_t active_agents;
    uint64_t active_alerts;
};

/* From the last sample (at most one check interval old). Returns 0. */
int ac_manager_system_metrics(struct ac_manager *manager, struct ac_system_metrics *ret_metrics);

/* The monitor's calls of the same names; without monitoring: no alerts, no history. */
int ac_manager_alerts(struct ac_manager *manager, int severity, struct ac_alert **ret_alerts);
int ac_manager_acknowledge(struct ac_manager *manager, const char *alert_id);
int ac_manager_on_alert(struct ac_manager *manager, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler);
int ac_manager_remove_handler(struct ac_manager *manager, uint64_t handler);
int64_t ac_manager_history(struct ac_manager *manager, const char *subject, double duration_minutes,
    struct ac_usage **ret_usages);
int64_t ac_manager_history_range(struct ac_manager *manager, const char *subject, int64_t from_ns,
    int64_t to_ns, uint64_t step_ns, struct ac_history_point **ret_points,
    struct ac_history_info *ret_info);
int64_t ac_manager_history_top(struct ac_manager *manager, const struct ac_history_query *query,
    enum ac_resource resource, enum ac_history_aggregate aggregate, uint32_t n,
    struct ac_history_top **ret_rows, struct ac_history_info *ret_info);
int ac_manager_history_quantile(struct ac_manager *manager, const struct ac_history_query *query,
    enum ac_resource resource, double q, double *ret_value, struct ac_history_info *ret_info);
int64_t ac_manager_history_usage(struct ac_manager *manager, const struct ac_history_query *query,
    struct ac_history_usage **ret_rows, struct ac_history_info *ret_info);

/* Frees what the API allocated for the caller. NULL is fine. */
void ac_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
