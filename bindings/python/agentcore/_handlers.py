# SPDX-License-Identifier: Apache-2.0
"""Calls the handlers of alerts: plain ones where the transition happened, async ones on their
loop. One that raises is logged and stops nobody."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableSequence
from typing import Any, overload

from agentcore._values import ResourceAlert

logger = logging.getLogger("agentcore")

AlertHandler = Callable[[ResourceAlert], Any]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, None without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _SpareLoop:
    """A loop for async handlers that were registered where none runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="agentcore-handlers", daemon=True)
                self._thread.start()
            return self._loop


_spare_loop = _SpareLoop()
_scheduled: set[asyncio.Task[Any]] = set()


def _finished(task: asyncio.Task[Any]) -> None:
    _scheduled.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.error("an alert handler failed", exc_info=task.exception())


def _schedule(result: Awaitable[Any]) -> None:
    """On the loop that runs here."""
    async def wait() -> None:
        await result

    task = asyncio.get_running_loop().create_task(wait())
    _scheduled.add(task)
    task.add_done_callback(_finished)


class Handlers(MutableSequence[AlertHandler]):
    """The handlers of one monitor, in the order in which they were registered; a list to code that
    looks at it."""

    def __init__(self) -> None:
        self._entries: list[tuple[AlertHandler, asyncio.AbstractEventLoop | None]] = []
        self.started_in: asyncio.AbstractEventLoop | None = None

    def __call__(self, alert: ResourceAlert) -> None:
        for handler, loop in list(self._entries):
            try:
                result = handler(alert)
                if inspect.isawaitable(result):
                    self._hand_over(result, loop)
            except Exception:
                logger.exception("the alert handler %r failed", handler)

    def _hand_over(self, result: Awaitable[Any], registered_in: asyncio.AbstractEventLoop | None) -> None:
        for loop in (registered_in, self.started_in, running_loop()):
            if loop is not None and loop.is_running():
                break
        else:
            loop = _spare_loop.get()
        loop.call_soon_threadsafe(_schedule, result)

    # A list of callables.

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[AlertHandler]:
        return iter([handler for handler, _ in self._entries])

    @overload
    def __getitem__(self, index: int) -> AlertHandler: ...
    @overload
    def __getitem__(self, index: slice) -> list[AlertHandler]: ...
    def __getitem__(self, index: int | slice) -> AlertHandler | list[AlertHandler]:
        return [handler for handler, _ in self._entries][index]

    def __setitem__(self, index: Any, value: Any) -> None:
        handlers = [handler for handler, _ in self._entries]
        handlers[index] = value
        self._entries = [self._entry(handler) for handler in handlers]

    def __delitem__(self, index: int | slice) -> None:
        del self._entries[index]

    def insert(self, index: int, value: AlertHandler) -> None:
        self._entries.insert(index, self._entry(value))

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Handlers) else other)

    def __repr__(self) -> str:
        return repr(list(self))

    @staticmethod
    def _entry(handler: AlertHandler) -> tuple[AlertHandler, asyncio.AbstractEventLoop | None]:
        if not callable(handler):
            raise TypeError(f"handler: a callable is needed, not {handler!r}")
        return handler, running_loop()
