"""What the resources of one source share while they are extracted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dlt

from np6_source.client import Client, ClientSettings
from np6_source.clock import ServerClock
from np6_source.errors import RequestFailed
from np6_source.events import EventReader
from np6_source.settings import Settings
from np6_source.spool import spool_folder


class Session:
    """One client with its rate limit, one DuckDB, one pool of threads, one budget of events.

    Opened by the first resource that starts and closed by the last that ends.

    Attributes:
        settings: What the source was asked to do.
        clock: The API's time.
        loaded_events: Events handed to dlt so far.
        ended_by: The failure that ended the run for every resource, if one did.
    """

    def __init__(self, client: ClientSettings, settings: Settings) -> None:
        """Prepares a session; nothing is opened yet."""
        self.settings = settings
        self.clock = ServerClock()
        self.loaded_events = 0
        self.ended_by: RequestFailed | None = None
        self._client_settings = client
        self._users = 0
        self._opened = ExitStack()
        self._lock = threading.Lock()
        self.client: Client
        self.reader: EventReader
        self.executor: ThreadPoolExecutor
        self.spool: Path

    @contextmanager
    def open(self) -> Iterator[Session]:
        """Opens what is shared, and closes it when the last user leaves."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._open()
        try:
            yield self
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._opened.close()

    def _open(self) -> None:
        with ExitStack() as stack:
            parent = Path(dlt.current.pipeline().working_dir) / "np6_spool"
            self.spool = stack.enter_context(spool_folder(parent))
            self.client = Client(self._client_settings, self.spool, self.clock)
            stack.callback(self.client.close)
            self.reader = EventReader(self.spool)
            stack.callback(self.reader.close)
            self.executor = stack.enter_context(
                ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="np6")
            )
            self._opened = stack.pop_all()

    def is_full(self) -> bool:
        """Whether the run has loaded as many events as it may."""
        largest = self.settings.largest_load
        return largest is not None and self.loaded_events >= largest
