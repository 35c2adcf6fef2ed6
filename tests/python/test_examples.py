# SPDX-License-Identifier: Apache-2.0
"""The programs in examples/python run and say what they promise."""

import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).parents[2])) / "examples" / "python"
PROGRAMS = {
    "embedded.py": (["2"], ["job-0: 256 MiB promised", "job-1: ", "agents left: 0"]),
    "service.py": ([], ['"memory_percent"', '"id": "alloc-', '"agents": 1']),
    "self_tracking.py": (["12"], ["step 11 done", "confidence before: 0.00", "(from 12 steps"]),
    "daemon_client.py": (["/nonexistent/socket"], ["no agentcored at", "metering in this process", "agents: client"]),
}


def test_each_example_is_tested():
    assert sorted(path.name for path in FOLDER.glob("*.py")) == sorted(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name):
    arguments, expected = PROGRAMS[name]
    done = subprocess.run([sys.executable, "-B", FOLDER / name, *arguments], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_says_how_to_run_it(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert f"PYTHONPATH=build/python /usr/bin/python3 examples/python/{name}" in text
