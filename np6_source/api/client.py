"""Requests to the NP6 API: one window in, its body out, in files.

The session, the key, time-outs, retries. Of an answer only its headers pass through memory; the
body is streamed to files (``pieces``). What the body says is read elsewhere (``events``).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlsplit

import requests
import tenacity
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, ProtocolError

from ..endpoints import WINDOW_PARAMETERS, Endpoint
from ..errors import (
    BadAnswer,
    Forbidden,
    NotFound,
    RequestContext,
    RequestFailed,
    SettingError,
    SpoolFailed,
    TryAgainLater,
    Unauthorized,
    UnexpectedStatus,
    Unreachable,
    WindowTooLarge,
)
from ..windows import SECOND, Window, iso
from .body import Piece, PieceWriter
from .server_clock import ServerClock, as_utc
from .throttle import Throttle, reset_seconds

logger = logging.getLogger(__name__)

TTimestampFormat = Literal["iso", "ms"]

CHUNK = 1024 * 1024
SERVER_TROUBLE = (500, 502, 503, 504)
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class ClientSettings:
    """How to talk to the API.

    Attributes:
        base_url: Root of the API.
        api_key: Sent in the ``X-Key`` header, to the host of ``base_url`` only.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes.
        attempts: How often a request is tried.
        backoff: Seconds before the second attempt; doubles with each further one.
        longest_wait: Seconds the run may wait at once because the API asks it to.
        largest_answer: Bytes (uncompressed) that one answer may have.
        concurrency: Requests that may run at once.
        interval: Seconds from one request's start to the next, at least.
        timestamp_format: How window bounds are sent, ISO 8601 or milliseconds. The reference
            takes both and says the unit of neither.
    """

    base_url: str
    api_key: str = field(repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    attempts: int = 5
    backoff: float = 1.0
    longest_wait: float = 600.0
    largest_answer: int = 4 * 1024**3
    concurrency: int = 8
    interval: float = 0.0
    timestamp_format: TTimestampFormat = "iso"


class ApiRequest(Protocol):
    """One call of one operation, whatever it asks for."""

    @property
    def method(self) -> str:
        """HTTP method."""

    @property
    def path(self) -> str:
        """Path below the base URL, escaped."""

    @property
    def accept(self) -> str:
        """Media types that are taken."""

    @property
    def body(self) -> Any:
        """JSON body; None: no body."""

    @property
    def context(self) -> RequestContext:
        """What the request is for, for messages."""

    def parameters(self, timestamp_format: TTimestampFormat) -> dict[str, str]:
        """Query parameters, moments written in this format."""


@dataclass(frozen=True)
class WindowRequest:
    """One call of one operation that returns the events of a window.

    Attributes:
        endpoint: The operation.
        window: The span of event time to ask for.
        scope: The id, empty where the operation covers the whole account.
        scope_label: The id as it may be shown.
        query: Further query parameters.
        body: JSON body of a POST.
    """

    endpoint: Endpoint
    window: Window
    scope: str = ""
    scope_label: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    accept: str = "application/json"

    @property
    def method(self) -> str:
        """See ``ApiRequest``."""
        return self.endpoint.method

    @property
    def path(self) -> str:
        """See ``ApiRequest``."""
        return self.endpoint.path.replace("{id}", quote(self.scope, safe=""))

    @property
    def context(self) -> RequestContext:
        """See ``ApiRequest``."""
        return RequestContext(self.endpoint.name, self.scope_label, str(self.window))

    def parameters(self, timestamp_format: TTimestampFormat) -> dict[str, str]:
        """See ``ApiRequest``."""
        start, end = WINDOW_PARAMETERS[self.endpoint.window]
        as_text = iso if timestamp_format == "iso" else str
        query = dict(self.query)
        if self.endpoint.id_query:
            query[self.endpoint.id_query] = self.scope
        query |= {start: as_text(self.window.start), end: as_text(self.window.end)}
        return query | {"sort": "asc"}


class Reception(Protocol):
    """Takes an answer while it comes in."""

    def begin(self, requested_at: int, context: RequestContext) -> None:
        """An answer begins; what came of an earlier attempt, if any, is void.

        Args:
            requested_at: When the request was sent, milliseconds since the epoch on the server.
            context: What the answer is for, for messages.
        """

    def take(self, piece: Piece) -> None:
        """A piece of the body; its file is the reception's to delete."""


@dataclass(frozen=True)
class Answer:
    """What is known of an answer beside its body.

    Attributes:
        byte_count: Size of the body, uncompressed.
        requested_at: When the request was sent, milliseconds since the epoch on the server.
        duration_ms: Milliseconds from the request to the last byte.
        request_id: NP6's ``x-request-id``.
    """

    byte_count: int
    requested_at: int
    duration_ms: int
    request_id: str | None


_CONNECTION_LOGGER = logging.getLogger("urllib3.connection")


def _without_queries(record: logging.LogRecord) -> bool:
    """Takes the query out of urllib3's warnings about a URL: an id in it may be an address."""
    if record.levelno >= logging.INFO:
        record.msg = re.sub(r"\?[^\s)]*", "?...", record.getMessage())
        record.args = ()
    return True


class _KeyForHost(AuthBase):
    """Adds the key to requests for one host, and to no other."""

    def __init__(self, api_key: str, base_url: str) -> None:
        self._api_key = api_key
        self._origin = urlsplit(base_url)[:2]

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if urlsplit(str(request.url))[:2] == self._origin:
            request.headers["X-Key"] = self._api_key
        return request


class _Again(Exception):
    """An attempt that failed and may be repeated.

    Attributes:
        failure: What to raise when no attempt is left.
        wait: Seconds the API asks to wait before the next.
    """

    def __init__(self, failure: RequestFailed, wait: float | None = None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.wait = wait


class Client:
    """Fetches windows. Safe for threads; close it when done."""

    def __init__(self, settings: ClientSettings, spool: Path, clock: ServerClock) -> None:
        """Opens a session.

        Args:
            settings: How to talk to the API.
            spool: Folder for the answers' files.
            clock: Learns the API's time from the answers.

        Raises:
            SettingError: The base URL or the key cannot be used.
        """
        self._settings = settings
        self._base_url = checked_base_url(settings.base_url)
        self._spool = spool
        self.clock = clock
        self._throttle = Throttle(settings.concurrency, settings.interval)
        self._is_failing = False
        self._session = requests.Session()
        self._session.auth = _KeyForHost(checked_key(settings.api_key), self._base_url)
        self._session.headers.update({"Accept-Encoding": "gzip"})
        self._session.cookies.set_policy(_NoCookies())
        adapter = HTTPAdapter(pool_maxsize=settings.concurrency)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        _CONNECTION_LOGGER.addFilter(_without_queries)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()
        _CONNECTION_LOGGER.removeFilter(_without_queries)

    def fetch(self, request: ApiRequest, reception: Reception) -> Answer:
        """Sends one request until the answer is complete.

        Connection errors, time-outs, 429 and 5xx are tried again with growing waits.

        Args:
            request: What to ask for.
            reception: Gets the body; all of it has come once this returns.

        Raises:
            RequestFailed: The kind says what it means, see ``errors``.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=tenacity.stop_after_attempt(self._attempts()),
            wait=self._wait,
            sleep=time.sleep,
        )
        try:
            answer = retrying(self._attempt, request, reception)
        except tenacity.RetryError as error:
            again = error.last_attempt.exception()
            assert isinstance(again, _Again)
            self._is_failing = True
            raise again.failure from None
        self._is_failing = False
        return answer

    def _attempts(self) -> int:
        """Fewer while the API keeps failing: an outage is not waited out window by window."""
        return min(2, self._settings.attempts) if self._is_failing else self._settings.attempts

    def _wait(self, state: tenacity.RetryCallState) -> float:
        first = self._settings.backoff
        growing = tenacity.wait_exponential(multiplier=first, max=60 * first)
        backoff = (growing + tenacity.wait_random(0, first))(state)
        again = state.outcome.exception() if state.outcome else None
        asked = again.wait if isinstance(again, _Again) and again.wait else 0.0
        logger.info("%s; trying again", again)
        return max(backoff, asked)

    def _attempt(self, request: ApiRequest, reception: Reception) -> Answer:
        with self._throttle.slot():
            started = time.monotonic()
            try:
                response = self._session.request(
                    request.method,
                    self._base_url + request.path,
                    params=request.parameters(self._settings.timestamp_format),
                    headers={"Accept": request.accept},
                    json=request.body,
                    timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                    allow_redirects=False,
                    stream=True,
                )
            except requests.exceptions.ReadTimeout:
                raise _Again(
                    _too_large(request.context, "the API did not answer in time")
                ) from None
            except requests.exceptions.RequestException as error:
                if _broke_off(error):
                    raise _Again(
                        _too_large(request.context, "the API closed the connection")
                    ) from None
                raise _Again(
                    Unreachable(
                        request.context,
                        f"no connection to the API ({_kind(error)})",
                        "Nothing of the window was loaded; check the network and base_url.",
                    )
                ) from None
            with response:
                self.clock.observe(response.headers.get("Date"))
                requested_at = self.clock.now() - int((time.monotonic() - started) * SECOND)
                context = replace(
                    request.context,
                    status=response.status_code,
                    request_id=response.headers.get("x-request-id"),
                )
                self._check_status(response, context)
                self._throttle.went_well(response.headers, self.clock.now())
                reception.begin(requested_at, context)
                byte_count = self._store(response, reception, context)
                return Answer(
                    byte_count=byte_count,
                    requested_at=requested_at,
                    duration_ms=int((time.monotonic() - started) * SECOND),
                    request_id=context.request_id,
                )

    def _check_status(self, response: requests.Response, context: RequestContext) -> None:
        status = response.status_code
        if status == 200:
            return
        if status == 401:
            raise Unauthorized(context, "NP6 refused the API key", "Check the key.")
        if status == 403:
            raise Forbidden(
                context,
                "the API key's user may not call this operation",
                "Ask NP6 for the right, or leave the resource out.",
            )
        if status == 404:
            raise NotFound(
                context,
                "NP6 does not know this id" if context.scope else "NP6 does not know the operation",
                "Check the id; its place is kept." if context.scope else "Check base_url.",
            )
        if status == 429:
            self._rate_limited(response, context)
        if status == 413:
            raise _too_large(context, "the answer would be too large for the API")
        if status in SERVER_TROUBLE:
            wait = reset_seconds(response.headers, self.clock.now())
            failure = _too_large(context, "the API failed")
            if wait is not None and wait > self._settings.longest_wait:
                raise self._later(context, "the API is not available", wait)
            raise _Again(failure, wait)
        if 300 <= status < 400:
            raise UnexpectedStatus(
                context,
                "the API redirects elsewhere, which is refused to protect the key",
                "Check base_url.",
            )
        raise UnexpectedStatus(
            context, "the API refused the request", "Check the parameters of the resource."
        )

    def _rate_limited(self, response: requests.Response, context: RequestContext) -> None:
        wait = reset_seconds(response.headers, self.clock.now())
        if wait is not None and wait > self._settings.longest_wait:
            raise self._later(context, "the account's rate limit is used up", wait)
        self._throttle.slow_down(wait if wait is not None else self._settings.backoff)
        raise _Again(
            self._later(context, "the account's rate limit is used up", wait or 60.0), wait
        )

    def _later(self, context: RequestContext, problem: str, wait: float) -> TryAgainLater:
        resume_at = as_utc(self.clock.now()) + timedelta(seconds=int(wait) + 1)
        return TryAgainLater(
            context,
            problem,
            f"Try again after {resume_at:%Y-%m-%d %H:%M:%S} UTC; what is complete is kept.",
            resume_at,
        )

    def _store(
        self, response: requests.Response, reception: Reception, context: RequestContext
    ) -> int:
        """Streams the body to files; gives its size."""
        byte_count = 0
        name = f"{time.monotonic_ns()}-{id(response)}"
        try:
            with _written(self._spool, name, reception, context) as body:
                for chunk in _uncompressed(response.raw.stream(CHUNK, decode_content=False)):
                    byte_count += len(chunk)
                    if byte_count > self._settings.largest_answer:
                        raise _too_large(
                            context,
                            f"the answer is larger than {self._settings.largest_answer} bytes"
                            " (largest_answer)",
                        )
                    body.write(chunk)
        except HTTPError as error:
            raise _Again(_too_large(context, f"the answer broke off ({_kind(error)})")) from None
        except zlib.error:
            raise _Again(
                BadAnswer(context, "the answer's gzip is broken", "Nothing of it was loaded.")
            ) from None
        return byte_count


@contextmanager
def _written(
    folder: Path, name: str, reception: Reception, context: RequestContext
) -> Iterator[PieceWriter]:
    """A body on its way to files; what is not complete is removed again."""
    try:
        body = PieceWriter(folder, name, reception.take)
        try:
            yield body
            body.finish()
        except BaseException:
            body.discard()
            raise
    except OSError as error:
        raise SpoolFailed(
            context,
            f"the answer could not be written to {folder}: {error.strerror}",
            "Nothing of it was loaded; make room and run again.",
        ) from None


def _uncompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflates a body that is gzip, whatever its headers say; others pass as they are.

    Inflates piece by piece, so that a small body that inflates to a huge one is stopped by the
    size limit before it fills memory.

    Raises:
        zlib.error: The gzip is broken or breaks off.
    """
    first = next(chunks, b"")
    while len(first) < len(GZIP_MAGIC) and (more := next(chunks, b"")):
        first += more
    if not first.startswith(GZIP_MAGIC):
        if first:
            yield first
        yield from chunks
        return
    inflate = zlib.decompressobj(wbits=31)
    pending = first
    while True:
        piece = inflate.decompress(pending, CHUNK)
        yield piece
        if inflate.eof:
            pending = inflate.unused_data or next(chunks, b"")
            if not pending:
                return
            inflate = zlib.decompressobj(wbits=31)
            continue
        pending = inflate.unconsumed_tail
        if not pending and len(piece) < CHUNK and not (pending := next(chunks, b"")):
            raise zlib.error("incomplete gzip")


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    """Neither keeps nor sends cookies: every request stands alone."""

    def set_ok(self, cookie: Any, request: Any) -> bool:
        return False


def checked_base_url(base_url: str) -> str:
    """The base URL without a trailing slash.

    Raises:
        SettingError: It is not a URL, or would send the key over plain HTTP to another machine.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"base_url {base_url!r} is not a URL like https://api-cm.np6.com/")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError("base_url must be the plain root of the API: no user, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise SettingError(f"base_url {base_url!r} must be https: the key would travel in the open")
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_key(api_key: str) -> str:
    """The key, if it can be one.

    Raises:
        SettingError: It is empty or cannot be sent in a header. The message does not quote it.
    """
    if not isinstance(api_key, str) or not api_key.strip():
        raise SettingError("api_key is empty: set SOURCES__NP6__API_KEY")
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingError("api_key has characters that no NP6 key has: is it the right secret?")
    return key


def refuse_foreign_key(api_key: str) -> None:
    """Makes sure that the key was not found under a name that any service may use.

    dlt looks a value up under ever shorter names, down to a bare ``API_KEY`` (dlt 1.31); the key
    of another service would be sent to NP6.

    Raises:
        SettingError: The key stands under such a name and under none of NP6's.
    """
    providers = Container()[PluggableRunContext].providers.providers

    def is_at(*sections: str) -> bool:
        return any(
            provider.get_value("api_key", str, "", *sections)[0] == api_key
            for provider in providers
            if provider.supports_sections or not sections
        )

    if (is_at() or is_at("sources")) and not is_at("sources", "np6"):
        raise SettingError(
            "The API key was found as API_KEY (or SOURCES__API_KEY), which may belong to another"
            " service. Name it SOURCES__NP6__API_KEY."
        )


def _too_large(context: RequestContext, problem: str) -> WindowTooLarge:
    return WindowTooLarge(context, problem, "Nothing of the window was loaded.")


def _broke_off(error: requests.exceptions.RequestException) -> bool:
    """Whether a connection stood and was closed before the answer began."""
    return (
        type(error) is requests.exceptions.ConnectionError
        and bool(error.args)
        and isinstance(error.args[0], ProtocolError)
    )


def _kind(error: BaseException) -> str:
    """The kind of an error without its text, which may quote URLs."""
    return type(error).__name__
