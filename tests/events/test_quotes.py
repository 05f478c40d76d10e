"""The addresses, telephone numbers and hashes that a text quotes."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from np6_source.events.digests import canonical
from np6_source.events.quotes import LONGEST, MAY_QUOTE, address_like

MARIE, PHONE = "marie@lab.example", "+33 6 12 34 56 78"
HASH = "0441619ab4631d18548aa8835dd2c28b"  # It begins like a telephone number.


def times(text: str, encode: Any, count: int) -> str:
    for _ in range(count):
        text = encode(text)
    return text


def is_quoted(address: str, text: str) -> bool:
    """Whether a text quotes an address, and the engines' pattern lets it be looked at."""
    found = canonical(address) in map(canonical, address_like(text))
    if found:
        assert re.search(MAY_QUOTE, text)
        assert pc.match_substring_regex(pa.array([text]), MAY_QUOTE).to_pylist() == [True]
        picked = duckdb.execute("SELECT regexp_matches(?, ?)", [text, MAY_QUOTE]).fetchone()
        assert picked == (True,)
    return found


ADDRESSES = (MARIE, "O'Brien@lab.example", "Zoë@lab.example", "a.b+c/d=e@lab.example")
AROUND = (
    *(
        "{}",
        "<{}>",
        "«{}»",
        "“{}”",
        "'{}'",
        "`{}`",
        "*{}*",
        "_{}_",
        "\u2019{}\u2019",
        "{{{}}}",
        "[{}]",
    ),
    *(
        "mail {}.",
        "{}!",
        "{}…",
        "{}:",
        "a,{};b",
        "d'{}",
        "to={}&n=1",
        "/{}/",
        "mailto:{}?subject=x",
    ),
    *("\u200b{}\u200b", "{}-", "SRS0=ab={}", "550 5.1.1 <{}>... unknown", "x@y {}", "{}\\n"),
)


@pytest.mark.parametrize("around", AROUND)
def test_an_address_is_found_whatever_stands_around_it(around: str) -> None:
    for address in ADDRESSES:
        assert is_quoted(address, around.format(address)), address
        assert is_quoted(address, around.format(address.upper())), address


def test_encodings_may_be_within_one_another() -> None:
    for address in ADDRESSES:
        line = f"hello\n{address}\tyou"
        for text in (
            *(times(address, lambda t: quote(t, safe=""), n) for n in (1, 2, 3, 5)),
            *(times(line, json.dumps, n) for n in (1, 2, 3)),
            quote(json.dumps({"to": quote(address)})),
            html.escape(f"<{address}>"),
            "".join(f"&#{ord(letter)};" for letter in address),
            "".join(f"\\u{ord(letter):04x}" for letter in address),
        ):
            assert is_quoted(address, text), text


@pytest.mark.parametrize(
    "text",
    [
        *(PHONE, PHONE.replace(" ", ""), "0033612345678", "+33-6-12.34.56/78", "tel:33612345678"),
        f"550 {PHONE} unknown",
        f"5.1.1 2026 {PHONE} 12",
        PHONE.replace(" ", "\u00a0"),
        quote(PHONE),
        quote(quote(PHONE)),
        PHONE.replace(" ", "&nbsp;"),
        '{"to":33612345678}',
        "id-1-33612345678-2",
    ],
)
def test_a_number_is_found_beside_other_numbers(text: str) -> None:
    assert is_quoted(PHONE, text)


@pytest.mark.parametrize("around", ["{}", "h={}", "x{}y", "ab{}", "%3D{}", "{}.png", "{0}{0}"])
def test_a_hash_is_found_whatever_it_begins_with(around: str) -> None:
    for one in (HASH, HASH[::-1]):
        assert is_quoted(one, around.format(one))
        assert is_quoted(one, around.format(one.upper()))


@pytest.mark.parametrize(
    "other",
    [
        *("annemarie@lab.example", "anne.marie@lab.example", "anne-marie@lab.example"),
        *("anne+marie@lab.example", "anne_marie@lab.example", "émarie@lab.example"),
        *("marie@lab.example.org", "marie@lab.examples", "marie@lab", "marie @lab.example"),
    ],
)
def test_anothers_address_that_ends_or_begins_like_it_is_not_it(other: str) -> None:
    assert not is_quoted(MARIE, f"<{other}>")


@pytest.mark.parametrize(
    "text", ["", "nothing here", "@", "a@", "@b", "@@@", "12 34", "%40", "\\u00"]
)
def test_where_nothing_is_quoted_nothing_is_found(text: str) -> None:
    assert list(address_like(text)) == []


def test_of_a_long_text_without_blanks_few_parts_may_be_an_address() -> None:
    assert len(list(address_like("a!" * 200_000 + "@b.example"))) <= LONGEST
