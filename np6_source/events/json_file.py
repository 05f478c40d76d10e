"""An answer's body as a file: is it whole, and can it be read?

DuckDB takes an array that breaks off behind a comma for a complete one and an empty body for an
empty array (seen with 1.4 to 2.0), so the brackets are looked at first. And it refuses a whole
file for one character that is not Unicode; ``repair`` replaces those, so that one bad string
cannot keep a window from loading.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_CHUNK = 1024 * 1024
_SHORT = 64

_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair of surrogates
    "|(?P<bad>[\udc80-\udcff]+"  # a byte that is not UTF-8, by surrogateescape
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000)"
    "|\\\\[^\udc80-\udcff]"
)
_LONGEST_ESCAPE = 12


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
    """Whether the body is an array of no events, which most answers of a quiet account are."""
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


def repair(file: Path) -> bool:
    """Replaces what is not Unicode text by U+FFFD, in place.

    That is: bytes that are not UTF-8, escapes of lone surrogates, and the NUL character.

    Returns:
        Whether anything was replaced.
    """
    repaired = file.with_name(file.name + ".repaired")
    decode = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode
    changed = False
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
                    target.write(rest[position : escape.start()] + "\ufffd")
                    position = escape.end()
                    changed = True
                else:
                    target.write(rest[position : escape.end()])
                    position = escape.end()
            cut = max(position, safe, 0)
            target.write(rest[position:cut])
            rest = rest[cut:]
            if not chunk:
                break
    repaired.replace(file)
    return changed
