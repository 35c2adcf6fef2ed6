/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client of the daemon's HTTP API (docs/http-api.md) for the command line: JSON calls and event
 * streams over the unix socket, or over TCP with a bearer token. All calls block. One client is
 * used by one thread at a time.
 */
#ifndef AC_NET_CLIENT_H
#define AC_NET_CLIENT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"

struct client;

/* All may be NULL or 0; the strings are copied. */
struct client_options {
    const char *socket;     /* NULL = looked for, see client_find_socket */
    const char *url;        /* "http://127.0.0.1:9464", "https://host:9464": instead of a socket */
    const char *token_file; /* bearer token for .url; sent over plain http to loopback only */
    const char *ca_file;    /* PEM, for https; NULL = the system's */
    uint32_t timeout_ms;    /* of one call [10000] */
};

/* Where the daemon listens: @option (may be NULL), $AGENTCORE_SOCKET, then the first that answers
 * of /run/agentcore/agentcore.sock and $XDG_RUNTIME_DIR/agentcore.sock (without that variable
 * /tmp/agentcore-UID/agentcore.sock, believed only in a directory of our own). Where none answers:
 * the first that exists, else the last. *ret_places names all that were looked at, for a message.
 * The caller frees both with mem_free. Returns 0 or -ENOMEM. */
int client_find_socket(const char *option, char **ret_path, char **ret_places);

/* Does not connect yet. Returns 0; -EINVAL (URL, token, path too long), -EACCES or -ENOENT (token
 * file), -ENOMEM. */
int client_new(
    const struct client_options *options, struct client **ret_client, struct ac_error *error);
void client_free(struct client *client);

/* Of the calls that follow; 0 = 10 s. */
void client_set_timeout(struct client *client, uint32_t timeout_ms);

/* Where calls go, for messages: the socket's path or the URL. Borrowed. */
const char *client_target(const struct client *client);

/* One call. @path starts with '/'. Any HTTP answer is a success of the call: look at *ret_status
 * (or use client_check). *ret_answer is the JSON body (json_decref it), NULL where there is none;
 * both may be NULL pointers. Returns 0; -ENOENT or -ECONNREFUSED where no daemon listens, -EACCES
 * where this user may not connect, -ETIMEDOUT, -EPROTO for an answer that is no JSON, -EMSGSIZE
 * for one over 256 MiB, -EIO, -ENOMEM; @error then says what to do. */
int client_call(struct client *client, const char *method, const char *path, const json_t *body,
    long *ret_status, json_t **ret_answer, struct ac_error *error);

/* The same for an answer that is text (/metrics): appends the body to @ret_text. */
int client_text(struct client *client, const char *path, long *ret_status, struct buf *ret_text,
    struct ac_error *error);

/* Turns an answer into an error: 0 for status 2xx; else -EINVAL (400, 415), -EACCES (401, 403),
 * -ENOENT (404), -EOPNOTSUPP (405), -EEXIST (409), -E2BIG (413), -EAGAIN (429, 503), -EIO, with
 * the problem's "detail" as the text. */
int client_check(long status, const json_t *answer, struct ac_error *error);

struct client_event {
    const char *id;     /* to resume after; "" = none */
    const char *kind;   /* "alert", ... */
    const json_t *data; /* the event object; borrowed */
};

/* Called for each event, and with NULL at least once a second and whenever a signal interrupted
 * the waiting, so that the caller can stop or redraw. A non-zero return ends the stream. */
typedef int (*client_event_fn)(void *userdata, const struct client_event *event);

/* Reads server-sent events until the server ends the stream (0), @each returns non-zero (that
 * value), or something fails (-errno as client_call; -ETIMEDOUT after 45 s without a sign of life;
 * an HTTP error as client_check). @last_event_id: NULL, or resume after that event. */
int client_stream(struct client *client, const char *path, const char *last_event_id,
    client_event_fn each, void *userdata, struct ac_error *error);

/* Building paths, percent-encoded. client_path_add appends "/segment", client_query_add
 * "?key=value" or "&key=value". Failures stick to the buffer (buf.failed). */
void client_path_add(struct buf *path, const char *segment);
void client_query_add(struct buf *path, const char *key, const char *value);

#endif
