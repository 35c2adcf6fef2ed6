/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/pss_meter.h"

_Static_assert(PSS_WANTS_MAX <= PSS_BATCH_MAX, "what is chosen fits into what is read");

void pss_meter_fill(struct pss_reader *reader, struct sample *sample)
{
    if (reader)
        sample->n_pss = pss_reader_take(reader, &sample->pss);
}

void pss_meter_ask(struct pss_reader *reader, const struct registry *registry)
{
    struct pss_want wants[PSS_WANTS_MAX];
    if (!reader || !pss_reader_ready(reader, clock_mono()))
        return;
    pss_reader_ask(reader, wants, registry_pss_wants(registry, wants, PSS_WANTS_MAX));
}
