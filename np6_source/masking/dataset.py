"""Masking a dataset: what it would change, and doing it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import Any

import dlt

from ..bookkeeping.own_tables import MASKINGS
from ..dlt_internals.pipelines import state_of
from ..errors import SettingError
from ..events.digests import DIGITS
from ..events.privacy import DROP, HMAC, KEEP, TRUNCATE, Privacy
from ..extract.policy import KEY_ADVICE
from ..extract.reload_intent import INTENT
from ..persons.dataset import Dataset
from ..persons.duckdb_file import TCopy
from ..persons.staging import empty_staging
from ..schema import LOAD_WINDOWS, Table
from ..views import forget_messages, statements_of_messages
from ..views.messages_table import TABLE as MESSAGES
from .changes import Changes, changes_of, check_key
from .in_duckdb import masked_copy
from .in_postgres import mask_rows
from .labels import (
    OPERATIONS_OF_CONTACTS,
    NewLabels,
    labels_in_state,
    needs_values,
    new_labels,
    to_rename,
)
from .values import TNewValues, new_values


@dataclass(frozen=True)
class Masking:
    """What masking a dataset changes.

    Attributes:
        policy_before: The policy of its rows, as ``Privacy.recorded``.
        changes: What becomes of values about persons.
        labels: What becomes of contacts' labels in the ledger and in dlt's state.
        counts: Values that change, as ``events.recipient``.
    """

    policy_before: str
    changes: Changes
    labels: NewLabels
    counts: Mapping[str, int]

    @property
    def is_nothing(self) -> bool:
        """Whether the dataset is under the policy already."""
        recorded = self.changes.after.recorded
        return self.policy_before == recorded and not self.labels.names


def planned(
    data: Dataset,
    recorded: Iterable[str],
    after: Privacy,
    given: Iterable[str] = (),
    own_state: Mapping[str, Any] | None = None,
) -> Masking:
    """What masking a dataset would change; changes nothing.

    Args:
        data: The dataset.
        recorded: The policies that its rows were loaded under.
        after: The policy that it is to have, with the key.
        given: Addresses and hashes that were loaded by.
        own_state: The pipeline's state as its folder has it, which a kill may have left behind.

    Raises:
        SettingError: It cannot be brought under that policy, see ``changes_of``; a reload waits to
            go on; or the ledger is one from before there were policies.
    """
    policies = frozenset(recorded)
    changes = changes_of(policies, after)
    if not data.has(LOAD_WINDOWS, "policy"):
        raise SettingError(
            "mask: the ledger has no column for the policy yet: load once with this version of"
            " np6-source, under the policy that is there, and then mask."
        )
    there = {*_labels_in_tables(data)}
    latest: dict[str, Mapping[str, Any]] = {}
    for state in (*_states(data), own_state or {}):
        there |= {*labels_in_state(state)}
        name, version = str(state.get("pipeline_name")), state.get("_state_version", 0)
        if version >= latest.get(name, {}).get("_state_version", 0):
            latest[name] = state
    # Earlier versions of a state name reloads that have ended since.
    if any(
        INTENT in source for one in latest.values() for source in one.get("sources", {}).values()
    ):
        raise SettingError(
            "mask: a reload of this dataset was interrupted: end it first with np6-source load,"
            " under the policy that it was begun with. Nothing was changed."
        )
    check_key(_contacts(there), after, KEY_ADVICE)
    former = to_rename(there, after.key) if after.masked else set()
    # One after the other: a large table has millions.
    values = chain(given, _values(data)) if needs_values(former) else ()
    labels = new_labels(former, after.key, values)
    counts: dict[str, int] = {}
    for table in data.tables:
        counts |= _filled(data, table, changes)
    return Masking(next(iter(policies), ""), changes, labels, counts)


def copying(pipeline: dlt.Pipeline, data: Dataset, masking: Masking) -> TCopy:
    """How a DuckDB file is written anew under the policy, for ``persons.duckdb_file.rewrite``.

    Args:
        pipeline: The pipeline.
        data: The dataset, which has to be closed before the file is written.
        masking: What to change.
    """
    messages = statements_of_messages(pipeline)
    then = [*messages, *_noted(data, masking, is_rewritten=True)]
    made_anew = [MESSAGES] if messages else []
    return masked_copy(data, _new_values(data, masking), then, made_anew)


def mask_in_place(pipeline: dlt.Pipeline, data: Dataset, masking: Masking) -> None:
    """Changes the rows of a dataset in PostgreSQL, in one transaction.

    Args:
        pipeline: The pipeline.
        data: The dataset, whose lock this process has.
        masking: What to change.
    """
    then = [*statements_of_messages(pipeline), *_noted(data, masking, is_rewritten=False)]
    forget_messages(pipeline)
    with data.client.begin_transaction():
        mask_rows(data, _new_values(data, masking))
        empty_staging(data)
        for statement in then:
            data.execute(statement)


def change_state(pipeline: dlt.Pipeline, masking: Masking) -> None:
    """Brings the pipeline's own state along, once the dataset is masked."""
    with pipeline.managed_state() as state:
        masking.labels.change_state(state, masking.changes.after.recorded)


def _new_values(data: Dataset, masking: Masking) -> TNewValues:
    return new_values(
        {table: data.columns[table.name] for table in data.tables},
        masking.changes,
        masking.labels,
        data.schema.state_table_name,
    )


def not_masked(data: Dataset, changes: Changes) -> list[str]:
    """The columns that still have values which the policy does not leave: there should be none."""
    found = []
    for table in data.tables:
        for column in changes.columns(table):
            policy = changes.after.classes[column.personal] if column.personal != "no" else KEEP
            if policy not in (HMAC, DROP) or not data.has(table, column.name):
                continue
            name = data.column(column.name)
            query = f"SELECT 1 FROM {data.name(table)} WHERE {name} IS NOT NULL"
            if policy == HMAC:
                pattern = {"duckdb": "regexp_full_match({}, %s)", "postgres": "{} ~ %s"}
                matches = pattern[data.dialect].format(name)
                digest = f"^[0-9a-f]{{{DIGITS}}}$"
                rows = data.execute(f"{query} AND {name} <> '' AND NOT {matches} LIMIT 1", digest)
            else:
                rows = data.execute(f"{query} LIMIT 1")
            if rows:
                found.append(f"{table.name}.{column.name}")
    return found


def described(policy: str) -> str:
    """What a policy does to a value, in words."""
    return {HMAC: "digests", DROP: "NULL", TRUNCATE: "shortened"}.get(policy, policy)


def _filled(data: Dataset, table: Table, changes: Changes) -> dict[str, int]:
    names = [column.name for column in changes.columns(table) if data.has(table, column.name)]
    if not names:
        return {}
    counted = ", ".join(f"count({data.column(name)})" for name in names)
    (row,) = data.execute(f"SELECT {counted} FROM {data.name(table)}")
    return {f"{table.name}.{name}": int(n) for name, n in zip(names, row, strict=True) if n}


def _labels_in_tables(data: Dataset) -> Iterator[tuple[str, str]]:
    for table in data.tables:
        if data.has(table, "resource", "scope_id"):
            names = ", ".join(map(data.column, ("resource", "scope_id")))
            query = f"SELECT DISTINCT {names} FROM {data.name(table)}"
            yield from ((str(resource), str(label)) for resource, label in data.execute(query))


def _contacts(labels: Iterable[tuple[str, str]]) -> set[str]:
    return {label for resource, label in labels if resource in OPERATIONS_OF_CONTACTS and label}


def _states(data: Dataset) -> Iterator[Mapping[str, Any]]:
    """All versions of the pipelines' states that the dataset keeps."""
    state = data.column("state")
    table = data.name(data.schema.state_table_name)
    for (text,) in data.execute(f"SELECT DISTINCT {state} FROM {table}"):
        yield state_of(text)


def _values(data: Dataset) -> Iterator[str]:
    """Addresses and hashes that the tables have in clear."""
    for table in data.tables:
        for column in table.columns:
            is_clear = data.privacy.classes.get(column.personal) == KEEP
            is_address = column.personal in ("address", "contact_hash")
            if is_clear and is_address and data.has(table, column.name):
                name = data.column(column.name)
                query = f"SELECT DISTINCT {name} FROM {data.name(table)} WHERE {name} IS NOT NULL"
                yield from (str(value) for (value,) in data.rows(query))


def _noted(data: Dataset, masking: Masking, is_rewritten: bool) -> Sequence[str]:
    """Statements that note what was done; names have two parts."""
    table = MASKINGS.path_in_copy(data.client, data.schema)
    now = datetime.now(timezone.utc).isoformat()
    texts = (
        uuid.uuid4().hex,
        masking.policy_before,
        masking.changes.after.recorded,
        now,
        json.dumps(masking.counts, sort_keys=True),
    )
    values = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    rewritten = f"'{now}'" if is_rewritten else "NULL"
    columns = '"masking_id", "policy_before", "policy", "masked_at", "row_counts", "rewritten_at"'
    return [
        MASKINGS.created(data.client, data.schema, table),
        f"INSERT INTO {table} ({columns}) VALUES ({values}, {rewritten})",
    ]
