"""The keyed digests that stand in place of addresses and ids under a policy, see docs/privacy.md.

``DigestKey`` makes them in Python; ``sql_of`` is the same function as an SQL expression, whose two
parameters ``pads`` makes of the key.
"""

from __future__ import annotations

from .events.digests import DIALECTS, DIGITS, LEAST_KEY, DigestKey, TForm, canonical, pads, sql_of

__all__ = ["DIALECTS", "DIGITS", "LEAST_KEY", "DigestKey", "TForm", "canonical", "pads", "sql_of"]
