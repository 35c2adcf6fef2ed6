#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs pytest and prints TAP, for meson: run_tap.py FILE [pytest arguments]"""

import os
import sys

sys.dont_write_bytecode = True

import pytest  # noqa: E402


class Tap:
    """One line per case; what a failed one said follows as comments."""

    def __init__(self, out):
        self.out = out
        self.count = 0
        self.setup_failed = set()

    def say(self, text):
        self.out.write(text + "\n")
        self.out.flush()

    def result(self, report, ok, suffix=""):
        self.count += 1
        name = report.nodeid.split("::", 1)[-1].replace("#", "")
        self.say(f"{'ok' if ok else 'not ok'} {self.count} - {name}{suffix}")

    def comment(self, text):
        for line in str(text).splitlines()[-60:]:
            self.say("# " + line)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report):
        if report.skipped and report.when in ("setup", "call"):
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.wasxfail
            self.result(report, True, f" # SKIP {reason}")
        elif report.when == "call" or report.failed:
            self.result(report, report.passed)
            if report.failed:
                self.comment(report.longreprtext)

    @pytest.hookimpl
    def pytest_collectreport(self, report):
        if report.failed:
            self.result(report, False)
            self.comment(report.longreprtext)


def main():
    # What tests and their children print must not be taken for TAP.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tap = Tap(out)
    status = pytest.main([*sys.argv[1:], "-q"], plugins=[tap])
    tap.say(f"1..{tap.count}")
    return 0 if status == 0 and tap.count else 1


if __name__ == "__main__":
    sys.exit(main())
