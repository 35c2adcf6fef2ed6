# SPDX-License-Identifier: Apache-2.0
"""GPU use of agents, from a library of ours with the symbols of the vendor's."""
import json
import os
import shutil
import subprocess
import sys

import tap
from daemon_api import ticks
from tap import check, equal, run, test, wait_for

STANDIN = os.path.abspath(sys.argv[3])
SCRIPT = os.path.join(tap.directory(), "gpu")
started = []


def script(*lines):
    """What the driver tells from now on: "PID MIB PERCENT"."""
    with open(SCRIPT + ".new", "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    os.rename(SCRIPT + ".new", SCRIPT)


def daemon_with(library):
    tap.ENVIRONMENT["NVML_STANDIN"] = SCRIPT
    try:
        return tap.Daemon(config=f"gpu:\n  library: {library}\n")
    finally:
        del tap.ENVIRONMENT["NVML_STANDIN"]


def tree(daemon, identifier):
    process = subprocess.Popen(["sh", "-c", "sleep 300 & wait"], stdin=subprocess.DEVNULL)
    started.append(process)
    daemon.json("attach", "--pid", process.pid, "--id", identifier)
    child = wait_for("the child", lambda: children(process.pid))[0]
    started_children.append(int(child))
    return process.pid, int(child)


started_children = []


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def gpu(daemon, identifier):
    agent = daemon.json("show", identifier)
    return agent["gpu_memory_mb"], agent["gpu_percent"]


@test
def members_are_summed():
    """memory and utilisation of an agent's processes; 0 for one without; null when hidden"""
    script()
    daemon = daemon_with(STANDIN)
    root, child = tree(daemon, "trainer")
    tree(daemon, "idle")
    wait_for("nothing in use", lambda: gpu(daemon, "trainer") == (0, 0))
    script(f"{root} 100 30", f"{child} 28 25", "999999 5000 45")
    wait_for("both", lambda: gpu(daemon, "trainer") == (128, 55))
    equal(gpu(daemon, "idle"), (0, 0))
    text = daemon.run("show", "trainer").out
    check("GPU memory" in text and "128 MiB" in text and "55.0% of one device" in text, text)
    metrics = metrics_of(daemon)
    if metrics:
        check('agentcore_agent_gpu_memory_bytes{agent="trainer"' in metrics, metrics[-3000:])
        check('agentcore_agent_gpu_usage_ratio{agent="trainer"' in metrics)
    script(f"{root} 0 30", f"{child} 28 25")
    wait_for("hidden memory", lambda: gpu(daemon, "trainer") == (None, 55))
    script("lost")
    wait_for("a lost device", lambda: gpu(daemon, "trainer") == (None, None))
    wait_for("also of others", lambda: gpu(daemon, "idle") == (None, None))
    text = daemon.run("show", "trainer").out
    check("GPU" not in text, text)
    with open(daemon.log, encoding="utf-8") as log:
        text = log.read()
    check("GPU use is metered" in text and "a GPU is lost" in text, text)
    daemon.stop()


def metrics_of(daemon):
    if not shutil.which("curl"):
        return ""
    return subprocess.run(["curl", "-s", "--unix-socket", daemon.socket, "http://x/metrics"],
                          capture_output=True, check=True, text=True).stdout


@test
def a_driver_that_hangs():
    """while the driver hangs the daemon answers, measures, and ends when it is told to"""
    script()
    daemon = daemon_with(STANDIN)
    root, _ = tree(daemon, "trainer")
    script(f"{root} 100 30")
    wait_for("figures", lambda: gpu(daemon, "trainer") == (100, 30))
    script("hang")
    ticks(daemon, 30)  # the driver is asked about once a second
    equal(gpu(daemon, "trainer"), (100, 30))
    equal(daemon.stop(), 0)


@test
def off_and_absent_are_unknown():
    """without a library, and with "off", everything works and GPU use is null"""
    script()
    for library in ("off", "auto", "/nonexistent/libnvidia-ml.so.1"):
        daemon = tap.Daemon(config=f"gpu:\n  library: {library}\n")
        tree(daemon, "plain")
        wait_for("a measurement",
                 lambda: daemon.json("show", "plain")["usage"]["memory_mb"] is not None)
        equal(gpu(daemon, "plain"), (None, None), library)
        with open(daemon.log, encoding="utf-8") as log:
            equal("GPU use is unknown" in log.read(), library.startswith("/"), library)
        daemon.stop()


@test
def a_library_that_is_none():
    """a library without the functions is said, and nothing fails"""
    import ctypes.util
    name = ctypes.util.find_library("m")
    paths = [os.path.join(d, name) for d in ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
                                              "/usr/lib", "/lib64", "/lib") if name]
    path = next((p for p in paths if os.path.exists(p)), None)
    if not path:
        raise tap.Skip("no ordinary library found to try")
    daemon = tap.Daemon(config=f"gpu:\n  library: {path}\n")
    with open(daemon.log, encoding="utf-8") as log:
        check("it has no nvmlInit_v2" in log.read())
    equal(run("--socket", daemon.socket, "ps").code, 0)
    daemon.stop()


@test
def recorded_and_replayed():
    """a recording holds what GPUs told; its replay says the most memory an agent had there"""
    path = os.path.join(tap.directory(), "gpu.rec")
    process = subprocess.Popen(["sleep", "300"], stdin=subprocess.DEVNULL)
    started.append(process)
    script(f"{process.pid} 640 30", "999999 5000 45")
    tap.ENVIRONMENT["NVML_STANDIN"] = SCRIPT
    try:
        for library, told in ((STANDIN, 640), ("off", None)):
            done = run("record", path, "--force", "--no-daemon", "--collector", "procfs",
                       "--gpu", library, "--attach", f"trainer={process.pid}",
                       "--interval", "100ms", "--samples", "3")
            equal(done.code, 0, done.err)
            again = run("replay", path, "--json")
            equal(again.code, 0, again.err)
            agent, = json.loads(again.out)["agents"]
            equal(agent["gpu_memory_peak_mb"], told, library)
            text = run("replay", path).out
            check("GPU MEM" in text and ("640M" in text) == (told is not None), text)
        wrong = run("record", path + ".no", "--no-daemon", "--gpu", "/nonexistent/libnvidia-ml.so.1")
        equal(wrong.code, 1)
        check("NVML" in wrong.err and not os.path.exists(path + ".no"), wrong.err)
    finally:
        del tap.ENVIRONMENT["NVML_STANDIN"]


def doctor_of_gpu(directory):
    """What doctor finds with the library of that directory in front."""
    before = dict(tap.ENVIRONMENT)
    tap.ENVIRONMENT.update(NVML_STANDIN=SCRIPT, LD_LIBRARY_PATH=directory)
    try:
        found = json.loads(run("doctor", "--json").out)
        return next(c for c in found["checks"] if c["check"] == "gpu")
    finally:
        tap.ENVIRONMENT.clear()
        tap.ENVIRONMENT.update(before)


@test
def doctor():
    """doctor tells library, devices and what they tell; no library is no fault"""
    directory = os.path.join(tap.directory(), "library")
    os.mkdir(directory)
    none = doctor_of_gpu(directory)
    if "no NVML library" in none["found"]:
        equal((none["result"], none["advice"]), ("ok", None), none)
    os.symlink(STANDIN, os.path.join(directory, "libnvidia-ml.so.1"))
    script("1 100 30")
    good = doctor_of_gpu(directory)
    equal((good["result"], good["advice"]), ("ok", None), good)
    check("1 device;" in good["found"] and "memory yes, use yes" in good["found"], good)
    script("lost")
    lost = doctor_of_gpu(directory)
    equal(lost["result"], "limited")
    check("memory unknown" in lost["found"] and lost["advice"], lost)


def end_all():
    for pid in started_children:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    for process in started:
        process.kill()
        process.wait()


try:
    tap.main()
finally:
    end_all()
