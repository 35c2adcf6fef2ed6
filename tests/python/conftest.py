# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import textwrap

import pytest

from agentcore import AgentConfig, ResourceManager, ResourceMonitor


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def monitor():
    return ResourceMonitor()


@pytest.fixture
def manager():
    return ResourceManager()


@pytest.fixture
def config():
    return AgentConfig("test-agent")


@pytest.fixture
def python():
    """Runs a program in an interpreter of its own; what it printed, or a failure."""

    def run(program, timeout=120, status=0):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True,
                              timeout=timeout, check=False, env=dict(os.environ, PYTHONFAULTHANDLER="1"))
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run
