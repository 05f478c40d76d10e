"""Whatever happens to a pipeline, status 0 means that what was asked for is there, once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.adversary.driver import FOREIGN, KEYS, Driver
from tests.adversary.server import Fact, serving
from tests.support import CommandLine, Warehouse

SECONDS = float(os.environ.get("NP6_ADVERSARY_SECONDS", "900"))
"""How long the soak goes on with new seeds."""
FIRST_SEED = int(os.environ.get("NP6_ADVERSARY_SEED", "1000"))


def play(seed: int, folder: Path, steps: int, kills: bool) -> Driver:
    """Plays a seed to its end; the assertions are the driver's."""
    account: list[Fact] = []
    with serving({KEYS[0]: account, KEYS[1]: account, FOREIGN: []}) as api:
        command_line = CommandLine(folder)
        driver = Driver(seed, api, Warehouse(folder, "adversary"), command_line)
        for _ in range(steps):
            driver.step(kills)
        driver.end()
    return driver


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_few_sequences_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, steps=8, kills=False)


@pytest.mark.soak
def test_sequences_with_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    deadline, seed = time.monotonic() + SECONDS, FIRST_SEED
    while time.monotonic() < deadline:
        play(seed, tmp_path / str(seed), steps=20, kills=True)
        seed += 1
