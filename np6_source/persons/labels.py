"""What a contact's ids are called in the ledger, in dlt's state and in messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..bookkeeping.source_state import BACKFILLS, PROGRESS
from ..endpoints import ENDPOINTS, scope_label
from ..events.digests import DigestKey, canonical
from ..extract.account import WITNESS
from ..extract.policy import KEYED
from ..extract.reload_intent import INTENT
from ..extract.unknown_ids import UNKNOWN_IDS
from ..ledger import of_scope_key
from .dataset import Dataset
from .finding import Person

RESOURCES_OF_CONTACTS = frozenset(row.name for row in ENDPOINTS if row.ids_are_of_contacts)
"""The resources that load by contact."""


@dataclass(frozen=True)
class Labels:
    """The labels of a contact.

    Attributes:
        digests: Those that are digests, which are nobody else's.
        plain: Ids as they are, which may be an action's as well.
    """

    digests: frozenset[str]
    plain: frozenset[str]

    def has(self, resource: str, label: str) -> bool:
        """Whether a resource's label is the contact's."""
        return label in self.digests or (resource in RESOURCES_OF_CONTACTS and label in self.plain)


def labels_of(data: Dataset, person: Person) -> Labels:
    """The labels under which a contact may have been loaded, by this version and earlier ones."""
    key = data.key
    digests = {f"{KEYED}{digest[:16]}" for digest in person.contacts | person.addresses}
    clear = set(person.given)
    if not data.is_hashed("contact_id"):
        clear |= person.ids
    if not data.is_hashed("address"):
        clear |= person.unicities | person.recipients
    if not data.is_hashed("contact_hash"):
        clear |= person.hashes
    digests |= set(_digests_of(clear, key))
    return Labels(frozenset(digests), frozenset(clear))


def _digests_of(values: Iterable[str], key: DigestKey) -> Iterable[str]:
    for value in values:
        for text in (value, canonical(value)):
            yield f"{KEYED}{key.exact(text)[:16]}"
            yield scope_label(text, is_personal=True)


def forget_labels(source_state: Any, is_meant: Callable[[str, str], bool]) -> None:
    """Takes ids out of a source's state, with how far they were loaded.

    Args:
        source_state: dlt's state of the source; it is changed.
        is_meant: Whether a resource's label is to go.
    """
    for name, by_label in _by_resource(source_state):
        for key in [key for key in by_label if is_meant(name, of_scope_key(key)[0])]:
            del by_label[key]
    for name, state in source_state.get("resources", {}).items():
        if WITNESS in state and is_meant(name, state[WITNESS]["scope"]):
            del state[WITNESS]


def labels_in(source_state: Any) -> Iterator[tuple[str, str]]:
    """Resource and label of every id in a source's state."""
    for name, by_label in _by_resource(source_state):
        for key in by_label:
            yield name, of_scope_key(key)[0]
    for name, state in source_state.get("resources", {}).items():
        if WITNESS in state:
            yield name, state[WITNESS]["scope"]


def _by_resource(source_state: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything in a source's state that is kept by ``scope_key``, with its resource."""
    for name, state in source_state.get("resources", {}).items():
        for key in (PROGRESS, UNKNOWN_IDS):
            yield name, state.get(key, {})
        for by_label in state.get(BACKFILLS, {}).values():
            yield name, by_label
    yield from source_state.get(INTENT, {}).get("spans", {}).items()
