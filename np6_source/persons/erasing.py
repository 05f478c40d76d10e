"""Erasing a contact: the values go, the rows stay, and nothing brings the values back.

All that is in tables goes in one transaction, with the row of ``_np6_erasures`` by which later
loads know the person. Then the tables made of others are made anew, and a DuckDB file is written
anew; where a kill comes between, the next load or the next ``erase`` does it first.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from ..bookkeeping.erasures import listed
from ..bookkeeping.own_tables import ERASURES, MASKINGS
from ..dataset_lock import TTurn, duckdb_file, in_database_or_file
from ..destinations import kind_of_destination
from ..dlt_internals.pipelines import changed_state
from ..events.digests import DigestKey, canonical
from ..events.quotes import address_like
from ..events.suppression import personal_columns
from ..schema import (
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA_TABLE,
    Table,
)
from ..views import forget_messages, make, standing
from ..views.messages_table import TABLE as MESSAGES
from . import on_files
from .dataset import AT_ONCE, LABELLED, Condition, Dataset, DeltaDataset, any_of, is_one_of
from .duckdb_file import rewrite
from .finding import Person, Span, spans_of
from .labels import RESOURCES_OF_CONTACTS, Labels, forget_labels, labels_of
from .mentions import Mention, is_removed_whole, mentions
from .staging import empty_staging, qualified, staged_tables

logger = logging.getLogger(__name__)

OUT_OF_REACH: Mapping[str, tuple[str, ...]] = {
    "duckdb": (
        "copies, published files and backups of the DuckDB file",
        "readers that have the old file open, until they close it",
        "free blocks of the disk",
    ),
    "postgres": (
        "the write-ahead log until its segments are written over, replicas, archives and backups",
        "pg_statistic, for superusers, until each table was analysed again",
    ),
    "filesystem": (
        "copies of the folder or bucket, its versions and backups",
        "files that a killed load has left, of the last 24 hours; a later erase removes them",
    ),
}
"""What erasing does not reach, by destination."""

DEAD_ROWS = "the tables' dead rows, until VACUUM FULL: run it, or this command again with --rewrite"


@dataclass(frozen=True)
class Erasing:
    """What erasing a person changes.

    Attributes:
        person: The person.
        spans: The contacts in a few words.
        labels: What the ledger calls the person.
        mentions: Texts of others that quote the person.
        counts: Rows by what happens to them, as ``events`` or ``events: recipient``.
    """

    person: Person
    spans: Sequence[Span]
    labels: Labels
    mentions: Sequence[Mention]
    counts: Mapping[str, int]

    @property
    def is_nothing(self) -> bool:
        """Whether nothing of the person is there."""
        return not any(self.counts.values())


def planned(data: Dataset, person: Person) -> Erasing:
    """What erasing a person would change; changes nothing."""
    labels, quoting = labels_of(data, person), tuple(mentions(data, person))
    counts: Counter[str] = Counter()
    about = person.is_about(data) & has_values(data, EVENTS)
    counts[EVENTS.name] = data.count(EVENTS, about)
    if data.has(EVENTS, "recipient"):
        counts["events: recipient of others"] = data.count(EVENTS, person.went_to_address(data))
    for table in _children(data):
        counts[table.name] = data.count(table, _of_person(data, person) & has_values(data, table))
    for table in data.tables:
        if table not in EVENT_TABLES and table not in LABELLED:
            counts[table.name] = data.count(table, person.is_named(data, table))
    for table in LABELLED:
        if data.has(table, "scope_id"):
            counts[table.name] = data.count(table, labelled(data, labels))
    for mention in quoting:
        counts[f"{mention.table.name}: {mention.column} of others"] += 1
    shown = {name: count for name, count in counts.items() if count}
    return Erasing(person, spans_of(data, person), labels, quoting, shown)


def has_values(data: Dataset, table: Table) -> Condition:
    """A condition: a row of events still says who it is about; data always does."""
    if table is EXECUTION_DATA_TABLE:
        return Condition("1 = 1")
    there = [column.name for column in personal_columns(table) if data.has(table, column.name)]
    filled = " OR ".join(f"{data.column(name)} IS NOT NULL" for name in there)
    return Condition(f"({filled or '1 = 0'})")


def erase(pipeline: dlt.Pipeline, data: Dataset, erasing: Erasing) -> str:
    """Takes a person's values out of the tables, and lists the person, in one transaction.

    In Delta tables, which have none together, it lists the person only: ``finish_on_files`` does
    the rest.

    Args:
        pipeline: The pipeline; its state forgets the person as well.
        data: The dataset, whose lock this process has.
        erasing: What to change.

    Returns:
        The erasure's id.
    """
    erasure_id = uuid.uuid4().hex
    if isinstance(data, DeltaDataset):
        on_files.write_list(data, _entries(data, erasing, erasure_id))
    else:
        forget_messages(pipeline)  # First: without it a kill would leave them in the table.
        with data.client.begin_transaction():
            _change_tables(data, erasing.person, erasing.labels, erasing.mentions)
            empty_staging(data)
            _change_states(data, erasing.labels)
            _list(data, erasing, erasure_id)
    with pipeline.managed_state() as state:
        _forget(erasing.labels)(state)
    return erasure_id


def _change_tables(
    data: Dataset, person: Person, labels: Labels, quoting: Sequence[Mention]
) -> None:
    # The rows of ``events`` last: by them the others are found, after a kill too.
    for (table, column, is_whole), rows in _grouped(quoting).items():
        for first in range(0, len(rows), AT_ONCE):
            where = any_of(rows[first : first + AT_ONCE])
            if is_whole:
                data.remove(table, where)
            else:
                data.blank(table, [column], where)
    for table in _children(data):
        about = _of_person(data, person)
        if table is EXECUTION_DATA_TABLE:
            data.remove(table, about)
        else:
            data.blank(table, [c.name for c in personal_columns(table)], about)
    if person.recipients and data.has(EVENTS, "recipient"):
        data.blank(EVENTS, ["recipient"], person.went_to_address(data))
    data.blank(EVENTS, [c.name for c in personal_columns(EVENTS)], person.is_about(data))
    for table in data.tables:
        if table in LABELLED:
            data.remove(table, labelled(data, labels))
        elif table not in EVENT_TABLES:
            data.remove(table, person.is_named(data, table))


def _grouped(mentions: Sequence[Mention]) -> Mapping[tuple[Table, str, bool], list[Condition]]:
    """The rows that quote the person, by table, column and whether they go as a whole."""
    found: dict[tuple[Table, str, bool], list[Condition]] = {}
    for mention in mentions:
        key = (mention.table, mention.column, is_removed_whole(mention))
        found.setdefault(key, []).append(mention.row)
    return found


def _children(data: Dataset) -> list[Table]:
    """The tables beside ``events`` that have values about persons."""
    return [
        table
        for table in EVENT_TABLES
        if table is not EVENTS and table in data.tables and personal_columns(table)
    ]


def _of_person(data: Dataset, person: Person) -> Condition:
    """A condition on a table beside ``events``: the row is of an event about the person."""
    about = person.is_about(data)
    events = f"SELECT {data.column('id')} FROM {data.name(EVENTS)} WHERE {about.sql}"
    return Condition(f"{data.column('event_id')} IN ({events})", about.values)


def labelled(data: Dataset, labels: Labels) -> Condition:
    """A condition on the ledger: the row is of one of the person's ids."""
    scope, resource = data.column("scope_id"), data.column("resource")
    plain = is_one_of(scope, sorted(labels.plain)) & is_one_of(
        resource, sorted(RESOURCES_OF_CONTACTS)
    )
    return is_one_of(scope, sorted(labels.digests)) | plain


def _change_states(data: Dataset, labels: Labels) -> None:
    """Takes a person's labels out of all the pipelines' states that the dataset keeps."""
    table = data.name(data.schema.state_table_name)
    state, digest = data.column("state"), data.column("version_hash")
    for (text,) in data.execute(f"SELECT DISTINCT {state} FROM {table}"):
        changed, version_hash = changed_state(text, _forget(labels))
        if changed != text:
            data.execute(
                f"UPDATE {table} SET {state} = %s, {digest} = %s WHERE {state} = %s",
                changed,
                version_hash,
                text,
            )


def _forget(labels: Labels) -> Callable[[Any], None]:
    def change(state: Any) -> None:
        for source in state.get("sources", {}).values():
            forget_labels(source, labels.has)

    return change


def _entries(data: Dataset, erasing: Erasing, erasure_id: str) -> list[tuple[Any, ...]]:
    """The person's rows of the list, without ``rewritten_at``."""
    person = erasing.person
    now = datetime.now(timezone.utc)
    latest = [span.last_at for span in erasing.spans]
    # An event may be dated ahead of the clock.
    before = max([now, *(moment + timedelta(milliseconds=1) for moment in latest)])
    counts = json.dumps(erasing.counts, sort_keys=True)
    rows: list[tuple[str, str, datetime | None]] = [
        ("contact", digest, None) for digest in sorted(person.contacts)
    ]
    rows += [("address", digest, before) for digest in sorted(person.addresses)]
    return [
        (erasure_id, kind, digest, until, now, data.key.id, counts) for kind, digest, until in rows
    ]


def _list(data: Dataset, erasing: Erasing, erasure_id: str) -> None:
    """Lists the person, so that nothing that is loaded later has the values."""
    client, schema = data.client, data.schema
    data.execute(ERASURES.created(client, schema))
    names = [name for name in ERASURES.columns if name != "rewritten_at"]
    columns = ", ".join(ERASURES.column(name, client, schema) for name in names)
    for row in _entries(data, erasing, erasure_id):
        data.execute(
            f"INSERT INTO {ERASURES.path(client, schema)} ({columns})"
            f" VALUES ({', '.join(['%s'] * len(names))})",
            *row,
        )


def lift_erasure(data: Dataset, erasure_id: str) -> int:
    """Takes an erasure from the list: what is loaded from now on is stored again.

    Returns:
        How many entries it had.
    """
    there = [one for one in listed(data.client, data.schema) if one.erasure_id == erasure_id]
    if there and isinstance(data, DeltaDataset):
        on_files.lift(data, erasure_id)
    elif there:
        name = ERASURES.column("erasure_id", data.client, data.schema)
        data.execute(
            f"DELETE FROM {ERASURES.path(data.client, data.schema)} WHERE {name} = %s", erasure_id
        )
    return len(there)


def finish_erasures(pipeline: dlt.Pipeline, turn: TTurn = in_database_or_file) -> bool:
    """Ends erasures whose tables are done: makes ``messages`` anew, and a DuckDB file.

    Args:
        pipeline: The pipeline. On another destination than a DuckDB file nothing happens.
        turn: Waits until this process may change the dataset.

    Returns:
        Whether there was anything to do.

    Raises:
        RewritingFailed: The file cannot be written anew; it is as it was.
    """
    file = duckdb_file(pipeline)
    if file is None or not file.exists():
        return False
    with turn(pipeline):
        schema = pipeline.default_schema if pipeline.default_schema_name else dlt.Schema("np6")
        with pipeline.sql_client() as client:
            waiting = [one for one in listed(client, schema) if not one.is_rewritten]
            if not waiting:
                return False
            path = ERASURES.path_in_copy(client, schema)
        logger.info("The DuckDB file is written anew, for what was erased.")
        make_messages_anew(pipeline)
        rewrite(
            pipeline,
            [f"UPDATE {{}}.{path} SET rewritten_at = now() WHERE rewritten_at IS NULL"],
        )
    return True


def finish_on_files(
    pipeline: dlt.Pipeline, key: DigestKey | None, given: Collection[str] = ()
) -> bool:
    """Ends erasures from Delta tables, see ``on_files.finish``."""
    return on_files.finish(pipeline, key, _erase_from_files, given)


def _erase_from_files(data: DeltaDataset, person: Person) -> None:
    labels = labels_of(data, person)
    _change_tables(data, person, labels, tuple(mentions(data, person)))
    on_files.change_states(data, _forget(labels))


def make_messages_anew(pipeline: dlt.Pipeline) -> None:
    """Makes the table ``messages`` anew, where it is one; erasing has noted that it must be."""
    if standing(pipeline) in ("up to date", "not up to date"):
        make(pipeline)


def vacuum(data: Dataset, is_full: bool) -> None:
    """Has PostgreSQL forget old values: its statistics, and with ``is_full`` its dead rows."""
    how = "VACUUM FULL ANALYZE" if is_full else "ANALYZE"
    for table in data.tables:
        data.execute(f"{how} {data.name(table)}")
    with suppress(DatabaseUndefinedRelation):  # It is a view, or not made.
        data.execute(f"{how} {data.name(MESSAGES)}")
    if is_full:
        data.execute(f"VACUUM FULL {data.name(data.schema.state_table_name)}")
        when = data.column("rewritten_at")
        for own in (ERASURES, MASKINGS):
            name = data.name(own.name)
            with suppress(DatabaseUndefinedRelation):  # Nobody was erased, or nothing masked.
                data.execute(f"UPDATE {name} SET {when} = now() WHERE {when} IS NULL")


def out_of_reach(pipeline: dlt.Pipeline, is_rewritten: bool) -> tuple[str, ...]:
    """What erasing does not reach in a destination, in words."""
    kind = kind_of_destination(pipeline)
    dead = () if is_rewritten else (DEAD_ROWS,)
    return (*dead, *OUT_OF_REACH[kind])


def found_in_tables(data: Dataset, person: Person) -> list[str]:
    """The columns of the dataset's tables in which an address or hash of the person still is."""
    clear = {one for one in person.given if "@" in one}
    if not data.is_hashed("address"):
        clear |= person.unicities | person.recipients
    if not data.is_hashed("contact_hash"):
        clear |= person.hashes
    texts = sorted(clear)[:AT_ONCE]
    if not texts:
        return []
    sought = {canonical(one) for one in texts}
    dataset = data.client.dataset_name
    in_staging = set(staged_tables(data))
    columns = data.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns"
        " WHERE table_catalog = current_database() AND data_type IN"
        " ('VARCHAR', 'character varying', 'text', 'json', 'JSON')",
    )
    found = []
    for schema, table, name in columns:
        if schema != dataset and (schema, table) not in in_staging:
            continue
        path = qualified(data, str(schema), str(table))
        text = f"CAST({data.client.escape_column_name(str(name))} AS VARCHAR)"
        holds = " OR ".join([f"position(lower(%s) IN lower({text})) > 0"] * len(texts))
        query = f"SELECT DISTINCT {text} FROM {path} WHERE {holds}"
        if any(_holds(str(cell), sought) for (cell,) in data.rows(query, *texts)):
            found.append(f"{table}.{name}" if schema == dataset else f"{schema}.{table}.{name}")
    return found


def _holds(text: str, sought: Collection[str]) -> bool:
    """Whether a text is or quotes one of some addresses, and not one that merely ends like it."""
    return canonical(text) in sought or any(canonical(p) in sought for p in address_like(text))
