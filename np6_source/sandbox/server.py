"""The sandbox as a server in a background thread."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..dimensions import DIMENSIONS, Dimension
from ..endpoints import ENDPOINTS, Endpoint
from .account import Account
from .clock import SandboxClock, TMoment, milliseconds
from .faults import Fault, FaultRules
from .limits import RateLimit, RequestMeter
from .query import RecordedRequest
from .variants import Variants

if TYPE_CHECKING:
    from .application import Application

STOP_SECONDS = 0.1


class SandboxUnavailable(ImportError):
    """A library that only the sandbox needs is not installed."""


class Sandbox:
    """A local NP6 API that answers the catalogue's operations for one account.

    It follows what the reference 8.1.0 says, and where the reference is silent it does what the
    modules' comments name as assumptions. Use it in a ``with`` block, or call ``start`` and
    ``stop``.

    Attributes:
        account: The account; events can be added while the sandbox runs.
        key: The key that requests must send in ``X-Key``.
        faults: The faults in force; append to it, or use ``faults.during(...)``.
        requests: Every request so far, in the order their responses ended.
    """

    def __init__(
        self,
        account: Account,
        *,
        key: str = "sandbox-key",
        host: str = "127.0.0.1",
        port: int = 0,
        endpoints: Iterable[Endpoint] = ENDPOINTS,
        dimensions: Iterable[Dimension] = DIMENSIONS,
        faults: Iterable[Fault | str] = (),
        latency: float = 0.0,
        rate_limit: RateLimit | str | None = None,
        gzip: bool = True,
        now: TMoment | timedelta | Callable[[], TMoment] | None = None,
        variants: Variants | None = None,
        variants_from: TMoment | None = None,
    ) -> None:
        """Prepares a sandbox; nothing listens yet.

        Args:
            account: The events.
            key: The key to ask for.
            host: Loopback address to listen on.
            port: Port to listen on; 0: a free one.
            endpoints: Operations to serve.
            dimensions: Operations of dimensions to serve.
            faults: Faults in force from the start, as ``Fault`` or as text.
            latency: Milliseconds to wait before every response.
            rate_limit: Limit of requests, as ``RateLimit`` or text such as ``10/second``.
            gzip: Whether responses are compressed for clients that accept it.
            now: The clock, see ``now``. None: the machine's time.
            variants: How questions are settled that the reference leaves open. None: as the
                connector assumes.
            variants_from: From when on they are so, by the sandbox's clock; before, everything is
                as assumed: a trouble that begins. None: always.

        Raises:
            SandboxUnavailable: aiohttp is not installed.
            ValueError: The host is not a loopback address, or an argument cannot be understood.
        """
        if importlib.util.find_spec("aiohttp") is None:
            raise SandboxUnavailable(
                "The sandbox needs aiohttp, which is not installed; install np6-source[sandbox]."
            )
        if not 0 <= port <= 65535:
            raise ValueError(f"There is no port {port}")
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(f"The sandbox listens on loopback addresses only, not on {host!r}")
        self.account = account
        self.key = key
        self.faults = FaultRules(faults)
        self.requests: list[RecordedRequest] = []
        self._host = host
        self._port = port
        self._endpoints = tuple(endpoints)
        self._dimensions = tuple(dimensions)
        self._latency = latency
        self._limit = RateLimit.parse(rate_limit) if isinstance(rate_limit, str) else rate_limit
        self._gzip = gzip
        self._variants = variants or Variants()
        self._variants_from = None if variants_from is None else milliseconds(variants_from)
        self._clock = SandboxClock()
        self._clock.set(now)
        self._application: Application | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Root URL, with a slash at its end.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._thread is None:
            raise RuntimeError("The sandbox is not running")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    @property
    def now(self) -> datetime:
        """The sandbox's time, UTC: what is readable, and what the ``Date`` header says.

        Assign a moment (datetime, milliseconds since the epoch, ISO text) to stop the clock there,
        a timedelta to let it run so far ahead of the machine's time, a callable that gives a
        moment, or None for the machine's time.
        """
        since = timedelta(milliseconds=self._clock.milliseconds())
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + since

    @now.setter
    def now(self, now: TMoment | timedelta | Callable[[], TMoment] | None) -> None:
        self._clock.set(now)

    @property
    def fault_counts(self) -> Counter[str]:
        """How often each kind of fault has struck."""
        return self.faults.counts

    @property
    def variants(self) -> Variants:
        """How open questions are settled. Assign others to change it from the next request on."""
        return self._variants

    @variants.setter
    def variants(self, variants: Variants) -> None:
        self._variants = variants
        if self._application is not None:
            self._application.responder.variants = variants

    def statistics(self) -> dict[str, Any]:
        """What ``GET /sandbox/statistics`` gives.

        ``requests``: how many so far; ``served``: distinct event ids that complete responses have
        held, per event type; ``account``: distinct event ids in the account, per event type;
        ``faults``: how often each kind has struck.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._application is None:
            raise RuntimeError("The sandbox is not running")
        return self._application.statistics()

    def start(self) -> Sandbox:
        """Starts to listen; returns when the port does.

        Raises:
            RuntimeError: It runs already.
            OSError: The port cannot be had.
            ValueError: An endpoint cannot be served.
        """
        from .application import Application
        from .responder import Responder

        if self._thread is not None:
            raise RuntimeError("The sandbox is running already")
        self._application = Application(
            account=self.account,
            key=self.key,
            endpoints=self._endpoints,
            dimensions=self._dimensions,
            rules=self.faults,
            latency=self._latency,
            responder=Responder(
                clock=self._clock,
                meter=RequestMeter(self._limit) if self._limit else None,
                gzip=self._gzip,
                variants=self._variants,
                variants_from=self._variants_from,
                requests=self.requests,
            ),
        )
        listening = threading.Event()
        failures: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run,
            args=(self._application, listening, failures),
            name="np6-sandbox",
            daemon=True,
        )
        self._thread.start()
        listening.wait()
        if failures:
            self._thread.join()
            self._thread = None
            self._application.close()
            self._application = None
            raise failures[0]
        return self

    def stop(self) -> None:
        """Stops listening and ends open responses. Does nothing if the sandbox does not run."""
        if self._thread is None or self._application is None:
            return
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None
        self._application.close()
        self._application = None

    def __enter__(self) -> Sandbox:
        """Starts, see ``start``."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops, see ``stop``."""
        self.stop()

    def _run(
        self,
        application: Application,
        listening: threading.Event,
        failures: list[BaseException],
    ) -> None:
        try:
            asyncio.run(self._serve(application, listening))
        except BaseException as error:
            failures.append(error)
        finally:
            listening.set()

    async def _serve(self, application: Application, listening: threading.Event) -> None:
        from aiohttp import web

        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.AppRunner(
            application.web_application(), access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            application.responder.port = self._port
            listening.set()
            await self._stopping.wait()
        finally:
            connections = runner.server.connections if runner.server else []
            transports = [found.transport for found in connections if found.transport]
            await runner.cleanup()
            # What clients have not read by now they need not: closing alone would wait for them.
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
