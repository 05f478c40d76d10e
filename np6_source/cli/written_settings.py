"""Writes settings into ``[sources.np6]`` of dlt's ``config.toml``. Comments and order are kept."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dlt
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from ..errors import SettingError

SECTIONS = ("sources", "np6")


def config_file() -> Path:
    """The project's ``config.toml``; it need not be there."""
    return Path(dlt.current.run_context().settings_dir) / "config.toml"


def with_settings(before: str, settings: Mapping[str, Any]) -> str:
    """The text of a configuration with settings in ``[sources.np6]``.

    Args:
        before: The text, empty where there is none.
        settings: Values by name.

    Raises:
        SettingError: The text is no TOML, or has something else in that place.
    """
    try:
        document = tomlkit.parse(before)
    except TOMLKitError as error:
        raise SettingError(f"config.toml is no TOML: {error}") from None
    section: Any = document
    for depth, name in enumerate(SECTIONS):
        if name not in section:
            section[name] = tomlkit.table(is_super_table=depth == 0)
        section = section[name]
        if not isinstance(section, (Table, Mapping)):
            raise SettingError(f"config.toml: {name} is no section")
    for name, value in settings.items():
        section[name] = value
    return tomlkit.dumps(document)


def difference(before: str, after: str, file: Path) -> list[str]:
    """What changes, as ``diff -u`` shows it."""
    name = str(file)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    return list(lines)


def write(file: Path, before: str, after: str) -> Path | None:
    """Writes a file whole or not at all, and keeps what was there beside it.

    Args:
        file: The file.
        before: What is in it, empty where it is not there.
        after: What is to be in it.

    Returns:
        The copy; None where there was nothing to keep.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    copy = None
    if file.exists():
        copy = file.with_name(file.name + ".before-probe")
        copy.write_text(before, "utf-8")
    draft = file.with_name(file.name + ".draft")
    draft.write_text(after, "utf-8")
    if file.exists():
        os.chmod(draft, file.stat().st_mode & 0o777)
    draft.replace(file)
    return copy
