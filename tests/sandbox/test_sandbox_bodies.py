"""The bytes of answers: Arrow's text goes to the socket as it is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.sandbox.bodies import TPiece, cut_at, json_array, text_of

TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]


def joined(pieces: list[TPiece]) -> bytes:
    return b"".join(map(bytes, pieces))


@pytest.mark.parametrize("arrow_type", TYPES, ids=str)
def test_sliced_arrays_give_their_own_values_only(arrow_type: pa.DataType) -> None:
    array = pa.array([",é", ",b", ",c", ",d"], pa.string()).cast(arrow_type)
    assert bytes(text_of(array)) == ",é,b,c,d".encode()
    assert bytes(text_of(array.slice(1, 2))) == b",b,c"
    assert bytes(text_of(array.slice(4))) == b""


@given(st.lists(st.lists(st.sampled_from(["1", '{"é":2}', '"x"']), min_size=1)))
def test_batches_become_one_array(batches: list[list[str]]) -> None:
    arrays = [pa.array(["," + value for value in batch]) for batch in batches]
    expected = "[" + ",".join(value for batch in batches for value in batch) + "]"
    assert joined(list(json_array(arrays))) == expected.encode()


@given(st.lists(st.binary()), st.integers(0, 50))
def test_cutting_keeps_exactly_so_many_bytes(pieces: list[bytes], size: int) -> None:
    assert joined(list(cut_at(pieces, size))) == b"".join(pieces)[:size]
