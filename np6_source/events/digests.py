"""Keyed digests in place of values about a person, in Python and in SQL.

A digest is the first 32 hexadecimal digits of HMAC-SHA256 over a value's canonical form in UTF-8.
Without the key nobody can tell whose it is, nor try values until one fits; with it a company finds
its own addresses again, in SQL as well: ``sql_of`` returns the same function for a destination.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Literal

DIGITS = 32
"""Hexadecimal digits of a digest: 128 bits."""

BLOCK = 64
"""Bytes of a block of SHA-256, to which HMAC fills the key up."""

LEAST_KEY = 32
"""Bytes that a key has at least."""

BLANKS = " \t\r\n"
"""What is cut off both ends of an address. Engines differ on the other blanks."""

UPPER, LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
"""The letters that become lower case. Engines differ on the others (İ, a final Σ)."""

_TO_LOWER = str.maketrans(UPPER, LOWER)
_NUMBER = "[-+0-9 ()./\\t]*[0-9][-+0-9 ()./\\t]*"
_IS_NUMBER = re.compile(_NUMBER)
_NO_DIGIT = re.compile("[^0-9]")

TForm = Literal["address", "exact"]
"""``address``: addresses, telephone numbers and hashes, in a form that writings of the same one
have in common. ``exact``: the value as it is."""


class DigestKey:
    """A secret key, ready to make digests. Safe for threads; shows nothing of the secret.

    Attributes:
        id: Eight digits by which the key is known again; they tell nothing of it.
    """

    def __init__(self, secret: str) -> None:
        """Prepares the two states that HMAC begins every digest with.

        Args:
            secret: The key, ``LEAST_KEY`` bytes of text at least.

        Raises:
            ValueError: It is shorter.
        """
        inner, outer = pads(secret)
        self._inner, self._outer = hashlib.sha256(inner), hashlib.sha256(outer)
        self.id = self.exact("np6-source key id")[:8]

    def __repr__(self) -> str:
        return f"DigestKey(id={self.id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DigestKey) and other.exact("") == self.exact("")

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object) -> DigestKey:
        return self  # It never changes, and hash states cannot be copied deeply.

    def exact(self, value: str) -> str:
        """The digest of a value as it is."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(value.encode("utf-8", "backslashreplace"))
        outer.update(inner.digest())
        return outer.hexdigest()[:DIGITS]

    def of(self, value: str, form: TForm) -> str:
        """The digest of a value in a form; of an empty one, itself."""
        text = canonical(value) if form == "address" else value
        return self.exact(text) if text else text


def pads(secret: str) -> tuple[bytes, bytes]:
    """HMAC's inner and outer pad of a key: what its two hashes begin with.

    Raises:
        ValueError: The key is too short.
    """
    key = secret.encode("utf-8")
    if len(key) < LEAST_KEY:
        raise ValueError(f"the key has {len(key)} bytes, fewer than {LEAST_KEY}")
    if len(key) > BLOCK:
        key = hashlib.sha256(key).digest()
    key = key.ljust(BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)


def canonical(value: str) -> str:
    """What writings of the same address, telephone number or hash have in common.

    What is not sure to be the same stays apart: a digest that misses another loses a join, one that
    meets another's makes one person of two.

    >>> canonical(" Marie@Example.com"), canonical("+33 6 12"), canonical("0033612")
    ('marie@example.com', '33612', '33612')
    >>> canonical("06 12")
    '0612'
    """
    text = value.strip(BLANKS)
    # Most end in a letter: no number does, and the pattern is not tried.
    if not text[-1:].isalpha() and _IS_NUMBER.fullmatch(text):
        return _NO_DIGIT.sub("", text).removeprefix("00")
    if text.isascii():
        return text.lower()  # Quicker, and the same: NFC changes nothing in ASCII.
    return unicodedata.normalize("NFC", text).translate(_TO_LOWER)


def addresses_of(unicity: str) -> tuple[str, ...]:
    """The addresses of a unicity of several values, which is a JSON array; of others none.

    >>> addresses_of('["marie@example.com", "+33612"]'), addresses_of("marie@example.com")
    (('marie@example.com', '+33612'), ())
    """
    if not unicity.startswith("["):
        return ()
    try:
        values = json.loads(unicity)
    except ValueError:
        return ()
    return tuple(value for value in values if isinstance(value, str))


DIALECTS = ("duckdb", "postgres", "bigquery", "snowflake")
"""The dialects of ``sql_of``. The last two were not run."""


def sql_of(dialect: str, form: TForm, value: str = "v") -> str:
    """The digest as an SQL expression.

    Its two parameters, ``ipad`` and ``opad``, are ``pads`` of the key in hexadecimal; they are as
    secret as the key.

    Args:
        dialect: One of ``DIALECTS``.
        form: The form that is digested.
        value: The expression whose digest is wanted.
    """
    make = {
        "duckdb": _duckdb,
        "postgres": _postgres,
        "bigquery": _bigquery,
        "snowflake": _snowflake,
    }[dialect]
    return make(value, form)


def canonical_sql(dialect: str, value: str) -> str:
    """``canonical`` as an SQL expression.

    Args:
        dialect: ``duckdb`` or ``postgres``.
        value: The expression whose canonical form is wanted.
    """
    return {"duckdb": _canonical_duckdb, "postgres": _canonical_postgres}[dialect](value)


def _canonical_duckdb(value: str) -> str:
    trimmed = rf"trim({value}, E' \t\r\n')"
    return _cased(
        f"regexp_full_match({trimmed}, '{_NUMBER}')",
        f"regexp_replace(regexp_replace({trimmed}, '[^0-9]', '', 'g'), '^00', '')",
        f"translate(nfc_normalize({trimmed}), '{UPPER}', '{LOWER}')",
    )


def _canonical_postgres(value: str) -> str:
    trimmed = rf"btrim({value}, E' \t\r\n')"
    return _cased(
        f"{trimmed} ~ '^{_NUMBER}$'",
        f"regexp_replace(regexp_replace({trimmed}, '[^0-9]', '', 'g'), '^00', '')",
        f"translate(normalize({trimmed}, NFC), '{UPPER}', '{LOWER}')",
    )


def _duckdb(value: str, form: TForm) -> str:
    c = _canonical_duckdb(value)
    inner = "sha256(unhex($ipad)::BLOB || encode({c}))"
    digest = f"left(sha256(unhex($opad)::BLOB || unhex({inner})), {DIGITS})"
    return _kept_if_empty(c if form == "address" else value, digest)


def _postgres(value: str, form: TForm) -> str:
    c = _canonical_postgres(value)
    inner = "sha256(decode(:ipad, 'hex') || convert_to({c}, 'UTF8'))"
    digest = f"left(encode(sha256(decode(:opad, 'hex') || {inner}), 'hex'), {DIGITS})"
    return _kept_if_empty(c if form == "address" else value, digest)


def _bigquery(value: str, form: TForm) -> str:
    trimmed = rf"TRIM({value}, ' \t\r\n')"
    c = _cased(
        f"REGEXP_CONTAINS({trimmed}, r'^{_NUMBER}$')",
        f"REGEXP_REPLACE(REGEXP_REPLACE({trimmed}, r'[^0-9]', ''), r'^00', '')",
        f"TRANSLATE(NORMALIZE({trimmed}, NFC), '{UPPER}', '{LOWER}')",
    )
    inner = "SHA256(CONCAT(FROM_HEX(@ipad), CAST({c} AS BYTES)))"
    digest = f"LEFT(TO_HEX(SHA256(CONCAT(FROM_HEX(@opad), {inner}))), {DIGITS})"
    return _kept_if_empty(c if form == "address" else value, digest)


def _snowflake(value: str, form: TForm) -> str:
    trimmed = rf"TRIM({value}, ' \t\r\n')"
    number = _NUMBER.replace("\\t", "\\\\t")
    c = _cased(
        f"REGEXP_LIKE({trimmed}, '{number}')",
        f"REGEXP_REPLACE(REGEXP_REPLACE({trimmed}, '[^0-9]', ''), '^00', '')",
        f"TRANSLATE({trimmed}, '{UPPER}', '{LOWER}')",
    )
    inner = "SHA2_BINARY(CONCAT(TO_BINARY(:ipad, 'HEX'), TO_BINARY({c}, 'UTF-8')))"
    digest = (
        f"LEFT(LOWER(HEX_ENCODE(SHA2_BINARY(CONCAT(TO_BINARY(:opad, 'HEX'), {inner})))), {DIGITS})"
    )
    return _kept_if_empty(c if form == "address" else value, digest)


def _cased(is_number: str, number: str, other: str) -> str:
    return f"CASE WHEN {is_number} THEN {number} ELSE {other} END"


def _kept_if_empty(form: str, digest: str) -> str:
    return f"CASE WHEN {form} = '' THEN '' ELSE {digest.format(c=form)} END"
