"""The client alone, over real sockets: one window in, its body out."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from np6_source.api.body import CHUNK, BodyInMemory, BodyInPieces, Piece
from np6_source.api.client import Client, ResponseFacts, WindowRequest
from np6_source.api.server_clock import ServerClock
from np6_source.endpoints import Endpoint
from np6_source.errors import (
    RequestContext,
    RequestFailed,
    TryAgainLater,
    Unreachable,
    WindowTooLarge,
)
from np6_source.sandbox import Fault, RateLimit, Sandbox
from np6_source.settings import ClientSettings
from np6_source.windows import SECOND, Window, to_ms

TMake = Callable[..., Any]
TAt = Callable[[str], int]
ROW = Endpoint("/actions/events")


@pytest.fixture
def client_of() -> Iterator[TMake]:
    """Makes clients that end with the test."""
    with ExitStack() as stack:

        def make(api: Any, should_stop: Any = lambda: False, **settings: Any) -> Client:
            options = {"base_url": api.url, "api_key": api.key, "backoff": 0.01} | settings
            client = Client(ClientSettings(**options), ServerClock(), should_stop)
            stack.callback(client.close)
            return client

        yield make


class Pieces:
    """A reader that keeps the pieces of each attempt."""

    def __init__(self) -> None:
        self.attempts: list[list[Piece]] = []
        self.requested_at = 0

    def start(self, requested_at: int, context: RequestContext) -> None:
        self.attempts.append([])
        self.requested_at = requested_at

    def add(self, piece: Piece) -> None:
        self.attempts[-1].append(piece)

    @property
    def piece(self) -> Piece:
        """The only piece of the last attempt."""
        (piece,) = self.attempts[-1]
        return piece


@pytest.fixture
def request_of(at: TAt) -> Callable[..., WindowRequest]:
    return lambda start="03-01", end="03-02": WindowRequest(ROW, Window(at(start), at(end)))


def test_a_response_becomes_a_body_with_its_facts(
    client_of: TMake, serve: TMake, event: TMake, at: TAt, request_of: TMake
) -> None:
    sandbox: Sandbox = serve([event(1, at("03-01T12:00"))])
    before = int(time.time()) * SECOND
    received = BodyInMemory()
    facts: ResponseFacts = client_of(sandbox).fetch(request_of(), received)
    (seen,) = sandbox.requests
    assert received.content.startswith(b"[{")
    assert (facts.byte_count, facts.request_id) == (len(received.content), seen.request_id)
    assert before <= facts.requested_at <= to_ms(sandbox.now)
    assert 0 <= facts.duration_ms < 60_000


def test_a_body_in_pieces_is_files_of_its_reader(
    client_of: TMake, serve: TMake, event: TMake, at: TAt, request_of: TMake, tmp_path: Path
) -> None:
    sandbox: Sandbox = serve([event(1, at("03-01T12:00"))])
    pieces = Pieces()
    facts = client_of(sandbox).fetch(request_of(), BodyInPieces(tmp_path, "body", pieces))
    assert pieces.piece.file.parent == tmp_path
    assert pieces.piece.file.stat().st_size == facts.byte_count
    assert pieces.requested_at == facts.requested_at
    assert not pieces.piece.has_nul


@pytest.mark.parametrize("gzip_sent", [True, False])
def test_a_body_is_inflated_and_may_come_in_any_pieces(
    client_of: TMake,
    raw_server: TMake,
    answer_with: TMake,
    request_of: TMake,
    gzip_sent: bool,
) -> None:
    body = b"[" + b" " * 1_000_000 + b"]"
    sent = gzip.compress(body[:500]) + gzip.compress(body[500:]) if gzip_sent else body
    headers = {"Content-Encoding": "gzip"} if gzip_sent else {}
    server = raw_server(answer_with(sent, headers=headers))
    received = BodyInMemory()
    facts = client_of(server).fetch(request_of(), received)
    assert received.content == body
    assert facts.byte_count == len(body)


def test_nul_escapes_are_noticed_wherever_they_stand(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake, tmp_path: Path
) -> None:
    for blanks in (0, CHUNK - 4, CHUNK - 1):
        body = b"[" + b" " * blanks + b'"\\u0000"]'
        server = raw_server(answer_with(body))
        pieces = Pieces()
        client_of(server).fetch(request_of(), BodyInPieces(tmp_path, str(blanks), pieces))
        assert pieces.piece.has_nul


def test_an_attempt_after_one_that_broke_off_begins_anew(
    client_of: TMake, serve: TMake, event: TMake, at: TAt, request_of: TMake, tmp_path: Path
) -> None:
    sandbox = serve(event(n, at("03-01T12:00") + n) for n in range(50))
    pieces = Pieces()
    with sandbox.faults.during(Fault("abort_body", 400, times=1)):
        client_of(sandbox).fetch(request_of(), BodyInPieces(tmp_path, "body", pieces))
    assert len(pieces.attempts) == 2
    assert pieces.attempts[0] == []
    assert len(json.loads(pieces.piece.file.read_bytes())) == 50


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("abort_body=400", WindowTooLarge), ("bomb=5", WindowTooLarge), ("status=401", RequestFailed)],
)
def test_a_failed_request_leaves_no_file(
    client_of: TMake,
    serve: TMake,
    event: TMake,
    at: TAt,
    request_of: TMake,
    tmp_path: Path,
    fault: str,
    kind: type[Exception],
) -> None:
    sandbox = serve(event(n, at("03-01T12:00") + n) for n in range(50))
    client = client_of(sandbox, attempts=2, largest_answer=1_000_000)
    with sandbox.faults.during(fault), pytest.raises(kind):
        client.fetch(request_of(), BodyInPieces(tmp_path, "body", Pieces()))
    assert list(tmp_path.glob("*.json")) == []


def test_attempts_are_counted_and_waits_grow(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    sandbox = serve([])
    started = time.monotonic()
    with sandbox.faults.during("status=503"), pytest.raises(WindowTooLarge):
        client_of(sandbox, attempts=4, backoff=0.1).fetch(request_of(), BodyInMemory())
    # At least 0.1 + 0.2 + 0.4 seconds.
    assert time.monotonic() - started >= 0.7
    assert len(sandbox.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 411, 415])
def test_what_asking_again_does_not_change_is_asked_once(
    client_of: TMake, serve: TMake, request_of: TMake, status: int
) -> None:
    sandbox = serve([])
    with sandbox.faults.during(f"status={status}"), pytest.raises(RequestFailed) as raised:
        client_of(sandbox).fetch(request_of(), BodyInMemory())
    assert len(sandbox.requests) == 1
    assert raised.value.context.status == status
    assert raised.value.context.request_id == sandbox.requests[0].request_id


def test_nobody_listening_is_unreachable(client_of: TMake, raw_server: TMake, at: TAt) -> None:
    server = raw_server()
    api = type("Api", (), {"url": f"http://127.0.0.2:{server.port}/", "key": "some-key"})
    with pytest.raises(Unreachable, match="check the network and base_url"):
        client_of(api, attempts=2).fetch(
            WindowRequest(ROW, Window(at("03-01"), at("03-02"))), BodyInMemory()
        )


def test_the_time_to_come_back_is_the_server_s(
    client_of: TMake, serve: TMake, request_of: TMake, at: TAt
) -> None:
    sandbox = serve([], now=at("03-05"))
    fault = Fault("status", 429, retry_after="date:3600")
    with sandbox.faults.during(fault), pytest.raises(TryAgainLater) as raised:
        client_of(sandbox).fetch(request_of(), BodyInMemory())
    assert abs(to_ms(raised.value.resume_at) - at("03-05T01:00")) <= 3 * SECOND


def test_no_more_requests_run_at_once_than_allowed(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake
) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def answers(_: str) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return bytes(answer_with())

    client = client_of(raw_server(answers), concurrency=2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client.fetch(request_of(), BodyInMemory()), range(8)))
    assert most == 2


def test_threads_share_the_wait_that_the_api_asks_for(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    sandbox = serve([], rate_limit=RateLimit(3, seconds=0.4))
    client = client_of(sandbox, attempts=10, concurrency=4)
    received = [BodyInMemory() for _ in range(9)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: client.fetch(request_of(), each), received))
    assert all(each.content == b"[]" for each in received)
    assert sum(request.status == 200 for request in sandbox.requests) == 9


def test_the_key_is_not_in_the_settings_text(client_of: TMake, serve: TMake) -> None:
    settings = ClientSettings("https://x.test", "the-secret")
    assert "the-secret" not in repr(settings)
    assert "the-secret" not in str(vars(client_of(serve([], key="the-secret"))))
