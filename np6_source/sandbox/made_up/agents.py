"""Clients that open and click: user agents as the API describes them, and those of robots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Agent:
    """One user agent.

    Attributes:
        weight: How common it is among contacts.
        ua: The ``client.ua`` block of a hit.
    """

    weight: int
    ua: dict[str, Any]

    @property
    def json(self) -> str:
        """The block as JSON text."""
        return json.dumps(self.ua, separators=(",", ":"))


def _agent(
    weight: int,
    ua: str,
    client: tuple[str, str, str | None, str],
    system: tuple[str, str, str],
    device: tuple[str, str | None, str | None],
) -> Agent:
    """An agent in the documented shape, which leaves unknown leaves out."""
    blocks: dict[str, dict[str, str | None]] = {
        "client": dict(zip(("type", "name", "version", "vendor"), client, strict=True)),
        "os": dict(zip(("name", "family", "vendor"), system, strict=True)),
        "device": dict(zip(("type", "name", "brand"), device, strict=True)),
    }
    known = {
        name: {key: value for key, value in block.items() if value is not None}
        for name, block in blocks.items()
    }
    return Agent(weight, {"type": "parsed", "ua": ua, **known})


_ANDROID = ("Android 13", "Android", "Google Inc.")
_IOS = ("iOS 17", "iOS", "Apple Inc.")
_MAC = ("macOS 14 Sonoma", "macOS", "Apple Inc.")
_WINDOWS = ("Windows 10", "Windows", "Microsoft Corporation.")
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"

AGENTS: tuple[Agent, ...] = (
    _agent(
        18,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1",
        ("Mobile browser", "Mobile Safari", "17.4.1", "Apple Inc."),
        _IOS,
        ("Smartphone", "iPhone", "Apple"),
    ),
    _agent(
        14,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 16_7_7 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Mobile/15E148",
        ("Email client", "Apple Mail", None, "Apple Inc."),
        ("iOS 16", "iOS", "Apple Inc."),
        ("Smartphone", "iPhone", "Apple"),
    ),
    _agent(
        13,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/124.0.0.0 Safari/537.36",
        ("Browser", "Chrome", "124.0.0.0", "Google Inc."),
        _WINDOWS,
        ("Personal computer", None, None),
    ),
    _agent(
        11,
        f"Mozilla/5.0 (Linux; Android 13; SM-A546B) {_WEBKIT} Chrome/123.0.6312.118 Mobile"
        " Safari/537.36",
        ("Mobile browser", "Chrome Mobile", "123.0.6312.118", "Google Inc."),
        _ANDROID,
        ("Smartphone", "Galaxy A54 5G", "Samsung"),
    ),
    _agent(
        9,
        "Mozilla/5.0 (Linux; Android 10; SM-A125F Build/QP1A.190711.020; wv)"
        f" {_WEBKIT} Version/4.0 Chrome/89.0.4389.86 Mobile Safari/537.36",
        ("Mobile browser", "Android webview", None, "Google Inc."),
        ("Android 10", "Android", "Google Inc."),
        ("Smartphone", None, None),
    ),
    _agent(
        7,
        f"Mozilla/5.0 (Linux; Android 9; AMN-LX9) {_WEBKIT} Chrome/91.0.4472.88 Mobile"
        " Safari/537.36",
        ("Mobile browser", "Chrome Mobile", "91.0.4472.88", "Google Inc."),
        ("Android 9.0 Pie", "Android", "Google Inc."),
        ("Smartphone", "Y5 (2019)", "Huawei"),
    ),
    _agent(
        7,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
        ("Browser", "Safari", "17.4", "Apple Inc."),
        _MAC,
        ("Personal computer", None, "Apple"),
    ),
    _agent(
        6,
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C;"
        " .NET4.0E; Microsoft Outlook 16.0.5387; ms-office; MSOffice 16)",
        ("Email client", "Outlook", "16.0.5387", "Microsoft Corporation."),
        _WINDOWS,
        ("Personal computer", None, None),
    ),
    _agent(
        5,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0",
        ("Browser", "Firefox", "125.0", "Mozilla Foundation"),
        _WINDOWS,
        ("Personal computer", None, None),
    ),
    _agent(
        4,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/124.0.0.0 Safari/537.36"
        " Edg/124.0.2478.51",
        ("Browser", "Edge", "124.0.2478.51", "Microsoft Corporation."),
        _WINDOWS,
        ("Personal computer", None, None),
    ),
    _agent(
        3,
        "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) CriOS/123.0.6312.52 Mobile/15E148 Safari/604.1",
        ("Mobile browser", "Chrome Mobile iOS", "123.0.6312.52", "Google Inc."),
        _IOS,
        ("Tablet", "iPad", "Apple"),
    ),
    _agent(
        3,
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.10.1",
        ("Email client", "Thunderbird", "115.10.1", "Mozilla Foundation"),
        ("Ubuntu", "Linux", "Canonical Ltd."),
        ("Personal computer", None, None),
    ),
)
"""User agents of people, in the shape of the reference's samples. The values beside those of the
samples are made up in their manner."""

ROBOT_AGENTS: dict[str, Agent] = {
    "genericrobot": _agent(
        1,
        "Mozilla/5.0 (compatible; ExampleMailScanner/2.1; +https://scanner.example.com/about)",
        ("Robot", "ExampleMailScanner", "2.1", "Example Security"),
        ("unknown", "unknown", "unknown"),
        ("unknown", None, None),
    ),
    "mpp": _agent(
        1,
        "Mozilla/5.0",
        ("Email client", "Apple Mail", None, "Apple Inc."),
        ("unknown", "unknown", "unknown"),
        ("unknown", None, None),
    ),
    "gsr": _agent(
        1,
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        ("Robot", "Google image proxy", None, "Google Inc."),
        ("Windows XP", "Windows", "Microsoft Corporation."),
        ("unknown", None, None),
    ),
}
"""User agents of robots, by robot class."""
