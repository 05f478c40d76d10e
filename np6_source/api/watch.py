"""A clock over every request under way: one deadline each, and an end when the run is to stop.

A time-out of a socket begins anew with every byte, so that a response of a byte each half second
never ends. Here a thread looks at the connections in use and shuts those that have had their time;
whoever reads from one then sees its end at once.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from .pause import LOOK_EVERY

GRACE = 10.0
"""Seconds that a request under way may still take once the run is asked to stop."""


@dataclass
class Watched:
    """A request under way.

    Attributes:
        began: When it began, of the monotonic clock.
        connection: Its socket, once it was sent.
        ended_by: Why its connection was shut, if it was.
    """

    began: float = field(default_factory=time.monotonic)
    connection: socket.socket | None = None
    ended_by: Literal["deadline", "stop"] | None = None


class Watch:
    """Looks after the requests of one client. Safe for threads; close it when done."""

    def __init__(self, deadline: float, should_stop: Callable[[], object]) -> None:
        """Starts to watch.

        Args:
            deadline: Seconds that a request may take from its beginning to the last byte.
            should_stop: Asked every ``LOOK_EVERY`` seconds; once it is true, requests under way end
                after ``GRACE``.
        """
        self._deadline = deadline
        self._should_stop = should_stop
        self._watched: dict[int, Watched] = {}
        self._lock = threading.Lock()
        self._here = threading.local()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def request(self) -> Iterator[Watched]:
        """Watches the request that this thread makes meanwhile."""
        watched = Watched()
        with self._lock:
            self._watched[id(watched)] = watched
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="np6-watch", daemon=True)
                self._thread.start()
        self._here.watched = watched
        try:
            yield watched
        finally:
            self._here.watched = None
            with self._lock:
                del self._watched[id(watched)]

    def uses(self, connection: Any) -> None:
        """This thread's request goes over a connection.

        Args:
            connection: A socket, or what urllib3 wraps around one.
        """
        watched = getattr(self._here, "watched", None)
        if watched is not None:
            # TLS through a proxy that speaks TLS itself has its socket one level below.
            watched.connection = getattr(connection, "socket", connection)

    def close(self) -> None:
        """Ends the watching."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        stop_since: float | None = None
        while not self._closed.wait(LOOK_EVERY):
            now = time.monotonic()
            if stop_since is None and self._is_to_stop():
                stop_since = now
            with self._lock:
                for watched in self._watched.values():
                    if now - watched.began > self._deadline:
                        _end(watched, "deadline")
                    elif stop_since is not None and now - max(stop_since, watched.began) > GRACE:
                        _end(watched, "stop")

    def _is_to_stop(self) -> bool:
        try:
            return bool(self._should_stop())
        except Exception:
            # The run ends by the same error where it is asked between windows.
            return True


def _end(watched: Watched, reason: Literal["deadline", "stop"]) -> None:
    connection = watched.connection
    if connection is None:
        return
    watched.ended_by = watched.ended_by or reason
    with suppress(OSError):
        # Not SSLSocket's own, after which the rest would be read without TLS.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class WatchedAdapter(HTTPAdapter):
    """Connections that tell a watch which of them a request uses."""

    def __init__(self, watch: Watch, pool_maxsize: int) -> None:
        """Takes the watch and the number of connections to keep."""
        self._pools = _pools_watched_by(watch)
        super().__init__(pool_maxsize=pool_maxsize)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See ``HTTPAdapter``."""
        super().init_poolmanager(*args, **options)
        self._watch_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """See ``HTTPAdapter``."""
        manager = super().proxy_manager_for(proxy, **options)
        self._watch_pools(manager)
        return manager

    def _watch_pools(self, manager: PoolManager) -> None:
        # What urllib3 documents for connections of one's own ("Customizing Pool Behavior").
        manager.pool_classes_by_scheme = self._pools


def _pools_watched_by(watch: Watch) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def request(self, *args: Any, **options: Any) -> None:
            super().request(*args, **options)
            watch.uses(self.sock)

    class SecureConnection(HTTPSConnection):
        def request(self, *args: Any, **options: Any) -> None:
            super().request(*args, **options)
            watch.uses(self.sock)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
