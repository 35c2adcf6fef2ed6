/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that wait for a query, and then take its answer as fast as their clients do. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "net/server_internal.h"

#define BLOCK_BYTES 16384
#define COUNT_NS    (300 * NS_PER_SEC)

/* MHD does not look at a connection that is suspended. */
static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct net_conn *conn = userdata;
    (void)fd;
    (void)revents;
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    conn->gone = true;
    conn_wake(conn);
    return 0;
}

bool conn_start_work(struct net_conn *conn, struct net_reply *reply)
{
    struct net_server *server = conn->side->server;
    uint32_t events = conn->side->local ? 0 : EPOLLRDHUP;
    int r = sd_event_add_io(server->event, &conn->watch, conn->fd, events, on_hangup, conn);
    if (r >= 0)
        r = work_start(server->works, TAKE_PTR(reply->query), &conn->peer, &conn->work);
    if (r >= 0)
        return true;
    conn_end_work(conn);
    if (r == -EALREADY)
        reply_problem(reply, 409, NULL, "the history is being verified already");
    else
        reply_problem(reply, 503, NULL,
            r == -EAGAIN ? "too many queries wait: ask again later"
                         : "the query cannot be started");
    return false;
}

void conn_end_work(struct net_conn *conn)
{
    conn->watch = sd_event_source_disable_unref(conn->watch);
    work_close(TAKE_PTR(conn->work));
    conn->delivering = false;
}

/* Gives MHD the next bytes of an answer; with none, the connection sleeps until works_told. */
static ssize_t on_work_read(void *userdata, uint64_t position, char *buffer, size_t capacity)
{
    struct net_conn *conn = userdata;
    (void)position;
    if (conn->side->server->stopping || conn->gone || !conn->work)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    ssize_t n = work_read(conn->work, buffer, capacity);
    if (n > 0)
        return n;
    if (n < 0)
        return n == -ENODATA ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    conn->suspended = true;
    MHD_suspend_connection(conn->mhd);
    return 0;
}

bool conn_take_work(
    struct net_conn *conn, struct net_reply *ret_reply, struct MHD_Response **ret_response)
{
    *ret_response = NULL;
    if (!work_answers(conn->work)) {
        conn->suspended = true;
        MHD_suspend_connection(conn->mhd);
        return false;
    }
    if (work_reply(conn->work, ret_reply)) {
        conn_end_work(conn);
        return true;
    }
    conn->delivering = true;
    *ret_response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_work_read, conn, NULL);
    if (!*ret_response) {
        conn_end_work(conn);
        reply_problem(ret_reply, 503, NULL, "out of memory");
    }
    return true;
}

/* ---- What the history holds */

static int run_count(struct net_query *query)
{
    struct history_tier tiers[HISTORY_TIERS];
    int r = history_tiers(query->history, tiers, NULL);
    return r < 0 ? r : buf_append(&query->reply.body, tiers, sizeof(tiers));
}

static void take_count(struct net_server *server)
{
    struct net_reply reply CLEANUP(reply_done);
    reply_init(&reply);
    if (!server->count || !work_answers(server->count))
        return;
    if (work_reply(server->count, &reply) && reply.status == 200 &&
        reply.body.size == sizeof(server->tiers)) {
        memcpy(server->tiers, reply.body.data, sizeof(server->tiers));
        server->tiers_known = true;
    }
    work_close(TAKE_PTR(server->count));
}

static void start_count(struct net_server *server)
{
    const struct net_context *context = server->context;
    struct net_query *query = context->history && context->store ? mem_alloc(sizeof(*query)) : NULL;
    if (!query)
        return;
    reply_init(&query->reply);
    query->run = run_count;
    query->history = context->history;
    (void)work_start(server->works, query, &(struct net_peer){.privileged = true}, &server->count);
}

bool net_server_tiers(struct net_server *server, struct history_tier ret_tiers[HISTORY_TIERS])
{
    uint64_t now = clock_mono().ns;
    if (!server->count && (server->counted_ns == 0 || now - server->counted_ns >= COUNT_NS)) {
        server->counted_ns = now;
        start_count(server);
    }
    memcpy(ret_tiers, server->tiers, sizeof(server->tiers));
    return server->tiers_known;
}

int works_told(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct net_server *server = userdata;
    (void)source;
    (void)fd;
    (void)revents;
    work_pool_news(server->works);
    take_count(server);
    for (struct net_conn *conn = server->conns; conn; conn = conn->next) {
        if (!conn->work || !conn->suspended)
            continue;
        if (conn->delivering ? work_readable(conn->work) : work_answers(conn->work))
            conn_wake(conn);
    }
    return 0;
}
