# SPDX-License-Identifier: Apache-2.0
"""Manual pages, docs/cli.md and completions name every command and option that there is."""
import os
import re
import shutil
import subprocess

import tap
from tap import check, equal, run, test

ROOT = os.environ.get("SOURCE_ROOT", os.path.join(os.path.dirname(__file__), "..", ".."))
MAN = os.path.join(ROOT, "docs", "man")
BASH = os.path.join(ROOT, "packaging", "completions", "bash", "agentcore")
ZSH = os.path.join(ROOT, "packaging", "completions", "zsh", "_agentcore")
HELP = run("help", "--json").json()
COMMON = [o["name"] for o in HELP["options"]]


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def options_of(command):
    return {o["name"]: o["letter"] for o in command["options"]}


@test
def manual_is_well_formed():
    """mandoc finds nothing wrong with the manual pages"""
    if not shutil.which("mandoc"):
        raise tap.Skip("mandoc is not installed")
    for page in sorted(os.listdir(MAN)):
        if page.endswith((".1", ".5", ".8")):
            result = run("-T", "lint", "-W", "warning", os.path.join(MAN, page), program="mandoc")
            equal((result.code, result.out + result.err), (0, ""), page)


def manual_sections():
    """The text of each .Ss of agentcore.1 by its first word."""
    sections = {}
    name = None
    for line in read("docs", "man", "agentcore.1").splitlines():
        if line.startswith((".Ss ", ".Sh ")):
            name = line.split()[1] if line.startswith(".Ss ") else None
            if line == ".Ss Common options":
                name = "common"
        elif name:
            sections.setdefault(name, []).append(line)
    return {name: "\n".join(lines) for name, lines in sections.items()}


def documented(section):
    """Options with an entry of their own: {name: letter}."""
    found = {}
    for line in section.splitlines():
        match = re.match(r"\.It (?:Fl (\w) , )?Fl -([a-z-]+)", line)
        if match:
            found[match.group(2)] = match.group(1)
    return found


@test
def manual_names_every_option():
    """agentcore.1 has an entry for every option of every command, and for no other"""
    sections = manual_sections()
    equal(documented(sections["common"]), {o["name"]: o["letter"] for o in HELP["options"]})
    for command in HELP["commands"]:
        check(command["name"] in sections, command["name"])
        equal(documented(sections[command["name"]]), options_of(command), command["name"])


@test
def daemon_manual_names_every_option():
    """agentcored.8 has an entry for every option that agentcored --help shows"""
    text = run("--help", program=tap.AGENTCORED).out
    wanted = dict((name, letter or None) for letter, name in
                  re.findall(r"^ +(?:-(\w), )?--([a-z-]+)", text, re.M))
    check(wanted, text)
    equal(documented(read("docs", "man", "agentcored.8")), wanted)


@test
def guide_names_every_command():
    """docs/cli.md shows every command and exit status"""
    text = read("docs", "cli.md")
    for command in HELP["commands"]:
        if command["name"] not in ("help", "version"):
            check(f"agentcore {command['name']}" in text, command["name"])
    for status in (0, 1, 2, 3, 4, 5):
        check(f"| {status} |" in text, status)


def complete(*words, socket=None):
    """What bash offers for the last of the words."""
    script = f"""
        PATH={os.path.dirname(tap.AGENTCORE)}:$PATH
        . {BASH}
        COMP_WORDS=(agentcore "$@"); COMP_CWORD=$#
        _agentcore
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = run("--norc", "-c", script, "bash", *words, program="bash",
                 env={"AGENTCORE_SOCKET": socket or os.path.join(tap.EMPTY, "none")})
    equal(result.err, "", words)
    return result.out.split()


@test
def bash_completes_every_option():
    """bash completes commands, and exactly the options of each"""
    equal(sorted(complete("")), sorted(c["name"] for c in HELP["commands"]))
    equal(complete("hist"), ["history"])
    equal(sorted(complete("--")), sorted("--" + n for n in COMMON))
    for command in HELP["commands"]:
        wanted = sorted("--" + n for n in list(options_of(command)) + COMMON)
        equal(sorted(complete(command["name"], "--")), wanted, command["name"])
        equal(sorted(complete("--color", "never", "--json", command["name"], "--")), wanted)


@test
def bash_completes_every_choice():
    """bash completes the words of every option that has a choice of them"""
    for command in HELP["commands"]:
        for option in command["options"] + HELP["options"]:
            if option["argument"] and "|" in option["argument"]:
                equal(sorted(complete(command["name"], "--" + option["name"], "")),
                      sorted(option["argument"].split("|")), (command["name"], option["name"]))
    equal(complete("predict", "mul"), ["multi_agent"])


@test
def bash_leaves_the_program_alone():
    """behind run's program bash completes that program, not agentcore"""
    for words in (("run", "--", "ls", "--"), ("run", "--id", "x", "ls", "--s"), ("run", "ls", "--")):
        check(not any(w in ("--socket", "--id", "--standalone") for w in complete(*words)), words)
    check("--standalone" in complete("run", "--memory", "1G", "--"))
    check(complete("run", "--", "tru") and "true" in complete("run", "--", "tru"))


@test
def bash_completes_ids():
    """bash completes the ids that the daemon knows"""
    daemon = tap.Daemon()
    equal(daemon.run("run", "--id", "known-agent", "true").code, 0)
    for words in (("show", ""), ("stop", "known"), ("history", ""), ("alerts", "--agent", "")):
        equal(complete(*words, socket=daemon.socket), ["known-agent"], words)
    equal(complete("--socket", daemon.socket, "show", ""), ["known-agent"])
    daemon.stop()


@test
def zsh_knows_every_option():
    """the zsh completion parses, and names every command and option in its place"""
    text = read("packaging", "completions", "zsh", "_agentcore")
    branches = {}
    for part in re.split(r"\n        (?=[a-z]+\) )|\n        (?=[a-z]+\)\n)", text):
        match = re.match(r"([a-z]+)\)", part)
        if match:
            branches[match.group(1)] = part.split(";;")[0]
    agent = text.split("    agent=(")[1].split("\n    )")[0]
    common = text.split("    common=(")[1].split("\n    )")[0]
    for option in HELP["options"]:
        check("--" + option["name"] in common, option["name"])
    for command in HELP["commands"]:
        check(f"'{command['name']}:" in text, command["name"])
        branch = branches.get(command["name"], "")
        branch += agent if "$agent" in branch else ""
        for name in options_of(command):
            check("--" + name in branch, command["name"], name)
    if not shutil.which("zsh"):
        raise tap.Skip("zsh is not installed: its syntax was not checked")
    result = subprocess.run(["zsh", "-n", ZSH], capture_output=True, check=False)
    equal((result.returncode, result.stderr), (0, b""))


tap.main()
