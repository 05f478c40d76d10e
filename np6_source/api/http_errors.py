"""What an error of the HTTP library means for a window.

Messages name only the error's class: its text may quote the URL, and it holds the request.
"""

from __future__ import annotations

import zlib

import requests
from urllib3.exceptions import HTTPError, ProtocolError

from ..errors import BadAnswer, ExchangeFailed, RequestContext, Unreachable
from .body import BodyTooLarge
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
        problem = f"no connection to the API ({kind})"
        advice = "Nothing of the window was loaded; check the network and base_url."
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
