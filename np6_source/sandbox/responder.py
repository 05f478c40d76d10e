"""How a response of the sandbox is written: statuses, headers, the stream, what goes wrong."""

from __future__ import annotations

import asyncio
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

from . import bodies
from .clock import MINUTE, SECOND, SandboxClock
from .faults import REPLACING, Fault
from .limits import Allowance, RequestMeter
from .query import RecordedRequest
from .variants import Variants

HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon</body></html>"
)
READERS = 8


@dataclass
class Exchange:
    """What is known of one request and its response while they last."""

    request_id: str
    body: Any = None
    allowance: Allowance | None = None
    content_type: Fault | None = None
    status: int = 0
    event_count: int = 0
    byte_count: int = 0
    is_recorded: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    received_at: float = field(default_factory=time.monotonic)


@dataclass
class Responder:
    """Writes responses and records them. Runs in one event loop.

    Attributes:
        clock: The time.
        meter: The rate limit, if there is one.
        gzip: Whether responses are compressed for clients that accept it.
        variants: How open questions are settled.
        variants_from: From when on, milliseconds since the epoch; None: always. Before, everything
            is as the connector assumes.
        requests: Every request so far is added here just before its response ends.
        port: The port that the sandbox listens on, once it does.
    """

    clock: SandboxClock
    meter: RequestMeter | None
    gzip: bool
    variants: Variants
    variants_from: int | None
    requests: list[RecordedRequest]
    port: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Prepares for reading."""
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="np6-sandbox-read")
        self._exchanges: dict[int, Exchange] = {}

    @property
    def in_force(self) -> Variants:
        """How open questions are settled now."""
        since = self.variants_from
        return self.variants if since is None or self.clock.milliseconds() >= since else Variants()

    def close(self) -> None:
        """Waits for the reads under way, which are short, and frees the reader threads."""
        self._readers.shutdown(wait=True)

    def begin(self, request: web.Request) -> Exchange:
        """Starts to keep what is known of a request, for as long as it lasts."""
        exchange = Exchange(str(uuid.uuid4()))
        # Not in the request itself: the keys aiohttp wants there differ from release to release.
        self._exchanges[id(request)] = exchange
        weakref.finalize(request, self._exchanges.pop, id(request), None)
        return exchange

    def exchange(self, request: web.Request) -> Exchange:
        """What is known of a request."""
        return self._exchanges[id(request)]

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of work that would hold the event loop up, done in a reader thread."""
        return await asyncio.wrap_future(self._readers.submit(work, *arguments))

    def respond(
        self,
        request: web.Request,
        status: int,
        body: bytes = b"",
        content_type: str = "application/json",
        faults: Fault | None = None,
    ) -> web.Response:
        """A complete response; error responses without a message have an empty body."""
        exchange = self.exchange(request)
        if status >= 400 and not body:
            body, content_type = {
                "empty": (body, content_type),
                "json": (b'{"message": "refused"}', content_type),
                "html": (HTML_PAGE, "text/html; charset=utf-8"),
            }[self.in_force.error_body]
        exchange.status, exchange.byte_count = status, len(body)
        self.record(request)
        response = web.Response(status=status, body=body, headers={"Content-Type": content_type})
        if faults and faults.retry_after is not None:
            response.headers["Retry-After"] = self._moment_header(faults.retry_after)
        if faults and faults.rate_limit_reset is not None:
            response.headers["X-RateLimit-Reset"] = self._moment_header(faults.rate_limit_reset)
        return response

    async def stream(
        self,
        request: web.Request,
        body: Iterator[bodies.TPiece],
        struck: Mapping[str, Fault],
        content_type: str = "application/json",
        finished: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> web.StreamResponse:
        """A response whose body is written as it is read.

        Args:
            request: The request.
            body: The uncompressed body.
            struck: Faults that strike.
            content_type: Of the body.
            finished: Called before the last bytes are written.
            close: Called once nothing more is read from the body.
        """
        exchange = self.exchange(request)
        compress = self.gzip and accepts_gzip(request.headers.get("Accept-Encoding", ""))
        compress = {"asked": compress, "always": True, "never": False}[self.in_force.compression]
        claim = compress
        if "gzip_claimed" in struck:
            compress, claim = False, True
        if "gzip_hidden" in struck:
            compress, claim = True, False
        plain = self._counted(exchange, body)
        pieces = bodies.gzipped(plain)
        response = web.StreamResponse(headers={"Content-Type": content_type})
        if claim:
            response.headers["Content-Encoding"] = "gzip"
        exchange.status = 200
        return await self._send(
            request,
            response,
            pieces if compress else plain,
            struck,
            finished=finished,
            close=close,
        )

    async def faulty(self, request: web.Request, struck: Mapping[str, Fault]) -> web.StreamResponse:
        """A response that a fault replaces as a whole."""
        fault = next(fault for kind, fault in struck.items() if kind in REPLACING)
        if fault.kind == "abort":
            self.record(request)
            await self._abort(request)
            return web.Response(status=500)
        if fault.kind == "bomb":
            response = web.StreamResponse(
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
            )
            self.exchange(request).status = 200
            pieces = bodies.bomb(fault.number)
            return await self._send(request, response, pieces, {}, lambda: None, lambda: None)
        if fault.kind == "redirect":
            root = str(fault.value or f"http://localhost:{self.port}/").rstrip("/")
            response = self.respond(request, fault.status or 302, faults=fault)
            response.headers["Location"] = root + request.path_qs
            return response
        if fault.kind == "html":
            return self.respond(request, 200, HTML_PAGE, "text/html; charset=utf-8")
        body = b""
        if fault.kind in ("object", "raw"):
            value = '{"message": "busy"}' if fault.value is None else fault.value
            body = (
                value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
            )
        status = int(fault.number) if fault.kind == "status" else 200
        return self.respond(request, status, body, faults=fault)

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        pieces: Iterator[bodies.TPiece],
        struck: Mapping[str, Fault],
        finished: Callable[[], None],
        close: Callable[[], None],
    ) -> web.StreamResponse:
        """Writes a body while the next piece is read in a thread."""
        reading: Future[bodies.TPiece | None] | None = None

        def take() -> asyncio.Future[bodies.TPiece | None]:
            nonlocal reading
            reading = self._readers.submit(next, pieces, None)
            return asyncio.wrap_future(reading)

        try:
            response.enable_chunked_encoding()
            piece, following = await take(), await take()
            await response.prepare(request)
            is_first = True
            while piece is not None:
                ahead = take() if following is not None else None
                if ahead is None:
                    # Before the last bytes, so that a client that has them finds the record.
                    finished()
                    self.record(request)
                await response.write(piece)
                if is_first and "stall_body" in struck:
                    await asyncio.sleep(struck["stall_body"].number)
                is_first = False
                piece, following = following, await ahead if ahead else None
            if "abort_body" in struck:
                await self._abort(request)
            else:
                await response.write_eof()
        except ConnectionError:
            pass  # The client has gone.
        finally:
            self.record(request)
            if reading:
                # A reader thread may be in the midst of a batch.
                reading.add_done_callback(lambda _: close())
            else:
                close()
        return response

    def _moment_header(self, value: str | float) -> str:
        kind, _, seconds = str(value).partition(":")
        now = self.clock.milliseconds() / 1000
        if kind == "date":
            return formatdate(now + float(seconds), usegmt=True)
        if kind == "epoch":
            return str(round(now + float(seconds)))
        return str(value)

    async def set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Adds the headers that every response has; aiohttp calls it before the headers go."""
        exchange = self.exchange(request)
        response.headers["x-request-id"] = exchange.request_id
        shift = {"ahead": 5 * MINUTE, "behind": -5 * MINUTE}.get(self.in_force.date, 0)
        now = (self.clock.milliseconds() + shift) // SECOND
        response.headers["Date"] = formatdate(now, usegmt=True)
        if self.in_force.date == "none":
            del response.headers["Date"]
        response.headers.update(exchange.headers)
        if self.meter and self.meter.limit.headers and exchange.allowance:
            reset = exchange.allowance.reset_seconds
            if self.meter.limit.reset != "seconds":
                reset += self.clock.milliseconds() / 1000
            if self.meter.limit.reset == "epoch_ms":
                reset *= 1000
            response.headers["X-RateLimit-Limit"] = str(self.meter.limit.requests)
            response.headers["X-RateLimit-Remaining"] = str(exchange.allowance.remaining)
            response.headers["X-RateLimit-Reset"] = str(-int(-reset // 1))
        if exchange.content_type:
            response.headers.popall("Content-Type", None)
            if exchange.content_type.value is not None:
                response.headers["Content-Type"] = str(exchange.content_type.value)

    def record(self, request: web.Request) -> None:
        """Adds the request to those so far, once."""
        exchange = self.exchange(request)
        if exchange.is_recorded:
            return
        exchange.is_recorded = True
        self.requests.append(
            RecordedRequest(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                headers=request.headers,
                body=exchange.body,
                status=exchange.status,
                event_count=exchange.event_count,
                byte_count=exchange.byte_count,
                request_id=exchange.request_id,
                received_at=exchange.received_at,
            )
        )

    async def _abort(self, request: web.Request) -> None:
        """Ends the connection; what was written before reaches the client."""
        transport = request.transport
        while transport and not transport.is_closing() and transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        if transport:
            transport.abort()

    def _counted(
        self, exchange: Exchange, pieces: Iterator[bodies.TPiece]
    ) -> Iterator[bodies.TPiece]:
        for piece in pieces:
            exchange.byte_count += len(piece)
            yield piece


def accepts_gzip(header: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0")
    return False
