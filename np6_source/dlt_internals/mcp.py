"""Tools for dlt's MCP servers.

Read in dlt 1.31.0: ``dlt/common/configuration/plugins.py`` (``plug_mcp``,
``SupportsMcpFeatures``), ``dlt/_workspace/_plugins.py`` (how dlt's own tools are given) and
``dlt/_workspace/access.py`` (a tool that does not say what it needs is offered only where
everything is granted).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from dlt._workspace.access import RequiresAccess

TReads = Annotated[dict[str, Any], RequiresAccess(data=("read",))]
"""What a tool returns that reads the destination."""

TAsks = Annotated[dict[str, Any], RequiresAccess(data=("read",), local=("network",))]
"""What a tool returns that asks NP6 besides."""


class Feature(NamedTuple):
    """What a plug-in hands to an MCP server; dlt's ``SupportsMcpFeatures``."""

    name: str
    tools: tuple[Callable[..., Any], ...]
    prompts: tuple[Any, ...] = ()
    providers: tuple[Any, ...] = ()
