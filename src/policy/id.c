/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/parse.h"

/* 36^13 > 2^64 */
#define BASE36_MAX 13

/* Past this the counter would take more room than an id has; nobody gets there. */
#define COUNTER_MAX UINT64_C(999999999999999999)

static const char *base36(uint64_t value, char buffer[BASE36_MAX + 1])
{
    char *at = buffer + BASE36_MAX;
    *at = 0;
    do {
        *--at = "0123456789abcdefghijklmnopqrstuvwxyz"[value % 36];
        value /= 36;
    } while (value > 0);
    return at;
}

void id_source_init(struct id_source *ret_source, const char *prefix, uint64_t seed)
{
    char buffer[BASE36_MAX + 1];
    assert(strlen(prefix) <= 5);
    ret_source->last = 0;
    snprintf(ret_source->prefix, sizeof(ret_source->prefix), "%.5s-%.13s-", prefix,
        base36(seed, buffer));
}

void id_next(struct id_source *source, char ret_id[ID_SIZE])
{
    if (source->last < COUNTER_MAX)
        source->last++;
    snprintf(ret_id, ID_SIZE, "%s%" PRIu64, source->prefix, source->last % (COUNTER_MAX + 1));
}

void id_seen(struct id_source *source, const char *id)
{
    uint64_t counter;
    size_t length = strlen(source->prefix);
    if (strncmp(id, source->prefix, length) != 0)
        return;
    if (parse_u64(id + length, strlen(id + length), &counter) == 0 && counter < COUNTER_MAX)
        source->last = MAX(source->last, counter);
}
