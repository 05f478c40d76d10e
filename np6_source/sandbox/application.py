"""The HTTP side of the sandbox: routes, headers, statuses and the streaming of responses."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import pyarrow as pa
from aiohttp import web

from ..dimensions import Dimension
from ..endpoints import Endpoint
from . import bodies
from .account import Account, EventStream, ServedEvents
from .clock import DAY, MINUTE, SECOND, SandboxClock
from .descriptions import element, elements
from .faults import REPLACING, Fault, FaultRules
from .limits import Allowance, RequestMeter
from .operations import (
    BadRequest,
    Operation,
    event_query,
    json_body,
    operation,
)
from .query import RecordedRequest
from .variants import Variants
from .varied import is_varied, narrowed, varied

STATISTICS_PATH = "/sandbox/statistics"
FAULT_HEADER = "X-Sandbox-Fault"
HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon</body></html>"
)
READERS = 8

SPOILING = ("cut_byte", "cut_event", "cut_comma", "abort_body", "gzip_claimed")
"""Faults by which a client cannot have got all events."""

TRow = Operation | Dimension

THandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
class Application:
    """Answers requests for one account. Runs in one event loop.

    Attributes:
        account: The account.
        key: What ``X-Key`` must hold.
        endpoints: The rows served.
        dimensions: The rows of the second catalogue served.
        rules: Faults in force.
        clock: The time.
        meter: The rate limit, if there is one.
        latency: Milliseconds before every response.
        gzip: Whether responses are compressed for clients that accept it.
        variants: How open questions are settled.
        requests: Every request so far is added here just before its response ends.
    """

    account: Account
    key: str
    endpoints: Iterable[Endpoint]
    dimensions: Iterable[Dimension]
    rules: FaultRules
    clock: SandboxClock
    meter: RequestMeter | None
    latency: float
    gzip: bool
    variants: Variants
    requests: list[RecordedRequest]
    served: ServedEvents = field(init=False)
    port: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Prepares for reading."""
        self.served = ServedEvents(self.account)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="np6-sandbox-read")
        self._exchanges: dict[int, Exchange] = {}
        self._count = 0

    def close(self) -> None:
        """Waits for the reads under way, which are short, and frees the reader threads."""
        self._readers.shutdown(wait=True)
        self.served.close()

    def web_application(self) -> web.Application:
        """The aiohttp application, one route per path and method of the catalogue.

        Raises:
            ValueError: A row's path names an id of a kind that accounts do not know.
        """
        application = web.Application(middlewares=[self._exchange], client_max_size=64 * 1024**2)
        application.on_response_prepare.append(self._set_headers)
        application.router.add_get(STATISTICS_PATH, self._statistics, allow_head=False)
        routes: dict[tuple[str, str], dict[str | None, TRow]] = {}
        for endpoint in self.endpoints:
            rows = routes.setdefault((endpoint.method, endpoint.path), {})
            rows[endpoint.id_query] = operation(endpoint)
        for dimension in self.dimensions:
            routes.setdefault(("GET", dimension.path), {})[dimension.id_query] = dimension
        for (method, path), rows in routes.items():
            application.router.add_route(method, path, self._handler(rows))
        return application

    def statistics(self) -> dict[str, Any]:
        """Requests so far, and distinct event ids served and in the account per event type."""
        return {
            "requests": len(self.requests),
            "served": self.served.counts(),
            "account": self.account.type_counts(),
            "faults": dict(self.rules.counts),
        }

    async def _statistics(self, request: web.Request) -> web.Response:
        found = await self._in_thread(self.statistics)
        return web.json_response(found)

    @web.middleware
    async def _exchange(self, request: web.Request, handler: THandler) -> web.StreamResponse:
        exchange = Exchange(str(uuid.uuid4()))
        # Not in the request itself: the keys aiohttp wants there differ from release to release.
        self._exchanges[id(request)] = exchange
        weakref.finalize(request, self._exchanges.pop, id(request), None)
        if request.path == STATISTICS_PATH:
            return await handler(request)
        raw = await request.read()
        try:
            exchange.body = json.loads(raw) if raw else None
        except ValueError:
            exchange.body = None
        if self.latency:
            await asyncio.sleep(self.latency / 1000)
        if request.headers.get("X-Key") != self.key:
            return self._respond(request, 401)
        if self.meter:
            exchange.allowance = self.meter.take()
            if not exchange.allowance.granted:
                return self._respond(request, 429)
        try:
            return await handler(request)
        except BadRequest as error:
            return self._respond(request, 400, json.dumps({"message": str(error)}).encode())
        except web.HTTPException as error:
            return self._respond(request, error.status)
        except Exception:
            exchange.status = 500
            self._record(request)
            raise

    def _handler(self, rows: Mapping[str | None, TRow]) -> THandler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                only = Fault.parse_all(request.headers.get(FAULT_HEADER, ""))
            except ValueError as error:
                raise BadRequest(str(error)) from None
            names = [name for name in rows if name and name in request.query]
            scope = request.match_info.get("id")
            if scope is None and names:
                scope = request.query[names[0]]
            struck = self.rules.strike(request.path, scope, only)
            self._exchanges[id(request)].content_type = struck.get("content_type")
            if "stall" in struck:
                await asyncio.sleep(struck["stall"].number)
            if any(kind in REPLACING for kind in struck):
                return await self._faulty(request, struck)
            if len(names) > 1 or (not names and None not in rows):
                expected = ", ".join(str(name) for name in rows)
                raise BadRequest(f"exactly one of {expected} is expected in the query")
            row = rows[names[0] if names else None]
            if isinstance(row, Dimension):
                return await self._described(request, row, scope, struck)
            return await self._events(request, row, scope, struck, only)

        return handle

    async def _described(
        self,
        request: web.Request,
        dimension: Dimension,
        scope: str | None,
        struck: Mapping[str, Fault],
    ) -> web.StreamResponse:
        """A response of the second catalogue: an array, or of one id perhaps an object."""
        if scope is None:
            try:
                found = await self._in_thread(
                    elements, self.account, dimension, dict(request.query)
                )
            except ValueError as error:
                raise BadRequest(str(error)) from None
        else:
            found = await self._in_thread(element, self.account, dimension, scope)
        if found is None:
            return self._respond(request, 404)
        if isinstance(found, dict):
            return self._respond(request, 200, json.dumps(found).encode(), dimension.accept)
        payloads = pa.array([b"," + json.dumps(one).encode() for one in found], pa.binary())
        now = self.clock.milliseconds()
        self._exchanges[id(request)].event_count = len(found)
        body = plain_body([payloads], struck, now, None)
        return await self._stream(request, body, struck, dimension.accept)

    async def _events(
        self,
        request: web.Request,
        asked: Operation,
        scope: str | None,
        struck: Mapping[str, Fault],
        only: Iterable[Fault],
    ) -> web.StreamResponse:
        self._count += 1
        body = json_body(await request.read()) if asked.endpoint.sends_items_events else None
        query = event_query(asked, scope, dict(request.query), body, self._count, self.variants)
        if not asked.endpoint.confirmed and self.variants.unconfirmed != "there":
            if self.variants.unconfirmed == "empty":
                return self._respond(request, 200, b"[]")
            return self._respond(request, int(self.variants.unconfirmed))
        is_scoped = asked.id_column is not None and scope is not None
        may_miss = is_scoped and self.variants.unknown_ids != "empty"
        if may_miss and not await self._in_thread(self.account.knows, asked.id_column, scope):
            return self._respond(request, int(self.variants.unknown_ids))
        now = self.clock.milliseconds()
        if now // MINUTE % 60 < self.variants.silent_minutes:
            return self._respond(request, 200, b"[]")
        behind = self.variants.replica_seconds * SECOND if self._count % 2 else 0
        query = replace(
            query,
            visible_until=now - behind,
            sort=None if "unsorted" in struck else query.sort,
            limit=self.variants.row_cap or None,
        )
        if query.start is None and self.variants.default_span == "day":
            query = replace(query, start=now - DAY)
        query = narrowed(query, self.variants, now)
        stream = await self._in_thread(self.account.stream, query)
        oversize = self.rules.oversize(request.path, scope, stream.event_count, only)
        if oversize:
            stream.close()
            return self._respond(request, oversize.status or 413, faults=oversize)
        if self.variants.too_large != "no" and stream.event_count > self.variants.most_rows:
            stream.close()
            return self._respond(request, int(self.variants.too_large))
        exchange: Exchange = self._exchanges[id(request)]
        exchange.event_count = stream.event_count
        if stream.left_out and self.variants.cap_said == "link":
            exchange.headers["Link"] = f'<{request.path}?page=2>; rel="next"'
        if self.variants.cap_said == "total":
            exchange.headers["X-Total-Count"] = str(stream.event_count + stream.left_out)
        if not stream.event_count and self.variants.no_events != "array":
            stream.close()
            return self._respond(request, 204 if self.variants.no_events == "204" else 200)
        batches: Iterator[pa.Array] = stream.batches()
        if is_varied(asked, self.variants):
            batches = varied(batches, asked, self.variants, self._count, now)
        return await self._stream(
            request,
            plain_body(batches, struck, now, asked.type),
            struck,
            finished=lambda: self._finish(stream, struck),
            close=stream.close,
        )

    async def _stream(
        self,
        request: web.Request,
        body: Iterator[bodies.TPiece],
        struck: Mapping[str, Fault],
        content_type: str = "application/json",
        finished: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> web.StreamResponse:
        exchange: Exchange = self._exchanges[id(request)]
        compress = self.gzip and accepts_gzip(request.headers.get("Accept-Encoding", ""))
        compress = {"asked": compress, "always": True, "never": False}[self.variants.compression]
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

    def _finish(self, stream: EventStream, struck: Mapping[str, Fault]) -> None:
        is_whole = not stream.left_out and not self.variants.missing
        if struck.keys().isdisjoint(SPOILING) and is_whole:
            self.served.add(stream.query)

    def _counted(
        self, exchange: Exchange, pieces: Iterator[bodies.TPiece]
    ) -> Iterator[bodies.TPiece]:
        for piece in pieces:
            exchange.byte_count += len(piece)
            yield piece

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
                    self._record(request)
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
            self._record(request)
            if reading:
                # A reader thread may be in the midst of a batch.
                reading.add_done_callback(lambda _: close())
            else:
                close()
        return response

    async def _faulty(
        self, request: web.Request, struck: Mapping[str, Fault]
    ) -> web.StreamResponse:
        """A response that a fault replaces as a whole."""
        fault = next(fault for kind, fault in struck.items() if kind in REPLACING)
        if fault.kind == "abort":
            self._record(request)
            await self._abort(request)
            return web.Response(status=500)
        if fault.kind == "bomb":
            response = web.StreamResponse(
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
            )
            self._exchanges[id(request)].status = 200
            pieces = bodies.bomb(fault.number)
            return await self._send(request, response, pieces, {}, lambda: None, lambda: None)
        if fault.kind == "redirect":
            root = str(fault.value or f"http://localhost:{self.port}/").rstrip("/")
            response = self._respond(request, fault.status or 302, faults=fault)
            response.headers["Location"] = root + request.path_qs
            return response
        if fault.kind == "html":
            return self._respond(request, 200, HTML_PAGE, "text/html; charset=utf-8")
        body = b""
        if fault.kind in ("object", "raw"):
            value = '{"message": "busy"}' if fault.value is None else fault.value
            body = (
                value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
            )
        status = int(fault.number) if fault.kind == "status" else 200
        return self._respond(request, status, body, faults=fault)

    def _respond(
        self,
        request: web.Request,
        status: int,
        body: bytes = b"",
        content_type: str = "application/json",
        faults: Fault | None = None,
    ) -> web.Response:
        """A complete response; error responses without a message have an empty body."""
        exchange: Exchange = self._exchanges[id(request)]
        if status >= 400 and not body:
            body, content_type = {
                "empty": (body, content_type),
                "json": (b'{"message": "refused"}', content_type),
                "html": (HTML_PAGE, "text/html; charset=utf-8"),
            }[self.variants.error_body]
        exchange.status, exchange.byte_count = status, len(body)
        self._record(request)
        response = web.Response(status=status, body=body, headers={"Content-Type": content_type})
        if faults and faults.retry_after is not None:
            response.headers["Retry-After"] = self._moment_header(faults.retry_after)
        if faults and faults.rate_limit_reset is not None:
            response.headers["X-RateLimit-Reset"] = self._moment_header(faults.rate_limit_reset)
        return response

    def _moment_header(self, value: str | float) -> str:
        kind, _, seconds = str(value).partition(":")
        now = self.clock.milliseconds() / 1000
        if kind == "date":
            return formatdate(now + float(seconds), usegmt=True)
        if kind == "epoch":
            return str(round(now + float(seconds)))
        return str(value)

    async def _set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        exchange: Exchange = self._exchanges[id(request)]
        response.headers["x-request-id"] = exchange.request_id
        shift = {"ahead": 5 * MINUTE, "behind": -5 * MINUTE}.get(self.variants.date, 0)
        now = (self.clock.milliseconds() + shift) // SECOND
        response.headers["Date"] = formatdate(now, usegmt=True)
        if self.variants.date == "none":
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

    def _record(self, request: web.Request) -> None:
        exchange: Exchange = self._exchanges[id(request)]
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

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._readers.submit(work, *arguments))


def plain_body(
    batches: Iterable[pa.Array], struck: Mapping[str, Fault], now: int, default_type: str | None
) -> Iterator[bodies.TPiece]:
    """The uncompressed body of a response, spoiled as the faults say."""
    if not struck.keys().isdisjoint(bodies.EDITING):
        batches = bodies.edited(batches, struck, now, default_type)
    if "cut_event" in struck:
        return bodies.cut_after(batches, int(struck["cut_event"].number), inside=True)
    if "cut_comma" in struck:
        return bodies.cut_after(batches, int(struck["cut_comma"].number), inside=False)
    pieces = bodies.json_array(batches)
    for kind in ("cut_byte", "abort_body"):
        if kind in struck:
            return bodies.cut_at(pieces, int(struck[kind].number))
    return pieces


def accepts_gzip(header: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0")
    return False
