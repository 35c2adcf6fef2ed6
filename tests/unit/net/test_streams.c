/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams over a socket. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_streams),
        FIXTURE_TEST(test_stream_bad_resume),
        FIXTURE_TEST(test_stream_cap),
        FIXTURE_TEST(test_stream_keepalive),
        FIXTURE_TEST(test_stream_slow),
        FIXTURE_TEST(test_stop_with_streams),
    };
    return cmocka_run_group_tests_name("net/streams", tests, NULL, NULL);
}
