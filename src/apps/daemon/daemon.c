/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"
#include "daemon_internal.h"
#include "engine/collector.h"
#include "engine/gpu_meter.h"
#include "engine/pss_meter.h"
#include "os/procfs.h"

/* ---- Events */

/* A storm of events must not become a storm of lines: store and streams get all of them. */
#define EVENT_LINES_PER_SECOND 200

/* Says what was left out once its second is over. */
static void event_quota_renew(struct event_quota *quota)
{
    struct mono now = clock_mono();
    if (mono_since(now, quota->since) < NS_PER_SEC)
        return;
    if (quota->left_out > 0)
        log_event(LOG_LEVEL_WARNING, "more events than are logged",
            log_uint("left_out", quota->left_out),
            log_uint("lines_per_second", EVENT_LINES_PER_SECOND));
    *quota = (struct event_quota){.since = now};
}

static void event_log(struct event_quota *quota, const struct event *event)
{
    if (event->kind == EVENT_LOST) {
        log_event(LOG_LEVEL_WARNING, "more events at once than the queue holds",
            log_uint("lost", event->of.lost),
            log_str("consequence", "streams and log lack them; the state does not"));
        return;
    }
    if (quota->lines >= EVENT_LINES_PER_SECOND) {
        quota->left_out++;
        return;
    }
    quota->lines++;
    if (event->kind == EVENT_ALERT) {
        const struct ac_alert *alert = &event->of.alert;
        log_event(alert->severity >= AC_WARNING && alert->state == AC_ALERT_FIRING
                      ? LOG_LEVEL_WARNING
                      : LOG_LEVEL_INFO,
            "alert", log_str("id", alert->alert_id),
            log_str("severity", ac_severity_name(alert->severity)),
            log_str("state", ac_alert_state_name(alert->state)),
            log_str("agent", alert->agent_id[0] ? alert->agent_id : NULL),
            log_str("rule", alert->rule), log_str("text", alert->message));
        return;
    }
    log_event(LOG_LEVEL_INFO, event_kind_name(event->kind),
        log_str("agent", event->agent_id[0] ? event->agent_id : NULL),
        log_str("text", event->text));
}

void daemon_drain(struct daemon *daemon)
{
    struct event event;
    bool any = false;
    persist_catch_up(daemon);
    event_quota_renew(&daemon->event_quota);
    while (core_next_event(daemon->core, &event)) {
        if (!any)
            persist_begin(daemon);
        any = true;
        persist_event(daemon, &event);
        follow_event(daemon, &event);
        event_log(&daemon->event_quota, &event);
        if (daemon->server)
            net_server_event(daemon->server, &event);
    }
    if (any)
        persist_end(daemon);
}

/* ---- The tick */

int daemon_sample(struct daemon *daemon)
{
    struct sample sample;
    int r = daemon->collector->ops->read(daemon->collector, &sample);
    if (r < 0)
        return r;
    daemon->samples_lost = sample.lost;
    gpu_fill(daemon, &sample);
    pss_meter_fill(daemon->pss, &sample);
    r = core_tick(daemon->core, &sample);
    pss_meter_ask(daemon->pss, core_registry(daemon->core));
    daemon_drain(daemon);
    if (r == 0 && daemon->server) /* what is restored comes before what is found */
        discovery_tick(daemon, &sample);
    return r;
}

static void daemon_tick(struct daemon *daemon)
{
    struct mono start = clock_mono();
    int r = daemon_sample(daemon);
    if (r < 0)
        log_event(LOG_LEVEL_ERROR, "sampling failed", log_str("reason", strerror(-r)));
    else
        persist_tick(daemon, clock_moment());
    daemon_drain(daemon);
    uint64_t took = mono_since(clock_mono(), start);
    daemon->ticks++;
    daemon->tick_last_ns = took;
    daemon->tick_sum_ns += took;
    daemon->tick_max_ns = MAX(daemon->tick_max_ns, took);
}

static int tick_schedule(struct daemon *daemon)
{
    int r = sd_event_source_set_time(daemon->tick_source, daemon->due_ns / NS_PER_USEC);
    if (r == 0)
        r = sd_event_source_set_enabled(daemon->tick_source, SD_EVENT_ONESHOT);
    return r;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct daemon *daemon = userdata;
    (void)source;
    (void)usec;
    daemon_tick(daemon);
    uint64_t now = clock_mono().ns, interval = daemon->config.interval_ns;
    daemon->due_ns += interval;
    if (daemon->due_ns <= now) {
        uint64_t missed = (now - daemon->due_ns) / interval + 1;
        daemon->ticks_missed += missed;
        daemon->due_ns += missed * interval;
    }
    return tick_schedule(daemon);
}

/* Something that should not wait for the tick. */
static int on_collector_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct daemon *daemon = userdata;
    (void)source;
    (void)fd;
    (void)revents;
    if (daemon->collector->ops->handle_events(daemon->collector) > 0)
        (void)daemon_sample(daemon);
    return 0;
}

/* ---- Signals */

static void core_options_from(const struct config *config, struct core_options *ret_options)
{
    core_options_init(ret_options);
    ret_options->limits = config->limits;
    ret_options->max_agents = config->caps.max_agents;
    ret_options->max_alerts = config->caps.max_alerts;
    ret_options->max_queue = config->caps.max_queue;
    ret_options->users = (struct quota_users){.several = true, .own_uid = geteuid()};
    ret_options->reservation_ttl_ns = config->allocation.reservation_ttl_ns;
    ret_options->headroom = config->allocation.headroom_percent / 100;
    ret_options->recent_ns = config->history.recent_ns;
    ret_options->recent_budget_bytes = config->history.recent_budget_bytes;
    ret_options->exited_retention_ns = config->exited_retention_ns;
    ret_options->report_timeout_ns = config->report_timeout_ns;
    ret_options->scale.up_threshold = config->scaling.up_threshold;
    ret_options->scale.down_threshold = config->scaling.down_threshold;
    ret_options->scale.cooldown_ns = config->scaling.cooldown_ns;
    ret_options->scale.target_percent = config->scaling.target_percent;
    ret_options->scale.stabilization_ns = config->scaling.stabilization_ns;
    ret_options->scale.stale_ns = MAX(3 * config->interval_ns, 30 * NS_PER_SEC);
    ret_options->scale.step = config->scaling.step;
    ret_options->scale.minimum = config->scaling.minimum;
    ret_options->scale.maximum = config->scaling.maximum;
}

static int reload_apply(struct daemon *daemon, struct config *config, struct ac_error *error)
{
    struct core_options options;
    const char *key = config_needs_restart(&daemon->config, config);
    if (key)
        return error_set(error, -EBUSY, "%s: a change of it needs a restart", key);
    core_options_from(config, &options);
    int r = core_reconfigure(daemon->core, &options, error);
    if (r < 0)
        return r;
    config_done(&daemon->config);
    daemon->config = *config;
    discovery_reset(daemon);
    log_set_level(daemon->config.log_level);
    /* Never later than it was due: reloads in a row must not put the tick off for ever. */
    daemon->due_ns = MIN(daemon->due_ns, clock_mono().ns + daemon->config.interval_ns);
    return tick_schedule(daemon);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct daemon *daemon = userdata;
    struct config config;
    struct ac_error error;
    (void)source;
    (void)info;
    sd_notifyf(
        0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_mono().ns / NS_PER_USEC));
    int r = options_load_config(&daemon->options, &config, &error);
    if (r == 0) {
        r = reload_apply(daemon, &config, &error);
        if (r < 0)
            config_done(&config);
    }
    if (r < 0)
        log_event(LOG_LEVEL_ERROR, "configuration refused, the old one stays",
            log_str("reason", error.message));
    core_config_event(daemon->core, r < 0 ? error.message : NULL, clock_moment());
    daemon_drain(daemon);
    sd_notify(0, "READY=1");
    return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct daemon *daemon = userdata;
    (void)source;
    log_event(LOG_LEVEL_INFO, "stopping", log_int("signal", (int64_t)info->ssi_signo));
    sd_notify(0, "STOPPING=1");
    return sd_event_exit(daemon->event, 0);
}

/* ---- What the API asks for */

/* A change that could not be made durable is not refused: it is in force, an EMERGENCY alert
 * says that the state is not written, and it is written once that works again. */
static int hook_changed(void *userdata, struct ac_error *error)
{
    (void)error;
    daemon_drain(userdata);
    return 0;
}

static void hook_sample(void *userdata)
{
    (void)daemon_sample(userdata);
}

static int hook_stop(void *userdata, const struct agent *agent, int signal, uint64_t grace_ns,
    uint32_t as_uid, uint32_t *ret_signalled, struct ac_error *error)
{
    return control_stop(userdata, agent, signal, grace_ns, as_uid, ret_signalled, error);
}

static uint64_t own_rss(const struct daemon *daemon)
{
    char text[128];
    uint64_t size, resident;
    ssize_t n = io_read_file(daemon->proc_fd, "self/statm", text, sizeof(text));
    const char *cursor = text, *end = text + MAX(n, (ssize_t)0);
    if (n <= 0 || parse_digits(&cursor, end, &size) < 0)
        return 0;
    cursor++;
    if (parse_digits(&cursor, end, &resident) < 0)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void hook_stats(void *userdata, struct net_daemon_stats *ret_stats)
{
    const struct daemon *daemon = userdata;
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    *ret_stats = (struct net_daemon_stats){
        .collector = daemon->collector->ops->name,
        .state = daemon->config.state,
        .not_ready = daemon->ticks == 0 ? "the first tick is still to come" : NULL,
        .interval_seconds = (double)daemon->config.interval_ns / NS_PER_SEC,
        .ticks = daemon->ticks,
        .ticks_missed = daemon->ticks_missed,
        .tick_last_ns = daemon->tick_last_ns,
        .tick_max_ns = daemon->tick_max_ns,
        .tick_sum_ns = daemon->tick_sum_ns,
        .uptime_ns = mono_since(clock_mono(), daemon->started),
        .cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_SEC + (uint64_t)cpu.tv_nsec,
        .rss_bytes = own_rss(daemon),
        .samples_lost = daemon->samples_lost,
    };
}

/* ---- Life */

/* Which processes the procfs collector should read in full: members, as far as known. */
static bool daemon_wants(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    const struct daemon *daemon = userdata;
    const struct registry *registry = core_registry(daemon->core);
    return registry_slot_of(registry, pid, start_ticks) != 0 ||
           registry_slot_of(registry, ppid, 0) != 0;
}

static int open_collector(struct daemon *daemon, struct ac_error *error)
{
    struct procfs_options options = {.processes = true};
    int r = collector_open(daemon->config.collector, &options, daemon->config.caps.max_agents,
        &daemon->collector, daemon->collector_reason, error);
    if (r < 0)
        return r;
    log_event(LOG_LEVEL_INFO, "collector chosen",
        log_str("collector", daemon->collector->ops->name),
        log_str("reason", daemon->collector_reason));
    if (strcmp(daemon->collector->ops->name, "procfs") == 0)
        procfs_set_wanted(daemon->collector, daemon_wants, daemon);
    return 0;
}

/* Its thread has what privileges are left. */
static int open_pss(struct daemon *daemon, struct ac_error *error)
{
    double budget = daemon->config.pss_budget_percent;
    int r = budget > 0 ? pss_reader_new(daemon->proc_fd, budget, clock_mono(), &daemon->pss) : 0;
    return r < 0 ? error_errno(error, r, "reading PSS") : 0;
}

static int open_core(struct daemon *daemon, struct ac_error *error)
{
    struct core_options options;
    core_options_from(&daemon->config, &options);
    if (getrandom(&options.seed, sizeof(options.seed), 0) != sizeof(options.seed))
        return error_errno(error, -errno, "getrandom");
    options.id_seed = (uint64_t)clock_wall_ns() / NS_PER_USEC;
    int r = core_new(&options, &daemon->core);
    return r < 0 ? error_errno(error, r, "core") : 0;
}

static int open_loop(struct daemon *daemon, struct ac_error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&mask, signals[i]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the state, not our end */
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return error_errno(error, -errno, "signals");
    int r = sd_event_default(&daemon->event);
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
        r = sd_event_add_signal(
            daemon->event, NULL, signals[i], signals[i] == SIGHUP ? on_reload : on_stop, daemon);
    if (r >= 0)
        r = sd_event_set_watchdog(daemon->event, true);
    if (r >= 0) {
        daemon->due_ns = clock_mono().ns + daemon->config.interval_ns;
        r = sd_event_add_time(daemon->event, &daemon->tick_source, CLOCK_MONOTONIC,
            daemon->due_ns / NS_PER_USEC, 1000, on_tick, daemon);
    }
    int fd = r >= 0 && daemon->collector->ops->event_fd
                 ? daemon->collector->ops->event_fd(daemon->collector)
                 : -1;
    if (fd >= 0)
        r = sd_event_add_io(daemon->event, NULL, fd, EPOLLIN, on_collector_event, daemon);
    return r < 0 ? error_errno(error, r, "event loop") : 0;
}

static int open_server(struct daemon *daemon, struct ac_error *error)
{
    struct net_server_options options;
    daemon->net = (struct net_context){
        .core = daemon->core,
        .store = daemon->store,
        .history = daemon->history,
        .config = &daemon->config,
        .hooks = {.userdata = daemon,
            .changed = hook_changed,
            .agent_stop = hook_stop,
            .sample = hook_sample,
            .daemon_stats = hook_stats},
        .proc_fd = daemon->proc_fd,
    };
    net_server_options_from_config(&daemon->config, &options);
    return net_server_new(&options, daemon->event, &daemon->net, &daemon->server, error);
}

static int daemon_open(struct daemon *daemon, struct ac_error *error)
{
    daemon->proc_fd = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    if (daemon->proc_fd < 0)
        return error_errno(error, daemon->proc_fd, "/proc");
    int r = open_core(daemon, error);
    if (r == 0)
        r = open_collector(daemon, error);
    if (r == 0)
        r = persist_open(daemon, error);
    if (r == 0)
        r = open_loop(daemon, error);
    if (r == 0)
        r = open_server(daemon, error); /* nobody is answered before the loop runs */
    if (r == 0) {
        gpu_open(daemon);
        groups_open(daemon);
        r = persist_restore_machine(daemon, error);
    }
    if (r == 0) {
        r = daemon_sample(daemon);
        if (r < 0)
            error_errno(error, r, "first sample");
    }
    if (r == 0)
        r = persist_restore(daemon, error);
    if (r == 0)
        r = privileges_drop(error);
    if (r == 0)
        r = open_pss(daemon, error);
    if (r == 0)
        gpu_start(daemon);
    return r;
}

int daemon_new(const struct options *options, struct config *config, struct daemon **ret_daemon,
    struct ac_error *error)
{
    struct daemon *daemon = mem_alloc(sizeof(*daemon));
    if (!daemon) {
        config_done(config);
        return error_errno(error, -ENOMEM, "daemon");
    }
    daemon->options = *options;
    daemon->config = *config;
    daemon->proc_fd = daemon->groups_fd = -1;
    daemon->opened = clock_mono();
    int r = daemon_open(daemon, error);
    if (r < 0) {
        daemon_free(daemon);
        return r;
    }
    daemon->restoring = true;
    daemon_drain(daemon);
    daemon->restoring = false;
    daemon->started = daemon->saved = daemon->totals_saved = clock_mono();
    malloc_trim(0); /* starting took several times the memory that running takes */
    *ret_daemon = daemon;
    return 0;
}

int daemon_run(struct daemon *daemon)
{
    log_event(LOG_LEVEL_INFO, "ready", log_str("socket", daemon->config.socket),
        log_str("state", daemon->config.state),
        log_real("interval_seconds", (double)daemon->config.interval_ns / NS_PER_SEC),
        log_str("version", ac_version()));
    sd_notify(0, "READY=1");
    return sd_event_loop(daemon->event);
}

void daemon_free(struct daemon *daemon)
{
    if (!daemon)
        return;
    net_server_free(daemon->server);
    daemon->server = NULL;
    if (daemon->store && daemon->started.ns)
        (void)daemon_sample(daemon); /* totals to the end */
    if (daemon->core && daemon->collector)
        daemon_drain(daemon);
    control_free(daemon);
    persist_close(daemon);
    sd_event_source_unref(daemon->tick_source);
    sd_event_unref(daemon->event);
    if (daemon->collector)
        daemon->collector->ops->free(daemon->collector);
    core_free(daemon->core);
    groups_close(daemon);
    mem_free(daemon->followed);
    discovery_reset(daemon);
    gpu_meter_close(daemon->gpu);
    pss_reader_free(daemon->pss);
    io_closep(&daemon->proc_fd);
    config_done(&daemon->config);
    mem_free(daemon);
}
