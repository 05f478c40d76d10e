"""What a kind of trouble is, and the list of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.reliability.trials import Call, Trial


@dataclass(frozen=True)
class Kind:
    """A kind of trouble.

    Attributes:
        rule: Which promise it tries, by the number it has on the page.
        name: What the page calls it.
        statuses: Exit statuses with which the call in trouble may end.
        says: What the call prints then; empty: it need not say anything.
        inject: Makes the trouble; returns the call in trouble.
        needs_postgres: Whether the events go to PostgreSQL.
        is_slow: Seconds are many; a run injects it less often.
    """

    rule: int
    name: str
    statuses: tuple[int, ...]
    says: str
    inject: Callable[[Trial], Call]
    needs_postgres: bool = False
    is_slow: bool = False


KINDS: list[Kind] = []
"""All kinds, in the order of the page."""


def kind(
    rule: int,
    name: str,
    *statuses: int,
    says: str = "",
    needs_postgres: bool = False,
    is_slow: bool = False,
) -> Callable[[Callable[[Trial], Call]], Callable[[Trial], Call]]:
    """Adds a function to the kinds."""

    def add(inject: Callable[[Trial], Call]) -> Callable[[Trial], Call]:
        KINDS.append(Kind(rule, name, statuses, says, inject, needs_postgres, is_slow))
        return inject

    return add
