/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the server, shared by server*.c only. */
#ifndef AC_NET_SERVER_INTERNAL_H
#define AC_NET_SERVER_INTERNAL_H

#include <microhttpd.h>

#include "net/listen.h"
#include "net/rate.h"
#include "net/server.h"
#include "net/stream.h"
#include "net/work.h"

#define REFUSED_MAX 16

/* A listening socket with the HTTP daemon behind it: one for unix, one for TCP. */
struct http_side {
    struct net_server *server;
    struct MHD_Daemon *mhd;
    sd_event_source *accept_source;
    sd_event_source *mhd_source;
    bool local; /* unix: peers have a uid */
    bool tls;
    bool paused; /* accepting failed (no descriptors left): until the next sweep */
};

/* A connection; one request at a time. Owned by the server, freed when MHD closes it. */
struct net_conn {
    struct net_conn *next, *previous;
    struct http_side *side;
    struct MHD_Connection *mhd;
    int fd;
    struct net_peer peer;
    uint64_t deadline_ns; /* monotonic; 0 = none */

    /* The request in progress. */
    char *target;
    struct buf body;
    bool begun;     /* the head has been looked at */
    int body_error; /* -E2BIG, -ENOMEM: what follows is dropped */
    size_t dropped;

    /* The stream it became, if it did. */
    struct stream *stream;

    /* The query that it waits for, or whose answer it gets. */
    struct work *work;
    sd_event_source *watch; /* tells when the client hangs up */
    bool delivering;        /* the answer has begun */

    bool suspended;
    bool gone; /* end it at the next read */
    uint64_t heard_ns;
};

struct net_server {
    sd_event *event;
    struct net_context *context;
    struct net_server_options options; /* numbers only */
    struct http_side unix_side, tcp_side;
    struct unix_listener listener;
    int tcp_fd;
    uint16_t tcp_port;
    char *token;
    struct rate rate;
    gid_t gid; /* of the privileged group; -1 = none */
    sd_event_source *timer;
    struct work_pool *works;
    sd_event_source *works_source;
    struct work *count;  /* counts what the history holds; NULL = it does not */
    uint64_t counted_ns; /* monotonic: when that was begun last; 0 = never */
    bool tiers_known;
    struct history_tier tiers[HISTORY_TIERS];
    uint64_t sweep_ns; /* monotonic: when connections are looked at next; 0 = there are none */
    struct stream_ring *ring;
    struct net_conn *conns;     /* all */
    struct net_conn *accepting; /* being handed to MHD */
    int refused[REFUSED_MAX];   /* sockets with a refusal on its way out; -1 = none */
    size_t refused_next;
    bool stopping;
    struct net_server_stats stats;
};

/* ---- server_http.c: what MHD calls */

/* Starts @side's MHD daemon; TLS where both PEM texts are given. 0 or -errno. */
int http_side_start(
    struct http_side *side, const char *certificate, const char *key, struct ac_error *error);

/* Wakes a stream that has something to send; the answer to its read comes from the loop. */
void conn_wake(struct net_conn *conn);

/* ---- server_work.c: queries, which run beside the loop */

/* Starts the query of @reply and returns true, or makes the reply a refusal. */
bool conn_start_work(struct net_conn *conn, struct net_reply *reply);
void conn_end_work(struct net_conn *conn);

/* What has become of it. Returns false while it must wait for more. With true: the whole reply,
 * or a response that reads on (*ret_response is not NULL). */
bool conn_take_work(
    struct net_conn *conn, struct net_reply *ret_reply, struct MHD_Response **ret_response);

/* The handler of the pool's descriptor: wakes those that have news. */
int works_told(sd_event_source *source, int fd, uint32_t revents, void *userdata);

/* ---- server_conn.c: accepting, limits, deadlines */

/* The accept source's handler. */
int conn_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata);

void conn_free(struct net_conn *conn);
void conn_set_deadline(struct net_conn *conn, uint32_t after_ms);

/* Once a second: ends what is too slow, and keeps streams alive. */
void conns_sweep(struct net_server *server);

/* Takes up accepting again where it was paused. */
void side_resume(struct http_side *side);

/* Closes the sockets of refused connections. */
void conns_forget_refused(struct net_server *server);

/* ---- server.c */

/* Lets MHD work off what is ready, and sets the timer for what is not. */
void server_run(struct net_server *server);

/* Makes the loop call server_run at once. */
void server_kick(struct net_server *server);

#endif
