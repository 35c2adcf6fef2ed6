/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

__attribute__((format(printf, 3, 0))) static void error_format(
    struct ac_error *error, int code, const char *format, va_list args)
{
    error->code = code;
    vsnprintf(error->message, sizeof(error->message), format, args);
}

/* The text may quote what somebody sent, and may have been cut inside a character. */
static void error_clean(struct ac_error *error)
{
    size_t left = strlen(error->message);
    for (char *c = error->message; left > 0;) {
        size_t n = utf8_character(c, left);
        if (n == 0 || (unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
            n = 1;
        }
        c += n;
        left -= n;
    }
}

int error_set(struct ac_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    va_list args;
    va_start(args, format);
    error_format(error, code, format, args);
    va_end(args);
    error_clean(error);
    return code;
}

int error_errno(struct ac_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    va_list args;
    va_start(args, format);
    error_format(error, code, format, args);
    va_end(args);
    size_t used = strlen(error->message);
    snprintf(error->message + used, sizeof(error->message) - used, ": %s", strerror(-code));
    error_clean(error);
    return code;
}
