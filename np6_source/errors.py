"""What can go wrong, each with the facts a person needs to act on it.

    Np6Error
    ├── SettingError (also a ValueError)    a parameter cannot be used
    ├── RequestFailed                       a window was not loaded; nothing of it was handed on
    │   ├── Unauthorized  *                 401
    │   ├── Forbidden                       403
    │   ├── NotFound                        404
    │   ├── UnexpectedStatus                another status that asking again does not change
    │   ├── BadAnswer                       the body is no complete JSON array of events
    │   ├── FewerEvents                     the response lacks events that an earlier one had
    │   ├── RowsMissing                     the tables lack events that were loaded
    │   ├── NotSettled                      the window has not passed yet
    │   ├── EarlierStart                    start lies before the first load's, and was never loaded
    │   ├── SpoolFailed  *                  the body cannot be written to disk
    │   ├── ExchangeFailed                  the request cannot be sent, or its response not be read
    │   ├── WindowTooLarge                  a smaller window may succeed
    │   │   └── IncompleteResponse          the response says that it is not the whole
    │   ├── Unreachable  *                  no connection
    │   ├── TryAgainLater  *                NP6 asks for a longer wait than the run may take
    │   └── Stopped  *                      the run was asked to stop before the response was whole
    ├── Incomplete                          part of a run was not loaded; the rest was
    ├── TableMissing                        a table that earlier loads filled is gone, or damaged
    ├── TypeChanged                         a column is no longer of the type it was made with
    └── AlreadyRunning                      another process runs it; this one changed nothing

    * ends the run: no other id or window would escape it (``RUN_ENDING``)

Every message names the resource, the id (a digest of it where it is an address or a hash), the
window, the status and NP6's request id where there is one, and what to do. The API key is never
part of a message, nor is anything of a response's body. Every error can be pickled, so that it
passes from a worker process to the one that waits for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RequestContext:
    """What a failed request was for.

    Attributes:
        resource: Name of the resource.
        scope: The id as it may be shown, empty where the resource covers the whole account.
        window: The window as text, empty where the request has none.
        status: HTTP status, None where there was no response.
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
        if self.window:
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
        # All parameters, and in their order: pickle calls the class with ``args``.
        super().__init__(context, problem, advice)
        self.context = context
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.problem} [{self.context}] {self.advice}"


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


class FewerEvents(RequestFailed):
    """The response lacks events that an earlier response for the same time had."""


class RowsMissing(RequestFailed):
    """The tables lack events that earlier loads wrote. What was found to be missing is loaded."""


class NotSettled(RequestFailed):
    """By the server's clock the requested range has not passed yet."""


class EarlierStart(RequestFailed):
    """What lies between the start that is set and that of the first load was never loaded."""


class SpoolFailed(RequestFailed):
    """The body could not be written to disk. Concerns every request of the run."""


class ExchangeFailed(RequestFailed):
    """The request cannot be sent, or its response cannot be read, for any other reason.

    An id that is no Unicode text, for example. The message names the class of the underlying error.
    """


class WindowTooLarge(RequestFailed):
    """The API could not serve the whole window: a smaller one may succeed.

    Time-outs, 408, 413, 5xx but 501 and 505, bodies that break off or take too long, bodies over
    the size limit.
    """


class IncompleteResponse(WindowTooLarge):
    """By its headers the response is only a part of the result: a page, a range, a capped count.

    A smaller window may be complete; one that is not is never taken for complete.
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
        self.args = (context, problem, advice, resume_at)
        self.resume_at = resume_at


class Stopped(RequestFailed):
    """The run was asked to stop (SIGTERM, ``stop_when``) before the response was whole.

    No fault of the window: a later run asks for it again.
    """


RUN_ENDING = (Unauthorized, Unreachable, SpoolFailed, TryAgainLater, Stopped)
"""Failures that no other id or window would escape: they end the run, not just one id."""


class Incomplete(Np6Error):
    """Something of a run could not be loaded; the rest was. Run it again.

    Attributes:
        failures: What could not be loaded, see ``failure_metrics``.
        what: What is not complete, for the message.
        resume_at: When NP6 asks to come back, if it does, UTC.
    """

    def __init__(self, failures: list[dict[str, Any]], what: str = "Not complete") -> None:
        super().__init__(failures, what)
        self.failures = failures
        self.what = what
        moments = [failure["resume_at"] for failure in failures if failure["resume_at"]]
        self.resume_at = datetime.fromisoformat(max(moments)) if moments else None

    def __str__(self) -> str:
        return f"{self.what}: " + "; ".join(failure["message"] for failure in self.failures)


def listed(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Texts for a message: the first of them, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], most=2)
    ('a, b', 'a, b and 1 more')
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def scope_name(resource: str, scope: str) -> str:
    """A resource for a message, with the id where there is one.

    >>> scope_name("actions_events", ""), scope_name("action_events_bounces", "000PE4")
    ('actions_events', 'action_events_bounces id 000PE4')
    """
    return f"{resource} id {scope}" if scope else resource


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another, where one is like it at all."""
    by_folded = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing where no known name is like it."""
    found = nearest(name, known)
    return f" (did you mean {found}?)" if found else ""


def failure_metrics(failure: RequestFailed) -> dict[str, Any]:
    """A failure as plain values, for dlt's trace.

    Returns:
        ``kind`` (the class's name), ``message``, its parts ``resource``, ``id`` (as it may be
        shown; empty where the resource covers the account), ``problem`` and ``advice``, and
        ``resume_at`` as ISO 8601 text or None.
    """
    resume_at = failure.resume_at if isinstance(failure, TryAgainLater) else None
    return {
        "kind": type(failure).__name__,
        "message": str(failure),
        "resource": failure.context.resource,
        "id": failure.context.scope,
        "problem": failure.problem,
        "advice": failure.advice,
        "resume_at": resume_at.isoformat() if resume_at else None,
    }


class AlreadyRunning(Np6Error):
    """Another process is at it; this one changed nothing in the destination. Run it again later."""


class TableMissing(Np6Error):
    """A table, or a column, that earlier loads filled is gone from the destination, or damaged."""

    @classmethod
    def of(cls, tables: Sequence[str], dataset: str) -> TableMissing:
        """The error about whole tables.

        Args:
            tables: Names of the tables.
            dataset: Name of the dataset.
        """
        return cls(
            f"{listed(tables)} is gone from dataset {dataset!r}, but earlier runs loaded it: going"
            " on from their cursor would leave a hole. Either put the table back, or read"
            " everything again with --reload, which drops nothing: it makes the table again and"
            " keeps the rows of the others until all is read."
        )


class TypeChanged(Np6Error):
    """A column of the destination's has another type than the one that dlt made it with."""
