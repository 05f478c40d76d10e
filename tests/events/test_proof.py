from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from np6_source.events import proof
from np6_source.events.contract import CONTAINERS, LATEST_MS, LEAVES
from np6_source.events.drift import leftover
from np6_source.events.proof import Counts, counts_in_file
from np6_source.events.queries import DATA, select_events
from np6_source.events.reader import proven_columns
from tests.events.support import SAMPLES
from tests.events.test_drift import FULL, LITERALS, changed


def batch(text: str, folder: Path) -> pa.RecordBatch:
    """An answer's events, as they come from its file."""
    file = folder / "answer.json"
    file.write_text(text, "utf-8")
    with duckdb.connect() as connection:
        table = connection.sql(select_events(str(file), 16 * 1024 * 1024)).to_arrow_table()
    (found,) = table.combine_chunks().to_batches()
    return found


def is_proven(text: str, folder: Path) -> bool:
    return proven_columns(batch(text, folder)) is not None


def hit(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "timestamp": 1, "type": "hit", **fields}


WRITTEN = {
    "compact": {"separators": (",", ":")},
    "spaced": {},
    "indented": {"indent": 2},
}


@pytest.mark.parametrize("style", WRITTEN.values(), ids=WRITTEN.keys())
def test_documented_samples_are_proven_to_be_known_however_they_are_written(
    tmp_path: Path, style: dict[str, Any]
) -> None:
    assert is_proven(json.dumps(list(SAMPLES.values()), **style), tmp_path)


def test_what_is_proven_has_nothing_left(tmp_path: Path) -> None:
    texts = [
        changed(path, literal)
        for path in (*LEAVES, *CONTAINERS, "surprise", "source.surprise")
        for literal in LITERALS
    ]
    events = batch(f"[{','.join(texts)}]", tmp_path)
    proven = [
        text
        for number, text in enumerate(texts)
        if proven_columns(events.slice(number, 1)) is not None
    ]

    found = {text: leftover(text) for text in proven}

    assert len(proven) > len(LEAVES)
    assert [text for text, rest in found.items() if rest.unmapped or rest.rejected] == []


def test_two_events_never_make_up_for_each_other(tmp_path: Path) -> None:
    odd = [
        changed(path, literal)
        for path in ("id", "source.type", "timestamp", "source.detail.activation.receiver.value",
                     "source.detail.execution.data", "source.detail", "surprise")
        for literal in LITERALS
    ]  # fmt: skip
    events = batch(f"[{','.join(odd)}]", tmp_path)
    alone = [proven_columns(events.slice(number, 1)) is not None for number in range(len(odd))]
    odd_ones = [number for number, is_fine in enumerate(alone) if not is_fine]

    together = {
        (one, other)
        for one in odd_ones
        for other in odd_ones[:: len(odd_ones) // 40]
        if proven_columns(
            pa.Table.from_batches([events.slice(one, 1), events.slice(other, 1)])
            .combine_chunks()
            .to_batches()[0]
        )
        is not None
    }

    assert len(odd_ones) > 200
    assert together == set()


@pytest.mark.parametrize(
    "fields",
    [
        {"surprise": "x"},
        {"surprise": None},
        {"surprise": []},
        {"type": 5},
        {"type": None},
        {"type": ["a", "b"]},
        {"type": {}},
        {"timestamp": "1"},
        {"timestamp": 1.5},
        {"timestamp": LATEST_MS + 1},
        {"timestamp": "1", "type": 5},
        {"identity": {"type": "partner"}},
        {"identity": []},
        {"identity": {}},
        {"source": {"detail": []}},
        {"source": {"detail": {"activation": {"id": "a"}, "execution": {"id": "b"}}}},
        {"source": {"detail": {"execution": {"data": []}}}},
        {"source": {"detail": {"execution": {"data": {"a": ["b"]}}}}},
        {"source": {"detail": {"activation": {"receiver": {"type": "device", "value": "x"}}}}},
        {"source": {"detail": {"activation": {"receiver": {"type": "id", "value": 5}}}}},
        {"source": {"detail": {"execution": {"recipient": {"id": "", "type": "id", "value": ""}}}}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_is_odd_in_one_event_of_many_leaves_all_unproven(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    known = [hit(id=str(number)) for number in range(20)]

    assert is_proven(json.dumps(known), tmp_path)
    assert not is_proven(json.dumps([*known, hit(**fields)]), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '[{"id":"1","timestamp":1,"type":"a","type":"b"}]',
        '[{"id":"1","timestamp":1,"type" :"a"}]',
        '[{"id":"1","timestamp":1,"type":\t"a"}]',
        '[{"id":"1","timestamp":1,"type":"a\\\\"}]',
        '[{"id":"1","timestamp":1,"source":{"detail":{"execution":{"data":{"a":1,"a":2}}}}}]',
    ],
    ids=["repeated key", "space before", "tab behind", "escaped backslash", "repeated data"],
)
def test_what_counting_cannot_tell_is_left_unproven(tmp_path: Path, text: str) -> None:
    assert not is_proven(text, tmp_path)


@pytest.mark.parametrize(
    "value",
    ['"', '":', '": ', '":"', '"type":"b"', '{"a":1}', "\t", "é", "\u2028", "a?b", "[1]", "5", ""],
)  # fmt: skip
@pytest.mark.parametrize("ascii_only", [True, False])
def test_any_text_without_a_backslash_is_proven_and_stays(
    tmp_path: Path, value: str, ascii_only: bool
) -> None:
    data = {"source": {"detail": {"execution": {"data": {value: value, "b": 1}}}}}
    text = json.dumps([hit(type=value), hit(**data)], ensure_ascii=ascii_only)

    wide = proven_columns(batch(text, tmp_path))

    assert wide is not None
    assert value in [column[0].as_py() for column in wide.columns]
    assert json.loads(wide[DATA][1].as_py()) == {value: value, "b": 1}


def test_a_part_of_a_batch_is_counted_by_itself(tmp_path: Path) -> None:
    events = batch(json.dumps([FULL, hit(surprise=1), FULL, hit(), hit(surprise=2)]), tmp_path)

    proven = [proven_columns(events.slice(number, 1)) is not None for number in range(len(events))]

    assert proven == [True, False, True, True, False]
    assert proven_columns(events.slice(2, 2)) is not None


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 64, 4096])
def test_counts_do_not_depend_on_the_parts_a_file_is_counted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    payload = [*SAMPLES.values(), hit(type='a":"b', other='"'), hit(type='": "')]
    file = tmp_path / "answer.json"

    for style in WRITTEN.values():
        text = json.dumps(payload, **style)
        file.write_text(text)
        bare = text.replace('\\"', "..")
        expected = Counts(
            keys=bare.count('":'),
            texts=bare.count('":"') + bare.count('": "'),
            quotes=bare.count('"'),
        )

        monkeypatch.setattr(proof, "_AT_ONCE", at_once)
        assert counts_in_file(file) == expected
        monkeypatch.undo()


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_an_escaped_backslash_is_seen_wherever_a_part_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(proof, "_AT_ONCE", at_once)
    file = tmp_path / "answer.json"

    for shift in range(8):
        file.write_text(json.dumps([hit(type="x" * shift + "\\")]))

        assert counts_in_file(file) is None
