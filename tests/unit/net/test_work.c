/* SPDX-License-Identifier: Apache-2.0 */
/* Queries on threads of their own: with queries that a test holds on to, and over a server. */
#include "net/work.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../store/temporary.h"
#include "base/mem.h"
#include "net_fixture.h"
#include "store/history.h"

/* ---- Queries that do what a test says ----------------------------------------------------- */

struct script {
    sem_t entered, go; /* posted when a query runs; waited for before it goes on */
    atomic_int runs;
    atomic_int freed;
    atomic_int flushed; /* what the last flush said */
    unsigned made;
    atomic_uint order[16]; /* which of those made ran first, second ... */
};

struct scripted {
    struct net_query query;
    struct script *script;
    unsigned number;
    bool waits;
    size_t bytes; /* of its answer */
};

static int run_scripted(struct net_query *query)
{
    struct scripted *s = (struct scripted *)query;
    int place = atomic_fetch_add(&s->script->runs, 1);
    atomic_store(&s->script->order[place % 16], s->number);
    sem_post(&s->script->entered);
    if (s->waits)
        sem_wait(&s->script->go);
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->bytes; i++) {
        buf_append_char(&query->reply.body, (char)('a' + i % 26));
        r = query_flush(query);
    }
    atomic_store(&s->script->flushed, r);
    return r;
}

static void scripted_done(struct net_query *query)
{
    atomic_fetch_add(&((struct scripted *)query)->script->freed, 1);
}

static struct net_query *scripted(struct script *script, bool waits, size_t bytes)
{
    struct scripted *s = mem_alloc(sizeof(*s));
    *s = (struct scripted){.query = {.run = run_scripted, .done = scripted_done},
        .script = script,
        .number = script->made++,
        .waits = waits,
        .bytes = bytes};
    reply_init(&s->query.reply);
    return &s->query;
}

struct pool_fixture {
    struct work_pool *pool;
    struct script script;
    unsigned started;
};

static struct pool_fixture *pool_setup(const struct work_options *options)
{
    struct pool_fixture *f = calloc(1, sizeof(*f));
    sem_init(&f->script.entered, 0, 0);
    sem_init(&f->script.go, 0, 0);
    assert_int_equal(work_pool_new(options, &f->pool), 0);
    return f;
}

static void pool_teardown(struct pool_fixture *f)
{
    for (unsigned i = 0; i < f->started; i++)
        sem_post(&f->script.go);
    work_pool_free(f->pool);
    assert_int_equal(atomic_load(&f->script.freed), f->started);
    sem_destroy(&f->script.entered);
    sem_destroy(&f->script.go);
    free(f);
}

static const struct net_peer root_peer = {.authenticated = true, .privileged = true};

static int start(struct pool_fixture *f, uint32_t uid, bool waits, size_t bytes, struct work **ret)
{
    const struct net_peer peer = {.authenticated = true, .privileged = uid == 0, .uid = uid};
    f->started++;
    return work_start(f->pool, scripted(&f->script, waits, bytes), &peer, ret);
}

/* Until the pool has news. */
static void wait_news(struct pool_fixture *f)
{
    struct pollfd wait = {.fd = work_pool_fd(f->pool), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 60000), 1);
    work_pool_news(f->pool);
}

static struct work_stats stats_now(struct pool_fixture *f)
{
    struct work_stats stats;
    work_pool_stats(f->pool, &stats);
    return stats;
}

static void test_short_answer_comes_whole(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){0});
    struct work *work = NULL;
    struct net_reply reply;
    (void)state;
    assert_int_equal(start(f, 0, false, 100, &work), 0);
    while (!work_answers(work))
        wait_news(f);
    assert_true(work_reply(work, &reply));
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body.size, 100);
    reply_done(&reply);
    work_close(work);
    assert_int_equal(stats_now(f).done, 1);
    pool_teardown(f);
}

/* An answer that is larger than what is kept of it: the worker waits for its reader. */
static void test_long_answer_is_streamed(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.stall_ms = 600000});
    struct work *work = NULL;
    struct net_reply reply;
    const size_t size = 3000000;
    size_t got = 0;
    (void)state;
    assert_int_equal(start(f, 0, false, size, &work), 0);
    while (!work_answers(work))
        wait_news(f);
    assert_false(work_reply(work, &reply));
    assert_int_equal(reply.status, 200);
    for (;;) {
        char text[5000];
        ssize_t n = work_read(work, text, sizeof(text));
        if (n == -ENODATA)
            break;
        assert_true(n >= 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(text[i], 'a' + (got + (size_t)i) % 26);
        got += (size_t)n;
        if (n == 0) {
            assert_false(work_readable(work) && work_read(work, text, 0) > 0);
            wait_news(f);
        }
    }
    assert_int_equal(got, size);
    work_close(work);
    pool_teardown(f);
}

static void test_client_leaves(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.stall_ms = 600000});
    struct work *work = NULL;
    (void)state;
    assert_int_equal(start(f, 0, false, 3000000, &work), 0);
    while (!work_answers(work))
        wait_news(f);
    work_close(work); /* in the middle of its answer */
    while (stats_now(f).cancelled == 0)
        sched_yield();
    assert_int_equal(atomic_load(&f->script.flushed), -ECANCELED);
    assert_int_equal(start(f, 0, true, 10, &work), 0);
    sem_wait(&f->script.entered);
    work_close(work); /* while it runs */
    sem_post(&f->script.go);
    while (stats_now(f).cancelled < 2)
        sched_yield();
    pool_teardown(f);
}

/* One that takes nothing of its answer is given up. */
static void test_client_stalls(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.stall_ms = 20});
    struct work *work = NULL;
    struct net_reply reply;
    char text[16384];
    ssize_t n;
    (void)state;
    assert_int_equal(start(f, 0, false, 3000000, &work), 0);
    while (stats_now(f).cancelled == 0)
        wait_news(f);
    assert_false(work_reply(work, &reply));
    do
        n = work_read(work, text, sizeof(text));
    while (n > 0);
    assert_int_equal(n, -ENODATA); /* what the query said at its end has been sent */
    work_close(work);
    pool_teardown(f);
}

static void test_too_late(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.query_ms = 1});
    struct work *work = NULL;
    struct net_reply reply;
    (void)state;
    assert_int_equal(start(f, 0, true, 20000, &work), 0);
    sem_wait(&f->script.entered);
    struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
    work_pool_sweep(f->pool);
    sem_post(&f->script.go);
    while (!work_answers(work))
        wait_news(f);
    assert_true(work_reply(work, &reply));
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body.data, "the query took too long"));
    reply_done(&reply);
    work_close(work);
    assert_int_equal(stats_now(f).late, 1);
    pool_teardown(f);
}

/* Two of ordinary users run at one time, one of each while both wait, and root finds a thread. */
static void test_fairness(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.max_waiting = 8});
    struct work *works[8] = {0}, *refused = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(start(f, 1000, true, 1, &works[n++]), 0);
    assert_int_equal(start(f, 1000, true, 1, &works[n++]), 0);
    sem_wait(&f->script.entered);
    sem_wait(&f->script.entered);
    assert_int_equal(start(f, 1000, true, 1, &works[n++]), 0);
    assert_int_equal(start(f, 1000, true, 1, &works[n++]), 0);
    assert_int_equal(start(f, 1000, true, 1, &refused), -EAGAIN); /* its quarter */
    assert_int_equal(start(f, 1001, true, 1, &works[n++]), 0);
    struct work_stats stats = stats_now(f);
    assert_int_equal(stats.running, 2);
    assert_int_equal(stats.waiting, 3);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(start(f, 0, true, 1, &works[n++]), 0);
    sem_wait(&f->script.entered); /* root's runs */
    assert_int_equal(stats_now(f).running, 3);
    for (unsigned ends = 1; ends <= n; ends++) {
        sem_post(&f->script.go);
        while (stats_now(f).done < ends)
            wait_news(f);
    }
    assert_int_equal(f->script.order[3], 5); /* 1001's, made sixth, before the rest of 1000 */
    for (size_t i = 0; i < n; i++)
        work_close(works[i]);
    pool_teardown(f);
}

static void test_alone(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){0});
    struct work *work = NULL, *other = NULL;
    (void)state;
    struct net_query *first = scripted(&f->script, true, 1),
                     *second = scripted(&f->script, true, 1);
    first->alone = second->alone = true;
    f->started += 2;
    assert_int_equal(work_start(f->pool, first, &root_peer, &work), 0);
    assert_int_equal(work_start(f->pool, second, &root_peer, &other), -EALREADY);
    work_close(work);
    pool_teardown(f);
}

/* Whatever its works are doing, a pool can be freed. */
static void test_freed_in_the_middle(void **state)
{
    struct pool_fixture *f = pool_setup(&(struct work_options){.stall_ms = 600000});
    struct work *works[6];
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(works); i++)
        assert_int_equal(start(f, i % 2 ? 1000 : 0, false, 3000000, &works[i]), 0);
    sem_wait(&f->script.entered);
    pool_teardown(f);
}

/* ---- Over a server ------------------------------------------------------------------------ */

#define TICKS 900

struct served {
    struct fixture *f;
    struct temporary directory;
};

static int served_setup(void **state)
{
    struct served *s = calloc(1, sizeof(*s));
    struct ac_error error = {0};
    void *inner;
    fixture_setup(&inner);
    s->f = inner;
    s->directory = temporary_make();
    assert_int_equal(store_open(&(struct store_options){.directory = s->directory.path},
                         &s->f->context.store, &error),
        0);
    assert_int_equal(
        history_open(s->f->context.store, &(struct history_options){.background = true},
            &s->f->context.history, &error),
        0);
    int64_t from = s->f->request.now.wall_ns - TICKS * (int64_t)NS_PER_SEC;
    for (int t = 0; t < TICKS; t++) {
        struct ac_usage usage;
        ac_usage_init(&usage);
        usage.cpu_cores = t % 7;
        usage.memory_mb = t;
        usage.known = AC_KNOWN_CPU_CORES | AC_KNOWN_MEMORY_MB;
        const struct history_row rows[] = {
            {.subject = "", .usage = &usage}, {.subject = "one", .usage = &usage}};
        assert_int_equal(history_tick(s->f->context.history, from + t * (int64_t)NS_PER_SEC, rows,
                             ARRAY_SIZE(rows), &error),
            0);
        assert_int_equal(history_flush(s->f->context.history, &error), 0);
    }
    *state = s;
    return 0;
}

static int served_teardown(void **state)
{
    struct served *s = *state;
    net_server_free(s->f->server);
    s->f->server = NULL;
    history_close(s->f->context.history);
    store_close(s->f->context.store);
    temporary_done(&s->directory);
    void *inner = s->f;
    fixture_teardown(&inner);
    free(s);
    return 0;
}

#define SPAN "since=2023-11-14T21:50:00Z&until=2023-11-14T22:14:00Z"

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* The body of an answer without the lengths between its chunks. */
static char *joined(char *answer)
{
    char *in = strstr(answer, "\r\n\r\n") + 4, *out = in;
    for (;;) {
        char *data;
        size_t size = strtoul(in, &data, 16);
        if (size == 0)
            break;
        memmove(out, data + 2, size);
        out += size;
        in = data + 2 + size + 2;
    }
    *out = 0;
    return answer;
}

static void test_queries_over_a_server(void **state)
{
    struct served *s = *state;
    serve(s->f);
    char *answer = client_exchange(s->f, GET("/v1/history/range?agents=one,system&" SPAN));
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "Transfer-Encoding: chunked"));
    assert_int_equal(count(joined(answer), "\"samples\":1"), 2 * TICKS);
    assert_non_null(strstr(answer, "\"error\":null}"));
    free(answer);
    answer = client_exchange(s->f, GET("/v1/system/history?" SPAN));
    assert_int_equal(status_of(answer), 200);
    assert_true(count(joined(answer), "\"samples\":1,") >= TICKS);
    free(answer);
    expect(s->f, GET("/v1/agents/one/history?limit=3&" SPAN), 200, "\"points\":[{");
    expect(s->f, GET("/v1/agents/nobody/history"), 404, "agent nobody is not known");
    expect(s->f, GET("/v1/history/top?metric=memory&" SPAN), 200, "\"agent_id\":\"one\"");
    expect(s->f, GET("/v1/history/quantile?metric=memory&q=1&" SPAN), 200, "\"value\":899");
    expect(s->f, GET("/v1/usage?" SPAN), 200, "\"name\":\"one\"");
    expect(s->f, GET("/v1/history/range?since=5&until=10"), 200, "\"points\":[]");
    expect(s->f, GET("/v1/history/range?since=nonsense"), 400, "\"field\":\"since\"");
    expect(s->f, "HEAD /v1/history/range?" SPAN " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        200, NULL);
    expect(s->f,
        "POST /v1/history/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n",
        200, "\"messages\":[],\"findings\":0}");
}

/* What the history holds is counted when somebody asks for the metrics, and told to who comes next.
 */
static void test_metrics_of_the_history(void **state)
{
    struct served *s = *state;
    struct history_tier tiers[HISTORY_TIERS];
    serve(s->f);
    expect(s->f, GET("/metrics"), 200, "agentcore_history_ticks_total 900\n");
    while (!net_server_tiers(s->f->server, tiers))
        fixture_pump(s->f, 50);
    char *text = client_exchange(s->f, GET("/metrics"));
    static const char *const lines[] = {"agentcore_history_subjects 2\n",
        "agentcore_history_rows{tier=\"days\"} 0\n",
        "agentcore_history_oldest_timestamp_seconds{tier=\"raw\"} 16999",
        "agentcore_history_ticks_waiting 0\n", "agentcore_history_ticks_refused_total 0\n",
        "agentcore_history_gap_seconds 0\n",
        "agentcore_history_queries_total{outcome=\"done\"} 1\n"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        if (!strstr(text, lines[i]))
            print_message("%s is not in %s\n", lines[i], text);
        assert_non_null(strstr(text, lines[i]));
    }
    assert_null(strstr(text, "agentcore_history_rows{tier=\"raw\"} 0\n"));
    assert_null(strstr(text, "oldest_timestamp_seconds{tier=\"days\"}"));
    assert_null(strstr(text, "agentcore_history_file_bytes 0\n"));
    free(text);
}

/* The next request on a connection waits for the answer to the one before. */
static void test_pipelined_queries(void **state)
{
    struct served *s = *state;
    serve(s->f);
    char *answer = client_exchange(s->f,
        "GET /v1/history/top?metric=memory&" SPAN " HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /v1/usage?" SPAN " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(count(answer, "HTTP/1.1 200"), 3);
    const char *top = strstr(answer, "\"top\":"), *health = strstr(answer, "\"status\":\"ok\"");
    assert_true(top && health && top < health && strstr(health, "\"rows\":"));
    free(answer);
}

/* Clients that leave at any moment: nothing of theirs goes on, and the rest is served. */
static void test_clients_leave(void **state)
{
    struct served *s = *state;
    static const char request[] =
        "GET /v1/history/range?agents=one,system&" SPAN " HTTP/1.1\r\nHost: x\r\n\r\n";
    serve(s->f);
    for (int i = 0; i < 12; i++) {
        int fd = client_connect(s->f);
        client_send(s->f, fd, request, sizeof(request) - 1);
        if (i % 3 > 0)
            fixture_pump(s->f, 5);
        if (i % 3 > 1)
            free(client_receive(s->f, fd, "\"points\"", 5000, NULL));
        close(fd);
        while (stats_of(s->f).connections > 0)
            fixture_pump(s->f, 50);
    }
    expect(s->f, GET("/v1/history/top?metric=memory&" SPAN), 200, "\"agent_id\":\"one\"");
}

/* The server ends while queries wait, run and are being read. */
static void test_server_ends(void **state)
{
    struct served *s = *state;
    static const char request[] =
        "GET /v1/history/range?agents=one,system&" SPAN " HTTP/1.1\r\nHost: x\r\n\r\n";
    int fds[6];
    serve(s->f);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = client_connect(s->f);
        client_send(s->f, fds[i], request, sizeof(request) - 1);
    }
    fixture_pump(s->f, 5);
    net_server_free(s->f->server);
    s->f->server = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, served_setup, served_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_answer_comes_whole),
        cmocka_unit_test(test_long_answer_is_streamed),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_client_stalls),
        cmocka_unit_test(test_too_late),
        cmocka_unit_test(test_fairness),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_freed_in_the_middle),
        SERVED(test_queries_over_a_server),
        SERVED(test_metrics_of_the_history),
        SERVED(test_pipelined_queries),
        SERVED(test_clients_leave),
        SERVED(test_server_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
