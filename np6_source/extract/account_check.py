"""Whose events a pipeline's tables have, for what reads beside its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt
from dlt.extract import DltSource

from .account import ACCOUNT, Account, check_base_url, refuse_unproven_key
from .selection import session_of


def check_account(
    pipeline: dlt.Pipeline, source: DltSource, what: str
) -> frozenset[tuple[str, str]]:
    """Makes sure that a source is of the account that a pipeline has loaded.

    Args:
        pipeline: The pipeline, in sync with its destination.
        source: The source.
        what: Who asks, for the message.

    Returns:
        Agency and customer of the account's events, as far as they are known.

    Raises:
        SettingError: Address or key are another's.
    """
    state: Mapping[str, Any] = pipeline.state.get("sources", {}).get(source.name, {})
    if ACCOUNT not in state:
        return frozenset()
    known, session = Account.from_state(state[ACCOUNT]), session_of(source)
    if not session.settings.same_account:
        check_base_url(known, session.base_url, source.name)
        if session.key not in known.keys:
            refuse_unproven_key(known, what)
    return known.identities
