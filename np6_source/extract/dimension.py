"""An operation of the second catalogue as a dlt resource: names for ids.

A run asks for all of it and hands rows on only once every response was read to its end: a body that
is not whole changes nothing. dlt then replaces the account's earlier rows in one transaction, so
that readers find the old names or the new ones. There is no cursor and no state.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import dlt
import duckdb
import pyarrow as pa
from dlt.extract import DltResource

from ..api.client import ResponseFacts
from ..api.responses import fewer_than_announced
from ..dimensions import Dimension
from ..endpoints import scope_label
from ..errors import (
    RUN_ENDING,
    BadAnswer,
    Forbidden,
    RequestContext,
    RequestFailed,
    SettingError,
    SpoolFailed,
    failure_metrics,
)
from ..events.json_file import UnreadableResponse, check_brackets, is_empty_array, repair
from ..settings import TTimestampFormat
from ..tables.snapshots import declare_snapshots
from ..windows import to_datetime
from .dimension_rows import NoRow, rows_of
from .session import ExtractSession, Tools
from .spool import TableStash

logger = logging.getLogger(__name__)

NOT_THERE = (404, 405, 410, 501)
"""Statuses by which the API says that it has no such operation, or no such id."""

ROWS_AT_ONCE = 1_000
"""Elements that are in memory at once."""

LARGEST_ELEMENT = 32 * 1024 * 1024
"""Bytes that one element may have."""

NOTHING_CHANGED = "Nothing was changed; the table keeps what the last load brought."


@dataclass(frozen=True)
class DescriptionRequest:
    """One call of one operation of the second catalogue.

    Attributes:
        dimension: The operation.
        scope: The id, empty where the operation covers the whole account.
        scope_label: The id as it may be shown.
    """

    dimension: Dimension
    scope: str = ""
    scope_label: str = ""

    method = "GET"
    body = None

    @property
    def path(self) -> str:
        """See ``ApiRequest``."""
        return self.dimension.path.replace("{id}", quote(self.scope, safe=""))

    @property
    def accept(self) -> str:
        """See ``ApiRequest``."""
        own = self.dimension.accept
        return own if own == "application/json" else f"{own}, application/json"

    @property
    def context(self) -> RequestContext:
        """See ``ApiRequest``."""
        return RequestContext(self.dimension.name, self.scope_label, "")

    def parameters(self, timestamp_format: TTimestampFormat) -> dict[str, str]:
        """See ``ApiRequest``."""
        return {self.dimension.id_query: self.scope} if self.dimension.id_query else {}


def make_dimension(
    dimension: Dimension,
    scope_ids: tuple[str, ...],
    session: ExtractSession,
    account: str,
    selected: bool,
) -> DltResource:
    """The dlt resource of one operation of the second catalogue.

    Args:
        dimension: The operation.
        scope_ids: The ids to load; empty for an operation over the whole account.
        session: What the resources of the source share.
        account: What the column ``account`` says.
        selected: Whether it is selected without being named.

    Returns:
        A resource that yields Arrow tables.
    """

    def read() -> Iterator[Any]:
        with session.tools() as tools:
            yield from _DimensionRun(dimension, scope_ids, session, tools, account).run()

    resource: DltResource = dlt.resource(
        read, name=dimension.name, write_disposition="merge", selected=selected
    )
    return resource


class _DimensionRun:
    """One run of one resource, inside dlt's extraction."""

    def __init__(
        self,
        dimension: Dimension,
        scope_ids: tuple[str, ...],
        session: ExtractSession,
        tools: Tools,
        account: str,
    ) -> None:
        self._dimension = dimension
        self._scope_ids = scope_ids
        self._session = session
        self._tools = tools
        self._account = account
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
            raise SettingError(f"{dimension.name} loads by id: give {dimension.ids} to np6_source")
        new_tables = declare_snapshots(
            dlt.current.resource(),
            {dimension.table: dimension.replaced_by}
            | {c.table: dimension.replaced_in_child_by(c.table) for c in dimension.children},
            self._session.settings.table_format,
        )
        requests = [
            DescriptionRequest(dimension, scope, scope_label(scope, dimension.ids_are_personal))
            for scope in (self._scope_ids or ("",))
        ]
        is_any = False
        with closing(self._responses(requests)) as responses:
            for stash in responses:
                for name, rows in stash.tables():
                    is_any = True
                    self._metrics["rows"] += rows.num_rows
                    yield dlt.mark.with_table_name(rows, name)
        if is_any:
            for table in new_tables:
                yield dlt.mark.with_table_name(table.arrow_schema.empty_table(), table.name)

    def _responses(
        self, requests: Sequence[DescriptionRequest]
    ) -> Generator[TableStash, None, None]:
        """The rows of each request that was answered whole, in order."""
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

    def _load(self, request: DescriptionRequest) -> TableStash | None:
        """Sends one request and reads the response; None: it held nothing. In a worker thread."""
        sink = _OneFile(self._tools.spool / f"{time.monotonic_ns()}-{id(request)}.json")
        try:
            facts = self._tools.client.fetch(request, sink)
            try:
                return self._read(sink, facts)
            except (UnreadableResponse, NoRow) as problem:
                raise BadAnswer(sink.context, str(problem), NOTHING_CHANGED) from None
            except OSError as error:
                raise SpoolFailed(
                    sink.context,
                    f"temporary files could not be written or read: {error.strerror}",
                    NOTHING_CHANGED,
                ) from None
        finally:
            sink.discard()

    def _read(self, sink: _OneFile, facts: ResponseFacts) -> TableStash | None:
        file, context = sink.file, sink.context
        if repair(file):
            logger.warning(
                "Characters that are no Unicode text are written as U+FFFD with what they were in"
                " brackets. [%s]",
                context,
            )
        if self._dimension.gives == "object":
            elements: Iterable[Any] = [_object(file)]
        else:
            check_brackets(file)
            if is_empty_array(file):
                if self._dimension.ids is None:
                    logger.warning(
                        "The response is an empty array, which is taken for no answer: %s keeps"
                        " what the last load brought. [%s]",
                        self._dimension.table.name,
                        context,
                    )
                return None
            elements = _elements(file, self._tools.spool)
        stash = TableStash(self._tools.spool, file.stem)
        count = 0
        try:
            remaining = iter(elements)
            while batch := list(islice(remaining, ROWS_AT_ONCE)):
                count += len(batch)
                stash.add(self._tables(batch, to_datetime(facts.requested_at)))
            incomplete = fewer_than_announced(facts.total_count, count, context)
            if incomplete is not None:
                raise incomplete
        except BaseException:
            stash.discard()
            raise
        return stash

    def _tables(self, batch: list[Any], requested_at: datetime) -> dict[str, pa.Table]:
        rows: dict[str, list[dict[str, Any]]] = {}
        for element in batch:
            for name, row in rows_of(element, self._dimension, self._account, requested_at):
                rows.setdefault(name, []).append(row)
        return {
            table.name: pa.Table.from_pylist(rows[table.name], schema=table.arrow_schema)
            for table in self._dimension.tables
            if table.name in rows
        }

    def _fail(self, failure: RequestFailed) -> None:
        """Takes note of a failure, or raises it where the settings say so.

        An operation or id that is not there, or may not be asked for, is left out with a warning:
        the reference flags many of these operations as deprecated and shows others only in part.
        """
        if isinstance(failure, Forbidden) or failure.context.status in NOT_THERE:
            logger.warning("%s", self._left_out(failure))
            self._metrics["skipped"].append(failure_metrics(failure))
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
                f"The API key's user may not ask for {dimension.name}, which is left out; {kept}"
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


class _OneFile:
    """A sink that writes a response's body to one file.

    Attributes:
        context: What the response is for, for messages.
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.context = RequestContext("", "", "")
        self._target: BinaryIO | None = None

    def start(self, requested_at: int, context: RequestContext) -> None:
        """See ``BodySink``."""
        self.context = context
        with self._writing():
            self._target = self.file.open("wb")

    def add(self, chunk: bytes) -> None:
        """See ``BodySink``."""
        assert self._target is not None
        with self._writing():
            self._target.write(chunk)

    def finish(self) -> None:
        """See ``BodySink``."""
        with self._writing():
            self._close()

    def discard(self) -> None:
        """See ``BodySink``: removes the file."""
        with self._writing():
            self._close()
            self.file.unlink(missing_ok=True)

    def _close(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror
        else:
            return
        raise SpoolFailed(
            self.context, f"the response could not be written: {reason}", NOTHING_CHANGED
        )


def _object(file: Path) -> Any:
    if file.stat().st_size > LARGEST_ELEMENT:
        raise UnreadableResponse(f"the body has more than {LARGEST_ELEMENT} bytes")
    text = file.read_text("utf-8-sig")
    try:
        element = json.loads(text)
    except (ValueError, RecursionError):
        kind = "is empty" if not text.strip() else "is not one JSON object"
        raise UnreadableResponse(f"the body {kind}") from None
    if not isinstance(element, dict):
        raise UnreadableResponse("the body is JSON, but not an object")
    return element


def _elements(file: Path, spool: Path) -> Iterator[Any]:
    """The elements of an array, few at a time.

    Raises:
        UnreadableResponse: The file is not one complete JSON array.
    """
    name = str(file).replace("'", "''")
    largest = min(LARGEST_ELEMENT, file.stat().st_size + 1)
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": "256MB",
        "temp_directory": str(spool / "duckdb"),
    }
    with duckdb.connect(config=config) as connection:
        try:
            found = connection.execute(
                f"SELECT json FROM read_json_objects('{name}', format='array',"
                f" maximum_object_size={largest})"
            )
            while rows := found.fetchmany(ROWS_AT_ONCE):
                for (text,) in rows:
                    yield json.loads(text) if text is not None else None
        except (duckdb.Error, ValueError, RecursionError):
            raise UnreadableResponse("the body is not one complete JSON array") from None


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
