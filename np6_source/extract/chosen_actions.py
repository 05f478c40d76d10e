"""Ids from names: which actions of the account's list to load. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import SettingError

ACTIVE_FOR = timedelta(days=180)
"""How long after it was created, started or last sent an action counts as active."""

GONE = (90, 100)
"""States of an action that is deleted or archived."""


@dataclass(frozen=True)
class ChosenActions:
    """Actions in place of their ids: all, the active ones, or those of some categories.

    Attributes:
        is_all: Every action of the list.
        is_active: The active ones: neither deleted nor archived, and created, started or last sent
            within ``ACTIVE_FOR``.
        categories: Those of these categories.
    """

    is_all: bool = False
    is_active: bool = False
    categories: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, values: Sequence[str | int] | str | int | None) -> ChosenActions | None:
        """Reads ``all``, ``active`` and ``category:456``, in a list or with commas between them.

        Returns:
            What was chosen; None where the values are ids.

        Raises:
            SettingError: Such words and ids are mixed, or a category is no number.
        """
        if values is None or isinstance(values, int):
            return None
        parts = values.split(",") if isinstance(values, str) else values
        texts = [part.strip() for part in parts if isinstance(part, str)]
        words = [text for text in texts if text in ("all", "active") or text[:9] == "category:"]
        if not words:
            return None
        if len(words) < len(parts):
            raise SettingError(
                f"action_ids: {', '.join(words)} stands for ids and cannot be mixed with ids"
            )
        categories = [word[9:].strip() for word in words if word[:9] == "category:"]
        for category in categories:
            if not re.fullmatch(r"\d{1,18}", category):
                raise SettingError(
                    f"action_ids: category:{category} is no category like category:456; the table"
                    " categories has their numbers (dimensions=['categories'])"
                )
        return cls("all" in words, "active" in words, frozenset(map(int, categories)))

    def __str__(self) -> str:
        """As it is given."""
        named = [*(["all"] if self.is_all else []), *(["active"] if self.is_active else [])]
        return ",".join([*named, *(f"category:{number}" for number in sorted(self.categories))])

    def choose(self, actions: Iterable[Mapping[str, Any]], now: datetime) -> tuple[str, ...]:
        """The ids of the chosen actions, in the order of the list.

        Args:
            actions: Rows of the table ``actions``.
            now: The time, UTC.

        Returns:
            Also ids that cannot be requested, see ``can_be_requested``.
        """
        return tuple(action["id"] for action in actions if self._takes(action, now))

    def _takes(self, action: Mapping[str, Any], now: datetime) -> bool:
        if self.is_all or action["category_id"] in self.categories:
            return True
        if not self.is_active or action["state"] in GONE:
            return False
        times = [action[name] for name in ("created_at", "starts_at", "last_sent_at")]
        known = [time for time in times if time is not None]
        # Of what nothing says when, nothing says that it is over.
        return not known or max(known) >= now - ACTIVE_FOR


def can_be_requested(action_id: str) -> bool:
    """Whether an id of the list leads to its own operation's url, and to no other's."""
    return action_id.strip() not in ("", ".", "..")


TScopeIds = tuple[str, ...] | ChosenActions
"""The ids of a resource, or what says them once it runs."""
