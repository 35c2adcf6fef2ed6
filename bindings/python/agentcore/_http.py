# SPDX-License-Identifier: Apache-2.0
"""HTTP to agentcored over its unix socket: calls and the stream of events, with the standard
library alone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

from agentcore._handlers import logger

SYSTEM_SOCKET = "/run/agentcore/agentcore.sock"
IDLE_MAX = 4
# The daemon sends a comment every 15 s; a stream that is silent for longer than this is dead.
STREAM_SILENCE_SECONDS = 45.0
RETRY_SECONDS = 1.0


class AgentCoreConnectionError(ConnectionError):
    """agentcored cannot be reached, or was lost during a call. The next call tries again."""


class AgentCoreHTTPError(RuntimeError):
    """agentcored refused a call: status is HTTP's, the text is the daemon's reason."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"agentcored refused ({status}): {detail}")
        self.status = status
        self.detail = detail


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self.pid = os.getpid()

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def wait_at_most(self, timeout: float) -> None:
        self.timeout = timeout
        if self.sock is not None:
            self.sock.settimeout(timeout)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _user_socket() -> str | None:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "agentcore.sock")
    # Anybody may make a directory in /tmp: only one's own is trusted.
    folder = f"/tmp/agentcore-{os.getuid()}"
    try:
        found = os.lstat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return None
    return os.path.join(folder, "agentcore.sock")


def find_socket(path: str | os.PathLike[str] | None) -> tuple[str, str]:
    """@path, $AGENTCORE_SOCKET, or the first that answers of the system's and the user's; and the
    names of all that were looked at."""
    named = os.fspath(path) if path is not None else os.environ.get("AGENTCORE_SOCKET")
    if named:
        return named, named if path is not None else f"{named} (from AGENTCORE_SOCKET)"
    user = None if _answers(SYSTEM_SOCKET) else _user_socket()
    if user is None:
        return SYSTEM_SOCKET, SYSTEM_SOCKET
    return user if _answers(user) else SYSTEM_SOCKET, f"{SYSTEM_SOCKET} or {user}"


class DaemonClient:
    """Calls to one daemon. Safe to use from several threads and after a fork."""

    def __init__(self, path: str, timeout: float, places: str | None = None) -> None:
        self.path = path
        self.timeout = timeout
        self._places = places or path
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def lost(self, error: BaseException, timeout: float | None = None) -> AgentCoreConnectionError:
        """What to raise for a connection that failed, or that gave no answer in that time."""
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return AgentCoreConnectionError(f"no agentcored at {self._places}: start one, or name the socket of one "
                                            "that runs as socket_path or in AGENTCORE_SOCKET")
        if isinstance(error, TimeoutError):
            reason = f"it did not answer within {timeout or self.timeout:g} s"
        elif isinstance(error, PermissionError):
            reason = "this user may not open the socket"
        else:
            reason = f"the connection was lost ({error or type(error).__name__})"
        return AgentCoreConnectionError(f"agentcored at {self.path}: {reason}")

    def _take(self) -> _Connection | None:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.pid == os.getpid():
                    return connection
        return None

    def _put(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None,
             expected: tuple[int, ...] = (200,), least_timeout: float = 0.0) -> tuple[int, Any]:
        """Status and the JSON of the answer (None without one). AgentCoreConnectionError, and for
        a status that is not @expected ValueError (400), PermissionError (401, 403) or
        AgentCoreHTTPError. @least_timeout: what may take longer than other calls."""
        timeout = max(self.timeout, least_timeout)
        # A connection that was idle may have been closed by a restart of the daemon: that, and only
        # that, is worth another try at once.
        idle = self._take()
        if idle is not None:
            idle.wait_at_most(timeout)
            try:
                return self._exchange(idle, method, path, body, expected)
            except (http.client.BadStatusLine, BrokenPipeError, ConnectionResetError):
                idle.close()
            except _Refused:
                raise
            except (OSError, http.client.HTTPException) as error:
                idle.close()
                raise self.lost(error, timeout) from error
        connection = _Connection(self.path, timeout)
        try:
            return self._exchange(connection, method, path, body, expected)
        except _Refused:
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self.lost(error, timeout) from error

    def _exchange(self, connection: _Connection, method: str, path: str, body: dict[str, Any] | None,
                  expected: tuple[int, ...]) -> tuple[int, Any]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read()
        self._put(connection)
        try:
            answer = json.loads(data) if data else None
        except ValueError as error:
            raise http.client.HTTPException(f"an answer that is no JSON: {error}") from error
        if response.status in expected:
            return response.status, answer
        detail = answer.get("detail", "") if isinstance(answer, dict) else ""
        detail = detail or response.reason
        if response.status == 400:
            raise ValueError(detail)
        if response.status in (401, 403):
            raise _Refused(detail)
        raise AgentCoreHTTPError(response.status, detail)

    def close(self) -> None:
        """Closes idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _Refused(PermissionError):
    """Not yours: what the daemon says about it."""


class EventStream:
    """Reads events on a thread and hands them over, until it is stopped. It reconnects, and resumes
    where it was."""

    def __init__(self, client: DaemonClient, path: str, deliver: Callable[[dict[str, Any]], None]) -> None:
        self._client = client
        self._path = path
        self._deliver = deliver
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._last_id: str | None = None
        self._connection: _Connection | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def start(self) -> None:
        """Starts the thread where none runs, and waits until events arrive (or the client's
        timeout has passed: then it goes on trying)."""
        if self._thread is not None and self._thread.is_alive() and self._pid == os.getpid():
            return
        self._stop, self._listening = threading.Event(), threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._main, args=(self._stop,), name="agentcore-events", daemon=True)
        self._thread.start()
        self._listening.wait(self._client.timeout)

    def stop(self) -> None:
        """Ends the thread. Idempotent."""
        self._stop.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self._thread is not None and self._thread is not threading.current_thread() and self._pid == os.getpid():
            self._thread.join(self._client.timeout)

    def _main(self, stop: threading.Event) -> None:
        warned = False
        while not stop.is_set():
            try:
                for event in self._events():
                    warned = False
                    if stop.is_set():
                        return
                    self._deliver(event)
            except (OSError, http.client.HTTPException, ValueError, AgentCoreHTTPError) as error:
                if not warned and not stop.is_set():
                    logger.warning("events: %s; retrying", self._client.lost(error))
                warned = True
            stop.wait(RETRY_SECONDS)

    def _events(self) -> Iterator[dict[str, Any]]:
        connection = self._connection = _Connection(self._client.path, STREAM_SILENCE_SECONDS)
        try:
            headers = {"Accept": "text/event-stream"}
            if self._last_id is not None:
                headers["Last-Event-ID"] = self._last_id
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise AgentCoreHTTPError(response.status, response.reason)
            self._listening.set()
            yield from self._parse(response)
        finally:
            connection.close()

    def _parse(self, lines: Iterator[bytes] | http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        data: list[str] = []
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line and data:
                event, data = "\n".join(data), []
                yield json.loads(event)
            elif name == "data":
                data.append(value)
            elif name == "id":
                self._last_id = value
