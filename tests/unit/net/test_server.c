/* SPDX-License-Identifier: Apache-2.0 */
#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "net_fixture.h"

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
        ("PUT /v1/agents/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "ffffffffffffffffff\r\n{}\r\n"),
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
    put_body(f, deep.data, 413, "caps.max_body");
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

/* ---- Scarcity */

/* Out of descriptors nothing spins, and waiting clients are served when there are some again. */
static void test_no_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit full, little;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    serve(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &full), 0);
    little = (struct rlimit){.rlim_cur = 0, .rlim_max = full.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &little), 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    unsigned turns = 0;
    for (uint64_t end = clock_mono().ns + 300 * NS_PER_MSEC; clock_mono().ns < end; turns++)
        fixture_pump(f, 100);
    assert_true(turns < 20);
    assert_int_equal(stats_of(f).connections, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
    client_send(f, fd, GET("/healthz"), strlen(GET("/healthz")));
    char *answer = client_receive(f, fd, NULL, 5000, NULL);
    assert_int_equal(status_of(answer), 200);
    free(answer);
    close(fd);
}

/* Whatever allocation fails: an error or a closed connection, and the next request works. */
static void test_out_of_memory(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "PUT /v1/agents/a/usage HTTP/1.1\r\nHost: x\r\n"
                                  "Connection: close\r\nContent-Type: application/json\r\n"
                                  "Content-Length: 18\r\n\r\n{\"cpu_percent\": 5}";
    serve(f);
    for (unsigned n = 1;; n++) {
        int fd = client_connect(f);
        fault_arm(FAULT_ALLOC, n);
        client_send(f, fd, request, strlen(request));
        bool closed = false;
        char *answer = client_receive(f, fd, NULL, 5000, &closed);
        bool hit = fault_disarm();
        assert_true(closed);
        unsigned status = status_of(answer);
        assert_true(hit ? status == 0 || status == 200 || status == 503 : status == 200);
        free(answer);
        close(fd);
        if (!hit)
            break;
    }
    expect(f, GET("/healthz"), 200, NULL);
}

/* A server that cannot be made leaves nothing behind. */
static void test_new_out_of_memory(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    assert_true(sd_event_new(&f->event) >= 0);
    fixture_options(f, &options);
    for (unsigned n = 1;; n++) {
        struct ac_error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = net_server_new(&options, f->event, &f->context, &f->server, &error);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
        assert_int_equal(access(f->socket, F_OK), -1);
    }
}

int main(void)
{
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
        FIXTURE_TEST(test_no_descriptors),
        FIXTURE_TEST(test_out_of_memory),
        FIXTURE_TEST(test_new_out_of_memory),
    };
    return cmocka_run_group_tests_name("net/server", tests, NULL, NULL);
}
