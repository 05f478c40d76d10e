"""What becomes of the failures of a run: raised, or kept for its end, and whether it goes on."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import dlt

from ..errors import (
    RUN_ENDING,
    Incomplete,
    NotFound,
    NotSettled,
    RequestContext,
    RequestFailed,
    SettingError,
    Stopped,
    WindowTooLarge,
    failure_metrics,
    scope_name,
)
from ..ledger import coverage, of_scope_key
from ..windows import iso
from .guards import is_emptied
from .session import ExtractSession
from .times import RunTimes
from .unknown_ids import note_unknown
from .window_queue import Failed

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Scopes that fail one after the other, even by the second, before the run ends; days of a recheck
likewise."""

IN_METRICS = {"in_metrics": True}
"""Marks the log records of failures, which the resource's metrics have too."""


class RunFailures:
    """The failures of a run of one resource, as dlt's trace will have them."""

    def __init__(self, session: ExtractSession, times: RunTimes, metrics: dict[str, Any]) -> None:
        """Begins with none.

        Args:
            session: Knows what ended the run for every resource.
            times: The moments of the run.
            metrics: dlt's metrics of the resource; gain ``failures`` and ``incomplete``.
        """
        self._session = session
        self._times = times
        self._resource = times.resource
        self._failures: list[dict[str, Any]] = []
        self._incomplete: list[dict[str, Any]] = []
        metrics.update(failures=self._failures, incomplete=self._incomplete)

    @property
    def _raises(self) -> bool:
        return self._session.settings.on_error == "raise"

    def note(self, failure: RequestFailed, may_raise: bool = True) -> None:
        """Takes note of what could not be loaded.

        Raises:
            RequestFailed: The settings say that it ends the run.
        """
        if self._raises and may_raise:
            raise failure
        # An id that is unknown is so for every resource.
        unknown = f"unknown id {failure.context.scope}"
        is_new = not isinstance(failure, NotFound) or self._session.is_first_to_say(unknown)
        logger.log(logging.ERROR if is_new else logging.DEBUG, "%s", failure, extra=IN_METRICS)
        self._failures.append(failure_metrics(failure))

    def note_earlier_start(self, failure: RequestFailed, is_repairable: bool) -> None:
        """Takes note of a start that was never loaded.

        Args:
            failure: The range that is missing.
            is_repairable: The destination has a ledger, which proves the range once it is loaded.
                Without one a run that raises goes on: it would never load anything again.

        Raises:
            EarlierStart: The settings say that it ends the run.
        """
        if self._raises and not is_repairable:
            logger.warning("%s", failure)
            self._failures.append(failure_metrics(failure))
        else:
            self.note(failure)

    def note_scope(self, step: Failed, state: MutableMapping[str, Any]) -> None:
        """Takes note of a scope that cannot go on, and of whether the run can.

        Args:
            step: The scope and its failure.
            state: dlt's state of the resource, which counts the runs with an unknown id.

        Raises:
            RequestFailed: The settings say that it ends the run.
            SettingError: The load package empties the tables, and NP6 has deleted the id.
        """
        failure = step.failure
        if isinstance(failure, NotSettled) and not self._times.is_backfill:
            # Nothing has settled since the run before, or the clocks differ, which is said.
            logger.info("%s", failure)
            return
        if isinstance(failure, Stopped):
            logger.warning("%s", failure)
            self._session.ended_by = failure
            return
        if isinstance(failure, WindowTooLarge):
            self._session.failed_in_a_row += 1
        too_many = self._session.failed_in_a_row >= FAILURES_IN_A_ROW
        if isinstance(failure, RUN_ENDING) or too_many:
            self._session.ended_by = failure
        is_unknown_id = isinstance(failure, NotFound) and bool(step.scope.id)
        if is_unknown_id and self._would_lose(step.scope.label):
            raise SettingError(
                f"{scope_name(self._resource, step.scope.label)}: NP6 does not know this id any"
                " more, and refresh would empty the tables of what it has loaded. Nothing was"
                " changed. np6_source.loading.load(pipeline, source, reload=True) keeps the rows of"
                " ids that NP6 has deleted, and reads all else again."
            )
        if is_unknown_id and not self._times.is_backfill:
            note_unknown(state, step.scope.label, self._times.began_at)
        self.note(failure, may_raise=not is_unknown_id)

    def _would_lose(self, label: str) -> bool:
        """Whether the package empties tables of rows that an unknown id has brought."""
        schema = dlt.current.source_schema()
        if not is_emptied(schema):
            return False
        loaded = coverage(dlt.current.pipeline(), schema.name, still_there=False)
        return any(
            resource == self._resource and of_scope_key(key)[0] == label and windows
            for (resource, key), windows in loaded.items()
        )

    def note_clocks(self) -> None:
        """Takes note, once in a run, where the clocks leave open up to where it is complete.

        Raises:
            NotSettled: The settings say that it ends the run.
        """
        if self._times.is_backfill and self._session.clock.is_known:
            return  # Complete by both clocks, or refused.
        problem = self._session.clocks_differ()
        if problem is None or not self._session.is_first_to_say("the clocks differ"):
            return
        context = RequestContext(self._resource, "", f"up to {iso(self._times.horizon())}")
        self.note(
            NotSettled(
                context,
                problem,
                "Set this machine's clock, or ask NP6 about theirs. Where a greater difference is"
                " expected, set clock_tolerance to its seconds.",
            )
        )

    def note_incomplete(self, cause: str) -> None:
        """Takes note of what ended a run before the end of the span that it was given.

        A scheduler that names a span never asks for its rest.

        Args:
            cause: What ended it, for the message.

        Raises:
            Incomplete: The settings say that this ends the run.
        """
        end = iso(self._times.moment(self._times.cursor.end_value))
        left_out = {
            "kind": "Incomplete",
            "message": f"{self._resource}: {cause} ended the run before {end}, up to which it"
            " was asked to load. Run it again, or without the limit.",
            "resume_at": None,
        }
        if self._raises:
            raise Incomplete([left_out])
        self._incomplete.append(left_out)

    @property
    def are_known(self) -> bool:
        """Whether a failure explains that the run did not get to its end."""
        return self._session.ended_by is not None or bool(self._failures)
