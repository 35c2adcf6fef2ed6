/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests without transport. The input is the first byte's choice of who asks, then
 * "METHOD TARGET\n" and the body. Whatever comes: the answer has a known status, JSON answers are
 * JSON, errors are problems that name their status, and a refused request changes nothing.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/route.h"

#define WALL 1700000000000000000ll

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_context context = {.proc_fd = -1};
static unsigned changes;

static int on_changed(void *userdata, struct ac_error *error)
{
    struct event event;
    (void)userdata;
    (void)error;
    changes++;
    while (core_next_event(context.core, &event))
        ;
    return 0;
}

/* A machine, and agents of two users. Made anew for each input: inputs do not depend on others. */
static void start_core(void)
{
    struct core_options options;
    struct sample sample = {.when = {.mono = {NS_PER_SEC}, .wall_ns = WALL},
        .machine = {.known = MACHINE_KNOWN_MEMORY,
            .capacity_cores = 4,
            .capacity_memory_bytes = 1ull << 33,
            .memory_used_bytes = 1ull << 30}};
    struct ac_usage usage = {.cpu_percent = 99, .known = AC_KNOWN_CPU_PERCENT};
    core_options_init(&options);
    options.max_agents = 8;
    if (core_new(&options, &context.core) < 0 || core_tick(context.core, &sample) < 0)
        abort();
    for (unsigned i = 0; i < 2; i++) {
        struct agent_spec spec = {.owner_uid = i * 1000};
        snprintf(spec.id, sizeof(spec.id), "a%u", i);
        if (core_agent_add(context.core, &spec, sample.when, NULL, NULL) < 0 ||
            core_report(context.core, spec.id, &usage, sample.when, false, NULL) < 0)
            abort();
    }
    context.hooks.changed = on_changed;
    on_changed(NULL, NULL);
    changes = 0;
}

static void check_reply(const struct net_reply *reply)
{
    bool json = reply->body.size > 0 && strstr(reply->content_type, "json");
    json_t *answer =
        json ? json_loadb(reply->body.data, reply->body.size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    assert(!json || answer);
    assert(strcmp(status_title(reply->status), "Error") != 0 && reply->status != 500);
    if (strcmp(reply->content_type, "application/problem+json") == 0) {
        assert(reply->status >= 400);
        assert(json_integer_value(json_object_get(answer, "status")) == reply->status);
        assert(json_is_string(json_object_get(answer, "detail")));
    }
    assert(reply->status != 400 || changes == 0);
    assert(reply->status != 401 || changes == 0);
    assert(reply->status != 403 || changes == 0);
    json_decref(answer);
}

static void ask(uint8_t who, char *method, char *target, const char *body, size_t size)
{
    struct net_reply reply;
    struct net_request request = {.method = method,
        .target = target,
        .body = body,
        .body_size = size,
        .content_type = "application/json",
        .last_event_id = who & 4 ? body : NULL,
        .peer = {.authenticated = (who & 3) != 3,
            .privileged = (who & 3) == 0,
            .uid = (who & 3) == 3 ? UINT32_MAX : (who & 3) * 1000u},
        .now = {.mono = {2 * NS_PER_SEC}, .wall_ns = WALL + (int64_t)NS_PER_SEC}};
    reply_init(&reply);
    net_dispatch(&context, &request, &reply);
    check_reply(&reply);
    reply_done(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 65536)
        return 0;
    char *text = mem_alloc(size);
    if (!text)
        abort();
    memcpy(text, data + 1, size - 1); /* and a NUL behind it */
    char *end = memchr(text, '\n', size - 1);
    char *space = end ? memchr(text, ' ', (size_t)(end - text)) : NULL;
    if (space) {
        *space = *end = 0;
        start_core();
        ask(data[0], text, space + 1, end + 1, size - 1 - (size_t)(end + 1 - text));
        core_free(context.core);
    }
    mem_free(text);
    return 0;
}
