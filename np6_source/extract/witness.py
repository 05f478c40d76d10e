"""Makes sure that a run's address and key are those of the account that the state belongs to.

An event that an earlier run has seen is the witness: a key that shows it is the same account's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import dlt

from ..bookkeeping.source_state import has_progress
from ..endpoints import Endpoint
from ..windows import SECOND, Window
from .account import (
    ACCOUNT,
    WITNESS,
    Account,
    check_base_url,
    check_identities,
    refuse_unproven_key,
)
from .chosen_actions import ChosenActions, TScopeIds
from .facts import EventFacts
from .policy import KEYED
from .progress import Scope
from .session import ExtractSession

TLook = Callable[[Scope, Window, str], EventFacts]
"""Reads a window of a scope, with a class of robots, and returns what its events have in common."""


class AccountWitness:
    """Whose events a run of one resource reads."""

    def __init__(self, endpoint: Endpoint, session: ExtractSession) -> None:
        """Compares the address with the state's.

        Args:
            endpoint: The operation.
            session: Knows the address and the key.

        Raises:
            SettingError: The address is another account's.
        """
        self._endpoint = endpoint
        self._session = session
        self._last: dict[str, Any] | None = None
        self._source_state: MutableMapping[str, Any] = dlt.current.source_state()
        state, key = self._source_state, session.key
        if ACCOUNT in state and not (state[ACCOUNT]["identities"] or has_progress(state)):
            # No response was ever taken under that address: it may have been a slip of the pen.
            del state[ACCOUNT]
        if ACCOUNT not in state or session.settings.same_account:
            known = Account.from_state(state[ACCOUNT]) if ACCOUNT in state else None
            state[ACCOUNT] = Account(
                session.base_url,
                frozenset({key}) | (known.keys if known else frozenset()),
                known.identities if known else frozenset(),
            ).to_state()
        self._account = Account.from_state(state[ACCOUNT])
        check_base_url(self._account, session.base_url, dlt.current.source_schema().name)
        self.key_is_known = key in self._account.keys

    def is_shown(self, state: Mapping[str, Any], scope_ids: TScopeIds, look: TLook) -> bool:
        """Whether an unknown key shows an event that an earlier run has seen; False: there is none.

        Args:
            state: dlt's state of the resource.
            scope_ids: The ids of the run.
            look: Reads a window.

        Raises:
            SettingError: It does not, or shows another account's.
            RequestFailed: It could not be asked.
        """
        witness = state.get(WITNESS)
        if witness is None or not self._account.identities:
            return False
        label, begin = witness["scope"], witness["at"] // SECOND * SECOND
        scope_id = label
        if self._endpoint.ids_are_personal or label.startswith(KEYED):
            given = () if isinstance(scope_ids, ChosenActions) else scope_ids
            ids = {self._session.label_of(known, self._endpoint): known for known in given}
            if label not in ids:
                return False
            scope_id = ids[label]
        window = Window(begin, begin + SECOND)
        scope = Scope(scope_id, label, window.start, window.end)
        self.see(look(scope, window, witness.get("classification", "")))
        if not self.key_is_known:
            refuse_unproven_key(self._account, self._endpoint.name)
        return True

    def see(self, facts: EventFacts) -> None:
        """Learns from events whose account they are of.

        Raises:
            SettingError: The key is not known, and they are of another.
        """
        if not facts.accounts:
            return
        known = Account.from_state(self._source_state[ACCOUNT])
        if not self.key_is_known:
            check_identities(known, facts.accounts, self._endpoint.name)
            known = known.with_key(self._session.key)
            self.key_is_known = True
        if (account := known.seen(facts.accounts)) != Account.from_state(
            self._source_state[ACCOUNT]
        ):
            self._source_state[ACCOUNT] = account.to_state()

    def remember(self, label: str, facts: EventFacts, classification: str) -> None:
        """Takes the last event of a complete window as the next witness.

        Args:
            label: The scope, as it is stored.
            facts: What the events have in common.
            classification: The class of robots that was requested.
        """
        if facts.latest is None:
            return
        self._last = {"scope": label, "at": facts.latest}
        if classification:
            self._last["classification"] = classification

    def save(self, state: MutableMapping[str, Any]) -> None:
        """Puts the witness into dlt's state of the resource."""
        if self._last is not None:
            state[WITNESS] = self._last
