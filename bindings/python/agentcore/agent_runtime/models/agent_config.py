# SPDX-License-Identifier: Apache-2.0
"""What an agent is and what it may use. The ResourceLimits here are an agent's own maxima; the
thresholds of alerts are those of agentcore.agent_runtime.services.resource_manager."""

from agentcore._config import AgentConfig, AgentPhilosophy, ResourceLimits, SecurityProfile

__all__ = ["AgentConfig", "AgentPhilosophy", "ResourceLimits", "SecurityProfile"]
