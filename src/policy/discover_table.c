/* SPDX-License-Identifier: Apache-2.0 */
/* What discovery knows of the world: where containers live, and which programs are agents. */
#include "policy/discover.h"

#include <string.h>

static const char *const docker[] = {"**/docker-*.scope", "**/docker/*", NULL};
static const char *const podman[] = {
    "**/libpod-*.scope", "**/libpod_parent/libpod-*", "**/libpod/*", NULL};
static const char *const kubernetes[] = {"**/kubepods*/pod*/*", "**/kubepods*/**/pod*/*",
    "**/kubepods*/**/*-pod*.slice/*.scope", "**/kubepods*/*-pod*.slice/*.scope", NULL};
static const char *const slices[] = {"**/agents.slice/*.service", "**/agents.slice/*.scope",
    "**/agents-*.slice/*.service", "**/agents-*.slice/*.scope", NULL};

const char *const *discover_preset_cgroups(enum discovery_preset preset)
{
    switch (preset) {
    case DISCOVERY_DOCKER:
        return docker;
    case DISCOVERY_PODMAN:
        return podman;
    case DISCOVERY_KUBERNETES:
        return kubernetes;
    case DISCOVERY_SYSTEMD_SLICE:
        return slices;
    default:
        return NULL;
    }
}

bool discover_preset_excludes(enum discovery_preset preset, const char *directory_name)
{
    if (preset == DISCOVERY_PODMAN)
        return strncmp(directory_name, "libpod-conmon-", 14) == 0 ||
               strncmp(directory_name, "libpod-payload", 14) == 0;
    return preset == DISCOVERY_KUBERNETES && strncmp(directory_name, "crio-conmon-", 12) == 0;
}

/* ---- Programs */

static const struct coding_agent {
    const char *name;    /* of the program or script, and the agent's template */
    const char *package; /* part of the path of its script; NULL = none */
} coding_agents[] = {
    {"aider", NULL},
    {"amp", "/@sourcegraph/amp/"},
    {"auggie", "/@augmentcode/auggie/"},
    {"claude", "/@anthropic-ai/claude-code/"},
    {"codex", "/@openai/codex/"},
    {"copilot", "/@github/copilot/"},
    {"crush", "/@charmland/crush/"},
    {"cursor-agent", "/cursor-agent/"},
    {"droid", NULL},
    {"gemini", "/@google/gemini-cli/"},
    {"goose", NULL},
    {"kimi", NULL},
    {"kiro-cli", NULL},
    {"mini-swe-agent", NULL},
    {"opencode", "/opencode-ai/"},
    {"openhands", NULL},
    {"plandex", NULL},
    {"qwen", "/@qwen-code/qwen-code/"},
    {"sweagent", NULL},
};

static const char *const interpreters[] = {"node", "nodejs", "bun", "deno", "python", "ruby", "sh",
    "bash", "dash", "zsh", "npx", "uvx", "env"};

static bool equals(struct discover_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.text, word, text.size) == 0;
}

static bool contains(struct discover_text text, const char *word)
{
    return memmem(text.text, text.size, word, strlen(word)) != NULL;
}

/* Takes the next argument from *@rest. */
static bool next_argument(struct discover_text *rest, struct discover_text *ret_argument)
{
    if (rest->size == 0)
        return false;
    const char *nul = memchr(rest->text, 0, rest->size);
    size_t size = nul ? (size_t)(nul - rest->text) : rest->size;
    *ret_argument = (struct discover_text){rest->text, size};
    size += nul != NULL;
    rest->text += size;
    rest->size -= size;
    return true;
}

struct discover_text discover_basename(struct discover_text path)
{
    const char *slash = path.size > 0 ? memrchr(path.text, '/', path.size) : NULL;
    if (!slash)
        return path;
    size_t skip = (size_t)(slash - path.text) + 1;
    return (struct discover_text){slash + 1, path.size - skip};
}

/* "python3.12" is python. */
static bool is_interpreter(struct discover_text name)
{
    while (name.size > 0 && memchr("0123456789.", name.text[name.size - 1], 11))
        name.size--;
    for (size_t i = 0; i < sizeof(interpreters) / sizeof(interpreters[0]); i++) {
        if (equals(name, interpreters[i]))
            return true;
    }
    return false;
}

struct discover_text discover_program(const char *command, size_t size)
{
    struct discover_text rest = {command, size}, first = {command, 0}, argument;
    if (!next_argument(&rest, &first))
        return first;
    if (!is_interpreter(discover_basename(first)))
        return first;
    for (unsigned i = 0; i < 16 && next_argument(&rest, &argument); i++) {
        if (equals(argument, "-c") || equals(argument, "-e"))
            return first;
        if (argument.size > 0 && argument.text[0] != '-')
            return argument;
    }
    return first;
}

static struct discover_text without_suffix(struct discover_text name)
{
    static const char *const suffixes[] = {".js", ".mjs", ".cjs", ".py", ".sh", ".exe"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        size_t n = strlen(suffixes[i]);
        if (name.size > n && memcmp(name.text + name.size - n, suffixes[i], n) == 0)
            return (struct discover_text){name.text, name.size - n};
    }
    return name;
}

const char *discover_coding_agent(const char *command, size_t size)
{
    struct discover_text program = discover_program(command, size);
    struct discover_text name = without_suffix(discover_basename(program));
    bool script = program.text != command; /* a path of a program itself says nothing */
    for (size_t i = 0; i < sizeof(coding_agents) / sizeof(coding_agents[0]); i++) {
        const struct coding_agent *agent = &coding_agents[i];
        if (equals(name, agent->name) ||
            (script && agent->package && contains(program, agent->package)))
            return agent->name;
    }
    return NULL;
}
