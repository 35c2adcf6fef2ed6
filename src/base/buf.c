/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_done(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){.limit = buf->limit};
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = 0;
}

int buf_reserve(struct buf *buf, size_t more)
{
    if (buf->failed)
        return -ENOMEM;
    if (more > SIZE_MAX / 4 || buf->size > SIZE_MAX / 4 ||
        (buf->limit != 0 && buf->size + more > buf->limit)) {
        buf->failed = true;
        return -E2BIG;
    }
    size_t need = buf->size + more + 1;
    if (need <= buf->capacity)
        return 0;
    size_t capacity = MAX(need, buf->capacity * 2);
    capacity = MAX(capacity, (size_t)128);
    char *data = mem_resize_array(buf->data, capacity, 1);
    if (!data) {
        buf->failed = true;
        return -ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int buf_append(struct buf *buf, const void *bytes, size_t size)
{
    int r = buf_reserve(buf, size);
    if (r < 0)
        return r;
    if (size > 0)
        memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    buf->data[buf->size] = 0;
    return 0;
}

int buf_append_str(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

int buf_append_char(struct buf *buf, char c)
{
    return buf_append(buf, &c, 1);
}

int buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = buf->capacity > buf->size ? buf->capacity - buf->size : 0;
    int n = vsnprintf(room ? buf->data + buf->size : NULL, room, format, args);
    int r = n < 0 ? -EINVAL : buf_reserve(buf, (size_t)n);
    if (r == 0) {
        if ((size_t)n >= room)
            vsnprintf(buf->data + buf->size, (size_t)n + 1, format, again);
        buf->size += (size_t)n;
    } else {
        buf->failed = true;
        if (buf->data)
            buf->data[buf->size] = 0;
    }
    va_end(again);
    return r;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int r = buf_vprintf(buf, format, args);
    va_end(args);
    return r;
}

char *buf_take(struct buf *buf, size_t *ret_size)
{
    if (buf_reserve(buf, 0) < 0)
        return NULL;
    buf->data[buf->size] = 0;
    if (ret_size)
        *ret_size = buf->size;
    char *data = TAKE_PTR(buf->data);
    buf->size = buf->capacity = 0;
    return data;
}
