"""What contacts' ids are called once a dataset is masked: by the key, or not at all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..dimensions import DIMENSIONS, Dimension
from ..endpoints import ENDPOINTS, Endpoint, scope_label
from ..events.digests import DigestKey, canonical
from ..extract.account import ACCOUNT
from ..extract.policy import KEYED, POLICY, label_of, rename_labels
from ..extract.reload_intent import INTENT
from ..ledger import of_scope_key, scope_key
from ..persons.labels import forget_labels, labels_in

OPERATIONS_OF_CONTACTS: Mapping[str, Endpoint | Dimension] = {
    **{row.name: row for row in ENDPOINTS if row.ids_are_of_contacts},
    **{row.name: row for row in DIMENSIONS if row.ids_are_of_contacts},
}
"""The operations that load by contact, by the resource's name."""


@dataclass(frozen=True)
class NewLabels:
    """What becomes of labels.

    Attributes:
        names: The new label by resource and former one; None: it goes, with its progress, for its
            id is not known here.
    """

    names: Mapping[tuple[str, str], str | None]

    def of(self, resource: str, label: str) -> str | None:
        """The label that a resource's label becomes; None: its rows go."""
        return self.names.get((resource, label), label)

    @property
    def renamed(self) -> int:
        """How many get another name."""
        return sum(1 for name in self.names.values() if name is not None)

    @property
    def forgotten(self) -> int:
        """How many go."""
        return len(self.names) - self.renamed

    def change_state(self, state: Any, recorded: str) -> None:
        """Calls ids in a pipeline's state by their new labels, and notes the policy.

        Args:
            state: dlt's state of a pipeline; it is changed.
            recorded: The policy, as ``Privacy.recorded``.
        """
        for source in state.get("sources", {}).values():
            if ACCOUNT not in source and POLICY not in source:
                continue  # Another package's.
            if recorded:
                source[POLICY] = recorded
            else:
                source.pop(POLICY, None)
            forget_labels(source, lambda resource, label: self.of(resource, label) is None)
            for name, resource in source.get("resources", {}).items():
                rename_labels(resource, self._former_names(name))
            for name, spans in source.get(INTENT, {}).get("spans", {}).items():
                for key in [*spans]:
                    label, classification = of_scope_key(key)
                    new = scope_key(self.of(name, label) or label, classification)
                    spans[new] = spans.pop(key)

    def _former_names(self, resource: str) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for (of, label), name in self.names.items():
            if of == resource and name is not None:
                found[name] = found.get(name, frozenset()) | {label}
        return found


def labels_in_state(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Resource and label of every contact's id in a pipeline's state."""
    for source in state.get("sources", {}).values():
        for resource, label in labels_in(source):
            if resource in OPERATIONS_OF_CONTACTS:
                yield resource, label


def to_rename(there: Iterable[tuple[str, str]], key: DigestKey | None) -> set[tuple[str, str]]:
    """Of resources and labels those of contacts that are not called by the key yet."""
    return {
        (resource, label)
        for resource, label in there
        if key is not None
        and resource in OPERATIONS_OF_CONTACTS
        and label
        and not label.startswith(KEYED)
    }


def needs_values(labels: Iterable[tuple[str, str]]) -> bool:
    """Whether there are labels whose ids can only be found by trying values."""
    return any(OPERATIONS_OF_CONTACTS[resource].ids_are_personal for resource, _ in labels)


def new_labels(
    labels: Iterable[tuple[str, str]], key: DigestKey | None, values: Iterable[str]
) -> NewLabels:
    """What labels become.

    Args:
        labels: Resource and label, as ``to_rename`` returns them.
        key: The key.
        values: Addresses and hashes that some of them may be of.
    """
    labels = set(labels)
    wanted = {
        label for resource, label in labels if OPERATIONS_OF_CONTACTS[resource].ids_are_personal
    }
    ids: dict[str, str] = {}
    if wanted:
        for value in values:
            for text in (value, canonical(value)):
                if (label := scope_label(text, is_personal=True)) in wanted:
                    ids.setdefault(label, text)
    names: dict[tuple[str, str], str | None] = {}
    for resource, label in labels:
        row = OPERATIONS_OF_CONTACTS[resource]
        one = ids.get(label) if row.ids_are_personal else label
        names[resource, label] = None if one is None else label_of(one, row, key)
    return NewLabels(names)
