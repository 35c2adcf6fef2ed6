/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdint.h>

#include "base/mem.h"

/* By first byte: how long the character is, and what its second byte may be. This excludes
 * overlong forms, surrogates and what lies past U+10FFFF. */
static const struct {
    uint8_t first_low, first_high;
    uint8_t length;
    uint8_t second_low, second_high;
} utf8_forms[] = {
    {0x00, 0x7f, 1, 0, 0},
    {0xc2, 0xdf, 2, 0x80, 0xbf},
    {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf},
    {0xed, 0xed, 3, 0x80, 0x9f},
    {0xee, 0xef, 3, 0x80, 0xbf},
    {0xf0, 0xf0, 4, 0x90, 0xbf},
    {0xf1, 0xf3, 4, 0x80, 0xbf},
    {0xf4, 0xf4, 4, 0x80, 0x8f},
};

size_t utf8_character(const char *text, size_t length)
{
    const uint8_t *byte = (const uint8_t *)text;
    for (size_t i = 0; length > 0 && i < ARRAY_SIZE(utf8_forms); i++) {
        if (byte[0] < utf8_forms[i].first_low || byte[0] > utf8_forms[i].first_high)
            continue;
        if (utf8_forms[i].length == 1)
            return 1;
        if (utf8_forms[i].length > length || byte[1] < utf8_forms[i].second_low ||
            byte[1] > utf8_forms[i].second_high)
            return 0;
        for (size_t k = 2; k < utf8_forms[i].length; k++) {
            if ((byte[k] & 0xc0) != 0x80)
                return 0;
        }
        return utf8_forms[i].length;
    }
    return 0;
}
