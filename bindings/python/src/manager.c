/* SPDX-License-Identifier: Apache-2.0 */
/* Manager: ac_manager as a Python type. */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define FAST (METH_FASTCALL | METH_KEYWORDS)

/* What was decided about scaling survives into a forked child: only the GIL guards it. */
static void scaler_carry_over(struct ac_manager *from, struct ac_manager *to)
{
    struct ac_scaler *old = ac_manager_scaler(from), *new = ac_manager_scaler(to);
    for (int i = 0; old && new &&i < AC_PHILOSOPHY_COUNT; i++) {
        enum ac_philosophy philosophy = (enum ac_philosophy)i;
        (void)ac_scaler_set_state(new, philosophy, ac_scaler_current(old, philosophy),
            ac_scaler_last_action_ns(old, philosophy));
    }
}

struct ac_manager *manager_handle(PyObject *object)
{
    ManagerObject *self = (ManagerObject *)object;
    struct ac_error error = AC_ERROR_INIT;
    struct ac_manager *handle;
    if (!self->handle) {
        PyErr_SetString(PyExc_RuntimeError, "ResourceManager.__init__ was not called");
        return NULL;
    }
    if (self->epoch == fork_epoch)
        return self->handle;
    int r = ac_manager_new(&self->options, &handle, &error);
    if (r < 0)
        return raise_error(r, &error, "the manager cannot be remade in a forked process"), NULL;
    scaler_carry_over(self->handle, handle);
    self->handle = handle; /* the old one belongs to threads that are gone: left behind */
    self->epoch = fork_epoch;
    if (monitor_listen_again(self->listener) < 0)
        return NULL;
    return handle;
}

static void manager_stop_handle(PyObject *object)
{
    ManagerObject *self = (ManagerObject *)object;
    if (self->handle && self->epoch == fork_epoch)
        ac_manager_stop(self->handle);
}

static int seconds_to_ms(const char *name, double seconds, uint32_t *ret_ms)
{
    if (!(seconds >= 0.01 && seconds <= 86400)) {
        PyObject *value = PyFloat_FromDouble(seconds);
        PyErr_Format(PyExc_ValueError, "%s: %R is outside 0.01 to 86400", name, value);
        Py_XDECREF(value);
        return -1;
    }
    *ret_ms = (uint32_t)llround(seconds * 1e3);
    return 0;
}

static int manager_options(PyObject *args, PyObject *kwargs, struct ac_manager_options *options)
{
    static char *keywords[] = {"limits", "enable_monitoring", "enable_dynamic_scaling",
        "check_interval_seconds", "history_minutes", "history_budget_mb", "max_agents",
        "report_timeout_seconds", NULL};
    PyObject *limits = Py_None;
    int monitoring = 1, scaling = 1;
    double interval = 5;
    unsigned minutes = options->history_minutes, budget = options->history_budget_mb,
             agents = options->max_agents, silence = options->report_timeout_seconds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OppdIIII", keywords, &limits, &monitoring,
            &scaling, &interval, &minutes, &budget, &agents, &silence) ||
        seconds_to_ms("check_interval_seconds", interval, &options->check_interval_ms) < 0 ||
        limits_from_python(limits, &options->limits) < 0)
        return -1;
    options->enable_monitoring = monitoring;
    options->enable_dynamic_scaling = scaling;
    options->history_minutes = minutes;
    options->history_budget_mb = budget;
    options->max_agents = agents;
    options->report_timeout_seconds = silence;
    return 0;
}

static int manager_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    ManagerObject *self = (ManagerObject *)object;
    struct ac_manager_options options;
    struct ac_manager *handle;
    struct ac_error error = AC_ERROR_INIT;
    int r;
    ac_manager_options_init(&options);
    if (self->handle) {
        PyErr_SetString(PyExc_RuntimeError, "ResourceManager.__init__ was called already");
        return -1;
    }
    if (manager_options(args, kwargs, &options) < 0)
        return -1;
    Py_BEGIN_ALLOW_THREADS r = ac_manager_new(&options, &handle, &error);
    Py_END_ALLOW_THREADS if (r < 0)
    {
        raise_error(r, &error, "ResourceManager");
        return -1;
    }
    self->id = object_register(object, manager_stop_handle);
    if (self->id == 0) {
        ac_manager_free(handle);
        return -1;
    }
    self->handle = handle;
    self->options = options;
    self->epoch = fork_epoch;
    return 0;
}

static void manager_release(void *handle)
{
    ac_manager_free(handle);
}

static int manager_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void manager_dealloc(PyObject *object)
{
    ManagerObject *self = (ManagerObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    object_forget(self->id);
    if (self->handle && self->epoch == fork_epoch)
        release_handle(manager_release, self->handle);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- Life */

static PyObject *manager_start(PyObject *object, PyObject *ignored)
{
    struct ac_error error = AC_ERROR_INIT;
    (void)ignored;
    if (atomic_load(&core_finalizing)) {
        PyErr_SetString(PyExc_RuntimeError, "start: the interpreter is shutting down");
        return NULL;
    }
    struct ac_manager *handle = manager_handle(object);
    if (!handle)
        return NULL;
    int r = ac_manager_start(handle, &error);
    if (r < 0)
        return raise_error(r, &error, "start");
    Py_RETURN_NONE;
}

static PyObject *manager_stop(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct ac_manager *handle = manager_handle(object);
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS ac_manager_stop(handle);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *manager_set_limits(PyObject *object, PyObject *value)
{
    struct ac_error error = AC_ERROR_INIT;
    struct ac_limits limits;
    struct ac_manager *handle = manager_handle(object);
    if (!handle || limits_from_python(value, &limits) < 0)
        return NULL;
    struct ac_monitor *monitor = ac_manager_monitor(handle);
    int r = monitor ? ac_monitor_set_limits(monitor, &limits, &error) : 0;
    if (r < 0)
        return raise_error(r, &error, "limits");
    ((ManagerObject *)object)->options.limits = limits;
    Py_RETURN_NONE;
}

/* ---- Agents */

static const char *agent_id_of(PyObject *value)
{
    if (PyUnicode_Check(value))
        return utf8_of(value);
    PyErr_Format(PyExc_TypeError, "agent_id: a str is needed, not %R", value);
    return NULL;
}

static PyObject *track_failed(int r, PyObject *id, const struct ac_usage *usage)
{
    struct ac_error error = AC_ERROR_INIT;
    const char *text = utf8_of(id);
    if (r == -ENOSPC)
        return raise_error(r, NULL, "track_agent_usage: max_agents is reached");
    if (r == -EINVAL && text && !ac_agent_id_valid(text))
        return PyErr_Format(
            PyExc_ValueError, "agent_id: %R is not 1 to 128 of A-Z a-z 0-9 _ -", id);
    if (r == -EINVAL)
        (void)ac_usage_validate(usage, &error);
    return raise_error(r, &error, "track_agent_usage: the usage is refused");
}

static PyObject *manager_track(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"agent_id", "usage"};
    PyObject *values[2];
    if (nargs == 2 && !kwnames)
        memcpy(values, args, sizeof(values));
    else if (take_arguments("track_agent_usage", names, 2, 2, args, nargs, kwnames, values) < 0)
        return NULL;
    const char *id = agent_id_of(values[0]);
    const struct ac_usage *usage = id ? usage_of(values[1]) : NULL;
    struct ac_manager *handle = usage ? manager_handle(object) : NULL;
    if (!handle)
        return NULL;
    int r = ac_manager_track(handle, id, usage);
    if (r < 0)
        return track_failed(r, values[0], usage);
    if (PyErr_Occurred()) /* a handler was interrupted */
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *manager_usage(PyObject *object, PyObject *value)
{
    struct ac_usage usage;
    int r;
    const char *id = agent_id_of(value);
    struct ac_manager *handle = id ? manager_handle(object) : NULL;
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = ac_manager_usage(handle, id, &usage);
    Py_END_ALLOW_THREADS if (r == -ENOENT) Py_RETURN_NONE;
    return r < 0 ? raise_error(r, NULL, "get_agent_usage") : usage_to_python(&usage);
}

static PyObject *manager_cleanup(PyObject *object, PyObject *value)
{
    const char *id = agent_id_of(value);
    struct ac_manager *handle = id ? manager_handle(object) : NULL;
    if (!handle)
        return NULL;
    int r = ac_manager_cleanup(handle, id);
    if (r < 0 && r != -ENOENT)
        return raise_error(r, NULL, "cleanup_agent_resources");
    return PyBool_FromLong(r == 0);
}

static PyObject *manager_attach(PyObject *object, PyObject *args)
{
    struct ac_agent_config config;
    struct ac_error error = AC_ERROR_INIT;
    PyObject *value, *keep;
    int pid, r;
    struct ac_manager *handle = manager_handle(object);
    if (!handle || !PyArg_ParseTuple(args, "Oi", &value, &pid) ||
        config_from_python(value, &config, &keep) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = ac_manager_attach(handle, &config, pid, &error);
    Py_END_ALLOW_THREADS Py_DECREF(keep);
    if (r < 0)
        return raise_error(r, &error, "attach");
    Py_RETURN_NONE;
}

static PyObject *manager_agents(PyObject *object, PyObject *ignored)
{
    char(*ids)[AC_AGENT_ID_MAX + 1];
    (void)ignored;
    struct ac_manager *handle = manager_handle(object);
    int64_t n = handle ? ac_manager_agents(handle, &ids) : -1;
    if (n < 0)
        return handle ? raise_error((int)n, NULL, "get_agents") : NULL;
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        PyObject *id = PyUnicode_FromString(ids[i]);
        if (id)
            PyList_SetItem(list, i, id);
        else
            Py_CLEAR(list);
    }
    ac_free(ids);
    return list;
}

/* ---- Allocation and figures */

static PyObject *allocation_to_python(const struct ac_allocation *allocation)
{
    PyObject *dict = PyDict_New();
    int r = 0;
    if (!dict)
        return NULL;
    r |= dict_put(dict, "cpu_percent", number_or_none(allocation->cpu_percent));
    r |= dict_put(dict, "memory_mb", number_or_none(allocation->memory_mb));
    r |= dict_put(
        dict, "execution_time_seconds", number_or_none(allocation->execution_time_seconds));
    r |= dict_put(dict, "available_cpu_percent", number_or_none(allocation->available_cpu_percent));
    r |= dict_put(
        dict, "available_memory_percent", number_or_none(allocation->available_memory_percent));
    r |= dict_put(dict, "available_memory_mb", number_or_none(allocation->available_memory_mb));
    r |= dict_put(dict, "id", text_or_none(allocation->allocation_id));
    r |= dict_put(
        dict, "policy", PyUnicode_FromString(ac_allocation_policy_name(allocation->policy)));
    r |= dict_put(
        dict, "status", PyUnicode_FromString(ac_allocation_status_name(allocation->status)));
    r |= dict_put(dict, "confidence", number_or_none(allocation->confidence));
    r |= dict_put(dict, "queue_position",
        allocation->queue_position ? PyLong_FromUnsignedLong(allocation->queue_position)
                                   : text_or_none(""));
    r |= dict_put(dict, "explanation", text_or_none(allocation->explanation));
    if (r != 0)
        Py_CLEAR(dict);
    return dict;
}

static int policy_from_python(PyObject *value, enum ac_allocation_policy *ret_policy)
{
    const char *text = value && PyUnicode_Check(value) ? utf8_of(value) : NULL;
    *ret_policy = AC_POLICY_RECOMMEND;
    if (!value || (text && ac_allocation_policy_from_name(text, ret_policy) == 0))
        return 0;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "policy: %R is none of recommend, strict, queue", value);
    return -1;
}

static PyObject *manager_allocate(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"config", "policy"};
    struct ac_agent_config config;
    struct ac_allocation allocation;
    struct ac_error error = AC_ERROR_INIT;
    enum ac_allocation_policy policy;
    PyObject *values[2], *keep;
    int r;
    if (take_arguments("allocate_resources", names, 2, 1, args, nargs, kwnames, values) < 0 ||
        policy_from_python(values[1], &policy) < 0)
        return NULL;
    struct ac_manager *handle = manager_handle(object);
    if (!handle || config_from_python(values[0], &config, &keep) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = ac_manager_allocate(handle, &config, policy, &allocation, &error);
    Py_END_ALLOW_THREADS Py_DECREF(keep);
    return r < 0 ? raise_error(r, &error, "allocate_resources") : allocation_to_python(&allocation);
}

static PyObject *manager_metrics(PyObject *object, PyObject *ignored)
{
    struct ac_system_metrics metrics;
    int r;
    (void)ignored;
    struct ac_manager *handle = manager_handle(object);
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = ac_manager_system_metrics(handle, &metrics);
    Py_END_ALLOW_THREADS if (r < 0) return raise_error(r, NULL, "get_system_metrics");
    metrics.limits = ((ManagerObject *)object)->options.limits;
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    r |= dict_put(dict, "current_usage", usage_to_dict(&metrics.current_usage));
    r |= dict_put(dict, "limits", limits_to_dict(&metrics.limits));
    r |= dict_put(dict, "active_agents", PyLong_FromUnsignedLongLong(metrics.active_agents));
    r |= dict_put(dict, "active_alerts", PyLong_FromUnsignedLongLong(metrics.active_alerts));
    r |= dict_put(dict, "capacity_cores", number_or_none(metrics.capacity_cores));
    r |= dict_put(dict, "capacity_memory_mb", number_or_none(metrics.capacity_memory_mb));
    if (r != 0)
        Py_CLEAR(dict);
    return dict;
}

static PyMethodDef manager_methods[] = {
    {"track_agent_usage", (PyCFunction)(void (*)(void))manager_track, FAST,
        "track_agent_usage(agent_id, usage)\n\n"
        "Takes a usage that an agent reports: into its history, against its limits. An unknown\n"
        "agent is added. Handlers of alerts that it moves have run when this returns.\n"
        "ValueError: a bad id, or a field out of range. Does not block."},
    {"get_agent_usage", manager_usage, METH_O,
        "get_agent_usage(agent_id) -> ResourceUsage | None\n\n"
        "The last usage, measured where measured, else reported. Unknown fields are None."},
    {"cleanup_agent_resources", manager_cleanup, METH_O,
        "cleanup_agent_resources(agent_id) -> bool\n\n"
        "Forgets an agent: usage, history, reservation; its alerts resolve, and what its run\n"
        "used teaches the predictor. False where there is no such agent."},
    {"_attach", manager_attach, METH_VARARGS, NULL},
    {"get_agents", manager_agents, METH_NOARGS, "get_agents() -> list[str]\n\nIds, sorted."},
    {"allocate_resources", (PyCFunction)(void (*)(void))manager_allocate, FAST,
        "allocate_resources(config, policy='recommend') -> dict\n\n"
        "Predicts what an agent needs and reserves min(predicted, 0.8 x available) for it: CPU\n"
        "in percent of the machine's capacity, memory in MiB, time in seconds. policy is\n"
        "'recommend' (always answers), 'strict' (status 'refused' where the prediction does not\n"
        "fit) or 'queue'. Answers from the last sample."},
    {"get_system_metrics", manager_metrics, METH_NOARGS,
        "get_system_metrics() -> dict\n\n"
        "current_usage, limits, active_agents, active_alerts, capacity_cores,\n"
        "capacity_memory_mb; from the last sample. Disk and network are MiB/s. Unknown values\n"
        "are None."},
    {"_start", manager_start, METH_NOARGS, NULL},
    {"_stop", manager_stop, METH_NOARGS, NULL},
    {"_set_limits", manager_set_limits, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot manager_slots[] = {
    {Py_tp_init, manager_init},
    {Py_tp_dealloc, manager_dealloc},
    {Py_tp_traverse, manager_traverse},
    {Py_tp_methods, manager_methods},
    {0, NULL},
};

static PyType_Spec manager_spec = {
    .name = "agentcore._core.Manager",
    .basicsize = sizeof(ManagerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = manager_slots,
};

int manager_type_init(PyObject *module)
{
    if (!core.manager_type)
        core.manager_type = PyType_FromSpec(&manager_spec);
    return core.manager_type ? PyModule_AddObjectRef(module, "Manager", core.manager_type) : -1;
}
