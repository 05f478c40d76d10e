"""What this package uses of dlt that dlt does not promise, each with the version it was read in.

An upgrade of dlt is a review of this file (and of ``lake``) and a run of its tests.
"""

from __future__ import annotations

from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime import signals


def where_configured(field: str, value: str, *sections: str) -> str | None:
    """Where dlt's configuration has a value for a field, in words for a message.

    ``dlt.current.run_context()`` hands out no providers, so that they come from the injection
    container (dlt 1.31).

    Args:
        field: Name of the field.
        value: The value looked for; blanks around it do not count.
        *sections: The sections, exactly: dlt's search in ever shorter ones is not repeated.

    Returns:
        ``the environment variable SOURCES__NP6__API_KEY``, ``sources.np6.api_key in
        .dlt/secrets.toml``; None where no provider has the value there.
    """
    context = Container()[PipelineContext]
    pipeline_name = context.pipeline().pipeline_name if context.is_active() else None
    for provider in Container()[PluggableRunContext].providers.providers:
        if sections and not provider.supports_sections:
            continue
        for name in dict.fromkeys((pipeline_name, "")):
            found, key = provider.get_value(field, str, name, *sections)
            if found is None or str(found).strip() != value.strip():
                continue
            if provider.name == "Environment Variables":
                return f"the environment variable {key}"
            file = provider.get_value_location(field, name, *sections) or provider.name
            return f"{key} in {file}"
    return None


def is_stop_requested() -> bool:
    """Whether dlt has received SIGTERM or Ctrl-C and waits for a good moment to end.

    dlt looks at it between two items of a resource only (dlt 1.31, ``extract.extract``); while a
    resource waits nobody does.
    """
    return signals.was_signal_received()
