/* SPDX-License-Identifier: Apache-2.0 */
#include "net/server.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/io.h"
#include "base/log.h"
#include "net/server_internal.h"

#define SWEEP_NS NS_PER_SEC

void net_server_options_from_config(
    const struct config *config, struct net_server_options *ret_options)
{
    *ret_options = (struct net_server_options){
        .socket_path = config->socket,
        .group = config->group,
        .socket_mode = geteuid() == 0 ? 0666 : 0600,
        .listen = config->http.listen,
        .token_file = config->http.token_file,
        .tls_certificate = config->http.tls_certificate,
        .tls_key = config->http.tls_key,
        .max_connections = config->caps.max_connections,
        .max_streams = config->caps.max_streams,
        .max_body_bytes = config->caps.max_body_bytes,
        .max_requests = config->caps.max_requests,
        .idle_ms = 60000,
        .request_ms = 30000,
        .reply_ms = 120000,
        .keepalive_ms = 15000,
    };
}

/* ---- Running */

static void run_side(struct http_side *side, uint64_t *wait_us)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (!side->mhd)
        return;
    (void)MHD_run(side->mhd);
    if (MHD_get_timeout(side->mhd, &ms) == MHD_YES)
        *wait_us = MIN(*wait_us, (uint64_t)ms * 1000);
}

void server_run(struct net_server *server)
{
    uint64_t wait_us = UINT64_MAX, now = clock_mono().ns;
    run_side(&server->unix_side, &wait_us);
    run_side(&server->tcp_side, &wait_us);
    /* Traffic must not put the sweep off. */
    bool paused = server->unix_side.paused || server->tcp_side.paused;
    if (!server->conns && server->refused[0] < 0 && !paused)
        server->sweep_ns = 0;
    else if (server->sweep_ns == 0)
        server->sweep_ns = now + SWEEP_NS;
    if (server->sweep_ns != 0)
        wait_us = MIN(wait_us, server->sweep_ns > now ? (server->sweep_ns - now) / 1000 + 1 : 0);
    if (wait_us == UINT64_MAX) {
        (void)sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time_relative(server->timer, wait_us);
    (void)sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

void server_kick(struct net_server *server)
{
    (void)sd_event_source_set_time_relative(server->timer, 0);
    (void)sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct net_server *server = userdata;
    (void)source;
    (void)usec;
    if (server->sweep_ns != 0 && clock_mono().ns >= server->sweep_ns) {
        server->sweep_ns = 0;
        conns_sweep(server);
    }
    server_run(server);
    return 0;
}

static int on_mhd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct http_side *side = userdata;
    (void)source;
    (void)fd;
    (void)revents;
    server_run(side->server);
    return 0;
}

/* ---- Events */

void net_server_event(struct net_server *server, const struct event *event)
{
    stream_ring_put(server->ring, event);
    for (struct net_conn *conn = server->conns; conn; conn = conn->next) {
        if (!conn->stream)
            continue;
        if (conn->suspended && stream_ready(conn->stream))
            conn_wake(conn);
        else if (!conn->suspended && stream_behind(conn->stream) && !conn->gone) {
            /* It does not take what it was given: MHD would wait for it. */
            conn->gone = true;
            server->stats.streams_slow++;
            shutdown(conn->fd, SHUT_RDWR);
        }
    }
}

/* ---- Starting */

static int attach_side(struct net_server *server, struct http_side *side, int listen_fd)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(side->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0)
        return -EBADF;
    int r =
        sd_event_add_io(server->event, &side->mhd_source, info->epoll_fd, EPOLLIN, on_mhd, side);
    if (r >= 0)
        r = sd_event_add_io(
            server->event, &side->accept_source, listen_fd, EPOLLIN, conn_accept, side);
    return r < 0 ? r : 0;
}

static int start_unix(
    struct net_server *server, const struct net_server_options *options, struct ac_error *error)
{
    mode_t mode = options->socket_mode ? options->socket_mode : 0600;
    gid_t file_gid = geteuid() == 0 ? server->gid : (gid_t)-1;
    if (!options->socket_path)
        return 0;
    int r = listen_unix_open(options->socket_path, mode, file_gid, &server->listener, error);
    if (r < 0)
        return r;
    server->unix_side.local = true;
    r = http_side_start(&server->unix_side, NULL, NULL, error);
    if (r < 0)
        return r;
    r = attach_side(server, &server->unix_side, server->listener.fd);
    return r < 0 ? error_errno(error, r, "socket %s", options->socket_path) : 0;
}

static int start_tcp(
    struct net_server *server, const struct net_server_options *options, struct ac_error *error)
{
    char *certificate cleanup_free = NULL, *key cleanup_free = NULL;
    bool loopback = false;
    int r;
    if (!options->listen)
        return 0;
    if (!options->token_file)
        return error_set(error, -EINVAL, "http.listen: needs http.token_file");
    if (!options->tls_certificate != !options->tls_key)
        return error_set(
            error, -EINVAL, "http.tls_certificate and http.tls_key: give both, or none");
    r = listen_read_token(options->token_file, &server->token, error);
    if (r == 0 && options->tls_certificate)
        r = listen_read_pem(options->tls_certificate, false, &certificate, error);
    if (r == 0 && options->tls_key)
        r = listen_read_pem(options->tls_key, true, &key, error);
    if (r == 0)
        r = listen_tcp_open(options->listen, &server->tcp_fd, &server->tcp_port, &loopback, error);
    if (r == 0 && !loopback && !certificate)
        r = error_set(error, -EINVAL,
            "http.listen: %s can be reached from elsewhere: it needs http.tls_certificate and "
            "http.tls_key",
            options->listen);
    if (r == 0)
        r = http_side_start(&server->tcp_side, certificate, key, error);
    if (key)
        explicit_bzero(key, strlen(key));
    if (r < 0)
        return r;
    r = attach_side(server, &server->tcp_side, server->tcp_fd);
    return r < 0 ? error_errno(error, r, "http.listen: %s", options->listen) : 0;
}

static int start(
    struct net_server *server, const struct net_server_options *options, struct ac_error *error)
{
    int r = stream_ring_new(&server->ring);
    if (r < 0)
        return error_set(error, r, "out of memory");
    r = sd_event_add_time_relative(
        server->event, &server->timer, CLOCK_MONOTONIC, 0, 1, on_timer, server);
    if (r < 0)
        return error_errno(error, r, "the HTTP server's timer");
    r = work_pool_new(&(struct work_options){.query_ms = options->query_ms}, &server->works);
    if (r >= 0)
        r = sd_event_add_io(server->event, &server->works_source, work_pool_fd(server->works),
            EPOLLIN, works_told, server);
    if (r < 0)
        return error_errno(error, r, "the HTTP server's queries");
    if (options->group && listen_group(options->group, &server->gid) < 0)
        log_event(LOG_LEVEL_DEBUG, "no such group: only root and the daemon's user may do all",
            log_str("group", options->group));
    r = start_unix(server, options, error);
    if (r == 0)
        r = start_tcp(server, options, error);
    if (r == 0)
        server_run(server);
    return r;
}

int net_server_new(const struct net_server_options *options, sd_event *event,
    struct net_context *context, struct net_server **ret_server, struct ac_error *error)
{
    struct net_server *server = mem_alloc(sizeof(*server));
    if (!server)
        return error_set(error, -ENOMEM, "out of memory");
    server->event = sd_event_ref(event);
    server->context = context;
    server->options = (struct net_server_options){.max_connections = options->max_connections,
        .max_streams = options->max_streams,
        .max_body_bytes = options->max_body_bytes,
        .idle_ms = options->idle_ms,
        .request_ms = options->request_ms,
        .reply_ms = options->reply_ms,
        .keepalive_ms = options->keepalive_ms};
    server->rate.per_second = options->max_requests;
    server->unix_side.server = server->tcp_side.server = server;
    server->listener.fd = server->tcp_fd = -1;
    server->gid = (gid_t)-1;
    for (size_t i = 0; i < REFUSED_MAX; i++)
        server->refused[i] = -1;
    int r = start(server, options, error);
    if (r < 0) {
        net_server_free(server);
        return r;
    }
    context->server = server;
    *ret_server = server;
    return 0;
}

/* ---- Ending */

static void stop_side(struct http_side *side)
{
    side->accept_source = sd_event_source_disable_unref(side->accept_source);
    side->mhd_source = sd_event_source_disable_unref(side->mhd_source);
    if (side->mhd)
        MHD_stop_daemon(side->mhd);
    side->mhd = NULL;
}

void net_server_free(struct net_server *server)
{
    if (!server)
        return;
    server->stopping = true;
    server->context->server = NULL;
    for (struct net_conn *conn = server->conns; conn; conn = conn->next)
        conn_wake(conn);
    if (server->timer)
        server_run(server); /* streams end with their last chunk */
    stop_side(&server->unix_side);
    stop_side(&server->tcp_side);
    server->works_source = sd_event_source_disable_unref(server->works_source);
    work_pool_free(server->works);
    conns_forget_refused(server);
    server->timer = sd_event_source_disable_unref(server->timer);
    listen_unix_close(&server->listener);
    io_closep(&server->tcp_fd);
    stream_ring_free(server->ring);
    if (server->token)
        explicit_bzero(server->token, strlen(server->token));
    mem_free(server->token);
    sd_event_unref(server->event);
    mem_free(server);
}

uint16_t net_server_port(const struct net_server *server)
{
    return server->tcp_port;
}

void net_server_stats(const struct net_server *server, struct net_server_stats *ret_stats)
{
    struct work_stats works;
    work_pool_stats(server->works, &works);
    *ret_stats = server->stats;
    ret_stats->queries[0] = works.done;
    ret_stats->queries[1] = works.refused;
    ret_stats->queries[2] = works.cancelled;
    ret_stats->queries[3] = works.late;
    ret_stats->queries_running = works.running;
    ret_stats->queries_waiting = works.waiting;
}
