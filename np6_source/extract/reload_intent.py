"""The intent of a reload, in the source's state: extraction adds to it what it does.

``upkeep.reloading`` begins reloads and ends them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..ledger import of_scope_key, scope_key

INTENT = "reload"
"""Key of the source's state: a reload that has begun and is not through."""


def note_package(source_state: Any, load_id: str | None) -> None:
    """Notes that a load package, which is being extracted, belongs to a reload of its source.

    Args:
        source_state: The source's state, which the package commits.
        load_id: The package; None where none is being made.
    """
    intent = source_state.get(INTENT)
    if intent is not None and load_id and load_id not in intent["packages"]:
        intent["packages"].append(load_id)


def rename_scopes(source_state: Any, resource: str, names: Mapping[str, Iterable[str]]) -> None:
    """Renames ids that had another label under another policy, to the reload's labels.

    Args:
        source_state: The source's state.
        resource: The resource.
        names: Former labels of each id, by its present label.
    """
    spans = source_state.get(INTENT, {}).get("spans", {}).get(resource, {})
    for name, former in names.items():
        for key in list(spans):
            label, classification = of_scope_key(key)
            if label in former:
                spans[scope_key(name, classification)] = spans.pop(key)
