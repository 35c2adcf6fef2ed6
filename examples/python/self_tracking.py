#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An agent loop that meters itself: the library watches this process and its children, scaling is
decided from what they use, and each finished step makes the next prediction better.

    PYTHONPATH=build/python /usr/bin/python3 examples/python/self_tracking.py [STEPS]
"""

import asyncio
import os
import subprocess
import sys
import time

from agentcore import AgentConfig, AgentPhilosophy, ResourceManager, get_performance_optimizer, get_resource_manager

CONFIG = AgentConfig("self", philosophy=AgentPhilosophy.AUTONOMOUS, agent_template="example")


def step(number: int) -> None:
    """One tool call: a child process that works for a moment."""
    subprocess.run([sys.executable, "-S", "-c", "sum(i * i for i in range(300_000))"], check=True)
    print(f"step {number} done")


def scale(manager: ResourceManager, cpu_percent: float | None) -> None:
    scaler = manager._scaler
    if scaler is not None and scaler.should_scale_up(CONFIG.philosophy, current_usage=cpu_percent):
        scaler.record_scale_action(CONFIG.philosophy, scaler.get_current_scale(CONFIG.philosophy) + 1)
        print(f"scaled to {scaler.get_current_scale(CONFIG.philosophy)}")


async def main(steps: int) -> None:
    manager, optimizer = get_resource_manager(), get_performance_optimizer()
    print(f"confidence before: {optimizer.get_prediction_confidence(CONFIG):.2f}")
    manager.attach(CONFIG, os.getpid())
    await manager.start()
    try:
        for number in range(steps):
            began = time.monotonic()
            await asyncio.to_thread(step, number)
            usage = manager.get_agent_usage(CONFIG.agent_id)
            if usage is not None:
                optimizer.record_usage(CONFIG, usage.cpu_percent, usage.memory_mb, time.monotonic() - began)
                scale(manager, usage.cpu_percent)
    finally:
        await manager.stop()
    predicted = optimizer.predict_resource_requirements(CONFIG)
    print(f"the next step: {predicted['memory_mb']:.0f} MiB, {predicted['execution_time_seconds']:.1f} s "
          f"(from {predicted['runs']} steps, confidence {predicted['confidence']:.2f})")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
