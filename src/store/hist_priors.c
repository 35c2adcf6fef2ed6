/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_priors.h"

#include "store/hist_priors_table.h"

const uint16_t range_rates[RANGE_COUNT_MAX + 1] = {43690, 26214, 18724, 14563, 11915, 10082, 8738,
    7710, 6898, 6241, 5698, 5242, 4854, 4519, 4228, 3971, 3744, 3542, 3360, 3196, 3048, 2912, 2788,
    2674, 2570, 2473, 2383, 2299, 2221, 2148, 2080, 2016, 1956, 1899, 1846, 1795, 1747, 1702, 1659,
    1618, 1579};

void prior_load(enum prior_set set, struct column_models *ret_models)
{
    struct range_model *models = (struct range_model *)ret_models;
    for (size_t i = 0; i < PRIOR_MODELS; i++) {
        unsigned p = priors[set][i].p == 0 ? 128 : priors[set][i].p; /* 0: never seen */
        models[i] = (struct range_model){(uint16_t)(p << 8), priors[set][i].count};
    }
}
