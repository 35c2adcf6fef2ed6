# SPDX-License-Identifier: Apache-2.0
"""ResourceUsage."""

import copy
import dataclasses
import inspect
import math
import pickle
from datetime import datetime, timedelta, timezone

import pytest

from agentcore import ResourceMonitor, ResourceUsage

NUMBERS = ["cpu_percent", "memory_percent", "memory_mb", "disk_io_mbps", "network_io_mbps", "cpu_cores"]
FULL = {"cpu_percent": 50.0, "memory_percent": 60.0, "memory_mb": 1024.0, "disk_io_mbps": 10.0,
        "network_io_mbps": 5.0, "file_descriptors": 100}


def test_fields_that_are_not_given_read_zero_and_are_unknown():
    usage = ResourceUsage()
    assert [getattr(usage, name) for name in NUMBERS] == [0.0] * 6
    assert usage.file_descriptors == 0 and isinstance(usage.file_descriptors, int)
    assert usage.known_fields == ()


def test_fields_keep_what_they_are_given():
    usage = ResourceUsage(**FULL)
    for name, value in FULL.items():
        assert getattr(usage, name) == value
    assert set(usage.known_fields) == set(FULL)


def test_positional_arguments_are_in_the_order_of_the_fields():
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
    usage = ResourceUsage(1, 2, 3, 4, 5, 6, at, 7)
    assert [usage.cpu_percent, usage.memory_percent, usage.memory_mb, usage.disk_io_mbps, usage.network_io_mbps,
            usage.file_descriptors, usage.timestamp, usage.cpu_cores] == [1, 2, 3, 4, 5, 6, at, 7]


def test_zero_that_is_given_is_known():
    assert ResourceUsage(cpu_percent=0.0, file_descriptors=0).known_fields == ("cpu_percent", "file_descriptors")


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_none_and_nan_are_unknown_and_read_none(unknown):
    usage = ResourceUsage(cpu_percent=unknown)
    assert usage.cpu_percent is None and usage.known_fields == ()


def test_the_timestamp_is_now_in_utc():
    before = datetime.now(timezone.utc)
    usage = ResourceUsage()
    after = datetime.now(timezone.utc)
    assert before - timedelta(microseconds=1) <= usage.timestamp <= after
    assert usage.timestamp is usage.timestamp


def test_a_naive_timestamp_is_local_time_and_is_kept():
    at = datetime(2026, 5, 6, 7, 8, 9)
    usage = ResourceUsage(timestamp=at)
    assert usage.timestamp is at
    assert usage.timestamp_ns == int(at.timestamp()) * 10**9


def test_seconds_are_a_timestamp():
    assert ResourceUsage(timestamp=1.5).timestamp_ns == 1_500_000_000


def test_fields_can_be_set():
    usage = ResourceUsage(cpu_percent=1)
    usage.cpu_percent = 2
    usage.memory_mb = 3.5
    usage.file_descriptors = 4
    usage.disk_io_mbps = None
    assert (usage.cpu_percent, usage.memory_mb, usage.file_descriptors, usage.disk_io_mbps) == (2.0, 3.5, 4, None)
    with pytest.raises(AttributeError):
        del usage.cpu_percent
    with pytest.raises(AttributeError):
        usage.nonsense = 1


@pytest.mark.parametrize("arguments, keywords, error", [
    ((), {"nonsense": 1}, TypeError),
    ((1,), {"cpu_percent": 2}, TypeError),
    (tuple(range(9)), {}, TypeError),
    ((), {"cpu_percent": "5"}, TypeError),
    ((), {"memory_mb": []}, TypeError),
    ((), {"file_descriptors": "5"}, TypeError),
    ((), {"file_descriptors": -1}, ValueError),
    ((), {"file_descriptors": 2**64}, ValueError),
    ((), {"timestamp": "yesterday"}, TypeError),
    ((), {"timestamp": True}, TypeError),
])
def test_wrong_arguments_are_refused(arguments, keywords, error):
    with pytest.raises(error):
        ResourceUsage(*arguments, **keywords)


@pytest.mark.parametrize("keywords, named", [
    ({"cpu_percent": -1}, "cpu_percent: -1"),
    ({"cpu_percent": 101}, "cpu_percent: 101"),
    ({"memory_percent": math.inf}, "memory_percent"),
    ({"memory_mb": -0.5}, "memory_mb: -0.5"),
    ({"disk_io_mbps": -math.inf}, "disk_io_mbps"),
    ({"network_io_mbps": -3}, "network_io_mbps: -3"),
])
def test_values_out_of_range_are_refused_where_they_are_handed_in(keywords, named):
    usage = ResourceUsage(**keywords)
    with pytest.raises(ValueError, match=named):
        ResourceMonitor()._check_thresholds(usage)


def test_equal_by_value():
    at = datetime.now(timezone.utc)
    assert ResourceUsage(**FULL, timestamp=at) == ResourceUsage(**FULL, timestamp=at)
    assert ResourceUsage(cpu_percent=1, timestamp=at) != ResourceUsage(cpu_percent=2, timestamp=at)
    assert ResourceUsage(cpu_percent=0, timestamp=at) != ResourceUsage(timestamp=at)
    assert ResourceUsage() != 5
    with pytest.raises(TypeError):
        hash(ResourceUsage())


@pytest.mark.parametrize("usage", [ResourceUsage(**FULL), ResourceUsage(), ResourceUsage(cpu_percent=None)])
@pytest.mark.parametrize("duplicate", [lambda u: pickle.loads(pickle.dumps(u)), copy.copy, copy.deepcopy])
def test_pickle_and_copy_keep_known_and_unknown(usage, duplicate):
    other = duplicate(usage)
    assert other == usage and other.known_fields == usage.known_fields
    assert other.cpu_percent == usage.cpu_percent and other.memory_mb == usage.memory_mb


def test_code_that_expects_a_dataclass_works():
    usage = ResourceUsage(**FULL)
    assert dataclasses.is_dataclass(usage)
    assert dataclasses.asdict(usage)["memory_mb"] == 1024.0
    assert dataclasses.replace(usage, cpu_percent=7).cpu_percent == 7
    assert [f.name for f in dataclasses.fields(usage)][:6] == list(FULL)
    assert list(inspect.signature(ResourceUsage).parameters)[0] == "cpu_percent"


def test_repr_shows_what_is_known():
    assert repr(ResourceUsage(cpu_percent=5)).startswith("ResourceUsage(cpu_percent=5.0, timestamp=")


def test_subclasses_may_add_and_override():
    class Mine(ResourceUsage):
        def __init__(self, label, **fields):
            super().__init__(**fields)
            self.label = label

    usage = Mine("x", cpu_percent=3)
    assert (usage.label, usage.cpu_percent, usage.known_fields) == ("x", 3.0, ("cpu_percent",))
    ResourceMonitor()._check_thresholds(usage)
    with pytest.raises(TypeError):
        Mine("x", nonsense=1)


def test_to_dict_holds_none_for_unknown():
    assert ResourceUsage(cpu_percent=1).to_dict()["memory_mb"] is None
