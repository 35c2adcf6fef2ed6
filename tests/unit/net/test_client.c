/* SPDX-License-Identifier: Apache-2.0 */
#include "net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net/server.h"
#include "net_fixture.h"

/* ---- Parts that need no server */

static void test_paths(void **state)
{
    struct buf path CLEANUP(buf_done) = {0};
    (void)state;
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, "a/b c%");
    client_query_add(&path, "label", "k=v&x");
    client_query_add(&path, "since", "2026-01-31T12:00:00+01:00");
    assert_string_equal(path.data, "/v1/agents/a%2Fb%20c%25?label=k%3Dv%26x&since="
                                   "2026-01-31T12%3A00%3A00%2B01%3A00");
}

static void test_check(void **state)
{
    static const struct {
        long status;
        int code;
    } cases[] = {{200, 0}, {201, 0}, {202, 0}, {204, 0}, {400, -EINVAL}, {401, -EACCES},
        {403, -EACCES}, {404, -ENOENT}, {405, -EOPNOTSUPP}, {409, -EEXIST}, {413, -E2BIG},
        {415, -EINVAL}, {429, -EAGAIN}, {503, -EAGAIN}, {500, -EIO}, {302, -EIO}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ac_error error = {0};
        assert_int_equal(client_check(cases[i].status, NULL, &error), cases[i].code);
        assert_true((error.message[0] != 0) == (cases[i].code != 0));
    }
    struct ac_error error;
    json_t *problem = json_pack("{s:s, s:s}", "title", "Bad Request", "detail", "x: -1\nis bad");
    assert_int_equal(client_check(400, problem, &error), -EINVAL);
    assert_string_equal(error.message, "x: -1?is bad"); /* nothing steers the terminal */
    json_decref(problem);
}

static void test_options(void **state)
{
    static const struct {
        struct client_options options;
        int result;
        const char *text;
    } cases[] = {
        {{.url = "http://127.0.0.1:9464"}, 0, NULL},
        {{.url = "https://example.org:9464/"}, 0, NULL},
        {{.url = "ftp://127.0.0.1"}, -EINVAL, "not an http"},
        {{.url = "127.0.0.1:9464"}, -EINVAL, "not an http"},
        {{.url = ""}, -EINVAL, "not an http"},
        {{.url = "http://127.0.0.1", .token_file = "/no/such/token"}, -ENOENT, "token file"},
        {{.url = "http://example.org", .token_file = "/dev/null"}, -EINVAL, "unencrypted"},
        {{.url = "http://127.0.0.1", .token_file = "/dev/null"}, -EINVAL, "one line"},
        {{.socket = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
            -EINVAL, "longer than"},
        {{.socket = "/tmp/s"}, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct client *client = NULL;
        struct ac_error error = {0};
        int r = client_new(&cases[i].options, &client, &error);
        if (r != cases[i].result)
            print_message("case %zu: %d %s\n", i, r, error.message);
        assert_int_equal(r, cases[i].result);
        assert_true(!cases[i].text || strstr(error.message, cases[i].text));
        client_free(client);
    }
}

static void test_new_out_of_memory(void **state)
{
    struct client_options options = {.socket = "/tmp/s"};
    (void)state;
    for (unsigned n = 1;; n++) {
        struct client *client = NULL;
        struct ac_error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = client_new(&options, &client, &error);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        client_free(client);
        if (!hit)
            break;
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void expect_socket(const char *option, const char *expected, const char *expected_places)
{
    char *path = NULL, *places = NULL;
    assert_int_equal(client_find_socket(option, &path, &places), 0);
    assert_string_equal(path, expected);
    assert_string_equal(places, expected_places);
    mem_free(path);
    mem_free(places);
}

static void test_find_socket(void **state)
{
    char directory[] = "/tmp/agentcore-test-XXXXXX", path[64], both[160];
    struct ac_error error = {0};
    struct client *client;
    (void)state;
    if (access("/run/agentcore/agentcore.sock", F_OK) == 0) {
        print_message("# skipped: a daemon of the system is here\n");
        skip();
    }
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/agentcore.sock", directory);
    setenv("AGENTCORE_SOCKET", "/named/by/environment", 1);
    snprintf(both, sizeof(both), "/run/agentcore/agentcore.sock or %s", path);
    expect_socket("/named/by/option", "/named/by/option", "/named/by/option");
    expect_socket(NULL, "/named/by/environment", "/named/by/environment (from AGENTCORE_SOCKET)");
    unsetenv("AGENTCORE_SOCKET");
    setenv("XDG_RUNTIME_DIR", directory, 1);
    expect_socket(NULL, path, both); /* even though nothing is there */
    int fd = listen_at(path);
    expect_socket(NULL, path, both);
    close(fd);
    expect_socket(NULL, path, both);
    assert_int_equal(client_new(NULL, &client, &error), 0);
    assert_int_equal(
        client_call(client, "GET", "/v1/system", NULL, NULL, NULL, &error), -ECONNREFUSED);
    assert_non_null(strstr(error.message, both));
    assert_non_null(strstr(error.message, "start agentcored"));
    client_free(client);
    unlink(path);
    rmdir(directory);
    unsetenv("XDG_RUNTIME_DIR");
}

static void test_no_daemon(void **state)
{
    struct client_options options = {.socket = "/tmp/agentcore-test-none/s"};
    struct client *client;
    struct ac_error error = {0};
    (void)state;
    assert_int_equal(client_new(&options, &client, &error), 0);
    assert_int_equal(client_call(client, "GET", "/v1/system", NULL, NULL, NULL, &error), -ENOENT);
    assert_string_equal(error.message,
        "no daemon at /tmp/agentcore-test-none/s: start agentcored, or name the socket of one that "
        "runs with --socket or AGENTCORE_SOCKET");
    client_free(client);
    options = (struct client_options){.url = "http://127.0.0.1:1"};
    assert_int_equal(client_new(&options, &client, &error), 0);
    assert_int_equal(
        client_call(client, "GET", "/v1/system", NULL, NULL, NULL, &error), -ECONNREFUSED);
    assert_non_null(strstr(error.message, "no daemon at http://127.0.0.1:1"));
    client_free(client);
}

/* ---- Against the server: the client runs in a process of its own, this one is the server */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "# %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, error.message);  \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static pid_t start_client(struct fixture *fixture, void (*run)(const char *socket))
{
    pid_t pid = fork();
    if (pid == 0) {
        run(fixture->socket);
        _exit(0);
    }
    return pid;
}

static void finish_client(struct fixture *fixture, pid_t pid)
{
    int status = -1;
    for (int i = 0; i < 4000 && waitpid(pid, &status, WNOHANG) == 0; i++)
        fixture_pump(fixture, 5);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void run_calls(const char *socket)
{
    struct client_options options = {.socket = socket};
    struct client *client;
    struct ac_error error = {0};
    struct buf text = {0};
    json_t *answer = NULL, *body = json_pack("{s:s, s:{s:f}}", "philosophy", "cot", "limits",
                               "max_memory_mb", 64.5);
    long status = 0;
    CHECK(client_new(&options, &client, &error) == 0);
    CHECK(strcmp(client_target(client), socket) == 0);
    CHECK(client_call(client, "PUT", "/v1/agents/a", body, &status, &answer, &error) == 0);
    CHECK(status == 201);
    CHECK(strcmp(json_string_value(json_object_get(answer, "philosophy")), "cot") == 0);
    json_decref(answer);
    CHECK(client_call(client, "PUT", "/v1/agents/a", body, &status, &answer, &error) == 0);
    CHECK(status == 409);
    CHECK(client_check(status, answer, &error) == -EEXIST);
    CHECK(strstr(error.message, "exists"));
    json_decref(answer);
    CHECK(client_call(client, "POST", "/v1/agents/a/stop", NULL, &status, &answer, &error) == 0);
    CHECK(status == 409);
    json_decref(answer);
    CHECK(client_call(client, "DELETE", "/v1/agents/a", NULL, &status, &answer, &error) == 0);
    CHECK(status == 204 && answer == NULL);
    CHECK(client_call(client, "GET", "/v1/agents", NULL, &status, &answer, &error) == 0);
    CHECK(json_array_size(json_object_get(answer, "agents")) == 0);
    json_decref(answer);
    CHECK(client_text(client, "/metrics", &status, &text, &error) == 0);
    CHECK(status == 200 && strstr(text.data, "agentcore_build_info"));
    CHECK(client_call(client, "GET", "/metrics", NULL, &status, NULL, &error) == -EPROTO);
    buf_done(&text);
    json_decref(body);
    client_free(client);
}

static void test_calls(void **state)
{
    serve(*state);
    finish_client(*state, start_client(*state, run_calls));
}

struct watched {
    unsigned events, idle;
    char last_id[32];
};

static int watch(void *userdata, const struct client_event *event)
{
    struct watched *watched = userdata;
    if (!event) {
        watched->idle++;
        return 0;
    }
    snprintf(watched->last_id, sizeof(watched->last_id), "%s", event->id);
    watched->events++;
    if (!json_is_string(json_object_get(event->data, "kind")) || strcmp(event->kind, "config") == 0)
        return 7;
    return 0;
}

static void run_stream(const char *socket)
{
    struct client_options options = {.socket = socket};
    struct client *client;
    struct watched watched = {0};
    struct ac_error error = {0};
    CHECK(client_new(&options, &client, &error) == 0);
    CHECK(client_stream(client, "/v1/events?kind=alarm", NULL, watch, &watched, &error) == -EINVAL);
    CHECK(strstr(error.message, "alarm"));
    /* The third event asks to stop. */
    CHECK(client_stream(client, "/v1/events", NULL, watch, &watched, &error) == 7);
    CHECK(watched.events == 3 && strcmp(watched.last_id, "3") == 0);
    /* Resumed after the first, to the end of the server: idle turns come in between. */
    watched = (struct watched){0};
    CHECK(client_stream(client, "/v1/events?kind=alert", "1", watch, &watched, &error) == 0);
    CHECK(watched.events == 1 && watched.idle >= 1);
    client_free(client);
}

static void put_event(struct fixture *fixture, uint64_t sequence, enum event_kind kind)
{
    struct event event = {
        .sequence = sequence, .time_ns = FIXTURE_WALL, .kind = kind, .owner_uid = UINT32_MAX};
    net_server_event(fixture->server, &event);
}

/* Until that many streams were opened in all. */
static void wait_streams(struct fixture *fixture, uint64_t opened)
{
    struct net_server_stats stats;
    for (int i = 0; i < 2000; i++) {
        net_server_stats(fixture->server, &stats);
        if (stats.requests[2] == opened)
            return;
        fixture_pump(fixture, 5);
    }
    fail();
}

static void test_stream(void **state)
{
    struct fixture *f = *state;
    serve(f);
    pid_t pid = start_client(f, run_stream);
    wait_streams(f, 1);
    put_event(f, 1, EVENT_ALERT);
    put_event(f, 2, EVENT_ALERT);
    put_event(f, 3, EVENT_CONFIG);
    wait_streams(f, 2);
    for (int i = 0; i < 250; i++) /* the client's second of silence */
        fixture_pump(f, 5);
    net_server_free(f->server);
    f->server = NULL;
    finish_client(f, pid);
}

static void run_timeout(const char *socket)
{
    struct client_options options = {.socket = socket, .timeout_ms = 100};
    struct client *client;
    struct ac_error error = {0};
    CHECK(client_new(&options, &client, &error) == 0);
    CHECK(client_call(client, "GET", "/healthz", NULL, NULL, NULL, &error) == -ETIMEDOUT);
    CHECK(strstr(error.message, "the daemon did not answer within 0.1 s"));
    client_free(client);
}

/* A daemon that accepts and says nothing. */
static void test_silent_daemon(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    fixture_options(f, &options);
    int fd = listen_at(f->socket), status;
    pid_t pid = start_client(f, run_timeout);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
    unlink(f->socket);
}

static void run_lies(const char *socket)
{
    static const int expected[] = {-EPROTO, -EPROTO, -EIO, -EIO, 0};
    struct client_options options = {.socket = socket, .timeout_ms = 2000};
    struct client *client;
    struct ac_error error = {0};
    CHECK(client_new(&options, &client, &error) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        json_t *answer = NULL;
        int r = client_call(client, "GET", "/x", NULL, NULL, &answer, &error);
        if (r != expected[i])
            fprintf(stderr, "# lie %zu: %d\n", i, r);
        CHECK(r == expected[i]);
        json_decref(answer);
    }
    client_free(client);
}

/* Answers that no daemon gives. */
static void test_lying_daemon(void **state)
{
    static const char *const lies[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"a\":1,\"a\":2}",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    };
    struct fixture *f = *state;
    struct net_server_options options;
    int status;
    fixture_options(f, &options);
    int fd = listen_at(f->socket);
    pid_t pid = start_client(f, run_lies);
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        char request[4096];
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(read(client, request, sizeof(request)) > 0);
        assert_true(write(client, lies[i], strlen(lies[i])) > 0);
        close(client);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
    unlink(f->socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_new_out_of_memory),
        cmocka_unit_test(test_find_socket),
        cmocka_unit_test(test_no_daemon),
        FIXTURE_TEST(test_calls),
        FIXTURE_TEST(test_stream),
        FIXTURE_TEST(test_silent_daemon),
        FIXTURE_TEST(test_lying_daemon),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("net/client", tests, NULL, NULL);
}
