/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net/sse_reader.h"
#include "net_fixture.h"

/* What a stream's bytes say, read back. */
struct seen {
    uint64_t ids[3000];
    size_t count;
    uint64_t lost;
    char last_kind[32];
};

static int seen_event(void *userdata, const struct sse_text *event)
{
    struct seen *seen = userdata;
    json_t *json = json_loadb(event->data, event->data_size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    uint64_t id = (uint64_t)json_integer_value(json_object_get(json, "sequence"));
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    assert_string_equal(event->id, text);
    assert_string_equal(json_string_value(json_object_get(json, "kind")), event->kind);
    snprintf(seen->last_kind, sizeof(seen->last_kind), "%s", event->kind);
    seen->lost += (uint64_t)json_integer_value(json_object_get(json, "lost"));
    seen->ids[seen->count++] = id;
    json_decref(json);
    return 0;
}

/* Reads all there is in pieces of @piece bytes. Returns 0 or the stream's error. */
static int drain(struct stream *stream, size_t piece, struct seen *seen)
{
    struct sse_reader reader = {0};
    char buffer[4096];
    ssize_t n;
    while ((n = stream_read(stream, buffer, piece)) > 0)
        assert_int_equal(sse_reader_feed(&reader, buffer, (size_t)n, seen_event, seen), 0);
    sse_reader_done(&reader);
    return (int)n;
}

static void put(struct stream_ring *ring, uint64_t sequence, enum event_kind kind,
    const char *agent, uint32_t owner)
{
    struct event event = {.sequence = sequence,
        .time_ns = FIXTURE_WALL,
        .kind = kind,
        .owner_uid = agent ? owner : UINT32_MAX};
    snprintf(event.agent_id, sizeof(event.agent_id), "%s", agent ? agent : "");
    snprintf(event.text, sizeof(event.text), "a text\nwith a line break");
    stream_ring_put(ring, &event);
}

static struct stream *make(struct stream_ring *ring, const struct net_reply *reply)
{
    struct stream *stream;
    assert_int_equal(stream_new(ring, reply, &stream), 0);
    return stream;
}

static const struct net_reply everything = {.filter = {.kinds = UINT32_MAX, .everything = true}};

static void test_order_and_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 700; piece = piece * 2 + 1) {
        struct stream_ring *ring;
        struct seen seen = {0};
        assert_int_equal(stream_ring_new(&ring), 0);
        put(ring, 1, EVENT_CONFIG, NULL, 0); /* before the stream: not for it */
        struct stream *stream = make(ring, &everything);
        assert_true(stream_ready(stream)); /* the greeting */
        assert_int_equal(drain(stream, piece, &seen), 0);
        assert_int_equal(seen.count, 0);
        assert_false(stream_ready(stream));
        for (uint64_t i = 2; i < 20; i++)
            put(ring, i, (enum event_kind)(i % EVENT_KIND_COUNT), "a", 5);
        assert_true(stream_ready(stream));
        assert_int_equal(drain(stream, piece, &seen), 0);
        assert_int_equal(seen.count, 18);
        for (size_t i = 0; i < seen.count; i++)
            assert_int_equal(seen.ids[i], i + 2);
        stream_free(stream);
        stream_ring_free(ring);
    }
}

static void test_filters(void **state)
{
    struct stream_ring *ring;
    struct seen seen[4] = {0};
    struct net_reply kinds = everything, agent = everything, user = everything;
    (void)state;
    assert_int_equal(stream_ring_new(&ring), 0);
    kinds.filter.kinds = 1u << EVENT_SCALE;
    snprintf(agent.filter.agent_id, sizeof(agent.filter.agent_id), "b");
    user.filter.everything = false;
    user.filter.uid = 7;
    struct stream *streams[] = {
        make(ring, &everything), make(ring, &kinds), make(ring, &agent), make(ring, &user)};
    put(ring, 1, EVENT_ALERT, "a", 7);
    put(ring, 2, EVENT_ALERT, "b", 8);
    put(ring, 3, EVENT_SCALE, NULL, 0);
    put(ring, 4, EVENT_ALERT, NULL, 0);
    put(ring, 5, EVENT_ALLOCATION, "gone", UINT32_MAX); /* nobody's: for the privileged only */
    put(ring, 9, EVENT_LOST, NULL, 0);                  /* whatever was asked for */
    static const struct {
        size_t count;
        uint64_t ids[6];
    } expected[] = {{6, {1, 2, 3, 4, 5, 9}}, {2, {3, 9}}, {2, {2, 9}}, {4, {1, 3, 4, 9}}};
    for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
        assert_int_equal(drain(streams[i], 4096, &seen[i]), 0);
        assert_int_equal(seen[i].count, expected[i].count);
        for (size_t k = 0; k < seen[i].count; k++)
            assert_int_equal(seen[i].ids[k], expected[i].ids[k]);
        stream_free(streams[i]);
    }
    stream_ring_free(ring);
}

static void test_resume(void **state)
{
    static const struct {
        uint64_t last;
        uint64_t first;
        size_t count;
        uint64_t lost;
    } cases[] = {
        {1500, 1501, 500, 0}, /* in the ring */
        {2000, 0, 0, 0},      /* all seen */
        {976, 977, 1024, 0},
        {100, 976, 1025, 876},  /* older than the ring: what is left of it, and that it is so */
        {5000, 976, 1025, 976}, /* from before a restart */
        {UINT64_MAX, 976, 1025, 976},
        {0, 976, 1025, 976},
    };
    struct stream_ring *ring;
    (void)state;
    assert_int_equal(stream_ring_new(&ring), 0);
    for (uint64_t i = 1; i <= 2000; i++)
        put(ring, i, EVENT_ALERT, "a", 1);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct seen *seen = calloc(1, sizeof(*seen));
        struct net_reply reply = everything;
        reply.has_resume = true;
        reply.resume = cases[i].last;
        struct stream *stream = make(ring, &reply);
        assert_int_equal(drain(stream, 1 + i * 600, seen), 0);
        assert_int_equal(seen->count, cases[i].count);
        assert_int_equal(seen->lost, cases[i].lost);
        if (seen->count > 0)
            assert_int_equal(seen->ids[0], cases[i].first);
        stream_free(stream);
        free(seen);
    }
    stream_ring_free(ring);
}

/* One that does not read falls behind and is told so; one to which nothing applies does not. */
static void test_slow(void **state)
{
    struct stream_ring *ring;
    struct net_reply other = everything;
    struct seen seen = {0};
    char some[700];
    (void)state;
    assert_int_equal(stream_ring_new(&ring), 0);
    other.filter.kinds = 1u << EVENT_CONFIG;
    struct stream *slow = make(ring, &everything), *quiet = make(ring, &other);
    assert_int_equal(drain(slow, 4096, &seen), 0);
    assert_int_equal(drain(quiet, 4096, &seen), 0);
    put(ring, 1, EVENT_ALERT, "a", 1);
    assert_int_equal(stream_read(slow, some, 10), 10); /* a part of the first event */
    for (uint64_t i = 2; i <= STREAM_EVENTS_MAX + 1; i++) {
        put(ring, i, EVENT_ALERT, "a", 1);
        assert_false(stream_ready(quiet));
        assert_false(stream_behind(slow));
    }
    put(ring, STREAM_EVENTS_MAX + 2, EVENT_ALERT, "a", 1);
    assert_true(stream_behind(slow));
    assert_true(stream_ready(slow));
    /* The event that it has begun is sent whole, though the ring has dropped it. */
    ssize_t rest = stream_read(slow, some, sizeof(some));
    assert_true(rest > 20);
    assert_memory_equal(some + rest - 2, "\n\n", 2);
    assert_int_equal(stream_read(slow, some, sizeof(some)), -ENOBUFS);
    assert_false(stream_behind(quiet));
    put(ring, STREAM_EVENTS_MAX + 3, EVENT_CONFIG, NULL, 0);
    assert_int_equal(drain(quiet, 4096, &seen), 0);
    assert_int_equal(seen.count, 1);
    stream_free(slow);
    stream_free(quiet);
    stream_ring_free(ring);
}

static void test_keepalive(void **state)
{
    struct stream_ring *ring;
    char buffer[64];
    (void)state;
    assert_int_equal(stream_ring_new(&ring), 0);
    struct stream *stream = make(ring, &everything);
    assert_true(stream_read(stream, buffer, sizeof(buffer)) > 0);
    assert_int_equal(stream_read(stream, buffer, sizeof(buffer)), 0);
    stream_keepalive(stream);
    assert_true(stream_ready(stream));
    ssize_t n = stream_read(stream, buffer, sizeof(buffer));
    assert_true(n > 3 && buffer[0] == ':' && buffer[n - 1] == '\n');
    assert_false(stream_ready(stream));
    stream_free(stream);
    stream_ring_free(ring);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct stream_ring *ring = NULL;
        struct stream *stream = NULL;
        char buffer[32];
        fault_arm(FAULT_ALLOC, n);
        int r = stream_ring_new(&ring);
        if (r == 0)
            r = stream_new(ring, &everything, &stream);
        if (r == 0) {
            put(ring, 1, EVENT_ALERT, "a", 1);
            ssize_t size = 1;
            while (size > 0)
                size = stream_read(stream, buffer, sizeof(buffer));
            r = (int)size;
        }
        bool hit = fault_disarm();
        uint64_t lost = ring ? stream_ring_lost(ring) : 0;
        assert_true(r == 0 || r == -ENOMEM);
        assert_true(!hit || r == -ENOMEM || lost == 1);
        stream_free(stream);
        stream_ring_free(ring);
        if (!hit)
            break;
    }
}

/* ---- The reader */

static int note(void *userdata, const struct sse_text *event)
{
    struct buf *out = userdata;
    buf_printf(out, "[%s|%s|%s]", event->id, event->kind, event->data);
    return strcmp(event->data, "stop") == 0 ? 5 : 0;
}

static void test_reader(void **state)
{
    static const struct {
        const char *text, *events;
        int result;
    } cases[] = {
        {"data: a\n\n", "[|message|a]", 0},
        {"\xef\xbb\xbf"
         "data: a\n\n",
            "[|message|a]", 0},
        {"id: 7\nevent: x\ndata: a\ndata: b\n\n", "[7|x|a\nb]", 0},
        {"data:a\r\n\r\ndata:b\r\rdata:c\n\n", "[|message|a][|message|b][|message|c]", 0},
        {": comment\n\n:\n\ndata\n\n", "[|message|]", 0},
        {"data:  two\n\n", "[|message| two]", 0},
        {"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "[1|message|a][1|message|b][|message|c]",
            0},
        {"retry: 5\nother: 6\n\nevent: x\n\ndata: a\n\n", "[|message|a]", 0},
        {"data: a", "", 0},
        {"data: a\n", "", 0},
        {"data: stop\n\ndata: b\n\n", "[|message|stop]", 5},
        {"id: 12345678901234567890123456789012345678901234567890123456789012345\ndata: a\n\n",
            "[|message|a]", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (size_t piece = 1; piece < 40; piece += 13) {
            struct sse_reader reader = {0};
            struct buf out CLEANUP(buf_done) = {0};
            size_t size = strlen(cases[i].text);
            int r = 0;
            buf_reserve(&out, 1);
            for (size_t at = 0; r == 0 && at < size; at += piece)
                r = sse_reader_feed(&reader, cases[i].text + at, MIN(piece, size - at), note, &out);
            assert_int_equal(r, cases[i].result);
            assert_string_equal(out.size > 0 ? out.data : "", cases[i].events);
            sse_reader_done(&reader);
        }
    }
}

static void test_reader_cap(void **state)
{
    struct sse_reader reader = {0};
    struct buf out CLEANUP(buf_done) = {0};
    static char line[65536];
    int r = 0;
    (void)state;
    memset(line, 'a', sizeof(line));
    for (int i = 0; r == 0 && i < 100; i++)
        r = sse_reader_feed(&reader, line, sizeof(line), note, &out);
    assert_int_equal(r, -E2BIG);
    sse_reader_done(&reader);
    memcpy(line, "data:", 5);
    line[sizeof(line) - 1] = '\n';
    for (int i = r = 0; r == 0 && i < 100; i++)
        r = sse_reader_feed(&reader, line, sizeof(line), note, &out);
    assert_int_equal(r, -E2BIG);
    sse_reader_done(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_pieces),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_reader),
        cmocka_unit_test(test_reader_cap),
    };
    return cmocka_run_group_tests_name("net/stream", tests, NULL, NULL);
}
