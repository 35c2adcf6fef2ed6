/* SPDX-License-Identifier: Apache-2.0 */
#include "net/route.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <strings.h>

#include "base/mem.h"
#include "net/query.h"

#define TARGET_MAX 4096

void reply_init(struct net_reply *reply)
{
    *reply = (struct net_reply){.status = 200, .content_type = "application/json"};
}

void reply_done(struct net_reply *reply)
{
    buf_done(&reply->body);
    query_free(TAKE_PTR(reply->query));
}

const char *status_title(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"},
        {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {409, "Conflict"}, {413, "Content Too Large"},
        {414, "URI Too Long"}, {415, "Unsupported Media Type"}, {429, "Too Many Requests"},
        {500, "Internal Server Error"}, {503, "Service Unavailable"}};
    for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

void reply_problem(struct net_reply *reply, unsigned status, const char *field, const char *detail)
{
    struct json_writer w = {.out = &reply->body};
    buf_clear(&reply->body);
    reply->status = status;
    reply->stream = false;
    reply->content_type = "application/problem+json";
    json_object_begin(&w);
    json_field_text(&w, "type", "about:blank");
    json_field_text(&w, "title", status_title(status));
    json_field_uint(&w, "status", status);
    json_field_text(&w, "detail", detail);
    if (field && *field)
        json_field_text(&w, "field", field);
    json_object_end(&w);
}

int call_problem(struct net_call *call, unsigned status, const char *field, const char *format, ...)
{
    char detail[400];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    reply_problem(call->reply, status, field, detail);
    return 0;
}

unsigned status_of_error(int code)
{
    static const struct {
        int code;
        unsigned status;
    } statuses[] = {{-EINVAL, 400}, {-ERANGE, 400}, {-ESRCH, 400}, {-EACCES, 403}, {-EPERM, 403},
        {-ENOENT, 404}, {-EEXIST, 409}, {-EALREADY, 409}, {-ENOSPC, 503}, {-ENOMEM, 503},
        {-ECANCELED, 503}};
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
        if (statuses[i].code == code)
            return statuses[i].status;
    }
    return 500;
}

int call_error(struct net_call *call, int code, const struct ac_error *error)
{
    return call_problem(call, status_of_error(code), NULL, "%s",
        error && error->message[0] ? error->message : strerror(-code));
}

void context_daemon_stats(const struct net_context *context, struct net_daemon_stats *ret_stats)
{
    *ret_stats = (struct net_daemon_stats){.collector = "unknown", .state = "none"};
    if (context->hooks.daemon_stats)
        context->hooks.daemon_stats(context->hooks.userdata, ret_stats);
}

bool call_changed(struct net_call *call)
{
    const struct net_hooks *hooks = &call->context->hooks;
    struct ac_error error = {0};
    int r = hooks->changed ? hooks->changed(hooks->userdata, &error) : 0;
    if (r == 0)
        return true;
    call_problem(call, 503, NULL, "done, but not kept on disk: %s",
        error.message[0] ? error.message : strerror(-r));
    return false;
}

bool call_owns(const struct net_call *call, const struct agent *agent)
{
    const struct net_peer *peer = &call->request->peer;
    return peer->privileged || agent->spec.owner_uid == peer->uid;
}

/* Over TCP nobody has a uid: what is made there is the daemon's own. */
uint32_t call_uid(const struct net_call *call)
{
    return call->request->peer.uid == UINT32_MAX ? geteuid() : call->request->peer.uid;
}

int64_t call_whose(const struct net_call *call)
{
    const struct net_peer *peer = &call->request->peer;
    return peer->privileged ? HISTORY_ANYBODY : (int64_t)peer->uid;
}

bool labels_have(const char *labels, size_t size, const char *wanted)
{
    size_t cursor = 0, length = strcspn(wanted, "=");
    const char *key, *value;
    while ((key = agent_labels_next(labels, size, &cursor, &value))) {
        if (strlen(key) == length && memcmp(key, wanted, length) == 0)
            return wanted[length] == 0 || strcmp(value, wanted + length + 1) == 0;
    }
    return false;
}

bool call_fits(
    const struct agent_spec *spec, const unsigned *philosophy, const struct query_values *labels)
{
    if (philosophy && (unsigned)spec->philosophy != *philosophy)
        return false;
    for (size_t i = 0; i < labels->count; i++) {
        if (!labels_have(spec->labels, spec->labels_size, labels->values[i]))
            return false;
    }
    return true;
}

bool call_agent_id(struct net_call *call, const char *id, const char *field)
{
    if (ac_agent_id_valid(id))
        return true;
    call_problem(call, 400, field, "%s: \"%.40s\" is not 1 to %d letters, digits, '_' or '-'",
        field, id, AC_AGENT_ID_MAX);
    return false;
}

const struct agent *call_agent(struct net_call *call)
{
    const struct agent *agent;
    if (!call_agent_id(call, call->param, "id"))
        return NULL;
    agent = registry_get(core_registry(call->context->core), call->param);
    if (!agent) {
        call_problem(call, 404, NULL, "agent %s is not known", call->param);
        return NULL;
    }
    if (!call_owns(call, agent)) {
        call_problem(call, 403, NULL, "agent %s belongs to another user", call->param);
        return NULL;
    }
    return agent;
}

/* ---- Targets */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes @size bytes into @out (@size + 1 bytes). No NUL may come out. */
static int percent_decode(const char *text, size_t size, bool plus, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '+' && plus)
            c = ' ';
        if (c == '%') {
            int high = i + 2 < size ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < size ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return -EINVAL;
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[used++] = c;
    }
    out[used] = 0;
    return 0;
}

/* Whether the raw @path (of @size bytes) has the form of @pattern; what stands for {..} is
 * decoded into @param. Returns -EINVAL where that cannot be decoded or is too long. */
static int match_pattern(
    const char *pattern, const char *path, size_t size, char param[ROUTE_PARAM_SIZE])
{
    const char *p = pattern, *end = path + size;
    while (*p) {
        if (*p != '{') {
            if (path == end || *path++ != *p++)
                return 0;
            continue;
        }
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t length = (size_t)((slash ? slash : end) - path);
        p = strchr(p, '}') + 1;
        if (length == 0)
            return 0;
        if (length >= ROUTE_PARAM_SIZE || percent_decode(path, length, false, param) < 0)
            return -EINVAL;
        path += length;
    }
    return path == end;
}

static void allow_add(char allow[64], const char *method)
{
    size_t used = strlen(allow);
    snprintf(allow + used, 64 - used, "%s%s", used > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        allow_add(allow, "HEAD");
}

/* Finds the route, or makes the reply 400, 404 or 405. */
static const struct route *find_route(struct net_call *call, const char *path, size_t size)
{
    const char *method = call->request->method;
    char allow[64] = "";
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < route_count; i++) {
        int r = match_pattern(route_table[i].pattern, path, size, call->param);
        if (r < 0) {
            call_problem(call, 400, NULL, "the path has a bad or too long part");
            return NULL;
        }
        if (r > 0 && strcmp(route_table[i].method, method) == 0)
            return &route_table[i];
        if (r > 0)
            allow_add(allow, route_table[i].method);
    }
    if (allow[0]) {
        call_problem(call, 405, NULL, "%.20s is not possible here, only %s", method, allow);
        snprintf(call->reply->allow, sizeof(call->reply->allow), "%s", allow);
    } else {
        call_problem(call, 404, NULL, "there is nothing at %.*s; see /openapi.json",
            (int)MIN(size, (size_t)200), path);
    }
    return NULL;
}

/* ---- Query */

static int split_query(const char *query, char *storage, struct query_param *params, size_t *ret_n)
{
    size_t n = 0;
    while (*query) {
        size_t length = strcspn(query, "&");
        const char *equals = memchr(query, '=', length);
        size_t name = equals ? (size_t)(equals - query) : length;
        if (length > 0) {
            if (n == QUERY_PARAMS_MAX)
                return -E2BIG;
            params[n].name = storage;
            if (percent_decode(query, name, true, storage) < 0)
                return -EINVAL;
            storage += strlen(storage) + 1;
            params[n].value = storage;
            if (equals && percent_decode(equals + 1, length - name - 1, true, storage) < 0)
                return -EINVAL;
            if (!equals)
                *storage = 0;
            storage += strlen(storage) + 1;
            n++;
        }
        query += length + (query[length] == '&');
    }
    *ret_n = n;
    return 0;
}

static bool decode_query(struct net_call *call, const char *query, char *storage)
{
    static const struct schema nothing = {.name = "", .size = sizeof(uint32_t)};
    const struct schema *schema = call->route->query ? call->route->query : &nothing;
    struct query_param params[QUERY_PARAMS_MAX];
    struct schema_error error = {0};
    size_t n = 0;
    int r = split_query(query, storage, params, &n);
    if (r < 0) {
        call_problem(call, 400, NULL,
            r == -E2BIG ? "the query has too many parameters" : "the query is badly encoded");
        return false;
    }
    r = schema_decode_query(schema, params, n, call->request->now.wall_ns, &call->query, &error);
    if (r < 0)
        call_problem(call, 400, error.field, "%s", error.error.message);
    return r == 0;
}

/* ---- Body */

static bool is_json_type(const char *content_type)
{
    static const char json[] = "application/json";
    size_t length = sizeof(json) - 1;
    if (!content_type || strncasecmp(content_type, json, length) != 0)
        return false;
    char next = content_type[length];
    return next == 0 || next == ';' || next == ' ';
}

static bool refuse_body(struct net_call *call)
{
    const struct net_request *request = call->request;
    if (request->body_size == 0)
        return false;
    if (!call->route->body) {
        call_problem(call, 400, NULL, "this takes no body");
        return true;
    }
    if (!is_json_type(request->content_type)) {
        call_problem(call, 415, NULL, "the body must be application/json");
        return true;
    }
    return false;
}

/* Runs the handler with the body decoded; strings of the body live until it returns. */
static int with_body(struct net_call *call)
{
    const struct net_request *request = call->request;
    struct schema_error error = {0};
    json_t *json = NULL;
    bool empty = request->body_size == 0;
    if (!call->route->body)
        return call->route->handler(call);
    int r = empty ? schema_parse("{}", 2, &json, &error)
                  : schema_parse(request->body, request->body_size, &json, &error);
    if (r == 0)
        r = schema_decode(call->route->body, json, &call->body, &error);
    if (r == -EINVAL)
        r = call_problem(call, 400, error.field, "%s", error.error.message);
    else if (r == 0)
        r = call->route->handler(call);
    json_decref(json);
    return r;
}

/* ---- Access */

static bool may_call(struct net_call *call)
{
    const struct net_peer *peer = &call->request->peer;
    if (call->route->access == ACCESS_OPEN)
        return true;
    if (!peer->authenticated) {
        call_problem(call, 401, NULL, "the bearer token is missing or wrong");
        return false;
    }
    if (call->route->access == ACCESS_PRIVILEGED && !peer->privileged) {
        call_problem(call, 403, NULL,
            "only root, the daemon's user and members of the configured group may do this");
        return false;
    }
    return true;
}

static int dispatch(struct net_call *call)
{
    const struct net_request *request = call->request;
    size_t length = strlen(request->target);
    char storage[TARGET_MAX + 2 * QUERY_PARAMS_MAX];
    if (length > TARGET_MAX)
        return call_problem(call, 414, NULL, "the target is longer than %d bytes", TARGET_MAX);
    size_t path = strcspn(request->target, "?");
    const char *query = request->target + path + (request->target[path] == '?');
    call->route = find_route(call, request->target, path);
    if (!call->route || !may_call(call) || !decode_query(call, query, storage) || refuse_body(call))
        return 0;
    return with_body(call);
}

/* For callers that have no other thread. */
static void run_here(struct net_reply *reply)
{
    struct net_query *query = TAKE_PTR(reply->query);
    query_run(query);
    buf_done(&reply->body);
    *reply = query->reply;
    reply_init(&query->reply);
    query_free(query);
}

void net_dispatch(
    struct net_context *context, const struct net_request *request, struct net_reply *reply)
{
    struct net_call call = {
        .context = context, .request = request, .reply = reply, .out = {.out = &reply->body}};
    int r = dispatch(&call);
    if (r < 0) {
        call_error(&call, r, NULL);
        query_free(TAKE_PTR(reply->query));
    }
    if (reply->query && !request->takes_query)
        run_here(reply);
    if (reply->body.failed) {
        buf_clear(&reply->body);
        reply_problem(reply, 503, NULL, "out of memory");
    }
    if (reply->body.failed) {
        buf_clear(&reply->body);
        reply->status = 503;
    }
}
