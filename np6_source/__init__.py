"""NP6 (ChapsVision) events as a dlt source.

A name is imported when it is first used: dlt takes a second, in which the commands have to answer
Ctrl-C (``__main__``), and the local NP6 API needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoints import ENDPOINTS, Endpoint
    from .errors import Np6Error, RequestFailed, SettingError, TryAgainLater
    from .runs.last_run import raise_if_incomplete
    from .source import np6_source

__all__ = [
    "ENDPOINTS",
    "Endpoint",
    "Np6Error",
    "RequestFailed",
    "SettingError",
    "TryAgainLater",
    "np6_source",
    "raise_if_incomplete",
]

_MODULES = {
    "ENDPOINTS": "endpoints",
    "Endpoint": "endpoints",
    "Np6Error": "errors",
    "RequestFailed": "errors",
    "SettingError": "errors",
    "TryAgainLater": "errors",
    "np6_source": "source",
    "raise_if_incomplete": "runs.last_run",
}
"""Where each name is."""


def __getattr__(name: str) -> Any:
    """A name of ``__all__``, when it is used (PEP 562).

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
