/* SPDX-License-Identifier: Apache-2.0 */
/* A map from users to their numbers of places; who has none is not in it. */
#include "policy/quota.h"

#include <assert.h>
#include <errno.h>

#include "base/map.h"
#include "base/mem.h"

struct quota {
    struct u64map *places; /* by uid: the number, as a pointer */
    uint32_t ordinary;     /* their sum */
};

int quota_new(uint64_t seed, struct quota **ret_quota)
{
    struct quota *quota = mem_alloc(sizeof(*quota));
    if (!quota)
        return -ENOMEM;
    int r = u64map_new(seed, &quota->places);
    if (r < 0) {
        mem_free(quota);
        return r;
    }
    *ret_quota = quota;
    return 0;
}

void quota_free(struct quota *quota)
{
    if (!quota)
        return;
    u64map_free(quota->places);
    mem_free(quota);
}

int quota_take(struct quota *quota, uint32_t cap, uint32_t uid)
{
    uintptr_t own = (uintptr_t)u64map_get(quota->places, uid);
    if (quota_spent(cap, (uint32_t)own, quota->ordinary))
        return -ENOSPC;
    int r = u64map_put(quota->places, uid, (void *)(own + 1));
    quota->ordinary += r == 0;
    return r;
}

void quota_give(struct quota *quota, uint32_t uid)
{
    uintptr_t own = (uintptr_t)u64map_get(quota->places, uid);
    assert(own > 0 && quota->ordinary > 0);
    if (own > 1)
        (void)u64map_put(quota->places, uid, (void *)(own - 1)); /* replaces: cannot fail */
    else
        u64map_remove(quota->places, uid);
    quota->ordinary--;
}
