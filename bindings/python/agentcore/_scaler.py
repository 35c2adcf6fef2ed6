# SPDX-License-Identifier: Apache-2.0
"""DynamicScaler: the decisions are the C library's; the views of its state are here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta, timezone
from typing import Any

from agentcore import _core
from agentcore._config import AgentPhilosophy

# A number below this is no time since 1970 but one of time.monotonic().
_OLDEST_WALL_SECONDS = 1e8
_NAMES = tuple(philosophy.value for philosophy in AgentPhilosophy)


class DynamicScaler(_core.Scaler):
    """Decides when a pool of agents of one philosophy should grow or shrink.

    scale_up_threshold, scale_down_threshold: percent of utilisation, defaults 75 and 25.
    cooldown_seconds: how long nothing is proposed after a recorded action, per philosophy,
    default 60. clock: a callable that returns monotonic seconds, for tests and simulations;
    default the system's.

    Raises ValueError where a threshold is outside 0-100 or down is not below up.
    """

    def __init__(
        self,
        scale_up_threshold: float = 75.0,
        scale_down_threshold: float = 25.0,
        cooldown_seconds: float = 60,
        *,
        clock: Callable[[], float] | None = None,
        _manager: Any = None,
    ) -> None:
        super().__init__(scale_up_threshold, scale_down_threshold, cooldown_seconds, clock, _manager)

    # ---- What existing code reaches into

    @property
    def _scale_up_threshold(self) -> float:
        return self._get_options()[0]

    @_scale_up_threshold.setter
    def _scale_up_threshold(self, value: float) -> None:
        self._set_options(value, *self._get_options()[1:])

    @property
    def _scale_down_threshold(self) -> float:
        return self._get_options()[1]

    @_scale_down_threshold.setter
    def _scale_down_threshold(self, value: float) -> None:
        up, _, cooldown = self._get_options()
        self._set_options(up, value, cooldown)

    @property
    def _cooldown_seconds(self) -> float:
        return self._get_options()[2]

    @_cooldown_seconds.setter
    def _cooldown_seconds(self, value: float) -> None:
        self._set_options(*self._get_options()[:2], value)

    @property
    def _current_scale(self) -> MutableMapping[str, int]:
        return _Scales(self)

    @_current_scale.setter
    def _current_scale(self, scales: MutableMapping[str, int]) -> None:
        _replace(_Scales(self), scales)

    @property
    def _last_scale_action(self) -> MutableMapping[str, datetime]:
        return _LastActions(self)

    @_last_scale_action.setter
    def _last_scale_action(self, actions: MutableMapping[str, datetime]) -> None:
        _replace(_LastActions(self), actions)


def _replace(view: MutableMapping[str, Any], values: MutableMapping[str, Any]) -> None:
    values = dict(values)
    view.clear()
    view.update(values)


class _View(MutableMapping[str, Any]):
    """By philosophy value ("react"); holds what differs from a scaler that has done nothing."""

    def __init__(self, scaler: DynamicScaler) -> None:
        self._scaler = scaler

    def _read(self, name: str) -> Any:
        raise NotImplementedError

    def __getitem__(self, name: str) -> Any:
        value = self._read(str(name)) if str(name) in _NAMES else None
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _NAMES if self._read(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class _Scales(_View):
    def _read(self, name: str) -> int | None:
        scale, age = self._scaler._get_state(name)
        return None if scale == 1 and age is None else scale

    def __setitem__(self, name: str, scale: int) -> None:
        self._scaler._set_state(name, scale, self._scaler._get_state(name)[1])

    def __delitem__(self, name: str) -> None:
        self._scaler._set_state(name, 1, self._scaler._get_state(name)[1])


class _LastActions(_View):
    """Times of the last actions in UTC. Takes datetimes, seconds since 1970 (time.time()) and
    monotonic seconds (time.monotonic())."""

    def _read(self, name: str) -> datetime | None:
        age = self._scaler._get_state(name)[1]
        return None if age is None else datetime.now(timezone.utc) - timedelta(seconds=age)

    def __setitem__(self, name: str, at: datetime | float) -> None:
        if isinstance(at, datetime):
            age = time.time() - at.timestamp()
        else:
            age = (time.time() if at > _OLDEST_WALL_SECONDS else time.monotonic()) - at
        self._scaler._set_state(name, self._scaler._get_state(name)[0], age)

    def __delitem__(self, name: str) -> None:
        self._scaler._set_state(name, self._scaler._get_state(name)[0], None)
