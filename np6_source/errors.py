"""What can go wrong, each with the facts a person needs to act on it.

Every message names the resource, the id (a digest of it where it is an address or a hash), the
window, the status and NP6's request id where there is one, and what to do. The API key is never
part of a message, nor is anything of an answer's body.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RequestContext:
    """What a failed request was for.

    Attributes:
        resource: Name of the resource.
        scope: The id as it may be shown, empty where the resource covers the whole account.
        window: The window as text.
        status: HTTP status, None where there was no answer.
        request_id: NP6's ``x-request-id``.
    """

    resource: str
    scope: str
    window: str
    status: int | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        parts = [self.resource]
        if self.scope:
            parts.append(f"id {self.scope}")
        parts.append(f"window {self.window}")
        if self.status is not None:
            parts.append(f"status {self.status}")
        if self.request_id:
            parts.append(f"x-request-id {self.request_id}")
        return ", ".join(parts)


class Np6Error(Exception):
    """Any error of this package."""


class SettingError(Np6Error, ValueError):
    """A parameter that cannot be used, with the parameter's name and what it may be."""


class RequestFailed(Np6Error):
    """A window that could not be loaded; nothing of it was handed on.

    Attributes:
        context: What the request was for.
        problem: What happened.
        advice: What to do about it.
    """

    def __init__(self, context: RequestContext, problem: str, advice: str) -> None:
        super().__init__(f"{problem} [{context}] {advice}")
        self.context = context
        self.problem = problem
        self.advice = advice


class Unauthorized(RequestFailed):
    """401: the key is wrong. Concerns every request of the run."""


class Forbidden(RequestFailed):
    """403: the key's user may not call this operation."""


class NotFound(RequestFailed):
    """404: NP6 does not know the id, or the operation."""


class UnexpectedStatus(RequestFailed):
    """A status that asking again does not change: a redirect, 400, 405."""


class BadAnswer(RequestFailed):
    """A body that is not a complete JSON array of events."""


class NotSettled(RequestFailed):
    """By the server's clock the asked range has not passed yet."""


class SpoolFailed(RequestFailed):
    """The answer could not be written to disk. Concerns every request of the run."""


class WindowTooLarge(RequestFailed):
    """The API could not serve the window whole: asking for less may help.

    Timeouts, 413, 500, 502, 503, 504, bodies that break off, bodies over the size limit.
    """


class Unreachable(RequestFailed):
    """No connection to the API. Concerns every request of the run."""


class TryAgainLater(RequestFailed):
    """The API asks to wait longer than the run may.

    Attributes:
        resume_at: When to try again, UTC.
    """

    def __init__(
        self, context: RequestContext, problem: str, advice: str, resume_at: datetime
    ) -> None:
        super().__init__(context, problem, advice)
        self.resume_at = resume_at


RUN_ENDING = (Unauthorized, Unreachable, SpoolFailed, TryAgainLater)
"""Failures that no other id or window would escape: they end the run, not just one id."""


class Incomplete(Np6Error):
    """Something of a run could not be loaded; the rest was. Run it again.

    Attributes:
        failures: What could not be loaded, see ``reading.failure_metrics``.
        resume_at: When NP6 asks to come back, if it does, UTC.
    """

    def __init__(self, failures: list[dict[str, Any]], what: str = "Not complete") -> None:
        super().__init__(f"{what}: " + "; ".join(failure["message"] for failure in failures))
        self.failures = failures
        moments = [failure["resume_at"] for failure in failures if failure["resume_at"]]
        self.resume_at = datetime.fromisoformat(max(moments)) if moments else None
