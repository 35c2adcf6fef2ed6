/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Monitor: ac_monitor as a Python type, its own or a manager's. The clockwork around it (who calls
 * the provider, and when) is asyncio's and lives in Python; see agentcore/_monitor.py.
 */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define FAST (METH_FASTCALL | METH_KEYWORDS)

typedef struct {
    PyObject_HEAD struct ac_monitor *handle; /* NULL where a manager owns it */
    PyObject *owner;                         /* Manager or NULL */
    struct ac_monitor_options options;
    unsigned epoch;
    uint64_t id;
    PyObject *on_alert;       /* callable(ResourceAlert) or NULL */
    struct ac_monitor *hears; /* the handle that calls it */
    uint64_t handler;         /* its number there */
} MonitorObject;

static void monitor_alert(void *userdata, const struct ac_alert *alert)
{
    struct callback callback;
    PyObject *self = callback_enter((uint64_t)(uintptr_t)userdata, &callback);
    if (!self)
        return;
    PyObject *handler = ((MonitorObject *)self)->on_alert;
    if (handler) {
        Py_INCREF(handler);
        PyObject *value = alert_to_python(alert);
        PyObject *result = value ? PyObject_CallFunctionObjArgs(handler, value, NULL) : NULL;
        if (!result)
            PyErr_WriteUnraisable(handler);
        Py_XDECREF(result);
        Py_XDECREF(value);
        Py_DECREF(handler);
    }
    callback_leave(&callback);
}

static int monitor_listen(MonitorObject *self, struct ac_monitor *handle)
{
    _Static_assert(sizeof(uintptr_t) >= sizeof(uint64_t), "a number fits a pointer");
    int r = ac_monitor_on_alert(
        handle, monitor_alert, (void *)(uintptr_t)self->id, NULL, &self->handler);
    if (r < 0) {
        raise_error(r, NULL, "the monitor has too many handlers");
        return -1;
    }
    self->hears = handle;
    return 0;
}

static struct ac_monitor *monitor_of_owner(MonitorObject *self)
{
    struct ac_manager *manager = manager_handle(self->owner);
    struct ac_monitor *handle = manager ? ac_manager_monitor(manager) : NULL;
    if (manager && !handle)
        PyErr_SetString(PyExc_RuntimeError, "the manager's monitoring is off");
    return handle;
}

struct ac_monitor *monitor_handle(PyObject *object)
{
    MonitorObject *self = (MonitorObject *)object;
    struct ac_error error = AC_ERROR_INIT;
    struct ac_monitor *handle = self->handle;
    if (self->owner) {
        handle = monitor_of_owner(self);
    } else if (!handle) {
        PyErr_SetString(PyExc_RuntimeError, "ResourceMonitor.__init__ was not called");
    } else if (self->epoch != fork_epoch) {
        int r = ac_monitor_new(&self->options, &handle, &error);
        if (r < 0)
            return raise_error(r, &error, "the monitor cannot be remade in a forked process"), NULL;
        self->handle = handle; /* the old one may be locked for ever: left behind */
        self->epoch = fork_epoch;
    }
    if (handle && self->on_alert && self->hears != handle && monitor_listen(self, handle) < 0)
        return NULL;
    return handle;
}

int monitor_listen_again(uint64_t id)
{
    PyObject *self = object_find(id);
    return !self || monitor_handle(self) ? 0 : -1;
}

static int monitor_options(
    PyObject *args, PyObject *kwargs, struct ac_monitor_options *options, PyObject **ret_owner)
{
    static char *keywords[] = {
        "limits", "history_minutes", "history_budget_mb", "max_agents", "owner", NULL};
    PyObject *limits = Py_None, *owner = Py_None;
    unsigned minutes = options->history_minutes, budget = options->history_budget_mb,
             subjects = options->max_subjects;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|OIIIO", keywords, &limits, &minutes, &budget, &subjects, &owner) ||
        limits_from_python(limits, &options->limits) < 0)
        return -1;
    if (owner != Py_None && !PyObject_TypeCheck(owner, (PyTypeObject *)core.manager_type)) {
        PyErr_SetString(PyExc_TypeError, "owner: a Manager is needed");
        return -1;
    }
    options->history_minutes = minutes;
    options->history_budget_mb = budget;
    options->max_subjects = subjects;
    *ret_owner = owner == Py_None ? NULL : owner;
    return 0;
}

static int monitor_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    MonitorObject *self = (MonitorObject *)object;
    struct ac_error error = AC_ERROR_INIT;
    PyObject *owner;
    if (self->id != 0) {
        PyErr_SetString(PyExc_RuntimeError, "ResourceMonitor.__init__ was called already");
        return -1;
    }
    ac_monitor_options_init(&self->options);
    if (monitor_options(args, kwargs, &self->options, &owner) < 0)
        return -1;
    self->id = object_register(object, NULL);
    if (self->id == 0)
        return -1;
    self->epoch = fork_epoch;
    if (owner) {
        Py_INCREF(owner);
        self->owner = owner;
        return monitor_of_owner(self) ? 0 : -1;
    }
    int r = ac_monitor_new(&self->options, &self->handle, &error);
    if (r < 0) {
        raise_error(r, &error, "ResourceMonitor");
        return -1;
    }
    return 0;
}

static int monitor_traverse(PyObject *object, visitproc visit, void *arg)
{
    MonitorObject *self = (MonitorObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->on_alert);
    return 0;
}

/* Leaves the manager's list of handlers before the manager may go. */
static void monitor_deafen(MonitorObject *self)
{
    struct ac_monitor *handle = self->hears;
    self->hears = NULL;
    if (handle && self->epoch == fork_epoch && self->owner)
        (void)ac_monitor_remove_handler(handle, self->handler);
}

static int monitor_clear(PyObject *object)
{
    MonitorObject *self = (MonitorObject *)object;
    monitor_deafen(self);
    Py_CLEAR(self->on_alert);
    Py_CLEAR(self->owner);
    return 0;
}

static void monitor_release(void *handle)
{
    ac_monitor_free(handle);
}

static void monitor_dealloc(PyObject *object)
{
    MonitorObject *self = (MonitorObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    object_forget(self->id);
    monitor_clear(object);
    if (self->handle && self->epoch == fork_epoch)
        release_handle(monitor_release, self->handle);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- Usage in */

/* NULL for "system", which is the machine. */
static int subject_of(PyObject *value, const char **ret_subject)
{
    *ret_subject = NULL;
    if (!value || value == Py_None)
        return 0;
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "an agent id or 'system' is needed, not %R", value);
        return -1;
    }
    *ret_subject = utf8_of(value);
    return *ret_subject ? 0 : -1;
}

static PyObject *usage_refused(int r, const struct ac_usage *usage, const char *what)
{
    struct ac_error error = AC_ERROR_INIT;
    if (r == -EINVAL)
        (void)ac_usage_validate(usage, &error);
    return raise_error(r, &error, what);
}

static PyObject *monitor_record(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"key", "usage"};
    PyObject *values[2];
    const char *subject;
    if (take_arguments("_record_usage", names, 2, 2, args, nargs, kwnames, values) < 0 ||
        subject_of(values[0], &subject) < 0)
        return NULL;
    const struct ac_usage *usage = usage_of(values[1]);
    struct ac_monitor *handle = usage ? monitor_handle(object) : NULL;
    if (!handle)
        return NULL;
    int r = ac_monitor_record(handle, subject, usage);
    if (r < 0)
        return usage_refused(
            r, usage, "_record_usage: the key is no agent id, or there is no room");
    Py_RETURN_NONE;
}

static PyObject *transitions(int n)
{
    if (n > 0)
        return PyObject_CallFunction(core.done, "i", n);
    Py_INCREF(core.done_zero);
    return core.done_zero;
}

static PyObject *monitor_check(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"usage", "agent_id"};
    PyObject *values[2] = {NULL, NULL};
    const char *subject;
    if (nargs == 1 && !kwnames)
        values[0] = args[0];
    else if (take_arguments("_check_thresholds", names, 2, 1, args, nargs, kwnames, values) < 0)
        return NULL;
    if (subject_of(values[1], &subject) < 0)
        return NULL;
    const struct ac_usage *usage = usage_of(values[0]);
    struct ac_monitor *handle = usage ? monitor_handle(object) : NULL;
    if (!handle)
        return NULL;
    int r = ac_monitor_check(handle, subject, usage);
    if (r < 0)
        return usage_refused(r, usage, "_check_thresholds: no such agent");
    return transitions(r);
}

/* ---- Alerts */

static int number_of(PyObject *value, double *ret_number)
{
    *ret_number = !value || value == Py_None ? NAN : PyFloat_AsDouble(value);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *monitor_trigger(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {
        "resource_type", "severity", "message", "agent_id", "threshold", "current_value"};
    PyObject *values[6];
    enum ac_resource resource;
    enum ac_severity severity;
    const char *subject, *message;
    double threshold, current;
    if (take_arguments("_trigger_alert", names, 6, 3, args, nargs, kwnames, values) < 0 ||
        resource_from_python(values[0], &resource) < 0 ||
        severity_from_python(values[1], &severity) < 0 || subject_of(values[3], &subject) < 0 ||
        number_of(values[4], &threshold) < 0 || number_of(values[5], &current) < 0)
        return NULL;
    message = utf8_of(values[2]);
    struct ac_monitor *handle = message ? monitor_handle(object) : NULL;
    if (!handle)
        return NULL;
    int r =
        ac_monitor_trigger(handle, resource, severity, message, subject, threshold, current, NULL);
    if (r < 0)
        return raise_error(r, NULL, "_trigger_alert: a bad agent id or number, or no room");
    return transitions(1);
}

static PyObject *monitor_alerts(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"severity"};
    PyObject *values[1];
    struct ac_alert *alerts;
    int severity, n;
    if (take_arguments("get_active_alerts", names, 1, 0, args, nargs, kwnames, values) < 0 ||
        severity_filter(values[0], &severity) < 0)
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS n = ac_monitor_alerts(handle, severity, &alerts);
    Py_END_ALLOW_THREADS return n < 0 ? raise_error(n, NULL, "get_active_alerts")
                                      : alerts_to_python(alerts, n);
}

static PyObject *monitor_acknowledge(PyObject *object, PyObject *value)
{
    const char *id;
    if (subject_of(value, &id) < 0)
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    int r = id ? ac_monitor_acknowledge(handle, id) : -ENOENT;
    if (r < 0 && r != -ENOENT && r != -EALREADY)
        return raise_error(r, NULL, "acknowledge_alert");
    return PyBool_FromLong(r == 0);
}

static PyObject *monitor_set_on_alert(PyObject *object, PyObject *value)
{
    MonitorObject *self = (MonitorObject *)object;
    Py_INCREF(value);
    take_ref(&self->on_alert, value);
    if (self->owner)
        ((ManagerObject *)self->owner)->listener = self->id;
    if (!monitor_handle(object))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *monitor_provider_result(PyObject *object, PyObject *value)
{
    const char *reason = NULL;
    if (value != Py_None) {
        reason = utf8_of(value);
        if (!reason)
            return NULL;
    }
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    ac_monitor_provider_result(handle, reason);
    Py_RETURN_NONE;
}

/* ---- Looking */

static PyObject *monitor_history(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"resource_type", "duration_minutes"};
    PyObject *values[2];
    struct ac_usage *usages = NULL;
    const char *subject;
    double minutes = 60;
    int64_t n;
    if (take_arguments("get_usage_history", names, 2, 0, args, nargs, kwnames, values) < 0 ||
        subject_of(values[0], &subject) < 0 || (values[1] && number_of(values[1], &minutes) < 0))
        return NULL;
    if (!(minutes > 0) || isinf(minutes))
        return PyErr_Format(PyExc_ValueError, "duration_minutes: %R is not above 0", values[1]);
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS n = ac_monitor_history(handle, subject, minutes, &usages);
    Py_END_ALLOW_THREADS return n < 0 ? raise_error((int)n, NULL, "get_usage_history")
                                      : usages_to_python(usages, n);
}

static PyObject *monitor_stats(PyObject *object, PyObject *ignored)
{
    struct ac_monitor_stats stats;
    (void)ignored;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    ac_monitor_stats(handle, &stats);
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K}", "checks", (unsigned long long)stats.checks,
        "provider_failures", (unsigned long long)stats.provider_failures, "alerts_dropped",
        (unsigned long long)stats.alerts_dropped, "subjects", (unsigned long long)stats.subjects,
        "events_lost", (unsigned long long)stats.events_lost);
}

static PyObject *monitor_set_limits(PyObject *object, PyObject *value)
{
    struct ac_error error = AC_ERROR_INIT;
    struct ac_limits limits;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle || limits_from_python(value, &limits) < 0)
        return NULL;
    int r = ac_monitor_set_limits(handle, &limits, &error);
    if (r < 0)
        return raise_error(r, &error, "limits");
    ((MonitorObject *)object)->options.limits = limits;
    Py_RETURN_NONE;
}

static PyMethodDef monitor_methods[] = {
    {"_record_usage", (PyCFunction)(void (*)(void))monitor_record, FAST,
        "_record_usage(key, usage)\n\nPuts a usage of 'system' or an agent into the history."},
    {"_check_thresholds", (PyCFunction)(void (*)(void))monitor_check, FAST,
        "_check_thresholds(usage, agent_id=None) -> int\n\n"
        "Compares a usage with the limits; handlers have run when it returns. The number of\n"
        "transitions, which may also be awaited."},
    {"_trigger_alert", (PyCFunction)(void (*)(void))monitor_trigger, FAST,
        "_trigger_alert(resource_type, severity, message, agent_id=None, threshold=None,\n"
        "current_value=None)\n\nRaises an alert by hand; may also be awaited."},
    {"get_active_alerts", (PyCFunction)(void (*)(void))monitor_alerts, FAST,
        "get_active_alerts(severity=None) -> list[ResourceAlert]\n\n"
        "Firing alerts that nobody acknowledged, newest first."},
    {"acknowledge_alert", monitor_acknowledge, METH_O,
        "acknowledge_alert(alert_id) -> bool\n\n"
        "Takes an alert off the active list until its severity rises. False where no such alert\n"
        "lives or it was acknowledged before."},
    {"get_usage_history", (PyCFunction)(void (*)(void))monitor_history, FAST,
        "get_usage_history(resource_type='system', duration_minutes=60) -> list[ResourceUsage]\n\n"
        "Usage of the machine ('system') or of an agent (its id), oldest first; [] for an\n"
        "unknown one. Unknown fields are None."},
    {"_history_range", monitor_history_range, METH_VARARGS, NULL},
    {"_history_top", monitor_history_top, METH_VARARGS, NULL},
    {"_history_quantile", monitor_history_quantile, METH_VARARGS, NULL},
    {"_history_usage", monitor_history_usage, METH_VARARGS, NULL},
    {"_set_on_alert", monitor_set_on_alert, METH_O, NULL},
    {"_provider_result", monitor_provider_result, METH_O, NULL},
    {"_stats", monitor_stats, METH_NOARGS, NULL},
    {"_set_limits", monitor_set_limits, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot monitor_slots[] = {
    {Py_tp_init, monitor_init},
    {Py_tp_dealloc, monitor_dealloc},
    {Py_tp_traverse, monitor_traverse},
    {Py_tp_clear, monitor_clear},
    {Py_tp_methods, monitor_methods},
    {0, NULL},
};

static PyType_Spec monitor_spec = {
    .name = "agentcore._core.Monitor",
    .basicsize = sizeof(MonitorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = monitor_slots,
};

int monitor_type_init(PyObject *module)
{
    if (!core.monitor_type)
        core.monitor_type = PyType_FromSpec(&monitor_spec);
    return core.monitor_type ? PyModule_AddObjectRef(module, "Monitor", core.monitor_type) : -1;
}
