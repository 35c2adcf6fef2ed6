/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Something that happened: immutable, numbered, handed out as copies to handlers, the HTTP
 * stream, the log and the store.
 */
#ifndef AC_MODEL_EVENT_H
#define AC_MODEL_EVENT_H

#include <agentcore.h>

enum event_kind {
    EVENT_ALERT, /* .alert: a transition */
    EVENT_AGENT_ADDED,
    EVENT_AGENT_EXITED,  /* its last process is gone, or it stopped reporting */
    EVENT_AGENT_ORPHANS, /* its root exited and left processes behind */
    EVENT_AGENT_REMOVED,
    EVENT_ALLOCATION, /* .allocation: granted, refused, queued, released or expired */
    EVENT_SCALE,      /* a pool's scale changed; .text is the reason */
    EVENT_CONFIG,     /* configuration reloaded, or refused */
    EVENT_LOST,       /* .lost: so many events are missing here */
    EVENT_KIND_COUNT
};

/* "alert", "agent_added", "agent_exited", "agent_orphans", "agent_removed", "allocation",
 * "scale", "config", "lost". */
const char *event_kind_name(enum event_kind kind);

struct event {
    uint64_t sequence; /* 1, 2, ... since start; of EVENT_LOST that of the last one missing */
    int64_t time_ns;   /* wall */
    enum event_kind kind;
    char agent_id[AC_AGENT_ID_MAX + 1]; /* "" where it concerns no agent */
    uint32_t agent_slot; /* of an agent that was added or removed; 0 = not such an event */
    uint32_t owner_uid;  /* who started that agent; UINT32_MAX = no agent, or not a known one */
    char text[256];      /* for people */
    union {
        struct ac_alert alert;
        struct ac_allocation allocation;
        struct {
            enum ac_philosophy philosophy;
            uint32_t from;
            uint32_t to;
        } scale;
        uint64_t lost;
    } of;
};

#endif
