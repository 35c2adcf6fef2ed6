/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: who may have one, and for how long. */
#include "net/server_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/io.h"
#include "base/mem.h"
#include "policy/quota.h"

#define ACCEPTS_PER_TURN 16

void conn_set_deadline(struct net_conn *conn, uint32_t after_ms)
{
    conn->deadline_ns = after_ms == 0 ? 0 : clock_mono().ns + after_ms * NS_PER_MSEC;
}

void conn_free(struct net_conn *conn)
{
    struct net_server *server = conn->side->server;
    if (conn->next)
        conn->next->previous = conn->previous;
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        server->conns = conn->next;
    server->stats.connections--;
    conn_end_work(conn);
    stream_free(conn->stream);
    mem_free(conn->target);
    buf_done(&conn->body);
    mem_free(conn);
}

static struct net_conn *conn_new(struct http_side *side, int fd, const struct net_peer *peer)
{
    struct net_server *server = side->server;
    struct net_conn *conn = mem_alloc(sizeof(*conn));
    if (!conn)
        return NULL;
    conn->side = side;
    conn->fd = fd;
    conn->peer = *peer;
    conn->next = server->conns;
    if (conn->next)
        conn->next->previous = conn;
    server->conns = conn;
    server->stats.connections++;
    conn_set_deadline(conn, server->options.idle_ms);
    return conn;
}

/* Over TCP everybody is a stranger: who it is shows with the request. */
static bool at_cap(const struct http_side *side, const struct net_peer *peer)
{
    const struct net_server *server = side->server;
    uint32_t most = server->options.max_connections, own = 0, strangers = 0;
    if (server->stats.connections >= most)
        return true;
    if (peer->privileged)
        return false;
    for (const struct net_conn *conn = server->conns; conn; conn = conn->next) {
        strangers += !conn->side->local || !conn->peer.privileged;
        own += side->local && conn->side->local && conn->peer.uid == peer->uid;
    }
    return quota_spent(most, own, strangers);
}

void conns_forget_refused(struct net_server *server)
{
    for (size_t i = 0; i < REFUSED_MAX; i++)
        io_closep(&server->refused[i]);
    server->refused_next = 0; /* so that the first place tells whether there is any */
}

/* Answers without MHD. The socket stays open for a moment: closing it with the request unread
 * would take the answer away from the client. */
static void refuse(struct http_side *side, int fd)
{
    static const char body[] =
        "{\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"status\":429,"
        "\"detail\":\"connections are at their cap: close some, or raise caps.max_connections\"}";
    struct net_server *server = side->server;
    char answer[512];
    server->stats.connections_refused++;
    if (side->tls) {
        close(fd);
        return;
    }
    int size = snprintf(answer, sizeof(answer),
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: %zu\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
        sizeof(body) - 1, body);
    (void)send(fd, answer, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    io_closep(&server->refused[server->refused_next]);
    server->refused[server->refused_next] = fd;
    server->refused_next = (server->refused_next + 1) % REFUSED_MAX;
}

static void take_connection(
    struct http_side *side, int fd, const struct sockaddr *address, socklen_t size)
{
    struct net_server *server = side->server;
    struct net_peer peer = {.uid = UINT32_MAX};
    if (side->local && listen_peer(fd, server->gid, &peer) < 0) {
        close(fd);
        return;
    }
    if (at_cap(side, &peer)) {
        refuse(side, fd);
        return;
    }
    server->accepting = conn_new(side, fd, &peer);
    if (!server->accepting) {
        close(fd);
        return;
    }
    /* MHD owns the socket from here on, also where it fails. */
    (void)MHD_add_connection(side->mhd, fd, address, size);
    if (server->accepting) /* MHD did not take it */
        conn_free(TAKE_PTR(server->accepting));
}

int conn_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct http_side *side = userdata;
    (void)source;
    (void)revents;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof(address);
        int client = accept4(fd, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (client < 0) {
            side->paused = errno != EAGAIN;
            break;
        }
        if (side->local) { /* MHD wants an address that names its family */
            address.ss_family = AF_UNIX;
            size = sizeof(struct sockaddr_un);
        }
        take_connection(side, client, (struct sockaddr *)&address, size);
    }
    /* Out of descriptors or memory: the listening socket would wake the loop without end. */
    if (side->paused)
        (void)sd_event_source_set_enabled(side->accept_source, SD_EVENT_OFF);
    server_run(side->server);
    return 0;
}

void side_resume(struct http_side *side)
{
    if (!side->paused)
        return;
    side->paused = false;
    (void)sd_event_source_set_enabled(side->accept_source, SD_EVENT_ON);
}

/* Whether the client of a silent stream has hung up: MHD does not look while it is suspended. Over
 * TCP a client that is gone and one that has merely nothing more to say look alike. */
static bool hung_up(const struct net_conn *conn)
{
    struct pollfd look = {.fd = conn->fd, .events = conn->side->local ? 0 : POLLRDHUP};
    return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void sweep_stream(struct net_conn *conn, uint64_t now)
{
    const struct net_server *server = conn->side->server;
    if (hung_up(conn)) {
        conn->gone = true;
    } else if (now - conn->heard_ns >= server->options.keepalive_ms * NS_PER_MSEC) {
        conn->heard_ns = now;
        stream_keepalive(conn->stream);
    } else {
        return;
    }
    conn_wake(conn);
}

void conns_sweep(struct net_server *server)
{
    uint64_t now = clock_mono().ns;
    for (struct net_conn *conn = server->conns; conn; conn = conn->next) {
        if (conn->stream && conn->suspended)
            sweep_stream(conn, now);
        if (conn->deadline_ns == 0 || now < conn->deadline_ns)
            continue;
        server->stats.connections_expired++;
        conn->deadline_ns = 0;
        shutdown(conn->fd, SHUT_RDWR); /* MHD notices, and closes it in its own time */
    }
    work_pool_sweep(server->works);
    conns_forget_refused(server);
    side_resume(&server->unix_side);
    side_resume(&server->tcp_side);
}
