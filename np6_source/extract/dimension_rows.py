"""An element of a response of ``dimensions`` becomes rows. Pure: JSON in, plain rows out.

What has no column, or does not fit it, goes to ``unmapped``; what may be a secret goes nowhere.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pendulum

from ..dimensions import (
    AS_JSON,
    KEY,
    SECRET,
    SECRET_VALUE,
    SECRET_WORDS,
    Children,
    Dimension,
)
from ..schema import Column, Path

TRow = dict[str, Any]

_SECRET_VALUE = re.compile(SECRET_VALUE)
_WORD = re.compile("[A-Z]?[a-z0-9]+|[A-Z0-9]+")

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class NoRow(ValueError):
    """An element that lacks a value its row needs; the message says which."""


def rows_of(
    element: Any, dimension: Dimension, account: str, requested_at: datetime
) -> Iterator[tuple[str, TRow]]:
    """The rows of one element, its own and those of its children.

    Args:
        element: The element as Python's ``json`` reads it.
        dimension: The operation that returned it.
        account: The account it is from.
        requested_at: When the response was requested, UTC.

    Yields:
        Names of tables and rows, the element's own first.

    Raises:
        NoRow: It is no object, or lacks what identifies it.
    """
    if not isinstance(element, dict):
        raise NoRow("an element is not an object")
    left = copy.deepcopy(element)
    given = {"account": account, "requested_at": requested_at, **dict(dimension.constants)}
    own = _row(dimension.table.columns, element, None, left, given)
    missing = [c.name for c in dimension.table.columns if not c.nullable and own[c.name] is None]
    if missing:
        raise NoRow(f"an element has no {' and no '.join(missing)} that can be used")
    children = [
        (part.table.name, row)
        for part in dimension.children
        for row in _child_rows(part, element, left, own["id"], given)
    ]
    for path in dimension.without:
        _take(left, path)
    own["unmapped"] = _text_of(_without_secrets(left))
    yield dimension.table.name, own
    yield from children


def _row(
    columns: tuple[Column, ...], element: Any, key: str | None, left: Any, given: Mapping[str, Any]
) -> TRow:
    """The values of an element's columns; what was used is taken out of ``left``."""
    row: TRow = {}
    for column in columns:
        row[column.name] = given.get(column.name)
        for path in column.paths:
            value = _value(column, path, element, key)
            if value is not None:
                row[column.name] = value
                _take(left, path.path)
                break
    return row


def _value(column: Column, path: Path, element: Any, key: str | None) -> Any:
    if path.when is not None and _at(element, path.when[0]) != path.when[1]:
        return None
    if path.path == KEY:
        return key
    if path.path == AS_JSON:
        return _json(element)
    return converted(_at(element, path.path), column)


def converted(value: Any, column: Column) -> Any:
    """A JSON value in its column's type; None where it does not fit."""
    if value is None or isinstance(value, (dict, list)):
        return None
    if column.data_type == "text":
        return value if isinstance(value, str) else _json(value)
    if column.data_type == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if column.data_type == "timestamp":
        return _moment(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d{0,18}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _moment(value: str | float) -> datetime | None:
    """A UTC moment from ISO text (without offset: UTC) or milliseconds since the epoch."""
    try:
        if isinstance(value, (int, float)):
            return EPOCH + timedelta(milliseconds=value)
        parsed = pendulum.parser.parse(value.strip(), tz="UTC")
        if not isinstance(parsed, pendulum.DateTime):
            return None
        return parsed.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _child_rows(
    part: Children, element: dict[str, Any], left: dict[str, Any], parent: Any, given: TRow
) -> Iterator[TRow]:
    found = _at(element, part.path)
    rest = _at(left, part.path)
    if isinstance(found, dict):
        items: list[tuple[str | None, Any]] = list(found.items())
    elif isinstance(found, list):
        items = [(None, item) for item in found]
    else:
        return
    kept: list[Any] = []
    given = given | {part.parent_column: parent, **dict(part.constants)}
    for number, (key, item) in enumerate(items):
        item_left = rest[number if key is None else key]
        row = _row(part.table.columns, item, key, item_left, given)
        if any(row[column.name] is None for column in part.table.columns if not column.nullable):
            kept.append(item if key is None else {key: item})
            continue
        whole = any(path.path == AS_JSON for c in part.table.columns for path in c.paths)
        if isinstance(item_left, dict) and item_left and not whole:
            kept.append(item_left)
        yield row
    _take(left, part.path)
    if kept:
        _put(left, part.path, kept)


def _at(value: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _take(value: Any, path: str) -> None:
    *parents, last = path.split(".")
    owner = _at(value, ".".join(parents))
    if isinstance(owner, dict):
        owner.pop(last, None)


def _put(value: dict[str, Any], path: str, new: Any) -> None:
    *parents, last = path.split(".")
    _at(value, ".".join(parents))[last] = new


def _without_secrets(value: Any) -> Any:
    """What is left of a value without secrets and without what is empty; None: nothing."""
    if isinstance(value, dict):
        kept = {
            name: rest
            for name, part in value.items()
            if not is_secret(name) and (rest := _without_secrets(part)) is not None
        }
        return kept or None
    if isinstance(value, list):
        return [rest for part in value if (rest := _without_secrets(part)) is not None] or None
    if isinstance(value, str) and _SECRET_VALUE.search(value):
        return None
    return value


def is_secret(name: str) -> bool:
    """Whether a field may be a secret, by its name.

    >>> is_secret("apiKey"), is_secret("smtpPass"), is_secret("author"), is_secret("bypass")
    (True, True, False, False)
    """
    plain = re.sub(r"[^0-9a-z]", "", name.lower())
    words = {word.lower() for word in _WORD.findall(name)}
    return any(part in plain for part in SECRET) or not words.isdisjoint(SECRET_WORDS)


def _text_of(value: Any) -> str | None:
    return None if value is None else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
