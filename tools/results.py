# SPDX-License-Identifier: Apache-2.0
"""Counts individual test cases over all kinds of tests: those that print TAP, and programs that
only have an exit status, from meson's log."""

import collections
import json
import re
import subprocess

PASS, FAIL, SKIP = "passed", "failed", "skipped"
NO_REASON = "no reason given"

Case = collections.namedtuple("Case", "test name outcome reason", defaults=[""])

_TAP_CASE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
_TAP_PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$", re.I)
_TAP_SKIP = re.compile(r"^(.*?)\s*#\s*skip\S*\s*(.*)$", re.I)


def parse_tap(test, text):
    """Cases of one program's output. What a program says before a skipped case, or in comments
    behind a failed one, is its reason (cmocka prints no reason of its own)."""
    cases, said, planned = [], [], None
    for line in text.splitlines():
        plan = _TAP_PLAN.match(line)
        match = _TAP_CASE.match(line)
        if plan:
            planned = int(plan.group(1))
            if planned == 0:
                cases.append(Case(test, test, SKIP, plan.group(2) or NO_REASON))
        elif match:
            skip = _TAP_SKIP.match(match.group(3))
            if skip:
                # cmocka writes "not ok 2 # SKIP name"; everybody else "ok 2 - name # SKIP reason".
                name, reason = (skip.group(2), "") if not skip.group(1) else skip.groups()
                cases.append(Case(test, name, SKIP, reason or " ".join(said[-3:]) or NO_REASON))
            else:
                cases.append(Case(test, match.group(3) or match.group(2) or "?", FAIL if match.group(1) else PASS))
            said = []
        elif line.startswith("#") and cases and cases[-1].outcome == FAIL and len(cases[-1].reason) < 4000:
            cases[-1] = cases[-1]._replace(reason=cases[-1].reason + line.lstrip("# ") + "\n")
        elif line.strip():
            said.append(line.strip("# "))
    done = len([c for c in cases if c.name != test or c.outcome != SKIP])
    if planned and done < planned:
        cases.append(Case(test, f"cases {done + 1} to {planned}", FAIL, "did not run: the program ended early"))
    return cases


def cases_of_run(run, prefix):
    """Cases of one line of meson's testlog.json."""
    test = prefix + run["name"].split(" / ")[-1]
    output = run.get("stdout") or ""
    cases = parse_tap(test, output)
    bad = run["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
    if run["result"] == "FAIL" and run.get("returncode") == 0 and any(c.outcome == SKIP for c in cases):
        bad = False  # meson takes cmocka's "not ok 2 # SKIP" for a failure
    if run.get("stderr"):
        said = run["stderr"].replace("(test program exited with status code 1)", "")
        cases = [c._replace(reason=" ".join(said.split()[:60]) or NO_REASON)
                 if c.outcome == SKIP and c.reason == NO_REASON else c for c in cases]
    tail = "\n".join((output + "\n" + (run.get("stderr") or "")).strip().splitlines()[-40:])
    if not cases:
        if run["result"] == "SKIP":
            return [Case(test, test, SKIP, tail or NO_REASON)]
        return [Case(test, test, FAIL if bad else PASS, f"{run['result']}\n{tail}" if bad else "")]
    failed = [i for i, c in enumerate(cases) if c.outcome == FAIL]
    if bad and not failed:
        cases.append(Case(test, run["result"].lower(), FAIL, tail))
    elif failed and run.get("stderr"):
        # The program's own messages: cmocka prints its reasons there.
        said = "\n".join(run["stderr"].strip().splitlines()[-30:])
        cases[failed[-1]] = cases[failed[-1]]._replace(reason=cases[failed[-1]].reason + said)
    return cases


def list_tests(folder):
    """Tests of a meson build directory: name, suites (without the project's prefix), program, and
    the modules that it loads."""
    out = subprocess.run(["meson", "introspect", "--tests", str(folder)], capture_output=True, check=True).stdout
    return [{"name": t["name"], "suites": [s.split(":")[-1] for s in t["suite"]], "program": t["cmd"][0],
             "modules": [a for a in t["cmd"][1:] if a.endswith(".so")]}
            for t in json.loads(out)]


class Total:
    """All cases so far."""

    def __init__(self):
        self.cases = []

    def add(self, case):
        self.cases.append(case)

    def add_meson_log(self, path, prefix=""):
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.cases += cases_of_run(json.loads(line), prefix)

    def report(self):
        """Prints what failed and why, what was skipped and why, and the sum. Returns the exit
        status."""
        count = collections.Counter(c.outcome for c in self.cases)
        if count[SKIP]:
            print("\nSkipped:")
        for case in self.cases:
            if case.outcome == SKIP:
                print(f"  {case.test}: {case.name}: {case.reason.strip()}")
        if count[FAIL]:
            print("\nFailed:")
        for case in self.cases:
            if case.outcome == FAIL:
                print(f"  {case.test}: {case.name}")
                for line in case.reason.strip().splitlines():
                    print(f"      {line}")
        print(f"\n{count[PASS]} passed, {count[FAIL]} failed, {count[SKIP]} skipped", flush=True)
        return 1 if count[FAIL] or not count[PASS] else 0
