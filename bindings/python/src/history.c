/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a monitor's history, as tuples; agentcore/_history.py makes values of them. */
#include "core.h"

#include <math.h>

/* "ids, philosophy, from_ns, to_ns" of every question. */
struct question {
    struct ac_history_query query;
    const char **names; /* borrowed texts in an array of ours */
};

static void question_done(struct question *question)
{
    PyMem_Free((void *)question->names);
}

/* @ids: a tuple of str; an empty one means all agents. 0, or -1 with an exception. */
static int question_init(struct question *question, PyObject *ids, PyObject *philosophy,
    long long from_ns, long long to_ns)
{
    enum ac_philosophy number;
    Py_ssize_t n = PyTuple_Size(ids);
    *question = (struct question){0};
    ac_history_query_init(&question->query);
    question->query.from_ns = from_ns;
    question->query.to_ns = to_ns;
    if (n < 0 || (philosophy != Py_None && philosophy_from_python(philosophy, &number) < 0))
        return -1;
    if (philosophy != Py_None)
        question->query.philosophy = (int)number;
    question->names = PyMem_Malloc(((size_t)n + 1) * sizeof(*question->names));
    if (!question->names) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        question->names[i] = utf8_of(PyTuple_GetItem(ids, i));
        if (!question->names[i]) {
            question_done(question);
            return -1;
        }
    }
    question->query.subjects = question->names;
    question->query.n_subjects = (size_t)n;
    return 0;
}

/* (subjects, samples, gaps, gap seconds) */
static PyObject *info_to_python(const struct ac_history_info *info)
{
    return Py_BuildValue("(KKKd)", (unsigned long long)info->subjects,
        (unsigned long long)info->samples, (unsigned long long)info->gaps,
        (double)info->gap_ns / 1e9);
}

/* (@value, info); steals @value. NULL with an exception, also where @value is NULL. */
static PyObject *with_info(PyObject *value, const struct ac_history_info *info)
{
    PyObject *about = value ? info_to_python(info) : NULL;
    PyObject *pair = about ? PyTuple_Pack(2, value, about) : NULL;
    Py_XDECREF(value);
    Py_XDECREF(about);
    return pair;
}

/* Puts @value (stolen) in its place; false with an exception where it is NULL. */
static bool list_put(PyObject *list, Py_ssize_t i, PyObject *value)
{
    return value && PyList_SetItem(list, i, value) == 0;
}

static PyObject *point_to_python(const struct ac_history_point *point)
{
    PyObject *mean = usage_to_python(&point->mean),
             *min = mean ? usage_to_python(&point->min) : NULL;
    PyObject *max = min ? usage_to_python(&point->max) : NULL;
    PyObject *value = NULL;
    if (max)
        value = Py_BuildValue("(LKKOOO)", (long long)point->from_ns,
            (unsigned long long)point->step_ns, (unsigned long long)point->samples, mean, min, max);
    Py_XDECREF(mean);
    Py_XDECREF(min);
    Py_XDECREF(max);
    return value;
}

PyObject *monitor_history_range(PyObject *object, PyObject *args)
{
    struct ac_history_point *points = NULL;
    struct ac_history_info info = {0};
    const char *subject;
    long long from_ns, to_ns;
    unsigned long long step_ns;
    int64_t n;
    if (!PyArg_ParseTuple(args, "sLLK", &subject, &from_ns, &to_ns, &step_ns))
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle)
        return NULL;
    Py_BEGIN_ALLOW_THREADS n =
        ac_monitor_history_range(handle, subject, from_ns, to_ns, step_ns, &points, &info);
    Py_END_ALLOW_THREADS if (n < 0) return raise_error(
        (int)n, NULL, "history_range: a span or step that is none");
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        if (!list_put(list, i, point_to_python(&points[i])))
            Py_CLEAR(list);
    }
    ac_free(points);
    return with_info(list, &info);
}

PyObject *monitor_history_top(PyObject *object, PyObject *args)
{
    struct question question;
    struct ac_history_top *rows = NULL;
    struct ac_history_info info = {0};
    enum ac_resource resource;
    PyObject *ids, *philosophy, *metric;
    long long from_ns, to_ns;
    int aggregate;
    unsigned count;
    int64_t n;
    if (!PyArg_ParseTuple(args, "O!OLLOiI", &PyTuple_Type, &ids, &philosophy, &from_ns, &to_ns,
            &metric, &aggregate, &count) ||
        resource_from_python(metric, &resource) < 0 ||
        question_init(&question, ids, philosophy, from_ns, to_ns) < 0)
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle) {
        question_done(&question);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS n = ac_monitor_history_top(handle, &question.query, resource,
        (enum ac_history_aggregate)aggregate, count, &rows, &info);
    Py_END_ALLOW_THREADS question_done(&question);
    if (n < 0)
        return raise_error((int)n, NULL, "history_top: a span or number that is none");
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        if (!list_put(list, i, Py_BuildValue("(sd)", rows[i].agent_id, rows[i].value)))
            Py_CLEAR(list);
    }
    ac_free(rows);
    return with_info(list, &info);
}

PyObject *monitor_history_quantile(PyObject *object, PyObject *args)
{
    struct question question;
    struct ac_history_info info = {0};
    enum ac_resource resource;
    PyObject *ids, *philosophy, *metric;
    long long from_ns, to_ns;
    double q, value = NAN;
    int r;
    if (!PyArg_ParseTuple(
            args, "O!OLLOd", &PyTuple_Type, &ids, &philosophy, &from_ns, &to_ns, &metric, &q) ||
        resource_from_python(metric, &resource) < 0 ||
        question_init(&question, ids, philosophy, from_ns, to_ns) < 0)
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle) {
        question_done(&question);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS r =
        ac_monitor_history_quantile(handle, &question.query, resource, q, &value, &info);
    Py_END_ALLOW_THREADS question_done(&question);
    if (r < 0)
        return raise_error(r, NULL, "history_quantile: a span or quantile that is none");
    return with_info(number_or_none(value), &info);
}

static PyObject *row_to_python(const struct ac_history_usage *row)
{
    const char *philosophy =
        row->agent_id[0] ? ac_philosophy_name(row->philosophy) : NULL; /* None: the machine */
    return Py_BuildValue("(szKNNNN)", row->agent_id, philosophy, (unsigned long long)row->samples,
        number_or_none(row->cpu_seconds), number_or_none(row->memory_gib_hours),
        number_or_none(row->disk_bytes), number_or_none(row->network_bytes));
}

PyObject *monitor_history_usage(PyObject *object, PyObject *args)
{
    struct question question;
    struct ac_history_usage *rows = NULL;
    struct ac_history_info info = {0};
    PyObject *ids, *philosophy;
    long long from_ns, to_ns;
    int64_t n;
    if (!PyArg_ParseTuple(args, "O!OLL", &PyTuple_Type, &ids, &philosophy, &from_ns, &to_ns) ||
        question_init(&question, ids, philosophy, from_ns, to_ns) < 0)
        return NULL;
    struct ac_monitor *handle = monitor_handle(object);
    if (!handle) {
        question_done(&question);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS n = ac_monitor_history_usage(handle, &question.query, &rows, &info);
    Py_END_ALLOW_THREADS question_done(&question);
    if (n < 0)
        return raise_error((int)n, NULL, "history_usage: a span that is none");
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        if (!list_put(list, i, row_to_python(&rows[i])))
            Py_CLEAR(list);
    }
    ac_free(rows);
    return with_info(list, &info);
}
