/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, without transport, over the unix socket, and over TCP. */
#include "net/route.h"

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

/* ---- Permissions */

static void test_ordinary_user(void **state)
{
    struct fixture *f = *state;
    char body[64];
    struct ac_alert alert;
    json_decref(fixture_call(f, "PUT", "/v1/agents/roots/usage", "{\"cpu_percent\":99}", 200));
    fixture_user(f, OTHER_UID);
    fixture_expect(f, "GET", "/v1/agents/roots", NULL, 403, "belongs to another user", NULL);
    fixture_expect(f, "GET", "/v1/agents/roots/usage", NULL, 403, "another user", NULL);
    fixture_expect(f, "GET", "/v1/agents/roots/history", NULL, 403, "another user", NULL);
    fixture_expect(f, "PUT", "/v1/agents/roots/usage", "{}", 403, "another user", NULL);
    fixture_expect(f, "PUT", "/v1/agents/roots", NULL, 403, "another user", NULL);
    fixture_expect(f, "DELETE", "/v1/agents/roots", NULL, 403, "another user", NULL);
    fixture_expect(f, "POST", "/v1/agents/roots/stop", NULL, 403, "another user", NULL);
    fixture_expect(
        f, "POST", "/v1/allocations", "{\"agent_id\":\"roots\"}", 403, "another user", NULL);
    fixture_expect(f, "POST", "/v1/allocations", "{\"agent_id\":\"new\"}", 403, "register it first",
        "agent_id");
    fixture_expect(f, "PUT", "/v1/pools/react", "{\"scale\":2}", 403, "only root", NULL);
    snprintf(body, sizeof(body), "{\"pid\":%d}", getppid());
    if (getuid() == 0) /* the parent is root's, too */
        fixture_expect(f, "PUT", "/v1/agents/mine", body, 403, "another user", "pid");
    /* What is his own works, and is all he sees. */
    json_decref(fixture_call(f, "PUT", "/v1/agents/mine/usage", "{\"cpu_percent\":98}", 200));
    json_t *json = fixture_call(f, "GET", "/v1/agents", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "agents")), 1);
    json_t *mine = json_array_get(json_object_get(json, "agents"), 0);
    assert_int_equal(json_integer_value(json_object_get(mine, "uid")), OTHER_UID);
    json_decref(json);
    json_decref(fixture_call(f, "POST", "/v1/allocations", "{\"agent_id\":\"mine\"}", 201));
    json_decref(fixture_call(f, "GET", "/v1/system", NULL, 200));
    json_decref(fixture_call(f, "GET", "/v1/pools", NULL, 200));
    /* Alerts: his own and the machine's; the machine's are not his to acknowledge. */
    assert_int_equal(core_raise(f->core, NULL,
                         &(struct rules_raise){.rule = "manual",
                             .resource = AC_MEMORY,
                             .severity = AC_CRITICAL,
                             .message = "full"},
                         f->request.now, &alert),
        0);
    json = fixture_call(f, "GET", "/v1/alerts", NULL, 200);
    for (size_t i = 0; i < json_array_size(json_object_get(json, "alerts")); i++) {
        json_t *one = json_array_get(json_object_get(json, "alerts"), i);
        const char *agent = json_string_value(json_object_get(one, "agent_id"));
        assert_true(!agent || strcmp(agent, "mine") == 0);
    }
    assert_int_equal(json_array_size(json_object_get(json, "alerts")), 2);
    json_decref(json);
    char target[128];
    snprintf(target, sizeof(target), "/v1/alerts/%s/acknowledge", alert.alert_id);
    fixture_expect(f, "POST", target, NULL, 403, "machine's alerts", NULL);
    fixture_user(f, 0);
    json_decref(fixture_call(f, "POST", target, NULL, 200));
    json = fixture_call(f, "GET", "/v1/allocations", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "allocations")), 1);
    json_decref(json);
    fixture_user(f, OTHER_UID + 1);
    json = fixture_call(f, "GET", "/v1/allocations", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "allocations")), 0);
    json_decref(json);
    fixture_expect(f, "DELETE", "/v1/allocations/mine", NULL, 403, "another user's", NULL);
}

/* An ordinary user cannot take all agents. */
static void test_agent_share(void **state)
{
    struct fixture *f = *state;
    struct config config = {.caps.max_agents = 8};
    f->context.config = &config;
    fixture_user(f, OTHER_UID);
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", NULL, 201));
    json_decref(fixture_call(f, "PUT", "/v1/agents/b/usage", "{}", 200));
    fixture_expect(f, "PUT", "/v1/agents/c", NULL, 503, "a quarter of caps.max_agents", NULL);
    fixture_expect(f, "PUT", "/v1/agents/c/usage", "{}", 503, "a quarter", NULL);
    json_decref(fixture_call(f, "PUT", "/v1/agents/b/usage", "{}", 200)); /* what he has works */
    fixture_user(f, 0);
    json_decref(fixture_call(f, "PUT", "/v1/agents/c", NULL, 201));
}

static void test_token_missing(void **state)
{
    struct fixture *f = *state;
    f->request.peer = (struct net_peer){.uid = UINT32_MAX};
    for (size_t i = 0; i < route_count; i++) {
        char target[128];
        const char *open = strchr(route_table[i].pattern, '{');
        snprintf(target, sizeof(target), "%s", route_table[i].pattern);
        if (open)
            snprintf(target, sizeof(target), "%.*sreact%s", (int)(open - route_table[i].pattern),
                route_table[i].pattern, strchr(open, '}') + 1);
        unsigned status = route_table[i].access == ACCESS_OPEN ? 200 : 401;
        json_decref(fixture_call(f, route_table[i].method, target, NULL, status));
    }
    assert_int_equal(f->changed, 0);
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
        _exit(status == 200   ? 20
              : status == 201 ? 21
              : status == 403 ? 43
              : status == 429 ? 49
                              : 2);
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

/* Who asks too often waits; nobody else does. */
static void test_rate(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    int answer = 20;
    if (geteuid() != 0) {
        print_message("# skipped: changing users needs root\n");
        skip();
    }
    fixture_options(f, &options);
    options.max_requests = 1;
    fixture_serve(f, &options);
    for (int i = 0; answer == 20 && i < 1000; i++)
        answer = ask_as(f, OTHER_UID, GET("/v1/system"));
    assert_int_equal(answer, 49);
    assert_int_equal(ask_as(f, OTHER_UID + 1, GET("/v1/system")), 20);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask_as(f, 0, GET("/v1/system")), 20);
    assert_true(stats_of(f).requests_limited > 0);
}

/* A process of @uid that takes all the connections it gets. */
static pid_t hog(const struct fixture *f, uid_t uid, int count)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        _exit(1);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            _exit(1);
    }
    for (;;)
        pause();
}

/* An ordinary user cannot take all connections, nor can all of them together. */
static void test_share(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    pid_t pids[4];
    if (geteuid() != 0) {
        print_message("# skipped: changing users needs root\n");
        skip();
    }
    fixture_options(f, &options);
    options.max_connections = 8;
    fixture_serve(f, &options);
    for (unsigned user = 0; user < ARRAY_SIZE(pids); user++) {
        pids[user] = hog(f, OTHER_UID + user, 8);
        for (int i = 0; i < 500; i++) {
            struct net_server_stats stats = stats_of(f);
            if (stats.connections + stats.connections_refused == 8 * (user + 1))
                break;
            fixture_pump(f, 10);
        }
        assert_int_equal(stats_of(f).connections, user < 3 ? 2 * (user + 1) : 6);
        expect(f, GET("/healthz"), 200, NULL);
    }
    for (unsigned user = 0; user < ARRAY_SIZE(pids); user++) {
        kill(pids[user], SIGKILL);
        waitpid(pids[user], NULL, 0);
    }
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

static void expect_one_alert(struct fixture *f, uint32_t uid, size_t listed, int active)
{
    fixture_user(f, uid);
    json_t *json = fixture_call(f, "GET", "/v1/alerts?agent=name", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "alerts")), listed);
    json_decref(json);
    json = fixture_call(f, "GET", "/v1/agents/name", NULL, active < 0 ? 403 : 200);
    if (active >= 0)
        assert_int_equal(json_integer_value(json_object_get(json, "active_alerts")), active);
    json_decref(json);
}

/* One that outlives its agent is not the next one's who has the name. */
static void test_alert_of_a_name_that_passed_on(void **state)
{
    struct fixture *f = *state;
    struct ac_alert alert;
    struct event event;
    char target[128];
    struct rules_raise raise = {.rule = "oom_kill",
        .resource = AC_MEMORY,
        .severity = AC_EMERGENCY,
        .message = "x",
        .hold_ms = 5000};
    fixture_user(f, OTHER_UID);
    json_decref(fixture_call(f, "PUT", "/v1/agents/name", NULL, 201));
    assert_int_equal(core_raise(f->core, "name", &raise, f->request.now, &alert), 0);
    expect_one_alert(f, OTHER_UID, 1, 1);
    assert_null(fixture_call(f, "DELETE", "/v1/agents/name", NULL, 204));
    fixture_user(f, OTHER_UID + 1);
    json_decref(fixture_call(f, "PUT", "/v1/agents/name", NULL, 201));
    expect_one_alert(f, OTHER_UID + 1, 0, 0);
    snprintf(target, sizeof(target), "/v1/alerts/%s/acknowledge", alert.alert_id);
    fixture_expect(f, "POST", target, NULL, 403, "another user", NULL);
    expect_one_alert(f, OTHER_UID, 1, -1);
    expect_one_alert(f, 0, 1, 0);
    for (int i = 0; i < 10; i++)
        fixture_tick(f);
    unsigned ended = 0;
    while (core_next_event(f->core, &event)) {
        if (event.kind == EVENT_ALERT && strcmp(event.agent_id, "name") == 0) {
            assert_int_equal(event.owner_uid, OTHER_UID);
            ended += event.of.alert.state == AC_ALERT_RESOLVED;
        }
    }
    assert_int_equal(ended, 1);
}

/* A reservation for an agent that is to come is nobody else's, whoever comes first. */
static void test_reservation(void **state)
{
    struct fixture *f = *state;
    json_decref(fixture_call(f, "POST", "/v1/allocations", "{\"agent_id\":\"next\"}", 201));
    fixture_user(f, OTHER_UID);
    fixture_expect(f, "PUT", "/v1/agents/next", NULL, 409, "has reserved", "id");
    fixture_expect(f, "PUT", "/v1/agents/next/usage", "{}", 409, "has reserved", "id");
    fixture_expect(f, "GET", "/v1/allocations/next", NULL, 403, "another user", NULL);
    fixture_expect(f, "DELETE", "/v1/allocations/next", NULL, 403, "another user", NULL);
    json_decref(fixture_call(f, "PUT", "/v1/agents/mine", NULL, 201));
    fixture_user(f, 0);
    json_decref(fixture_call(f, "POST", "/v1/allocations", "{\"agent_id\":\"mine\"}", 201));
    /* However the name came to somebody, what is reserved for it stays root's. */
    struct agent_spec spec = {.id = "next", .owner_uid = OTHER_UID};
    assert_int_equal(core_agent_add(f->core, &spec, f->request.now, NULL, NULL), 0);
    fixture_user(f, OTHER_UID);
    json_t *json = fixture_call(f, "GET", "/v1/allocations", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "allocations")), 1);
    json_decref(json);
    fixture_expect(f, "GET", "/v1/allocations/next", NULL, 403, "another user", NULL);
    json_decref(fixture_call(f, "GET", "/v1/allocations/mine", NULL, 200)); /* what root asked */
    assert_null(fixture_call(f, "DELETE", "/v1/allocations/mine", NULL, 204));
    fixture_user(f, 0);
    assert_null(fixture_call(f, "DELETE", "/v1/allocations/next", NULL, 204));
    fixture_user(f, OTHER_UID + 1);
    json_decref(fixture_call(f, "PUT", "/v1/agents/now", NULL, 201));
}

/* Which process becomes an agent is what the kernel says of the connection, not a number that
 * means another process where the daemon runs. */
static void test_which_process(void **state)
{
    struct fixture *f = *state;
    char self[64], other[64];
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    snprintf(self, sizeof(self), "{\"pid\":%d,\"self\":true}", child);
    snprintf(other, sizeof(other), "{\"pid\":%d}", child);
    fixture_expect(f, "PUT", "/v1/agents/a", "{\"self\":true}", 400, "missing", "pid");
    fixture_expect(f, "PUT", "/v1/agents/a", self, 400, "through another process", "pid");
    f->request.peer.pid = 0;
    fixture_expect(f, "PUT", "/v1/agents/a", self, 400, "does not see you", "self");
    fixture_expect(f, "PUT", "/v1/agents/a", other, 400, "another pid namespace", "pid");
    f->request.peer.uid = UINT32_MAX;
    fixture_expect(f, "PUT", "/v1/agents/a", self, 400, "not over TCP", "self");
    assert_null(registry_get(core_registry(f->core), "a"));
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", other, 201)); /* the daemon's number */
    assert_false(registry_get(core_registry(f->core), "a")->spec.announced_itself);
    assert_null(fixture_call(f, "DELETE", "/v1/agents/a", NULL, 204));
    fixture_user(f, 0);
    f->request.peer.pid = child;
    json_decref(fixture_call(f, "PUT", "/v1/agents/a", self, 201));
    const struct agent *agent = registry_get(core_registry(f->core), "a");
    assert_int_equal(agent->spec.root_pid, child);
    assert_true(agent->spec.announced_itself);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    fixture_expect(f, "PUT", "/v1/agents/b", self, 400, "there is no process", "self");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_ordinary_user),
        FIXTURE_TEST(test_agent_share),
        FIXTURE_TEST(test_alert_of_a_name_that_passed_on),
        FIXTURE_TEST(test_reservation),
        FIXTURE_TEST(test_which_process),
        FIXTURE_TEST(test_token_missing),
        FIXTURE_TEST(test_other_user),
        FIXTURE_TEST(test_rate),
        FIXTURE_TEST(test_share),
        FIXTURE_TEST(test_bad_options),
        FIXTURE_TEST(test_second_server),
        FIXTURE_TEST(test_tcp_token),
    };
    return cmocka_run_group_tests_name("net/access", tests, NULL, NULL);
}
