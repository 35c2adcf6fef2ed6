# SPDX-License-Identifier: Apache-2.0
"""agentcore: options, wrong usage, help; nothing here needs a daemon."""
import json
import os
import re
import shutil
import subprocess

import tap
from tap import check, equal, run, test

NOWHERE = os.path.join(tap.EMPTY, "no-daemon-here.sock")

WRONG = [
    # arguments, what the message must contain
    ([], "which command"),
    (["nonsense"], "unknown command 'nonsense'"),
    (["satus"], "did you mean status?"),
    (["ps", "--nonsense"], "unknown option '--nonsense'"),
    (["ps", "--wid"], "did you mean --wide?"),
    (["ps", "-Z"], "unknown option '-Z'"),
    (["--nonsense", "ps"], "unknown option"),
    (["ps", "--wide=yes"], "takes no value"),
    (["ps", "--sort"], "needs a value"),
    (["ps", "--sort", "colour"], "is not one of id|"),
    (["ps", "--state", "asleep"], "is not one of running|exited|orphans"),
    (["ps", "--philosophy", "stoic"], "no philosophy"),
    (["ps", "operand"], "unexpected operand 'operand'"),
    (["ps", "--color", "sometimes"], "auto|always|never"),
    (["show"], "missing operand"),
    (["show", "a b"], "no agent id"),
    (["show", "../../etc/passwd"], "no agent id"),
    (["show", ""], "no agent id"),
    (["show", "x" * 129], "no agent id"),
    (["show", "ünï"], "no agent id"),
    (["show", "a", "b"], "unexpected operand"),
    (["run"], "missing operand"),
    (["run", "--id", "a/b", "true"], "no agent id"),
    (["run", "--philosophy", "stoic", "true"], "is not one of react|cot|"),
    (["run", "--memory", "lots", "true"], "is not a size"),
    (["run", "--memory", "0", "true"], "is outside"),
    (["run", "--memory", "-1", "true"], "is not a size"),
    (["run", "--memory", "1e3M", "true"], "is not a size"),
    (["run", "--memory", "99999999999999999999G", "true"], "too large"),
    (["run", "--cpu", "nan", "true"], "is not a number"),
    (["run", "--cpu", "inf", "true"], "is not a number"),
    (["run", "--cpu", "0", "true"], "is outside"),
    (["run", "--cpu", "-1", "true"], "is outside"),
    (["run", "--cpu", "1,5", "true"], "is not a number"),
    (["run", "--time", "soon", "true"], "is not a duration"),
    (["run", "--time", "0s", "true"], "is outside"),
    (["run", "--files", "1.5", "true"], "is not a whole number"),
    (["run", "--label", "team", "true"], "not KEY=VALUE"),
    (["run", "--label", "1=x", "true"], "label"),
    (["run", "--label", "=x", "true"], "label"),
    (["run", "--label", "k=" + "x" * 600, "true"], "512"),
    (["run", "--label", b"k=\xff", "true"], "UTF-8"),
    (["run", "--template", "", "true"], "--template"),
    (["run", "--template", "x" * 128, "true"], "--template"),
    (["attach"], "--pid PID is required"),
    (["attach", "--pid", "0"], "is outside"),
    (["attach", "--pid", "-5"], "whole number"),
    (["attach", "--pid", "99999999"], "is outside"),
    (["ack"], "missing operand"),
    (["ack", ""], "not empty"),
    (["alerts", "--severity", "bad"], "info|warning|critical|emergency"),
    (["alerts", "--agent", "a b"], "no agent id"),
    (["alerts", "--limit", "0"], "is outside"),
    (["watch", "--kind", "x"], "is not one of alert|"),
    (["watch", "--after", "x"], "whole number"),
    (["watch", "--count", "0"], "is outside"),
    (["history", "--since", "yesterday"], "no time"),
    (["history", "--since", "2026-13-45T00:00:00Z"], "no time"),
    (["history", "--since", "1h", "--until", "2h"], "before"),
    (["history", "--metric", "happiness"], "is not one of cpu"),
    (["history", "--metric", "cpu,,memory"], "is not one of cpu"),
    (["history", "--step", "0"], "is outside"),
    (["history", "--format", "xml"], "table|spark|csv|json"),
    (["history", "--limit", "-1"], "whole number"),
    (["history", "--limit", "100001"], "is outside"),
    (["run", "--memory", "2000000000M", "true"], "is outside"),
    (["allocate"], "--id ID is required"),
    (["allocate", "--id", "x", "--policy", "maybe"], "recommend|strict|queue"),
    (["scale", "stoic"], "no philosophy"),
    (["scale", "react", "0"], "no number of agents"),
    (["scale", "react", "-1"], "unknown option '-1'"),
    (["scale", "react", "1000001"], "1 to 1000000"),
    (["scale", "react", "99999999999"], "no number of agents"),
    (["scale", "react", "1", "2"], "unexpected operand"),
    (["predict"], "missing operand"),
    (["predict", "stoic"], "no philosophy"),
    (["stop"], "missing operand"),
    (["stop", "--signal", "NOPE", "x"], "is not one of TERM"),
    (["stop", "--signal", "9999", "x"], "is not one of TERM"),
    (["stop", "--signal", "STOP", "x"], "is not one of TERM"),
    (["stop", "--signal", "0", "x"], "is not one of TERM"),
    (["stop", "--grace", "3601s", "x"], "is outside"),
    (["stop", "--grace", "-1s", "x"], "is not a duration"),
    (["top", "--delay", "0"], "is outside"),
    (["top", "--filter", "x" * 200], "--filter"),
    (["record", "--samples", "0", "/nonexistent/f"], "is outside"),
    (["help", "nonsense"], "unknown command"),
    (["status", "--url", "ftp://x"], "ftp"),
]


@test
def wrong_usage():
    """wrong usage: exit status 2, one line that says what is wrong, and a hint"""
    for arguments, wanted in WRONG:
        arguments = [a if isinstance(a, str) else os.fsdecode(a) for a in arguments]
        result = run("--socket", NOWHERE, *arguments)
        equal(result.code, 2, f"{arguments} {result.err}")
        lines = result.err.splitlines()
        check(wanted in lines[0], f"{arguments}: {wanted!r} not in {lines[0]!r}")
        check(lines[0].startswith("agentcore"), lines[0])
        check(len(lines) == 1 or lines[1].startswith("Try 'agentcore "), result.err)
        check(len(lines) <= 2, result.err)
        equal(result.out, "", arguments)


@test
def hostile_arguments():
    """what stands in a message of an error cannot speak to the terminal"""
    for arguments in (["\033[31m"], ["ps", "--\033[31m"], ["show", "a\033]0;x\007"],
                      ["scale", "\033[2J"], ["ps", "--sort", "\r\n\033c"],
                      ["run", "--label", "\033=x", "true"], ["stop", "--signal", "\x9b31m", "x"],
                      ["show", "\u202eevil"], ["history", "--metric", "\x7f\x00".replace("\x00", "")]):
        result = run("--socket", NOWHERE, *arguments)
        equal(result.code, 2, arguments)
        for c in result.err.replace("\n", ""):
            check(" " <= c and c != "\x7f" and not "\x80" <= c <= "\x9f" and c != "\u202e",
                  repr(result.err))


@test
def no_daemon():
    """commands that need a daemon say so with exit status 3"""
    for arguments in (["ps"], ["status"], ["top"], ["show", "x"], ["alerts"], ["ack", "x"],
                      ["watch"], ["history"], ["allocate", "--id", "x"], ["scale"],
                      ["predict", "react"], ["stop", "x"], ["attach", "--pid", os.getpid()],
                      ["run", "true"], ["allocate", "--list"], ["allocate", "--release", "x"]):
        result = run("--socket", NOWHERE, *arguments)
        equal(result.code, 3, f"{arguments} {result.err}")
        equal(len(result.err.splitlines()), 1, result.err)
        check("no daemon at " + NOWHERE in result.err, result.err)
    searched = run("ps")
    equal(searched.code, 3, searched.err)
    for place in ("/run/agentcore/agentcore.sock", os.path.join(tap.EMPTY, "agentcore.sock")):
        check(place in searched.err, searched.err)
    check("AGENTCORE_SOCKET" in searched.err, searched.err)


@test
def run_without_daemon():
    """run meters by itself where no daemon is found, unless one was named"""
    result = run("run", "--json", "sh", "-c", "exit 4")
    equal(result.code, 4)
    equal(result.last()["exit_code"], 4)
    result = run("--socket", NOWHERE, "run", "true")
    check("--standalone runs without" in result.err, result.err)
    equal(run("--socket", NOWHERE, "run", "--standalone", "-q", "true").code, 0)


@test
def help_texts():
    """help, --help, -h and version work and agree, per command too"""
    overview = run("help")
    equal(overview.code, 0)
    equal(run("--help").out, overview.out)
    equal(run("-h").out, overview.out)
    for name in commands():
        check(f"  {name} " in overview.out, name)
        text = run(name, "--help")
        equal(text.code, 0, name)
        equal(text.err, "")
        check(text.out.startswith(f"Usage: agentcore {name}"), text.out)
        equal(run("help", name).out, text.out, name)
        equal(run("--help", name).out, text.out, name)
        for line in text.out.splitlines():
            check(len(line) <= 100, f"{name}: too long: {line}")
    version = run("version")
    equal(run("--version").out, version.out)
    equal(json.loads(run("version", "--json").out)["version"], version.out.split()[1])


def commands():
    return [c["name"] for c in run("help", "--json").json()["commands"]]


@test
def common_options_anywhere():
    """common options are taken in front of and behind the command"""
    for arguments in (["--socket", NOWHERE, "ps"], ["ps", "--socket", NOWHERE],
                      [f"--socket={NOWHERE}", "--json", "ps"], ["ps", f"--socket={NOWHERE}"]):
        check(NOWHERE in run(*arguments).err, arguments)
    result = run("ps", env={"AGENTCORE_SOCKET": NOWHERE})
    check(NOWHERE in result.err, result.err)


@test
def output_errors_are_seen():
    """a full device under standard output is a failure"""
    with open("/dev/full", "wb") as full:
        process = subprocess.run([tap.AGENTCORE, "help"], stdout=full, stderr=subprocess.PIPE,
                                 env=tap.ENVIRONMENT, check=False)
    equal(process.returncode, 1)
    check(b"cannot write" in process.stderr, process.stderr)


CAP_NET_ADMIN, CAP_SYS_PTRACE = 12, 19


def holds(capability):
    with open("/proc/self/status", encoding="ascii") as file:
        held = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.MULTILINE)[1], 16)
    return bool(held >> capability & 1)


@test
def doctor():
    """doctor judges every point, with advice where something is limited, in text and JSON"""
    result = run("doctor", "--json", "--socket", NOWHERE)
    equal(result.code, 0, result.err)
    report = result.json()
    equal(report["metering"], True)
    ids = [c["check"] for c in report["checks"]]
    for wanted in ("kernel", "btf", "capabilities", "cgroup", "controllers", "psi", "delegation",
                   "hidepid", "io", "open_files", "ptrace", "daemon", "state", "disk_space",
                   "capacity", "proc", "pss", "gpu"):
        check(wanted in ids, wanted)
    for item in report["checks"]:
        check(item["result"] in ("ok", "limited", "missing"), item)
        equal(item["advice"] is None, item["result"] == "ok", item)
        check(item["found"], item)
    equal([c for c in report["checks"] if c["check"] == "daemon"][0]["result"], "limited")
    if holds(CAP_SYS_PTRACE):  # what is not readable with it no advice makes readable
        equal([c for c in report["checks"] if c["check"] == "io"][0]["result"], "ok")
    text = run("doctor", "--socket", NOWHERE)
    equal(text.code, 0)
    check("no daemon at" in text.out and " ok, " in text.out.splitlines()[-1], text.out)


@test
def doctor_as_ordinary_user():
    """doctor as an ordinary user says what is limited, and still meters"""
    result = run("doctor", "--json", "--socket", NOWHERE, user=tap.NOBODY)
    equal(result.code, 0, result.err)
    found = {c["check"]: c for c in result.json()["checks"]}
    equal(found["capabilities"]["result"], "limited")
    equal(found["io"]["result"], "limited")
    check("root" in found["io"]["advice"])


@test
def doctor_without_bpf():
    """doctor without the capabilities for BPF finds procfs+netlink, and says why"""
    if os.geteuid() != 0 or not holds(CAP_NET_ADMIN):
        raise tap.Skip("needs root with CAP_NET_ADMIN to keep that and drop the rest")
    if not shutil.which("setpriv"):
        raise tap.Skip("setpriv is not installed")
    dropped = ["--bounding-set", "-sys_admin,-bpf,-perfmon", "--"]
    if run(*dropped, "true", program="setpriv").code != 0:
        raise tap.Skip("setpriv cannot drop the capabilities for BPF here")
    result = run(*dropped, tap.AGENTCORE, "doctor", "--json", "--socket", NOWHERE,
                 program="setpriv")
    equal(result.code, 0, result.err)
    found = {c["check"]: c for c in result.json()["checks"]}
    collector = found["collector"]
    for reason in ("Connection refused", "not supported", "not permitted"):  # in a container
        if reason in collector["found"]:
            raise tap.Skip("no events of processes here: " + collector["found"])
    check(collector["found"].startswith("procfs+netlink: no bpf: "), collector)
    check("CAP_BPF" in collector["found"], collector)
    equal(collector["result"], "limited")
    check(collector["advice"], collector)
    equal(found["capabilities"]["result"], "limited")
    equal(found["capabilities"]["found"],
          "this user: CAP_BPF no, CAP_PERFMON no, CAP_NET_ADMIN yes")


@test
def colours():
    """colours only where they are wanted: --color, NO_COLOR, TERM, no terminal"""
    for arguments, environment, wanted in ((["--color", "always"], {"NO_COLOR": "1"}, True),
                                           (["--color", "never"], {}, False), ([], {}, False)):
        result = run(*arguments, "doctor", "--socket", NOWHERE, env=environment)
        equal("\033[" in result.out, wanted, arguments)
    if not shutil.which("script"):
        raise tap.Skip("script(1) is not installed")
    for environment, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
                                ({"NO_COLOR": ""}, True)):
        result = run("-qec", f"{tap.AGENTCORE} doctor --socket {NOWHERE}", "/dev/null",
                     program="script", env=environment)
        equal("\033[" in result.out, wanted, environment)


tap.main()
