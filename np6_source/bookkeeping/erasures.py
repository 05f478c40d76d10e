"""Who was erased from a dataset: the table ``_np6_erasures``, and what it means for a load.

A backfill, a reload or a part would bring an erased person back for as long as NP6 has the
contact. So every extraction reads the table first, and blanks what is about the person before it is
stored. The table has digests with the secret key only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import dlt
import pyarrow as pa
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.exceptions import MissingDependencyException
from dlt.common.schema import Schema
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..destinations import kind_of_destination
from ..dlt_internals.packages import changes_noted
from ..errors import AlreadyRunning, SettingError
from ..events.digests import DigestKey
from ..events.suppression import NOBODY, Suppression, suppression
from ..open_tables import delta
from ..open_tables.arrow_sql import ArrowSqlClient
from ..windows import to_ms
from . import maskings
from .own_tables import ERASURES


class ExtractedBefore(AlreadyRunning):
    """A package was extracted before the dataset changed in a way that it does not know of."""


class ErasedMeanwhile(ExtractedBefore):
    """Somebody was erased while a package was extracted."""


class MaskedMeanwhile(ExtractedBefore):
    """The dataset was masked while a package was extracted."""


TKind = Literal["contact", "address"]


@dataclass(frozen=True)
class Erasure:
    """A row of the table.

    Attributes:
        erasure_id: The erasure; it may have several rows.
        kind: ``contact``: the digest is of a contact's id. ``address``: of an address or a hash.
        digest: 32 digits.
        before: Events published before it count, UTC; None: all.
        erased_at: When, UTC.
        key_id: Tells by which key the digest was made.
        is_rewritten: Whether the values are gone from the database's files.
    """

    erasure_id: str
    kind: TKind
    digest: str
    before: datetime | None
    erased_at: datetime
    key_id: str
    is_rewritten: bool


def listed(client: SqlClientBase[Any], schema: Schema) -> tuple[Erasure, ...]:
    """The rows of the table; none where it is not there.

    Args:
        client: A connection to the dataset, open.
        schema: The source's schema.
    """
    names = ", ".join(
        ERASURES.column(name, client, schema) for name in ERASURES.columns if name != "row_counts"
    )
    return tuple(
        Erasure(erasure_id, kind, digest, before, erased_at, key_id, rewritten_at is not None)
        for erasure_id, kind, digest, before, erased_at, key_id, rewritten_at in ERASURES.rows(
            client, schema, names
        )
    )


def read_erasures(
    pipeline: dlt.Pipeline, schema: Schema, must_be_known: bool = True
) -> tuple[Erasure, ...]:
    """Who was erased from the dataset that a pipeline loads into, which need not be there.

    Args:
        pipeline: The pipeline, which need not have run.
        schema: The source's schema.
        must_be_known: A destination that cannot be reached is an error, its driver's; else nobody
            was erased.

    Returns:
        The rows. None where nothing can be loaded into the destination from here.
    """
    return read_changes(pipeline, schema, must_be_known)[0]


def read_changes(
    pipeline: dlt.Pipeline, schema: Schema, must_be_known: bool = True
) -> tuple[tuple[Erasure, ...], tuple[maskings.Masking, ...]]:
    """Who was erased, and how rows were masked, by one connection; as ``read_erasures``."""
    with _connected(pipeline, schema, must_be_known) as client:
        if client is None:
            return (), ()
        return listed(client, schema), maskings.listed(client, schema)


def read_maskings(pipeline: dlt.Pipeline, schema: Schema) -> tuple[maskings.Masking, ...]:
    """How the dataset that a pipeline loads into was masked; as ``read_erasures``."""
    with _connected(pipeline, schema, must_be_known=True) as client:
        return () if client is None else maskings.listed(client, schema)


@contextmanager
def _connected(
    pipeline: dlt.Pipeline, schema: Schema, must_be_known: bool
) -> Iterator[SqlClientBase[Any] | None]:
    """A connection to the dataset; None where there is none to have, as ``read_erasures`` says."""
    with ExitStack() as stack:
        client: SqlClientBase[Any] | None = None
        try:
            names = [schema.name] if schema.name in pipeline.schemas else []
            destination = pipeline.destination_client(*names)
            if isinstance(destination, SqlJobClientBase):
                client = pipeline.sql_client(*names)
            elif isinstance(destination, FilesystemClient):
                # On files there is a table only where somebody was erased from Delta tables.
                own = schema.naming.normalize_tables_path(ERASURES.name)
                client = ArrowSqlClient(destination, [own], delta.rows)
            if client is not None:
                client.open_connection()
                stack.callback(client.close_connection)
        except (MissingDependencyException, ConfigurationException):
            client = None
        except Exception:  # Each driver has its own.
            if must_be_known:
                raise
            client = None
        yield client


def suppression_of(erasures: Sequence[Erasure], key: DigestKey | None, source: str) -> Suppression:
    """What is not stored of new rows.

    Args:
        erasures: The table's rows.
        key: The key that is configured.
        source: Name of the source, for the message.

    Raises:
        SettingError: There is no key, or another than the digests were made with: who was erased
            could not be told, and would come back.
    """
    if not erasures:
        return NOBODY
    keys = {erasure.key_id for erasure in erasures}
    if key is None or keys != {key.id}:
        has = "there is no pii_key" if key is None else f"pii_key is another (key={key.id})"
        raise SettingError(
            f"{source}: contacts were erased from this dataset (np6-source erase) with"
            f" key={', '.join(sorted(keys))}, and {has}: they could not be told from others and"
            " would come back. Nothing was loaded. Configure the key that was there."
        )
    return suppression(
        key,
        [erasure.digest for erasure in erasures if erasure.kind == "contact"],
        [
            (erasure.digest, to_ms(erasure.before or erasure.erased_at))
            for erasure in erasures
            if erasure.kind == "address"
        ],
    )


def look_again(pipeline: dlt.Pipeline, load_ids: Collection[str]) -> None:
    """Has contacts who were erased while packages were loading be looked for again.

    Loads into Delta tables and erasing from them do not wait for each other. ``rewritten_at`` of
    the erasure becomes NULL, as of one that was killed.

    Args:
        pipeline: The pipeline that has loaded.
        load_ids: The packages, as for ``refuse_older``.
    """
    begun = min(map(float, load_ids), default=None)
    if begun is None or kind_of_destination(pipeline) != "filesystem":
        return
    schema = pipeline.default_schema
    late = {
        one.erasure_id
        for one in read_erasures(pipeline, schema, must_be_known=False)
        if one.erased_at.timestamp() > begun
    }
    if not late:
        return
    name, column, when = (
        schema.naming.normalize_tables_path(ERASURES.name),
        *(schema.naming.normalize_path(one) for one in ("erasure_id", "rewritten_at")),
    )
    with pipeline.destination_client(schema.name) as client:
        assert isinstance(client, FilesystemClient)
        ids = pa.table({column: pa.array(sorted(late), pa.string())})
        delta.change(client, name, ids, {when: "NULL"})


def _is_unknown_to(
    load_id: str, known: frozenset[str] | None, changes: Iterable[tuple[str, datetime]]
) -> bool:
    """Whether the dataset was changed in a way of which a package's extraction did not know.

    Args:
        load_id: The package.
        known: The changes that it knew of; None: it noted none, and clocks have to tell.
        changes: Id and time of the erasures, or maskings, that there are.
    """
    if known is not None:
        return any(change_id not in known for change_id, _ in changes)
    return any(float(load_id) < at.timestamp() for _, at in changes)


def refuse_older(pipeline: dlt.Pipeline, load_ids: Collection[str]) -> None:
    """Refuses packages that were extracted before somebody was erased, or rows were masked.

    They may have values that the tables do not have any more. To be called with the dataset's
    lock, before packages are loaded.

    Args:
        pipeline: The pipeline.
        load_ids: The packages, which dlt names by the second in which they began.

    Raises:
        ErasedMeanwhile: One does not know of an erasure.
        MaskedMeanwhile: One does not know of a masking.
    """
    if not load_ids:
        return
    schema = pipeline.default_schema if pipeline.default_schema_name else Schema("np6")
    # A destination that cannot be reached fails the load step, in its own words.
    with _connected(pipeline, schema, must_be_known=False) as client:
        if client is None:
            return
        erased = [(one.erasure_id, one.erased_at) for one in listed(client, schema)]
        masked = [(one.change_id, one.masked_at) for one in maskings.listed(client, schema)]
    again = (
        "Run again: np6-source load gives it up and extracts it anew; in a project of your own call"
        " pipeline.abort_packages() first."
    )
    noted = changes_noted(pipeline)
    if any(_is_unknown_to(load_id, noted.get(load_id), erased) for load_id in load_ids):
        look_again(pipeline, load_ids)  # A kill may have left it with some of its rows committed.
        raise ErasedMeanwhile(
            "A contact was erased since this package was extracted, and it may have the contact's"
            f" values: nothing of it was loaded. {again}"
        )
    if any(_is_unknown_to(load_id, noted.get(load_id), masked) for load_id in load_ids):
        raise MaskedMeanwhile(
            "The dataset was brought under another policy since this package was extracted"
            f" (np6-source mask), and it has values as before: nothing of it was loaded. {again}"
        )
