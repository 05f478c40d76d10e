"""One response of an operation of ``dimensions``: a request in, rows out, whole or not at all."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb
import pyarrow as pa

from ..api.body import BodyInFile
from ..api.client import ResponseFacts
from ..api.responses import fewer_than_announced
from ..dimensions import Dimension
from ..errors import BadAnswer, RequestContext, SpoolFailed
from ..events.json_file import UnreadableResponse, check_brackets, is_empty_array, repair
from ..parameters import TTimestampFormat
from ..windows import to_datetime
from .dimension_rows import NoRow, rows_of
from .spool import TableStash

if TYPE_CHECKING:
    from .session import Tools

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1_000
"""Elements that are in memory at once."""

LARGEST_ELEMENT = 32 * 1024 * 1024
"""Bytes that one element may have."""

NOTHING_CHANGED = "Nothing was changed; the table keeps what the last load brought."


@dataclass(frozen=True)
class DimensionRequest:
    """One call of one operation of ``dimensions``.

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


def load_rows(
    tools: Tools,
    request: DimensionRequest,
    account: str,
    left_out: list[BadAnswer] | None = None,
) -> TableStash | None:
    """Sends one request and reads the response.

    Args:
        tools: What is open during the extraction.
        request: What to ask for.
        account: What the column ``account`` says.
        left_out: Gains a failure for each element that makes no row, and the others are read. None:
            such an element fails the response.

    Returns:
        The rows, by table; None: the response is an empty array.

    Raises:
        RequestFailed: The class says what it means, see ``errors``. No file stays.
    """
    file = tools.spool / f"{time.monotonic_ns()}-{id(request)}.json"
    sink = BodyInFile(file, NOTHING_CHANGED)
    try:
        facts = tools.client.fetch(request, sink)
        try:
            return _read(tools, request, sink, facts, account, left_out)
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


def _read(
    tools: Tools,
    request: DimensionRequest,
    sink: BodyInFile,
    facts: ResponseFacts,
    account: str,
    left_out: list[BadAnswer] | None,
) -> TableStash | None:
    file, context, dimension = sink.file, sink.context, request.dimension
    if repair(file):
        logger.warning(
            "Characters that are no Unicode text are written as U+FFFD with what they were in"
            " brackets. [%s]",
            context,
        )
    if dimension.gives == "object":
        elements: Iterable[Any] = [_object(file)]
    else:
        check_brackets(file)
        if is_empty_array(file):
            if dimension.ids is None:
                logger.warning(
                    "The response is an empty array, which is ignored: %s keeps"
                    " what the last load brought. [%s]",
                    dimension.table.name,
                    context,
                )
            return None
        elements = _elements(file, tools.spool)
    stash = TableStash(tools.spool, file.stem)
    requested_at = to_datetime(facts.requested_at)
    count = 0
    try:
        remaining = iter(elements)
        while batch := list(islice(remaining, ROWS_AT_ONCE)):
            count += len(batch)
            rows: dict[str, list[dict[str, Any]]] = {}
            for element in batch:
                try:
                    found = list(rows_of(element, dimension, account, requested_at))
                except NoRow as problem:
                    if left_out is None:
                        raise
                    left_out.append(BadAnswer(context, str(problem), NOTHING_CHANGED))
                    continue
                for name, row in found:
                    rows.setdefault(name, []).append(row)
            stash.add(_as_tables(rows, dimension, tools))
        incomplete = fewer_than_announced(facts.total_count, count, context)
        if incomplete is not None:
            raise incomplete
    except BaseException:
        stash.discard()
        raise
    return stash


def _as_tables(
    rows: dict[str, list[dict[str, Any]]], dimension: Dimension, tools: Tools
) -> dict[str, pa.Table]:
    found = {}
    for table in dimension.tables:
        if table.name in rows:
            all_rows = pa.Table.from_pylist(rows[table.name], schema=table.arrow_schema)
            stored = tools.suppression.of_names(table, all_rows)
            found[table.name] = tools.privacy.applied(table, stored)
    return found


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
