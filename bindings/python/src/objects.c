/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers for Python objects, so that the library's threads hold no pointer into Python's heap.
 * A slot is reused with another generation, so an old number never finds a new object.
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
    PyObject *self; /* borrowed; NULL = free */
    object_stop_fn stop;
    uint32_t generation;
};

static struct slot *slots;
static uint32_t n_slots, capacity;
static __thread unsigned callback_depth;

atomic_bool core_finalizing;

static uint32_t slot_free(void)
{
    for (uint32_t i = 0; i < n_slots; i++) {
        if (!slots[i].self)
            return i;
    }
    return n_slots;
}

uint64_t object_register(PyObject *self, object_stop_fn stop)
{
    uint32_t at = slot_free();
    if (at == capacity) {
        uint32_t larger = capacity ? capacity * 2 : 16;
        struct slot *grown = PyMem_Realloc(slots, larger * sizeof(*slots));
        if (!grown) {
            PyErr_NoMemory();
            return 0;
        }
        slots = grown;
        capacity = larger;
    }
    if (at == n_slots)
        slots[n_slots++] = (struct slot){.generation = 1};
    slots[at].self = self;
    slots[at].stop = stop;
    return (uint64_t)slots[at].generation << 32 | at;
}

static struct slot *slot_of(uint64_t id)
{
    uint32_t at = (uint32_t)id;
    if (id == 0 || at >= n_slots || slots[at].generation != id >> 32)
        return NULL;
    return &slots[at];
}

PyObject *object_find(uint64_t id)
{
    struct slot *slot = slot_of(id);
    return slot ? slot->self : NULL;
}

void object_forget(uint64_t id)
{
    struct slot *slot = slot_of(id);
    if (!slot)
        return;
    slot->self = NULL;
    slot->generation++;
}

void objects_stop_all(void)
{
    for (uint32_t i = 0; i < n_slots; i++) {
        PyObject *self = slots[i].self;
        object_stop_fn stop = slots[i].stop;
        if (!self || !stop)
            continue;
        Py_INCREF(self);
        Py_BEGIN_ALLOW_THREADS stop(self);
        Py_END_ALLOW_THREADS Py_DECREF(self);
    }
}

PyObject *callback_enter(uint64_t id, struct callback *ret_callback)
{
    if (atomic_load(&core_finalizing))
        return NULL;
    ret_callback->gil = PyGILState_Ensure();
    struct slot *slot = slot_of(id);
    if (!slot || !slot->self) {
        PyGILState_Release(ret_callback->gil);
        return NULL;
    }
    callback_depth++;
    ret_callback->self = slot->self;
    Py_INCREF(ret_callback->self);
    PyErr_Fetch(&ret_callback->error[0], &ret_callback->error[1], &ret_callback->error[2]);
    return ret_callback->self;
}

void callback_leave(struct callback *callback)
{
    PyErr_Restore(callback->error[0], callback->error[1], callback->error[2]);
    Py_DECREF(callback->self);
    callback_depth--;
    PyGILState_Release(callback->gil);
}

struct release {
    void (*call)(void *);
    void *handle;
};

static void *release_main(void *argument)
{
    struct release *release = argument;
    release->call(release->handle);
    free(release);
    return NULL;
}

void release_handle(void (*release)(void *), void *handle)
{
    struct release *later = NULL;
    pthread_t thread;
    if (callback_depth > 0)
        later = malloc(sizeof(*later));
    if (later) {
        *later = (struct release){.call = release, .handle = handle};
        if (pthread_create(&thread, NULL, release_main, later) == 0)
            pthread_detach(thread);
        else
            free(later); /* no thread, no memory: left behind rather than torn down */
        return;
    }
    if (callback_depth > 0)
        return;
    Py_BEGIN_ALLOW_THREADS release(handle);
    Py_END_ALLOW_THREADS
}
