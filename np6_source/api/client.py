"""Requests to the NP6 API: one window in, its body out, to a sink.

This module has the session, time-outs and retries. Only the headers of a response are kept in
memory; the body is streamed to a sink (``body``). ``responses`` knows what status and headers mean,
``events`` reads the body.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests
import tenacity

from ..endpoints import WINDOW_PARAMETERS, Endpoint
from ..errors import (
    RequestContext,
    RequestFailed,
    Stopped,
    Unreachable,
)
from ..parameters import TTimestampFormat
from ..redaction import keep_ids_out_of_logs
from ..settings import ClientSettings
from ..windows import SECOND, Window, iso
from .body import BodySink
from .credentials import KeyHeader, NoCookies, checked_base_url, checked_key, is_loopback
from .decoding import CHUNK, CountedBytes, in_utf8, inflated
from .http_errors import not_received, not_sent
from .pause import pause
from .responses import (
    Refusal,
    declared_charset,
    later,
    partial,
    refusal,
    too_large,
    total_count,
    unreadable,
)
from .server_clock import ServerClock
from .throttle import Stop, Throttle, WaitTooLong
from .watch import Watch, Watched, WatchedAdapter

logger = logging.getLogger(__name__)

_ID = re.compile("[0-9A-Za-z._:/+=-]{1,100}")

LONG_WAIT = 10.0
"""Seconds from which on a wait before the next attempt is a warning."""


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
        accept: Media types that are taken.
        widened_by: Milliseconds by which the bounds that are sent lie further out.
    """

    endpoint: Endpoint
    window: Window
    scope: str = ""
    scope_label: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    accept: str = "application/json"
    widened_by: int = 0

    @property
    def requested(self) -> Window:
        """The span whose bounds are sent."""
        return Window(self.window.start - self.widened_by, self.window.end + self.widened_by)

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
        query |= {start: as_text(self.requested.start), end: as_text(self.requested.end)}
        return query | {"sort": "asc"}


@dataclass(frozen=True)
class ResponseFacts:
    """What is known of a response beside its body.

    Attributes:
        byte_count: Size of the body, uncompressed.
        requested_at: When the request was sent, milliseconds since the epoch, by the server's clock
            or this machine's, whichever is earlier.
        duration_ms: Milliseconds from the request to the last byte.
        request_id: NP6's ``x-request-id``.
        total_count: Rows that its headers announce, None: they announce none. Whoever counts the
            rows compares, see ``responses.fewer_than_announced``.
    """

    byte_count: int
    requested_at: int
    duration_ms: int
    request_id: str | None
    total_count: int | None = None


class _Session(requests.Session):
    """A session that looks at no redirect: not where it leads, and not at its body.

    requests resolves the next hop even with ``allow_redirects=False``: it reads the whole body, and
    raises what is no ``RequestException`` for a ``Location`` that is no URL (requests 2.34).
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Retry(Exception):
    """An attempt that failed and may be repeated, with what is known of the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal.failure))
        self.refusal = refusal


class Client:
    """Fetches windows. Safe for threads; close it when done."""

    def __init__(
        self,
        settings: ClientSettings,
        clock: ServerClock,
        should_stop: Callable[[], object] = lambda: False,
        on_response: Callable[[int, Mapping[str, str]], None] = lambda status, headers: None,
        chunk: int = CHUNK,
    ) -> None:
        """Opens a session.

        Args:
            settings: How to talk to the API.
            clock: Learns the API's time from the responses.
            should_stop: Asked from several threads; anything true ends every wait, and gives
                requests under way ``watch.GRACE`` seconds more.
            on_response: Called with the status and the headers of every response.
            chunk: Bytes of a body that are received at once.

        Raises:
            SettingError: The base URL or the key cannot be used.
        """
        keep_ids_out_of_logs()
        self.clock = clock
        self._settings = settings
        self._should_stop = should_stop
        self._on_response = on_response
        self._chunk = chunk
        self._base_url = checked_base_url(settings.base_url)
        self._throttle = Throttle(
            settings.concurrency, settings.interval, settings.longest_wait, should_stop
        )
        self._watch = Watch(settings.deadline, should_stop)
        self._is_failing = False
        self._session = _Session()
        self._session.auth = KeyHeader(checked_key(settings.api_key), self._base_url)
        self._session.headers.update({"Accept-Encoding": "gzip"})
        self._session.cookies.set_policy(NoCookies())
        adapter = WatchedAdapter(self._watch, pool_maxsize=settings.concurrency)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        host = urlsplit(self._base_url).hostname or ""
        # A proxy of the environment would get the key of a server on this very machine.
        self._proxies = {"no_proxy": host} if is_loopback(host) else {}

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()
        self._watch.close()

    def fetch(self, request: ApiRequest, sink: BodySink) -> ResponseFacts:
        """Sends one request until its response is complete.

        Connection errors, time-outs, 408, 425, 429 and 5xx but 501 and 505 are tried again with
        growing waits.

        Args:
            request: What to ask for.
            sink: Gets the body; all of it has come once this returns.

        Raises:
            RequestFailed: The kind says what it means, see ``errors``. Nothing of the request that
                was sent, the key among it, hangs on the error.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Retry),
            stop=tenacity.stop_after_attempt(self._attempts()),
            wait=self._wait,
            before_sleep=self._log_retry,
            sleep=lambda seconds: self._pause(seconds, request.context),
            retry_error_callback=self._give_up,
        )
        facts: ResponseFacts = retrying(self._attempt, request, sink)
        self._is_failing = False
        return facts

    # --- Again, or not ---

    def _attempts(self) -> int:
        """Fewer while the API keeps failing: an outage is not waited out window by window."""
        return min(2, self._settings.attempts) if self._is_failing else self._settings.attempts

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the request is sent again; see ``retry_after`` for the whole rule."""
        first = self._settings.backoff
        growing = tenacity.wait_exponential(multiplier=first, max=60 * first)
        backoff = (growing + tenacity.wait_random(0, first))(state)
        retry_after = _refusal_of(state).wait or 0.0
        return min(max(backoff, retry_after), self._settings.longest_wait)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        failure = _refusal_of(state).failure
        is_news = isinstance(failure, Unreachable) and not self._is_failing
        logger.log(
            logging.WARNING if seconds > LONG_WAIT or is_news else logging.INFO,
            "%s Attempt %d of %d; the next in %.1f seconds.",
            failure,
            state.attempt_number,
            self._attempts(),
            seconds,
            extra={"cause": f"{type(failure).__name__}: {failure.problem}"},
        )

    def _pause(self, seconds: float, context: RequestContext) -> None:
        if not pause(seconds, self._should_stop):
            raise _stopped(context)

    def _give_up(self, state: tenacity.RetryCallState) -> ResponseFacts:
        self._is_failing = True
        raise _refusal_of(state).failure

    # --- One attempt. Errors of the HTTP library hold the request with its key: whatever is raised
    # --- here is raised outside of their handlers, so that they are no context of it.

    def _attempt(self, request: ApiRequest, sink: BodySink) -> ResponseFacts:
        context = request.context
        try:
            with self._throttle.slot(), self._watch.request() as watched:
                return self._exchange(request, sink, watched)
        except (RequestFailed, _Retry):
            raise
        except WaitTooLong as wait:
            problem = "the account's rate limit is used up"
            failure: RequestFailed = later(context, problem, self.clock.now(), wait.seconds)
        except Stop:
            failure = _stopped(context)
        except Exception as error:
            failure = unreadable(error, context)
        raise failure

    def _exchange(self, request: ApiRequest, sink: BodySink, watched: Watched) -> ResponseFacts:
        began = time.monotonic()
        logger.debug("%s [%s]", request.method, request.context)
        with self._sent(request, watched) as response:
            headers = response.headers
            self.clock.observe(headers.get("Date"))
            self._on_response(response.status_code, headers)
            requested_at = self.clock.earlier() - int((time.monotonic() - began) * SECOND)
            context = replace(
                request.context,
                status=response.status_code,
                request_id=_id_in(headers.get("x-request-id")),
            )
            self._check(response, context)
            sink.start(requested_at, context)
            byte_count = self._received(response, sink, watched, context)
            duration_ms = int((time.monotonic() - began) * SECOND)
            logger.debug("%d bytes in %d ms [%s]", byte_count, duration_ms, context)
            return ResponseFacts(
                byte_count=byte_count,
                requested_at=requested_at,
                duration_ms=duration_ms,
                request_id=context.request_id,
                total_count=total_count(headers),
            )

    def _sent(self, request: ApiRequest, watched: Watched) -> requests.Response:
        """Sends the request; the response's body is still to come."""
        settings = self._settings
        try:
            return self._session.request(
                request.method,
                self._base_url + request.path,
                params=request.parameters(settings.timestamp_format),
                headers={"Accept": request.accept},
                json=request.body,
                timeout=(settings.connect_timeout, settings.read_timeout),
                proxies=self._proxies,
                allow_redirects=False,
                stream=True,
            )
        except Exception as error:
            refused = self._cut_short(watched, request.context)
            refused = refused or not_sent(error, request.context)
        raise _error_of(refused)

    def _check(self, response: requests.Response, context: RequestContext) -> None:
        """Raises unless the body is to be read."""
        status, headers = response.status_code, response.headers
        refused = refusal(
            status,
            headers,
            context,
            self.clock.now(),
            self._settings.longest_wait,
            self._settings.key_origin,
        )
        if refused is None:
            self._throttle.went_well(headers, self.clock.now())
            incomplete = partial(status, headers, context)
            if incomplete is not None:
                raise incomplete
            return
        if status == 429 and refused.may_repeat:
            self._throttle.slow_down(
                self._settings.backoff if refused.wait is None else refused.wait
            )
        raise _error_of(refused)

    def _received(
        self,
        response: requests.Response,
        sink: BodySink,
        watched: Watched,
        context: RequestContext,
    ) -> int:
        """Streams the body to the sink; returns its size, uncompressed."""
        counted = CountedBytes(self._settings.largest_answer)
        try:
            if response.status_code == 204:
                sink.add(b"[]")
            else:
                raw = response.raw.stream(self._chunk, decode_content=False)
                plain = counted.chunks(inflated(raw))
                for chunk in in_utf8(plain, declared_charset(response.headers)):
                    sink.add(chunk)
            refused = self._cut_short(watched, context)
            if refused is None:
                sink.finish()
                return counted.byte_count
        except RequestFailed:
            sink.discard()
            raise
        except Exception as error:
            refused = self._cut_short(watched, context) or not_received(error, context)
        except BaseException:
            sink.discard()
            raise
        sink.discard()
        raise _error_of(refused)

    def _cut_short(self, watched: Watched, context: RequestContext) -> Refusal | None:
        """Why the watch has shut the connection, if it has."""
        if watched.ended_by == "stop":
            return Refusal(_stopped(context))
        if watched.ended_by == "deadline":
            limit = f"{self._settings.deadline:g} seconds (request_timeout)"
            problem = f"the response took more than {limit}"
            return Refusal(too_large(context, problem))
        return None


def _refusal_of(state: tenacity.RetryCallState) -> Refusal:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Retry)
    return error.refusal


def _error_of(refused: Refusal) -> Exception:
    return _Retry(refused) if refused.may_repeat else refused.failure


def _stopped(context: RequestContext) -> Stopped:
    return Stopped(context, "the run was asked to stop", "A later run asks for the window again.")


def _id_in(text: str | None) -> str | None:
    """A header's text where it looks like an id; another may quote what no message shows."""
    return text if text and _ID.fullmatch(text) else None
