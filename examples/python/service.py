#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Startup and shutdown as web frameworks have them: a lifespan that starts the process's manager
and stops it again, and a handler that answers from it without blocking. `Application` stands for
FastAPI(lifespan=lifespan); nothing here needs the framework.

    PYTHONPATH=build/python /usr/bin/python3 examples/python/service.py
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from agentcore import AgentConfig, ResourceUsage, get_resource_manager


@contextlib.asynccontextmanager
async def lifespan(app: "Application") -> AsyncIterator[None]:
    manager = get_resource_manager()
    await manager.start()
    try:
        yield
    finally:
        await manager.stop()


async def status() -> dict[str, Any]:
    """GET /status"""
    metrics = get_resource_manager().get_system_metrics()
    return {"memory_percent": metrics["current_usage"]["memory_percent"], "agents": metrics["active_agents"],
            "alerts": metrics["active_alerts"]}


async def start_agent(agent_id: str) -> dict[str, Any]:
    """POST /agents/{agent_id}"""
    manager = get_resource_manager()
    allocation = manager.allocate_resources(AgentConfig(agent_id))
    manager.track_agent_usage(agent_id, ResourceUsage(cpu_percent=0.0, memory_mb=0.0))
    return {"id": allocation["id"], "memory_mb": allocation["memory_mb"]}


class Application:
    """What a framework does around the handlers."""

    def __init__(self, lifespan: Callable[["Application"], Any]) -> None:
        self.lifespan = lifespan

    async def serve(self) -> None:
        async with self.lifespan(self):
            for answer in (await status(), await start_agent("agent-1"), await status()):
                print(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(Application(lifespan).serve())
