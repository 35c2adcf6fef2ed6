/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: allocation that can be made to fail (base/fault.h) and scope-bound release.
 *
 * Everything returns NULL when there is no memory; nothing exits. Sizes are checked before
 * they are multiplied. Safe from any thread.
 */
#ifndef AC_BASE_MEM_H
#define AC_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

/* Zeroed memory of the caller's, freed with mem_free. */
void *mem_alloc(size_t size);
void *mem_alloc_array(size_t count, size_t size);

/* Grows or shrinks; new bytes are not zeroed. On failure @old stays valid. */
void *mem_resize_array(void *old, size_t count, size_t size);

char *mem_strdup(const char *text);
void mem_free(void *memory);

/* Moves a pointer out of a variable, which becomes NULL. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ptr_ = (p);                                                             \
        (p) = NULL;                                                                                \
        take_ptr_;                                                                                 \
    })

/* `char *s cleanup_free = NULL;` frees s at the end of its scope. */
static inline void mem_freep(void *pointer_to_pointer)
{
    mem_free(*(void **)pointer_to_pointer);
}
#define CLEANUP(fn)  __attribute__((cleanup(fn)))
#define cleanup_free CLEANUP(mem_freep)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#endif
