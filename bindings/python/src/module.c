/* SPDX-License-Identifier: Apache-2.0 */
/* The module: types, what Python hands over at import, exit, fork, refusal of subinterpreters. */
#include "core.h"

#include <pthread.h>

struct core_state core;
unsigned fork_epoch;

PyMODINIT_FUNC PyInit__core(void);

static void forked(void)
{
    fork_epoch++;
}

/* ---- Functions */

static int members_take(PyObject *sequence, PyObject **members, Py_ssize_t n)
{
    if (PySequence_Size(sequence) != n) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "_configure: an enum has another number of members");
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *member = PySequence_GetItem(sequence, i);
        if (!member)
            return -1;
        take_ref(&members[i], member);
    }
    return 0;
}

static PyObject *module_configure(PyObject *module, PyObject *args)
{
    PyObject *usage, *alert, *resources, *severities, *when, *nanoseconds, *done;
    (void)module;
    if (!PyArg_ParseTuple(
            args, "OOOOOOO", &usage, &alert, &resources, &severities, &when, &nanoseconds, &done) ||
        members_take(resources, core.resources, AC_RESOURCE_COUNT) < 0 ||
        members_take(severities, core.severities, AC_SEVERITY_COUNT) < 0 ||
        usage_install(usage) < 0)
        return NULL;
    PyObject *zero = PyObject_CallFunction(done, "i", 0);
    if (!zero)
        return NULL;
    take_ref(&core.done_zero, zero);
    Py_INCREF(alert);
    take_ref(&core.alert, alert);
    Py_INCREF(when);
    take_ref(&core.when, when);
    Py_INCREF(nanoseconds);
    take_ref(&core.nanoseconds, nanoseconds);
    Py_INCREF(done);
    take_ref(&core.done, done);
    Py_RETURN_NONE;
}

static PyObject *module_check_limits(PyObject *module, PyObject *value)
{
    struct ac_limits limits;
    (void)module;
    if (limits_from_python(value, &limits) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *module_check_usage(PyObject *module, PyObject *value)
{
    struct ac_error error = AC_ERROR_INIT;
    const struct ac_usage *usage = usage_of(value);
    (void)module;
    if (!usage)
        return NULL;
    int r = ac_usage_validate(usage, &error);
    if (r < 0)
        return raise_error(r, &error, "usage");
    Py_RETURN_NONE;
}

/* Called by atexit: after it no thread of the library calls Python. */
static PyObject *module_shutdown(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    atomic_store(&core_finalizing, true);
    objects_stop_all();
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"_configure", module_configure, METH_VARARGS, NULL},
    {"_check_limits", module_check_limits, METH_O, NULL},
    {"_check_usage", module_check_usage, METH_O, NULL},
    {"_shutdown", module_shutdown, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- Import */

static int refuse_subinterpreter(void)
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0)
        return 0;
    PyErr_SetString(PyExc_ImportError,
        "agentcore works in the main interpreter only: its threads call handlers there; import "
        "it in the main interpreter, or use processes instead of subinterpreters");
    return -1;
}

static int register_atexit(PyObject *module)
{
    static bool registered;
    if (registered)
        return 0;
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *shutdown = PyObject_GetAttrString(module, "_shutdown");
    PyObject *result =
        atexit && shutdown ? PyObject_CallMethod(atexit, "register", "O", shutdown) : NULL;
    registered = result != NULL;
    Py_XDECREF(result);
    Py_XDECREF(shutdown);
    Py_XDECREF(atexit);
    return registered ? 0 : -1;
}

static int module_exec(PyObject *module)
{
    static bool watches_forks;
    if (refuse_subinterpreter() < 0)
        return -1;
    if (!watches_forks && pthread_atfork(NULL, NULL, forked) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    watches_forks = true;
    if (usage_types_init(module) < 0 || manager_type_init(module) < 0 ||
        monitor_type_init(module) < 0 || scaler_type_init(module) < 0 ||
        predictor_type_init(module) < 0)
        return -1;
    if (PyModule_AddStringConstant(module, "__version__", ac_version()) < 0)
        return -1;
    return register_atexit(module);
}

/* From 3.12 on the interpreter refuses by itself, and says less, unless a module declares that it
 * works in subinterpreters with a GIL of their own; module_exec then refuses. Older ones do not
 * know the slot. Neither name is in the limited API of 3.11. */
#define SLOT_MULTIPLE_INTERPRETERS    3
#define PER_INTERPRETER_GIL_SUPPORTED ((void *)2)

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}, {0, NULL}};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "agentcore._core",
    .m_doc = "The C library of AgentCore; use the package agentcore.",
    .m_methods = module_methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    if (Py_Version >= 0x030C0000)
        module_slots[1] =
            (PyModuleDef_Slot){SLOT_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL_SUPPORTED};
    return PyModuleDef_Init(&module_def);
}
