/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public manager: a host, a procfs collector and a ticker that samples. While the ticker does
 * not run, a call that wants figures takes a sample itself where the last one is older than the
 * check interval, so that an answer never rests on older figures than it would while it runs.
 */
#include <agentcore.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/export.h"
#include "base/io.h"
#include "base/mem.h"
#include "engine/ticker.h"
#include "engine/wrappers.h"
#include "os/procfs.h"

/* After the very first sample rates are unknown: the second may come this soon. */
#define SECOND_SAMPLE_NS (100 * NS_PER_MSEC)

struct ac_manager {
    struct host *host;
    struct ac_monitor *monitor; /* NULL = off */
    struct ac_scaler *scaler;   /* NULL = off */
    struct ac_predictor *predictor;
    uint32_t check_interval_ms;
    char *proc_path;             /* NULL = /proc */
    pthread_mutex_t sample_lock; /* guards source; taken before the host's lock */
    struct collector_source *source;
    bool meters_processes;       /* source walks processes, not the machine alone */
    _Atomic uint64_t sampled_ns; /* monotonic, last sample */
    _Atomic uint64_t samples;
    struct ticker_seat seat;
};

EXPORT void ac_manager_options_init(struct ac_manager_options *ret_options)
{
    *ret_options = (struct ac_manager_options){
        .size = sizeof(*ret_options),
        .enable_monitoring = true,
        .enable_dynamic_scaling = true,
        .check_interval_ms = 5000,
        .history_minutes = 1440,
        .history_budget_mb = 64,
        .max_agents = 100000,
    };
    ac_limits_init(&ret_options->limits);
    ac_scaler_options_init(&ret_options->scaler);
}

static int manager_check_options(const struct ac_manager_options *options, struct ac_error *error)
{
    if (options->size < sizeof(*options))
        return error_set(error, -EINVAL, "options: not initialised with ac_manager_options_init");
    if (options->check_interval_ms < 10 || options->check_interval_ms > 86400000)
        return error_set(error, -EINVAL, "check_interval_ms: %u is outside 10 to 86400000",
            options->check_interval_ms);
    if (options->max_agents < 1 || options->max_agents > 1000000)
        return error_set(
            error, -EINVAL, "max_agents: %u is outside 1 to 1000000", options->max_agents);
    if (options->history_minutes < 1 || options->history_minutes > 525600)
        return error_set(
            error, -EINVAL, "history_minutes: %u is outside 1 to 525600", options->history_minutes);
    if (options->history_budget_mb < 1 || options->history_budget_mb > 65536)
        return error_set(error, -EINVAL, "history_budget_mb: %u is outside 1 to 65536",
            options->history_budget_mb);
    if (options->report_timeout_seconds > 604800)
        return error_set(error, -EINVAL, "report_timeout_seconds: %u is above 604800",
            options->report_timeout_seconds);
    return ac_limits_validate(&options->limits, error);
}

/* ---- Sampling */

/* Called by the collector for each process: whether its costly files are worth reading. The sample
 * lock is held, so that no handler may run: ac_manager_attach takes it. */
static bool manager_wants(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    struct ac_manager *manager = userdata;
    const struct registry *registry = core_registry(host_lock(manager->host));
    bool wanted = registry_slot_of(registry, pid, start_ticks) != 0 ||
                  registry_slot_of(registry, ppid, 0) != 0;
    host_unlock_only(manager->host);
    return wanted;
}

static int manager_open_source(struct ac_manager *manager, bool processes, struct ac_error *error)
{
    struct procfs_options options = {.proc_path = manager->proc_path, .processes = processes};
    struct collector_source *source;
    int r = procfs_new(&options, &source, error);
    if (r < 0)
        return r;
    if (processes)
        procfs_set_wanted(source, manager_wants, manager);
    if (manager->source)
        manager->source->ops->free(manager->source);
    manager->source = source;
    manager->meters_processes = processes;
    return 0;
}

/* Takes a sample and runs the pipeline. -EBUSY while another thread does. */
static int manager_sample(struct ac_manager *manager)
{
    struct sample sample;
    if (pthread_mutex_trylock(&manager->sample_lock) != 0)
        return -EBUSY;
    int r = manager->source->ops->read(manager->source, &sample);
    bool locked = r == 0;
    if (locked) {
        struct core *core = host_lock(manager->host);
        r = core_tick(core, &sample);
        manager->sampled_ns = clock_mono_coarse().ns;
        manager->samples++;
    }
    pthread_mutex_unlock(&manager->sample_lock);
    if (locked)
        host_unlock(manager->host);
    return r;
}

static void manager_refresh(struct ac_manager *manager)
{
    uint64_t now = clock_mono_coarse().ns, last = manager->sampled_ns;
    uint64_t allowed = manager->check_interval_ms * NS_PER_MSEC;
    if (manager->samples == 1)
        allowed = MIN(allowed, SECOND_SAMPLE_NS);
    if (now > last && now - last >= allowed)
        (void)manager_sample(manager);
}

static void manager_commit(void *userdata, int result, const struct ac_usage *usage)
{
    struct ac_manager *manager = userdata;
    (void)usage;
    if (result == 0)
        result = manager_sample(manager);
    if (!manager->monitor || result == -EBUSY)
        return;
    ac_monitor_provider_result(manager->monitor, result < 0 ? strerror(-result) : NULL);
}

/* ---- Life */

static int manager_build(
    struct ac_manager *manager, const struct ac_manager_options *options, struct ac_error *error)
{
    struct core_options core;
    struct ac_monitor_options monitor;
    core_options_init(&core);
    core.limits = options->limits;
    core.max_agents = options->max_agents;
    core.recent_ns = options->history_minutes * 60 * NS_PER_SEC;
    core.recent_budget_bytes = (size_t)options->history_budget_mb << 20;
    core.report_timeout_ns = options->report_timeout_seconds * NS_PER_SEC;
    ac_monitor_options_init(&monitor);
    monitor.check_interval_ms = options->check_interval_ms;
    if (options->proc_path) {
        manager->proc_path = mem_strdup(options->proc_path);
        if (!manager->proc_path)
            return error_errno(error, -ENOMEM, "manager");
    }
    int r = host_new(&core, NULL, NULL, &manager->host);
    if (r == 0)
        r = predictor_new_view(manager->host, &manager->predictor);
    if (r == 0 && options->enable_monitoring)
        r = monitor_new_view(manager->host, &monitor, &manager->monitor);
    if (r < 0)
        return error_errno(error, r, "manager");
    if (options->enable_dynamic_scaling)
        r = ac_scaler_new(&options->scaler, &manager->scaler, error);
    if (r == 0)
        r = manager_open_source(manager, false, error);
    if (r == 0) {
        r = manager_sample(manager);
        if (r < 0)
            error_errno(error, r, "sampling %s", options->proc_path ? options->proc_path : "/proc");
    }
    return r;
}

EXPORT int ac_manager_new(const struct ac_manager_options *options, struct ac_manager **ret_manager,
    struct ac_error *error)
{
    struct ac_manager_options defaults;
    ac_manager_options_init(&defaults);
    options = options ? options : &defaults;
    int r = manager_check_options(options, error);
    if (r < 0)
        return r;
    struct ac_manager *manager = mem_alloc(sizeof(*manager));
    if (!manager)
        return error_errno(error, -ENOMEM, "manager");
    pthread_mutex_init(&manager->sample_lock, NULL);
    ticker_seat_init(&manager->seat);
    manager->check_interval_ms = options->check_interval_ms;
    r = manager_build(manager, options, error);
    if (r < 0) {
        ac_manager_free(manager);
        return r;
    }
    *ret_manager = manager;
    return 0;
}

EXPORT void ac_manager_free(struct ac_manager *manager)
{
    if (!manager)
        return;
    ac_manager_stop(manager);
    ac_monitor_free(manager->monitor);
    ac_scaler_free(manager->scaler);
    ac_predictor_free(manager->predictor);
    if (manager->source)
        manager->source->ops->free(manager->source);
    host_free(manager->host);
    pthread_mutex_destroy(&manager->sample_lock);
    ticker_seat_done(&manager->seat);
    mem_free(manager->proc_path);
    mem_free(manager);
}

/* A forked child gets a manager of its own: threads and their locks do not survive a fork. */
EXPORT struct ac_manager *ac_manager_default(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct ac_manager *manager;
    static pid_t owner;
    pthread_mutex_lock(&lock);
    if (!manager || owner != getpid()) {
        struct ac_manager *made;
        if (ac_manager_new(NULL, &made, NULL) == 0) {
            manager = made;
            owner = getpid();
        }
    }
    struct ac_manager *result = owner == getpid() ? manager : NULL;
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT int ac_manager_start(struct ac_manager *manager, struct ac_error *error)
{
    struct ticker_options options = {
        .commit = manager_commit,
        .commit_userdata = manager,
        .interval_ms = manager->check_interval_ms,
        .timeout_ms = MAX(manager->check_interval_ms, 1000u),
    };
    if (!manager->monitor)
        return 0;
    int r = ticker_seat_start(&manager->seat, &options);
    return r < 0 && r != -EALREADY ? error_errno(error, r, "starting the sampler thread") : 0;
}

EXPORT void ac_manager_stop(struct ac_manager *manager)
{
    ticker_seat_stop(&manager->seat);
}

EXPORT struct ac_monitor *ac_manager_monitor(struct ac_manager *manager)
{
    return manager->monitor;
}

EXPORT struct ac_scaler *ac_manager_scaler(struct ac_manager *manager)
{
    return manager->scaler;
}

EXPORT struct ac_predictor *ac_manager_predictor(struct ac_manager *manager)
{
    return manager->predictor;
}

/* ---- Agents */

EXPORT int ac_manager_track(
    struct ac_manager *manager, const char *agent_id, const struct ac_usage *usage)
{
    struct moment now = host_now(manager->host);
    int r = core_report(host_lock(manager->host), agent_id, usage, now, true, NULL);
    host_unlock(manager->host);
    return r;
}

static int attach_spec(struct ac_manager *manager, const struct ac_agent_config *config,
    int32_t pid, struct agent_spec *ret_spec, struct ac_error *error)
{
    int r = agent_spec_from_config(config, ret_spec, error);
    if (r < 0)
        return r;
    if (pid < 1)
        return error_set(error, -EINVAL, "pid: %d is not a process", pid);
    const char *path = manager->proc_path ? manager->proc_path : "/proc";
    int proc cleanup_close = io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (proc < 0)
        return error_errno(error, proc, "%s", path);
    ret_spec->root_pid = pid;
    r = procfs_start_ticks(proc, pid, &ret_spec->root_start_ticks);
    if (r == 0)
        r = procfs_owner(proc, pid, &ret_spec->owner_uid);
    if (r < 0)
        return error_errno(error, r, "process %d", pid);
    return 0;
}

EXPORT int ac_manager_attach(struct ac_manager *manager, const struct ac_agent_config *config,
    int32_t pid, struct ac_error *error)
{
    struct agent_spec spec;
    int r = attach_spec(manager, config, pid, &spec, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&manager->sample_lock);
    if (!manager->meters_processes)
        r = manager_open_source(manager, true, error);
    pthread_mutex_unlock(&manager->sample_lock);
    if (r < 0)
        return r;
    struct moment now = clock_moment(); /* its time counts from here */
    r = core_agent_attach(host_lock(manager->host), &spec, now, NULL, error);
    host_unlock(manager->host);
    if (r == 0)
        (void)manager_sample(manager);
    return r;
}

EXPORT int ac_manager_usage(
    struct ac_manager *manager, const char *agent_id, struct ac_usage *ret_usage)
{
    int r = -ENOENT;
    manager_refresh(manager);
    const struct registry *registry = core_registry(host_lock(manager->host));
    const struct agent *agent = agent_id ? registry_get(registry, agent_id) : NULL;
    if (agent) {
        *ret_usage = agent->usage;
        r = 0;
    }
    host_unlock(manager->host);
    return r;
}

EXPORT int ac_manager_cleanup(struct ac_manager *manager, const char *agent_id)
{
    if (!agent_id)
        return -EINVAL;
    struct moment now = host_now(manager->host);
    int r = core_agent_remove(host_lock(manager->host), agent_id, now);
    host_unlock(manager->host);
    return r;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

EXPORT int64_t ac_manager_agents(struct ac_manager *manager, char (**ret_ids)[AC_AGENT_ID_MAX + 1])
{
    const struct registry *registry = core_registry(host_lock(manager->host));
    char(*ids)[AC_AGENT_ID_MAX + 1] = mem_alloc_array(registry_count(registry), sizeof(*ids));
    agent_slot cursor = 0;
    const struct agent *agent;
    size_t n = 0;
    while (ids && (agent = registry_next(registry, &cursor)))
        memcpy(ids[n++], agent->spec.id, sizeof(ids[0]));
    host_unlock(manager->host);
    if (!ids)
        return -ENOMEM;
    qsort(ids, n, sizeof(ids[0]), compare_ids);
    *ret_ids = ids;
    return (int64_t)n;
}

/* ---- Allocation and figures */

EXPORT int ac_manager_allocate(struct ac_manager *manager, const struct ac_agent_config *config,
    enum ac_allocation_policy policy, struct ac_allocation *ret_allocation, struct ac_error *error)
{
    struct agent_spec spec;
    int r = agent_spec_from_config(config, &spec, error);
    if (r < 0)
        return r;
    if ((unsigned)policy > AC_POLICY_QUEUE)
        return error_set(error, -EINVAL, "policy: %d is not one", (int)policy);
    manager_refresh(manager);
    struct moment now = host_now(manager->host);
    r = core_allocate(host_lock(manager->host), &spec, policy, now, ret_allocation, error);
    host_unlock(manager->host);
    return r;
}

EXPORT int ac_manager_system_metrics(
    struct ac_manager *manager, struct ac_system_metrics *ret_metrics)
{
    manager_refresh(manager);
    core_system(host_lock(manager->host), ret_metrics);
    host_unlock(manager->host);
    if (!manager->monitor)
        ret_metrics->active_alerts = 0;
    return 0;
}

/* ---- The monitor's calls */

EXPORT int ac_manager_alerts(struct ac_manager *manager, int severity, struct ac_alert **ret_alerts)
{
    if (manager->monitor)
        return ac_monitor_alerts(manager->monitor, severity, ret_alerts);
    *ret_alerts = NULL;
    return 0;
}

EXPORT int ac_manager_acknowledge(struct ac_manager *manager, const char *alert_id)
{
    return manager->monitor ? ac_monitor_acknowledge(manager->monitor, alert_id) : -ENOENT;
}

EXPORT int ac_manager_on_alert(struct ac_manager *manager, ac_alert_handler handler, void *userdata,
    void (*free_userdata)(void *), uint64_t *ret_handler)
{
    return host_add_handler(manager->host, handler, userdata, free_userdata, ret_handler);
}

EXPORT int ac_manager_remove_handler(struct ac_manager *manager, uint64_t handler)
{
    return host_remove_handler(manager->host, handler);
}

EXPORT int64_t ac_manager_history(struct ac_manager *manager, const char *subject,
    double duration_minutes, struct ac_usage **ret_usages)
{
    if (manager->monitor)
        return ac_monitor_history(manager->monitor, subject, duration_minutes, ret_usages);
    *ret_usages = NULL;
    return 0;
}
