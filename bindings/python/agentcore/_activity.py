# SPDX-License-Identifier: Apache-2.0
"""What runs behind a monitor: one task in the loop that started it, and threads for calls that
may block."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentcore._handlers import logger

T = TypeVar("T")

# How long a stop from another loop waits for the task to end.
STOP_SECONDS = 10.0


class Worker:
    """One daemon thread that calls what it is given. It ends with close(), or when its object goes;
    a call that hangs keeps only its own thread."""

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]] | None]
        self._queue = queue.SimpleQueue()
        threading.Thread(target=self._main, args=(self._queue,), name=name, daemon=True).start()

    @staticmethod
    def _main(todo: queue.SimpleQueue[Any]) -> None:
        while (item := todo.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # handed over, whatever it is
                    future.set_exception(error)
            del item, future, call

    def submit(self, function: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Calls it on the thread."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._queue.put((future, function))
        return future

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """The same, with the answer in the running loop."""
        return asyncio.wrap_future(self.submit(function))

    def close(self) -> None:
        self._queue.put(None)

    def __del__(self) -> None:
        self.close()


class Activity:
    """At most one task at a time, in whichever loop started it. All methods are thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._pid = 0

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that runs; None where none does (any more), or it is another process's."""
        task = self._task
        if task is None or task.done() or self._pid != os.getpid() or task.get_loop().is_closed():
            return None
        return task

    def start(self, main: Callable[[], Coroutine[Any, Any, None]], name: str) -> bool:
        """Starts main() in the running loop. False where one runs already."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.task is not None:
                return False
            self._task = loop.create_task(main(), name=name)
            self._pid = os.getpid()
            return True

    async def stop(self) -> None:
        """Cancels the task and waits until it has ended. Nothing where none runs."""
        with self._lock:
            running, self._task = self.task, None
        if running is None or running is asyncio.current_task():
            return
        task, loop = running, running.get_loop()
        if loop is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait({task})
            return
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()

        def cancel() -> None:
            task.add_done_callback(lambda _: ended.set_result(None))
            task.cancel()

        try:
            loop.call_soon_threadsafe(cancel)
        except RuntimeError:  # closed meanwhile
            return
        if loop.is_running():
            try:
                await asyncio.wait_for(asyncio.wrap_future(ended), STOP_SECONDS)
            except asyncio.TimeoutError:
                logger.warning("%s: its event loop did not end it within %g s", task.get_name(), STOP_SECONDS)
