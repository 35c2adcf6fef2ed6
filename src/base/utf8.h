/* SPDX-License-Identifier: Apache-2.0 */
/* Text from outside (process names, command lines, ids that were refused) may be any bytes. */
#ifndef AC_BASE_UTF8_H
#define AC_BASE_UTF8_H

#include <stddef.h>

/* Length of the UTF-8 character at the start of @text, 1 to 4; 0 where no well-formed one starts
 * there (overlong forms, surrogates, values past U+10FFFF, cut characters) or @length is 0. */
size_t utf8_character(const char *text, size_t length);

#endif
