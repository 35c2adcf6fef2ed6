/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: any bytes give a configuration in range or one clear error. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = {0};
    struct ac_error error = {0};
    int r = config_parse("fuzz.yaml", (const char *)data, size, &config, &error);
    if (r < 0 && (error.code != r || strncmp(error.message, "fuzz.yaml:", 10) != 0))
        abort();
    if (r == 0 && (!config.socket || !config.state || config.interval_ns < 100000000ull ||
                      ac_limits_validate(&config.limits, NULL) != 0))
        abort();
    config_done(&config);
    return 0;
}
