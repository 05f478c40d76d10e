"""Which policy for personal data is in force, and that a dataset has one only.

A dataset in which some rows have digests and others addresses would count one person twice, and
not keep what the stricter policy promises. So the ledger and the state record the policy of what
they loaded, and a run under another is refused before its first request.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from ..api.credentials import MaskedKey, is_placeholder
from ..bookkeeping.source_state import BACKFILLS, PROGRESS
from ..endpoints import scope_label
from ..errors import SettingError, did_you_mean
from ..events.digests import LEAST_KEY, DigestKey
from ..events.privacy import (
    PRESETS,
    Privacy,
    UnknownPolicy,
    kept_in_spite,
    policies_of,
)
from ..ledger import of_scope_key, scope_key
from .account import ACCOUNT, WITNESS
from .unknown_ids import UNKNOWN_IDS

logger = logging.getLogger(__name__)

POLICY = "policy"
"""Key of the source's state: the policy under which it was loaded; not there: all is kept."""

KEYED = "hmac:"
"""What the keyed label of a contact's id begins with."""

KEY_ADVICE = (
    "set SOURCES__NP6__PII_KEY, or pii_key in [sources.np6] of secrets.toml, to a secret text of"
    f" at least {LEAST_KEY} bytes, such as `openssl rand -hex 32` prints"
)


def privacy_of(pii: str | Mapping[str, str] | None, pii_key: str | None) -> Privacy:
    """The policy that the settings ask for.

    Args:
        pii: A preset, or policies by class; text that begins with ``{`` is JSON, as it comes from
            the environment.
        pii_key: The key for digests, if there is one.

    Raises:
        SettingError: A class or a policy is not there, or the key is missing or too short. The
            message does not show the key.
    """
    try:
        classes = policies_of(_named(pii))
    except UnknownPolicy as error:
        raise SettingError(f"pii: {error}") from None
    for name in kept_in_spite(classes):
        logger.warning(
            "pii: %s is kept, but quotes addresses, which are not: they will be in the tables.",
            name,
        )
    privacy = Privacy(classes, key_of(pii_key))
    if privacy.needs_key and privacy.key is None:
        raise SettingError(f"pii: digests (hmac) need a key: {KEY_ADVICE}")
    return privacy


def _named(pii: str | Mapping[str, str] | None) -> Mapping[str, str]:
    if isinstance(pii, str) and pii.lstrip().startswith("{"):
        try:
            pii = json.loads(pii)
        except ValueError:
            raise SettingError('pii is no JSON object like {"address": "hmac"}') from None
    if pii is None:
        return {}
    if isinstance(pii, str):
        if pii not in PRESETS:
            raise SettingError(
                f"pii={pii!r} must be one of {', '.join(PRESETS)}{did_you_mean(pii, PRESETS)}, or"
                " policies by class"
            )
        return PRESETS[pii]
    if not isinstance(pii, Mapping):
        raise SettingError(f"pii={pii!r} must be one of {', '.join(PRESETS)}, or policies by class")
    return {str(name): policy for name, policy in pii.items()}


def key_of(pii_key: str | None) -> DigestKey | None:
    """The key, if there is one; a placeholder is none.

    Raises:
        SettingError: It is too short; the message does not show it.
    """
    if pii_key is None or (isinstance(pii_key, str) and is_placeholder(pii_key.strip())):
        return None
    try:
        return DigestKey(MaskedKey(pii_key.strip()))
    except (ValueError, AttributeError):
        pass  # What Python says of it may quote the key.
    raise SettingError(f"pii_key is too short, or no text: {KEY_ADVICE}")


def check_ids_can_be_hidden(privacy: Privacy, given: Mapping[str, Any]) -> None:
    """Refuses ids of contacts that could only be stored as they are.

    Args:
        privacy: The policy.
        given: Ids by argument.

    Raises:
        SettingError: A policy is in force, there is no key, and contacts are given.
    """
    named = [name for name, ids in given.items() if ids and name.startswith("target_")]
    if named and privacy.masked and privacy.key is None:
        raise SettingError(
            f"{', '.join(named)}: under a policy (pii) ids of contacts are stored as digests, which"
            f" need a key: {KEY_ADVICE}"
        )


def label_of(scope_id: str, endpoint: Any, key: DigestKey | None) -> str:
    """The id as it is stored, logged and shown.

    Args:
        scope_id: The id as it is sent; empty for the account.
        endpoint: The row of the catalogue, of events or of names, that takes it.
        key: The key under which contacts' ids are hidden; None: addresses and hashes have a digest
            that anybody can make, other ids are shown.
    """
    if key is None or not scope_id or not endpoint.ids_are_of_contacts:
        return scope_label(scope_id, endpoint.ids_are_personal)
    # Exact: two writings of an address are two ids, and have a progress each.
    return f"{KEYED}{key.exact(scope_id)[:16]}"


def other_labels(scope_id: str, endpoint: Any, privacy: Privacy) -> frozenset[str]:
    """What the id was called before there was a key, and by versions that knew none."""
    label = label_of(scope_id, endpoint, privacy.key)
    return frozenset({label_of(scope_id, endpoint, None)} - {label})


def rename_labels(state: MutableMapping[str, Any], names: Mapping[str, Collection[str]]) -> None:
    """Renames ids in a resource's state to their present labels.

    Args:
        state: dlt's state of the resource; it is changed.
        names: Former labels of each id, by its present label.
    """
    new_name = {former: name for name, others in names.items() for former in others}

    def renamed(key: str) -> str:
        label, classification = of_scope_key(key)
        return scope_key(new_name.get(label, label), classification)

    for by_label in (
        *(state.get(key, {}) for key in (PROGRESS, UNKNOWN_IDS)),
        *state.get(BACKFILLS, {}).values(),
    ):
        for key in [key for key in by_label if renamed(key) != key]:
            by_label.setdefault(renamed(key), by_label.pop(key))
    if (witness := state.get(WITNESS)) and witness["scope"] in new_name:
        state[WITNESS] = {**witness, "scope": new_name[witness["scope"]]}


def check_policy(recorded: Collection[str], policy: str, source: str) -> None:
    """Refuses another policy than that of the rows that are there.

    Args:
        recorded: The policies that the ledger and the state have, as ``Privacy.recorded``.
        policy: The policy to load under.
        source: Name of the source.

    Raises:
        SettingError: Another one is recorded.
    """
    others = sorted(set(recorded) - {policy})
    if not others:
        return
    there = " and ".join(f"({other or 'everything kept'})" for other in others)
    raise SettingError(
        f"{source}: pii asks for ({policy or 'everything kept'}), but this dataset was loaded under"
        f" {there}: one person would be several. Nothing was loaded. Load under the policy that is"
        " there, or with a pipeline and a dataset of their own; np6-source mask brings the rows"
        " that are there under a stricter policy; or read everything again under the new one with"
        " --reload."
    )


def policies_in_state(state: Mapping[str, Any]) -> frozenset[str]:
    """The policy that the source's state has; none before the first run."""
    was_loaded = POLICY in state or ACCOUNT in state
    return frozenset({state.get(POLICY, "")}) if was_loaded else frozenset()
