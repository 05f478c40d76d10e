"""What an error of the HTTP library means for a window.

Messages name only the error's class: its text may quote the URL, and it holds the request.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    ProtocolError,
    ProxyError,
    SSLError,
)

from ..errors import BadAnswer, ExchangeFailed, RequestContext, Unreachable
from .decoding import BodyTooLarge
from .responses import NOTHING_LOADED, Refusal, too_large, unreadable


def not_sent(error: Exception, context: RequestContext) -> Refusal:
    """What an error means that came before the response's headers.

    Args:
        error: What the HTTP library raised, or what making the request did.
        context: What the request is for.
    """
    kind = _kind(error)
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Refusal(too_large(context, "the API did not answer in time"), may_repeat=True)
    if _broke_off(error):
        return Refusal(too_large(context, "the API closed the connection"), may_repeat=True)
    if isinstance(error, (requests.exceptions.ConnectionError, HTTPError)):
        why, what_to_do = _why_not_connected(error)
        problem = f"no connection to the API: {why} ({kind})"
        advice = f"{NOTHING_LOADED} {what_to_do} `np6-source check` tries it."
        return Refusal(Unreachable(context, problem, advice), may_repeat=True)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        # requests cannot find the file with the certificates, or this machine is out of something.
        problem = f"no connection to the API could be made on this machine ({kind})"
        advice = f"{NOTHING_LOADED} Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, and base_url."
        return Refusal(Unreachable(context, problem, advice))
    problem = f"the request cannot be sent ({kind})"
    return Refusal(ExchangeFailed(context, problem, f"{NOTHING_LOADED} Check the id and base_url."))


def not_received(error: Exception, context: RequestContext) -> Refusal:
    """What an error means that came with the response's body.

    Args:
        error: What reading, inflating, decoding or keeping the body raised.
        context: What the request is for.
    """
    if isinstance(error, BodyTooLarge):
        return Refusal(too_large(context, str(error)))
    if isinstance(error, HTTPError):
        problem = f"the response broke off ({_kind(error)})"
        return Refusal(too_large(context, problem), may_repeat=True)
    if isinstance(error, zlib.error):
        failure = BadAnswer(context, "the response's gzip is broken", NOTHING_LOADED)
        return Refusal(failure, may_repeat=True)
    if isinstance(error, (UnicodeError, LookupError)):
        problem = "the body is not in the charset that its Content-Type names"
        return Refusal(BadAnswer(context, problem, f"{NOTHING_LOADED} Tell NP6's support."))
    return Refusal(unreadable(error, context))


def _why_not_connected(error: Exception) -> tuple[str, str]:
    """What kept a connection from being made, and what to do about it."""
    causes = list(_causes(error))
    if any(isinstance(cause, (ProxyError, requests.exceptions.ProxyError)) for cause in causes):
        return "the proxy does not let it through", "Check HTTPS_PROXY and NO_PROXY."
    if any(isinstance(cause, (SSLError, requests.exceptions.SSLError)) for cause in causes):
        advice = "REQUESTS_CA_BUNDLE names a file with certificates of your own; check base_url."
        return "TLS fails, or the certificate is not accepted", advice
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "the host's name is not known (DNS)", "Check the network and base_url."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "the host refuses it", "Check the network and base_url."
    # urllib3 makes a connection that cannot be made at all a kind of a time-out.
    if any(type(cause) is ConnectTimeoutError for cause in causes):
        return "nothing answers in time (connect_timeout)", "Check the network and base_url."
    return "it cannot be made", "Check the network and base_url."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it holds, as requests and urllib3 2 nest them."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        nested = (current.__cause__, current.__context__, getattr(current, "reason", None))
        pending.extend([*nested, *current.args])


def _broke_off(error: Exception) -> bool:
    """Whether an open connection was closed before the response began."""
    return (
        type(error) is requests.exceptions.ConnectionError
        and bool(error.args)
        and isinstance(error.args[0], ProtocolError)
    )


def _kind(error: BaseException) -> str:
    """The kind of an error without its text, which may quote URLs."""
    return type(error).__name__
