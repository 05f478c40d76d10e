"""Erasing a contact from Delta tables, of which each is changed by commits of its own.

The contact is listed first, and found again by the list's digests. So a kill at any moment is made
good by doing the same once more, and of a load that commits rows meanwhile either this sees the
rows, or the load sees the list when it has ended.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import dlt
import pyarrow as pa

from ..bookkeeping.erasures import Erasure, read_erasures
from ..bookkeeping.own_tables import ERASURES
from ..dlt_internals.pipelines import changed_state
from ..events.digests import DigestKey
from ..events.privacy import KEEP, POLICIES, Privacy
from ..events.suppression import ADDRESS_CLASSES
from ..open_tables import delta
from ..schema import EVENTS
from ..tables.naming import name_of
from .dataset import DeltaDataset, has_delta_tables, opened
from .finding import Person

logger = logging.getLogger(__name__)

KINDS = {"VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us", tz="UTC")}
"""Arrow's types of the columns of ``_np6_erasures``, by the first word of SQL's."""

TErase = Callable[[DeltaDataset, Person], None]
"""Takes a person's values out of the tables and states."""


def write_list(data: DeltaDataset, rows: Iterable[tuple[Any, ...]]) -> None:
    """Adds rows to ``_np6_erasures``: ``rewritten_at`` is NULL in each.

    Args:
        data: The dataset.
        rows: Values of the table's columns but ``rewritten_at``, in their order.
    """
    columns = ERASURES.columns
    fields = [
        pa.field(data.schema.naming.normalize_path(name), KINDS[kind.partition("(")[0].split()[0]])
        for name, kind in columns.items()
    ]
    values = [dict(zip([f.name for f in fields], (*row, None), strict=True)) for row in rows]
    delta.append(data.files, _own(data), pa.Table.from_pylist(values, pa.schema(fields)))


def lift(data: DeltaDataset, erasure_id: str) -> None:
    """Takes an erasure from the list."""
    delta.change(data.files, _own(data), _ids(data, [erasure_id]), {})


def finish(
    pipeline: dlt.Pipeline,
    key: DigestKey | None,
    erase: TErase,
    given: Collection[str] = (),
) -> bool:
    """Takes the values of contacts who are listed out of the tables, where that was not done.

    Args:
        pipeline: The pipeline, in sync with its destination.
        key: The key that is configured; None: there is none.
        erase: Changes the tables.
        given: Values of the contacts in clear, where they are known.

    Returns:
        Whether there was anything to do, and it was done.
    """
    if not has_delta_tables(pipeline):
        return False
    waiting = [
        one for one in read_erasures(pipeline, pipeline.default_schema) if not one.is_rewritten
    ]
    if not waiting:
        return False
    if key is None or {one.key_id for one in waiting} != {key.id}:
        logger.warning(
            "Erasing a contact was interrupted, and its values may still be in the tables: end it"
            " with np6-source erase, or configure pii_key in this project's secrets."
        )
        return False
    with opened(pipeline, Privacy(dict.fromkeys(POLICIES, KEEP), key)) as data:
        assert isinstance(data, DeltaDataset)
        erase(data, listed_person(data, waiting, given))
        for table in data.tables:
            delta.forget_versions(data.files, name_of(table, data.schema))
        mark(data, {one.erasure_id for one in waiting}, "now()")
    return True


def listed_person(
    data: DeltaDataset, erasures: Iterable[Erasure], given: Collection[str] = ()
) -> Person:
    """The contacts of a list, as one: all values of the tables whose digests are listed."""
    listed_ones = list(erasures)
    contacts = frozenset(one.digest for one in listed_ones if one.kind == "contact")
    addresses = frozenset(one.digest for one in listed_ones if one.kind == "address")
    found: dict[str, set[str]] = {"contact_id": set(), "address": set(), "contact_hash": set()}
    recipients: set[str] = set()
    for table in data.tables:
        for column in table.columns:
            if column.personal not in ("contact_id", *ADDRESS_CLASSES):
                continue
            if not data.has(table, column.name):
                continue
            wanted = contacts if column.personal == "contact_id" else addresses
            is_recipient = table is EVENTS and column.name == "recipient"
            values = recipients if is_recipient else found[column.personal]
            name = data.column(column.name)
            query = f"SELECT DISTINCT {name} FROM {data.name(table)} WHERE {name} IS NOT NULL"
            for (value,) in data.rows(query):
                if data.digest(str(value), column.personal) in wanted:
                    values.add(str(value))
    return Person(
        ids=frozenset(found["contact_id"]),
        unicities=frozenset(found["address"]),
        hashes=frozenset(found["contact_hash"]),
        recipients=frozenset(recipients),
        contacts=contacts,
        addresses=addresses,
        given=frozenset(given),
    )


def change_states(data: DeltaDataset, change: Callable[[Any], None]) -> None:
    """Changes all versions of the pipelines' states that the dataset keeps (files of dlt 1.31)."""
    files = data.files
    aside = f"{files.dataset_path.rstrip('/')}/.np6_state"
    for path in files.list_table_files(data.schema.state_table_name):
        if not path.endswith(".jsonl"):
            continue
        row = json.loads(files.fs_client.read_text(path, encoding="utf-8"))
        changed, version_hash = changed_state(row["state"], change)
        if changed != row["state"]:
            text = json.dumps(row | {"state": changed, "version_hash": version_hash})
            # Not in place: a kill would leave half a file.
            files.fs_client.write_text(aside, text, encoding="utf-8")
            files.fs_client.mv(aside, path)


def mark(data: DeltaDataset, erasure_ids: Collection[str], when: str) -> None:
    """Notes in the list when the values were gone from the files; ``when`` is SQL."""
    delta.change(data.files, _own(data), _ids(data, erasure_ids), {"rewritten_at": when})


def _own(data: DeltaDataset) -> str:
    return data.schema.naming.normalize_tables_path(ERASURES.name)


def _ids(data: DeltaDataset, erasure_ids: Collection[str]) -> pa.Table:
    name = data.schema.naming.normalize_path("erasure_id")
    return pa.table({name: pa.array(sorted(erasure_ids), pa.string())})
