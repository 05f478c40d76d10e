"""The samples of the NP6 reference, as data and as an account."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from .account import StoredAccount, account_from_events

SAMPLE_CAMPAIGN_ID = "5d0c8d2e-2f0b-4f6a-9d55-2f6f2c1d0e4a"
"""The campaign that ``sample_account`` puts the documented samples in. The reference's campaign
sample does not show its id."""


def sample_account() -> StoredAccount:
    """The documented samples, events in one campaign and elements of dimensions.

    The samples are those of the NP6 reference 8.1.0: action ``000PE4``, contact ``000R4M0T``, and
    two bounces that name their contact by id only. The campaign's id is ``SAMPLE_CAMPAIGN_ID``.
    """
    account = account_from_events(
        documented_samples().values(), campaigns={SAMPLE_CAMPAIGN_ID: ["000PE4"]}
    )
    for resource, elements in documented_dimensions().items():
        account.describe(resource, elements)
    return account


def documented_samples() -> dict[str, dict[str, Any]]:
    """The nine complete event samples of the NP6 reference 8.1.0, by type and subtype."""
    samples: dict[str, dict[str, Any]] = _json_file("samples.json")
    return samples


def documented_dimensions() -> dict[str, list[dict[str, Any]]]:
    """The complete samples of the dimensions' operations, by resource."""
    samples: dict[str, list[dict[str, Any]]] = _json_file("dimension_samples.json")
    return samples


def _json_file(name: str) -> Any:
    return json.loads(resources.files("np6_source.sandbox").joinpath(name).read_text("utf-8"))
