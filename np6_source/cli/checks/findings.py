"""What the steps of a check find, and what it means for the whole. Pure values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dlt

from ..document import Problem, TSeverity
from ..outcome import DONE, FAILED, TRY_AGAIN_LATER


@dataclass(frozen=True)
class Finding:
    """What was found about one thing.

    Attributes:
        what: What was found.
        severity: ``error`` where a load would fail, ``warning`` where it would not; None: fine.
        advice: What to do.
        is_later: An error that passes by itself: a rate limit, maintenance, a locked file.
        is_skipped: Not tried, because something before it failed.
    """

    what: str
    severity: TSeverity | None = None
    advice: str | None = None
    is_later: bool = False
    is_skipped: bool = False

    @property
    def ok(self) -> bool:
        """Whether a load would not fail over it."""
        return self.severity != "error" and not self.is_skipped

    @property
    def verdict(self) -> str:
        """The last column of the table."""
        if self.is_skipped:
            return "not tried"
        if self.is_later:
            return "later"
        return {None: "ok", "warning": "warning", "error": "problem"}[self.severity]

    def as_problems(
        self, rule: str, resource: str | None = None, scope_label: str | None = None
    ) -> Iterator[Problem]:
        """The problem that it is, if it is one.

        Args:
            rule: Name of the step.
            resource: The resource, None where it concerns none in particular.
            scope_label: The id as it may be shown, None likewise.
        """
        if self.severity is not None:
            yield Problem(self.severity, rule, self.what, resource, scope_label, self.advice)


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: What was looked at.
        finding: What was found.
        ms: How long it took, milliseconds; None where that says nothing.
    """

    name: str
    finding: Finding
    ms: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        found = self.finding
        return {
            "name": self.name,
            "ok": found.ok,
            "severity": found.severity,
            "what": found.what,
            "advice": found.advice,
            "ms": self.ms,
        }


@dataclass(frozen=True)
class ResourceCheck:
    """What one request for a resource, and an id, showed.

    Attributes:
        name: The resource.
        id: The id as it may be shown, empty for the account.
        finding: What was found.
        status: The HTTP status, None where there was no response.
        ms: Milliseconds until the response was read; None likewise.
        events: Events of the hour, or rows; None where there were none to count.
    """

    name: str
    id: str
    finding: Finding
    status: int | None = None
    ms: int | None = None
    events: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "name": self.name,
            "id": self.id or None,
            "status": self.status,
            "ms": self.ms,
            "events": self.events,
            "ok": self.finding.ok,
        }


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        steps: The steps, in order.
        resources: What the requests for the selected resources showed.
        clock_difference_s: Seconds by which the server is ahead of this machine; None: not known.
        rate_limit: Headers about the rate limit, None: there were none.
        account: A digest of the key and the API's address, None: there is no key.
        pipeline: The pipeline, None where the options make none.
        requests: Requests that were sent.
        byte_count: Bytes of their bodies that were read, uncompressed.
    """

    steps: tuple[Step, ...]
    resources: tuple[ResourceCheck, ...] = ()
    clock_difference_s: float | None = None
    rate_limit: Mapping[str, str] | None = None
    account: str | None = None
    pipeline: dlt.Pipeline | None = None
    requests: int = 0
    byte_count: int = 0

    def problems(self) -> list[Problem]:
        """All that is to object to, in order."""
        return list(self._problems())

    def _problems(self) -> Iterator[Problem]:
        for step in self.steps:
            yield from step.finding.as_problems(step.name)
        for one in self.resources:
            yield from one.finding.as_problems("resources", one.name, one.id or None)

    @property
    def exit_status(self) -> int:
        """0; 1 where a load would fail; 75 where it would, and all of it passes by itself."""
        found = [step.finding for step in self.steps] + [one.finding for one in self.resources]
        errors = [one for one in found if one.severity == "error"]
        if not errors:
            return DONE
        return TRY_AGAIN_LATER if all(one.is_later for one in errors) else FAILED


def skipped(needs: str) -> Finding:
    """A step that was not tried.

    Args:
        needs: Name of the step that failed before.
    """
    return Finding(f"needs {needs}", is_skipped=True)
