/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the public vocabulary, one table each. */
#include <agentcore.h>

#include <errno.h>
#include <string.h>

#include "base/export.h"
#include "base/mem.h"
#include "model/agent.h"
#include "model/event.h"

static const char *const resource_names[AC_RESOURCE_COUNT] = {
    "cpu", "memory", "disk_io", "network_io", "file_descriptors"};
static const char *const severity_names[AC_SEVERITY_COUNT] = {
    "info", "warning", "critical", "emergency"};
static const char *const philosophy_names[AC_PHILOSOPHY_COUNT] = {
    "react", "cot", "multi_agent", "autonomous"};
static const char *const alert_state_names[] = {"pending", "firing", "resolved"};
static const char *const basis_names[] = {"default", "all", "philosophy", "template"};
static const char *const policy_names[] = {"recommend", "strict", "queue"};
static const char *const status_names[] = {"granted", "refused", "queued"};
static const char *const agent_state_names[AGENT_STATE_COUNT] = {"running", "exited", "orphans"};
static const char *const event_kind_names[EVENT_KIND_COUNT] = {"alert", "agent_added",
    "agent_exited", "agent_orphans", "agent_removed", "allocation", "scale", "config", "lost"};

static const char *name_of(const char *const *names, size_t count, unsigned value)
{
    return value < count ? names[value] : "unknown";
}

static int value_of(const char *const *names, size_t count, const char *name, unsigned *ret_value)
{
    for (unsigned i = 0; name && i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret_value = i;
            return 0;
        }
    }
    return -EINVAL;
}

EXPORT const char *ac_version(void)
{
    return AC_VERSION;
}

#define NAME_FUNCTION(visibility, function, type, names)                                           \
    visibility const char *function(type value)                                                    \
    {                                                                                              \
        return name_of(names, ARRAY_SIZE(names), (unsigned)value);                                 \
    }

#define VALUE_FUNCTION(function, type, names)                                                      \
    EXPORT int function(const char *name, type *ret_value)                                         \
    {                                                                                              \
        unsigned value;                                                                            \
        int r = value_of(names, ARRAY_SIZE(names), name, &value);                                  \
        if (r == 0)                                                                                \
            *ret_value = (type)value;                                                              \
        return r;                                                                                  \
    }

NAME_FUNCTION(EXPORT, ac_resource_name, enum ac_resource, resource_names)
NAME_FUNCTION(EXPORT, ac_severity_name, enum ac_severity, severity_names)
NAME_FUNCTION(EXPORT, ac_philosophy_name, enum ac_philosophy, philosophy_names)
NAME_FUNCTION(EXPORT, ac_alert_state_name, enum ac_alert_state, alert_state_names)
NAME_FUNCTION(EXPORT, ac_prediction_basis_name, enum ac_prediction_basis, basis_names)
NAME_FUNCTION(EXPORT, ac_allocation_policy_name, enum ac_allocation_policy, policy_names)
NAME_FUNCTION(EXPORT, ac_allocation_status_name, enum ac_allocation_status, status_names)
NAME_FUNCTION(, agent_state_name, enum agent_state, agent_state_names)
NAME_FUNCTION(, event_kind_name, enum event_kind, event_kind_names)

VALUE_FUNCTION(ac_resource_from_name, enum ac_resource, resource_names)
VALUE_FUNCTION(ac_severity_from_name, enum ac_severity, severity_names)
VALUE_FUNCTION(ac_philosophy_from_name, enum ac_philosophy, philosophy_names)
VALUE_FUNCTION(ac_allocation_policy_from_name, enum ac_allocation_policy, policy_names)
