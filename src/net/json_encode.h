/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of docs/http-api.md as JSON text: one function per object, used by the routes and
 * by the event stream. What could not be measured is null. Borrow everything.
 */
#ifndef AC_NET_JSON_ENCODE_H
#define AC_NET_JSON_ENCODE_H

#include "engine/core.h"
#include "model/event.h"
#include "net/json_write.h"

/* Each writes one value (an object); combine with json_key for a field. */
void encode_usage(struct json_writer *w, const struct ac_usage *usage);
void encode_limits(struct json_writer *w, const struct ac_limits *limits);
void encode_alert(struct json_writer *w, const struct ac_alert *alert);
void encode_allocation(struct json_writer *w, const struct ac_allocation *allocation);
void encode_prediction(struct json_writer *w, enum ac_philosophy philosophy,
    const char *agent_template, const struct ac_prediction *prediction);
void encode_pool(struct json_writer *w, const struct core_pool *pool);
void encode_event(struct json_writer *w, const struct event *event);

/* @active_alerts: firing, unacknowledged alerts of this agent. @members: the agent's processes,
 * or NULL to leave the field out. */
struct encode_members {
    const struct proc_record *procs;
    size_t count;
};
void encode_agent(struct json_writer *w, const struct agent *agent, uint64_t active_alerts,
    const struct encode_members *members);

/* "hold", "up", "down". */
const char *scale_direction_name(enum scale_direction direction);

/* "measured", "reported", "both", "none". */
const char *agent_source_name(const struct agent *agent);

#endif
