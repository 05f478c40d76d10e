"""What dlt finds of np6_source where both are installed (entry point group ``dlt``).

dlt imports this module whenever it starts, for projects that have nothing to do with NP6 as well:
so it is small, and outside of the package, whose import would take much longer.
"""

from __future__ import annotations

from typing import Any

from dlt.common.configuration.plugins import hookimpl

__all__ = ["plug_mcp"]


@hookimpl
def plug_mcp(features: set[str]) -> Any:
    """The tools for dlt's MCP servers, of a workspace and of a pipeline.

    Args:
        features: What the server asks for.

    Returns:
        The tools; None where tools about pipelines are not asked for.
    """
    if "pipeline" not in features:
        return None
    from np6_source.cli.mcp_tools import FEATURE

    return FEATURE
