"""A recheck that is configured where the destination has files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.runs.lakes import Lake, TMake
from tests.support import at, event


def test_a_load_says_that_no_day_is_read_again(
    tmp_path: Path, serve: TMake, source_of: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = serve([event(1, at("03-01"))], now=at("03-03"))
    with caplog.at_level(logging.WARNING, "np6_source"):
        Lake(tmp_path, sandbox, source_of, recheck="3d").load()
    (said,) = [text for text in caplog.messages if text.startswith("recheck: ")]
    assert "no day is read again" in said
