/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ResourceUsage. Agents make one per report, so its construction is the hot path of the package:
 * the class is an instance of a metatype with a vectorcall slot of its own (the documented
 * __vectorcalloffset__), which spares the dictionary that keyword arguments of a class call
 * otherwise become. Subclasses in Python take the ordinary way through tp_new and tp_init.
 */
#include "core.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* Not declared by the limited API before 3.12, but part of the stable ABI: */
#ifndef Py_TPFLAGS_HAVE_VECTORCALL
#define Py_TPFLAGS_HAVE_VECTORCALL (1UL << 11)
#endif
#define ARGUMENTS_OFFSET ((size_t)1 << (8 * sizeof(size_t) - 1))

typedef PyObject *(*vector_fn)(
    PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

enum { AT_FILE_DESCRIPTORS = 5, AT_TIMESTAMP = 6, N_FIELDS = 8, N_FREE = 64 };

/* In the order of positional arguments. */
static const struct {
    const char *name;
    uint32_t bit; /* 0: the timestamp */
    size_t offset;
} fields[N_FIELDS] = {
    {"cpu_percent", AC_KNOWN_CPU_PERCENT, offsetof(struct ac_usage, cpu_percent)},
    {"memory_percent", AC_KNOWN_MEMORY_PERCENT, offsetof(struct ac_usage, memory_percent)},
    {"memory_mb", AC_KNOWN_MEMORY_MB, offsetof(struct ac_usage, memory_mb)},
    {"disk_io_mbps", AC_KNOWN_DISK_IO, offsetof(struct ac_usage, disk_io_mbps)},
    {"network_io_mbps", AC_KNOWN_NETWORK_IO, offsetof(struct ac_usage, network_io_mbps)},
    {"file_descriptors", AC_KNOWN_FILE_DESCRIPTORS, offsetof(struct ac_usage, file_descriptors)},
    {"timestamp", 0, offsetof(struct ac_usage, timestamp_ns)},
    {"cpu_cores", AC_KNOWN_CPU_CORES, offsetof(struct ac_usage, cpu_cores)},
};

static PyObject *names[N_FIELDS]; /* interned */
static size_t vector_offset;      /* of the metatype's slot in a class */
static PyObject *site_names;      /* keywords of the last call, which is often the next one's */
static int site_fields[N_FIELDS]; /* what they stand for */
static UsageObject *free_list[N_FREE];
static int n_free;

static double *number_field(UsageObject *self, int at)
{
    return (double *)((char *)&self->usage + fields[at].offset);
}

static void usage_set_unknown(UsageObject *self, int at)
{
    self->usage.known &= ~fields[at].bit;
    self->none |= fields[at].bit;
}

static int usage_set_count(UsageObject *self, PyObject *value)
{
    PyObject *whole = PyFloat_Check(value) ? PyNumber_Long(value) : PyNumber_Index(value);
    if (!whole)
        return -1;
    unsigned long long count = PyLong_AsUnsignedLongLong(whole);
    Py_DECREF(whole);
    if (PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "file_descriptors: %R is outside 0 to 2^64-1", value);
        return -1;
    }
    self->usage.file_descriptors = count;
    return 0;
}

static int usage_set_timestamp(UsageObject *self, PyObject *value)
{
    PyObject *ns = PyObject_CallFunctionObjArgs(core.nanoseconds, value, NULL);
    if (!ns)
        return -1;
    long long number = PyLong_AsLongLong(ns);
    Py_DECREF(ns);
    if (number == -1 && PyErr_Occurred())
        return -1;
    Py_INCREF(value);
    take_ref(&self->timestamp, value);
    self->usage.timestamp_ns = number;
    return 0;
}

static int usage_set(UsageObject *self, int at, PyObject *value)
{
    if (PyFloat_CheckExact(value) && fields[at].bit && at != AT_FILE_DESCRIPTORS) {
        double number = PyFloat_AsDouble(value);
        *number_field(self, at) = number;
        if (isnan(number))
            usage_set_unknown(self, at);
        else
            self->usage.known |= fields[at].bit;
        return 0;
    }
    if (value == Py_None) {
        usage_set_unknown(self, at);
        return 0;
    }
    if (at == AT_TIMESTAMP)
        return usage_set_timestamp(self, value);
    if (at == AT_FILE_DESCRIPTORS) {
        if (usage_set_count(self, value) < 0)
            return -1;
    } else {
        double number = PyFloat_AsDouble(value);
        if (number == -1 && PyErr_Occurred())
            return -1;
        *number_field(self, at) = number;
    }
    self->usage.known |= fields[at].bit;
    return 0;
}

static int field_index(PyObject *name, int hint)
{
    for (int i = hint; i < N_FIELDS; i++) {
        if (names[i] == name)
            return i;
    }
    for (int i = 0; i < N_FIELDS; i++) {
        if (names[i] == name || PyUnicode_Compare(names[i], name) == 0)
            return i;
    }
    if (!PyErr_Occurred())
        PyErr_Format(
            PyExc_TypeError, "ResourceUsage() got an unexpected keyword argument '%U'", name);
    return -1;
}

static void usage_reset(UsageObject *self)
{
    self->usage.known = 0;
    self->usage.reserved = 0;
    self->usage.timestamp_ns = 0;
    self->none = 0;
}

/* A usage without a time is one of now. */
static void usage_stamp(UsageObject *self)
{
    struct timespec now;
    if (self->usage.timestamp_ns != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    self->usage.timestamp_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int too_many(Py_ssize_t n)
{
    PyErr_Format(
        PyExc_TypeError, "ResourceUsage() takes at most %d arguments (%zd given)", N_FIELDS, n);
    return -1;
}

/* ---- The short way: ResourceUsage(...) */

static UsageObject *usage_new(PyTypeObject *type)
{
    UsageObject *self;
    if (n_free > 0 && (PyObject *)type == core.usage) {
        self = free_list[--n_free];
        PyObject_Init((PyObject *)self, type);
    } else {
        /* Every class that a metatype makes is the collector's; an object that can be in no
         * cycle need not be tracked by it. */
        self = PyObject_GC_New(UsageObject, type);
        if (!self)
            return NULL;
    }
    usage_reset(self);
    self->timestamp = NULL;
    return self;
}

/* The fields that @kwnames stand for, in site_fields. A place in a program calls with one tuple,
 * again and again. 0, or -1 with a TypeError. */
static int site_take(PyObject *kwnames, Py_ssize_t nargs)
{
    Py_ssize_t n = PyTuple_Size(kwnames);
    int hint = 0, r = n > N_FIELDS ? too_many(n) : 0;
    PyObject *before = site_names;
    site_names = NULL;
    Py_XDECREF(before);
    for (Py_ssize_t i = 0; r == 0 && i < n; i++) {
        site_fields[i] = field_index(PyTuple_GetItem(kwnames, i), hint);
        hint = site_fields[i] + 1;
        if (site_fields[i] < 0)
            return -1;
        if (site_fields[i] < nargs) {
            PyErr_Format(PyExc_TypeError, "ResourceUsage() got multiple values for argument '%s'",
                fields[site_fields[i]].name);
            return -1;
        }
    }
    if (r == 0 && nargs == 0) {
        Py_INCREF(kwnames);
        site_names = kwnames;
    }
    return r;
}

static int usage_fill(UsageObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs > N_FIELDS)
        return too_many(nargs);
    for (Py_ssize_t i = 0; i < nargs; i++) {
        if (usage_set(self, (int)i, args[i]) < 0)
            return -1;
    }
    if (!kwnames)
        return 0;
    if ((kwnames != site_names || nargs > 0) && site_take(kwnames, nargs) < 0)
        return -1;
    /* A value's own code may construct usages too: what it leaves in site_fields is not ours. */
    int at[N_FIELDS];
    Py_ssize_t n = PyTuple_Size(kwnames);
    memcpy(at, site_fields, sizeof(at));
    for (Py_ssize_t i = 0; i < n; i++) {
        if (usage_set(self, at[i], args[nargs + i]) < 0)
            return -1;
    }
    return 0;
}

static PyObject *usage_vectorcall(
    PyObject *cls, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    UsageObject *self = usage_new((PyTypeObject *)cls);
    if (!self)
        return NULL;
    if (usage_fill(self, args, (Py_ssize_t)(nargsf & ~ARGUMENTS_OFFSET), kwnames) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    usage_stamp(self);
    return (PyObject *)self;
}

int usage_install(PyObject *cls)
{
    vector_fn call = usage_vectorcall;
    if (!PyObject_TypeCheck(cls, (PyTypeObject *)core.usage_meta)) {
        PyErr_SetString(PyExc_TypeError, "ResourceUsage: is not a _core.UsageMeta");
        return -1;
    }
    memcpy((char *)cls + vector_offset, &call, sizeof(call));
    Py_INCREF(cls);
    take_ref(&core.usage, cls);
    return 0;
}

PyObject *usage_to_python(const struct ac_usage *usage)
{
    UsageObject *self = usage_new((PyTypeObject *)core.usage);
    if (!self)
        return NULL;
    self->usage = *usage;
    self->none = AC_KNOWN_ALL & ~usage->known;
    return (PyObject *)self;
}

const struct ac_usage *usage_of(PyObject *value)
{
    if (PyObject_TypeCheck(value, (PyTypeObject *)core.usage_base))
        return &((UsageObject *)value)->usage;
    PyErr_Format(PyExc_TypeError, "usage: a ResourceUsage is needed, not %R", value);
    return NULL;
}

/* ---- The ordinary way: subclasses */

static PyObject *usage_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    UsageObject *self = (UsageObject *)allocate(type, 0);
    (void)args;
    (void)kwargs;
    if (self) {
        usage_reset(self);
        usage_stamp(self);
    }
    return (PyObject *)self;
}

static int usage_tp_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    UsageObject *self = (UsageObject *)object;
    PyObject *name, *value;
    Py_ssize_t nargs = PyTuple_Size(args), cursor = 0;
    int r = nargs > N_FIELDS ? too_many(nargs) : 0;
    if (r == 0) {
        usage_reset(self);
        Py_CLEAR(self->timestamp);
    }
    for (Py_ssize_t i = 0; r == 0 && i < nargs; i++)
        r = usage_set(self, (int)i, PyTuple_GetItem(args, i));
    while (r == 0 && kwargs && PyDict_Next(kwargs, &cursor, &name, &value)) {
        int at = field_index(name, 0);
        r = at < 0 ? -1 : usage_set(self, at, value);
    }
    if (r == 0)
        usage_stamp(self);
    return r;
}

static void usage_dealloc(PyObject *object)
{
    UsageObject *self = (UsageObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_CLEAR(self->timestamp);
    if ((PyObject *)type == core.usage && n_free < N_FREE) {
        free_list[n_free++] = self;
    } else {
        freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
        release(self);
    }
    Py_DECREF(type);
}

/* ---- Fields */

static PyObject *usage_get(PyObject *object, void *closure)
{
    UsageObject *self = (UsageObject *)object;
    int at = (int)(intptr_t)closure;
    bool is_known = self->usage.known & fields[at].bit;
    if (!is_known && self->none & fields[at].bit)
        Py_RETURN_NONE;
    if (at == AT_FILE_DESCRIPTORS)
        return PyLong_FromUnsignedLongLong(is_known ? self->usage.file_descriptors : 0);
    return PyFloat_FromDouble(is_known ? *number_field(self, at) : 0);
}

static int usage_put(PyObject *object, PyObject *value, void *closure)
{
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "a field of a ResourceUsage cannot be deleted");
        return -1;
    }
    return usage_set((UsageObject *)object, (int)(intptr_t)closure, value);
}

static PyObject *usage_get_timestamp(PyObject *object, void *closure)
{
    UsageObject *self = (UsageObject *)object;
    (void)closure;
    if (!self->timestamp) {
        PyObject *made = PyObject_CallFunction(core.when, "L", (long long)self->usage.timestamp_ns);
        if (!made)
            return NULL;
        take_ref(&self->timestamp, made);
    }
    Py_INCREF(self->timestamp);
    return self->timestamp;
}

static PyObject *usage_get_timestamp_ns(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(((UsageObject *)object)->usage.timestamp_ns);
}

static PyObject *usage_get_known(PyObject *object, void *closure)
{
    UsageObject *self = (UsageObject *)object;
    PyObject *list = PyList_New(0), *tuple;
    (void)closure;
    for (int i = 0; list && i < N_FIELDS; i++) {
        if (self->usage.known & fields[i].bit && PyList_Append(list, names[i]) < 0)
            Py_CLEAR(list);
    }
    tuple = list ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

#define FIELD(at, name, doc)                                                                       \
    {                                                                                              \
        name, usage_get, usage_put, doc, (void *)(intptr_t)(at)                                    \
    }

static PyGetSetDef usage_getset[] = {
    FIELD(0, "cpu_percent", "CPU in use, 0-100 of the machine's capacity."),
    FIELD(1, "memory_percent", "Memory in use, 0-100 of the machine's capacity."),
    FIELD(2, "memory_mb", "Memory in use, MiB."),
    FIELD(3, "disk_io_mbps", "Disk traffic, MiB/s, read and written."),
    FIELD(4, "network_io_mbps", "Network traffic, MiB/s, received and sent."),
    FIELD(5, "file_descriptors", "Open file descriptors."),
    {"timestamp", usage_get_timestamp, usage_put, "When it was measured, a datetime in UTC.",
        (void *)(intptr_t)AT_TIMESTAMP},
    FIELD(7, "cpu_cores", "CPU in use, in cores: 1.0 is one core busy."),
    {"timestamp_ns", usage_get_timestamp_ns, NULL,
        "When it was measured, nanoseconds since 1970 UTC.", NULL},
    {"known_fields", usage_get_known, NULL, "Names of the fields that are known, a tuple.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot usage_slots[] = {
    {Py_tp_new, usage_tp_new},
    {Py_tp_init, usage_tp_init},
    {Py_tp_dealloc, usage_dealloc},
    {Py_tp_getset, usage_getset},
    {0, NULL},
};

static PyType_Spec usage_spec = {
    .name = "agentcore._core.UsageBase",
    .basicsize = sizeof(UsageObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = usage_slots,
};

/* A type like `type`, whose instances (classes) carry one pointer more. */
static PyObject *usage_meta_new(void)
{
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, 0, READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[] = {{Py_tp_members, members}, {0, NULL}};
    PyObject *size = PyObject_GetAttrString((PyObject *)&PyType_Type, "__basicsize__");
    if (!size)
        return NULL;
    vector_offset = PyLong_AsSize_t(size);
    Py_DECREF(size);
    if (PyErr_Occurred())
        return NULL;
    members[0].offset = (Py_ssize_t)vector_offset;
    PyType_Spec spec = {
        .name = "agentcore._core.UsageMeta",
        .basicsize = (int)(vector_offset + sizeof(vector_fn)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    PyObject *bases = PyTuple_Pack(1, (PyObject *)&PyType_Type);
    PyObject *meta = bases ? PyType_FromSpecWithBases(&spec, bases) : NULL;
    Py_XDECREF(bases);
    return meta;
}

int usage_types_init(PyObject *module)
{
    for (int i = 0; i < N_FIELDS && !core.usage_base; i++) {
        names[i] = PyUnicode_InternFromString(fields[i].name);
        if (!names[i])
            return -1;
    }
    if (!core.usage_base)
        core.usage_base = PyType_FromSpec(&usage_spec);
    if (!core.usage_meta)
        core.usage_meta = usage_meta_new();
    if (!core.usage_base || !core.usage_meta)
        return -1;
    if (PyModule_AddObjectRef(module, "UsageBase", core.usage_base) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "UsageMeta", core.usage_meta);
}
