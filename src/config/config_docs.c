/* SPDX-License-Identifier: Apache-2.0 */
/* The example file and the documentation, made from the table. */
#include "config/config.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "config/config_rules.h"
#include "config/config_table.h"

enum { WIDTH = 98 };

static const char *kind_word(const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_TEXT:
        return "text";
    case SETTING_REAL:
        return "number";
    case SETTING_COUNT:
    case SETTING_COUNT64:
        return "whole number";
    case SETTING_BYTES:
        return "size";
    case SETTING_DURATION:
    case SETTING_MILLIS:
        return "duration";
    case SETTING_BOOL:
    case SETTING_CHOICE:
        return "one of";
    }
    return "";
}

/* Appends @text in lines of at most WIDTH bytes, each behind @prefix. */
static void write_wrapped(struct buf *out, const char *prefix, const char *text)
{
    size_t room = WIDTH - strlen(prefix);
    while (*text) {
        size_t length = strlen(text);
        if (length > room) {
            for (length = room; length > 0 && text[length] != ' '; length--)
                ;
            length = length > 0 ? length : room;
        }
        buf_printf(out, "%s%.*s\n", prefix, (int)length, text);
        text += length;
        while (*text == ' ')
            text++;
    }
}

/* The help and, in brackets behind it, what values there are. */
static int write_help(struct buf *out, const struct setting *setting)
{
    buf_append_str(out, setting->help);
    if (setting->kind == SETTING_TEXT)
        return out->failed ? -ENOMEM : 0;
    buf_append_str(out, " (");
    if (setting->kind != SETTING_BOOL && setting->kind != SETTING_CHOICE)
        buf_printf(out, "%s, ", kind_word(setting));
    setting_write_range(setting, out);
    buf_append_str(out, ")");
    return out->failed ? -ENOMEM : 0;
}

/* What is not a plain word in YAML stands in quotes. */
static void write_value(struct buf *out, const char *value)
{
    bool quoted = value[0] == '[' || value[0] == '~';
    buf_printf(out, quoted ? "\"%s\"" : "%s", value);
}

static int example_setting(struct buf *out, const struct setting *setting, const char *indent)
{
    struct buf help CLEANUP(buf_done) = {0};
    struct buf prefix CLEANUP(buf_done) = {0};
    buf_printf(&prefix, "%s# ", indent);
    if (write_help(&help, setting) < 0 || prefix.failed)
        return -ENOMEM;
    buf_append_char(out, '\n');
    write_wrapped(out, prefix.data, help.data);
    buf_printf(out, "%s#%s: ", indent, setting->name);
    write_value(out, setting->default_text ? setting->default_text : setting->example);
    buf_append_char(out, '\n');
    return 0;
}

int config_write_example(struct buf *out)
{
    buf_append_str(out,
        "# Configuration of agentcored. Every setting is here, commented out and at its default\n"
        "# (http: off by default, with examples). Check changes with\n"
        "#     agentcored --config FILE --check-config\n"
        "# and apply them with systemctl reload agentcored, or SIGHUP.\n"
        "#\n"
        "# Durations: 250ms, 5s, 10m, 1h30m, 14d. Sizes: 64K, 16M, 1G (powers of 1024).\n");
    for (size_t s = 0; s < config_section_count; s++) {
        const struct setting_section *section = &config_sections[s];
        const char *indent = *section->name ? "  " : "";
        if (*section->name) {
            buf_append_char(out, '\n');
            write_wrapped(out, "# ", section->help);
            buf_printf(out, "%s:\n", section->name);
        }
        for (size_t i = 0; i < config_setting_count; i++) {
            if (strcmp(config_settings[i].section, section->name) != 0)
                continue;
            if (example_setting(out, &config_settings[i], indent) < 0)
                return -ENOMEM;
        }
        if (strcmp(section->name, "discovery") == 0)
            rules_write_example(out);
    }
    return out->failed ? -ENOMEM : 0;
}

static void markdown_row(struct buf *out, const struct setting *setting)
{
    buf_printf(out, "| `%s` | ", setting->name);
    if (setting->default_text)
        buf_printf(out, "`%s`", setting->default_text);
    else if (setting->optional)
        buf_append_str(out, "none");
    else
        buf_printf(out, "`%s`", setting->example);
    buf_append_str(out, " | ");
    if (setting->kind == SETTING_TEXT) {
        buf_append_str(out, "text");
    } else {
        if (setting->kind != SETTING_BOOL && setting->kind != SETTING_CHOICE)
            buf_printf(out, "%s, ", kind_word(setting));
        setting_write_range(setting, out);
    }
    buf_printf(out, " | %s%s |\n", setting->help, setting->restart ? " *Restart.*" : "");
}

static const char markdown_head[] =
    "# Configuration\n"
    "\n"
    "<!-- Made from the table in src/config/config_table.c: `ninja -C build config-docs` writes it "
    "anew. -->\n"
    "\n"
    "`agentcored` reads one YAML file, given with `--config FILE`; without one it runs on the "
    "defaults below. A commented example with every setting is installed as `agentcored.yaml`. "
    "`agentcored --config FILE --check-config` says whether a file is right, and changes "
    "nothing.\n"
    "\n"
    "```yaml\n"
    "interval: 2s\n"
    "limits:\n"
    "  max_cpu_percent: 90\n"
    "  for: 10s\n"
    "history:\n"
    "  minutes: 30d\n"
    "```\n"
    "\n"
    "- Durations: `250ms`, `5s`, `10m`, `1h30m`, `14d`; a bare number is seconds. Sizes: `64K`, "
    "`16M`, `1G` (powers of 1024); a bare number is bytes.\n"
    "- An unknown key, a key twice, a wrong type or a value out of range is an error that names "
    "the file, the line and the key:\n"
    "  `agentcored.yaml:3: limits.max_cpu_percent: 140 is outside 1 to 100`.\n"
    "- A section with nothing in it is fine, and so is an empty file. Aliases (`*name`), several "
    "documents and files over 1 MiB are refused.\n"
    "- `SIGHUP` (`systemctl reload agentcored`) reads the file again. A file that is wrong changes "
    "nothing: the old configuration stays, and the log says why. The same goes for a file that "
    "changes a setting marked *Restart*: restart the daemon to apply it.\n"
    "- `--socket`, `--state` and `--interval` on the command line come before the file.\n";

int config_write_markdown(struct buf *out)
{
    buf_append_str(out, markdown_head);
    for (size_t s = 0; s < config_section_count; s++) {
        const struct setting_section *section = &config_sections[s];
        buf_printf(out, "\n## %s\n\n", *section->name ? section->name : "At the top");
        if (section->help)
            buf_printf(out, "%s\n\n", section->help);
        buf_append_str(out, "| key | default | values | meaning |\n|---|---|---|---|\n");
        for (size_t i = 0; i < config_setting_count; i++) {
            if (strcmp(config_settings[i].section, section->name) == 0)
                markdown_row(out, &config_settings[i]);
        }
        if (strcmp(section->name, "discovery") == 0)
            rules_write_markdown(out);
    }
    return out->failed ? -ENOMEM : 0;
}
