"""An NP6 API of the adversary's own, written from the reference and not from the sandbox.

It serves four operations over accounts whose events are kept in a plain list, and misbehaves on
request: it caps rows, answers with empty arrays, lies about the time, breaks bodies.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FAULTS = ("500", "503", "429", "cut", "html", "object", "drop", "comma", "empty", "401", "204 text")
"""Ways in which one request may be answered wrongly."""


@dataclass(frozen=True)
class Fact:
    """An event as the account has it.

    Attributes:
        id: Its id.
        timestamp: Its time, milliseconds since the epoch.
        action: The action it is of.
        kind: ``activation`` or ``hit``.
    """

    id: str
    timestamp: int
    action: str
    kind: str

    def body(self, customer: str) -> dict[str, Any]:
        """The event as the API sends it."""
        detail: dict[str, Any] = {
            "activation": {
                "id": self.action,
                "kind": "message",
                "receiver": {"type": "id", "value": f"C{self.timestamp % 100:05d}"},
                "stamp": {"time": self.timestamp - 900, "id": f"s-{self.id}", "thread": "t"},
                "recipient": "someone@example.org",
            }
        }
        if self.kind == "hit":
            detail["link"] = {"type": "redirection", "label": self.id, "source": "html"}
        return {
            "type": self.kind,
            "id": self.id,
            "timestamp": self.timestamp,
            "identity": {"type": "customer", "agency": "ADV", "customer": customer},
            "source": {"type": "email", "detail": detail},
        }


@dataclass
class Api:
    """The server's accounts, and how it behaves at present.

    Attributes:
        accounts: Events by API key; ``keys`` of one account share a list.
        cap: Rows after which a response is cut without a word; None: never.
        outage: Every response is an empty array.
        clock: Seconds by which ``Date`` is ahead; None: there is no such header.
        faults: Answers of the next requests, first to last; ``""`` is a good one.
        slow: Seconds that each response takes.
        now: What ``Date`` says, milliseconds since the epoch; None: this machine's time.
        respond: Gets a request's path and query and its events, and may give a response of its own:
            its bytes, head and all, or their parts one by one.
        requests: Paths and queries seen.
    """

    accounts: dict[str, list[Fact]]
    cap: int | None = None
    outage: bool = False
    clock: float | None = 0.0
    faults: list[str] = field(default_factory=list)
    slow: float = 0.0
    now: int | None = None
    respond: Callable[[str, list[dict[str, Any]]], bytes | Iterable[bytes] | None] | None = None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def well(self) -> None:
        """Ends every misbehaviour."""
        self.cap, self.outage, self.clock, self.slow = None, False, 0.0, 0.0
        self.respond = None
        self.faults.clear()

    @property
    def date(self) -> str | None:
        """The value of ``Date``."""
        if self.clock is None:
            return None
        now = time.time() if self.now is None else self.now / 1000
        return formatdate(now + self.clock, usegmt=True)

    def rows(self, key: str, path: str, query: dict[str, list[str]]) -> list[dict[str, Any]] | None:
        """The events that a request is for; None where there is no such operation."""
        parts = path.strip("/").split("/")
        bounds = (
            ("reactivityStart", "reactivityEnd") if "reactivities" in path else ("start", "end")
        )
        first, last = (_moment(query[name][0]) if name in query else None for name in bounds)
        action = None
        if len(parts) > 2 and parts[0] == "actions" and parts[1] not in ("events", "reactivities"):
            action = parts.pop(1)
        kinds = {
            "actions/events": ("activation", "hit"),
            "actions/reactivities": ("hit",),
            "actions/events/activations": ("activation",),
            "targets/events/hits": ("hit",),
        }.get("/".join(parts))
        if kinds is None:
            return None
        found = [
            fact
            for fact in list(self.accounts[key])
            if fact.kind in kinds
            and (action is None or fact.action == action)
            and (first is None or fact.timestamp >= first)
            and (last is None or fact.timestamp < last)
        ]
        found.sort(key=lambda fact: fact.timestamp)
        return [fact.body(key.partition("-")[0]) for fact in found[: self.cap]]


def _moment(text: str) -> int:
    if text.isdigit():
        return int(text)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1000)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self) -> None:
        api = self.api
        target = urlsplit(self.path)
        api.requests.append(self.path)
        fault = api.faults.pop(0) if api.faults else ""
        key = self.headers.get("X-Key", "")
        if api.slow:
            time.sleep(api.slow)
        if fault == "drop":
            self.close_connection = True
            return
        if key not in api.accounts or fault == "401":
            self._send(401, b"")
            return
        if fault in ("500", "503", "429"):
            self._send(int(fault), b"")
            return
        found = api.rows(key, target.path, parse_qs(target.query))
        if found is None:
            self._send(404, b"")
            return
        own = api.respond(self.path, found) if api.respond else None
        if own is not None:
            for part in (own,) if isinstance(own, bytes) else own:
                self.wfile.write(part)
            self.close_connection = True
            return
        body = json.dumps([] if api.outage else found).encode()
        if fault == "cut":
            body = body[: max(1, len(body) // 2)]
        elif fault == "comma":
            body = body[:-1] + b","
        elif fault == "html":
            body = b"<html><body>Maintenance</body></html>"
        elif fault == "object":
            body = b'{"message": "later"}'
        elif fault == "empty":
            body = b""
        elif fault == "204 text":
            body = b"null"
        self._send(200, body)

    def handle(self) -> None:
        """A client that is killed resets its connection: no news."""
        with suppress(ConnectionError):
            super().handle()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        if self.api.date is not None:
            self.send_header("Date", self.api.date)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the tests look at ``Api.requests``."""


@contextmanager
def serving(accounts: dict[str, Sequence[Fact]]) -> Iterator[Api]:
    """Serves accounts on a port of its own until the block ends."""
    api = Api(
        {key: facts if isinstance(facts, list) else [*facts] for key, facts in accounts.items()}
    )
    handler = type("Handler", (_Handler,), {"api": api})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        api.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
