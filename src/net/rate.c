/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rate.h"

#include "base/mem.h"

#define BURST_NS (2 * NS_PER_SEC)

/* The user's place, or that of the one whose bucket is, or will be, full first. */
static struct rate_user *find(struct rate *rate, uint32_t uid)
{
    struct rate_user *oldest = &rate->users[0];
    for (size_t i = 0; i < ARRAY_SIZE(rate->users); i++) {
        struct rate_user *user = &rate->users[i];
        if (user->full_ns != 0 && user->uid == uid)
            return user;
        if (user->full_ns < oldest->full_ns)
            oldest = user;
    }
    *oldest = (struct rate_user){.uid = uid};
    return oldest;
}

bool rate_take(struct rate *rate, uint32_t uid, struct mono now)
{
    if (rate->per_second == 0)
        return true;
    struct rate_user *user = find(rate, uid);
    uint64_t full = MAX(user->full_ns, now.ns) + NS_PER_SEC / rate->per_second;
    bool taken = full - now.ns <= BURST_NS;
    if (taken)
        user->full_ns = full;
    return taken;
}
