/* SPDX-License-Identifier: Apache-2.0 */
/* Predictor: ac_predictor as a Python type, its own or a manager's. */
#include "core.h"

typedef struct {
    PyObject_HEAD struct ac_predictor *handle; /* NULL where a manager owns it */
    PyObject *owner;                           /* Manager or NULL */
} PredictorObject;

static struct ac_predictor *predictor_handle(PyObject *object)
{
    PredictorObject *self = (PredictorObject *)object;
    if (self->owner) {
        struct ac_manager *manager = manager_handle(self->owner);
        return manager ? ac_manager_predictor(manager) : NULL;
    }
    if (!self->handle)
        PyErr_SetString(PyExc_RuntimeError, "the predictor's __init__ was not called");
    return self->handle;
}

static int predictor_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"owner", NULL};
    PredictorObject *self = (PredictorObject *)object;
    struct ac_predictor *handle;
    PyObject *owner = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", keywords, &owner))
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
    int r = ac_predictor_new(&handle);
    if (r < 0) {
        raise_error(r, NULL, "the predictor cannot be made");
        return -1;
    }
    ac_predictor_free(self->handle);
    self->handle = handle;
    return 0;
}

static int predictor_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((PredictorObject *)object)->owner);
    return 0;
}

static int predictor_clear(PyObject *object)
{
    Py_CLEAR(((PredictorObject *)object)->owner);
    return 0;
}

static void predictor_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    predictor_clear(object);
    ac_predictor_free(((PredictorObject *)object)->handle);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *predictor_predict(PyObject *object, PyObject *value)
{
    struct ac_agent_config config;
    struct ac_prediction prediction;
    struct ac_error error = AC_ERROR_INIT;
    PyObject *keep;
    if (config_from_python(value, &config, &keep) < 0)
        return NULL;
    struct ac_predictor *handle = predictor_handle(object);
    int r = handle ? ac_agent_config_validate(&config, &error) : -1;
    if (handle && r == 0)
        r = ac_predictor_predict(handle, &config, &prediction);
    Py_DECREF(keep);
    if (!handle || r < 0)
        return raise_error(
            r, &error, "predict_resource_requirements: the configuration is refused");
    return Py_BuildValue("{s:d,s:d,s:d,s:d,s:s,s:K}", "cpu_percent", prediction.cpu_percent,
        "memory_mb", prediction.memory_mb, "execution_time_seconds",
        prediction.execution_time_seconds, "confidence", prediction.confidence, "basis",
        ac_prediction_basis_name(prediction.basis), "runs", (unsigned long long)prediction.runs);
}

/* (config, cpu_peak_percent, memory_peak_mb, execution_time_seconds), NaN = unknown */
static PyObject *predictor_record(PyObject *object, PyObject *args)
{
    struct ac_agent_config config;
    struct ac_run_usage run;
    struct ac_error error = AC_ERROR_INIT;
    PyObject *value, *keep;
    if (!PyArg_ParseTuple(args, "Oddd", &value, &run.cpu_peak_percent, &run.memory_peak_mb,
            &run.execution_time_seconds) ||
        config_from_python(value, &config, &keep) < 0)
        return NULL;
    struct ac_predictor *handle = predictor_handle(object);
    int r = handle ? ac_agent_config_validate(&config, &error) : -1;
    if (handle && r == 0)
        r = ac_predictor_record(handle, &config, &run);
    Py_DECREF(keep);
    if (!handle || r < 0)
        return raise_error(r, &error, "record_usage: values are finite and not below 0");
    Py_RETURN_NONE;
}

static PyMethodDef predictor_methods[] = {
    {"_predict", predictor_predict, METH_O, NULL},
    {"_record", predictor_record, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot predictor_slots[] = {
    {Py_tp_init, predictor_init},
    {Py_tp_dealloc, predictor_dealloc},
    {Py_tp_traverse, predictor_traverse},
    {Py_tp_clear, predictor_clear},
    {Py_tp_methods, predictor_methods},
    {0, NULL},
};

static PyType_Spec predictor_spec = {
    .name = "agentcore._core.Predictor",
    .basicsize = sizeof(PredictorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = predictor_slots,
};

int predictor_type_init(PyObject *module)
{
    if (!core.predictor_type)
        core.predictor_type = PyType_FromSpec(&predictor_spec);
    return core.predictor_type ? PyModule_AddObjectRef(module, "Predictor", core.predictor_type)
                               : -1;
}
