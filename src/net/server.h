/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's HTTP server: JSON API, event streams, metrics (docs/http-api.md).
 *
 * Everything happens on the thread of the event loop: our own listening sockets and
 * libmicrohttpd's epoll descriptor are sources of it. Only long queries run elsewhere,
 * on threads of the server's own (net/work.h): .history is theirs, too. A client can be slow,
 * silent, rude or many; none of that blocks the loop: bodies, connections, streams and the time of
 * a request have caps.
 */
#ifndef AC_NET_SERVER_H
#define AC_NET_SERVER_H

#include <systemd/sd-event.h>

#include "config/config.h"
#include "engine/core.h"
#include "store/history.h"

struct net_server;

/* What the daemon says about itself. Texts are borrowed until the next hook call. */
struct net_daemon_stats {
    const char *collector; /* "procfs" */
    const char *state;     /* the state directory, or "none" */
    const char *not_ready; /* NULL = ready; else why not */
    double interval_seconds;
    uint64_t ticks;
    uint64_t ticks_missed; /* deadlines */
    uint64_t tick_last_ns;
    uint64_t tick_max_ns;
    uint64_t tick_sum_ns; /* over all ticks */
    uint64_t uptime_ns;
    uint64_t cpu_ns; /* own, user and system */
    uint64_t rss_bytes;
    uint64_t samples_lost; /* sample.lost of the last sample */
};

/* What the daemon does for the routes. Any may be NULL. */
struct net_hooks {
    void *userdata;

    /* An agent was added or got its process: tell the collector, the store. An error takes the
     * agent back. Returns 0 or -errno. */
    int (*agent_added)(void *userdata, const struct agent *agent, struct ac_error *error);

    /* It is about to be removed on request: its processes live on. */
    void (*agent_removing)(void *userdata, const struct agent *agent);

    /* Sends @signal to its processes, and SIGKILL to what is left after the grace time. @as_uid:
     * only to those of this user, UINT32_MAX = to all: an agent may hold processes that its owner
     * could not signal. Returns 0 with the number of processes signalled, or -errno. */
    int (*agent_stop)(void *userdata, const struct agent *agent, int signal, uint64_t grace_ns,
        uint32_t as_uid, uint32_t *ret_signalled, struct ac_error *error);

    /* After each change, before the answer: drain core_next_event (to the store, the log and
     * net_server_event). 0, or -errno where the change could not be made durable: the client then
     * gets 503 with the text. */
    int (*changed)(void *userdata, struct ac_error *error);

    void (*daemon_stats)(void *userdata, struct net_daemon_stats *ret_stats);

    /* Takes a sample now: something is known to have happened that the last one does not show. */
    void (*sample)(void *userdata);
};

/* What routes act on. Owned by the daemon, used on the loop's thread only. */
struct net_context {
    struct core *core;
    struct store *store;     /* NULL = memory only */
    struct history *history; /* NULL = memory only */
    const struct config *config;
    struct net_hooks hooks;
    int proc_fd; /* directory of /proc, for looking at pids; -1 = none can be registered */
    struct net_server *server; /* set by net_server_new: its counters go to /metrics */
};

struct net_server_options {
    const char *socket_path;     /* NULL = no unix socket */
    const char *group;           /* members may do everything; NULL = nobody but root and us */
    unsigned socket_mode;        /* 0 = as net_server_options_from_config says */
    const char *listen;          /* "127.0.0.1:9464", "[::1]:0"; NULL = no TCP */
    const char *token_file;      /* required with .listen; 16 characters or more, not readable by
                                    others */
    const char *tls_certificate; /* PEM files; required beyond loopback */
    const char *tls_key;
    uint32_t max_connections;
    uint32_t max_streams;
    uint64_t max_body_bytes;
    uint32_t max_requests; /* per second of a user without privileges; 0 = any number */
    uint32_t idle_ms;      /* [60000] a connection without a request */
    uint32_t request_ms;   /* [30000] from a request's first line to its last byte */
    uint32_t reply_ms;     /* [120000] for a client to take an answer */
    uint32_t keepalive_ms; /* [15000] comment lines of streams */
    uint32_t query_ms;     /* [30000] for a query of the history, without its client's delays */
};

/* What @config says; strings are borrowed from it. As root the socket is open to all local users
 * (0666: what each may do is decided by who it is), else to its owner alone (0600). */
void net_server_options_from_config(
    const struct config *config, struct net_server_options *ret_options);

/* Listens and attaches to @event (borrowed, as is @context; the options' strings are copied as
 * needed). Returns 0; -EADDRINUSE where another daemon answers on the socket; -EINVAL for
 * settings that do not fit together; -errno. */
int net_server_new(const struct net_server_options *options, sd_event *event,
    struct net_context *context, struct net_server **ret_server, struct ac_error *error);

/* Ends all streams and connections, and removes the socket file. NULL is fine. */
void net_server_free(struct net_server *server);

/* Hands an event to the streams. Does not block. */
void net_server_event(struct net_server *server, const struct event *event);

/* The port of the TCP listener, 0 = none. */
uint16_t net_server_port(const struct net_server *server);

/* Counters since the start. */
struct net_server_stats {
    uint64_t requests[6];         /* by the first digit of the status; [0] = others */
    uint64_t connections;         /* now */
    uint64_t connections_refused; /* at a cap */
    uint64_t connections_expired; /* too slow */
    uint64_t streams;             /* now */
    uint64_t streams_refused;     /* at the cap */
    uint64_t streams_slow;        /* dropped: fell further behind than the events kept */
    uint64_t requests_limited;    /* too many of one user in a short time */
    uint64_t queries[4];          /* done, refused, cancelled, late: see work_stats */
    uint32_t queries_running;
    uint32_t queries_waiting;
};
void net_server_stats(const struct net_server *server, struct net_server_stats *ret_stats);

/* What the history holds, counted beside the loop at most every five minutes, when somebody asks.
 * Returns false before it was counted first. */
bool net_server_tiers(struct net_server *server, struct history_tier ret_tiers[HISTORY_TIERS]);

#endif
