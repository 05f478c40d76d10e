"""What is proven has nothing left: over events, spacings and cuts that nobody chose."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from np6_source.events import proof
from np6_source.events.drift import leftover
from np6_source.events.reader import EventReader, proven_columns
from tests.events.support import SAMPLES
from tests.events.test_drift import LITERALS
from tests.events.test_nothing_is_lost import KEYS, mutated
from tests.events.test_proof import batch

SEPARATORS = st.sampled_from(
    [
        (",", ":"),
        (", ", ": "),
        (",", ": "),
        ("\n,\t", ":"),
        (" ,", " :"),
        (",", ":\t"),
        (",", ":  "),
    ]
)
"""What is written between two members, and between a key and its value."""

INSERTED = st.tuples(KEYS, st.sampled_from(LITERALS))
"""A further member of an object, as text: its key may be there already."""


@st.composite
def written(draw: st.DrawFn) -> str:
    """The JSON of an event: most are samples, the others have changes in values or in the text."""
    kind = draw(st.sampled_from(["sample", "sample", "mutated", "joined", "joined", "inserted"]))
    if kind == "mutated":
        payload: dict[str, Any] = draw(mutated())
    else:
        payload = SAMPLES[draw(st.sampled_from(sorted(SAMPLES)))]
    if kind == "joined":
        other = SAMPLES[draw(st.sampled_from(sorted(SAMPLES)))]
        payload = copy.deepcopy(payload)
        payload["source"]["detail"] |= other["source"]["detail"]
    separators = draw(SEPARATORS)
    ascii_only = draw(st.booleans())
    text = json.dumps(payload, separators=separators, ensure_ascii=ascii_only)
    if kind == "inserted":
        key, literal = draw(INSERTED)
        places = [place for place, mark in enumerate(text) if mark == "{"]
        place = draw(st.sampled_from(places)) + 1
        member = f"{json.dumps(key)}{separators[1]}{literal}{separators[0]}"
        text = text[:place] + member + text[place:]
    return text


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventReader]:
    reader = EventReader(tmp_path_factory.mktemp("spool"))
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proof")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    texts=st.lists(written(), min_size=1, max_size=4),
    cuts=st.sets(st.integers(1, 3), max_size=3),
    at_once=st.sampled_from([13, 1_024 * 1_024]),
)
def test_what_is_proven_has_nothing_left(
    reader: EventReader, folder: Path, texts: list[str], cuts: set[int], at_once: int
) -> None:
    is_clean = [not (rest.unmapped or rest.rejected) for rest in map(leftover, texts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_AT_ONCE", at_once)
        events = batch(f"[{','.join(texts)}]", folder)

        ends = sorted({0, len(texts), *(cut for cut in cuts if cut < len(texts))})
        for start, end in pairwise(ends):
            if proven_columns(events.slice(start, end - start)) is not None:
                event("proven part")
                assert all(is_clean[start:end])

        if reader._all_known(folder / "answer.json") is not None:
            event("proven file")
            assert all(is_clean)
