"""Chance that is the same on every machine: digests of a seed and a name.

Integers and plain arithmetic only, in Python and, as macros, in DuckDB of any release.
"""

from __future__ import annotations

import hashlib

import duckdb

from ..clock import DAY, HOUR

BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def digest(seed: int, *names: object) -> str:
    """MD5 of a seed and a name, as hexadecimal digits."""
    return hashlib.md5(":".join(map(str, (seed, *names))).encode()).hexdigest()


def pick(count: int, seed: int, *names: object) -> int:
    """One of the numbers from 0 to below ``count``."""
    return int(digest(seed, *names), 16) % count


def uuid_of(digest: str) -> str:
    """A uuid made of a digest."""
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def base_36(number: int, width: int) -> str:
    """A number in the digits of NP6's ids, with leading zeros."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = BASE_36[digit] + digits
    return digits.rjust(width, "0")


def define_macros(cursor: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Chance, from the seed and a name; ids from digests."""
    number = f"md5_number_lower(concat_ws(':', {seed}, salt, key))"
    digits = ", ".join(
        f"substr('{BASE_36}', 1 + (number // {36**power} % 36)::INTEGER, 1)"
        for power in reversed(range(8))
    )
    for definition in (
        f"unit(salt, key) AS ({number} // 2048) / 9007199254740992.0",
        f"pick(salt, key, choices) AS ({number} % choices)::BIGINT",
        f"digest(salt, key) AS md5(concat_ws(':', {seed}, salt, key))",
        "as_uuid(hex) AS concat(hex[1:8], '-', hex[9:12], '-4', hex[14:16], '-a', hex[18:20], '-',"
        " hex[21:32])",
        f"base_36(number) AS concat({digits})",
        # A delay whose half is below the scale, with a long tail; at most 60 days.
        "delay(salt, key, scale) AS least(scale * unit(salt, key) / (1 - unit(salt, key)),"
        f" {60 * DAY})::BIGINT",
        # People sleep: most of what would happen between 0 and 6 happens 7 hours later.
        f"by_day(moment, salt, key) AS moment + CASE WHEN (moment // {HOUR}) % 24 < 6"
        f" AND unit(salt, key) < 0.85 THEN {7 * HOUR} ELSE 0 END",
    ):
        cursor.execute(f"CREATE TEMP MACRO {definition}")
