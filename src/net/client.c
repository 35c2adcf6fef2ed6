/* SPDX-License-Identifier: Apache-2.0 */
#include "net/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/io.h"
#include "net/sse_reader.h"

#define ANSWER_MAX         (256u << 20)
#define ERROR_BODY_MAX     65536u
#define SILENCE_NS         (45 * NS_PER_SEC) /* three keepalives */
#define DEFAULT_TIMEOUT_MS 10000
#define TOKEN_MAX          4096

struct client {
    CURL *curl;
    char *socket; /* NULL with a URL */
    char *places; /* where that was looked for, for people */
    char *base;   /* "http://localhost" or the URL without its last '/' */
    char *ca_file;
    char *authorization; /* whole header line; NULL = none */
    uint32_t timeout_ms;
};

/* One exchange: what the write callback fills. */
struct exchange {
    struct client *client;
    struct buf body; /* answer of a call, or the error body of a stream */
    struct sse_reader reader;
    client_event_fn each; /* NULL for a call */
    void *userdata;
    uint64_t heard_ns; /* when bytes came last */
    int result;        /* non-zero ends the transfer */
};

static bool is_loopback_host(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* A token on an open wire is a token given away. */
static int check_url(const char *url, bool with_token, struct ac_error *error)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL, *host = NULL;
    int r = 0;
    if (!parsed)
        return -ENOMEM;
    if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        r = error_set(error, -EINVAL, "URL %s: not an http:// or https:// address", url);
    else if (with_token && strcmp(scheme, "http") == 0 && !is_loopback_host(host))
        r = error_set(error, -EINVAL,
            "URL %s: will not send the token unencrypted beyond this machine; use https", url);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parsed);
    return r;
}

static int read_token(struct client *client, const char *path, struct ac_error *error)
{
    char token[TOKEN_MAX + 2];
    struct buf line CLEANUP(buf_done) = {0};
    ssize_t size = io_read_file(AT_FDCWD, path, token, sizeof(token));
    if (size < 0)
        return error_errno(error, (int)size, "token file %s", path);
    while (size > 0 && (token[size - 1] == '\n' || token[size - 1] == '\r'))
        size--;
    if (size == 0 || size > TOKEN_MAX)
        return error_set(error, -EINVAL, "token file %s: expected one line with the token", path);
    for (ssize_t i = 0; i < size; i++) {
        if (token[i] <= ' ' || token[i] > '~')
            return error_set(
                error, -EINVAL, "token file %s: the token has a character that cannot be", path);
    }
    buf_append_str(&line, "Authorization: Bearer ");
    buf_append(&line, token, (size_t)size);
    client->authorization = buf_take(&line, NULL);
    explicit_bzero(token, sizeof(token));
    return client->authorization ? 0 : -ENOMEM;
}

static int use_url(
    struct client *client, const struct client_options *options, struct ac_error *error)
{
    int r = check_url(options->url, options->token_file != NULL, error);
    if (r < 0)
        return r;
    client->base = mem_strdup(options->url);
    if (!client->base)
        return -ENOMEM;
    size_t length = strlen(client->base);
    while (length > 0 && client->base[length - 1] == '/')
        client->base[--length] = 0;
    if (options->ca_file) {
        client->ca_file = mem_strdup(options->ca_file);
        if (!client->ca_file)
            return -ENOMEM;
    }
    return options->token_file ? read_token(client, options->token_file, error) : 0;
}

static int use_socket(struct client *client, const char *option, struct ac_error *error)
{
    int r = client_find_socket(option, &client->socket, &client->places);
    if (r < 0)
        return r;
    if (strlen(client->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return error_set(error, -EINVAL, "socket path %s: longer than %zu bytes", client->socket,
            sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    client->base = mem_strdup("http://localhost");
    return client->base ? 0 : -ENOMEM;
}

static void client_freep(struct client **client)
{
    client_free(*client);
}

int client_new(
    const struct client_options *options, struct client **ret_client, struct ac_error *error)
{
    static const struct client_options none;
    struct client *client CLEANUP(client_freep) = mem_alloc(sizeof(*client));
    if (!client)
        return error_set(error, -ENOMEM, "out of memory");
    if (!options)
        options = &none;
    client->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    client->curl = curl_easy_init();
    if (!client->curl)
        return error_set(error, -ENOMEM, "out of memory");
    int r =
        options->url ? use_url(client, options, error) : use_socket(client, options->socket, error);
    if (r == -ENOMEM)
        error_set(error, r, "out of memory");
    if (r < 0)
        return r;
    *ret_client = TAKE_PTR(client);
    return 0;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    if (client->authorization)
        explicit_bzero(client->authorization, strlen(client->authorization));
    mem_free(client->authorization);
    mem_free(client->socket);
    mem_free(client->places);
    mem_free(client->base);
    mem_free(client->ca_file);
    mem_free(client);
}

void client_set_timeout(struct client *client, uint32_t timeout_ms)
{
    client->timeout_ms = timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS;
}

const char *client_target(const struct client *client)
{
    return client->socket ? client->socket : client->base;
}

static int stream_event(void *userdata, const struct sse_text *text)
{
    struct exchange *exchange = userdata;
    json_t *data = json_loadb(text->data, text->data_size, JSON_REJECT_DUPLICATES, NULL);
    if (!data)
        return -EPROTO;
    struct client_event event = {.id = text->id, .kind = text->kind, .data = data};
    int r = exchange->each(exchange->userdata, &event);
    json_decref(data);
    return r;
}

static size_t on_bytes(char *bytes, size_t one, size_t count, void *userdata)
{
    struct exchange *exchange = userdata;
    size_t size = one * count;
    long status = 0;
    exchange->heard_ns = clock_mono().ns;
    curl_easy_getinfo(exchange->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exchange->each && status == 200)
        exchange->result = sse_reader_feed(&exchange->reader, bytes, size, stream_event, exchange);
    else if (exchange->body.size + size > (exchange->each ? ERROR_BODY_MAX : ANSWER_MAX))
        exchange->result = -EMSGSIZE;
    else
        exchange->result = buf_append(&exchange->body, bytes, size);
    return exchange->result == 0 ? size : 0;
}

static int no_connection(const struct client *client, int code, struct ac_error *error)
{
    const char *target = client_target(client);
    if (code == -EACCES || code == -EPERM)
        return error_set(error, -EACCES,
            "may not connect to %s: permission denied; run as a member of the daemon's group, or "
            "use --socket",
            target);
    if (client->socket)
        return error_set(error, code,
            "no daemon at %s: start agentcored, or name the socket of one that runs with --socket "
            "or "
            "AGENTCORE_SOCKET",
            client->places);
    return error_set(
        error, code, "no daemon at %s: is agentcored running with http.listen?", target);
}

static int too_late(const struct client *client, struct ac_error *error)
{
    curl_off_t connected_us = 0;
    curl_easy_getinfo(client->curl, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    if (connected_us == 0)
        return no_connection(client, -ECONNREFUSED, error);
    return error_set(error, -ETIMEDOUT, "%s: the daemon did not answer within %g s",
        client_target(client), client->timeout_ms / 1e3);
}

/* What a failed transfer means, in words that help. */
static int transfer_error(
    const struct client *client, CURLcode code, const char *text, struct ac_error *error)
{
    long os_errno = 0;
    const char *target = client_target(client);
    curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return error_set(error, -ENOMEM, "out of memory");
    case CURLE_COULDNT_CONNECT:
        return no_connection(client, os_errno > 0 ? -(int)os_errno : -ECONNREFUSED, error);
    case CURLE_OPERATION_TIMEDOUT:
        return too_late(client, error);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
        return error_set(error, -EACCES, "%s: TLS: %s", target, text);
    default:
        return error_set(error, -EIO, "%s: %s", target, text[0] ? text : curl_easy_strerror(code));
    }
}

/* Options that every exchange has. The handle is reset first: only its connections stay. */
static void set_common(struct client *client, const char *method, const char *url,
    struct curl_slist *headers, char *text, struct exchange *exchange)
{
    CURL *curl = client->curl;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* environment proxies are not for us */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "agentcore/" AC_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    if (client->socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    if (client->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
}

static int header_add(struct curl_slist **headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (!longer)
        return -ENOMEM;
    *headers = longer;
    return 0;
}

static void headers_freep(struct curl_slist **headers)
{
    curl_slist_free_all(*headers);
}

static int common_headers(const struct client *client, struct curl_slist **headers)
{
    int r = header_add(headers, "Expect:");
    if (r == 0 && client->authorization)
        r = header_add(headers, client->authorization);
    return r;
}

static void exchange_done(struct exchange *exchange)
{
    buf_done(&exchange->body);
    sse_reader_done(&exchange->reader);
}

/* Sends and receives; the answer's bytes are in exchange->body. */
static int call_raw(struct client *client, const char *method, const char *path, const char *body,
    long *ret_status, struct exchange *exchange, struct ac_error *error)
{
    char text[CURL_ERROR_SIZE] = "";
    struct buf url CLEANUP(buf_done) = {0};
    struct curl_slist *headers CLEANUP(headers_freep) = NULL;
    exchange->client = client;
    buf_append_str(&url, client->base);
    buf_append_str(&url, path);
    if (url.failed || common_headers(client, &headers) < 0 ||
        (body && header_add(&headers, "Content-Type: application/json") < 0))
        return error_set(error, -ENOMEM, "out of memory");
    set_common(client, method, url.data, headers, text, exchange);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)client->timeout_ms);
    if (body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    }
    CURLcode code = curl_easy_perform(client->curl);
    if (exchange->result < 0)
        return error_errno(error, exchange->result, "%s: the answer", client_target(client));
    if (code != CURLE_OK)
        return transfer_error(client, code, text, error);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return 0;
}

static int parse_answer(const struct client *client, const struct buf *body, json_t **ret_answer,
    struct ac_error *error)
{
    json_error_t where;
    *ret_answer = NULL;
    if (body->size == 0)
        return 0;
    *ret_answer = json_loadb(body->data, body->size, JSON_REJECT_DUPLICATES, &where);
    if (*ret_answer)
        return 0;
    return error_set(
        error, -EPROTO, "%s: the answer is not JSON: %s", client_target(client), where.text);
}

int client_call(struct client *client, const char *method, const char *path, const json_t *body,
    long *ret_status, json_t **ret_answer, struct ac_error *error)
{
    struct exchange exchange CLEANUP(exchange_done) = {0};
    json_t *answer = NULL;
    long status = 0;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (body && !text)
        return error_set(error, -ENOMEM, "out of memory");
    int r = call_raw(client, method, path, text, &status, &exchange, error);
    free(text); /* jansson's */
    if (r == 0)
        r = parse_answer(client, &exchange.body, &answer, error);
    if (r < 0)
        return r;
    if (ret_status)
        *ret_status = status;
    if (ret_answer)
        *ret_answer = answer;
    else
        json_decref(answer);
    return 0;
}

int client_text(struct client *client, const char *path, long *ret_status, struct buf *ret_text,
    struct ac_error *error)
{
    struct exchange exchange CLEANUP(exchange_done) = {0};
    long status = 0;
    int r = call_raw(client, "GET", path, NULL, &status, &exchange, error);
    if (r == 0 && exchange.body.size > 0 &&
        buf_append(ret_text, exchange.body.data, exchange.body.size) < 0)
        r = error_set(error, -ENOMEM, "out of memory");
    if (r == 0 && ret_status)
        *ret_status = status;
    return r;
}

/* Runs the transfer until it ends by itself or somebody wants it to. */
static int pump(CURLM *multi, struct exchange *exchange, CURLcode *ret_code)
{
    int running = 1, messages;
    exchange->heard_ns = clock_mono().ns;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return -EIO;
        if (running == 0 || exchange->result != 0)
            break;
        if (clock_mono().ns - exchange->heard_ns > SILENCE_NS)
            return -ETIMEDOUT;
        int ready = 0;
        if (curl_multi_poll(multi, NULL, 0, 1000, &ready) != CURLM_OK)
            return -EIO;
        exchange->result = ready > 0 ? 0 : exchange->each(exchange->userdata, NULL);
        if (exchange->result != 0)
            return 0;
    }
    for (CURLMsg *m = curl_multi_info_read(multi, &messages); m;
         m = curl_multi_info_read(multi, &messages)) {
        if (m->msg == CURLMSG_DONE)
            *ret_code = m->data.result;
    }
    return 0;
}

static int stream_end(
    struct exchange *exchange, CURLcode code, const char *text, struct ac_error *error)
{
    struct client *client = exchange->client;
    long status = 0;
    json_t *answer = NULL;
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exchange->result == -EPROTO || exchange->result == -E2BIG || exchange->result == -EMSGSIZE)
        return error_errno(error, exchange->result, "%s: the stream", client_target(client));
    if (exchange->result != 0)
        return exchange->result;
    if (code != CURLE_OK)
        return transfer_error(client, code, text, error);
    if (status == 200)
        return 0;
    if (exchange->body.size > 0)
        answer = json_loadb(exchange->body.data, exchange->body.size, 0, NULL);
    int r = client_check(status, answer, error);
    json_decref(answer);
    return r < 0 ? r : error_set(error, -EPROTO, "status %ld instead of a stream", status);
}

static int stream_headers(
    const struct client *client, const char *last_event_id, struct curl_slist **headers)
{
    struct buf line CLEANUP(buf_done) = {0};
    int r = common_headers(client, headers);
    if (r == 0)
        r = header_add(headers, "Accept: text/event-stream");
    if (r < 0 || !last_event_id || !*last_event_id)
        return r;
    buf_printf(&line, "Last-Event-ID: %s", last_event_id);
    return line.failed ? -ENOMEM : header_add(headers, line.data);
}

int client_stream(struct client *client, const char *path, const char *last_event_id,
    client_event_fn each, void *userdata, struct ac_error *error)
{
    char text[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_OK;
    struct buf url CLEANUP(buf_done) = {0};
    struct curl_slist *headers CLEANUP(headers_freep) = NULL;
    struct exchange exchange CLEANUP(exchange_done) = {
        .client = client, .each = each, .userdata = userdata};
    buf_append_str(&url, client->base);
    buf_append_str(&url, path);
    CURLM *multi = curl_multi_init();
    if (!multi || url.failed || stream_headers(client, last_event_id, &headers) < 0) {
        curl_multi_cleanup(multi);
        return error_set(error, -ENOMEM, "out of memory");
    }
    set_common(client, "GET", url.data, headers, text, &exchange);
    curl_multi_add_handle(multi, client->curl);
    int r = pump(multi, &exchange, &code);
    curl_multi_remove_handle(multi, client->curl);
    if (r < 0)
        error_errno(error, r, "%s: the stream", client_target(client));
    else
        r = stream_end(&exchange, code, text, error);
    curl_multi_cleanup(multi);
    return r;
}
