# SPDX-License-Identifier: Apache-2.0
"""What bench/*/run share: lines of figures, goals and their sum, programs, unpacked packages."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build", "release"))
AGENTCORED = os.environ.get("AGENTCORED", os.path.join(BUILD, "src/apps/daemon/agentcored"))
AGENTCORE = os.environ.get("AGENTCORE", os.path.join(BUILD, "src/apps/cli/agentcore"))
GOALS = []


def program(name):
    """Builds a program of bench/meson.build. Returns its path."""
    path = os.path.join("bench", name)
    subprocess.run(["ninja", "-C", BUILD, "--quiet", path], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(BUILD, path)


def unpacked(package):
    """The directory of a Debian package that tools/fetch-deb unpacked, or None."""
    answer = subprocess.run([os.path.join(ROOT, "tools", "fetch-deb"), package],
                            capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None


def line(name, value, note=""):
    print(f"  {name:<44} {value:>12}   {note}", flush=True)


def goal(text, value, bound, most=False):
    ok = value <= bound if most else value >= bound
    GOALS.append(ok)
    print(f"  [{'reached' if ok else 'MISSED'}] {text}: {value:.4g}", flush=True)


def print_machine():
    with open("/proc/loadavg") as f:
        print("Load of the machine before:", f.read().split()[0], "on", os.cpu_count(), "CPUs;",
              os.uname().release)


def print_sum():
    print(f"\n{sum(GOALS)} of {len(GOALS)} figures reached")
