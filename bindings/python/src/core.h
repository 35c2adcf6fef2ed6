/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentcore._core: the public C API as Python types, in the limited API of CPython 3.11.
 *
 * Locks: no lock of the library is ever held while Python runs in this extension, so a thread that
 * holds the GIL may wait for the library, and a thread of the library may wait for the GIL inside
 * a handler. What can take long (sampling, stopping, history) releases the GIL all the same.
 *
 * Lifetime: a thread of the library knows a Python object by a number only (see objects.c), so a
 * late call finds nothing instead of freed memory, and Python's collector sees every reference.
 */
#ifndef AC_PYTHON_CORE_H
#define AC_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <agentcore.h>
#include <stdatomic.h>
#include <structmember.h>

/* What the Python side hands over at import, and the types made here. Under the GIL. */
struct core_state {
    PyObject *usage_base;  /* _core.UsageBase */
    PyObject *usage_meta;  /* _core.UsageMeta */
    PyObject *usage;       /* ResourceUsage */
    PyObject *alert;       /* ResourceAlert, called with the fields in order */
    PyObject *when;        /* nanoseconds -> datetime */
    PyObject *nanoseconds; /* datetime -> nanoseconds */
    PyObject *done;        /* number of transitions -> an int that can be awaited */
    PyObject *done_zero;   /* done(0) */
    PyObject *resources[AC_RESOURCE_COUNT];
    PyObject *severities[AC_SEVERITY_COUNT];
    PyObject *manager_type;
    PyObject *monitor_type;
    PyObject *scaler_type;
    PyObject *predictor_type;
};
extern struct core_state core;

/* Rises in every forked child: handles made before belong to threads and locks that are gone. */
extern unsigned fork_epoch;

/* ---- objects.c */

/* Set at exit: calls from the library's threads are dropped from then on. */
extern atomic_bool core_finalizing;

/* What stops an object's threads at exit; called without the GIL. */
typedef void (*object_stop_fn)(PyObject *self);

/* A number for @self, borrowed until object_forget. 0 and an exception without memory. */
uint64_t object_register(PyObject *self, object_stop_fn stop);
void object_forget(uint64_t id);

/* The object, borrowed; NULL where it is gone. */
PyObject *object_find(uint64_t id);

/* Stops everything that still runs. Releases the GIL meanwhile. */
void objects_stop_all(void);

/* Brackets a call from the library: takes the GIL and finds the object, a new reference. NULL
 * where it is gone or the interpreter ends; then there is nothing to leave. */
struct callback {
    PyGILState_STATE gil;
    PyObject *self;
    PyObject *error[3];
};
PyObject *callback_enter(uint64_t id, struct callback *ret_callback);
void callback_leave(struct callback *callback);

/* Runs @release(@handle) without the GIL; inside a callback on a thread of its own, because a
 * handler must not free what calls it. */
void release_handle(void (*release)(void *), void *handle);

/* Replaces a reference, stealing @value. */
static inline void take_ref(PyObject **slot, PyObject *value)
{
    PyObject *old = *slot;
    *slot = value;
    Py_XDECREF(old);
}

/* ---- convert.c */

/* Sets the exception for a negative errno and returns NULL. @error may be NULL; @what names the
 * call where @error says nothing. */
PyObject *raise_error(int r, const struct ac_error *error, const char *what);

/* @error's memory for a call: an empty message. */
#define AC_ERROR_INIT                                                                              \
    {                                                                                              \
        .code = 0                                                                                  \
    }

/* A str in UTF-8, borrowed from it. NULL with an exception, also for a null character inside. */
const char *utf8_of(PyObject *value);

PyObject *number_or_none(double value);
PyObject *text_or_none(const char *text);
PyObject *alert_to_python(const struct ac_alert *alert);
PyObject *alerts_to_python(struct ac_alert *alerts, int64_t n);
PyObject *usages_to_python(struct ac_usage *usages, int64_t n);
PyObject *usage_to_dict(const struct ac_usage *usage);
PyObject *limits_to_dict(const struct ac_limits *limits);

/* Read attributes of a ResourceLimits (None: the defaults). 0, or -1 with an exception. */
int limits_from_python(PyObject *value, struct ac_limits *ret_limits);

/* Reads an AgentConfig, or anything with its attributes. The strings are borrowed from @value and
 * from *@ret_keep, which the caller releases. 0, or -1 with an exception. */
int config_from_python(PyObject *value, struct ac_agent_config *ret_config, PyObject **ret_keep);

/* A word ("cpu", ResourceType.CPU) into its number. 0, or -1 with a ValueError. */
int resource_from_python(PyObject *value, enum ac_resource *ret_resource);
int severity_from_python(PyObject *value, enum ac_severity *ret_severity);
int philosophy_from_python(PyObject *value, enum ac_philosophy *ret_philosophy);

/* None: -1 (all). Otherwise as severity_from_python. */
int severity_filter(PyObject *value, int *ret_severity);

/* Steals @value; 0, or -1 with an exception (also where @value is NULL). The key is made once, in
 * @slot. dict_put does that for a name that is written down at the call. */
int dict_put_at(PyObject *dict, PyObject **slot, const char *name, PyObject *value);
#define dict_put(dict, name, value)                                                                \
    ({                                                                                             \
        static PyObject *slot_;                                                                    \
        dict_put_at(dict, &slot_, name, value);                                                    \
    })

/* The arguments of a call without var-args: positional ones, then keywords by @names, into
 * @ret_values (borrowed, NULL = not given). 0, or -1 with a TypeError. */
int take_arguments(const char *function, const char *const *names, Py_ssize_t n_names,
    Py_ssize_t n_required, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
    PyObject **ret_values);

/* ---- usage.c */

typedef struct {
    PyObject_HEAD struct ac_usage usage;
    uint32_t none;       /* fields that read None where they are unknown; others read 0 */
    PyObject *timestamp; /* what was given or made; NULL = made when asked for */
} UsageObject;

int usage_types_init(PyObject *module);

/* Makes ResourceUsage(...) call the extension directly. */
int usage_install(PyObject *cls);
PyObject *usage_to_python(const struct ac_usage *usage);

/* The usage inside @value, borrowed; NULL with a TypeError for anything else. */
const struct ac_usage *usage_of(PyObject *value);

/* ---- monitor.c, manager.c, scaler.c, predictor.c */

typedef struct {
    PyObject_HEAD struct ac_manager *handle;
    struct ac_manager_options options;
    unsigned epoch;
    uint64_t id;
    uint64_t listener; /* the Monitor object that hears its alerts, 0 = none */
} ManagerObject;

int manager_type_init(PyObject *module);
int monitor_type_init(PyObject *module);
int scaler_type_init(PyObject *module);
int predictor_type_init(PyObject *module);

/* After a manager was remade: its Monitor object, by number, hears the new one. */
int monitor_listen_again(uint64_t id);

/* The handle, remade in a forked child. NULL with an exception. */
struct ac_manager *manager_handle(PyObject *self);
struct ac_monitor *monitor_handle(PyObject *self);

/* ---- history.c: methods of a Monitor */

PyObject *monitor_history_range(PyObject *self, PyObject *args);
PyObject *monitor_history_top(PyObject *self, PyObject *args);
PyObject *monitor_history_quantile(PyObject *self, PyObject *args);
PyObject *monitor_history_usage(PyObject *self, PyObject *args);

#endif
