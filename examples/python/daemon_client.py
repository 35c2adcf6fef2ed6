#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of agentcored: the same calls as embedded, and what to do when the daemon goes away.

    PYTHONPATH=build/python /usr/bin/python3 examples/python/daemon_client.py [SOCKET]
"""

import sys

from agentcore import AgentConfig, AgentCoreConnectionError, ResourceManager, ResourceUsage


def main(socket: str | None) -> int:
    try:
        manager = ResourceManager.connect(socket)
    except AgentCoreConnectionError as lost:
        print(f"{lost}; metering in this process instead")
        manager = ResourceManager()
    manager.register_alert_handler(lambda alert: print(f"alert [{alert.severity}]: {alert.message}"))
    allocation = manager.allocate_resources(AgentConfig("client"))
    print(f"promised: {allocation['memory_mb']:.0f} MiB ({allocation['status']})")
    try:
        manager.track_agent_usage("client", ResourceUsage(cpu_percent=5.0, memory_mb=80.0))
        print(f"reported: {manager.get_agent_usage('client')}")
    except AgentCoreConnectionError as lost:
        print(f"not reported this time: {lost}")  # the next call connects again
    print("agents:", ", ".join(manager.get_agents()))
    manager.cleanup_agent_resources("client")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
