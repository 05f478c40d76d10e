"""What is configured for ``np6_source``, as a command reads it, and whether it can be used."""

from __future__ import annotations

import inspect
import time
from typing import Any

import dlt

from .. import np6_source
from ..events.digests import DigestKey
from ..events.privacy import PRESETS, Privacy
from ..extract import configured_names
from ..extract.configured_names import UnreadName
from ..extract.policy import key_of, privacy_of
from ..parameters import CHOICES, one_of
from ..settings import Retention
from ..windows import SECOND
from .for_analysts import SECTION, SETTINGS

NAME = "np6"
"""The source's name and section: the commands have no other."""


def check_names() -> None:
    """Refuses a name in ``[sources.np6]`` or the environment that resembles a parameter.

    One that resembles none is warned of: it may be another program's.

    Values are looked at where a setting has a few: a command that does not need it refuses what
    the next would.

    Raises:
        SettingError: Names what is there and what was probably meant.
    """
    configured_names.check_names(NAME, NAME, inspect.signature(np6_source).parameters)
    check_values()


def check_values() -> None:
    """Refuses a configured value of a setting that has a few, where it is none of them.

    Raises:
        SettingError: Names the setting and the nearest value.
    """
    choices = {**CHOICES, **{name: one.choices for name, one in SETTINGS.items() if one.choices}}
    for name, known in choices.items():
        value: Any = dlt.config.get(f"{SECTION}.{name}")
        if value is not None:
            one_of(value, name, known)
    pii: Any = dlt.config.get(f"{SECTION}.pii")
    if isinstance(pii, str) and not pii.lstrip().startswith("{"):
        one_of(pii, "pii", tuple(PRESETS))


def unread_names() -> list[UnreadName]:
    """Every name that is configured and that nothing reads."""
    return configured_names.unread_names(NAME, NAME, inspect.signature(np6_source).parameters)


def configured_key() -> DigestKey | None:
    """The key of digests that is configured, as ``np6_source`` finds it.

    Raises:
        SettingError: It is too short.
    """
    return key_of(dlt.secrets.get(f"{SECTION}.pii_key"))


def configured_privacy() -> Privacy:
    """The policy for personal data that is configured, as ``np6_source`` finds it.

    Raises:
        SettingError: It cannot be used.
    """
    pii: Any = dlt.config.get(f"{SECTION}.pii")
    return privacy_of(pii, dlt.secrets.get(f"{SECTION}.pii_key"))


def label_key() -> DigestKey | None:
    """The key under which ids of contacts are stored and shown; None: they are not hidden by one.

    Raises:
        SettingError: The policy that is configured cannot be used.
    """
    return configured_privacy().key


def contacts_are_stored() -> bool:
    """Whether the tables have contacts' ids as NP6 knows them.

    Raises:
        SettingError: The policy that is configured cannot be used.
    """
    return "contact_id" not in configured_privacy().masked


def configured_cutoff(retention: str | None = None) -> int | None:
    """From when events are kept, milliseconds since the epoch; None: for ever.

    Args:
        retention: The span, None: as configured.

    Raises:
        SettingError: It is no span.
    """
    text = retention or dlt.config.get(f"{SECTION}.retention", str)
    return None if text is None else Retention.parse(text).cutoff(int(time.time() * SECOND))


def configured_ids(kind: str) -> list[str]:
    """The ids of a kind that are configured.

    Args:
        kind: The parameter of ``np6_source``.
    """
    found: Any = dlt.config.get(f"{SECTION}.{kind}", list)
    return [str(one) for one in found or ()]
