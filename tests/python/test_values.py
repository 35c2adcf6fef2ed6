# SPDX-License-Identifier: Apache-2.0
"""Enums, alerts, limits and agent configurations."""

import copy
import dataclasses
import json
import pickle

import pytest

import agentcore
from agentcore import AgentConfig, AgentPhilosophy, AlertSeverity, ResourceAlert, ResourceLimits, ResourceType
from agentcore.agent_runtime.models import agent_config
from agentcore.agent_runtime.services import performance_optimizer, resource_manager


@pytest.mark.parametrize("enum, values", [
    (ResourceType, ["cpu", "memory", "disk_io", "network_io", "file_descriptors"]),
    (AlertSeverity, ["info", "warning", "critical", "emergency"]),
    (AgentPhilosophy, ["react", "cot", "multi_agent", "autonomous"]),
])
def test_enums_are_strings_with_the_guides_values(enum, values):
    assert [member.value for member in enum] == values
    for member in enum:
        assert isinstance(member, str) and member == member.value and json.dumps(member) == f'"{member.value}"'
        assert enum(member.value) is member and str(member) == member.value
        assert getattr(enum, member.value.upper()) is member


@pytest.mark.parametrize("module, names", [
    (resource_manager, "ResourceManager ResourceMonitor DynamicScaler ResourceLimits ResourceUsage ResourceAlert "
                       "ResourceType AlertSeverity get_resource_manager"),
    (performance_optimizer, "get_performance_optimizer PerformanceOptimizer ResourcePredictor"),
    (agent_config, "AgentConfig AgentPhilosophy ResourceLimits SecurityProfile"),
])
def test_names_are_at_the_guides_paths(module, names):
    for name in names.split():
        assert name in module.__all__ and hasattr(module, name)
        if (module, name) != (agent_config, "ResourceLimits"):
            assert getattr(agentcore, name) is getattr(module, name)


def test_an_alert_can_be_made_by_hand():
    alert = ResourceAlert(alert_id="a", resource_type=ResourceType.CPU, severity=AlertSeverity.WARNING,
                          message="high", threshold=75.0, current_value=80.0, agent_id="x")
    assert not alert.acknowledged and alert.timestamp.tzinfo is not None
    assert (alert.threshold, alert.current_value, alert.agent_id) == (75.0, 80.0, "x")


# ---- Thresholds


def test_limits_have_the_guides_defaults():
    limits = ResourceLimits()
    assert (limits.max_cpu_percent, limits.max_memory_percent) == (80.0, 80.0)
    assert (limits.max_disk_io_mbps, limits.max_network_io_mbps) == (100.0, 100.0)
    assert (limits.max_file_descriptors, limits.alert_threshold_percent) == (1000, 75.0)


@pytest.mark.parametrize("field, value", [
    ("max_cpu_percent", 0), ("max_cpu_percent", 101), ("max_memory_percent", -1), ("max_memory_percent", float("nan")),
    ("max_disk_io_mbps", 0), ("max_network_io_mbps", float("inf")), ("max_file_descriptors", 0),
    ("alert_threshold_percent", 1000), ("clear_margin_percent", -1), ("for_seconds", -1), ("renotify_seconds", 1e12),
])
def test_a_wrong_limit_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field}: "):
        ResourceLimits(**{field: value})
    limits = ResourceLimits()
    before = getattr(limits, field)
    with pytest.raises(ValueError, match=f"^{field}: "):
        setattr(limits, field, value)
    assert getattr(limits, field) == before


def test_a_limit_of_the_wrong_type_is_refused():
    with pytest.raises(TypeError, match="max_cpu_percent"):
        ResourceLimits(max_cpu_percent="80")


def test_limits_are_values():
    limits = ResourceLimits(max_cpu_percent=70)
    assert limits == ResourceLimits(max_cpu_percent=70) != ResourceLimits()
    for other in (copy.copy(limits), copy.deepcopy(limits), pickle.loads(pickle.dumps(limits)),
                  dataclasses.replace(limits)):
        assert other == limits
        other.max_cpu_percent = 60
        assert limits.max_cpu_percent == 70
    assert dataclasses.asdict(limits)["max_cpu_percent"] == 70


# ---- Agents


def test_a_config_has_the_originals_defaults():
    config = AgentConfig(agent_id="a")
    limits = config.resource_limits
    assert config.philosophy is AgentPhilosophy.REACT
    assert (limits.max_memory_mb, limits.max_cpu_cores, limits.max_execution_time_seconds) == (512, 1.0, 300)
    assert (limits.max_file_descriptors, limits.network_access, limits.storage_quota_mb) == (100, "restricted", 1024)
    assert config.tools == [] and config.environment_variables == {}


@pytest.mark.parametrize("field, low, high", [
    ("max_memory_mb", 128, 8192), ("max_cpu_cores", 0.1, 8.0), ("max_execution_time_seconds", 30, 3600),
    ("max_file_descriptors", 10, 1000), ("storage_quota_mb", 100, 10240),
])
def test_ranges_of_an_agents_limits(field, low, high):
    for value in (low, high):
        assert getattr(agent_config.ResourceLimits(**{field: value}), field) == value
    below = low - (0.01 if isinstance(low, float) else 1)
    above = high + (0.01 if isinstance(high, float) else 1)
    for value in (below, above, float("nan"), "5", None, True):
        with pytest.raises(ValueError, match=f"^{field}: .*{low}.*{high}"):
            agent_config.ResourceLimits(**{field: value})


def test_network_access_is_one_of_three_words():
    for word in ("none", "restricted", "full"):
        assert agent_config.ResourceLimits(network_access=word).network_access == word
    with pytest.raises(ValueError, match="^network_access: 'some' is none of none, restricted, full"):
        agent_config.ResourceLimits(network_access="some")


@pytest.mark.parametrize("agent_id", ["", "a b", "a/b", "ä", "a\n", "../x", "a" * 129, 5, None])
def test_a_wrong_agent_id_is_refused(agent_id):
    with pytest.raises(ValueError, match="^agent_id: "):
        AgentConfig(agent_id=agent_id)


@pytest.mark.parametrize("agent_id", ["a", "A-b_9", "a" * 128])
def test_a_legal_agent_id_is_taken(agent_id):
    assert AgentConfig(agent_id=agent_id).agent_id == agent_id


def test_philosophies_by_value():
    assert AgentConfig("a", philosophy="cot").philosophy is AgentPhilosophy.COT
    with pytest.raises(ValueError, match="^philosophy: 'socratic' is none of react, cot, multi_agent, autonomous"):
        AgentConfig("a", philosophy="socratic")


def test_at_most_a_hundred_tools():
    assert len(AgentConfig("a", tools=["t"] * 100).tools) == 100
    with pytest.raises(ValueError, match="^tools: 101 of them are outside 0 to 100"):
        AgentConfig("a", tools=["t"] * 101)


@pytest.mark.parametrize("name", ["PATH", "HOME", "USER", "SHELL"])
def test_protected_variables(name):
    assert AgentConfig("a", environment_variables={"LANG": "C"}).environment_variables == {"LANG": "C"}
    with pytest.raises(ValueError, match=f"^environment_variables: '{name}'"):
        AgentConfig("a", environment_variables={name: "x"})
