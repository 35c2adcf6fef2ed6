/* SPDX-License-Identifier: Apache-2.0 */
/* Filling a struct ac_error (agentcore.h): one sentence that says what, where and what to do. */
#ifndef AC_BASE_ERROR_H
#define AC_BASE_ERROR_H

#include <agentcore.h>

/* Writes @code (negative errno) and the text into @error, where @error is not NULL; a text that
 * is too long is cut. Control characters in it become '?'. Returns @code, so that
 * `return error_set(error, -EINVAL, "...")` reads well. */
int error_set(struct ac_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(-code)" behind the text. */
int error_errno(struct ac_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
