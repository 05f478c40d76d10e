"""A response's body as a file: is it whole, and can it be read?

DuckDB takes an array that breaks off after a comma for a complete one and an empty body for an
empty array (seen with 1.4 to 2.0), so the brackets are looked at first. It refuses a whole file for
one character that is not Unicode: ``repair`` writes those visibly, so that one bad string cannot
keep a window from loading, and two strings never become one.
"""

from __future__ import annotations

import codecs
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_CHUNK = 1024 * 1024
_SHORT = 64

_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair of surrogates
    "|(?P<bad>[\udc80-\udcff]"  # a byte that is not UTF-8, by surrogateescape
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000)"
    "|\\\\[^\udc80-\udcff]"
)
_LONGEST_ESCAPE = 12
_ESCAPED_BYTES = 0xDC00
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
_BEGINNING = 1024 * 1024
"""Characters that are kept of an event that is too large."""


class UnreadableResponse(ValueError):
    """The file is not a complete JSON array of events; the message says why."""


class ResponseTooLarge(UnreadableResponse):
    """The file needs more memory than there is for it; a smaller window may not."""


def check_brackets(file: Path) -> None:
    """Makes sure that the body begins and ends as a JSON array does.

    Raises:
        UnreadableResponse: It does not; the message says what it looks like instead.
    """
    first, last = _edge(file, from_end=False), _edge(file, from_end=True)
    if not first:
        raise UnreadableResponse("the body is empty")
    if first == b"<":
        raise UnreadableResponse("the body is a page of HTML or XML")
    if first == b"{":
        raise UnreadableResponse("the body is a JSON object")
    if first != b"[":
        raise UnreadableResponse("the body is not JSON")
    if last != b"]":
        raise UnreadableResponse("the JSON array breaks off before its end")


def is_empty_array(file: Path) -> bool:
    """Whether the body is an empty array, as most responses of a quiet account are."""
    if file.stat().st_size > _SHORT:
        return False
    return b"".join(file.read_bytes().removeprefix(_BYTE_ORDER_MARK).split()) == b"[]"


def _edge(file: Path, from_end: bool) -> bytes:
    """The first or last byte that is not blank, empty if there is none."""
    size = file.stat().st_size
    with file.open("rb") as body:
        position = 0
        while position < size:
            length = min(4096, size - position)
            body.seek(size - position - length if from_end else position)
            chunk = body.read(length)
            if position == 0 and not from_end:
                chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
            stripped = chunk.strip(_BLANK)
            if stripped:
                return stripped[-1:] if from_end else stripped[:1]
            position += length
    return b""


def repair(file: Path) -> int:
    """Writes what is not Unicode text visibly, in place: U+FFFD, and in brackets what it was.

    A byte that is not UTF-8 becomes ``\ufffd[E9]``, the escape of a lone surrogate
    ``\ufffd[U+D800]``, that of the NUL character, which many destinations refuse in text,
    ``\ufffd[U+0000]``.

    Returns:
        How many were written so.
    """
    repaired = file.with_name(file.name + ".repaired")
    repaired.touch(mode=0o600)
    decode = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode
    count = 0
    rest = ""
    with file.open("rb") as source, repaired.open("w", encoding="utf-8", newline="") as target:
        while True:
            chunk = source.read(_CHUNK)
            text = decode(chunk, final=not chunk)
            rest += text
            safe = len(rest) - _LONGEST_ESCAPE if chunk else len(rest)
            position = 0
            for escape in _ESCAPES.finditer(rest):
                if escape.start() >= safe:
                    break
                if escape["bad"]:
                    target.write(rest[position : escape.start()] + _visible(escape["bad"]))
                    count += 1
                else:
                    target.write(rest[position : escape.end()])
                position = escape.end()
            cut = max(position, safe, 0)
            target.write(rest[position:cut])
            rest = rest[cut:]
            if not chunk:
                break
    repaired.replace(file)
    return count


def _visible(bad: str) -> str:
    if bad.startswith("\\"):
        return f"\ufffd[U+{bad[2:].upper()}]"
    return f"\ufffd[{ord(bad) - _ESCAPED_BYTES:02X}]"


@dataclass(frozen=True)
class LargeEvent:
    """An event that is larger than it may be.

    Attributes:
        beginning: The first characters of its JSON.
        size: Its bytes.
    """

    beginning: str
    size: int


def take_out_large(file: Path, largest: int) -> list[LargeEvent]:
    """Takes the events out of a file that are larger than they may be, in place.

    Args:
        file: One JSON array.
        largest: Bytes that an event may have.

    Returns:
        Those that were taken out.
    """
    taken: list[LargeEvent] = []
    kept = file.with_name(file.name + ".kept")
    kept.touch(mode=0o600)
    with (
        file.open("rb") as source,
        kept.open("wb") as target,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as body,
    ):
        separator = b"["
        for start, end in _elements(body):
            if end - start > largest:
                beginning = body[start : min(end, start + _BEGINNING)]
                taken.append(LargeEvent(beginning.decode("utf-8", "ignore"), end - start))
                continue
            target.write(separator)
            for position in range(start, end, _CHUNK):
                target.write(body[position : min(end, position + _CHUNK)])
            separator = b","
        target.write(b"[]" if separator == b"[" else b"]")
    kept.replace(file)
    return taken


def _elements(body: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Where the elements of a JSON array begin and end."""
    depth, start = 0, 0
    for token in _TOKENS.finditer(body):
        mark = token[0][:1]
        if mark in b"[{":
            depth += 1
            if depth == 1:
                start = token.end()
        elif mark in b"]}":
            depth -= 1
        if (depth == 1 and mark == b",") or (depth == 0 and mark == b"]"):
            if (
                body[start : token.start()].strip(_BLANK)
                if token.start() - start < _SHORT
                else True
            ):
                yield start, token.start()
            start = token.end()
