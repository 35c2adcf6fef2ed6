# SPDX-License-Identifier: Apache-2.0
"""ResourceUsage: the fields and their speed are the extension's, the rest is here."""

import copyreg
import dataclasses
import inspect
from datetime import datetime

from agentcore import _core
from agentcore._values import AlertSeverity, Done, ResourceAlert, ResourceType, nanoseconds, when

_FIELDS = (
    "cpu_percent",
    "memory_percent",
    "memory_mb",
    "disk_io_mbps",
    "network_io_mbps",
    "file_descriptors",
    "timestamp",
    "cpu_cores",
)


class ResourceUsage(_core.UsageBase, metaclass=_core.UsageMeta):
    """What an agent or the machine uses at one moment.

    A field that is not given is unknown: it reads 0, but is neither judged nor kept as 0. A field
    given as None, or unknown in a usage that the library hands out, reads None.

    cpu_percent: 0-100 of the machine's capacity. cpu_cores: cores in use, 1.0 = one core busy.
    memory_mb: MiB. memory_percent: 0-100 of the machine's capacity.
    disk_io_mbps, network_io_mbps: MiB/s, both directions together. file_descriptors: open ones.
    timestamp: a datetime, default now (UTC).

    Values are checked when a usage is handed in (tracked, recorded, checked), not when it is made.
    """

    __slots__ = ()

    def __repr__(self):
        known = set(self.known_fields)
        shown = [f"{name}={getattr(self, name)!r}" for name in _FIELDS if name in known or name == "timestamp"]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other):
        if not isinstance(other, ResourceUsage):
            return NotImplemented
        return self._state() == other._state()

    __hash__ = None

    def _state(self):
        known = set(self.known_fields)
        return [getattr(self, name) if name in known else None for name in _FIELDS[:6]] + [self.timestamp_ns // 1000]

    def __reduce__(self):
        return _remake, (type(self), {name: getattr(self, name) for name in _FIELDS}, self.known_fields)

    def to_dict(self):
        """Field names and values; unknown ones are None."""
        known = set(self.known_fields)
        return {name: getattr(self, name) if name in known or name == "timestamp" else None for name in _FIELDS}


def _remake(cls, values, known):
    unknown = [name for name in _FIELDS if name not in known and name != "timestamp"]
    return cls(**{name: value for name, value in values.items() if name not in unknown or value is None})


def _describe(cls):
    """What dataclasses.fields, replace and asdict, inspect.signature and pattern matching go by."""
    kinds = [(name, int if name == "file_descriptors" else float) for name in _FIELDS]
    kinds[_FIELDS.index("timestamp")] = ("timestamp", datetime)
    twin = dataclasses.make_dataclass(cls.__name__, [(name, kind, None) for name, kind in kinds])
    cls.__dataclass_fields__ = twin.__dataclass_fields__
    cls.__match_args__ = _FIELDS
    cls.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None if name == "timestamp" else 0)
         for name in _FIELDS])


_describe(ResourceUsage)
copyreg.constructor(_remake)
_core._configure(ResourceUsage, ResourceAlert, list(ResourceType), list(AlertSeverity), when, nanoseconds, Done)
