/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_roll_models.h"

#include <assert.h>

#include "base/mem.h"
#include "store/hist_roll_priors.h"

#define FIRMNESS 12 /* how many bits a trained probability counts for */

static_assert(sizeof(struct range_model) == 4, "models without padding");

static void load(const uint8_t *priors, size_t n_priors, struct range_model *models, size_t n)
{
    n_priors = MIN(n_priors, n);
    for (size_t i = 0; i < n_priors; i++)
        models[i] = (struct range_model){(uint16_t)(priors[i] << 8), FIRMNESS};
    for (size_t i = n_priors; i < n; i++)
        models[i] = (struct range_model){128 << 8, FIRMNESS};
}

#define LOAD(priors, n, models)                                                                    \
    load(priors, n, (struct range_model *)(models), sizeof(*(models)) / sizeof(struct range_model))

void section_models_load(struct section_models *ret_models)
{
    LOAD(section_priors, sizeof(section_priors), ret_models);
}

void cell_models_load(unsigned metric, struct cell_models *ret_models)
{
    LOAD(cell_priors[roll_kind(metric)], sizeof(cell_priors[0]), ret_models);
}

void hour_models_load(unsigned metric, struct hour_models *ret_models)
{
    LOAD(hour_priors[roll_kind(metric)], sizeof(hour_priors[0]), ret_models);
}
