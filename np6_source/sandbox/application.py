"""The routes of the sandbox, and which response a request gets. ``responder`` writes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from aiohttp import web

from ..dimensions import Dimension
from ..endpoints import Endpoint
from . import bodies
from .account import Account, EventStream, ServedEvents
from .clock import DAY, MINUTE, SECOND
from .descriptions import element, elements
from .faults import REPLACING, Fault, FaultRules
from .operations import (
    BadRequest,
    Operation,
    event_query,
    json_body,
    operation,
)
from .responder import Responder
from .varied import is_varied, narrowed, varied

STATISTICS_PATH = "/sandbox/statistics"
FAULT_HEADER = "X-Sandbox-Fault"
SPOILING = ("cut_byte", "cut_event", "cut_comma", "abort_body", "gzip_claimed")
"""Faults by which a client cannot have got all events."""

TRow = Operation | Dimension

THandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Application:
    """Responds to requests for one account. Runs in one event loop.

    Attributes:
        account: The account.
        key: What ``X-Key`` must hold.
        endpoints: The rows served.
        dimensions: The dimensions served.
        rules: Faults in force.
        latency: Milliseconds before every response.
        responder: Writes the responses.
    """

    account: Account
    key: str
    endpoints: Iterable[Endpoint]
    dimensions: Iterable[Dimension]
    rules: FaultRules
    latency: float
    responder: Responder
    served: ServedEvents = field(init=False)

    def __post_init__(self) -> None:
        """Prepares for reading."""
        self.served = ServedEvents(self.account)
        self._count = 0

    def close(self) -> None:
        """Waits for the reads under way, which are short, and frees the reader threads."""
        self.responder.close()
        self.served.close()

    def web_application(self) -> web.Application:
        """The aiohttp application, one route per path and method of the catalogue.

        Raises:
            ValueError: A row's path names an id of a kind that accounts do not know.
        """
        application = web.Application(middlewares=[self._exchange], client_max_size=64 * 1024**2)
        application.on_response_prepare.append(self.responder.set_headers)
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
            "requests": len(self.responder.requests),
            "served": self.served.counts(),
            "account": self.account.type_counts(),
            "faults": dict(self.rules.counts),
        }

    async def _statistics(self, request: web.Request) -> web.Response:
        found = await self.responder.in_thread(self.statistics)
        return web.json_response(found)

    @web.middleware
    async def _exchange(self, request: web.Request, handler: THandler) -> web.StreamResponse:
        responder = self.responder
        exchange = responder.begin(request)
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
            return responder.respond(request, 401)
        if responder.meter:
            exchange.allowance = responder.meter.take()
            if not exchange.allowance.granted:
                return responder.respond(request, 429)
        try:
            return await handler(request)
        except BadRequest as error:
            return responder.respond(request, 400, json.dumps({"message": str(error)}).encode())
        except web.HTTPException as error:
            return responder.respond(request, error.status)
        except Exception:
            exchange.status = 500
            responder.record(request)
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
            self.responder.exchange(request).content_type = struck.get("content_type")
            if "stall" in struck:
                await asyncio.sleep(struck["stall"].number)
            if any(kind in REPLACING for kind in struck):
                return await self.responder.faulty(request, struck)
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
        """A response about a dimension: an array, or of one id perhaps an object."""
        if scope is None:
            try:
                found = await self.responder.in_thread(
                    elements, self.account, dimension, dict(request.query)
                )
            except ValueError as error:
                raise BadRequest(str(error)) from None
        else:
            found = await self.responder.in_thread(element, self.account, dimension, scope)
        if found is None:
            return self.responder.respond(request, 404)
        if isinstance(found, dict):
            return self.responder.respond(
                request, 200, json.dumps(found).encode(), dimension.accept
            )
        payloads = pa.array([b"," + json.dumps(one).encode() for one in found], pa.binary())
        now = self.responder.clock.milliseconds()
        self.responder.exchange(request).event_count = len(found)
        body = bodies.plain_body([payloads], struck, now, None)
        return await self.responder.stream(request, body, struck, dimension.accept)

    async def _events(
        self,
        request: web.Request,
        asked: Operation,
        scope: str | None,
        struck: Mapping[str, Fault],
        only: Iterable[Fault],
    ) -> web.StreamResponse:
        responder, variants = self.responder, self.responder.in_force
        self._count += 1
        body = json_body(await request.read()) if asked.endpoint.sends_items_events else None
        query = event_query(asked, scope, dict(request.query), body, self._count, variants)
        if not asked.endpoint.confirmed and variants.unconfirmed != "there":
            if variants.unconfirmed == "empty":
                return responder.respond(request, 200, b"[]")
            return responder.respond(request, int(variants.unconfirmed))
        is_scoped = asked.id_column is not None and scope is not None
        may_miss = is_scoped and variants.unknown_ids != "empty"
        if may_miss and not await responder.in_thread(self.account.knows, asked.id_column, scope):
            return responder.respond(request, int(variants.unknown_ids))
        now = responder.clock.milliseconds()
        if now // MINUTE % 60 < variants.silent_minutes:
            return responder.respond(request, 200, b"[]")
        lag = variants.replica_seconds * SECOND if self._count % 2 else 0
        query = replace(
            query,
            visible_until=now - lag,
            sort=None if "unsorted" in struck else query.sort,
            limit=variants.row_cap or None,
        )
        if query.start is None and variants.default_span == "day":
            query = replace(query, start=now - DAY)
        query = narrowed(query, variants, now)
        stream = await responder.in_thread(self.account.stream, query)
        oversize = self.rules.oversize(request.path, scope, stream.event_count, only)
        if oversize:
            stream.close()
            return responder.respond(request, oversize.status or 413, faults=oversize)
        if variants.too_large != "no" and stream.event_count > variants.most_rows:
            stream.close()
            return responder.respond(request, int(variants.too_large))
        exchange = responder.exchange(request)
        exchange.event_count = stream.event_count
        if stream.left_out and variants.cap_said == "link":
            exchange.headers["Link"] = f'<{request.path}?page=2>; rel="next"'
        if variants.cap_said == "total":
            exchange.headers["X-Total-Count"] = str(stream.event_count + stream.left_out)
        if not stream.event_count and variants.no_events != "array":
            stream.close()
            return responder.respond(request, 204 if variants.no_events == "204" else 200)
        batches: Iterator[pa.Array] = stream.batches()
        if is_varied(asked, variants):
            batches = varied(batches, asked, variants, self._count, now)
        return await responder.stream(
            request,
            bodies.plain_body(batches, struck, now, asked.type),
            struck,
            finished=lambda: self._finish(stream, struck),
            close=stream.close,
        )

    def _finish(self, stream: EventStream, struck: Mapping[str, Fault]) -> None:
        is_whole = not stream.left_out and not self.responder.in_force.missing
        if struck.keys().isdisjoint(SPOILING) and is_whole:
            self.served.add(stream.query)
