"""A local NP6 API for demos, tests and benchmarks.

>>> from np6_source.sandbox import Sandbox, sample_account
>>> with Sandbox(sample_account()) as sandbox:  # doctest: +SKIP
...     pipeline.run(np6_source(sandbox.key, base_url=sandbox.url))
"""

from __future__ import annotations

from .account import Account, StoredAccount, account_from_events
from .event_row import EventRow
from .faults import Fault, FaultRules
from .limits import RateLimit
from .made_up.generate import generated_account
from .made_up.mass_mailing import mass_mailing_account
from .query import EventQuery, RecordedRequest
from .samples import (
    SAMPLE_CAMPAIGN_ID,
    documented_dimensions,
    documented_samples,
    sample_account,
)
from .server import Sandbox, SandboxUnavailable
from .variants import Variants

__all__ = [
    "SAMPLE_CAMPAIGN_ID",
    "Account",
    "EventQuery",
    "EventRow",
    "Fault",
    "FaultRules",
    "RateLimit",
    "RecordedRequest",
    "Sandbox",
    "SandboxUnavailable",
    "StoredAccount",
    "Variants",
    "account_from_events",
    "documented_dimensions",
    "documented_samples",
    "generated_account",
    "mass_mailing_account",
    "sample_account",
]
