"""A body in pieces: each a JSON array, together the body; a wrong cut is always noticed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from np6_source.api import pieces
from np6_source.api.pieces import Piece, PieceWriter, join
from np6_source.events.json_file import UnreadableResponse
from np6_source.events.reader import EventReader, ResponseContents
from np6_source.events.rows import Origin
from np6_source.windows import Window

NAMES = count()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of some hundred bytes, so that short bodies have many."""
    monkeypatch.setattr(pieces, "SMALLEST", 300)
    monkeypatch.setattr(pieces, "LARGEST", 600)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventReader]:
    reader = EventReader(tmp_path_factory.mktemp("spool"))
    yield reader
    reader.close()


def written(folder: Path, body: bytes, chunk: int = 10_000) -> list[Piece]:
    """The pieces of a body that comes in chunks of so many bytes."""
    taken: list[Piece] = []
    writer = PieceWriter(folder, f"body-{next(NAMES)}", taken.append)
    for start in range(0, len(body), chunk):
        writer.write(body[start : start + chunk])
    writer.finish()
    return taken


def joined(folder: Path, taken: list[Piece]) -> bytes:
    whole = folder / f"whole-{next(NAMES)}.json"
    join([piece.file for piece in taken], whole)
    assert not any(piece.file.exists() for piece in taken)
    return whole.read_bytes()


def events(number: int) -> list[dict[str, Any]]:
    return [{"type": "hit", "id": f"e{n}", "timestamp": n, "text": "x" * 40} for n in range(number)]


@pytest.mark.parametrize("chunk", [1, 7, 300, 10_000])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\r\n ,\t", " : ")])
def test_every_piece_is_an_array_and_all_together_are_the_body(
    tmp_path: Path, chunk: int, separators: tuple[str, str]
) -> None:
    body = json.dumps(events(50), separators=separators).encode()
    taken = written(tmp_path, body, chunk)
    # Single bytes never show a place to cut; whoever sends those is slow anyway.
    assert len(taken) == 1 if chunk < 60 else len(taken) > 5
    parsed = [json.loads(piece.file.read_bytes()) for piece in taken]
    assert [event for part in parsed for event in part] == events(50)
    assert json.loads(joined(tmp_path, taken)) == events(50)


def test_pieces_grow_up_to_the_largest(tmp_path: Path) -> None:
    taken = written(tmp_path, json.dumps(events(100)).encode())
    sizes = [piece.file.stat().st_size for piece in taken]
    assert 300 <= sizes[0] < 450
    assert all(600 <= size < 750 for size in sizes[1:-1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>" + b"}, {" * 1000,
        b'{"error": [' + b'{"id": 1}, ' * 1000,
        b"[1, 2, " + b'{"id": 1}, ' * 1000,
        b"[" + b" " * 500 + b'{"id": 1}, ' * 1000,
        b'[{"id\\u0000": 1}, ' + b'{"id\\u0000": 1}, ' * 1000,
    ],
)
def test_what_does_not_begin_like_events_is_one_piece_as_it_came(
    tmp_path: Path, body: bytes
) -> None:
    (piece,) = written(tmp_path, body, chunk=100)
    assert piece.file.read_bytes() == body


@pytest.mark.parametrize("offset", range(8))
def test_nul_escapes_are_noticed_in_the_piece_that_has_them(tmp_path: Path, offset: int) -> None:
    body = json.dumps(events(30)).encode().replace(b"e17", b"e17" + b" " * offset + b"\\u0000")
    for chunk in (1, 3, 60, 64, 1_000):
        taken = written(tmp_path, body, chunk)
        assert [b"\\u0000" in piece.file.read_bytes() for piece in taken] == [
            piece.has_nul for piece in taken
        ]
        assert any(piece.has_nul for piece in taken)


def test_what_is_not_complete_is_removed(tmp_path: Path) -> None:
    writer = PieceWriter(tmp_path, "body", lambda piece: piece.file.unlink())
    writer.write(json.dumps(events(50)).encode())
    writer.discard()
    assert list(tmp_path.iterdir()) == []


TRAPS = st.sampled_from(
    ['}, {"type": ', '"}, {"type":"', '},{"type":"x"}', '[{"type": 1},{"type": 2}]', "]", "\\", "x"]
)
FREE = st.recursive(
    TRAPS | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner | st.fixed_dictionaries({"type": inner}), max_size=4)
        | st.dictionaries(st.sampled_from(["type", "id", "a"]) | TRAPS, inner, max_size=3)
    ),
    max_leaves=8,
)


def is_refused(reader: EventReader, file: Path) -> bool:
    try:
        list(reader.read(file, Origin(Window(0, 2**43), 0), ResponseContents()))
    except UnreadableResponse:
        return True
    return False


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(free=st.lists(FREE, min_size=5, max_size=15), compact=st.booleans())
def test_a_cut_within_an_event_is_refused_and_undone(
    reader: EventReader, tmp_path_factory: Any, free: list[Any], compact: bool
) -> None:
    account = [{**event, "free": value} for event, value in zip(events(15), free, strict=False)]
    body = json.dumps(account, separators=(",", ":") if compact else None).encode()
    folder = tmp_path_factory.getbasetemp()
    taken = written(folder, body)
    try:
        parsed = [json.loads(piece.file.read_bytes()) for piece in taken]
    except ValueError:
        assert any(is_refused(reader, piece.file) for piece in taken)
    else:
        assert [event for part in parsed for event in part] == account
    assert json.loads(joined(folder, taken)) == account


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_broken_body_stays_broken_in_pieces(
    reader: EventReader, tmp_path_factory: Any, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(events(12), separators=(",", ":")).encode())
    places = [match.start() for match in re.finditer(rb"[\[\]{},:\"]", body)]
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([b"", b"]", b"[", b"}", b"{", b",", b",,", b'"', b"]["]))
    body[place : place + 1] = other
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "broken.json"
    whole.write_bytes(body)
    taken = written(folder, bytes(body))
    if is_refused(reader, whole):
        assert any(is_refused(reader, piece.file) for piece in taken)


class TestByContent:
    """The same events come in the same pieces, wherever the body begins."""

    @staticmethod
    def digests(folder: Path, events: list[dict[str, Any]], chunk: int) -> list[str]:
        taken: list[Piece] = []
        writer = PieceWriter(folder, f"content-{next(NAMES)}", taken.append, by_content=True)
        text = json.dumps(events, separators=(",", ":")).encode()
        for start in range(0, len(text), chunk):
            writer.write(text[start : start + chunk])
        writer.finish()
        read = [event for piece in taken for event in json.loads(piece.file.read_bytes())]
        assert read == events
        return [piece.digest for piece in taken]

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pieces, "LARGEST", 100_000)
        monkeypatch.setattr(pieces, "SMALLEST_BY_CONTENT", 400)
        monkeypatch.setattr(pieces, "EVENTS_BY_CONTENT", 8)

    @pytest.mark.parametrize("chunk", [5_000, 100_000])
    def test_nearly_all_pieces_of_a_later_body_are_those_of_an_earlier(
        self, tmp_path: Path, chunk: int
    ) -> None:
        events = [{"type": "hit", "id": f"{n:08x}", "text": "x" * 250} for n in range(2_000)]
        first = self.digests(tmp_path, events[:1_500], chunk)
        second = self.digests(tmp_path, events[333:], chunk)
        shared = set(first) & set(second)
        assert len(first) > 60
        assert len(shared) > 0.6 * (1_500 - 333) / 1_500 * len(first)

    def test_one_changed_event_changes_its_own_piece(self, tmp_path: Path) -> None:
        events = [{"type": "hit", "id": f"{n:08x}", "text": "x" * 250} for n in range(1_000)]
        first = self.digests(tmp_path, events, 100_000)
        events[500] = events[500] | {"text": "y" * 250}
        second = self.digests(tmp_path, events, 100_000)
        assert 1 <= len(set(first) - set(second)) <= 3

    def test_other_bodies_have_no_digests(self, tmp_path: Path) -> None:
        taken: list[Piece] = []
        writer = PieceWriter(tmp_path, "plain", taken.append)
        writer.write(b"[]")
        writer.finish()
        assert [piece.digest for piece in taken] == [""]
