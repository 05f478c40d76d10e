"""What the resources of one source share while they are extracted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dlt
import pyarrow as pa

from ..api.client import Client
from ..api.server_clock import ServerClock
from ..dlt_internals import is_stop_requested
from ..errors import RequestFailed
from ..events.reader import PARSES_AT_ONCE, EventReader
from ..settings import ClientSettings, Settings
from .spool import spool_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    """What is open during an extraction.

    Attributes:
        client: One HTTP session with one rate limit.
        reader: One DuckDB that parses answers.
        executor: The threads that fetch.
        parsers: The threads that parse what was fetched.
        spool: Folder for temporary files.
    """

    client: Client
    reader: EventReader
    executor: Executor
    parsers: Executor
    spool: Path


class ExtractSession:
    """One clock, one budget of events, one set of tools for all resources of a source.

    The tools are opened by the first resource that starts and closed by the last that ends.

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
        self._lock = threading.Lock()
        self._users = 0
        self._said: set[str] = set()
        self._tools: Tools | None = None
        self._close_tools = ExitStack()

    @contextmanager
    def tools(self) -> Iterator[Tools]:
        """Opens the tools, and closes them when the last user leaves."""
        with self._lock:
            self._users += 1
            if self._tools is None:
                with ExitStack() as stack:
                    self._tools = self._open(stack)
                    self._close_tools = stack.pop_all()
            tools = self._tools
        try:
            yield tools
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._tools = None
                    self._close_tools.close()

    def _open(self, stack: ExitStack) -> Tools:
        self.loaded_events, self.ended_by = 0, None
        self._said.clear()
        # What Arrow keeps for later is not wanted any more; the load step has its own needs.
        stack.callback(pa.default_memory_pool().release_unused)
        parent = Path(dlt.current.pipeline().working_dir) / "np6_spool"
        spool = stack.enter_context(spool_folder(parent))
        client = Client(self._client_settings, self.clock, self.should_stop)
        stack.callback(client.close)
        reader = EventReader(spool)
        stack.callback(reader.close)
        parsers = stack.enter_context(
            ThreadPoolExecutor(PARSES_AT_ONCE, thread_name_prefix="np6-parse")
        )
        executor = stack.enter_context(
            ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="np6-fetch")
        )
        return Tools(client, reader, executor, parsers, spool)

    def say_once(self, text: str) -> None:
        """Warns, once for all resources of a run."""
        if text not in self._said:
            self._said.add(text)
            logger.warning(text)

    def should_stop(self) -> bool:
        """Whether the host's ``stop_when``, or a signal that dlt received, asks the run to end."""
        return bool(self.settings.stop_when()) or is_stop_requested()

    def is_full(self) -> bool:
        """Whether the run has loaded as many events as it may."""
        largest = self.settings.largest_load
        return largest is not None and self.loaded_events >= largest
