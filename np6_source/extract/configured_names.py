"""Names in a source's section of dlt's configuration that nothing reads: most of them are misspelt.

A misspelt ``start`` loads another period, a misspelt ``pii`` stores persons as they are.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dlt

from ..dataset_lock import WAITS
from ..dlt_internals.configuration import active_pipeline_name
from ..endpoints import ENDPOINTS
from ..errors import SettingError, nearest

logger = logging.getLogger(__name__)

CONTROLLER = "privacy"
"""What ``person`` shows of the section ``sources.np6.privacy``: purpose, recipients, contact."""
OF_COMMANDS = ("views", "materialize", "message_key", "publish")
"""Settings of the commands alone, see ``cli.for_analysts``."""

_TABLES = ("pii", CONTROLLER)
"""What can be a section of its own. Other sections are dlt's, or those of a host's sources."""
_OF_DLT = ("max_table_nesting", "root_key", "schema", "schema_contract", "name", "section")
"""What dlt itself reads in a source's section (dlt 1.31); its other settings are in sections."""
_NEAR_SECTIONS = ("source.np6", "source.np_6", "sources.np_6", "sources.NP6")
"""What is written where ``sources.np6`` is meant."""
_NEAR_PREFIX = re.compile(r"SOURCES?_+NP_?6_+(.+)", re.IGNORECASE)
"""The same in the environment, with one underscore for two, for example."""


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


def check_names(section: str, name: str, parameters: Iterable[str]) -> None:
    """Refuses a configured name that resembles a parameter; warns of one that resembles none.

    Args:
        section: The source's section below ``sources``: ``np6``, unless a host has named another.
        name: The source's name.
        parameters: The parameters of the source.

    Raises:
        SettingError: Names what is there and what was probably meant.
    """
    for unread in unread_names(section, name, parameters):
        if unread.meant is not None:
            raise SettingError(str(unread))
        logger.warning("%s", unread, extra={"cause": str(unread)})


def unread_names(section: str, name: str, parameters: Iterable[str]) -> list[UnreadName]:
    """Every name that is configured for a source and that nothing reads.

    Args:
        section: As in ``check_names``.
        name: Likewise.
        parameters: Likewise.
    """
    settings = [*parameters, *WAITS, *OF_COMMANDS]
    tables = {*_TABLES, name, *(endpoint.name for endpoint in ENDPOINTS)}
    found = []
    for one in (*_names(section), *_names(section, name)):
        if one.is_table:
            known, meant = tables, nearest(one.name, _TABLES)
        else:
            known, meant = {*settings, *_OF_DLT}, nearest(one.name, settings)
        if one.name not in known and (meant or not one.is_table):
            found.append(UnreadName(one.name, one.where, meant and one.written(meant)))
    if section == "np6":
        found += [one for one in _in_no_section() if one.name in {*settings, *_TABLES}]
    return found


@dataclass(frozen=True)
class _Name:
    """A name that is configured.

    Attributes:
        name: The name.
        where: It, with where it is.
        is_table: Whether it has names below it.
        prefix: What is before it in the environment; empty in a file.
    """

    name: str
    where: str
    is_table: bool
    prefix: str = ""

    def written(self, name: str) -> str:
        """Another name as it is written in the same place."""
        return f"{self.prefix}{name.upper()}" if self.prefix else name


def _names(*sections: str) -> Iterator[_Name]:
    """Names that are configured in a section below ``sources``.

    dlt looks into the section of the active pipeline's name before, and into no other's.
    """
    yield from _names_of("", *sections)
    pipeline_name = active_pipeline_name()
    if pipeline_name:
        yield from _names_of(pipeline_name, *sections)


def _names_of(pipeline_name: str, *sections: str) -> Iterator[_Name]:
    """The same for one pipeline; for all, where its name is empty."""
    outer = (pipeline_name,) if pipeline_name else ()
    prefix = "".join(f"{part.upper()}__" for part in (*outer, "sources", *sections))
    seen = set()
    for variable in os.environ:
        if variable.startswith(prefix):
            first, *below = variable.removeprefix(prefix).split("__")
            if (first, bool(below)) not in seen:
                seen.add((first, bool(below)))
                yield _Name(first.lower(), prefix + first, bool(below), prefix)
    section = ".".join((*outer, "sources", *sections))
    for name, value, file in _in_files(section):
        yield _Name(name, f"{name} in [{section}] of {file}", isinstance(value, dict))


def _in_no_section() -> Iterator[UnreadName]:
    """Names that are configured in a section, or behind a prefix, which nothing reads."""
    for variable in os.environ:
        matched = _NEAR_PREFIX.fullmatch(variable)
        if matched and not variable.startswith("SOURCES__NP6__"):
            name = matched[1].lower()
            yield UnreadName(name, variable, f"SOURCES__NP6__{name.upper()}")
    for section in _NEAR_SECTIONS:
        for name, _, file in _in_files(section):
            yield UnreadName(name, f"{name} in [{section}] of {file}", "[sources.np6]")


def _in_files(section: str) -> Iterator[tuple[str, object, str]]:
    """Names and values in a section of ``config.toml`` and ``secrets.toml``, each with the file.

    ``dlt.config.get`` looks into both and does not say which had it.
    """
    *outer, last = section.split(".")
    for provider in dlt.config.config_providers:
        if provider.name in ("config.toml", "secrets.toml"):
            found, _ = provider.get_value(last, dict, "", *outer)
            for name, value in (found or {}).items():
                yield name, value, provider.name
