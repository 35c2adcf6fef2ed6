/* SPDX-License-Identifier: Apache-2.0 */
/* How the tables of answers name their fields: always there, unless it says "or null". */
#ifndef AC_NET_ANSWER_H
#define AC_NET_ANSWER_H

#include "net/api.h"

#define ANSWER(field, type, text)                                                                  \
    {                                                                                              \
        .name = (field), .kind = (type), .flags = FIELD_REQUIRED, .help = (text)                   \
    }
#define ANSWER_OR_NULL(field, type, text)                                                          \
    {                                                                                              \
        .name = (field), .kind = (type), .flags = FIELD_REQUIRED | FIELD_NULLABLE, .help = (text)  \
    }
#define ANSWER_WORD(field, list, text)                                                             \
    {                                                                                              \
        .name = (field), .kind = FIELD_WORD, .flags = FIELD_REQUIRED, .help = (text),              \
        .words = (list)                                                                            \
    }
#define ANSWER_OF(field, type, of, text)                                                           \
    {                                                                                              \
        .name = (field), .kind = (type), .flags = FIELD_REQUIRED, .help = (text), .object = (of)   \
    }

#endif
