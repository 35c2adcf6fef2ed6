/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scaler: ac_scaler as a Python type. Its calls keep the GIL, which therefore guards the library's
 * lock too; a Python clock is called before the library is, never inside.
 */
#include "core.h"

#include <math.h>
#include <time.h>

typedef struct {
    PyObject_HEAD struct ac_scaler *handle; /* NULL where a manager owns it */
    PyObject *owner;                        /* Manager or NULL */
    PyObject *clock;                        /* callable -> seconds, or NULL */
    uint64_t now_ns;                        /* what the clock said */
} ScalerObject;

static uint64_t scaler_clock(void *userdata)
{
    return ((ScalerObject *)userdata)->now_ns;
}

static int scaler_read_clock(ScalerObject *self)
{
    if (!self->clock)
        return 0;
    PyObject *now = PyObject_CallNoArgs(self->clock);
    double seconds = now ? PyFloat_AsDouble(now) : -1;
    Py_XDECREF(now);
    if (PyErr_Occurred())
        return -1;
    if (!(seconds >= 0 && seconds < 1e10)) {
        PyErr_SetString(PyExc_ValueError, "clock: seconds from 0 to 1e10 are needed");
        return -1;
    }
    self->now_ns = (uint64_t)(seconds * 1e9);
    return 0;
}

/* The handle, with the clock read. NULL with an exception. */
static struct ac_scaler *scaler_handle(ScalerObject *self)
{
    if (self->owner) {
        struct ac_manager *manager = manager_handle(self->owner);
        return manager ? ac_manager_scaler(manager) : NULL;
    }
    if (!self->handle) {
        PyErr_SetString(PyExc_RuntimeError, "DynamicScaler.__init__ was not called");
        return NULL;
    }
    return scaler_read_clock(self) < 0 ? NULL : self->handle;
}

static int scaler_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {
        "scale_up_threshold", "scale_down_threshold", "cooldown_seconds", "clock", "owner", NULL};
    ScalerObject *self = (ScalerObject *)object;
    struct ac_scaler_options options;
    struct ac_scaler *handle;
    struct ac_error error = AC_ERROR_INIT;
    PyObject *clock = Py_None, *owner = Py_None;
    ac_scaler_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|dddOO", keywords, &options.scale_up_threshold,
            &options.scale_down_threshold, &options.cooldown_seconds, &clock, &owner))
        return -1;
    if (owner != Py_None) {
        if (!PyObject_TypeCheck(owner, (PyTypeObject *)core.manager_type)) {
            PyErr_SetString(PyExc_TypeError, "owner: a Manager is needed");
            return -1;
        }
        Py_INCREF(owner);
        take_ref(&self->owner, owner);
        return 0;
    }
    if (clock != Py_None) {
        options.clock = scaler_clock;
        options.clock_userdata = self;
    }
    int r = ac_scaler_new(&options, &handle, &error);
    if (r < 0) {
        raise_error(r, &error, "DynamicScaler");
        return -1;
    }
    ac_scaler_free(self->handle);
    self->handle = handle;
    Py_INCREF(clock);
    take_ref(&self->clock, clock);
    if (clock == Py_None)
        Py_CLEAR(self->clock);
    return 0;
}

static int scaler_traverse(PyObject *object, visitproc visit, void *arg)
{
    ScalerObject *self = (ScalerObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->clock);
    return 0;
}

static int scaler_clear(PyObject *object)
{
    ScalerObject *self = (ScalerObject *)object;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->clock);
    return 0;
}

static void scaler_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    scaler_clear(object);
    ac_scaler_free(((ScalerObject *)object)->handle);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- Decisions */

static int decision_arguments(const char *function, PyObject *const *args, Py_ssize_t nargs,
    PyObject *kwnames, enum ac_philosophy *ret_philosophy, double *ret_usage)
{
    static const char *const names[] = {"philosophy", "current_usage", "current_usage_percent"};
    PyObject *values[3];
    if (take_arguments(function, names, 3, 1, args, nargs, kwnames, values) < 0)
        return -1;
    if (!values[1] == !values[2]) {
        PyErr_Format(PyExc_TypeError,
            values[1] ? "%s() got both current_usage and current_usage_percent"
                      : "%s() is missing the argument 'current_usage'",
            function);
        return -1;
    }
    PyObject *usage = values[1] ? values[1] : values[2];
    if (philosophy_from_python(values[0], ret_philosophy) < 0)
        return -1;
    *ret_usage = usage == Py_None ? NAN : PyFloat_AsDouble(usage);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *scaler_should_scale_up(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    enum ac_philosophy philosophy;
    double usage;
    if (decision_arguments("should_scale_up", args, nargs, kwnames, &philosophy, &usage) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    return handle ? PyBool_FromLong(ac_scaler_should_scale_up(handle, philosophy, usage)) : NULL;
}

static PyObject *scaler_should_scale_down(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    enum ac_philosophy philosophy;
    double usage;
    if (decision_arguments("should_scale_down", args, nargs, kwnames, &philosophy, &usage) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    return handle ? PyBool_FromLong(ac_scaler_should_scale_down(handle, philosophy, usage)) : NULL;
}

/* A scale from Python. 0, or -1 with a ValueError. */
static int scale_of(PyObject *value, uint32_t *ret_scale)
{
    long long scale = PyLong_AsLongLong(value);
    if (scale == -1 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (PyErr_Occurred() || scale < 1 || scale > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "new_scale: %R is outside 1 to 4294967295", value);
        return -1;
    }
    *ret_scale = (uint32_t)scale;
    return 0;
}

static PyObject *scaler_record(
    PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"philosophy", "new_scale"};
    PyObject *values[2];
    enum ac_philosophy philosophy;
    uint32_t scale;
    if (take_arguments("record_scale_action", names, 2, 2, args, nargs, kwnames, values) < 0 ||
        philosophy_from_python(values[0], &philosophy) < 0 || scale_of(values[1], &scale) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    if (!handle)
        return NULL;
    int r = ac_scaler_record(handle, philosophy, scale);
    if (r < 0)
        return raise_error(r, NULL, "record_scale_action: the scale is refused");
    Py_RETURN_NONE;
}

static PyObject *scaler_current(PyObject *object, PyObject *value)
{
    enum ac_philosophy philosophy;
    if (philosophy_from_python(value, &philosophy) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    return handle ? PyLong_FromUnsignedLong(ac_scaler_current(handle, philosophy)) : NULL;
}

static PyObject *scaler_cooling_down(PyObject *object, PyObject *value)
{
    enum ac_philosophy philosophy;
    if (philosophy_from_python(value, &philosophy) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    return handle ? PyBool_FromLong(ac_scaler_cooling_down(handle, philosophy)) : NULL;
}

/* ---- State, for the views of the Python class */

static double scaler_now_seconds(ScalerObject *self)
{
    struct timespec now;
    if (self->clock && !self->owner)
        return (double)self->now_ns / 1e9;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* (scale, seconds since the last action or None) */
static PyObject *scaler_get_state(PyObject *object, PyObject *value)
{
    enum ac_philosophy philosophy;
    if (philosophy_from_python(value, &philosophy) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    if (!handle)
        return NULL;
    uint64_t last = ac_scaler_last_action_ns(handle, philosophy);
    double age =
        last == UINT64_MAX ? NAN : scaler_now_seconds((ScalerObject *)object) - (double)last / 1e9;
    return Py_BuildValue(
        "(kN)", (unsigned long)ac_scaler_current(handle, philosophy), number_or_none(age));
}

/* (philosophy, scale, seconds since the last action or None). An action from before the clock's
 * zero is as long ago as the clock can tell. */
static PyObject *scaler_set_state(PyObject *object, PyObject *args)
{
    PyObject *word, *new_scale, *ago;
    enum ac_philosophy philosophy;
    uint32_t scale;
    if (!PyArg_ParseTuple(args, "OOO", &word, &new_scale, &ago) ||
        philosophy_from_python(word, &philosophy) < 0 || scale_of(new_scale, &scale) < 0)
        return NULL;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    if (!handle)
        return NULL;
    uint64_t last = UINT64_MAX;
    if (ago != Py_None) {
        double at = scaler_now_seconds((ScalerObject *)object) - PyFloat_AsDouble(ago);
        struct ac_scaler_options options;
        if (PyErr_Occurred())
            return NULL;
        ac_scaler_get_options(handle, &options);
        double age = PyFloat_AsDouble(ago);
        last = at > 0 ? (uint64_t)(at * 1e9) : 0;
        if (at < 0 && age >= options.cooldown_seconds)
            last = UINT64_MAX;
    }
    int r = ac_scaler_set_state(handle, philosophy, scale, last);
    if (r < 0)
        return raise_error(r, NULL, "the scale is refused");
    Py_RETURN_NONE;
}

static PyObject *scaler_get_options(PyObject *object, PyObject *ignored)
{
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    struct ac_scaler_options options;
    (void)ignored;
    if (!handle)
        return NULL;
    ac_scaler_get_options(handle, &options);
    return Py_BuildValue("(ddd)", options.scale_up_threshold, options.scale_down_threshold,
        options.cooldown_seconds);
}

static PyObject *scaler_set_options(PyObject *object, PyObject *args)
{
    struct ac_error error = AC_ERROR_INIT;
    struct ac_scaler_options options;
    struct ac_scaler *handle = scaler_handle((ScalerObject *)object);
    if (!handle)
        return NULL;
    ac_scaler_get_options(handle, &options);
    if (!PyArg_ParseTuple(args, "ddd", &options.scale_up_threshold, &options.scale_down_threshold,
            &options.cooldown_seconds))
        return NULL;
    int r = ac_scaler_set_options(handle, &options, &error);
    if (r < 0)
        return raise_error(r, &error, "the options are refused");
    Py_RETURN_NONE;
}

#define FAST (METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef scaler_methods[] = {
    {"should_scale_up", (PyCFunction)(void (*)(void))scaler_should_scale_up, FAST,
        "should_scale_up(philosophy, current_usage) -> bool\n\n"
        "Whether to grow: usage (percent of utilisation; None = unknown, which holds) is at\n"
        "least scale_up_threshold and no cooldown runs. current_usage_percent= is accepted too."},
    {"should_scale_down", (PyCFunction)(void (*)(void))scaler_should_scale_down, FAST,
        "should_scale_down(philosophy, current_usage) -> bool\n\n"
        "Whether to shrink: usage (percent of utilisation; None = unknown, which holds) is at\n"
        "most scale_down_threshold, the scale is above 1 and no cooldown runs."},
    {"record_scale_action", (PyCFunction)(void (*)(void))scaler_record, FAST,
        "record_scale_action(philosophy, new_scale)\n\n"
        "Notes what was done and starts the cooldown. ValueError for a scale below 1."},
    {"get_current_scale", scaler_current, METH_O,
        "get_current_scale(philosophy) -> int\n\nThe scale as recorded; 1 at first."},
    {"cooling_down", scaler_cooling_down, METH_O,
        "cooling_down(philosophy) -> bool\n\nWhether a cooldown runs now."},
    {"_get_state", scaler_get_state, METH_O, NULL},
    {"_set_state", scaler_set_state, METH_VARARGS, NULL},
    {"_get_options", scaler_get_options, METH_NOARGS, NULL},
    {"_set_options", scaler_set_options, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot scaler_slots[] = {
    {Py_tp_init, scaler_init},
    {Py_tp_dealloc, scaler_dealloc},
    {Py_tp_traverse, scaler_traverse},
    {Py_tp_clear, scaler_clear},
    {Py_tp_methods, scaler_methods},
    {0, NULL},
};

static PyType_Spec scaler_spec = {
    .name = "agentcore._core.Scaler",
    .basicsize = sizeof(ScalerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = scaler_slots,
};

int scaler_type_init(PyObject *module)
{
    if (!core.scaler_type)
        core.scaler_type = PyType_FromSpec(&scaler_spec);
    return core.scaler_type ? PyModule_AddObjectRef(module, "Scaler", core.scaler_type) : -1;
}
