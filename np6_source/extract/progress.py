"""How far each resource, and each of its ids, has been loaded: what dlt keeps between runs.

The cursor of a resource over the whole account is dlt's own, of its incremental on ``timestamp``.
A resource over ids keeps a place for each id beside it, in dlt's resource state, so that an id
added later gets its whole history and one id's failure moves no other id's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLACES, BACKFILLS = "places", "backfills"
"""Keys of the resource state: places by scope, and those of unfinished backfills by range."""


@dataclass(frozen=True)
class Place:
    """How far one scope has been loaded.

    Attributes:
        start: Where its history begins, milliseconds since the epoch.
        until: Up to where it is complete.
        read_at: When the stretch before ``until`` was last read.
        tail: Events per bucket in the overlap before ``until``, see ``lateness``.
        bucket: Milliseconds per bucket of ``tail``.
    """

    start: int
    until: int
    read_at: int = 0
    tail: Mapping[int, int] = field(default_factory=dict)
    bucket: int = 0

    def to_state(self) -> dict[str, Any]:
        """The place as JSON values."""
        return {
            "start": self.start,
            "until": self.until,
            "read_at": self.read_at,
            "tail": {str(bucket): count for bucket, count in self.tail.items()},
            "bucket": self.bucket,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Place:
        """The place from the JSON values of ``to_state``."""
        tail = {int(bucket): count for bucket, count in state.get("tail", {}).items()}
        return cls(
            start=state["start"],
            until=state["until"],
            read_at=state.get("read_at", 0),
            tail=tail,
            bucket=state.get("bucket", 0),
        )


def scope_label(scope_id: str, is_personal: bool) -> str:
    """The id as it is stored, logged and shown.

    A short digest where it is an address or a hash of one, else the id itself.

    >>> scope_label("000PE4", is_personal=False)
    '000PE4'
    """
    if not is_personal:
        return scope_id
    return "sha256:" + hashlib.sha256(scope_id.encode()).hexdigest()[:16]
