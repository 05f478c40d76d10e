"""The sandbox's made-up accounts, asked in the same process and at any moment of theirs.

Mailings, nights, robots and late events as the sandbox has them, without HTTP: a probe takes well
under a second, so that many moments can be tried.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import formatdate

from np6_source.assumptions.facts import Asked, Response, seen
from np6_source.endpoints import ENDPOINTS
from np6_source.sandbox import Account, Variants, generated_account
from np6_source.sandbox.operations import BadRequest, Operation, event_query, operation
from np6_source.sandbox.varied import is_varied, narrowed, varied
from np6_source.windows import DAY, SECOND

BEGIN = datetime(2025, 3, 3, tzinfo=timezone.utc)
OPERATIONS = tuple(map(operation, ENDPOINTS))


def made_up(seed: int, events: int, days: int) -> Account:
    """An account of so many days from a fixed moment on; asked by ``Sandboxed`` within them."""
    end = BEGIN + timedelta(days=days)
    return generated_account(events, seed=seed, start=BEGIN, end=end, late_share=0.01)


class Sandboxed:
    """Answers as the sandbox does.

    Attributes:
        now: The sandbox's time, milliseconds since the epoch.
        requests: Requests so far.
    """

    def __init__(self, account: Account, variants: Variants, now: int) -> None:
        self._account, self._variants, self.now = account, variants, now
        self.requests = 0

    def __call__(self, asked: Asked) -> Response:
        self.requests += 1
        headers = self._headers()
        return replace(self._response(asked), headers=headers, received_at=self.now)

    def _headers(self) -> dict[str, str]:
        shift = {"right": 0, "none": 0, "ahead": 300, "behind": -300}[self._variants.date]
        date = {"Date": formatdate(self.now / SECOND + shift, usegmt=True)}
        gzip = {"Content-Encoding": "gzip"} if self._variants.compression != "never" else {}
        return gzip | ({} if self._variants.date == "none" else date)

    def _response(self, asked: Asked) -> Response:
        variants, parameters = self._variants, asked.query()
        operation = _row(asked, parameters)
        if operation is None:
            return Response(404, None)
        row, scope = operation
        body = None if asked.body is None else json.loads(asked.body)
        try:
            query = event_query(row, scope, parameters, body, self.requests, variants)
        except BadRequest:
            return Response(400, None)
        if not row.endpoint.confirmed and variants.unconfirmed != "there":
            is_empty = variants.unconfirmed == "empty"
            return Response(200, ()) if is_empty else Response(int(variants.unconfirmed), None)
        is_named = scope is not None and row.id_column is not None
        is_known = not is_named or self._account.knows(str(row.id_column), str(scope))
        if not is_known and variants.unknown_ids != "empty":
            return Response(int(variants.unknown_ids), None)
        lag = variants.replica_seconds * SECOND if self.requests % 2 else 0
        query = replace(query, visible_until=self.now - lag, limit=variants.row_cap or None)
        if query.start is None and variants.default_span == "day":
            query = replace(query, start=self.now - DAY)
        stream = self._account.stream(narrowed(query, variants, self.now))
        try:
            if stream.left_out and variants.cap_said != "no":
                return Response(200, None, says_more=True)
            if not stream.event_count and variants.no_events != "array":
                is_said = variants.no_events == "204"
                return Response(204, ()) if is_said else Response(200, None, is_empty=True)
            batches = stream.batches()
            if is_varied(row, variants):
                batches = varied(batches, row, variants, self.requests, self.now)
            return _read(
                (bytes(one.as_buffer()) for batch in batches for one in batch), asked.most_bytes
            )
        finally:
            stream.close()


def _row(asked: Asked, parameters: dict[str, str]) -> tuple[Operation, str | None] | None:
    for row in OPERATIONS:
        endpoint = row.endpoint
        found = re.fullmatch(endpoint.path.replace("{id}", "([^/]+)"), asked.path)
        method = "GET" if asked.body is None else "POST"
        is_named = endpoint.id_query is None or endpoint.id_query in parameters
        if found and endpoint.method == method and is_named:
            by_query = parameters[endpoint.id_query] if endpoint.id_query else None
            return row, found.group(1) if found.groups() else by_query
    return None


def _read(payloads: object, most_bytes: int) -> Response:
    events, size = [], 0
    for payload in payloads:  # type: ignore[attr-defined]
        size += len(payload)
        if size > most_bytes:
            return Response(200, tuple(events), is_whole=False, byte_count=most_bytes)
        found = seen(json.loads(payload[1:]))
        if found is not None:
            events.append(found)
    return Response(200, tuple(events), byte_count=size)
