/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded queue of events: a ring that doubles up to CORE_EVENTS_MAX, then drops the oldest. */
#include "engine/core_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool events_grow(struct core *core)
{
    size_t capacity = core->events_capacity ? core->events_capacity * 2 : 16;
    if (capacity > CORE_EVENTS_MAX)
        return false;
    struct event *events = mem_alloc_array(capacity, sizeof(*events));
    if (!events)
        return false;
    for (size_t i = 0; i < core->events_count; i++)
        events[i] = core->events[(core->events_first + i) % core->events_capacity];
    mem_free(core->events);
    core->events = events;
    core->events_capacity = capacity;
    core->events_first = 0;
    return true;
}

struct event *core_event_new(struct core *core, enum event_kind kind, const char *agent_id)
{
    if (core->events_count == core->events_capacity && !events_grow(core)) {
        core->events_lost++;
        if (core->events_capacity == 0)
            return NULL;
        core->events_first = (core->events_first + 1) % core->events_capacity;
        core->events_count--;
    }
    size_t at = (core->events_first + core->events_count++) % core->events_capacity;
    struct event *event = &core->events[at];
    *event = (struct event){
        .sequence = ++core->events_sequence, .time_ns = core->now.wall_ns, .kind = kind};
    snprintf(event->agent_id, sizeof(event->agent_id), "%s", agent_id);
    const struct agent *agent = *agent_id ? registry_get(core->registry, agent_id) : NULL;
    event->owner_uid = agent ? agent->spec.owner_uid : UINT32_MAX;
    return event;
}

/* In the place of those that are missing. */
static void lost_event(struct core *core, struct event *ret_event)
{
    uint64_t lost = core->events_lost - core->events_lost_told;
    const struct event *next = core->events_count > 0 ? &core->events[core->events_first] : NULL;
    *ret_event = (struct event){
        .sequence = next ? next->sequence - 1 : core->events_sequence,
        .time_ns = next ? next->time_ns : core->now.wall_ns,
        .kind = EVENT_LOST,
        .owner_uid = UINT32_MAX,
        .of.lost = lost,
    };
    snprintf(ret_event->text, sizeof(ret_event->text),
        "%llu event%s lost: more at once than are kept; look at agents and alerts anew",
        (unsigned long long)lost, lost == 1 ? " is" : "s are");
    core->events_lost_told = core->events_lost;
}

bool core_next_event(struct core *core, struct event *ret_event)
{
    if (core->events_lost > core->events_lost_told) {
        lost_event(core, ret_event);
        return true;
    }
    if (core->events_count == 0)
        return false;
    *ret_event = core->events[core->events_first];
    core->events_first = (core->events_first + 1) % core->events_capacity;
    core->events_count--;
    return true;
}

uint64_t core_events_lost(const struct core *core)
{
    return core->events_lost;
}

void core_alert_transition(void *userdata, const struct ac_alert *alert, uint32_t owner_uid)
{
    struct event *event = core_event_new(userdata, EVENT_ALERT, alert->agent_id);
    if (!event)
        return;
    event->of.alert = *alert;
    event->owner_uid = owner_uid; /* another's may have the name by now */
    snprintf(event->text, sizeof(event->text), "%s", alert->message);
}

void core_config_event(struct core *core, const char *refused, struct moment now)
{
    core->now = now;
    struct event *event = core_event_new(core, EVENT_CONFIG, "");
    if (!event)
        return;
    if (refused)
        snprintf(event->text, sizeof(event->text), "configuration refused: %.200s", refused);
    else
        snprintf(event->text, sizeof(event->text), "configuration read again");
}
