"""Reads days again for events that became visible late, and loads what the tables lack.

Nothing here knows of a cursor: a recheck is a stateless run beside the schedule, and only its rows
stay. Which days are due follows from ``load_windows`` alone, see ``ladder``.
"""

from .ladder import DayAgain
from .measurements import measured
from .planning import DEFAULT_DAYS, RecheckPlan, plan_recheck
from .running import RecheckReport, recheck, recheck_when_due

__all__ = [
    "DEFAULT_DAYS",
    "DayAgain",
    "RecheckPlan",
    "RecheckReport",
    "measured",
    "plan_recheck",
    "recheck",
    "recheck_when_due",
]
