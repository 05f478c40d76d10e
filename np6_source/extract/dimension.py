"""An operation of ``dimensions`` as a dlt resource: names for ids.

A run hands the rows of a response on only once it was read to its end: a body that is not whole
changes nothing. dlt then replaces the account's earlier rows in one transaction, so that readers
find the old names or the new ones. There is no cursor and no state.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing
from typing import Any

import dlt
from dlt.extract import DltResource

from ..dimensions import ACTIONS, Dimension
from ..errors import (
    RUN_ENDING,
    Forbidden,
    RequestFailed,
    SettingError,
    Stopped,
    failure_metrics,
)
from ..tables.snapshots import declare_snapshots
from .action_list import ids_of
from .chosen_actions import ChosenActions, TScopeIds
from .dimension_response import DimensionRequest, load_rows
from .session import ExtractSession, Tools
from .spool import TableStash

logger = logging.getLogger(__name__)

NOT_THERE = (404, 405, 410, 501)
"""Statuses by which the API says that it has no such operation, or no such id."""


def make_dimension(
    dimension: Dimension,
    scope_ids: TScopeIds,
    session: ExtractSession,
    selected: bool,
) -> DltResource:
    """The dlt resource of one operation of ``dimensions``.

    Args:
        dimension: The operation.
        scope_ids: The ids to load, or which actions; empty for an operation over the whole account.
        session: What the resources of the source share.
        selected: Whether it is selected without being named.

    Returns:
        A resource that yields Arrow tables.
    """

    def read() -> Iterator[Any]:
        with session.tools() as tools:
            yield from _DimensionRun(dimension, scope_ids, session, tools).run()

    resource: DltResource = dlt.resource(
        read, name=dimension.name, write_disposition="merge", selected=selected
    )
    return resource


class _DimensionRun:
    """One run of one resource, inside dlt's extraction."""

    def __init__(
        self,
        dimension: Dimension,
        scope_ids: TScopeIds,
        session: ExtractSession,
        tools: Tools,
    ) -> None:
        self._dimension = dimension
        self._scope_ids = scope_ids
        self._session = session
        self._tools = tools
        self._metrics: dict[str, Any] = dlt.current.resource_metrics()

    def run(self) -> Iterator[Any]:
        """Yields the tables once everything that was requested has come.

        Raises:
            SettingError: The operation needs ids and there are none.
            RequestFailed: The settings say that a failure ends the run.
        """
        self._metrics.update(rows=0, failures=[], skipped=[])
        dimension = self._dimension
        if dimension.ids is not None and not self._scope_ids:
            ids = str(dimension.ids)
            raise SettingError(
                f"{dimension.name} loads by id: give {ids} (--{ids.replace('_', '-')})"
            )
        new_tables = declare_snapshots(
            dlt.current.resource(),
            {dimension.table: dimension.replaced_by}
            | {c.table: dimension.replaced_in_child_by(c.table) for c in dimension.children},
            self._session.settings.table_format,
        )
        requests = [
            DimensionRequest(dimension, scope, self._session.label_of(scope, dimension))
            for scope in self._scopes()
        ]
        if self._scope_ids and not requests:
            return  # None is meant, or all were erased.
        has_rows = False
        with closing(self._responses(requests)) as responses:
            for stash in responses:
                for name, rows in stash.tables():
                    has_rows = True
                    self._metrics["rows"] += rows.num_rows
                    yield dlt.mark.with_table_name(rows, name)
        if has_rows:
            for table in new_tables:
                yield dlt.mark.with_table_name(table.arrow_schema.empty_table(), table.name)

    def _scopes(self) -> tuple[str, ...]:
        if not isinstance(self._scope_ids, ChosenActions):
            given = self._session.without_erased(self._scope_ids, self._dimension)
            return given or (() if self._scope_ids else ("",))
        try:
            found = ids_of(self._scope_ids, self._session, self._tools)
        except RequestFailed as failure:
            self._fail(failure, may_skip=False)
            return ()
        if found.failure is not None:
            self._fail(found.failure, may_skip=False)
        return found.ids

    def _responses(self, requests: Sequence[DimensionRequest]) -> Generator[TableStash, None, None]:
        """The rows of each whole response, in the order of the requests."""
        if self._session.ended_by is not None or self._session.should_stop():
            return
        futures: list[Future[TableStash | None]] = [
            self._tools.executor.submit(self._load, request) for request in requests
        ]
        try:
            for future in futures:
                if self._session.ended_by is not None or self._session.should_stop():
                    return
                try:
                    stash = future.result()
                except RequestFailed as failure:
                    self._fail(failure)
                    continue
                if stash is not None:
                    yield stash
        finally:
            for future in futures:
                if not future.cancel():
                    _discard(future)

    def _load(self, request: DimensionRequest) -> TableStash | None:
        """The rows of one response; None: it held none. In a worker thread."""
        if self._dimension.table != ACTIONS:
            return load_rows(self._tools, request, self._session.settings.account)
        listed = self._session.actions.listed(self._tools)
        if listed.left_out:
            raise listed.left_out[0]
        stash = TableStash(self._tools.spool, "actions")
        stash.add({ACTIONS.name: listed.rows})
        return stash if listed.rows.num_rows else None

    def _fail(self, failure: RequestFailed, may_skip: bool = True) -> None:
        """Takes note of a failure, or raises it where the settings say so.

        An operation or id that is not there, or not permitted, is left out with a warning:
        the reference flags many of these operations as deprecated and shows others only in part.
        """
        is_not_there = isinstance(failure, Forbidden) or failure.context.status in NOT_THERE
        if may_skip and is_not_there:
            logger.warning("%s", self._left_out(failure))
            self._metrics["skipped"].append(failure_metrics(failure))
            return
        if isinstance(failure, Stopped):
            logger.warning("%s", failure)
            self._session.ended_by = failure
            return
        if self._session.settings.on_error == "raise":
            raise failure
        if isinstance(failure, RUN_ENDING):
            self._session.ended_by = failure
        logger.error("%s", failure)
        self._metrics["failures"].append(failure_metrics(failure))

    def _left_out(self, failure: RequestFailed) -> str:
        dimension, context = self._dimension, failure.context
        kept = f"{dimension.table.name} keeps what an earlier load brought."
        if isinstance(failure, Forbidden):
            return (
                f"The API key's user may not request {dimension.name}, which is left out; {kept}"
                f" Ask NP6 for the right, or leave the resource out. [{context}]"
            )
        if context.scope:
            return f"NP6 does not know this id; {kept} [{context}]"
        why = (
            "the reference flags it as deprecated"
            if dimension.deprecated
            else "it is documented"
            if dimension.documented
            else "the reference does not show that it exists"
        )
        return f"NP6 has no {dimension.path} for this account ({why}); {kept} [{context}]"


def _discard(future: Future[TableStash | None]) -> None:
    """Frees what a request brought that nobody takes any more, once it is there."""

    def free(done: Future[TableStash | None]) -> None:
        try:
            stash = done.result()
        except (CancelledError, Exception):
            return
        if stash is not None:
            stash.discard()

    future.add_done_callback(free)
