/* SPDX-License-Identifier: Apache-2.0 */
#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net_fixture.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static unsigned status_of(const char *answer)
{
    unsigned status = 0;
    return sscanf(answer, "HTTP/1.1 %u", &status) == 1 ? status : 0;
}

static void expect(struct fixture *fixture, const char *request, unsigned status, const char *part)
{
    char *answer = client_exchange(fixture, request);
    if (status_of(answer) != status || (part && !strstr(answer, part)))
        print_message("%.100s -> %s\n", request, answer);
    assert_int_equal(status_of(answer), status);
    assert_true(!part || strstr(answer, part));
    free(answer);
}

static void serve(struct fixture *fixture)
{
    struct net_server_options options;
    fixture_options(fixture, &options);
    fixture_serve(fixture, &options);
}

static struct net_server_stats stats_of(struct fixture *fixture)
{
    struct net_server_stats stats;
    net_server_stats(fixture->server, &stats);
    return stats;
}

static void test_answers(void **state)
{
    struct fixture *f = *state;
    serve(f);
    expect(f, GET("/healthz"), 200, "{\"status\":\"ok\"}");
    expect(f, GET("/v1/system"), 200, "Content-Type: application/json\r\n");
    expect(f, GET("/v1/system"), 200, "Cache-Control: no-store");
    expect(f, GET("/nothing"), 404, "application/problem+json");
    expect(f,
        "POST /v1/system HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        405, "Allow: GET, HEAD");
    expect(f,
        "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
        "Content-Type: application/json\r\n\r\n{}",
        201, "\"id\":\"a\"");
    expect(f,
        "PUT /v1/agents/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        201, "\"id\":\"b\"");
    expect(f, "DELETE /v1/agents/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 204, NULL);
    char *head =
        client_exchange(f, "HEAD /v1/system HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(head), 200);
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    free(head);
    head = client_exchange(f, "HEAD /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(head), 200);
    free(head);
    assert_int_equal(stats_of(f).streams, 0);
}

/* Several requests on one connection, sent at once. */
static void test_pipelined(void **state)
{
    struct fixture *f = *state;
    static const char requests[] =
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        "Content-Type: application/json\r\n\r\n{}"
        "GET /v1/agents/a HTTP/1.1\r\nHost: x\r\n\r\n"
        "DELETE /v1/agents/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    serve(f);
    char *answer = client_exchange(f, requests);
    unsigned statuses[] = {200, 201, 200, 204};
    const char *at = answer;
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
        at = strstr(at, "HTTP/1.1 ");
        assert_non_null(at);
        assert_int_equal(status_of(at), statuses[i]);
        at += 9;
    }
    free(answer);
}

/* ---- Rude clients */

static void test_malformed(void **state)
{
    static const char *const requests[] = {
        "\r\n\r\n\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "ffffffffffffffffff\r\n{}\r\n",
        "GET /healthz HTTP/1.1\r\n: nameless\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", /* TLS on a plain socket */
        "\x00\x00\x00",
    };
    struct fixture *f = *state;
    serve(f);
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        int fd = client_connect(f);
        client_send(f, fd, requests[i], strlen(requests[i]));
        shutdown(fd, SHUT_WR);
        char *answer = client_receive(f, fd, NULL, 300, NULL);
        unsigned status = status_of(answer);
        if (status != 0 && status < 400)
            print_message("%s -> %u\n", requests[i], status);
        assert_true(status == 0 || status >= 400);
        free(answer);
        close(fd);
    }
    assert_int_equal(registry_count(core_registry(f->core)), 0);
    expect(f, GET("/healthz"), 200, NULL); /* still there */
}

static void put_body(struct fixture *f, const char *body, unsigned status, const char *part)
{
    struct buf request CLEANUP(buf_done) = {0};
    buf_printf(&request,
        "PUT /v1/agents/a/usage HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        strlen(body));
    buf_append_str(&request, body);
    expect(f, request.data, status, part);
}

static void test_bad_json(void **state)
{
    struct fixture *f = *state;
    struct buf deep CLEANUP(buf_done) = {0};
    serve(f);
    put_body(f, "{\"cpu_percent\":NaN}", 400, "the body is not JSON");
    put_body(f, "{\"cpu_percent\":-1}", 400, "cpu_percent: -1 is below 0");
    put_body(f, "{\"cpu_percent\":\"1\"}", 400, "\"field\":\"cpu_percent\"");
    put_body(f, "\xff\xfe", 400, "the body is not JSON");
    for (int i = 0; i < 30000; i++)
        buf_append_str(&deep, "{\"a\":");
    put_body(f, deep.data, 413, "caps.max_body_bytes");
    buf_clear(&deep);
    for (int i = 0; i < 30000; i++)
        buf_append_char(&deep, '[');
    put_body(f, deep.data, 400, "nested deeper than 32");
    assert_int_equal(registry_count(core_registry(f->core)), 0);
}

static void test_long_id(void **state)
{
    struct fixture *f = *state;
    char request[512], id[200];
    serve(f);
    memset(id, 'a', sizeof(id));
    for (int length = 128; length <= 129; length++) {
        snprintf(request, sizeof(request),
            "PUT /v1/agents/%.*s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Length: 0\r\n\r\n",
            length, id);
        expect(f, request, length == 128 ? 201 : 400, NULL);
    }
}

static void test_large_bodies(void **state)
{
    struct fixture *f = *state;
    struct buf request CLEANUP(buf_done) = {0};
    static const size_t sizes[] = {65536, 65537, 200000, 1 << 20};
    serve(f);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        buf_clear(&request);
        buf_printf(&request,
            "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n{",
            sizes[i]);
        for (size_t k = 0; k < sizes[i] - 2; k++)
            buf_append_char(&request, ' ');
        buf_append_char(&request, '}');
        expect(f, request.data, sizes[i] <= 65536 ? 201 : 413, NULL);
    }
    /* Announced far beyond the cap: refused before a byte of it is read. */
    expect(f,
        "PUT /v1/agents/b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n",
        413, NULL);
    assert_int_equal(registry_count(core_registry(f->core)), 1);
}

/* A chunked body without end does not fill the memory. */
static void test_endless_body(void **state)
{
    struct fixture *f = *state;
    static char chunk[16384 + 8];
    serve(f);
    int size = snprintf(chunk, 8, "4000\r\n");
    memset(chunk + size, ' ', 16384);
    memcpy(chunk + size + 16384, "\r\n", 2);
    int fd = client_connect(f);
    static const char head[] = "PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\n"
                               "Content-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    client_send(f, fd, head, strlen(head));
    unsigned sent = 0;
    while (stats_of(f).connections > 0 && sent < 1000) {
        client_send(f, fd, chunk, (size_t)size + 16384 + 2);
        fixture_pump(f, 0);
        sent++;
    }
    assert_true(sent < 1000); /* 16 MiB: it was cut off long before */
    close(fd);
}

static void test_huge_header(void **state)
{
    struct fixture *f = *state;
    struct buf request CLEANUP(buf_done) = {0};
    serve(f);
    buf_append_str(&request, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ");
    for (int i = 0; i < 100000; i++)
        buf_append_char(&request, 'a');
    buf_append_str(&request, "\r\n\r\n");
    char *answer = client_exchange(f, request.data);
    assert_true(status_of(answer) == 0 || status_of(answer) >= 400);
    free(answer);
    expect(f, GET("/healthz"), 200, NULL);
}

/* ---- Slow clients */

/* Ends when the server closed; fails after @ms. */
static void wait_closed(struct fixture *f, int fd, unsigned ms)
{
    bool closed;
    free(client_receive(f, fd, NULL, ms, &closed));
    assert_true(closed);
}

static void test_silent_client(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    fixture_options(f, &options);
    options.idle_ms = 200;
    fixture_serve(f, &options);
    int fd = client_connect(f);
    wait_closed(f, fd, 10000);
    assert_int_equal(stats_of(f).connections_expired, 1);
    assert_int_equal(stats_of(f).connections, 0);
    close(fd);
}

/* A byte now and then keeps no connection for ever. */
static void test_slow_loris(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    fixture_options(f, &options);
    options.idle_ms = 1000;
    options.request_ms = 300;
    fixture_serve(f, &options);
    int heads = client_connect(f), lines = client_connect(f);
    static const char line[] = "GET /healthz HTTP/1.1\r\n";
    client_send(f, heads, line, strlen(line));
    unsigned sent = 0;
    while (stats_of(f).connections > 0 && sent < 2000) {
        client_send(f, heads, "X: y\r\n", 6);
        client_send(f, lines, "G", 1);
        fixture_pump(f, 10);
        sent++;
    }
    assert_int_equal(stats_of(f).connections, 0);
    assert_true(stats_of(f).connections_expired >= 1);
    close(heads);
    close(lines);
}

/* One that asks and does not read the answer. */
static void test_deaf_client(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    int small = 4096;
    fixture_options(f, &options);
    options.reply_ms = 300;
    fixture_serve(f, &options);
    for (int i = 0; i < 3000; i++)
        fixture_tick(f);
    int fd = client_connect(f);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    static const char request[] = "GET /v1/system/history?since=1700000000&until=1700003600 "
                                  "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client_send(f, fd, request, strlen(request));
    for (int i = 0; i < 2000 && stats_of(f).connections > 0; i++)
        fixture_pump(f, 10);
    assert_int_equal(stats_of(f).connections, 0);
    assert_int_equal(stats_of(f).connections_expired, 1);
    close(fd);
}

/* ---- Caps */

static void test_connection_cap(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    int fds[4];
    fixture_options(f, &options);
    options.max_connections = 4;
    fixture_serve(f, &options);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = client_connect(f);
    expect(f, GET("/healthz"), 429, "caps.max_connections");
    expect(f, GET("/healthz"), 429, "Retry-After");
    assert_int_equal(stats_of(f).connections, 4);
    assert_int_equal(stats_of(f).connections_refused, 2);
    close(fds[0]);
    while (stats_of(f).connections == 4)
        fixture_pump(f, 10);
    expect(f, GET("/healthz"), 200, NULL);
    for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static int open_stream(struct fixture *f, const char *target, const char *header)
{
    char request[512];
    int fd = client_connect(f);
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, header);
    client_send(f, fd, request, strlen(request));
    char *head = client_receive(f, fd, "retry:", 5000, NULL);
    assert_int_equal(status_of(head), 200);
    assert_non_null(strstr(head, "text/event-stream"));
    free(head);
    return fd;
}

static void make_event(struct fixture *f, uint64_t sequence, const char *agent)
{
    struct event event = {
        .sequence = sequence, .time_ns = FIXTURE_WALL, .kind = EVENT_AGENT_ADDED, .owner_uid = 0};
    snprintf(event.agent_id, sizeof(event.agent_id), "%s", agent);
    net_server_event(f->server, &event);
}

static void test_streams(void **state)
{
    struct fixture *f = *state;
    serve(f);
    int all = open_stream(f, "/v1/events", ""), some = open_stream(f, "/v1/events?agent=b", "");
    assert_int_equal(stats_of(f).streams, 2);
    make_event(f, 1, "a");
    make_event(f, 2, "b");
    char *text = client_receive(f, all, "id: 2\n", 5000, NULL);
    assert_non_null(strstr(text, "id: 1\n"));
    assert_non_null(strstr(text, "event: agent_added\n"));
    free(text);
    text = client_receive(f, some, "\"agent_id\":\"b\"", 5000, NULL);
    assert_null(strstr(text, "id: 1\n"));
    assert_non_null(strstr(text, "id: 2\n"));
    free(text);
    int again = open_stream(f, "/v1/events", "Last-Event-ID: 1\r\n");
    make_event(f, 3, "c");
    text = client_receive(f, again, "id: 3\n", 5000, NULL);
    assert_null(strstr(text, "id: 1\n"));
    free(text);
    /* What a route changes reaches the streams through the daemon's hook. */
    expect(f,
        "PUT /v1/agents/new HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Length: 0\r\n\r\n",
        201, NULL);
    text = client_receive(f, all, "\"agent_id\":\"new\"", 5000, NULL);
    assert_non_null(strstr(text, "\"agent_id\":\"new\""));
    free(text);
    close(again);
    close(some);
    close(all);
    for (int i = 0; i < 500 && stats_of(f).streams > 0; i++)
        fixture_pump(f, 10); /* hang-ups of silent streams are noticed */
    assert_int_equal(stats_of(f).streams, 0);
    assert_int_equal(stats_of(f).connections, 0);
}

static void test_stream_bad_resume(void **state)
{
    struct fixture *f = *state;
    serve(f);
    expect(f, "GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nLast-Event-ID: x\r\n\r\n",
        400, "Last-Event-ID");
}

static void test_stream_cap(void **state)
{
    struct fixture *f = *state;
    int fds[4];
    serve(f);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = open_stream(f, "/v1/events", "");
    expect(f, GET("/v1/events"), 429, "caps.max_streams");
    assert_int_equal(stats_of(f).streams_refused, 1);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static void test_stream_keepalive(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    fixture_options(f, &options);
    options.keepalive_ms = 100;
    fixture_serve(f, &options);
    int fd = open_stream(f, "/v1/events", "");
    char *text = client_receive(f, fd, ": keepalive", 10000, NULL);
    assert_non_null(strstr(text, ": keepalive"));
    free(text);
    close(fd);
}

/* A stream that does not read is dropped; the others and the loop do not notice. */
static void test_stream_slow(void **state)
{
    struct fixture *f = *state;
    serve(f);
    int slow = open_stream(f, "/v1/events", ""), good = open_stream(f, "/v1/events", "");
    uint64_t sequence = 0;
    while (stats_of(f).streams_slow == 0 && sequence < 100000) {
        make_event(f, ++sequence, "agent-with-a-long-name-that-fills-buffers-sooner");
        if (sequence % 64 == 0)
            free(client_receive(f, good, "\n\n", 100, NULL));
    }
    assert_int_equal(stats_of(f).streams_slow, 1);
    for (int i = 0; i < 500 && stats_of(f).streams > 1; i++)
        fixture_pump(f, 10);
    assert_int_equal(stats_of(f).streams, 1);
    make_event(f, ++sequence, "last");
    char *text = client_receive(f, good, "\"agent_id\":\"last\"", 5000, NULL);
    assert_non_null(strstr(text, "\"agent_id\":\"last\""));
    free(text);
    close(slow);
    close(good);
}

/* The daemon stops: streams end in order, and nothing leaks. */
static void test_stop_with_streams(void **state)
{
    struct fixture *f = *state;
    serve(f);
    int stream = open_stream(f, "/v1/events", ""), idle = client_connect(f);
    make_event(f, 1, "a");
    net_server_free(f->server);
    f->server = NULL;
    char rest[8192] = "";
    ssize_t n, used = 0;
    while ((n = recv(stream, rest + used, sizeof(rest) - 1 - (size_t)used, MSG_DONTWAIT)) > 0)
        used += n;
    assert_true(n == 0 || errno == ECONNRESET);
    assert_int_equal(access(f->socket, F_OK), -1);
    close(stream);
    close(idle);
}

/* ---- Who may connect, and as whom */

/* Asks as user @uid from a process of its own; the answer's status comes back as exit code. */
static int ask_as(struct fixture *f, uid_t uid, const char *request)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char answer[65536];
        size_t used = 0;
        ssize_t n = 1;
        unsigned status = 0;
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
            connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            write(fd, request, strlen(request)) < 0)
            _exit(1);
        while (n > 0 && used < sizeof(answer) - 1) {
            n = read(fd, answer + used, sizeof(answer) - 1 - used);
            used += n > 0 ? (size_t)n : 0;
        }
        answer[used] = 0;
        status = status_of(answer);
        _exit(status == 200 ? 20 : status == 201 ? 21 : status == 403 ? 43 : 2);
    }
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0)
        fixture_pump(f, 5);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_other_user(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0) {
        print_message("# skipped: changing users needs root\n");
        skip();
    }
    serve(f);
    expect(f,
        "PUT /v1/agents/roots HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Length: 0\r\n\r\n",
        201, NULL);
    assert_int_equal(ask_as(f, OTHER_UID, GET("/v1/system")), 20);
    assert_int_equal(ask_as(f, OTHER_UID, GET("/v1/agents/roots")), 43);
    assert_int_equal(ask_as(f, OTHER_UID,
                         "PUT /v1/agents/mine HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         "Content-Length: 0\r\n\r\n"),
        21);
    assert_int_equal(ask_as(f, OTHER_UID, GET("/v1/agents/mine")), 20);
    assert_int_equal(ask_as(f, OTHER_UID + 1, GET("/v1/agents/mine")), 43);
    assert_int_equal(ask_as(f, 0, GET("/v1/agents/mine")), 20);
}

/* An ordinary user cannot take all connections. */
static void test_share(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    if (geteuid() != 0) {
        print_message("# skipped: changing users needs root\n");
        skip();
    }
    fixture_options(f, &options);
    options.max_connections = 8;
    fixture_serve(f, &options);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
        if (setresgid(OTHER_UID, OTHER_UID, OTHER_UID) < 0 ||
            setresuid(OTHER_UID, OTHER_UID, OTHER_UID) < 0)
            _exit(1);
        for (int i = 0; i < 8; i++) {
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                _exit(1);
        }
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    for (int i = 0; i < 500 && stats_of(f).connections_refused < 6; i++)
        fixture_pump(f, 10);
    assert_int_equal(stats_of(f).connections, 2);
    assert_int_equal(stats_of(f).connections_refused, 6);
    expect(f, GET("/healthz"), 200, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

/* ---- Settings that do not fit together */

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    struct ac_error error;
    char token[128];
    assert_true(sd_event_new(&f->event) >= 0);
    fixture_options(f, &options);
    options.listen = "127.0.0.1:0";
    assert_int_equal(net_server_new(&options, f->event, &f->context, &f->server, &error), -EINVAL);
    assert_non_null(strstr(error.message, "http.token_file"));
    assert_int_equal(access(f->socket, F_OK), -1); /* nothing stays behind */
    snprintf(token, sizeof(token), "%s/token", f->directory);
    int fd = open(token, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
    close(fd);
    options.token_file = token;
    options.listen = "0.0.0.0:0";
    assert_int_equal(net_server_new(&options, f->event, &f->context, &f->server, &error), -EINVAL);
    assert_non_null(strstr(error.message, "needs http.tls_certificate"));
    options.listen = "127.0.0.1:0";
    options.tls_key = token;
    assert_int_equal(net_server_new(&options, f->event, &f->context, &f->server, &error), -EINVAL);
    assert_non_null(strstr(error.message, "give both"));
    options.tls_certificate = token; /* neither is PEM */
    assert_int_equal(net_server_new(&options, f->event, &f->context, &f->server, &error), -EINVAL);
    assert_non_null(strstr(error.message, "PEM"));
    unlink(token);
}

static void test_second_server(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    struct net_server *second;
    struct ac_error error;
    serve(f);
    fixture_options(f, &options);
    assert_int_equal(net_server_new(&options, f->event, &f->context, &second, &error), -EADDRINUSE);
    expect(f, GET("/healthz"), 200, NULL);
}

/* ---- TCP */

static char *tcp_exchange(struct fixture *f, const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons(net_server_port(f->server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    client_send(f, fd, request, strlen(request));
    char *answer = client_receive(f, fd, NULL, 5000, NULL);
    close(fd);
    return answer;
}

static void tcp_expect(struct fixture *f, const char *request, unsigned status, const char *part)
{
    char *answer = tcp_exchange(f, request);
    if (status_of(answer) != status)
        print_message("%s -> %s\n", request, answer);
    assert_int_equal(status_of(answer), status);
    assert_true(!part || strstr(answer, part));
    free(answer);
}

#define AS(token) "Host: x\r\nConnection: close\r\nAuthorization: " token "\r\n\r\n"

static void test_tcp_token(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    char token[128];
    fixture_options(f, &options);
    snprintf(token, sizeof(token), "%s/token", f->directory);
    int fd = open(token, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "0123456789abcdef\n", 17), 17);
    close(fd);
    options.listen = "127.0.0.1:0";
    options.token_file = token;
    fixture_serve(f, &options);
    unlink(token);
    tcp_expect(f, GET("/healthz"), 200, NULL);
    tcp_expect(f, GET("/v1/system"), 401, "WWW-Authenticate: Bearer");
    tcp_expect(f, "GET /v1/system HTTP/1.1\r\n" AS("Bearer 0123456789abcdef"), 200, NULL);
    tcp_expect(f, "GET /v1/system HTTP/1.1\r\n" AS("Bearer 0123456789abcdeX"), 401, NULL);
    tcp_expect(f, "GET /v1/system HTTP/1.1\r\n" AS("Basic 0123456789abcdef"), 401, NULL);
    tcp_expect(f,
        "PUT /v1/pools/cot HTTP/1.1\r\nContent-Length: 11\r\n"
        "Content-Type: application/json\r\n" AS("Bearer 0123456789abcdef") "{\"scale\":2}",
        200, NULL);
    tcp_expect(f,
        "PUT /v1/pools/cot HTTP/1.1\r\nContent-Length: 11\r\n"
        "Content-Type: application/json\r\n" AS("Bearer nope") "{\"scale\":2}",
        401, NULL);
    expect(f, GET("/v1/system"), 200, NULL); /* the unix socket needs none */
}

int main(void)
{
#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_answers),
        FIXTURE_TEST(test_pipelined),
        FIXTURE_TEST(test_malformed),
        FIXTURE_TEST(test_bad_json),
        FIXTURE_TEST(test_long_id),
        FIXTURE_TEST(test_large_bodies),
        FIXTURE_TEST(test_endless_body),
        FIXTURE_TEST(test_huge_header),
        FIXTURE_TEST(test_silent_client),
        FIXTURE_TEST(test_slow_loris),
        FIXTURE_TEST(test_deaf_client),
        FIXTURE_TEST(test_connection_cap),
        FIXTURE_TEST(test_streams),
        FIXTURE_TEST(test_stream_bad_resume),
        FIXTURE_TEST(test_stream_cap),
        FIXTURE_TEST(test_stream_keepalive),
        FIXTURE_TEST(test_stream_slow),
        FIXTURE_TEST(test_stop_with_streams),
        FIXTURE_TEST(test_other_user),
        FIXTURE_TEST(test_share),
        FIXTURE_TEST(test_bad_options),
        FIXTURE_TEST(test_second_server),
        FIXTURE_TEST(test_tcp_token),
    };
    return cmocka_run_group_tests_name("net/server", tests, NULL, NULL);
}
