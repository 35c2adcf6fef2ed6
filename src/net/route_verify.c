/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/history/verify. */
#include "net/stats.h"

#include <errno.h>

#include "base/mem.h"

#define MESSAGES_MAX 1000

struct verify_query {
    struct net_query query;
    uint64_t messages;
};

static void write_message(void *userdata, const char *text)
{
    struct verify_query *verify = userdata;
    struct json_writer *w = &verify->query.out;
    if (verify->messages++ >= MESSAGES_MAX)
        return;
    json_object_begin(w);
    json_field_text(w, "text", text);
    json_object_end(w);
}

static int run_verify(struct net_query *query)
{
    struct verify_query *verify = (struct verify_query *)query;
    struct json_writer *w = &query->out;
    struct ac_error error = {0};
    json_object_begin(w);
    json_key(w, "messages");
    json_array_begin(w);
    int64_t findings = history_verify(query->history, write_message, verify, &error);
    if (findings < 0)
        return query_error(query, (int)findings, &error);
    json_array_end(w);
    json_field_int(w, "findings", findings);
    json_object_end(w);
    return 0;
}

int route_history_verify(struct net_call *call)
{
    if (!stats_stored(call))
        return 0;
    struct verify_query *verify = mem_alloc(sizeof(*verify));
    if (!verify)
        return -ENOMEM;
    verify->query = (struct net_query){.run = run_verify, .alone = true};
    return query_plan(call, &verify->query);
}
