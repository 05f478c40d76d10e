"""The bytes of a response, as generators that never hold more than a batch.

They run in threads; nothing here waits for a client.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from .faults import Fault

TPiece = bytes | memoryview

EDITING = ("without_id", "without_timestamp", "without_type", "duplicate", "future")
"""Faults that change single events."""

MEGABYTE = 1_000_000


def json_array(batches: Iterable[pa.Array]) -> Iterator[TPiece]:
    """The JSON array of payloads that each come after a comma."""
    yield b"["
    is_first = True
    for batch in batches:
        text = text_of(batch)
        yield text[1:] if is_first else text
        is_first = False
    yield b"]"


def text_of(batch: pa.Array) -> memoryview:
    """The values of an Arrow array of text or bytes, one after the other, without a copy."""
    _, offsets, values = batch.buffers()
    wide = pa.types.is_large_binary(batch.type) or pa.types.is_large_string(batch.type)
    bounds = memoryview(offsets).cast("B").cast("q" if wide else "i")
    first, last = bounds[batch.offset], bounds[batch.offset + len(batch)]
    return memoryview(values).cast("B")[first:last]


def edited(
    batches: Iterable[pa.Array], struck: Mapping[str, Fault], now: int, default_type: str | None
) -> Iterator[pa.Array]:
    """Changes single events as the faults say. Slow: every event passes through Python.

    Args:
        batches: Payloads after commas.
        struck: The faults, by kind.
        now: The sandbox's time, milliseconds since the epoch, UTC.
        default_type: Type of a made-up event where the response has none to copy.
    """
    index = 0
    event: bytes | None = None
    for batch in batches:
        payloads: list[bytes] = []
        for value in batch.to_pylist():
            event = (value.encode() if isinstance(value, str) else value)[1:]
            payload = event
            for key in ("id", "timestamp", "type"):
                fault = struck.get(f"without_{key}")
                if fault and index == int(fault.number):
                    changed = json.loads(payload)
                    changed.pop(key, None)
                    payload = json.dumps(changed).encode()
            payloads.append(b"," + payload)
            if "duplicate" in struck and index < struck["duplicate"].number:
                payloads.append(b"," + payload)
            index += 1
        yield pa.array(payloads, pa.binary())
    if "future" in struck:
        copy = json.loads(event) if event else {"type": default_type or "hit"}
        copy["timestamp"] = now + int(struck["future"].number * 1000)
        copy["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"future {copy.get('id')} {now}"))
        yield pa.array([b"," + json.dumps(copy).encode()], pa.binary())


def cut_at(pieces: Iterable[TPiece], size: int) -> Iterator[TPiece]:
    """The first bytes of a body."""
    left = size
    for piece in pieces:
        if len(piece) >= left:
            if left:
                yield piece[:left]
            return
        left -= len(piece)
        yield piece


def cut_after(batches: Iterable[pa.Array], events: int, inside: bool) -> Iterator[TPiece]:
    """A body that ends after so many events: after the comma, or inside the event that follows.

    Where the response has fewer events, it ends after (or inside) its last.

    Args:
        batches: Payloads after commas.
        events: Whole events before the cut.
        inside: Cut inside the next event instead of right after the comma.
    """
    whole: list[bytes] = []
    for batch in batches:
        whole += [v.encode() if isinstance(v, str) else v for v in batch.to_pylist()]
        if len(whole) > events:
            break
    if not whole:
        yield b"["
    elif inside:
        kept = min(events, len(whole) - 1)
        yield b"[" + b"".join([*whole[:kept], whole[kept][: len(whole[kept]) // 2]])[1:]
    else:
        yield b"[" + b"".join(whole[:events])[1:] + b","


def gzipped(pieces: Iterable[TPiece]) -> Iterator[TPiece]:
    """The body compressed, at the cheapest level."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


def bomb(megabytes: float) -> Iterator[TPiece]:
    """A small gzip body that inflates to an empty array of this many megabytes (10^6 bytes)."""
    blank = b" " * MEGABYTE
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield compressor.compress(b"[")
    for _ in range(int(megabytes)):
        if packed := compressor.compress(blank):
            yield packed
    yield compressor.compress(b"]") + compressor.flush()


def plain_body(
    batches: Iterable[pa.Array], struck: Mapping[str, Fault], now: int, default_type: str | None
) -> Iterator[TPiece]:
    """The uncompressed body of a response, spoiled as the faults say."""
    if not struck.keys().isdisjoint(EDITING):
        batches = edited(batches, struck, now, default_type)
    if "cut_event" in struck:
        return cut_after(batches, int(struck["cut_event"].number), inside=True)
    if "cut_comma" in struck:
        return cut_after(batches, int(struck["cut_comma"].number), inside=False)
    pieces = json_array(batches)
    for kind in ("cut_byte", "abort_body"):
        if kind in struck:
            return cut_at(pieces, int(struck[kind].number))
    return pieces
