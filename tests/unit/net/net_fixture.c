/* SPDX-License-Identifier: Apache-2.0 */
#include "net_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define GIB (1024ull * 1024 * 1024)

/* ---- Hooks */

static int hook_added(void *userdata, const struct agent *agent, struct ac_error *error)
{
    struct fixture *fixture = userdata;
    assert_non_null(agent);
    fixture->added++;
    return fixture->added_result < 0
               ? error_set(error, fixture->added_result, "the collector said no")
               : 0;
}

static void hook_removing(void *userdata, const struct agent *agent)
{
    struct fixture *fixture = userdata;
    assert_non_null(agent);
    fixture->removing++;
}

static int hook_stop(void *userdata, const struct agent *agent, int signal, uint64_t grace_ns,
    uint32_t as_uid, uint32_t *ret_signalled, struct ac_error *error)
{
    struct fixture *fixture = userdata;
    (void)as_uid;
    (void)error;
    fixture->stopped++;
    fixture->last_signal = signal;
    fixture->last_grace_ns = grace_ns;
    *ret_signalled = agent->processes;
    return 0;
}

static int hook_changed(void *userdata, struct ac_error *error)
{
    struct fixture *fixture = userdata;
    struct event event;
    fixture->changed++;
    while (core_next_event(fixture->core, &event)) {
        if (fixture->server)
            net_server_event(fixture->server, &event);
    }
    return fixture->changed_result < 0 ? error_set(error, fixture->changed_result, "disk full") : 0;
}

static void hook_stats(void *userdata, struct net_daemon_stats *ret_stats)
{
    *ret_stats = ((struct fixture *)userdata)->daemon;
}

/* ---- The machine */

static void machine_init(struct fixture *fixture)
{
    fixture->sample =
        (struct sample){.when = {.mono = {1000 * NS_PER_SEC}, .wall_ns = FIXTURE_WALL},
            .boot_ns = 1000 * NS_PER_SEC,
            .procs = fixture->procs,
            .machine = {.known = MACHINE_KNOWN_CPU | MACHINE_KNOWN_MEMORY | MACHINE_KNOWN_DISK,
                .capacity_cores = 4,
                .capacity_memory_bytes = 8 * GIB,
                .cpu_total_ns = 4000 * NS_PER_SEC,
                .cpu_busy_ns = 400 * NS_PER_SEC,
                .cpu_boot_percent = 10,
                .memory_used_bytes = 2 * GIB}};
}

struct proc_record *fixture_proc(struct fixture *fixture, int32_t pid, int32_t ppid)
{
    struct proc_record *proc = &fixture->procs[fixture->sample.n_procs++];
    *proc = (struct proc_record){.pid = pid,
        .ppid = ppid,
        .start_ticks = 100000,
        .known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_RSS | PROC_KNOWN_IO |
                 PROC_KNOWN_FDS | PROC_KNOWN_THREADS,
        .rss_anon_bytes = 100 << 20,
        .fds = 10,
        .threads = 1,
        .state = 'S',
        .name = "a \"b\\\n\xff"};
    return proc;
}

void fixture_tick(struct fixture *fixture)
{
    struct sample *sample = &fixture->sample;
    sample->when.mono.ns += NS_PER_SEC;
    sample->when.wall_ns += (int64_t)NS_PER_SEC;
    sample->boot_ns += NS_PER_SEC;
    sample->machine.cpu_total_ns += 4 * NS_PER_SEC;
    sample->machine.cpu_busy_ns += NS_PER_SEC;
    sample->machine.disk_read_bytes += 1 << 20;
    assert_int_equal(core_tick(fixture->core, sample), 0);
    fixture->request.now = sample->when;
}

int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct core_options options;
    core_options_init(&options);
    options.max_agents = 50;
    assert_int_equal(core_new(&options, &fixture->core), 0);
    fixture->context = (struct net_context){.core = fixture->core,
        .proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .hooks = {fixture, hook_added, hook_removing, hook_stop, hook_changed, hook_stats}};
    fixture->daemon = (struct net_daemon_stats){.collector = "procfs",
        .state = "none",
        .interval_seconds = 1,
        .ticks = 3,
        .tick_last_ns = 1500000,
        .tick_max_ns = 2500000,
        .tick_sum_ns = 5000000,
        .uptime_ns = 7 * NS_PER_SEC,
        .cpu_ns = 20000000,
        .rss_bytes = 9 << 20};
    machine_init(fixture);
    fixture_user(fixture, 0);
    fixture_tick(fixture);
    *state = fixture;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    net_server_free(fixture->server);
    sd_event_unref(fixture->event);
    core_free(fixture->core);
    close(fixture->context.proc_fd);
    if (fixture->directory[0])
        assert_int_equal(rmdir(fixture->directory), 0); /* nothing may be left in it */
    free(fixture);
    return 0;
}

void fixture_user(struct fixture *fixture, uint32_t uid)
{
    fixture->request.peer = (struct net_peer){
        .authenticated = true, .privileged = uid == 0, .uid = uid, .pid = getpid()};
}

/* ---- Without transport */

json_t *fixture_call(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status)
{
    struct net_reply reply;
    struct net_request request = fixture->request;
    json_error_t error;
    json_t *json = NULL;
    request.method = method;
    request.target = target;
    request.body = body;
    request.body_size = body ? strlen(body) : 0;
    if (!request.content_type)
        request.content_type = "application/json; charset=utf-8";
    reply_init(&reply);
    net_dispatch(&fixture->context, &request, &reply);
    if (reply.status != status)
        print_message(
            "%s %s: %u %s\n", method, target, reply.status, reply.body.data ? reply.body.data : "");
    assert_int_equal(reply.status, status);
    if (reply.body.size > 0 && strstr(reply.content_type, "json")) {
        json = json_loadb(reply.body.data, reply.body.size, JSON_REJECT_DUPLICATES, &error);
        if (!json)
            print_message("%s: %s in %s\n", target, error.text, reply.body.data);
        assert_non_null(json);
    }
    reply_done(&reply);
    return json;
}

void fixture_expect(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status, const char *detail, const char *field)
{
    json_t *json = fixture_call(fixture, method, target, body, status);
    const char *text = json_string_value(json_object_get(json, "detail"));
    if (detail) {
        if (!text || !strstr(text, detail))
            print_message(
                "%s %s: \"%s\" is not in \"%s\"\n", method, target, detail, text ? text : "(none)");
        assert_true(text && strstr(text, detail));
    }
    if (field)
        assert_string_equal(json_string_value(json_object_get(json, "field")), field);
    json_decref(json);
}

/* ---- With a server */

void fixture_options(struct fixture *fixture, struct net_server_options *ret_options)
{
    if (!fixture->directory[0]) {
        snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/agentcore-test-XXXXXX");
        assert_non_null(mkdtemp(fixture->directory));
        assert_int_equal(chmod(fixture->directory, 0755), 0);
        snprintf(fixture->socket, sizeof(fixture->socket), "%s/s.sock", fixture->directory);
    }
    *ret_options = (struct net_server_options){.socket_path = fixture->socket,
        .socket_mode = 0666,
        .max_connections = 32,
        .max_streams = 4,
        .max_body_bytes = 65536,
        .idle_ms = 60000,
        .request_ms = 30000,
        .reply_ms = 60000,
        .keepalive_ms = 15000};
}

void fixture_serve(struct fixture *fixture, const struct net_server_options *options)
{
    struct ac_error error = {0};
    if (!fixture->event)
        assert_true(sd_event_new(&fixture->event) >= 0);
    int r = net_server_new(options, fixture->event, &fixture->context, &fixture->server, &error);
    if (r < 0)
        print_message("%s\n", error.message);
    assert_int_equal(r, 0);
}

void fixture_pump(struct fixture *fixture, unsigned ms)
{
    assert_true(sd_event_run(fixture->event, ms * 1000ull) >= 0);
}

int client_connect(struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct net_server_stats before, now;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    net_server_stats(fixture->server, &before);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    do {
        fixture_pump(fixture, 100);
        net_server_stats(fixture->server, &now);
    } while (now.connections == before.connections &&
             now.connections_refused == before.connections_refused);
    return fd;
}

void client_send(struct fixture *fixture, int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return; /* the server closed: what it said is what counts */
        text += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
        fixture_pump(fixture, n > 0 ? 0 : 10);
    }
}

char *client_receive(
    struct fixture *fixture, int fd, const char *until, unsigned ms, bool *ret_closed)
{
    size_t used = 0, capacity = 1 << 16;
    char *text = malloc(capacity);
    uint64_t end = clock_mono().ns + ms * NS_PER_MSEC;
    bool closed = false;
    text[0] = 0;
    while (!closed && !(until && strstr(text, until)) && clock_mono().ns < end) {
        fixture_pump(fixture, 5);
        if (used + 4096 > capacity)
            text = realloc(text, capacity *= 2);
        ssize_t n = recv(fd, text + used, 4095, MSG_DONTWAIT);
        closed = n == 0 || (n < 0 && errno != EAGAIN);
        used += n > 0 ? (size_t)n : 0;
        text[used] = 0;
    }
    if (ret_closed)
        *ret_closed = closed;
    return text;
}

char *client_exchange(struct fixture *fixture, const char *text)
{
    int fd = client_connect(fixture);
    client_send(fixture, fd, text, strlen(text));
    char *answer = client_receive(fixture, fd, NULL, 5000, NULL);
    close(fd);
    fixture_pump(fixture, 5);
    return answer;
}

/* ---- HTTP texts */

unsigned status_of(const char *answer)
{
    unsigned status = 0;
    return sscanf(answer, "HTTP/1.1 %u", &status) == 1 ? status : 0;
}

void expect(struct fixture *fixture, const char *request, unsigned status, const char *part)
{
    char *answer = client_exchange(fixture, request);
    if (status_of(answer) != status || (part && !strstr(answer, part)))
        print_message("%.100s -> %s\n", request, answer);
    assert_int_equal(status_of(answer), status);
    assert_true(!part || strstr(answer, part));
    free(answer);
}

void serve(struct fixture *fixture)
{
    struct net_server_options options;
    fixture_options(fixture, &options);
    fixture_serve(fixture, &options);
}

struct net_server_stats stats_of(struct fixture *fixture)
{
    struct net_server_stats stats;
    net_server_stats(fixture->server, &stats);
    return stats;
}
