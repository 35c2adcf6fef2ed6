/* SPDX-License-Identifier: Apache-2.0 */
/* The callbacks of libmicrohttpd: from its view of a request to ours, and back. */
#include "net/server_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/parse.h"
#include "policy/quota.h"

#define DRAIN_MAX    (1u << 20) /* of a body that is too large: enough to say so politely */
#define CONN_MEMORY  (16u << 10)
#define STREAM_BLOCK 4096

static struct net_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* ---- Life of a connection */

static void on_connection(void *userdata, struct MHD_Connection *mhd, void **socket_context,
    enum MHD_ConnectionNotificationCode code)
{
    struct http_side *side = userdata;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct net_conn *conn = TAKE_PTR(side->server->accepting);
        if (conn)
            conn->mhd = mhd;
        *socket_context = conn;
    } else if (*socket_context) {
        conn_free(*socket_context);
        *socket_context = NULL;
    }
}

/* The request line is there: the rest must follow in time. */
static void *on_target(void *userdata, const char *target, struct MHD_Connection *mhd)
{
    struct net_conn *conn = conn_of(mhd);
    (void)userdata;
    if (conn) {
        mem_free(conn->target);
        conn->target = mem_strdup(target);
        conn_set_deadline(conn, conn->side->server->options.request_ms);
    }
    return conn;
}

static void on_completed(void *userdata, struct MHD_Connection *mhd, void **request,
    enum MHD_RequestTerminationCode code)
{
    struct net_conn *conn = conn_of(mhd);
    (void)userdata;
    (void)request;
    (void)code;
    if (!conn)
        return;
    if (conn->stream) {
        conn->side->server->stats.streams--;
        stream_free(TAKE_PTR(conn->stream));
    }
    conn_end_work(conn);
    mem_free(TAKE_PTR(conn->target));
    buf_done(&conn->body);
    conn->begun = conn->gone = false;
    conn->body_error = 0;
    conn->dropped = 0;
    conn_set_deadline(conn, conn->side->server->options.idle_ms);
}

/* ---- Streams */

void conn_wake(struct net_conn *conn)
{
    if (!conn->suspended)
        return;
    conn->suspended = false;
    MHD_resume_connection(conn->mhd);
    server_kick(conn->side->server);
}

/* Gives MHD the next bytes of a stream; with none, the connection sleeps until conn_wake. */
static ssize_t on_stream_read(void *userdata, uint64_t position, char *buffer, size_t capacity)
{
    struct net_conn *conn = userdata;
    struct net_server *server = conn->side->server;
    (void)position;
    if (server->stopping)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (conn->gone || !conn->stream)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    ssize_t n = stream_read(conn->stream, buffer, capacity);
    if (n == -ENOBUFS)
        server->stats.streams_slow++;
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n > 0) {
        conn->heard_ns = clock_mono().ns;
        return n;
    }
    conn->suspended = true;
    MHD_suspend_connection(conn->mhd);
    return 0;
}

static bool streams_at_cap(const struct net_server *server, const struct net_peer *peer)
{
    uint32_t most = server->options.max_streams, own = 0, strangers = 0;
    if (server->stats.streams >= most)
        return true;
    if (peer->privileged)
        return false;
    for (const struct net_conn *conn = server->conns; conn; conn = conn->next) {
        strangers += conn->stream && !conn->peer.privileged;
        own += conn->stream && conn->peer.uid == peer->uid;
    }
    return quota_spent(most, own, strangers);
}

/* Turns the connection into a stream, or the reply into a refusal. */
static struct MHD_Response *start_stream(struct net_conn *conn, struct net_reply *reply)
{
    struct net_server *server = conn->side->server;
    if (streams_at_cap(server, &conn->peer)) {
        server->stats.streams_refused++;
        reply_problem(reply, 429, NULL,
            "event streams are at their cap: close some, or raise caps.max_streams");
        return NULL;
    }
    if (stream_new(server->ring, reply, &conn->stream) < 0) {
        reply_problem(reply, 503, NULL, "out of memory");
        return NULL;
    }
    server->stats.streams++;
    conn->heard_ns = clock_mono().ns;
    return MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream_read, conn, NULL);
}

/* ---- Answers */

static struct MHD_Response *make_response(struct net_reply *reply)
{
    static char nothing[1];
    size_t size = 0;
    if (reply->body.size == 0)
        return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    char *bytes = buf_take(&reply->body, &size);
    if (!bytes)
        return NULL;
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(size, bytes, mem_free);
    if (!response)
        mem_free(bytes);
    return response;
}

static void add_headers(struct MHD_Response *response, const struct net_reply *reply)
{
    if (reply->status != 204)
        MHD_add_response_header(response, "Content-Type", reply->content_type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (reply->allow[0])
        MHD_add_response_header(response, "Allow", reply->allow);
    if (reply->status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"agentcore\"");
    if (reply->status == 429 || reply->status == 503)
        MHD_add_response_header(response, "Retry-After", "1");
}

static enum MHD_Result queue_response(struct net_conn *conn, const struct net_reply *reply,
    struct MHD_Response *response, bool endless)
{
    struct net_server *server = conn->side->server;
    add_headers(response, reply);
    server->stats.requests[reply->status / 100 <= 5 ? reply->status / 100 : 0]++;
    conn_set_deadline(conn, endless ? 0 : server->options.reply_ms);
    enum MHD_Result r = MHD_queue_response(conn->mhd, reply->status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result send_reply(struct net_conn *conn, struct net_reply *reply)
{
    struct MHD_Response *response = reply->stream ? start_stream(conn, reply) : NULL;
    if (response)
        return queue_response(conn, reply, response, true);
    response = make_response(reply);
    return response ? queue_response(conn, reply, response, false) : MHD_NO;
}

static enum MHD_Result refuse(struct net_conn *conn, unsigned status, const char *detail)
{
    struct net_reply reply CLEANUP(reply_done);
    reply_init(&reply);
    reply_problem(&reply, status, NULL, detail);
    return send_reply(conn, &reply);
}

static const char *header(struct net_conn *conn, const char *name)
{
    return MHD_lookup_connection_value(conn->mhd, MHD_HEADER_KIND, name);
}

static void log_request(
    const struct net_conn *conn, const char *method, const struct net_reply *reply)
{
    log_event(LOG_LEVEL_DEBUG, "request", log_str("method", method),
        log_str("target", conn->target), log_int("uid", (int32_t)conn->peer.uid),
        log_uint("status", reply->status));
}

/* Sends what the query has to say, or waits for it. */
static enum MHD_Result answer_work(struct net_conn *conn, const char *method)
{
    struct net_reply reply CLEANUP(reply_done);
    struct MHD_Response *response;
    reply_init(&reply);
    if (conn->gone || conn->side->server->stopping)
        return MHD_NO;
    if (!conn_take_work(conn, &reply, &response))
        return MHD_YES;
    log_request(conn, method, &reply);
    return response ? queue_response(conn, &reply, response, false) : send_reply(conn, &reply);
}

static enum MHD_Result answer(struct net_conn *conn, const char *method)
{
    struct net_reply reply CLEANUP(reply_done);
    struct net_request request = {.method = method,
        .target = conn->target,
        .content_type = header(conn, "Content-Type"),
        .accept = header(conn, "Accept"),
        .last_event_id = header(conn, "Last-Event-ID"),
        .body = conn->body.data,
        .body_size = conn->body.size,
        .takes_query = true,
        .peer = conn->peer,
        .now = clock_moment()};
    reply_init(&reply);
    net_dispatch(conn->side->server->context, &request, &reply);
    if (strcmp(method, "HEAD") == 0)
        reply.stream = false;
    if (reply.query && conn_start_work(conn, &reply)) {
        conn_set_deadline(conn, 0); /* the query has its own */
        return answer_work(conn, method);
    }
    log_request(conn, method, &reply);
    return send_reply(conn, &reply);
}

/* ---- Requests */

/* Who asks over TCP: nobody in particular, or somebody with the token. */
static void authenticate(struct net_conn *conn)
{
    const struct net_server *server = conn->side->server;
    if (conn->side->local)
        return;
    bool known = server->token && token_matches(server->token, header(conn, "Authorization"));
    conn->peer = (struct net_peer){.authenticated = known, .privileged = known, .uid = UINT32_MAX};
}

/* The head is there. Answers at once where the body need not be read. */
static enum MHD_Result begin_request(struct net_conn *conn, const char *method)
{
    struct net_server *server = conn->side->server;
    const char *length = header(conn, "Content-Length");
    uint64_t size = 0;
    conn->begun = true;
    conn->body.limit = server->options.max_body_bytes;
    authenticate(conn);
    if (!conn->peer.privileged && !rate_take(&server->rate, conn->peer.uid, clock_mono_coarse())) {
        server->stats.requests_limited++;
        return refuse(conn, 429,
            "more requests than caps.max_requests allows a user: wait a moment, or ask for more "
            "at once");
    }
    if (!conn->target)
        return refuse(conn, 503, "out of memory");
    if (!conn->peer.authenticated)
        return answer(conn, method);
    if (length && parse_u64(length, strlen(length), &size) < 0)
        return refuse(conn, 400, "Content-Length: not a number");
    if (size > server->options.max_body_bytes + DRAIN_MAX)
        return refuse(conn, 413, "the body is larger than caps.max_body");
    return MHD_YES;
}

static enum MHD_Result take_body(struct net_conn *conn, const char *bytes, size_t *size)
{
    const struct net_server *server = conn->side->server;
    if (conn->body_error == 0)
        conn->body_error = buf_append(&conn->body, bytes, *size);
    if (conn->body_error != 0) {
        buf_done(&conn->body);
        conn->dropped += *size;
    }
    *size = 0;
    return conn->dropped > DRAIN_MAX + server->options.max_body_bytes ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *mhd, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_size,
    void **request)
{
    struct net_conn *conn = conn_of(mhd);
    (void)userdata;
    (void)url;
    (void)version;
    (void)request;
    if (!conn)
        return MHD_NO;
    if (conn->work)
        return answer_work(conn, method);
    if (!conn->begun)
        return begin_request(conn, method);
    if (*upload_size > 0)
        return take_body(conn, upload, upload_size);
    if (conn->body_error == -E2BIG)
        return refuse(conn, 413, "the body is larger than caps.max_body");
    if (conn->body_error != 0)
        return refuse(conn, 503, "out of memory");
    return answer(conn, method);
}

/* ---- Starting */

/* MHD logs what clients do wrong, too: nothing an operator must see. */
static void __attribute__((format(printf, 2, 0)))
on_log(void *userdata, const char *format, va_list args)
{
    char text[256];
    (void)userdata;
    vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = 0;
    log_event(LOG_LEVEL_DEBUG, "http", log_str("text", text));
}

int http_side_start(
    struct http_side *side, const char *certificate, const char *key, struct ac_error *error)
{
    const struct net_server_options *options = &side->server->options;
    unsigned flags =
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    unsigned timeout = options->idle_ms / 1000 + 1;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
            (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    if (certificate)
        flags |= MHD_USE_TLS;
    side->tls = certificate != NULL;
    side->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, side, MHD_OPTION_EXTERNAL_LOGGER,
        on_log, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, side,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, side, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        side, MHD_OPTION_CONNECTION_LIMIT, options->max_connections + 16,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_TIMEOUT, timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY, MHD_OPTION_ARRAY,
        certificate ? tls : none, MHD_OPTION_END);
    if (side->mhd)
        return 0;
    if (certificate)
        return error_set(error, -EINVAL,
            "http.tls_certificate, http.tls_key: not a certificate and its key, both PEM");
    return error_set(error, -ENOMEM, "the HTTP server cannot be started");
}
