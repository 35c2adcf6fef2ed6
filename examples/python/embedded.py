#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An asyncio service that embeds AgentCore: it meters the machine, hears alerts, allocates for each
job before it starts and reports what the job uses.

    PYTHONPATH=build/python /usr/bin/python3 examples/python/embedded.py [JOBS]
"""

import asyncio
import resource
import sys
import time

from agentcore import AgentConfig, ResourceAlert, ResourceManager, ResourceUsage


async def on_alert(alert: ResourceAlert) -> None:
    print(f"alert [{alert.severity}] {alert.state}: {alert.message}")


async def run_job(manager: ResourceManager, number: int) -> None:
    config = AgentConfig(f"job-{number}", agent_template="squares")
    allocation = manager.allocate_resources(config)
    print(f"{config.agent_id}: {allocation['memory_mb']:.0f} MiB promised; {allocation['explanation']}")
    try:
        for _ in range(3):
            began, cpu = time.monotonic(), time.process_time()
            await asyncio.to_thread(lambda: sum(i * i for i in range(200_000)))
            cores = (time.process_time() - cpu) / (time.monotonic() - began)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            manager.track_agent_usage(config.agent_id, ResourceUsage(cpu_cores=cores, memory_mb=memory))
        usage = manager.get_agent_usage(config.agent_id)
        if usage is not None:
            print(f"{config.agent_id}: {usage.cpu_cores:.2f} cores, {usage.memory_mb:.0f} MiB")
    finally:
        manager.cleanup_agent_resources(config.agent_id)


async def main(jobs: int) -> None:
    async with ResourceManager(check_interval_seconds=1) as manager:
        manager.register_alert_handler(on_alert)
        await asyncio.gather(*(run_job(manager, number) for number in range(jobs)))
        metrics = manager.get_system_metrics()
        print(f"agents left: {metrics['active_agents']}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
