# SPDX-License-Identifier: Apache-2.0
"""agentcore history verify, export, import, --top and OpenMetrics, and agentcore usage: against a
daemon, and against the state directory that it leaves behind."""
import csv
import io
import os
import sqlite3
import subprocess
import sys

import tap
from tap import check, equal, run, test, wait_for

state = os.path.join(tap.directory(), "state")
FIRST = 1700000000
HEAD = "# TYPE agentcore_history_cpu_cores gauge\n"


def file(text, name="file.om"):
    path = os.path.join(tap.directory(), name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def sample(agent, second, value, family="cpu_cores"):
    label = f'{{agent="{agent}"}}' if agent else ""
    return f"agentcore_history_{family}{label} {value} {FIRST + second}.000\n"


def made():
    """Ten minutes of two agents and the machine, with a gap in one."""
    text = HEAD
    for agent in ("", "one", "two"):
        for second in range(600):
            if agent != "two" or not 100 <= second < 200:
                text += sample(agent, second, 0.5 + second % 7 / 4)
    text += "# TYPE agentcore_history_memory_bytes gauge\n"
    for second in range(600):
        text += sample("one", second, 4096 * (1000 + second), "memory_bytes")
    return text + "# EOF\n"


def samples(text, counters=False):
    """The lines that are samples of values (or of counters), with the value as a number."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return sorted((name, float(value), time) for name, value, time in lines
                  if ("_total" in name) == counters)


@test
def round_trip():
    """what was imported is exported as it was, into a second directory and out of it again"""
    source = made()
    text = run("history", "import", "--state", state, file(source))
    equal((text.code, text.err), (0, ""))
    equal(text.out, "2300 samples of 3 subjects in 600 ticks\n")
    out = os.path.join(tap.directory(), "out.om")
    text = run("history", "export", "--state", state, out)
    equal((text.code, text.err, text.out), (0, "", "4000 samples of 3 subjects\n"))
    equal(os.stat(out).st_mode & 0o777, 0o600)
    with open(out, encoding="utf-8") as first:
        exported = first.read()
    equal(samples(exported), samples(source))
    second = os.path.join(tap.directory(), "second")
    os.mkdir(second, 0o755)
    equal(run("history", "import", "--state", second, out, umask=0o022).code, 0)
    equal({os.stat(os.path.join(second, name)).st_mode & 0o777 for name in os.listdir(second)},
          {0o600}, "nobody else reads it")
    text = run("history", "export", "--state", second, "-")
    equal((text.code, samples(text.out)), (0, samples(exported)))
    equal(run("history", "export", "--json", "--state", second, out).json(),
          {"samples": 4000, "subjects": 3})
    part = run("history", "export", "--state", second, "--since", FIRST + 10, "--until",
               FIRST + 20, "-").out
    equal(len(samples(part)), 4 * 10)
    equal(len(samples(part, counters=True)), 3 * 10)
    again = run("history", "import", "--state", second, out)
    equal(again.code, 5, again.err)
    check("same time or later" in again.err, again.err)


def growth(text, name):
    """What a counter grew by, of each agent, and how many samples it has."""
    found = {}
    for line in text.splitlines():
        series, value = line.split()[0], line.split()[1]
        if series.startswith(f"agentcore_history_{name}_total"):
            found.setdefault(series.split("{")[-1], []).append(float(value))
    for series, values in found.items():
        check(all(a <= b for a, b in zip(values, values[1:])), "it never goes back:", series)
    return {series: (values[-1] - values[0], len(values)) for series, values in found.items()}


@test
def counters_come_back():
    """counters of CPU time and bytes are imported, and go before the rates between them"""
    text = HEAD + "".join(sample("a", second, 0.62) for second in range(4000))
    text += "# TYPE agentcore_history_disk_bytes_per_second gauge\n"
    text += "".join(sample("a", second, 2900, "disk_bytes_per_second") for second in range(4000))
    text += "# TYPE agentcore_history_cpu_seconds counter\n"
    text += "".join(sample("a", second, 7 + second * 0.625, "cpu_seconds_total")
                    for second in range(4000))
    text += "# TYPE agentcore_history_disk_bytes counter\n"  # every tenth sample only
    text += "".join(sample("a", second, second * 3000, "disk_bytes_total")
                    for second in range(0, 4000, 10))
    first = os.path.join(tap.directory(), "first")
    result = run("history", "import", "--json", "--state", first, file(text + "# EOF\n"))
    equal(result.code, 0, result.err)
    equal(result.json(), {"samples": 12400, "subjects": 1, "ticks": 4000, "others": 0})
    exported = run("history", "export", "--state", first, "-").out
    check("# TYPE agentcore_history_cpu_seconds counter\n" in exported)
    check("network" not in "".join(n for n, _, _ in samples(exported, counters=True)))
    grown, count = growth(exported, "cpu_seconds")['agent="a"}']
    check(count == 4000 and abs(grown - 3999 * 0.625) < 1, grown, count)
    grown, _ = growth(exported, "disk_bytes")['agent="a"}']
    check(abs(grown - 3999 * 3000) < 15000, grown)
    again = os.path.join(tap.directory(), "again")
    equal(run("history", "import", "--state", again, file(exported)).code, 0)
    second = run("history", "export", "--state", again, "-").out
    equal(samples(second), samples(exported))
    for name in ("cpu_seconds", "disk_bytes"):
        before, after = growth(exported, name), growth(second, name)
        check(abs(before['agent="a"}'][0] / after['agent="a"}'][0] - 1) < 1e-3, before, after)
    for bad in ("cpu_seconds", "cpu_cores_total", "cpu_seconds_created"):  # none of ours
        result = run("history", "import", "--state", os.path.join(tap.directory(), "bad"),
                     file(sample("a", 0, 1, bad) + "# EOF\n"))
        check("no samples" in result.err, bad, result.err)


@test
def others_read_it():
    """the OpenMetrics parser of Debian's python3-prometheus-client takes an export"""
    tool = os.path.join(os.environ.get("SOURCE_ROOT", "."), "tools", "fetch-deb")
    for package in ("python3-prometheus-client", "python3-decorator"):
        try:
            got = subprocess.run([tool, package], capture_output=True, text=True, timeout=120,
                                 check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise tap.Skip(str(error)) from error
        if got.returncode != 0:
            raise tap.Skip(f"{package} cannot be downloaded")
        sys.path.insert(0, os.path.join(got.stdout.strip(), "usr/lib/python3/dist-packages"))
    from prometheus_client.openmetrics import parser
    text = run("history", "export", "--state", state, "-").out
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    equal(len(families), 10)
    equal(families["agentcore_history_cpu_seconds"].type, "counter")
    equal(len(families["agentcore_history_cpu_cores"].samples), 1700)
    equal(families["agentcore_history_memory_bytes"].samples[0].labels, {"agent": "one"})


@test
def verify_finds_damage():
    """verify is quiet about a sound history, and finds a flipped byte with exit status 1"""
    text = run("history", "verify", "--state", state)
    equal((text.code, text.out), (0, f"{state}: sound\n"), text.err)
    equal(run("history", "verify", "--json", "--state", state).json(), {"findings": []})
    database = sqlite3.connect(os.path.join(state, "history.db"))
    damaged = 0
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
        for column in database.execute(f"PRAGMA table_info({table})").fetchall():
            if column[2] == "BLOB" and damaged == 0:
                row = database.execute(f"SELECT max(length({column[1]})) FROM {table}").fetchone()
                if row[0] and row[0] > 40:
                    blob = bytearray(database.execute(
                        f"SELECT {column[1]} FROM {table} WHERE length({column[1]}) = ?",
                        row).fetchone()[0])
                    old = bytes(blob)
                    blob[len(blob) // 2] ^= 0x10
                    damaged = database.execute(
                        f"UPDATE {table} SET {column[1]} = ? WHERE {column[1]} = ?",
                        (bytes(blob), old)).rowcount
    database.commit()
    database.close()
    equal(damaged, 1, "one row was changed")
    text = run("history", "verify", "--state", state)
    equal(text.code, 1, text.out + text.err)
    check("damaged" in text.out or "damaged" in text.err, text.out, text.err)


@test
def bad_files():
    """a file that is broken or cut off is refused with its line, and nothing is left behind"""
    good = sample("a", 0, 1)
    for text, wanted in (
            (HEAD + good, "# EOF is missing"), ("", "# EOF is missing"),
            ("# EOF\n", "no samples"), ("other 1 2\n# EOF\n", "no samples"),
            (good + "# EOF\n" + good, ":3: something behind # EOF"),
            (good + "{}\n# EOF\n", ":2: no name"), ("\n# EOF\n", ":1: no name"),
            (sample("a b", 0, 1) + "# EOF\n", ":1: labels"),
            (sample("x" * 129, 0, 1) + "# EOF\n", ":1: labels"),
            ('agentcore_history_cpu_cores{agent="a 1 1\n# EOF\n', ":1: labels"),
            ('agentcore_history_cpu_cores{agent="a"\n# EOF\n', ":1: labels"),
            ('agentcore_history_cpu_cores{agent="a\\x"} 1 1\n# EOF\n', ":1: labels"),
            (sample("a", 0, "-1") + "# EOF\n", ":1: no value"),
            (sample("a", 0, "NaN") + "# EOF\n", ":1: no value"),
            (sample("a", 0, "1e999") + "# EOF\n", ":1: no value"),
            ("agentcore_history_cpu_cores 1\n# EOF\n", ":1: no timestamp"),
            ("agentcore_history_cpu_cores 1 x\n# EOF\n", ":1: no timestamp"),
            ("agentcore_history_cpu_cores 1 1e30\n# EOF\n", ":1: no timestamp"),
            ("agentcore_history_cpu_cores 1 1 1\n# EOF\n", ":1: something behind"),
            ("x" * 5000 + "\n# EOF\n", ":1: a line that is cut or too long")):
        target = os.path.join(tap.directory(), "state")
        result = run("history", "import", "--state", target, file(text))
        equal(result.code, 1, (text[:80], result.err))
        check(wanted in result.err, text[:80], result.err)
        check(not os.path.exists(target), text[:80])


@test
def wrong_usage():
    """wrong usage is told apart from what is missing"""
    for words, wanted, part in (
            (("import", "x"), 2, "--state"),
            (("verify", "x", "--state", state), 2, "no file"),
            (("export", "--state", state), 2, "missing file"),
            (("import", "--state", state), 2, "missing file"),
            (("--state", state), 2, "--state is for"),
            (("a", "--agent", "b"), 2, "unexpected"), (("a", "--top", "3"), 2, "all agents"),
            (("--top", "0"), 2, "outside"), (("--top", "3", "--format", "spark"), 2, "formats"),
            (("--quantile", "0.5", "--format", "spark"), 2, "formats"),
            (("--quantile", "1.5"), 2, "not 0 to 1"), (("--quantile", "0.5,"), 2, "not 0 to 1"),
            (("--quantile", ",".join(["0.5"] * 9)), 2, "more than 8"),
            (("--quantile", "0.5", "--top", "3"), 2, "exclude"),
            (("a", "--quantile", "1", "-l", "b"), 2, "either"), (("a", "-p", "cot"), 2, "either"),
            (("-p", "swarm"), 2, "swarm"), (("a", "b c"), 2, "no agent id"),
            (("--quantile", "1", "-p", "swarm"), 2, "swarm"),
            (("export", "a", "b", "--state", state), 2, "unexpected"),
            (("export", "--state", state, "--since", "soon", "-"), 2, "no time"),
            (("verify", "--state", "/nonexistent"), 4, "No such file"),
            (("export", "--state", "/nonexistent", "-"), 4, "No such file"),
            (("import", "--state", state, "/nonexistent"), 1, "No such file"),
            (("export", "--state", state, "/nonexistent/x"), 1, "No such file")):
        result = run("history", *words)
        equal(result.code, wanted, (words, result.err))
        check(part in result.err, words, result.err)


@test
def with_the_daemon():
    """--top, OpenMetrics, usage and export answer from the running daemon; its directory is its"""
    directory = os.path.join(tap.directory(), "state")
    daemon = tap.Daemon("--state", directory)
    worker = subprocess.Popen([tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", "worker",
                               "-l", "team=a", "--", "sh", "-c", "while :; do :; done"],
                              env=tap.ENVIRONMENT)
    try:
        wait_for("use", lambda: any((r["cpu_seconds"] or 0) > 0.2 and r["samples"] >= 3
                                    for r in daemon.json("usage")["rows"]))
        equal([r["agent_id"] for r in daemon.json("history", "--top", "5")["top"]], ["worker"])
        check("worker" in daemon.run("history", "-n", "1").out)
        check(daemon.run("history", "--top", "1", "-f", "csv").out.startswith("agent,mean\nworker,"))
        text = daemon.run("history", "worker", "-f", "openmetrics", "-m", "cores,memory").out
        check(text.startswith("# TYPE agentcore_history_cpu_cores gauge\n"), text)
        check(text.endswith("# EOF\n") and '{agent="worker"}' in text, text)
        equal(daemon.json("history", "--agent", "worker")["subject"], "worker")
        equal([r["name"] for r in daemon.json("usage", "--by", "label:team")["rows"]], ["a"])
        rows = list(csv.DictReader(io.StringIO(daemon.run("usage", "-f", "csv").out)))
        check(rows[0]["name"] == "worker" and float(rows[0]["cpu_seconds"]) > 0, rows)
        table = daemon.run("usage", "--by", "philosophy").out
        check("react" in table and "CPU-SECONDS" in table, table)
        equal(daemon.run("usage", "--by", "team").code, 2)
        equal(daemon.run("usage", "--philosophy", "swarm").code, 2)
        exported = daemon.run("history", "export", "-", "--since", "10m")
        equal(exported.code, 0, exported.err)
        names = {name for name, _, _ in samples(exported.out)}
        check('agentcore_history_cpu_cores{agent="worker"}' in names, names)
        check("agentcore_history_memory_bytes" in names, names)
        verified = daemon.run("history", "verify")
        equal((verified.code, verified.out), (0, "the daemon's history: sound\n"), verified.err)
        equal(daemon.run("history", "verify", "--json").json(), {"findings": []})
        refused = daemon.run("history", "verify", "--state", directory)
        equal(refused.code, 5, refused.err)
        check("stop the daemon" in refused.err, refused.err)
    finally:
        worker.kill()
        worker.wait()
    daemon.stop()
    equal(run("history", "verify", "--state", directory).code, 0)
    after = {(name, time): value for name, value, time in
             samples(run("history", "export", "--state", directory, "-").out)}
    for name, value, time in samples(exported.out):  # JSON has six decimals: of MiB, a byte
        near = abs(after.get((name, time), -9) - value) <= (2 if "bytes" in name else 1e-6)
        check(near, "the same once it is stopped:", name, time, value, after.get((name, time)))


tap.main()
