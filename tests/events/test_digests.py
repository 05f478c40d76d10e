"""Digests: the same in Python and in SQL, for every way in which one address is written."""

from __future__ import annotations

import copy
import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import duckdb
import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from np6_source.events.digests import DigestKey, TForm, canonical, pads, sql_of

SECRET = "a key of the company's, 32 bytes or more"
KEY = DigestKey(SECRET)

AWKWARD = [
    "marie@example.com",
    " Marie@Example.COM\r\n",
    "MARİE@example.com",
    "ΟΔΟΣ@example.com",
    "e\u0301lise@example.com",
    "élise@example.com",
    "marie+news@example.com",
    "marie@xn--exmple-cua.com",
    "+33 6 12 34 56 78",
    "0033612345678",
    "33612345678",
    "+33(0)6 12 34 56 78",
    "06.12.34.56.78",
    "06-12/34\t56",
    "٠٦١٢",
    "-",
    "",
    " ",
    "00",
    '["a@example.com","b"]',
    "d41d8cd98f00b204e9800998ecf8427e",
    "\u212a@example.com",
    "o'hara@example.com",
    "\u00a0marie@example.com",
]

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0", max_codepoint=0x2FF),
        st.sampled_from("+0123456789 ().-/\t@AZaz"),
    ),
    max_size=20,
)


def in_duckdb(values: list[str], form: TForm) -> list[str | None]:
    inner, outer = pads(SECRET)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {sql_of('duckdb', form)} FROM (SELECT unnest($texts::VARCHAR[]) AS v)",
            {"texts": values, "ipad": inner.hex(), "opad": outer.hex()},
        ).fetchall()
    return [digest for (digest,) in found]


@pytest.mark.parametrize("secret", ["k" * 32, "k" * 64, "k" * 65, "é" * 100])
def test_a_digest_is_the_beginning_of_an_hmac_with_sha256(secret: str) -> None:
    found = DigestKey(secret).exact("marie@example.com")

    assert found == hmac.new(secret.encode(), b"marie@example.com", hashlib.sha256).hexdigest()[:32]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("marie@example.com", "\tMARIE@Example.com "),
        ("e\u0301lise@example.com", "élise@example.com"),
        ("+33 6 12 34 56 78", "0033612345678"),
        ("+33 6 12 34 56 78", "33612345678"),
        ("D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e"),
    ],
)
def test_writings_of_one_address_have_one_digest(one: str, other: str) -> None:
    assert KEY.of(one, "address") == KEY.of(other, "address")
    assert KEY.of(one, "exact") != KEY.of(other, "exact")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("marie@example.com", "marie+news@example.com"),
        ("marie@example.com", "marie@example.com."),
        ("+33612345678", "0612345678"),
        ("+33612345678", "+33(0)612345678"),
        ("İ@example.com", "i@example.com"),
    ],
)
def test_what_may_be_two_persons_stays_two(one: str, other: str) -> None:
    assert KEY.of(one, "address") != KEY.of(other, "address")


def test_nothing_stays_nothing() -> None:
    assert [KEY.of(text, "address") for text in ("", " \t")] == ["", ""]
    assert KEY.of("", "exact") == ""
    assert KEY.of(" ", "exact") != " "


def test_another_key_gives_other_digests() -> None:
    other = DigestKey("another key of the company's, as long")

    assert other.of("marie@example.com", "address") != KEY.of("marie@example.com", "address")
    assert other.id != KEY.id


def test_a_key_shows_nothing_of_its_secret_and_can_be_copied() -> None:
    assert repr(copy.deepcopy(KEY)) == f"DigestKey(id={KEY.id})"
    assert copy.deepcopy(KEY) == KEY
    assert KEY.id not in SECRET


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        DigestKey("k" * 31)


@pytest.mark.parametrize("form", ["address", "exact"])
def test_duckdb_makes_the_same_digests(form: TForm) -> None:
    assert in_duckdb(AWKWARD, form) == [KEY.of(value, form) for value in AWKWARD]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_duckdb_makes_the_same_digests_of_whatever_is_text(values: list[str]) -> None:
    assert in_duckdb(values, "address") == [KEY.of(value, "address") for value in values]


@pytest.fixture(scope="module")
def in_postgres(postgres_socket: str) -> Iterator[Callable[[list[str], TForm], list[str | None]]]:
    inner, outer = pads(SECRET)
    connection = psycopg2.connect(host=postgres_socket, user="postgres", dbname="postgres")
    with closing(connection), connection.cursor() as cursor:

        def call(values: list[str], form: TForm) -> list[str | None]:
            sql = sql_of("postgres", form).replace("%", "%%")
            for name in ("ipad", "opad"):
                sql = sql.replace(f":{name}", f"%({name})s")
            cursor.execute(
                f"SELECT {sql} FROM unnest(%(texts)s) WITH ORDINALITY AS given(v, n) ORDER BY n",
                {"texts": values, "ipad": inner.hex(), "opad": outer.hex()},
            )
            return [digest for (digest,) in cursor.fetchall()]

        yield call


@pytest.mark.parametrize("form", ["address", "exact"])
def test_postgres_makes_the_same_digests(form: TForm, in_postgres: Any) -> None:
    assert in_postgres(AWKWARD, form) == [KEY.of(value, form) for value in AWKWARD]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(TEXTS, min_size=1, max_size=20))
def test_postgres_makes_the_same_digests_of_whatever_is_text(
    values: list[str], in_postgres: Any
) -> None:
    assert in_postgres(values, "address") == [KEY.of(value, "address") for value in values]


def test_numbers_are_compared_by_their_digits() -> None:
    assert [canonical(text) for text in ("+33 (6) 1", "00 33/6.1", "061")] == [
        "3361",
        "3361",
        "061",
    ]
