"""Makes the views in a destination, and drops them.

Neither touches anything that this package did not make.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import dlt
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase

from ..destinations import kind_of_destination
from ..dimensions import dimension_tables
from ..errors import Np6Error, SettingError
from ..schema import TABLES
from . import messages_table
from .base_tables import BASE_TABLES, REFRESHES
from .creation import fingerprint, statements
from .definitions import View, texts, views
from .descriptions import described
from .destination import Catalog, Relation, catalog_of
from .message_keys import MESSAGE_KEYS, TMessageKey, with_key
from .translation import FUNCTIONS, Names, quoted

logger = logging.getLogger(__name__)

REFRESHES_COLUMNS = frozenset(BASE_TABLES[REFRESHES])
OF_NAMES = frozenset(table.name for table in dimension_tables())
"""Tables of other resources than the events'. In a dataset that NP6 shares with other sources a
table of such a name may be somebody else's."""

TMode = Literal["auto", "require", "off"]
TStanding = Literal["up to date", "not up to date", "not made", "not possible"]


class ViewsFailed(Np6Error):
    """The views could not be made or dropped; nothing was changed."""


@dataclass(frozen=True)
class Made:
    """What ``make`` did.

    Attributes:
        views: Names of the views that are there now; empty where the destination has none.
        changed: Whether any of them was made anew.
    """

    views: tuple[str, ...]
    changed: bool


@dataclass(frozen=True)
class _Target:
    """Where the views of a pipeline are.

    Attributes:
        client: The destination's client, open.
        names: The destination's names.
        catalog: Who made what is there.
        columns: The columns that are there of each table that this package describes.
    """

    client: SqlJobClientBase
    names: Names
    catalog: Catalog
    columns: Mapping[str, frozenset[str]]


def make(
    pipeline: dlt.Pipeline,
    materialize: bool | None = None,
    message_key: TMessageKey | None = None,
) -> Made:
    """Makes the views of the tables that a pipeline loads, where they are not as they should be.

    Tables and columns that are not there are read as empty, so that every view has its columns
    everywhere. Loads into the dataset should wait meanwhile, see ``dataset_lock``.

    Args:
        pipeline: The pipeline. Where its destination has no views (files), nothing happens.
        materialize: Whether ``messages`` reads a table, which is brought up to date with every
            call. None: as it is in the dataset.
        message_key: What makes events one message: ``stamp``, or for executions with stamps of
            their own ``action_contact``. None: as it is in the dataset.

    Raises:
        SettingError: There is no such key, or the destination cannot have ``messages`` as a table
            yet.
        ViewsFailed: A view's name is taken, a view of somebody else's reads one that has changed,
            or the destination refuses.
    """
    if message_key not in (None, *MESSAGE_KEYS):
        raise SettingError(f"message_key={message_key!r} must be one of {', '.join(MESSAGE_KEYS)}")
    with connected(pipeline) as target:
        if target is None:
            return Made((), changed=False)
        if not target.names.present:
            raise ViewsFailed(_nothing(pipeline))
        names = list(texts())
        there = target.catalog.relations([*names, messages_table.TABLE])
        table = there.get(messages_table.TABLE)
        if materialize is None:
            materialize = table is not None and table.fingerprint is not None
        if not materialize and table is not None and table.fingerprint is None:
            del there[messages_table.TABLE]  # Somebody else's, and not in the way.
        if materialize and target.names.dialect not in messages_table.DIALECTS:
            raise SettingError("materialize: messages can be a table on DuckDB and PostgreSQL only")
        key = message_key or _key_of(there)
        wanted = fingerprint(target.names, materialize, key, target.columns)
        expected = {*names, messages_table.TABLE} if materialize else set(names)
        if there.keys() == expected and all(r.fingerprint == wanted for r in there.values()):
            if materialize:
                _refresh(target, key)
            return Made(tuple(names), changed=False)
        taken = [name for name, relation in there.items() if relation.fingerprint is None]
        if taken:
            raise ViewsFailed(
                f"Dataset {pipeline.dataset_name!r} has {_listed(taken)} already, which np6_source"
                " did not make: no view was made. Rename it, or load with --views off."
            )
        _refuse_readers(target, list(there), "The views have changed")
        with _transaction(target):
            _execute(target, [*_drops(target, there), *_creates(target, wanted, materialize, key)])
        return Made(tuple(names), changed=True)


def standing(pipeline: dlt.Pipeline) -> TStanding:
    """Whether the views are as ``make`` would make them; changes nothing.

    Args:
        pipeline: The pipeline. Where its destination has no views (files), they are not possible.
    """
    try:
        with connected(pipeline) as target:
            if target is None:
                return "not possible"
            names = list(texts())
            there = target.catalog.relations([*names, messages_table.TABLE])
            ours = {name: there[name] for name in _ours(there)}
            if not ours:
                return "not made"
            is_table = messages_table.TABLE in ours
            wanted = fingerprint(target.names, is_table, _key_of(there), target.columns)
            is_whole = ours.keys() >= set(names)
            is_new = all(relation.fingerprint == wanted for relation in ours.values())
            return "up to date" if is_whole and is_new else "not up to date"
    except ViewsFailed:  # No dialect of ours, or no file.
        return "not possible"


def drop(pipeline: dlt.Pipeline) -> tuple[str, ...]:
    """Drops the views that ``make`` has made; returns their names.

    Args:
        pipeline: The pipeline.

    Raises:
        ViewsFailed: A view of somebody else's reads what would be dropped, and the destination
            would refuse; nothing was dropped.
    """
    with connected(pipeline) as target:
        if target is None or not target.names.present:
            return ()
        there = target.catalog.relations([*texts(), messages_table.TABLE])
        ours = _ours(there)
        _refuse_readers(target, ours, "Nothing was dropped")
        if ours:
            with _transaction(target):
                _execute(target, [*_drops(target, ours), *target.catalog.unmarking()])
        return tuple(name for name in ours if name != messages_table.TABLE)


def forget_messages(pipeline: dlt.Pipeline) -> None:
    """Has ``messages``, where it is a table, made anew by the next ``make``.

    To be called before rows are removed: a refresh only looks at messages with newer events.

    Args:
        pipeline: The pipeline whose tables lose rows.
    """
    capabilities = pipeline.destination.capabilities()
    if capabilities.sqlglot_dialect not in messages_table.DIALECTS:
        return
    with connected(pipeline) as target:
        if target is not None and REFRESHES in target.names.present:
            _execute(target, [messages_table.forgotten(target.names)])


def statements_of_messages(pipeline: dlt.Pipeline) -> list[str]:
    """Statements that make every row of ``messages`` anew; none where it is no table of ours.

    Args:
        pipeline: The pipeline.
    """
    capabilities = pipeline.destination.capabilities()
    if capabilities.sqlglot_dialect not in messages_table.DIALECTS:
        return []
    with connected(pipeline) as target:
        if target is None or REFRESHES not in target.names.present:
            return []
        there = target.catalog.relations([*texts(), messages_table.TABLE])
        return list(messages_table.filled_anew(_messages(_key_of(there)), target.names))


def after_load(
    pipeline: dlt.Pipeline,
    mode: TMode,
    materialize: bool | None = None,
    message_key: TMessageKey | None = None,
) -> list[dict[str, Any]]:
    """Makes the views after a load that has committed; reports a failure, and fails nothing else.

    Args:
        pipeline: The pipeline.
        mode: ``off``: makes none. ``auto``: what fails is a warning. ``require``: a failure.
        materialize: See ``make``.
        message_key: See ``make``.

    Returns:
        Failures as ``errors.failure_metrics`` gives them.
    """
    if mode == "off":
        return []
    try:
        make(pipeline, materialize, message_key)
    except Exception as error:  # Whatever it is: the load has committed.
        message = f"The load is complete, but the views are not up to date. {error}"
        if mode == "require":
            return [
                {
                    "kind": type(error).__name__,
                    "message": message,
                    "resource": "views",
                    "id": "",
                    "problem": message,
                    "advice": "Run np6-source views.",
                    "resume_at": None,
                }
            ]
        logger.warning("%s", message)
    return []


def _key_of(there: Mapping[str, Relation]) -> TMessageKey:
    """By which key the views that are there were made; the stamp where there are none."""
    found = {
        relation.fingerprint.partition(" ")[2]
        for relation in there.values()
        if relation.fingerprint
    }
    return next((key for key in MESSAGE_KEYS if key in found), "stamp")


@contextmanager
def connected(pipeline: dlt.Pipeline) -> Iterator[_Target | None]:
    """Connects to where the views belong; None where the destination has none."""
    client = pipeline.destination_client()
    if not isinstance(client, SqlJobClientBase):
        yield None
        return
    file = getattr(client.sql_client.credentials, "database", None)
    if kind_of_destination(pipeline) == "duckdb" and not Path(str(file)).exists():
        raise ViewsFailed(_nothing(pipeline))  # Connecting would make the file.
    with client:
        try:
            names, columns = _names(client)
            yield _Target(client, names, catalog_of(client, names), columns)
        except DatabaseException as error:
            first, *_ = str(error).splitlines()
            raise ViewsFailed(f"The destination refuses the views: {first}") from error


def _names(client: SqlJobClientBase) -> tuple[Names, Mapping[str, frozenset[str]]]:
    """The destination's names, and the columns that are there by table that is described."""
    sql_client = client.sql_client
    schema = client.schema
    naming = schema.naming
    dialect = client.capabilities.sqlglot_dialect or ""
    if dialect not in FUNCTIONS:
        raise ViewsFailed(f"There are no views for {dialect or 'this destination'} yet.")

    def table(name: str) -> str:
        return naming.normalize_tables_path(name)

    def column(name: str) -> str:
        return client.capabilities.casefold_identifier(naming.normalize_path(name))

    def path(name: str) -> list[str]:
        parts = sql_client.make_qualified_table_name_path(table(name), quote=False)
        # A DuckDB file that is renamed or attached is another catalog.
        return parts[-2:] if dialect == "duckdb" else parts

    described = {t.name: [c.name for c in t.columns] for t in (*TABLES, *dimension_tables())}
    # A table with a name for ids may be another source's.
    own = {n for n in described if n not in OF_NAMES or table(n) in schema.tables}
    logical = {table(n): n for n in (*BASE_TABLES, *described) if n in own or n not in described}
    present, columns = {}, {}
    for found, there in client.get_storage_tables(list(logical)):
        if there and (name := logical[found]) in BASE_TABLES:
            present[name] = frozenset(n for n in BASE_TABLES[name] if column(n) in there)
        if there and (name := logical[found]) in described:
            columns[name] = frozenset(n for n in described[name] if column(n) in there)
    return Names(dialect, path, column, present), columns


def _creates(target: _Target, wanted: str, materialized: bool, key: TMessageKey) -> Iterator[str]:
    names = target.names
    if materialized:
        yield from messages_table.created(_messages(key), names)
        names = replace(names, present={**names.present, REFRESHES: REFRESHES_COLUMNS})
        yield from target.catalog.marking_table(messages_table.TABLE, wanted)
    else:
        names = replace(names, present={n: c for n, c in names.present.items() if n != REFRESHES})
    for _, statement in statements(names, materialized, key):
        yield statement
    yield from target.catalog.marking({v.name: v.description for v in views()}, wanted)
    for view in views():
        columns = {name: column.comment for name, column in described(view).items()}
        yield from target.catalog.describing(view.name, columns)
    for table in (*TABLES, *dimension_tables()):
        if there := target.columns.get(table.name):
            yield from target.catalog.describing_table(table.name, table.description)
            columns = {c.name: c.description for c in table.columns if c.name in there}
            yield from target.catalog.describing(table.name, columns)


def _refresh(target: _Target, key: TMessageKey) -> None:
    """Brings ``messages_table`` up to date."""
    names, sql_client = target.names, target.client.sql_client
    refreshes = quoted(names.path(REFRESHES), names.dialect)
    with _transaction(target):
        rows = sql_client.execute_sql(messages_table.waiting(names)) or ()
        if not rows:
            return
        # By action and contact, an event may be of another message than its stamp's.
        is_by_stamp = key == "stamp"
        if not is_by_stamp or not sql_client.execute_sql(f"SELECT 1 FROM {refreshes} LIMIT 1"):
            _execute(target, list(messages_table.filled_anew(_messages(key), names)))
            return
        view, since = _messages(key), messages_table.earliest(rows)
        if since is not None:
            _execute(target, list(messages_table.refreshed(view, names, since)))
            if sql_client.execute_sql(messages_table.moved(view, names)):
                _execute(target, list(messages_table.left(view, names)))
        _execute(target, [messages_table.noted(names)])


def _messages(key: TMessageKey) -> View:
    return with_key(next(view for view in views() if view.name == "messages"), key)


def _drops(target: _Target, there: Any) -> Iterator[str]:
    for view in reversed(views()):
        if view.name in there:
            yield f"DROP VIEW {quoted(target.names.path(view.name), target.names.dialect)}"
    if messages_table.TABLE in there:
        yield from messages_table.dropped(target.names)


def _ours(there: Mapping[str, Relation]) -> list[str]:
    return [name for name, relation in there.items() if relation.fingerprint is not None]


def _refuse_readers(target: _Target, names: list[str], what: str) -> None:
    readers = target.catalog.readers(names)
    if readers:
        listed = ", ".join(f"{reader} (reads {read})" for reader, read in sorted(readers.items()))
        raise ViewsFailed(
            f"{what}, but the destination cannot drop what other views read: {listed}. Drop those,"
            " run this again, and make them anew."
        )


def _transaction(target: _Target) -> AbstractContextManager[Any]:
    """One transaction for all statements where the destination takes DDL in one."""
    if not target.client.capabilities.supports_ddl_transactions:
        return nullcontext()
    return target.client.sql_client.begin_transaction()


def _execute(target: _Target, statements: list[str]) -> None:
    if target.names.dialect in ("duckdb", "postgres"):
        # These take several at once: one trip instead of hundreds.
        target.client.sql_client.execute_sql(";\n".join(statements))
        return
    for statement in statements:
        target.client.sql_client.execute_sql(statement)


def _nothing(pipeline: dlt.Pipeline) -> str:
    return (
        f"Nothing is loaded into dataset {pipeline.dataset_name!r} yet: there is nothing to view."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names))
