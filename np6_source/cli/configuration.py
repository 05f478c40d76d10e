"""What is configured for the source and would be read by nobody: a misspelt name."""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dlt

from .. import np6_source
from ..dataset_lock import WAITS
from ..endpoints import ENDPOINTS
from ..errors import SettingError, nearest
from ..events.digests import DigestKey
from ..events.privacy import PRESETS, Privacy
from ..extract.policy import key_of, privacy_of
from ..settings import CHOICES, Retention, one_of
from ..windows import SECOND
from .for_analysts import SECTION, SETTINGS

logger = logging.getLogger(__name__)

_PREFIX = "SOURCES__NP6__"
CONTROLLER = "privacy"
"""What ``person`` shows of the section ``sources.np6.privacy``: purpose, recipients, contact."""
_NEAR_SECTIONS = ("source.np6", "source.np_6", "sources.np_6", "sources.NP6")
"""What is written where ``sources.np6`` is meant."""
_NEAR_PREFIX = re.compile(r"SOURCES?_+NP_?6_+(.+)", re.IGNORECASE)
"""The same in the environment, with one underscore for two, for example."""
_OF_DLT = ("max_table_nesting", "root_key", "schema", "schema_contract", "name", "section")
"""What dlt itself reads in a source's section."""


def check_names() -> None:
    """Refuses a name in ``[sources.np6]`` or the environment that resembles a parameter.

    One that resembles none is warned of: it may be another program's.

    Values are looked at where a setting has a few: a command that does not need it refuses what
    the next would.

    Raises:
        SettingError: Names what is there and what was probably meant.
    """
    for name in unread_names():
        if name.meant is not None:
            raise SettingError(str(name))
        logger.warning("%s", name)
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


@dataclass(frozen=True)
class UnreadName:
    """A name that is configured and that nothing reads.

    Attributes:
        name: The name.
        where: It, with where it was found.
        meant: How the parameter is written that it resembles; None: it resembles none.
    """

    name: str
    where: str
    meant: str | None

    def __str__(self) -> str:
        if self.meant is not None:
            return f"{self.where} is read by nobody: did you mean {self.meant}?"
        return f"{self.where} is read by nobody: np6_source has no parameter {self.name}"


def unread_names() -> list[UnreadName]:
    """Every such name."""
    settings = [*inspect.signature(np6_source).parameters, *WAITS, *SETTINGS]
    known = [*settings, *_OF_DLT, CONTROLLER]
    resources = {endpoint.name for endpoint in ENDPOINTS}
    found = []
    for name, where in _names():
        if name in known or name in resources or name == "np6":
            continue
        meant = nearest(name, known)
        if meant is not None and where == name_in_environment(name):
            meant = _PREFIX + meant.upper()
        found.append(UnreadName(name, where, meant))
    found += [one for one in _in_no_section() if one.name in settings]
    return found


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
    return configured_privacy().label_key


def contacts_are_stored() -> bool:
    """Whether the tables have contacts' ids as NP6 knows them.

    Raises:
        SettingError: The policy that is configured cannot be used.
    """
    pii: Any = dlt.config.get(f"{SECTION}.pii")
    privacy = privacy_of(pii, dlt.secrets.get(f"{SECTION}.pii_key"))
    return "contact_id" not in privacy.masked


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


def name_in_environment(name: str) -> str:
    """The variable that gives a parameter."""
    return _PREFIX + name.upper()


def _in_no_section() -> Iterator[UnreadName]:
    """Names that are configured in a section, or behind a prefix, which nothing reads."""
    for variable in os.environ:
        matched = _NEAR_PREFIX.fullmatch(variable)
        if matched and not variable.startswith(_PREFIX):
            name = matched[1].lower()
            yield UnreadName(name, variable, name_in_environment(name))
    for section in _NEAR_SECTIONS:
        for name, file in _in_files(section):
            yield UnreadName(name, f"{name} in [{section}] of {file}", f"[{SECTION}]")


def _names() -> Iterator[tuple[str, str]]:
    """Names that are configured, each with where it is."""
    for variable in os.environ:
        if variable.startswith(_PREFIX):
            name = variable.removeprefix(_PREFIX).split("__")[0].lower()
            yield name, name_in_environment(name)
    for name, file in _in_files(SECTION):
        yield name, f"{name} in [{SECTION}] of {file}"


def _in_files(section: str) -> Iterator[tuple[str, str]]:
    """Names in a section of ``config.toml`` and ``secrets.toml``, each with the file it is in.

    ``dlt.config.get`` looks into both and does not say which had it.
    """
    *outer, last = section.split(".")
    for provider in dlt.config.config_providers:
        if provider.name in ("config.toml", "secrets.toml"):
            found, _ = provider.get_value(last, dict, "", *outer)
            for name in found or {}:
                yield name, provider.name
