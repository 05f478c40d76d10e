"""Under which policies a dataset's rows were masked: the table ``_np6_maskings``.

A pipeline that extracted before, or whose state is from before, finds it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dlt.common.schema import Schema
from dlt.destinations.sql_client import SqlClientBase

from ..windows import to_ms
from .own_tables import MASKINGS


@dataclass(frozen=True)
class Masking:
    """A row of the table.

    Attributes:
        policy_before: The policy of the rows before.
        policy: Theirs since.
        masked_at: When, UTC.
    """

    policy_before: str
    policy: str
    masked_at: datetime

    @property
    def change_id(self) -> str:
        """What a package notes that was extracted since."""
        return f"masked at {to_ms(self.masked_at)}"


def listed(client: SqlClientBase[Any], schema: Schema) -> tuple[Masking, ...]:
    """The rows of the table, the earliest first; none where it is not there.

    Args:
        client: A connection to the dataset, open.
        schema: The source's schema.
    """
    selected = '"policy_before", "policy", "masked_at"'
    found = MASKINGS.rows(client, schema, selected, order='"masked_at"')
    return tuple(Masking(*row) for row in found)


def present_policies(recorded: Iterable[str], maskings: Sequence[Masking]) -> frozenset[str]:
    """Policies as they are called since the rows were masked.

    Args:
        recorded: Policies that a state remembers.
        maskings: The table's rows, the earliest first.
    """
    found = set()
    for policy in recorded:
        for masking in maskings:
            policy = masking.policy if policy == masking.policy_before else policy
        found.add(policy)
    return frozenset(found)
