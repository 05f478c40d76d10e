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

from np6_source.api import watch
from np6_source.api.body import BodyInMemory, BodyInPieces
from np6_source.api.client import Client, ResponseFacts, WindowRequest
from np6_source.api.decoding import CHUNK
from np6_source.api.pieces import Piece
from np6_source.api.server_clock import ServerClock
from np6_source.endpoints import Endpoint
from np6_source.errors import (
    BadAnswer,
    ExchangeFailed,
    IncompleteResponse,
    RequestContext,
    RequestFailed,
    Stopped,
    TryAgainLater,
    UnexpectedStatus,
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


@pytest.mark.parametrize(
    ("sent", "shown"), [("a-1:b_2", "a-1:b_2"), ("to marie@lab.example", None)]
)
def test_a_request_id_is_shown_where_it_is_one(
    client_of: TMake,
    raw_server: TMake,
    answer_with: TMake,
    request_of: TMake,
    sent: str,
    shown: str | None,
) -> None:
    server = raw_server(answer_with(b"[]", "400 Bad Request", {"x-request-id": sent}))
    with pytest.raises(RequestFailed) as raised:
        client_of(server).fetch(request_of(), BodyInMemory())
    assert raised.value.context.request_id == shown
    assert "marie" not in str(raised.value)


def test_nobody_listening_is_unreachable(client_of: TMake, raw_server: TMake, at: TAt) -> None:
    server = raw_server()
    api = type("Api", (), {"url": f"http://127.0.0.2:{server.port}/", "key": "some-key"})
    with pytest.raises(Unreachable, match="Check the network and base_url"):
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
    both = threading.Barrier(2)

    def answers(_: str) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(60)
        time.sleep(0.02)  # So that one more would be seen.
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


# --- Whatever is raised is a failure of the window


def fetched(client: Client, request: WindowRequest) -> bytes:
    """The body of a window."""
    sink = BodyInMemory()
    client.fetch(request, sink)
    return bytes(sink.content)


def failure_of(client: Client, request: WindowRequest) -> RequestFailed:
    """The failure of a window, which names what it was for."""
    with pytest.raises(RequestFailed) as raised:
        client.fetch(request, BodyInMemory())
    failure = raised.value
    assert failure.context.resource == request.endpoint.name
    assert failure.context.window == str(request.window)
    assert failure.__context__ is None
    assert failure.__cause__ is None
    return failure


@pytest.mark.parametrize(
    "location",
    ["/caf\xe9", "http://[::1", "http://[/", "\x00", "//", "http://x:99999999/", ""],
    ids=repr,
)
def test_a_redirect_to_nowhere_is_refused_like_any_other(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake, location: str
) -> None:
    server = raw_server(answer_with(b"", "302 Found", {"Location": location}))
    failure = failure_of(client_of(server), request_of())
    assert type(failure) is UnexpectedStatus
    assert failure.context.status == 302
    assert len(server.requests) == 1


def test_the_body_of_a_redirect_is_not_read(
    client_of: TMake, raw_server: TMake, request_of: TMake
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n"
        for _ in range(400):
            sent += 1
            yield b"x" * 1_000_000

    server = raw_server(lambda _: endless())
    failure = failure_of(client_of(server), request_of())
    assert type(failure) is UnexpectedStatus
    assert sent < 50


@pytest.mark.parametrize("scope", ["\ud800", "abc\udcff"], ids=ascii)
@pytest.mark.parametrize("in_query", [False, True])
def test_an_id_that_is_no_unicode_fails_its_window_alone(
    client_of: TMake, serve: TMake, at: TAt, scope: str, in_query: bool
) -> None:
    row = Endpoint("/targets/events/hits", ids="target_ids", id_query="id")
    if not in_query:
        row = Endpoint("/targets/{id}/events", ids="target_ids")
    sandbox = serve([])
    request = WindowRequest(row, Window(at("03-01"), at("03-02")), scope, "the label")
    failure = failure_of(client_of(sandbox), request)
    assert type(failure) is ExchangeFailed
    assert "UnicodeEncodeError" in str(failure)
    assert "id the label" in str(failure)
    assert sandbox.requests == []


def test_certificates_that_are_not_there_are_no_connection(
    client_of: TMake, request_of: TMake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "not-there.pem"))
    api = type("Api", (), {"url": "https://127.0.0.1:9/", "key": "some-key"})
    failure = failure_of(client_of(api, attempts=1), request_of())
    assert type(failure) is Unreachable
    assert "REQUESTS_CA_BUNDLE" in str(failure)


@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset"])
@pytest.mark.parametrize("value", ["1" + "0" * 18, "9" * 4400, "1e400"], ids=lambda v: v[:8])
def test_an_impossible_wait_fails_the_window_after_its_attempts(
    client_of: TMake,
    raw_server: TMake,
    answer_with: TMake,
    request_of: TMake,
    name: str,
    value: str,
) -> None:
    server = raw_server(answer_with(b"", "429 Too Many Requests", {name: value}))
    failure = failure_of(client_of(server, attempts=2), request_of())
    assert type(failure) is TryAgainLater
    assert len(server.requests) == 2


def test_an_error_of_the_sink_is_a_failure_of_the_window(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    class Broken(BodyInMemory):
        discarded = False

        def add(self, chunk: bytes) -> None:
            raise RuntimeError("cannot schedule new futures after shutdown")

        def discard(self) -> None:
            self.discarded = True

    sink = Broken()
    with pytest.raises(ExchangeFailed, match="RuntimeError") as raised:
        client_of(serve([])).fetch(request_of(), sink)
    assert raised.value.context.request_id
    assert sink.discarded


# --- Not whole


@pytest.mark.parametrize(
    "headers",
    [
        {"Link": '<https://x/?page=2>; rel="next"'},
        {"Content-Range": "items 0-99/1000"},
        {"X-Next-Page": "2"},
    ],
    ids=str,
)
def test_a_page_is_no_whole_response(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake, headers: Any
) -> None:
    server = raw_server(answer_with(b"[]", headers=headers))
    assert type(failure_of(client_of(server), request_of())) is IncompleteResponse


def test_partial_content_is_no_whole_response(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake
) -> None:
    server = raw_server(answer_with(b"[]", "206 Partial Content"))
    assert type(failure_of(client_of(server), request_of())) is IncompleteResponse


def test_announced_rows_are_handed_on_to_be_compared(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake
) -> None:
    server = raw_server(answer_with(b"[]", headers={"X-Total-Count": "7"}))
    facts = client_of(server).fetch(request_of(), BodyInMemory())
    assert facts.total_count == 7


def test_no_content_is_an_empty_array(
    client_of: TMake, raw_server: TMake, request_of: TMake
) -> None:
    server = raw_server(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    assert fetched(client_of(server), request_of()) == b"[]"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 507, 520, 524])
def test_a_passing_refusal_is_asked_again(
    client_of: TMake, serve: TMake, request_of: TMake, status: int
) -> None:
    sandbox = serve([])
    with sandbox.faults.during(f"status={status},times=1"):
        assert fetched(client_of(sandbox), request_of()) == b"[]"
    assert [seen.status for seen in sandbox.requests] == [status, 200]


# --- Charsets


TEXT = '[{"id": "zo\u00e9@ex\u00e4mple.com", "name": "\u0153uvre"}]'


@pytest.mark.parametrize(
    "charset", ["windows-1252", "utf-16", "UTF-16LE", "utf-8", "UTF8", "cp850"]
)
def test_a_body_is_decoded_by_the_charset_of_its_header(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake, charset: str
) -> None:
    text = TEXT if charset != "cp850" else TEXT.replace("\u0153", "\u00e6")
    headers = {"Content-Type": f"application/json; charset={charset}"}
    server = raw_server(answer_with(text.encode(charset), headers=headers))
    assert fetched(client_of(server), request_of()).decode("utf-8").lstrip("\ufeff") == text


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "unicode_escape", "utf-16"])
def test_a_charset_that_does_not_fit_is_a_bad_response(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake, charset: str
) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    body = b"[1]" if charset == "utf-16" else TEXT.encode()
    server = raw_server(answer_with(body, headers=headers))
    failure = failure_of(client_of(server), request_of())
    assert type(failure) is BadAnswer
    assert "charset" in str(failure)
    assert len(server.requests) == 1


def test_an_undeclared_body_passes_byte_by_byte(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake
) -> None:
    body = TEXT.encode("windows-1252")
    assert fetched(client_of(raw_server(answer_with(body))), request_of()) == body


# --- Every wait is bounded, said, and ends


def drip(head: bytes, parts: int = 600, part: bytes = b" ") -> Callable[[str], Iterator[bytes]]:
    """A response of a byte each twentieth of a second after its beginning."""

    def answer(_: str) -> Iterator[bytes]:
        yield head
        for _ in range(parts):
            time.sleep(0.05)
            yield part

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
DRIPS = {
    "a body of known length": HEAD + b"Content-Length: 5000\r\n\r\n[",
    "a body until the end": HEAD + b"\r\n[",
    "headers": HEAD + b"X-Endless: ",
    "a status line": b"HTTP/1.1 200 ",
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_response_that_drips_is_given_up_at_the_deadline(
    client_of: TMake, raw_server: TMake, request_of: TMake, name: str
) -> None:
    server = raw_server(drip(DRIPS[name]))
    client = client_of(server, read_timeout=5, request_timeout=0.5)
    began = time.monotonic()
    failure = failure_of(client, request_of())
    assert type(failure) is WindowTooLarge
    assert "more than 0.5 seconds (request_timeout)" in str(failure)
    assert time.monotonic() - began < 20
    assert len(server.requests) == 1


def test_a_chunked_body_that_drips_is_given_up_at_the_deadline(
    client_of: TMake, raw_server: TMake, request_of: TMake
) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n"
    server = raw_server(drip(head, part=b"1\r\n \r\n"))
    failure = failure_of(client_of(server, request_timeout=0.5), request_of())
    assert "more than 0.5 seconds" in str(failure)


def test_the_deadline_is_ten_times_the_wait_for_the_next_bytes() -> None:
    assert ClientSettings("https://x.test", "k", read_timeout=3).deadline == 30
    assert ClientSettings("https://x.test", "k", request_timeout=7).deadline == 7


@pytest.mark.parametrize("name", ["a body of known length", "headers"])
def test_a_request_under_way_ends_when_the_run_is_to_stop(
    client_of: TMake,
    raw_server: TMake,
    request_of: TMake,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(watch, "GRACE", 0.2)
    server = raw_server(drip(DRIPS[name]))
    client = client_of(server, should_stop=lambda: bool(server.requests))
    began = time.monotonic()
    assert type(failure_of(client, request_of())) is Stopped
    assert time.monotonic() - began < 20


def test_a_wish_to_stop_ends_the_wait_before_the_next_attempt(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    sandbox = serve([])
    client = client_of(sandbox, should_stop=lambda: bool(sandbox.requests), backoff=300)
    began = time.monotonic()
    with sandbox.faults.during("status=503"):
        assert type(failure_of(client, request_of())) is Stopped
    assert time.monotonic() - began < 20
    assert len(sandbox.requests) == 1


def test_a_question_that_fails_is_a_wish_to_stop(
    client_of: TMake, raw_server: TMake, request_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GRACE", 0.2)
    server = raw_server(drip(DRIPS["headers"]))
    client = client_of(server, should_stop=lambda: 1 / 0)
    assert type(failure_of(client, request_of())) is Stopped


def test_a_short_request_is_finished_though_the_run_is_to_stop(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    assert fetched(client_of(serve([]), should_stop=lambda: True), request_of()) == b"[]"


def test_a_limit_used_up_for_long_ends_the_run_before_the_next_request(
    client_of: TMake, raw_server: TMake, answer_with: TMake, request_of: TMake
) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600"}
    server = raw_server(answer_with(headers=headers))
    client = client_of(server, longest_wait=600)
    assert fetched(client, request_of()) == b"[]"
    began = time.monotonic()
    assert type(failure_of(client, request_of())) is TryAgainLater
    assert time.monotonic() - began < 10
    assert len(server.requests) == 1


def test_a_backoff_is_no_longer_than_the_longest_wait(
    client_of: TMake, serve: TMake, request_of: TMake
) -> None:
    began = time.monotonic()
    sandbox = serve([])
    client = client_of(sandbox, attempts=2, backoff=900, longest_wait=0.1)
    with sandbox.faults.during("status=503"):
        failure_of(client, request_of())
    assert time.monotonic() - began < 20


def test_attempts_are_said(
    client_of: TMake, serve: TMake, request_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = serve([])
    caplog.set_level("INFO", "np6_source")
    with sandbox.faults.during("status=503"):
        failure_of(client_of(sandbox, attempts=3), request_of())
    said = [line for line in caplog.messages if "Attempt" in line]
    assert len(said) == 2
    assert "status 503" in said[0]
    assert "Attempt 1 of 3; the next in 0.0 seconds." in said[0]
