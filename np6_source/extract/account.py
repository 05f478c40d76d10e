"""Which account a pipeline's state belongs to, so that no other account goes on from it.

The state remembers the base URL, digests of the keys it was loaded with, and the identities (agency
and customer) of the events. The key may be replaced by another of the same account: an event that
an earlier run has seen proves it. Pure values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SettingError, listed

ACCOUNT, WITNESS = "account", "witness"
"""Keys of the source's state, and of a resource's: an event by which its account is known again."""

MOST_IDENTITIES = 1_000
"""Identities that are remembered; an agency's key may see many customers."""

ADVICE = (
    "Nothing was loaded. Load another account in a pipeline (or a source, with"
    " np6_source.clone(name=...)) and a dataset of its own. If it is the same account, its address"
    " or its key having changed, run once with same_account=True (in the environment:"
    " SOURCES__NP6__SAME_ACCOUNT=true)."
)


@dataclass(frozen=True)
class Account:
    """What a state knows of its account.

    Attributes:
        base_url: Root of the API.
        keys: Digests of the keys that were shown to be the account's.
        identities: Agency and customer of events.
    """

    base_url: str
    keys: frozenset[str]
    identities: frozenset[tuple[str, str]] = frozenset()

    def to_state(self) -> dict[str, Any]:
        """The account as JSON values."""
        return {
            "base_url": self.base_url,
            "keys": sorted(self.keys),
            "identities": sorted(list(identity) for identity in self.identities),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Account:
        """The account from the JSON values of ``to_state``."""
        return cls(
            state["base_url"],
            frozenset(state["keys"]),
            frozenset((agency, customer) for agency, customer in state["identities"]),
        )

    def seen(self, identities: Iterable[tuple[str, str]]) -> Account:
        """The account with identities of further events."""
        new = frozenset(identities) - self.identities
        if not new or len(self.identities) >= MOST_IDENTITIES:
            return self
        return replace(self, identities=self.identities | new)

    def with_key(self, key: str) -> Account:
        """The account with a key that was shown to be its own."""
        return replace(self, keys=self.keys | {key})


def key_digest(base_url: str, api_key: str) -> str:
    """A short digest by which a key is known again; tells nothing of the key."""
    return hashlib.sha256(f"np6 key\n{base_url}\n{api_key}".encode()).hexdigest()[:16]


def check_base_url(known: Account, base_url: str, source: str) -> None:
    """Refuses another address than the account was loaded from.

    Args:
        known: The account of the state.
        base_url: The address to load from, in its normal form.
        source: Name of the source.

    Raises:
        SettingError: It is another.
    """
    if known.base_url != base_url:
        raise SettingError(
            f"{source}: base_url is {base_url}, but this pipeline's state and tables are of the"
            f" account at {known.base_url}. {ADVICE}"
        )


def check_identities(known: Account, identities: Iterable[tuple[str, str]], resource: str) -> None:
    """Refuses a key whose events are another account's.

    Args:
        known: The account of the state.
        identities: Agency and customer of events that the key has given.
        resource: Name of the resource.

    Raises:
        SettingError: None of them is the account's.
    """
    found = frozenset(identities)
    if found and known.identities and found.isdisjoint(known.identities):
        raise SettingError(
            f"{resource}: this API key's events are of {_names(found)}, but this pipeline's state"
            f" and tables are of {_names(known.identities)}. {ADVICE}"
        )


def check_known(
    known: frozenset[tuple[str, str]], found: Iterable[tuple[str, str]], resource: str
) -> None:
    """Refuses events of another account, where nothing of the account but this is known.

    Args:
        known: Agency and customer of the account's events, as far as they are known.
        found: Those of the events of a response.
        resource: Name of the resource.

    Raises:
        SettingError: They are another's.
    """
    check_identities(Account("", frozenset(), known), found, resource)


def refuse_unproven_key(known: Account, resource: str) -> None:
    """Says that a key does not show an event that the account has.

    Raises:
        SettingError: Always.
    """
    raise SettingError(
        f"{resource}: this API key is not one of those that loaded this pipeline's state, and does"
        f" not show the events of {_names(known.identities)} that they did. {ADVICE}"
    )


def _names(identities: Iterable[tuple[str, str]]) -> str:
    return listed(sorted(f"{agency}/{customer}" for agency, customer in identities), most=3)
