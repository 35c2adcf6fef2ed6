/* SPDX-License-Identifier: Apache-2.0 */
/* Texts from outside: a character is 1 to 4 bytes that decode to a code point, and an error made
 * of any bytes is one clean line. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_character(const uint8_t *c, size_t length)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint8_t head_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = c[0] & head_bits[length];
    for (size_t i = 1; i < length; i++)
        point = point << 6 | (c[i] & 0x3f);
    assert(point >= lowest[length] && point <= 0x10ffff && !(point >= 0xd800 && point < 0xe000));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t n = utf8_character((const char *)data + i, size - i);
        assert(n <= 4 && n <= size - i);
        if (n > 0)
            check_character(data + i, n);
        i += n > 0 ? n : 1;
    }
    char text[1024];
    struct ac_error error;
    snprintf(text, sizeof(text), "%.*s", (int)(size < sizeof(text) ? size : sizeof(text) - 1),
        (const char *)data);
    assert(error_set(&error, -EINVAL, "%s", text) == -EINVAL);
    for (size_t i = 0, left = strlen(error.message); left > 0;) {
        size_t n = utf8_character(error.message + i, left);
        assert(n > 0 && (unsigned char)error.message[i] >= 0x20 && error.message[i] != 0x7f);
        i += n;
        left -= n;
    }
    return 0;
}
