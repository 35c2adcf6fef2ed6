/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests of each user are taken: so many per second, and twice as many at once (a token
 * bucket per user, as the time at which it is full again). Pure; not safe for concurrent use. */
#ifndef AC_NET_RATE_H
#define AC_NET_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define RATE_USERS_MAX 256 /* beyond it whoever was quiet longest starts anew */

struct rate_user {
    uint32_t uid;
    uint64_t full_ns; /* monotonic; 0 = the place is free */
};

/* Zero-initialised: no limit. */
struct rate {
    uint32_t per_second;
    struct rate_user users[RATE_USERS_MAX];
};

/* Whether a request of @uid is within the limit; counts it then. */
bool rate_take(struct rate *rate, uint32_t uid, struct mono now);

#endif
