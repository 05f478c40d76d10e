"""Waiting that ends when the run is asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_EVERY = 0.1
"""Seconds between two looks at whether the run was asked to stop."""


def pause(seconds: float, should_stop: Callable[[], object]) -> bool:
    """Sleeps, unless the run is asked to stop.

    Args:
        seconds: How long; nothing at all where it is not positive.
        should_stop: Asked every ``LOOK_EVERY`` seconds; anything true ends the wait.

    Returns:
        Whether the time passed without a wish to stop.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if should_stop():
            return False
        time.sleep(min(left, LOOK_EVERY))
    return not should_stop()
