/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's configuration: one declarative table (config.c) gives each key its place in the
 * YAML file, type, range, unit, default and help text; parsing, checking, --help-config and
 * docs/configuration.md come from it.
 *
 * Durations and sizes are written with units ("5s", "64M"). Unknown keys, wrong types and values
 * out of range are errors with file, line and key.
 */
#ifndef AC_CONFIG_CONFIG_H
#define AC_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "model/discovery.h"

enum config_collector { CONFIG_COLLECTOR_AUTO, CONFIG_COLLECTOR_BPF, CONFIG_COLLECTOR_PROCFS };

/* A value; strings belong to it (config_done). Keys as in the file, nested by section. */
struct config {
    char *socket;         /* socket: [/run/agentcore/agentcore.sock; as an ordinary user
                             $XDG_RUNTIME_DIR/agentcore.sock] */
    char *state;          /* state: directory or "none" [/var/lib/agentcore; as an ordinary
                             user ~/.local/state/agentcore] */
    char *group;          /* group: [agentcore] members may do everything */
    uint64_t interval_ns; /* interval: [1s] 100ms - 1h */
    enum config_collector collector; /* collector: [auto] */
    enum log_level log_level;        /* log_level: [info] */
    struct ac_limits limits; /* limits: max_cpu_percent, max_memory_percent, max_disk_io_mbps,
                                max_network_io_mbps, max_file_descriptors,
                                alert_threshold_percent, emergency_memory_percent,
                                emergency_file_descriptor_percent, emergency_stall_percent,
                                clear_margin_percent, for, renotify */
    struct {
        uint32_t max_agents;      /* caps.max_agents [10000] 1 - 100000 */
        uint32_t max_alerts;      /* [10000] */
        uint32_t max_connections; /* [256] 1 - 4096 */
        uint32_t max_streams;     /* [64] event streams */
        uint64_t max_body_bytes;  /* max_body [64K] 1K - 16M */
        uint32_t max_queue;       /* [1000] allocation requests that wait */
        uint32_t max_requests;    /* [2000] of one ordinary user in a second; 0 = any number */
    } caps;
    struct {
        uint32_t policy;             /* allocation.policy: recommend|strict|queue [recommend]
                                        (enum ac_allocation_policy) */
        double headroom_percent;     /* [80] 1-100: part of what is available to give away */
        uint64_t reservation_ttl_ns; /* reservation_ttl [60s] of a reservation whose agent never
                                        appears */
    } allocation;
    struct {
        double up_threshold;       /* scaling.up_threshold [75] */
        double down_threshold;     /* [25] */
        uint64_t cooldown_ns;      /* cooldown [60s] */
        double target_percent;     /* [0 = thresholds] */
        uint64_t stabilization_ns; /* stabilization [0s] */
        uint32_t step;             /* [1] */
        uint32_t minimum;          /* [1] */
        uint32_t maximum;          /* [0 = none] */
    } scaling;
    struct {
        uint64_t recent_ns;           /* history.recent [1h] every tick, in memory */
        uint64_t recent_budget_bytes; /* recent_budget [16M] */
        uint64_t raw_ns;              /* history.raw [48h] every tick, on disk */
        uint64_t minutes_ns;          /* history.minutes [14d] minute rows, on disk */
        uint64_t hours_ns;            /* history.hours [30d] */
        uint64_t days_ns;             /* history.days [730d] */
        uint64_t budget_bytes;        /* history.budget [4G] of history.db */
        bool full_sync;               /* history.full_sync [false] */
    } history;
    struct {
        char *listen;          /* http.listen: [none] "127.0.0.1:9464", "[::1]:9464" */
        char *token_file;      /* required with listen: the bearer token, mode 0600 */
        char *tls_certificate; /* required beyond loopback: PEM files */
        char *tls_key;
    } http;
    struct {
        bool enabled;                 /* discovery.enabled [false] */
        uint64_t interval_ns;         /* interval [5s] 100ms - 1h */
        uint32_t max_agents;          /* [1000] found and living at one time */
        struct discovery_rule *rules; /* rules: up to DISCOVERY_RULES_MAX */
        size_t n_rules;
    } discovery;
    struct {
        char *library; /* gpu.library: auto, off, or the path of NVML [auto] */
    } gpu;
    double pss_budget_percent;    /* pss_budget_percent [0.05] 0 - 5: of a core; 0 = off */
    uint64_t report_timeout_ns;   /* report_timeout: [10m] of agents that only report; 0 = never */
    uint64_t exited_retention_ns; /* exited_retention: [10m] how long an exited agent shows */
};

/* Defaults for this user. Returns 0 or -ENOMEM. */
int config_defaults(struct config *ret_config);
void config_done(struct config *config);

/* Reads defaults plus @path. Returns 0; or -errno with "FILE:LINE: KEY: what, range" in @error
 * and @ret_config untouched. */
int config_load(const char *path, struct config *ret_config, struct ac_error *error);

/* The same from memory; @name stands for the file in errors. */
int config_parse(const char *name, const char *text, size_t size, struct config *ret_config,
    struct ac_error *error);

/* Whether going from @old to @new needs a restart (socket, state, http, caps, collector, history);
 * names the first such key, valid until this thread's next call. NULL = no restart needed. */
const char *config_needs_restart(const struct config *old, const struct config *new_config);

/* Writes the commented example file / docs/configuration.md, made from the table. 0 or -ENOMEM. */
int config_write_example(struct buf *out);
int config_write_markdown(struct buf *out);

#endif
