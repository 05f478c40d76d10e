from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source.events.contract import CONTAINERS, LATEST_MS, LEAVES
from np6_source.events.drift import leftover
from np6_source.events.queries import RAW, SHAPE, select_events, select_examined

FULL: dict[str, Any] = {
    "type": "hit",
    "id": "1",
    "timestamp": 1_623_673_176_622,
    "identity": {"type": "customer", "agency": "DEMO", "customer": "028"},
    "source": {
        "type": "email",
        "detail": {
            "activation": {
                "id": "000PE4",
                "version": "v",
                "kind": "message",
                "receiver": {"type": "footprint", "id": "i", "unicity": "u", "hash": "h"},
                "recipient": "example@np6.com",
                "stamp": {"time": 1_614_089_576_625, "id": "s", "thread": "t", "set": "g"},
            },
            "link": {
                "type": "form",
                "label": "start",
                "source": "html",
                "value": "0000F1",
                "destination": "https://www.np6.fr",
            },
            "client": {
                "type": "web",
                "ip": {"type": "v4", "value": "10.1.1.1"},
                "ua": {
                    "type": "parsed",
                    "ua": "Mozilla/5.0",
                    "client": {"type": "b", "name": "n", "version": "1", "vendor": "v"},
                    "os": {"name": "n", "family": "f", "vendor": "v"},
                    "device": {"type": "t", "name": "n", "brand": "b"},
                },
            },
        },
    },
}
"""A hit with every field that a hit is known to have."""

LITERALS = [
    "null", "true", "false", "0", "1", "-1", "-0", str(LATEST_MS), str(LATEST_MS + 1),
    "-62135596800000", "-62135596800001", str(2**63 - 1), str(2**63), str(2**64 - 1), str(2**64),
    str(-(2**63)), str(-(2**63) - 1), str(10**30), "1.5", "1.0", "1e5", "1e400",
    '""', '"text"', '"customer"', '"contact"', '"footprint"', '"id"', '"hash"', '"5"', '"{}"',
    "{}", "[]", "[1]", '{"new":1}', '{"new":null}', '{"type":"footprint"}', '{"type":"device"}',
    '{"id":"i"}', '{"id":1.5}', '{"id":{}}', '{"id":"i","id":"j"}', '{"type":"id","value":"x"}',
    '{"type":"contact","value":{"type":"footprint","id":"i"}}',
    '{"type":"contact","value":{"type":"device","id":"i"}}',
    '{"type":"contact","value":{"id":{}}}', '{"type":"contact","value":[]}',
    '{"type":"contact","value":"x"}', '{"time":1}', '{"time":"1"}', '{"a":1,"a":2}', '{"":1}',
]  # fmt: skip
"""What may stand at any known path."""


def changed(path: str, literal: str) -> str:
    """The full event, as JSON text, with another value at a path."""
    payload = json.loads(json.dumps(FULL))
    node = payload
    *parents, key = path.split(".")
    for parent in parents:
        if not isinstance(node.get(parent), dict):
            node[parent] = {}
        node = node[parent]
    node[key] = "@"
    return json.dumps(payload).replace('"@"', literal)


def examined(
    texts: list[str], folder: Path, column: str = SHAPE, clean: tuple[int, ...] = ()
) -> list[Any]:
    """A column of the examined events."""
    file = folder / "answer.json"
    file.write_text(f"[{','.join(texts)}]")
    events = f"({select_events(str(file), 1024 * 1024)})"
    with duckdb.connect() as connection:
        query = f"SELECT {column} FROM ({select_examined(events, clean)})"
        return [value for (value,) in connection.sql(query).fetchall()]


def shapes(texts: list[str], folder: Path) -> list[int]:
    """The shape of each event."""
    return examined(texts, folder)


def test_events_of_one_shape_are_clean_together_or_not_at_all(tmp_path: Path) -> None:
    texts = [changed(path, literal) for path in (*LEAVES, *CONTAINERS) for literal in LITERALS]
    by_shape: dict[int, list[str]] = defaultdict(list)
    for text, shape in zip(texts, shapes(texts, tmp_path), strict=True):
        by_shape[shape].append(text)

    mixed = {}
    for shape, alike in by_shape.items():
        found = [leftover(text) for text in alike]
        if len({rest.unmapped is None and not rest.rejected for rest in found}) > 1:
            mixed[shape] = sorted({path for rest in found for path in rest.paths})

    assert mixed == {}


def test_events_that_differ_in_values_only_have_one_shape(tmp_path: Path) -> None:
    texts = [
        changed("source.detail.link.label", '"one"'),
        changed("source.detail.link.label", '"another"'),
        changed("timestamp", "1"),
        changed("source.detail.activation.stamp.time", str(LATEST_MS)),
        json.dumps(FULL, indent=2),
    ]

    assert len(set(shapes(texts, tmp_path))) == 1


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("surprise", "1", "null"),
        ("source.type", '"a"', "1.5"),
        ("source.type", '"a"', "{}"),
        ("source.detail.activation.stamp.time", "1", str(LATEST_MS + 1)),
        ("source.detail.activation.receiver.type", '"contact"', '"id"'),
        ("identity.type", '"customer"', '"partner"'),
        ("source.detail.execution.data", '{"a":1,"b":1}', '{"a":1,"a":1}'),
        ("source.detail.client.ip", "null", '"10.1.1.1"'),
        ("source.detail.client.ip", "{}", "[]"),
    ],
)
def test_what_decides_what_is_known_decides_the_shape(
    tmp_path: Path, path: str, one: str, other: str
) -> None:
    texts = [changed(path, one), changed(path, other)]
    if path == "surprise":
        texts[1] = json.dumps(FULL)

    first, second = shapes(texts, tmp_path)

    assert first != second


def test_events_of_a_clean_shape_come_without_their_text(tmp_path: Path) -> None:
    texts = [json.dumps(FULL), changed("surprise", "1")]
    clean, _ = shapes(texts, tmp_path)
    first, second = examined(texts, tmp_path, RAW, (clean,))

    assert first is None
    assert json.loads(second) == json.loads(texts[1])


class TestLeftover:
    def test_nothing_is_left_of_a_known_event(self) -> None:
        rest = leftover(json.dumps(FULL))

        assert (rest.unmapped, rest.paths, rest.rejected) == (None, (), frozenset())

    def test_paths_name_keys_and_no_values(self) -> None:
        payload = json.dumps(FULL | {"surprise": {"secret": "value"}, "other": [1]})

        assert leftover(payload).paths == ("surprise", "other")

    def test_a_path_stops_at_the_first_unknown_key(self) -> None:
        text = changed("source.detail.link.tracking", '{"a":{"b":1}}')

        assert leftover(text).paths == ("source.detail.link.tracking",)

    @pytest.mark.parametrize("literal", ["{}", "[]", '{"a":1}'])
    def test_a_column_that_cannot_take_its_value_is_named(self, literal: str) -> None:
        rest = leftover(changed("source.detail.link.label", literal))

        assert [column.name for column in rest.rejected] == ["link_label"]

    @pytest.mark.parametrize("literal", ["true", str(LATEST_MS + 1), "{}"])
    def test_a_date_that_no_column_takes_is_named(self, literal: str) -> None:
        rest = leftover(changed("source.detail.activation.stamp.time", literal))

        assert [column.name for column in rest.rejected] == ["message_stamped_at"]

    @pytest.mark.parametrize("text", ["5", "null", '"text"', "[1]"])
    def test_what_is_no_event_is_left_whole(self, text: str) -> None:
        assert json.loads(leftover(text).unmapped or "") == {"value": json.loads(text)}

    @pytest.mark.parametrize("levels", [100, 5_000, 50_000])
    def test_deep_nesting_is_kept(self, levels: int) -> None:
        deep = "[" * levels + "]" * levels

        rest = leftover(changed("surprise", deep))

        assert deep in (rest.unmapped or "")

    @pytest.mark.parametrize("path", [leaf for leaf in LEAVES if "execution" not in leaf])
    def test_every_known_field_is_either_held_or_left(self, path: str) -> None:
        assert leftover(changed(path, '{"new":[1]}')).unmapped is not None
