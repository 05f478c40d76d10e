"""The input of the benchmarks: hits of about 1 KB, made once by the sandbox and kept as a file."""

from __future__ import annotations

import shutil
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import np6_source.sandbox
from np6_source.sandbox import Sandbox, mass_mailing_account

START = datetime(2025, 1, 6, tzinfo=timezone.utc)
END = START + timedelta(days=1)
"""The hits lie within one day: one window of the connector's default width, one answer."""

BUILD = Path("build/benchmarks")
"""Where benchmarks keep what they make."""

PROJECT = Path(__file__).parents[2].resolve()
"""Where the project's configuration is, in ``.dlt``."""


def iso(moment: datetime) -> str:
    """A moment as the API takes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def hits_file(hits: int, folder: Path = BUILD / "input", contacts: int = 10_000) -> Path:
    """A JSON array of so many hits between ``START`` and ``END``, in ascending order.

    It is what the sandbox answers; made again where the sandbox is newer than the file.

    Args:
        hits: How many.
        folder: Where the file is kept.
        contacts: How many different contacts, each with an address of its own, they are of.
    """
    of_contacts = "" if contacts == 10_000 else f"-of-{contacts}"
    file = folder / f"hits-{hits}{of_contacts}.json"
    sandbox_code = Path(np6_source.sandbox.__file__).parent.glob("*.py")
    if file.exists() and file.stat().st_mtime > max(c.stat().st_mtime for c in sandbox_code):
        return file
    folder.mkdir(parents=True, exist_ok=True)
    account = mass_mailing_account(hits, contacts=contacts, start=START, end=END, stored=False)
    try:
        with Sandbox(account, gzip=False) as sandbox:
            query = f"start={iso(START)}&end={iso(END)}&sort=asc"
            request = urllib.request.Request(
                f"{sandbox.url}actions/events?{query}", headers={"X-Key": sandbox.key}
            )
            unfinished = file.with_suffix(".part")
            with urllib.request.urlopen(request) as answer, unfinished.open("wb") as target:
                shutil.copyfileobj(answer, target, 1024 * 1024)
            unfinished.replace(file)
    finally:
        account.close()
    return file
