# SPDX-License-Identifier: Apache-2.0
"""The package and its process: exit, fork, subinterpreters, leaks."""

import gc
import os
import resource
import sys
import tracemalloc

import pytest

from agentcore import AgentConfig, DynamicScaler, ResourceLimits, ResourceManager, ResourceMonitor, ResourceUsage

EXITS = {
    "everything running": """
        import asyncio, sys, threading, time
        from agentcore import *
        manager = ResourceManager(check_interval_seconds=0.01)
        manager.limits.alert_threshold_percent = 1
        manager.register_alert_handler(lambda alert: time.sleep(0.001))
        async def asynchronous(alert): pass
        manager.register_alert_handler(asynchronous)
        monitor = ResourceMonitor(check_interval_seconds=0.01, provider_timeout_seconds=0.01)
        def hangs():
            time.sleep(1000)
        def busy():
            while True:
                manager.track_agent_usage("a", ResourceUsage(cpu_percent=time.monotonic() * 1000 % 100))
        threading.Thread(target=busy, daemon=True).start()
        loop = asyncio.new_event_loop()
        async def main():
            await manager.start()
            await monitor.start(hangs)
            await asyncio.sleep(0.2)
        loop.run_until_complete(main())
        print("left")
    """,
    "a manager that samples, with the loop still open": """
        import asyncio
        from agentcore import *
        manager = get_resource_manager()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.start())
        print("left")
    """,
    "an exception": """
        import asyncio
        from agentcore import *
        async def main():
            async with ResourceManager(check_interval_seconds=0.01):
                await asyncio.sleep(0.05)
                print("left")
                raise SystemExit(0)
        asyncio.run(main())
    """,
    "calls after the package was shut down": """
        import atexit, asyncio
        def late():
            manager.track_agent_usage("a", ResourceUsage(cpu_percent=99))
            manager.get_system_metrics()
            try:
                manager._start()
            except RuntimeError as error:
                assert "shutting down" in str(error)
                print("left")
        atexit.register(late)
        from agentcore import *
        manager = ResourceManager()
    """,
}


@pytest.mark.parametrize("name", EXITS)
def test_exit(python, name):
    done = python(EXITS[name], timeout=60)
    assert done.stdout.strip() == "left" and done.stderr == ""


SUBINTERPRETER = """
        try:
            import _interpreters as interpreters  # 3.13
        except ImportError:
            import _xxsubinterpreters as interpreters

        def refused(other):
            try:
                failed = interpreters.run_string(other, "import agentcore")
            except interpreters.RunFailedError if hasattr(interpreters, "RunFailedError") else () as error:
                return str(error)
            return failed.formatted

        other = interpreters.create()
"""


def test_a_subinterpreter_is_refused(python):
    done = python(f"""
        import agentcore
        {SUBINTERPRETER}
        for _ in range(2):
            print(refused(other))
        interpreters.destroy(other)
        agentcore.ResourceManager().get_system_metrics()
    """)
    assert done.stdout.count("ImportError") == 2
    assert done.stdout.count("agentcore works in the main interpreter only") == 2


def test_a_subinterpreter_is_refused_first_too(python):
    done = python(f"""
        {SUBINTERPRETER}
        print(refused(other))
        interpreters.destroy(other)
        import agentcore
        print(agentcore.ResourceUsage(cpu_percent=1).cpu_percent)
    """)
    assert "main interpreter only" in done.stdout and done.stdout.endswith("1.0\n")


def test_the_module_may_be_imported_again(python):
    done = python("""
        import sys
        import agentcore
        usage = agentcore.ResourceUsage(cpu_percent=1)
        for name in [name for name in sys.modules if name.startswith("agentcore")]:
            del sys.modules[name]
        import agentcore as again
        again.ResourceManager().track_agent_usage("a", again.ResourceUsage(cpu_percent=2))
        print(usage.cpu_percent)
    """)
    assert done.stdout == "1.0\n"


FORK = """
    import asyncio, os, signal, sys
    from agentcore import *

    manager = ResourceManager(check_interval_seconds=0.01, limits=ResourceLimits(max_cpu_percent=70))
    manager._scaler.record_scale_action("react", 4)
    monitor = ResourceMonitor()
    seen = []
    manager.register_alert_handler(seen.append)
    monitor.register_alert_handler(seen.append)
    manager.track_agent_usage("parents", ResourceUsage(cpu_percent=1))
    get_resource_manager().track_agent_usage("parents", ResourceUsage(cpu_percent=1))

    def child():
        signal.alarm(30)
        assert manager._monitor._monitoring_task is None
        assert manager.get_agents() == [] and get_resource_manager().get_agents() == []
        assert manager._scaler.get_current_scale("react") == 4
        manager.track_agent_usage("mine", ResourceUsage(cpu_percent=75))
        assert [a.severity.value for a in manager.get_alerts() if a.agent_id] == ["critical"], manager.get_alerts()
        monitor._check_thresholds(ResourceUsage(memory_percent=90))
        heard = [alert for alert in seen if alert.agent_id == "mine" or alert.resource_type == "memory"]
        assert len(heard) == 2, heard
        assert manager.get_system_metrics()["limits"]["max_cpu_percent"] == 70
        manager.allocate_resources(AgentConfig("x"))
        async def work():
            await manager.start()
            while not manager.get_usage_history("system"):
                await asyncio.sleep(0.001)
            await manager.stop()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work())

    async def main():
        await manager.start()
        for _ in range(ROUNDS):
            pid = os.fork()
            if pid == 0:
                asyncio.events._set_running_loop(None)
                try:
                    child()
                    os._exit(0)
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
            status = os.waitpid(pid, 0)[1]
            assert status == 0, status
        assert manager.get_agents() == ["parents"] and "mine" not in [alert.agent_id for alert in seen]
        await manager.stop()
    asyncio.run(main())
    print("parent is well")
"""


def test_fork_after_import(python):
    assert python(FORK.replace("ROUNDS", "10")).stdout == "parent is well\n"


def test_a_forked_child_exits_normally(python):
    done = python("""
        import os, signal
        from agentcore import *
        manager = ResourceManager()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            raise SystemExit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert done.stdout == "7\n"


def test_multiprocessing_works(python):
    done = python("""
        import multiprocessing
        from agentcore import *
        def work(n):
            manager = get_resource_manager()
            manager.track_agent_usage(f"a-{n}", ResourceUsage(cpu_percent=1))
            return len(manager.get_agents())
        if __name__ == "__main__":
            get_resource_manager().get_system_metrics()
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(sum(pool.map(work, range(1), chunksize=1)))
    """)
    assert done.stdout == "1\n"


# ---- Leaks

CONFIG = AgentConfig("leak")
MANAGER = ResourceManager(history_budget_mb=1)
MONITOR = ResourceMonitor(history_budget_mb=1)
SCALER = DynamicScaler(clock=lambda: 5.0)
USAGE = ResourceUsage(cpu_percent=50.0)
FLAPPING = [ResourceUsage(cpu_percent=90.0), ResourceUsage(cpu_percent=10.0)] * 2
MONITOR.register_alert_handler(lambda alert: None)


def refused(call):
    try:
        call()
    except (TypeError, ValueError):
        return
    raise AssertionError("was not refused")


CALLS = {
    "usage": lambda i: ResourceUsage(cpu_percent=1.0, memory_mb=2.0, file_descriptors=3),
    "usage by dict": lambda i: ResourceUsage(**{"cpu_percent": i}),
    "usage, refused": lambda i: refused(lambda: ResourceUsage(cpu_percent=1, nonsense=2)),
    "usage, timestamp": lambda i: ResourceUsage().timestamp,
    "usage, equality": lambda i: USAGE == ResourceUsage(cpu_percent=50.0),
    "track": lambda i: MANAGER.track_agent_usage("a", USAGE),
    "track, refused": lambda i: refused(lambda: MANAGER.track_agent_usage("bad id", USAGE)),
    "get usage": lambda i: MANAGER.get_agent_usage("a"),
    "metrics": lambda i: MANAGER.get_system_metrics(),
    "allocate": lambda i: MANAGER.allocate_resources(CONFIG),
    "check": lambda i: MONITOR._check_thresholds(USAGE),
    "check with transitions": lambda i: MONITOR._check_thresholds(FLAPPING[i % 2]),
    "trigger": lambda i: MONITOR._trigger_alert("memory", ["info", "warning"][i % 2], "x"),
    "alerts": lambda i: MONITOR.get_active_alerts(),
    "scaler": lambda i: SCALER.should_scale_up("react", current_usage=80),
    "scaler, refused": lambda i: refused(lambda: SCALER.should_scale_up("x", 1)),
    "predict": lambda i: MANAGER.get_agents(),
}
HEAVY = {
    "manager": lambda i: ResourceManager(),
    "monitor": lambda i: ResourceMonitor(),
    "scaler object": lambda i: DynamicScaler(clock=lambda: 1),
    "limits": lambda i: ResourceLimits(max_cpu_percent=70),
    "handlers": lambda i: ResourceMonitor().register_alert_handler(lambda alert: None),
    "limits, bound": lambda i: setattr(MONITOR, "_limits", ResourceLimits()),
}


def rss_mib():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def measure(call, count):
    """Growth of Python's blocks, of its bytes, and of the process, over count calls: the least of
    three runs, since a leak is in each and a table that grew once is not."""
    runs = []
    tracemalloc.start()
    for _ in range(4):
        gc.collect()
        before = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0], rss_mib()
        for i in range(count):
            call(i)
        gc.collect()
        runs.append((sys.getallocatedblocks() - before[0], tracemalloc.get_traced_memory()[0] - before[1],
                     rss_mib() - before[2]))
    tracemalloc.stop()
    return [min(values) for values in zip(*runs[1:])]


SANITIZED = "LD_PRELOAD" in os.environ
RSS_MIB = 24 if SANITIZED else 1  # a sanitizer keeps what was freed


@pytest.mark.parametrize("name", CALLS)
def test_a_hundred_thousand_calls_leak_nothing(name):
    count = 5_000 if SANITIZED else 33_334
    blocks, traced, rss = measure(CALLS[name], count)
    assert traced < 4096 and blocks < 100, (blocks, traced)
    assert rss < RSS_MIB


@pytest.mark.parametrize("name", HEAVY)
def test_objects_leak_nothing(name):
    blocks, traced, rss = measure(HEAVY[name], 400)
    assert traced < 16_384 and blocks < 100, (blocks, traced)
    assert rss < RSS_MIB


def test_reference_counts_are_balanced():
    config, usage, handler = AgentConfig("a"), ResourceUsage(cpu_percent=99.0), lambda alert: None
    names = "refcount-agent"
    before = [sys.getrefcount(x) for x in (config, usage, handler, names, None, ResourceUsage)]
    for _ in range(1000):
        manager = MANAGER
        manager.track_agent_usage(names, usage)
        manager.get_agent_usage(names)
        manager.allocate_resources(config)
        manager.get_system_metrics()
        manager.cleanup_agent_resources(names)
        manager.get_usage_history(names)
        manager.get_alerts()
    gc.collect()
    after = [sys.getrefcount(x) for x in (config, usage, handler, names, None, ResourceUsage)]
    assert all(abs(a - b) < 100 for a, b in zip(after, before)), (before, after)
