"""Views for analysts: one SQL file each, made in the destination in its own dialect.

``make`` makes them, or makes them anew where anything about them has changed; ``drop`` takes them
away. Neither touches anything that this package did not make.
"""

from __future__ import annotations

from .creation import statements
from .definitions import View, views
from .making import (
    Made,
    TMode,
    TStanding,
    ViewsFailed,
    after_load,
    drop,
    forget_messages,
    make,
    standing,
    statements_of_messages,
)
from .message_keys import MESSAGE_KEYS, TMessageKey

__all__ = [
    "MESSAGE_KEYS",
    "Made",
    "TMessageKey",
    "TMode",
    "TStanding",
    "View",
    "ViewsFailed",
    "after_load",
    "drop",
    "forget_messages",
    "make",
    "standing",
    "statements",
    "statements_of_messages",
    "views",
]
