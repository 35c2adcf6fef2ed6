/* SPDX-License-Identifier: Apache-2.0 */
/* Values between C and Python: words, limits, alerts, configurations, arguments, errors. */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <string.h>

PyObject *raise_error(int r, const struct ac_error *error, const char *what)
{
    const char *text = error && error->message[0] ? error->message : what;
    if (PyErr_Occurred())
        return NULL;
    if (r == -ENOMEM)
        return PyErr_NoMemory();
    if (r == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, text);
        return NULL;
    }
    PyObject *arguments = Py_BuildValue("(is)", -r, text);
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

const char *utf8_of(PyObject *value)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text && strlen(text) != (size_t)size) {
        PyErr_Format(PyExc_ValueError, "%R: holds a null character", value);
        return NULL;
    }
    return text;
}

PyObject *number_or_none(double value)
{
    if (isnan(value))
        Py_RETURN_NONE;
    return PyFloat_FromDouble(value);
}

PyObject *text_or_none(const char *text)
{
    if (!*text)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

int dict_put_at(PyObject *dict, PyObject **slot, const char *name, PyObject *value)
{
    if (!*slot)
        *slot = PyUnicode_InternFromString(name);
    if (!value || !*slot) {
        Py_XDECREF(value);
        return -1;
    }
    int r = PyDict_SetItem(dict, *slot, value);
    Py_DECREF(value);
    return r;
}

/* ---- Words */

static PyObject *word_of(PyObject *const *members, unsigned n, unsigned value)
{
    PyObject *member = value < n ? members[value] : Py_None;
    Py_INCREF(member);
    return member;
}

static const char *text_of(PyObject *value, const char *what)
{
    if (PyUnicode_Check(value))
        return utf8_of(value);
    PyErr_Format(PyExc_TypeError, "%s: a str is needed, not %R", what, value);
    return NULL;
}

int resource_from_python(PyObject *value, enum ac_resource *ret_resource)
{
    const char *text = text_of(value, "resource_type");
    if (!text)
        return -1;
    if (ac_resource_from_name(text, ret_resource) == 0)
        return 0;
    PyErr_Format(PyExc_ValueError,
        "resource_type: '%s' is none of cpu, memory, disk_io, network_io, file_descriptors", text);
    return -1;
}

int severity_from_python(PyObject *value, enum ac_severity *ret_severity)
{
    const char *text = text_of(value, "severity");
    if (!text)
        return -1;
    if (ac_severity_from_name(text, ret_severity) == 0)
        return 0;
    PyErr_Format(
        PyExc_ValueError, "severity: '%s' is none of info, warning, critical, emergency", text);
    return -1;
}

int philosophy_from_python(PyObject *value, enum ac_philosophy *ret_philosophy)
{
    const char *text = text_of(value, "philosophy");
    if (!text)
        return -1;
    if (ac_philosophy_from_name(text, ret_philosophy) == 0)
        return 0;
    PyErr_Format(
        PyExc_ValueError, "philosophy: '%s' is none of react, cot, multi_agent, autonomous", text);
    return -1;
}

int severity_filter(PyObject *value, int *ret_severity)
{
    enum ac_severity severity;
    if (!value || value == Py_None) {
        *ret_severity = -1;
        return 0;
    }
    if (severity_from_python(value, &severity) < 0)
        return -1;
    *ret_severity = (int)severity;
    return 0;
}

/* ---- Alerts and usages */

static PyObject *when(int64_t ns)
{
    if (ns == 0)
        Py_RETURN_NONE;
    return PyObject_CallFunction(core.when, "L", (long long)ns);
}

PyObject *alert_to_python(const struct ac_alert *alert)
{
    PyObject *values[] = {
        text_or_none(alert->alert_id),
        word_of(core.resources, AC_RESOURCE_COUNT, alert->resource),
        word_of(core.severities, AC_SEVERITY_COUNT, alert->severity),
        text_or_none(alert->message),
        text_or_none(alert->agent_id),
        number_or_none(alert->threshold),
        number_or_none(alert->current_value),
        when(alert->started_ns),
        PyBool_FromLong(alert->acknowledged),
        text_or_none(alert->rule),
        PyUnicode_FromString(ac_alert_state_name(alert->state)),
        when(alert->updated_ns),
        when(alert->ended_ns),
    };
    const Py_ssize_t n = (Py_ssize_t)(sizeof(values) / sizeof(values[0]));
    PyObject *arguments = PyTuple_New(n), *made = NULL;
    bool complete = arguments != NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        complete = complete && values[i];
        if (arguments)
            PyTuple_SetItem(arguments, i, values[i]);
        else
            Py_XDECREF(values[i]);
    }
    if (complete)
        made = PyObject_CallObject(core.alert, arguments);
    Py_XDECREF(arguments);
    return made;
}

PyObject *alerts_to_python(struct ac_alert *alerts, int64_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        PyObject *alert = alert_to_python(&alerts[i]);
        if (alert)
            PyList_SetItem(list, i, alert);
        else
            Py_CLEAR(list);
    }
    ac_free(alerts);
    return list;
}

PyObject *usages_to_python(struct ac_usage *usages, int64_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (Py_ssize_t i = 0; list && i < (Py_ssize_t)n; i++) {
        PyObject *usage = usage_to_python(&usages[i]);
        if (usage)
            PyList_SetItem(list, i, usage);
        else
            Py_CLEAR(list);
    }
    ac_free(usages);
    return list;
}

static PyObject *known(const struct ac_usage *usage, uint32_t field, double value)
{
    return number_or_none(usage->known & field ? value : NAN);
}

PyObject *usage_to_dict(const struct ac_usage *usage)
{
    PyObject *dict = PyDict_New(), *count;
    if (!dict)
        return NULL;
    if (usage->known & AC_KNOWN_FILE_DESCRIPTORS) {
        count = PyLong_FromUnsignedLongLong(usage->file_descriptors);
    } else {
        Py_INCREF(Py_None);
        count = Py_None;
    }
    int r = dict_put(dict, "file_descriptors", count);
    r |= dict_put(dict, "cpu_percent", known(usage, AC_KNOWN_CPU_PERCENT, usage->cpu_percent));
    r |= dict_put(
        dict, "memory_percent", known(usage, AC_KNOWN_MEMORY_PERCENT, usage->memory_percent));
    r |= dict_put(dict, "memory_mb", known(usage, AC_KNOWN_MEMORY_MB, usage->memory_mb));
    r |= dict_put(dict, "disk_io_mbps", known(usage, AC_KNOWN_DISK_IO, usage->disk_io_mbps));
    r |= dict_put(
        dict, "network_io_mbps", known(usage, AC_KNOWN_NETWORK_IO, usage->network_io_mbps));
    r |= dict_put(dict, "cpu_cores", known(usage, AC_KNOWN_CPU_CORES, usage->cpu_cores));
    r |= dict_put(dict, "timestamp", when(usage->timestamp_ns));
    if (r != 0)
        Py_CLEAR(dict);
    return dict;
}

/* ---- Limits */

static const struct {
    const char *name;
    size_t offset;
} limit_numbers[] = {
    {"max_cpu_percent", offsetof(struct ac_limits, max_cpu_percent)},
    {"max_memory_percent", offsetof(struct ac_limits, max_memory_percent)},
    {"max_disk_io_mbps", offsetof(struct ac_limits, max_disk_io_mbps)},
    {"max_network_io_mbps", offsetof(struct ac_limits, max_network_io_mbps)},
    {"alert_threshold_percent", offsetof(struct ac_limits, alert_threshold_percent)},
    {"emergency_memory_percent", offsetof(struct ac_limits, emergency_memory_percent)},
    {"emergency_file_descriptor_percent",
        offsetof(struct ac_limits, emergency_file_descriptor_percent)},
    {"emergency_stall_percent", offsetof(struct ac_limits, emergency_stall_percent)},
    {"clear_margin_percent", offsetof(struct ac_limits, clear_margin_percent)},
};

#define LIMIT_NUMBERS (sizeof(limit_numbers) / sizeof(limit_numbers[0]))

/* A number attribute of @value. @required: an AttributeError where it is missing; otherwise
 * *ret_number stays as it is, as it does for None. */
static int number_attribute(PyObject *value, const char *name, bool required, double *ret_number)
{
    PyObject *found = PyObject_GetAttrString(value, name);
    if (!found) {
        if (required || !PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    double number = found == Py_None ? *ret_number : PyFloat_AsDouble(found);
    if (PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s: a number is needed, not %R", name, found);
        Py_DECREF(found);
        return -1;
    }
    Py_DECREF(found);
    *ret_number = number;
    return 0;
}

/* Seconds into milliseconds, 0 to 49 days. */
static int milliseconds_attribute(PyObject *value, const char *name, uint32_t *ret_ms)
{
    double seconds = *ret_ms / 1e3;
    if (number_attribute(value, name, false, &seconds) < 0)
        return -1;
    if (!(seconds >= 0 && seconds <= 4294967)) {
        PyObject *number = PyFloat_FromDouble(seconds);
        PyErr_Format(PyExc_ValueError, "%s: %R is outside 0 to 4294967 seconds", name, number);
        Py_XDECREF(number);
        return -1;
    }
    *ret_ms = (uint32_t)llround(seconds * 1e3);
    return 0;
}

int limits_from_python(PyObject *value, struct ac_limits *ret_limits)
{
    struct ac_limits limits;
    struct ac_error error = AC_ERROR_INIT;
    ac_limits_init(&limits);
    if (!value || value == Py_None) {
        *ret_limits = limits;
        return 0;
    }
    for (size_t i = 0; i < LIMIT_NUMBERS; i++) {
        double *field = (double *)((char *)&limits + limit_numbers[i].offset);
        if (number_attribute(value, limit_numbers[i].name, i < 5, field) < 0)
            return -1;
    }
    double descriptors = (double)limits.max_file_descriptors;
    if (number_attribute(value, "max_file_descriptors", true, &descriptors) < 0 ||
        milliseconds_attribute(value, "for_seconds", &limits.for_ms) < 0 ||
        milliseconds_attribute(value, "renotify_seconds", &limits.renotify_ms) < 0)
        return -1;
    if (!(descriptors >= 1 && descriptors < 1e18)) {
        PyErr_Format(PyExc_ValueError, "max_file_descriptors: %lld is below 1",
            isfinite(descriptors) ? (long long)descriptors : 0LL);
        return -1;
    }
    limits.max_file_descriptors = (uint64_t)descriptors;
    int r = ac_limits_validate(&limits, &error);
    if (r < 0) {
        raise_error(r, &error, "limits");
        return -1;
    }
    *ret_limits = limits;
    return 0;
}

PyObject *limits_to_dict(const struct ac_limits *limits)
{
    static PyObject *slots[LIMIT_NUMBERS];
    PyObject *dict = PyDict_New();
    int r = 0;
    if (!dict)
        return NULL;
    for (size_t i = 0; i < LIMIT_NUMBERS; i++) {
        const double *field = (const double *)((const char *)limits + limit_numbers[i].offset);
        r |= dict_put_at(dict, &slots[i], limit_numbers[i].name, PyFloat_FromDouble(*field));
    }
    r |= dict_put(
        dict, "max_file_descriptors", PyLong_FromUnsignedLongLong(limits->max_file_descriptors));
    r |= dict_put(dict, "for_seconds", PyFloat_FromDouble(limits->for_ms / 1e3));
    r |= dict_put(dict, "renotify_seconds", PyFloat_FromDouble(limits->renotify_ms / 1e3));
    if (r != 0)
        Py_CLEAR(dict);
    return dict;
}

/* ---- Configurations */

static int config_limits(PyObject *value, struct ac_agent_config *config)
{
    PyObject *limits = PyObject_GetAttrString(value, "resource_limits");
    double descriptors = 0;
    if (!limits) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    int r = 0;
    if (limits != Py_None) {
        r |= number_attribute(limits, "max_cpu_cores", false, &config->max_cpu_cores);
        r |= number_attribute(limits, "max_memory_mb", false, &config->max_memory_mb);
        r |= number_attribute(
            limits, "max_execution_time_seconds", false, &config->max_execution_time_seconds);
        r |= number_attribute(limits, "max_file_descriptors", false, &descriptors);
    }
    Py_DECREF(limits);
    if (r == 0 && !(descriptors >= 0 && descriptors < 1e18)) {
        PyErr_SetString(PyExc_ValueError, "max_file_descriptors: is outside 0 to 1e18");
        return -1;
    }
    config->max_file_descriptors = r == 0 ? (uint64_t)descriptors : 0;
    return r;
}

/* Strings live in @keep, a list. */
static int config_texts(PyObject *value, struct ac_agent_config *config, PyObject *keep)
{
    static const char *const names[] = {"agent_id", "philosophy", "agent_template"};
    for (int i = 0; i < 3; i++) {
        PyObject *text = PyObject_GetAttrString(value, names[i]);
        if (!text) {
            if (i == 0 || !PyErr_ExceptionMatches(PyExc_AttributeError))
                return -1;
            PyErr_Clear();
            continue;
        }
        int r = PyList_Append(keep, text);
        Py_DECREF(text);
        if (r < 0)
            return -1;
        if (i > 0 && text == Py_None)
            continue;
        if (i == 1) {
            r = philosophy_from_python(text, &config->philosophy);
        } else {
            const char *chars = text_of(text, names[i]);
            r = chars ? 0 : -1;
            *(i == 0 ? &config->agent_id : &config->agent_template) = chars;
        }
        if (r < 0)
            return -1;
    }
    return 0;
}

int config_from_python(PyObject *value, struct ac_agent_config *ret_config, PyObject **ret_keep)
{
    struct ac_agent_config config;
    PyObject *keep = PyList_New(0);
    ac_agent_config_init(&config);
    if (!keep)
        return -1;
    if (config_texts(value, &config, keep) < 0 || config_limits(value, &config) < 0) {
        Py_DECREF(keep);
        return -1;
    }
    *ret_config = config;
    *ret_keep = keep;
    return 0;
}

/* ---- Arguments */

static Py_ssize_t name_index(const char *const *names, Py_ssize_t n, PyObject *name)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0)
            return i;
    }
    return -1;
}

int take_arguments(const char *function, const char *const *names, Py_ssize_t n_names,
    Py_ssize_t n_required, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
    PyObject **ret_values)
{
    Py_ssize_t n_keywords = kwnames ? PyTuple_Size(kwnames) : 0;
    if (nargs > n_names) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", function,
            n_names, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n_names; i++)
        ret_values[i] = i < nargs ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        PyObject *name = PyTuple_GetItem(kwnames, i);
        Py_ssize_t at = name_index(names, n_names, name);
        if (at < 0 || ret_values[at]) {
            PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", function,
                at < 0 ? "an unexpected keyword" : "multiple values for", name);
            return -1;
        }
        ret_values[at] = args[nargs + i];
    }
    for (Py_ssize_t i = 0; i < n_required; i++) {
        if (!ret_values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() is missing the argument '%s'", function, names[i]);
            return -1;
        }
    }
    return 0;
}
