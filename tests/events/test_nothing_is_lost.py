"""Every value of any event is in its column, or in ``unmapped``."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from np6_source.events.reader import EventReader
from np6_source.schema import EVENT_TABLES, EXPECTED_VALUES
from tests.events.support import (
    BIG,
    SAMPLES,
    Rows,
    event,
    rows_of,
    sorted_rows,
    utc,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KEYS = (
    st.sampled_from(
        [
            "", "a.b", "$", '"', "'", "type", "id", "value", "data", "source", "detail", "ip",
            "activation", "execution", "receiver", "recipient", "stamp", "time", "identity",
            "source.type", "source.detail", "identity.agency", "source.detail.link", "type~2",
            "timestamp ", "hash", "unicity", "link", "client", "ua", "set", "version",
        ]
    )
    | TEXTS
)  # fmt: skip
SCALARS = (
    st.sampled_from(
        [
            None, True, False, 0, -1, 1614089576625, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
            -(2**63) - 1, BIG, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_001,
            1.5, -0.0, 1e300, 5e-324, "", "null", "{}", "1", "true", "contact", "footprint", "id",
            "unicity", "hash", "customer",
        ]
    )
    | TEXTS
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OPERATIONS = st.sampled_from(["replace", "replace", "add", "add", "remove", "look-alike"])


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything below a value."""
    items = value.items() if isinstance(value, dict) else ()
    for key, below in items:
        yield (*path, key)
        yield from nodes(below, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A sample after some changes anywhere but in its id and timestamp."""
    payload: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(list(SAMPLES.values()))))
    for _ in range(draw(st.integers(0, 4))):
        paths = [path for path in nodes(payload) if path not in {("id",), ("timestamp",)}]
        operation = draw(OPERATIONS)
        path = draw(st.sampled_from(paths)) if paths else ()
        if operation == "add" or not path:
            target = at(payload, path)
            node = target if isinstance(target, dict) else payload
            key = draw(KEYS)
            if node is not payload or key not in ("id", "timestamp"):
                node[key] = draw(VALUES)
        elif operation == "remove":
            del at(payload, path[:-1])[path[-1]]
        elif operation == "look-alike":
            payload[".".join(path)] = copy.deepcopy(at(payload, path))
        else:
            at(payload, path[:-1])[path[-1]] = draw(VALUES)
    return payload


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no object, and every empty object, with its path."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, value


COLUMNS_AT: dict[tuple[str, ...], list[tuple[str, str, tuple[str, str] | None]]] = {}
for _table in EVENT_TABLES:
    for _column in _table.columns:
        for _path in _column.paths:
            COLUMNS_AT.setdefault(tuple(_path.path.split(".")), []).append(
                (_table.name, _column.name, _path.when)
            )
KNOWN_PATHS = {path[:depth] for path in COLUMNS_AT for depth in range(1, len(path) + 1)}
KNOWN_PATHS |= {tuple(path.path.split(".")) for path, _ in EXPECTED_VALUES}
KNOWN_PATHS |= {("source", "detail", "execution", "data")}
DATA = ("source", "detail", "execution", "data")
KNOWN_OBJECTS = {path[:-1] for path in KNOWN_PATHS}


def same(kept: Any, value: Any) -> bool:
    """Whether a value was kept; numbers may have become text."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(kept) is type(value) and kept == value
    if isinstance(value, (int, float)):
        if isinstance(kept, bool) or not isinstance(kept, (int, float, str)):
            return False
        return Decimal(str(kept)) == Decimal(repr(value))
    if isinstance(value, list):
        return isinstance(kept, list) and len(kept) == len(value) and all(map(same, kept, value))
    return (
        isinstance(kept, dict)
        and kept.keys() == value.keys()
        and all(same(kept[key], value[key]) for key in value)
    )


def found_at(value: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def is_in_a_column(payload: Any, rows: Rows, path: tuple[str, ...], value: Any) -> bool:
    for table, column, when in COLUMNS_AT.get(path, []):
        if when is not None and found_at(payload, tuple(when[0].split("."))) != (True, when[1]):
            continue
        for row in rows.get(table, []):
            held = row[column]
            if isinstance(value, list) and held and value:
                is_held = held in (
                    *value[:1],
                    json.dumps(value, ensure_ascii=False, separators=(",", ":")),
                )
            elif isinstance(value, bool):
                is_held = held == str(value).lower()
            elif isinstance(value, int) and isinstance(held, datetime):
                is_held = held == utc(value) if abs(value) < 10**15 else False
            else:
                is_held = isinstance(value, (str, int)) and held == str(value)
            if is_held:
                return True
    return False


def is_in_the_data(rows: Rows, path: tuple[str, ...], value: Any) -> bool:
    below = path[len(DATA) :]
    if path[: len(DATA)] != DATA:
        return False
    if not below:
        return value == {}
    for row in rows.get("events__execution_data", []):
        if row["key"] != below[0]:
            continue
        if row["value_type"] in ("object", "array"):
            is_there, kept = found_at(json.loads(row["value"]), below[1:])
            return is_there and same(kept, value)
        if row["value_type"] == "null":
            return value is None and row["value"] is None
        if row["value_type"] in ("integer", "number"):
            return not isinstance(value, str) and same(row["value"], value)
        return same(row["value"], str(value).lower() if isinstance(value, bool) else value)
    return False


def missing(payload: dict[str, Any], rows: Rows) -> list[tuple[tuple[str, ...], Any]]:
    """Values of an event that are in none of its rows."""
    unmapped = json.loads(rows["events"][0]["unmapped"] or "{}")
    lost = []
    for path, value in leaves(payload):
        says_nothing = path in KNOWN_PATHS and (
            value is None or (value == {} and path in KNOWN_OBJECTS)
        )
        is_constant = any(
            path == tuple(known.path.split("."))
            and value in constants
            and (
                known.when is None
                or found_at(payload, tuple(known.when[0].split("."))) == (True, known.when[1])
            )
            for known, constants in EXPECTED_VALUES
        )
        is_there, kept = found_at(unmapped, path)
        if not (
            says_nothing
            or is_constant
            or (is_there and same(kept, value))
            or is_in_a_column(payload, rows, path, value)
            or is_in_the_data(rows, path, value)
        ):
            lost.append((path, value))
    return lost


def rows_by_event(rows: Rows) -> dict[str, Rows]:
    result: dict[str, Rows] = {}
    for name, table in rows.items():
        for row in table:
            event_id = row["id" if name == "events" else "event_id"]
            result.setdefault(event_id, {}).setdefault(name, []).append(row)
    return result


@pytest.fixture(scope="module")
def read(experienced: EventReader, spool: Path) -> Callable[[list[Any]], Rows]:
    return lambda payload: rows_of(experienced, spool, payload)


class TestNothingIsLost:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(payload=st.lists(mutated(), min_size=1, max_size=10))
    def test_every_value_is_in_its_column_or_unmapped(
        self, read: Callable[[list[Any]], Rows], payload: list[dict[str, Any]]
    ) -> None:
        for number, one in enumerate(payload):
            one["id"] = str(number)

        found = rows_by_event(read(payload))

        assert {one["id"]: missing(one, found[one["id"]]) for one in payload} == {
            one["id"]: [] for one in payload
        }

    @settings(
        max_examples=6,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(payload=st.lists(mutated(), min_size=1, max_size=5))
    @example(
        payload=[
            event(source__detail__client__ip=None),
            event(source__detail__client__ip="10.1.1.1"),
        ]
    )
    @example(
        payload=[
            event(source__detail__activation__id=1),
            event(source__detail__activation__id=2**64 - 1),
        ]
    )
    def test_what_a_reader_has_seen_before_changes_nothing(
        self, spool: Path, read: Callable[[list[Any]], Rows], payload: list[dict[str, Any]]
    ) -> None:
        for number, one in enumerate(payload):
            one["id"] = str(number)
        fresh = EventReader(spool)
        try:
            alone: Rows = {}
            for one in reversed(payload):
                new = EventReader(spool)
                for name, table in rows_of(new, spool, [one]).items():
                    alone.setdefault(name, []).extend(table)
                new.close()
            together = rows_of(fresh, spool, payload)
            again = rows_of(fresh, spool, payload[::-1])
        finally:
            fresh.close()

        expected = sorted_rows(alone)
        assert sorted_rows(together) == expected
        assert sorted_rows(again) == expected
        assert sorted_rows(read(payload)) == expected

    def test_the_check_itself_sees_what_is_lost(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event("execution", surprise={"a": [1, {}]})
        rows = rows_of(experienced, spool, [payload])
        assert missing(payload, rows) == []
        changed = copy.deepcopy(payload)
        changed["surprise"]["a"][0] = True
        changed["identity"]["agency"] = "OTHER"
        changed["source"]["detail"]["execution"]["data"]["foo"] = 3
        changed["new"] = None

        assert [path for path, _ in missing(changed, rows)] == [
            ("identity", "agency"),
            ("source", "detail", "execution", "data", "foo"),
            ("surprise", "a"),
            ("new",),
        ]
