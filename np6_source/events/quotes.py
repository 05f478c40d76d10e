"""Addresses, telephone numbers and hashes that a text quotes, however they are written in it.

Whose they are is looked up by their digests, so no text can be searched for an address: every part
that may be one is given. Where a text may be read in two ways (``d'anne@lab.example``), both are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

MAY_QUOTE = (
    r"@|%(25)*40|u0040|&#|&commat;"
    # Seven digits with what people, JSON and urls write between them.
    r"|([0-9]([^0-9A-Za-z]|%(25)*[0-9A-Fa-f][0-9A-Fa-f]|\\u[0-9A-Fa-f]{4}|&nbsp;){0,4}){7}"
    r"|[0-9a-fA-F]{32}"
)
"""A regular expression, for Arrow, DuckDB and PostgreSQL: what a text with such a part has."""

DEPTH = 12
"""How many times one encoding may be within another; each layer of ``%40`` adds two characters."""

FEWEST_DIGITS, MOST_DIGITS = 7, 17
"""Digits of a telephone number, with ``00`` before the country's."""

LONGEST = 320
"""Characters that an address has at most before its ``@``: texts without a blank take no longer."""

HASH = 32
"""Hexadecimal digits of a hash."""

_LETTERS = (
    "0-9A-Za-z\u00aa\u00b5\u00ba\u00c0-\u1fff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc"
    "\U00010000-\U0001efff\U00020000-\U0003ffff"
)
"""What stands in addresses of all scripts, with accents: no blank, quotation mark or dash."""

_MARKS = r"!#$%&'*/=?^`{|}~"
"""What an address may have (RFC 5322), but what rather stands before one than within."""

_WORDS = re.compile(rf"[{_LETTERS}{re.escape(_MARKS)}._+@-]+")
_DOMAIN = re.compile(rf"[{_LETTERS}.-]*")
_BEFORE = re.compile(rf"[{re.escape(_MARKS)}]")
_SIGNS = "._-+"
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_JSON_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ID_LIKE = re.compile("[0-9A-Za-z_-]+")
_NUMBERS = re.compile("[0-9](?:[ \t().+/\u00a0\u2009\u2010-\u2013\u202f-]{0,3}[0-9])+")
_DIGITS = re.compile("[0-9]+")
_HASHES = re.compile(f"[0-9a-fA-F]{{{HASH},}}")


def address_like(text: str) -> Iterator[str]:
    """The parts of a text that may be an address, a telephone number or a hash.

    Texts in urls are encoded, and redirections encode what is encoded already; JSON and HTML have
    encodings of their own.

    >>> sorted(set(address_like("https://shop.example/?to=marie%40lab.example&n=1")))
    ['marie@lab.example', 'to=marie@lab.example']
    """
    seen: set[str] = set()
    for reading in _readings(text):
        for find in (_emails, _numbers, _hashes):
            for part in find(reading):
                if part not in seen:
                    seen.add(part)
                    yield part


def may_be_ids(text: str) -> frozenset[str]:
    """The parts of a JSON text, which may be cut off, that may be an id.

    >>> sorted(may_be_ids('{"id": "M-1 x", "n": 7'))
    ['7', 'M-1', 'M-1 x', 'id', 'n', 'x']
    """
    texts = (_without_json_escapes(quoted) for quoted in _QUOTED.findall(text))
    return frozenset((*texts, *_ID_LIKE.findall(text)))


def _readings(text: str) -> Iterator[str]:
    """The text, and what it is without its encodings, one by one."""
    yield text
    decodings: tuple[Callable[[str], str], ...] = (unquote, _without_json_escapes, html.unescape)
    for _ in range(DEPTH):
        before = text
        for decoded in decodings:
            plain = decoded(text)
            if plain != text:
                text = plain
                yield text
        if text == before:
            return


def _without_json_escapes(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _JSON_ESCAPE.sub(_meant, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meant(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _JSON_CHARACTERS.get(letter, letter)


def _emails(text: str) -> Iterator[str]:
    if "@" not in text:
        return
    for word in _WORDS.findall(text):
        if "@" not in word:
            continue
        local, *others = word.split("@")
        for other in others:
            found = _DOMAIN.match(other)
            domain = found[0] if found else ""
            local = local[-LONGEST:]
            for start in _starts(local):
                for one in {domain, domain.rstrip(".-")}:
                    if start < len(local) and one:
                        yield from _cased(f"{local[start:]}@{one}")
            local = other


def _cased(address: str) -> Iterator[str]:
    """The address; with other letters than A to Z also as it is in lower and in upper case."""
    yield address
    if not address.isascii():
        yield address.lower()
        yield address.upper()


def _starts(local: str) -> Iterator[int]:
    """Where the address may begin in what stands before its ``@``."""
    for start in (0, *(mark.end() for mark in _BEFORE.finditer(local))):
        yield start
        plain = len(local) - len(local[start:].lstrip(_SIGNS))
        if plain != start:
            yield plain


def _numbers(text: str) -> Iterator[str]:
    """The telephone numbers: one may stand beside another number, as a bounce's code."""
    for found in _NUMBERS.finditer(text):
        groups = _DIGITS.findall(found[0])
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > MOST_DIGITS:
                    break
                if len(digits) >= FEWEST_DIGITS:
                    yield digits


def _hashes(text: str) -> Iterator[str]:
    for found in _HASHES.finditer(text):
        run = found[0]
        rest = len(run) - HASH
        # A letter or two of something else may stand before or behind it.
        starts = range(rest + 1) if rest <= HASH // 4 else (0, rest)
        for start in starts:
            yield run[start : start + HASH]
