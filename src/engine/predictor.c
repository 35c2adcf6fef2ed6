/* SPDX-License-Identifier: Apache-2.0 */
/* The public predictor: a view of a core's. One of its own hosts a core that only predicts. */
#include <agentcore.h>

#include <errno.h>

#include "base/export.h"
#include "base/mem.h"
#include "engine/wrappers.h"

struct ac_predictor {
    struct host *host;
    bool owns_host;
};

int predictor_new_view(struct host *host, struct ac_predictor **ret_predictor)
{
    struct ac_predictor *predictor = mem_alloc(sizeof(*predictor));
    if (!predictor)
        return -ENOMEM;
    predictor->host = host;
    *ret_predictor = predictor;
    return 0;
}

EXPORT int ac_predictor_new(struct ac_predictor **ret_predictor)
{
    struct core_options options;
    struct host *host;
    core_options_init(&options);
    options.max_agents = 1;
    int r = host_new(&options, NULL, NULL, &host);
    if (r < 0)
        return r;
    r = predictor_new_view(host, ret_predictor);
    if (r < 0) {
        host_free(host);
        return r;
    }
    (*ret_predictor)->owns_host = true;
    return 0;
}

EXPORT void ac_predictor_free(struct ac_predictor *predictor)
{
    if (!predictor)
        return;
    if (predictor->owns_host)
        host_free(predictor->host);
    mem_free(predictor);
}

EXPORT int ac_predictor_predict(struct ac_predictor *predictor,
    const struct ac_agent_config *config, struct ac_prediction *ret_prediction)
{
    int r = ac_agent_config_validate(config, NULL);
    if (r < 0)
        return r;
    struct moment now = host_now(predictor->host);
    struct core *core = host_lock(predictor->host);
    core_predict(core, config->philosophy, config->agent_template, now, ret_prediction);
    host_unlock(predictor->host);
    return 0;
}

EXPORT int ac_predictor_record(struct ac_predictor *predictor, const struct ac_agent_config *config,
    const struct ac_run_usage *run)
{
    int r = ac_agent_config_validate(config, NULL);
    if (r < 0 || !run)
        return -EINVAL;
    struct moment now = host_now(predictor->host);
    struct core *core = host_lock(predictor->host);
    r = predict_record(
        core_predictor(core), config->philosophy, config->agent_template, run, now.wall_ns);
    host_unlock(predictor->host);
    return r;
}
