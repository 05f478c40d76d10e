from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.extract.progress import Place, scope_label

PLACES = st.builds(
    Place,
    start=st.integers(0, 2**53),
    until=st.integers(0, 2**53),
    read_at=st.integers(0, 2**53),
    tail=st.dictionaries(st.integers(0, 2**40), st.integers(1, 10**9), max_size=5),
    bucket=st.integers(0, 10**9),
)


@given(PLACES)
def test_a_place_survives_the_state_that_dlt_stores_as_json(place: Place) -> None:
    assert Place.from_state(json.loads(json.dumps(place.to_state()))) == place


def test_a_place_without_counts_is_read() -> None:
    assert Place.from_state({"start": 1, "until": 2}) == Place(1, 2)


@pytest.mark.parametrize("scope_id", ["", "000PE4", "156"])
def test_a_plain_id_is_its_own_label(scope_id: str) -> None:
    assert scope_label(scope_id, is_personal=False) == scope_id


def test_the_label_of_an_address_is_a_digest() -> None:
    label = scope_label("example@np6.com", is_personal=True)

    assert label == "sha256:" + label.removeprefix("sha256:")
    assert "example" not in label
    assert len(label) == len("sha256:") + 16


def test_the_label_of_an_address_is_always_the_same() -> None:
    assert scope_label("example@np6.com", is_personal=True) == "sha256:274f69369e87fca0"


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_different_ids_have_different_labels(scope_ids: list[str]) -> None:
    labels = {scope_label(scope_id, is_personal=True) for scope_id in scope_ids}

    assert len(labels) == len(scope_ids)
