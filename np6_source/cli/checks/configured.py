"""Steps 1 and 2: what is installed, what is configured, and whether there is a key."""

from __future__ import annotations

import platform
from importlib.metadata import version

import dlt

from ...api.credentials import MaskedKey, checked_key, key_origin, refuse_foreign_key
from ...dlt_internals.configuration import configuration_files
from ...errors import SettingError
from ..configuration import unread_names
from ..document import installed_version
from ..outcome import MISSING_KEY
from .findings import Finding, Step

KEY = "sources.np6.api_key"


def check_versions() -> Step:
    """The versions of what a load depends on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("dlt", "duckdb", "pyarrow"))
    what = f"np6-source {installed_version()}, {packages}, Python {platform.python_version()}"
    return Step("versions", Finding(what))


def check_configuration() -> Step:
    """The files that dlt reads, and names in them that nothing reads."""
    files = ", ".join(configuration_files()) or "no file; the environment alone"
    unread = unread_names()
    if not unread:
        return Step("configuration", Finding(files))
    is_misspelt = any(name.meant is not None for name in unread)
    return Step(
        "configuration",
        Finding(
            "; ".join(map(str, unread)),
            "error" if is_misspelt else "warning",
            "Write the name as the parameter is called, or take it away.",
        ),
    )


def check_key() -> Step:
    """Whether there is a key that can be one, and where it is. Never shows it."""
    key = _masked(dlt.secrets.get(KEY, str))
    try:
        if key is None:
            other = _masked(dlt.secrets.get("api_key", str))
            if other is not None:
                refuse_foreign_key(other)
            if dlt.config.get(KEY, str):
                raise SettingError("config.toml has the key, where dlt takes no secrets")
            what, _, advice = MISSING_KEY.partition(". ")
            return Step("key", Finding(f"{what}.", "error", advice))
        checked_key(key)
    except SettingError as error:
        return Step("key", Finding(str(error), "error", "See .dlt/example.secrets.toml."))
    return Step("key", Finding(key_origin(key) or "configured"))


def _masked(key: str | None) -> MaskedKey | None:
    return MaskedKey(key) if key else None
