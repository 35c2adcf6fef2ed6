/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer. `struct buf b CLEANUP(buf_done) = {0};` is an empty one.
 *
 * A failed append marks the buffer (b.failed) and makes further appends no-ops, so that a long
 * text is built without a check on every line; the builder checks once at the end. The bytes
 * are always NUL-terminated behind .size where .data is not NULL.
 */
#ifndef AC_BASE_BUF_H
#define AC_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t size;
    size_t capacity;
    size_t limit; /* 0 = none: appending past it fails */
    bool failed;
};

void buf_done(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */

/* All return 0 or -ENOMEM (-E2BIG past .limit). */
int buf_reserve(struct buf *buf, size_t more);
int buf_append(struct buf *buf, const void *bytes, size_t size);
int buf_append_str(struct buf *buf, const char *text);
int buf_append_char(struct buf *buf, char c);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Hands the bytes over (caller frees with mem_free) and empties the buffer. NULL if failed. */
char *buf_take(struct buf *buf, size_t *ret_size);

#endif
