/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile process: name, pattern, cgroup, environment and arguments, each ended by a newline. Ids
 * are always legal, commands always text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "os/proc_facts.h"
#include "policy/discover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t take(const uint8_t **data, size_t *size, char *out, size_t capacity)
{
    const uint8_t *end = *size > 0 ? memchr(*data, '\n', *size) : NULL;
    size_t n = end ? (size_t)(end - *data) : *size, kept = n < capacity ? n : capacity - 1;
    if (kept > 0)
        memcpy(out, *data, kept);
    out[kept] = 0;
    *data += n + (end != NULL);
    *size -= n + (end != NULL);
    return kept;
}

static void check_match(const struct process_facts *facts, const struct discovery_rule *rules)
{
    struct discover_match match;
    if (!discover_match(rules, DISCOVERY_PRESET_COUNT, facts, &match))
        return;
    if (!ac_agent_id_valid(match.id) || match.rule >= DISCOVERY_PRESET_COUNT ||
        (*match.cgroup && !discover_is_below(facts->cgroup, match.cgroup)))
        abort();
    discover_make_unique(match.id, facts->pid);
    if (!ac_agent_id_valid(match.id))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct process_facts facts;
    struct discovery_rule rules[DISCOVERY_PRESET_COUNT];
    struct environment_scan scan = {0};
    char shown[AGENT_COMMAND_MAX + 1], environment[512], cgroup[1024];
    facts = (struct process_facts){
        .pid = 4711, .known = FACTS_COMMAND | FACTS_CGROUP | FACTS_ENVIRONMENT};
    for (unsigned i = 1; i < DISCOVERY_PRESET_COUNT; i++)
        discovery_rule_from_preset((enum discovery_preset)i, &rules[i - 1]);
    struct discovery_rule *last = &rules[DISCOVERY_PRESET_COUNT - 1];
    discovery_rule_init(last);
    memcpy(last->name, "r", 2);
    take(&data, &size, facts.name, sizeof(facts.name));
    take(&data, &size, last->cgroup, sizeof(last->cgroup));
    size_t n = take(&data, &size, cgroup, sizeof(cgroup));
    if (proc_facts_parse_cgroup(cgroup, n, &facts) < 0)
        memcpy(facts.cgroup, cgroup, sizeof(facts.cgroup) - 1);
    n = take(&data, &size, environment, sizeof(environment));
    environment_scan_feed(&scan, environment, n);
    memcpy(facts.agent_id, scan.value, sizeof(facts.agent_id));
    facts.command_size = (uint32_t)(size < DISCOVERY_CMDLINE_MAX ? size : DISCOVERY_CMDLINE_MAX);
    if (size > 0)
        memcpy(facts.command, data, facts.command_size);
    check_match(&facts, rules);
    discover_command(&facts, shown);
    for (size_t i = 0; shown[i];) {
        size_t step = utf8_character(shown + i, strlen(shown + i));
        if (step == 0 || (unsigned char)shown[i] < 0x20)
            abort();
        i += step;
    }
    return 0;
}
