"""A question about the API, and what every rule may rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..windows import SECOND
from .control import Asking, Control
from .facts import Seen, TResult, Verdict

MINUTE = 60 * SECOND
CANNOT_TELL: TResult = "cannot tell"


@dataclass(frozen=True)
class Known:
    """What every rule may rest on.

    Attributes:
        asking: Asks.
        now: The time, milliseconds since the epoch.
        control: Known events of all types; None: there are none.
        reactions: Known reactions, as ``/actions/events`` returns them; None: there are none.
        filter_is_sure: Whether bounds are known to act on ``timestamp``.
        campaign_ids: Campaigns that may be requested.
    """

    asking: Asking
    now: int
    control: Control | None
    reactions: Control | None
    filter_is_sure: bool = False
    campaign_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """An open question.

    Attributes:
        name: As ``--only`` takes it.
        assumed: What the connector assumes.
        rule: Finds out.
        needs_filter: Whether it makes sense only where bounds act on ``timestamp``.
    """

    name: str
    assumed: str
    rule: Callable[[Known, Question], Verdict]
    needs_filter: bool = False

    def verdict(
        self,
        result: TResult,
        evidence: str,
        meaning: str = "",
        setting: tuple[str, Any] | None = None,
    ) -> Verdict:
        """A verdict on it."""
        return Verdict(self.name, self.assumed, result, evidence, meaning, setting)

    def no(self, evidence: str) -> Verdict:
        """That it cannot be told."""
        return self.verdict(CANNOT_TELL, evidence)


def spread(events: Sequence[Seen], count: int = 3) -> list[Seen]:
    """Some events, spread evenly over all, from the first third, the middle and the last."""
    if len(events) <= count:
        return list(events)
    return [events[len(events) * (2 * n + 1) // (2 * count)] for n in range(count)]


def floor(moment: int) -> int:
    """The whole second of a moment, milliseconds since the epoch."""
    return moment // SECOND * SECOND
