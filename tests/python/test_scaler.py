# SPDX-License-Identifier: Apache-2.0
"""DynamicScaler, on a clock of the tests' own."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from agentcore import AgentPhilosophy, DynamicScaler, ResourceManager

REACT, COT = AgentPhilosophy.REACT, AgentPhilosophy.COT


@pytest.fixture
def scaler(clock):
    return DynamicScaler(75.0, 25.0, 60, clock=clock)


def test_defaults():
    scaler = DynamicScaler()
    assert (scaler._scale_up_threshold, scaler._scale_down_threshold, scaler._cooldown_seconds) == (75, 25, 60)
    assert [scaler.get_current_scale(p) for p in AgentPhilosophy] == [1, 1, 1, 1]


@pytest.mark.parametrize("usage, up", [(74.9, False), (75.0, True), (80, True), (100.0, True), (0, False)])
def test_scale_up_from_the_threshold(scaler, usage, up):
    assert scaler.should_scale_up(REACT, usage) is up


@pytest.mark.parametrize("usage, down", [(25.1, False), (25.0, True), (0, True), (100, False)])
def test_scale_down_to_the_threshold(scaler, clock, usage, down):
    scaler.record_scale_action(REACT, 3)
    clock.now += 60
    assert scaler.should_scale_down(REACT, usage) is down


def test_never_below_one(scaler):
    assert not scaler.should_scale_down(REACT, 0.0)
    for scale in (0, -1, 2**32):
        with pytest.raises(ValueError, match="new_scale"):
            scaler.record_scale_action(REACT, scale)


@pytest.mark.parametrize("call", [
    lambda s: s.should_scale_up(REACT, 80.0),
    lambda s: s.should_scale_up(REACT, current_usage=80.0),
    lambda s: s.should_scale_up(REACT, current_usage_percent=80.0),
    lambda s: s.should_scale_up(philosophy=REACT, current_usage_percent=80),
    lambda s: s.should_scale_up("react", 80),
])
def test_usage_by_position_and_by_both_names(scaler, call):
    assert call(scaler) is True


@pytest.mark.parametrize("call, error", [
    (lambda s: s.should_scale_up(REACT), TypeError),
    (lambda s: s.should_scale_up(), TypeError),
    (lambda s: s.should_scale_up(REACT, 80, current_usage_percent=80), TypeError),
    (lambda s: s.should_scale_up(REACT, current_usage=80, current_usage_percent=80), TypeError),
    (lambda s: s.should_scale_up(REACT, "80"), TypeError),
    (lambda s: s.should_scale_down("nonsense", 80), ValueError),
    (lambda s: s.should_scale_down(5, 80), TypeError),
    (lambda s: s.get_current_scale("x"), ValueError),
])
def test_wrong_calls_are_refused(scaler, call, error):
    with pytest.raises(error):
        call(scaler)


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_an_unknown_usage_holds(scaler, clock, unknown):
    scaler.record_scale_action(REACT, 2)
    clock.now += 1000
    assert not scaler.should_scale_up(REACT, unknown)
    assert not scaler.should_scale_down(REACT, unknown)


def test_cooldown_runs_per_philosophy(scaler, clock):
    assert scaler.should_scale_up(REACT, 90)
    scaler.record_scale_action(REACT, 2)
    assert scaler.cooling_down(REACT) and not scaler.cooling_down(COT)
    assert not scaler.should_scale_up(REACT, 90) and not scaler.should_scale_down(REACT, 1)
    assert scaler.should_scale_up(COT, 90)
    clock.now += 59.999
    assert not scaler.should_scale_up(REACT, 90)
    clock.now += 0.002
    assert scaler.should_scale_up(REACT, 90) and scaler.should_scale_down(REACT, 1)


def test_scale_is_kept_per_philosophy(scaler):
    scaler.record_scale_action(REACT, 3)
    scaler.record_scale_action(COT, 5)
    assert [scaler.get_current_scale(p) for p in AgentPhilosophy] == [3, 5, 1, 1]


def test_a_clock_that_fails_is_an_exception():
    def broken():
        raise RuntimeError("no time")

    scaler = DynamicScaler(clock=broken)
    with pytest.raises(RuntimeError, match="no time"):
        scaler.should_scale_up(REACT, 80)
    with pytest.raises(ValueError, match="clock"):
        DynamicScaler(clock=lambda: -1).should_scale_up(REACT, 80)


@pytest.mark.parametrize("arguments", [(25, 75, 60), (101, 25, 60), (75, -1, 60), (75, 25, -1), (float("nan"), 25, 60)])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError):
        DynamicScaler(*arguments)


# ---- What existing code reaches into


def test_thresholds_are_assignable(scaler):
    scaler._scale_up_threshold = 50
    scaler._scale_down_threshold = 10.0
    scaler._cooldown_seconds = 5
    assert (scaler._scale_up_threshold, scaler._scale_down_threshold, scaler._cooldown_seconds) == (50, 10, 5)
    assert scaler.should_scale_up(REACT, 50)
    with pytest.raises(ValueError):
        scaler._scale_up_threshold = 5


def test_current_scale_is_a_mapping_by_value(scaler):
    assert dict(scaler._current_scale) == {} and scaler._current_scale.get("react", 1) == 1
    scaler._current_scale["react"] = 4
    assert scaler.get_current_scale(REACT) == 4 and scaler._current_scale == {"react": 4}
    assert not scaler.cooling_down(REACT)
    scaler._current_scale = {"cot": 2}
    assert scaler._current_scale == {"cot": 2} and scaler.get_current_scale(REACT) == 1
    with pytest.raises(KeyError):
        scaler._current_scale["nonsense"]
    with pytest.raises(ValueError):
        scaler._current_scale["react"] = 0
    assert scaler._current_scale[AgentPhilosophy.COT] == 2


@pytest.mark.parametrize("at", [
    lambda seconds: datetime.now(timezone.utc) - timedelta(seconds=seconds),
    lambda seconds: datetime.now() - timedelta(seconds=seconds),
    lambda seconds: time.time() - seconds,
    lambda seconds: time.monotonic() - seconds,
])
def test_last_action_is_assignable_as_any_kind_of_time(at):
    scaler = DynamicScaler(cooldown_seconds=60)
    scaler._last_scale_action["react"] = at(30)
    assert scaler.cooling_down(REACT)
    assert abs((datetime.now(timezone.utc) - scaler._last_scale_action["react"]).total_seconds() - 30) < 1
    scaler._last_scale_action["react"] = at(61)
    assert not scaler.cooling_down(REACT) and scaler.should_scale_up(REACT, 80)
    scaler._last_scale_action = {}
    assert dict(scaler._last_scale_action) == {}


def test_recording_shows_in_the_views(scaler):
    scaler.record_scale_action(REACT, 2)
    assert list(scaler._last_scale_action) == ["react"]
    scaler._last_scale_action.clear()
    assert scaler.should_scale_up(REACT, 80)


def test_a_managers_scaler_is_the_managers():
    scaler = ResourceManager()._scaler
    scaler.record_scale_action(REACT, 7)
    assert scaler.get_current_scale(REACT) == 7 and not scaler.should_scale_up(REACT, 99)
    assert ResourceManager(enable_dynamic_scaling=False)._scaler is None
