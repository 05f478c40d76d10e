"""A local NP6 API for demos, tests and benchmarks.

>>> from np6_source.sandbox import Sandbox, sample_account
>>> with Sandbox(sample_account()) as sandbox:  # doctest: +SKIP
...     pipeline.run(np6_source(sandbox.key, base_url=sandbox.url))
"""

from __future__ import annotations

from np6_source.sandbox.account import (
    SAMPLE_CAMPAIGN_ID,
    Account,
    EventRow,
    StoredAccount,
    account_from_events,
    documented_samples,
    sample_account,
)
from np6_source.sandbox.faults import Fault, FaultRules
from np6_source.sandbox.generate import generated_account
from np6_source.sandbox.limits import RateLimit
from np6_source.sandbox.mass_mailing import mass_mailing_account
from np6_source.sandbox.query import EventQuery
from np6_source.sandbox.requests_seen import RecordedRequest
from np6_source.sandbox.server import Sandbox, SandboxUnavailable

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
    "account_from_events",
    "documented_samples",
    "generated_account",
    "mass_mailing_account",
    "sample_account",
]
