"""Events that could not be taken, which are texts: whose they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..events.drift import value_at
from ..events.suppression import Suppression
from ..schema import PERSONS, Path


def is_about(content: str, listed: Suppression) -> bool:
    """Whether an event, as NP6 sent it, names a listed person as its contact.

    Args:
        content: The event; of one that is cut off nobody knows whose it is.
        listed: The person.
    """
    try:
        event = json.loads(content)
    except ValueError:
        return False
    texts = [text for path in PERSONS for text in _texts(value_at(event, Path(path)))]
    return any(listed.is_contact(text) or listed.is_address(text) for text in texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
