/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes: from a request to an answer, without any transport. One table (route_table) says for
 * each method and path who may call it, what it takes and what it answers; dispatching, the Allow
 * header of 405 and /openapi.json are made from it.
 */
#ifndef AC_NET_ROUTE_H
#define AC_NET_ROUTE_H

#include "net/api.h"
#include "net/json_write.h"
#include "net/server.h"

/* Who asks. */
struct net_peer {
    bool authenticated; /* false: TCP without the token; only open routes */
    bool privileged;    /* root, the daemon's user, the group, or the token */
    uint32_t uid;       /* of a local peer; UINT32_MAX = came over TCP */
    int32_t pid;        /* of a local peer; 0 = in a pid namespace that we do not see, or TCP */
};

/* A request as the transport read it. Texts are borrowed for the call. */
struct net_request {
    const char *method;
    const char *target; /* raw: "/v1/agents/a?x=y", percent-encoded */
    const char *content_type;
    const char *accept;
    const char *last_event_id;
    bool takes_query; /* the caller runs .query of the reply; else the dispatcher does */
    const char *body;
    size_t body_size;
    struct net_peer peer;
    struct moment now;
};

/* Which events a stream gets. */
struct stream_filter {
    uint32_t kinds;                     /* bits by enum event_kind */
    char agent_id[AC_AGENT_ID_MAX + 1]; /* "" = any */
    bool everything;                    /* privileged; else own agents and the machine */
    uint32_t uid;
};

struct net_query;

/* The answer. The caller inits with reply_init and frees with reply_done. */
struct net_reply {
    unsigned status;
    struct buf body;
    const char *content_type; /* static; NULL = no body */
    char allow[64];           /* of 405; "" = none */
    bool stream;              /* then .filter and .resume count, and there is no body */
    struct stream_filter filter;
    bool has_resume;
    uint64_t resume;         /* after this event */
    struct net_query *query; /* not NULL: running it (net/query.h) gives the answer */
};

void reply_init(struct net_reply *reply);
void reply_done(struct net_reply *reply);

enum route_access {
    ACCESS_OPEN,       /* anybody, even without a token */
    ACCESS_LOCAL,      /* any local user, or the token; handlers look at ownership */
    ACCESS_PRIVILEGED, /* root, the daemon's user, the group, the token */
};

struct net_call;

/* Fills the reply. Returns 0, or -errno (-ENOMEM, ...) for an answer of 503 or 500. */
typedef int (*route_handler)(struct net_call *call);

struct route_answer {
    unsigned status;
    const struct schema *schema; /* NULL = no JSON body */
    const char *help;
};

struct route {
    const char *method;
    const char *pattern; /* "/v1/agents/{id}/usage" */
    route_handler handler;
    enum route_access access;
    const struct schema *body; /* NULL = takes none */
    const struct schema *query;
    struct route_answer answers[3];
    const char *name; /* operationId */
    const char *summary;
};

extern const struct route route_table[];
extern const size_t route_count;

#define ROUTE_PARAMS_MAX 1
#define ROUTE_PARAM_SIZE 256
#define QUERY_PARAMS_MAX 16

/* One call in progress: what a handler sees. */
struct net_call {
    struct net_context *context;
    const struct net_request *request;
    struct net_reply *reply;
    const struct route *route;
    struct json_writer out;       /* into the reply's body */
    char param[ROUTE_PARAM_SIZE]; /* what stands for {id} or {philosophy}, decoded */
    union {
        struct agent_body agent;
        struct stop_body stop;
        struct usage_body usage;
        struct allocation_body allocation;
        struct pool_body pool;
    } body;
    union {
        struct span_query history;
        struct stats_query stats;
        struct agents_query agents;
        struct alerts_query alerts;
        struct prediction_query prediction;
        struct events_query events;
        struct discovery_query discovery;
    } query;
};

/* Answers any request; what goes wrong becomes a problem in the reply. With an empty body the
 * reply could not be built for lack of memory (status 503). */
void net_dispatch(
    struct net_context *context, const struct net_request *request, struct net_reply *reply);

/* Makes the reply a problem; @field NULL = none. Returns 0, so that handlers can
 * `return call_problem(...)`. */
int call_problem(struct net_call *call, unsigned status, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same from a failed function of the lower layers. */
int call_error(struct net_call *call, int code, const struct ac_error *error);

/* The same without a call, for refusals before routing. */
void reply_problem(struct net_reply *reply, unsigned status, const char *field, const char *detail);

/* 400 for -EINVAL, and so on. */
unsigned status_of_error(int code);

/* "Not Found". */
const char *status_title(unsigned status);

/* The agent that {id} names, if this peer may see it; else NULL with the problem in the reply. */
const struct agent *call_agent(struct net_call *call);
bool call_owns(const struct net_call *call, const struct agent *agent);

/* Who owns what this peer makes. */
uint32_t call_uid(const struct net_call *call);

/* Whose history this peer may see: see store/history.h. */
int64_t call_whose(const struct net_call *call);

/* Whether an agent is of a philosophy (NULL = any) and has all of the labels. */
bool call_fits(
    const struct agent_spec *spec, const unsigned *philosophy, const struct query_values *labels);

/* Whether one of these labels (see agent_labels_next) fits @wanted: "key=value", or "key" for any
 * value. */
bool labels_have(const char *labels, size_t size, const char *wanted);

/* Whether @id is a legal agent id; else the reply is a problem about @field. */
bool call_agent_id(struct net_call *call, const char *id, const char *field);

/* Tells the daemon of a change; an error becomes the reply. Returns whether all is well. */
bool call_changed(struct net_call *call);

/* Daemon statistics, zeros and "unknown" without the hook. */
void context_daemon_stats(const struct net_context *context, struct net_daemon_stats *ret_stats);

/* ---- Handlers, by file */

int route_system(struct net_call *call);
int route_health(struct net_call *call);
int route_ready(struct net_call *call);
int route_metrics(struct net_call *call);
int route_openapi(struct net_call *call);
int route_events(struct net_call *call);

int route_agents_list(struct net_call *call);
int route_agent_put(struct net_call *call);
int route_agent_get(struct net_call *call);
int route_agent_delete(struct net_call *call);
int route_agent_stop(struct net_call *call);
int route_usage_put(struct net_call *call);
int route_usage_get(struct net_call *call);

int route_discovery(struct net_call *call);

int route_system_history(struct net_call *call);
int route_agent_history(struct net_call *call);

int route_history_range(struct net_call *call);
int route_history_top(struct net_call *call);
int route_history_quantile(struct net_call *call);
int route_history_verify(struct net_call *call);
int route_usage_totals(struct net_call *call);

int route_allocation_post(struct net_call *call);
int route_allocations_list(struct net_call *call);
int route_allocation_get(struct net_call *call);
int route_allocation_delete(struct net_call *call);

int route_alerts_list(struct net_call *call);
int route_alert_acknowledge(struct net_call *call);

int route_pools_list(struct net_call *call);
int route_pool_get(struct net_call *call);
int route_pool_put(struct net_call *call);
int route_prediction_get(struct net_call *call);

#endif
