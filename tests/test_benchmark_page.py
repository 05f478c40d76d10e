"""docs/speed.md shows the results that are kept, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

BENCHMARKS = ROOT / "tests" / "benchmarks"


def test_the_page_is_made_from_the_kept_results(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    printed = (ROOT / "docs" / "speed.md").read_text("utf-8")
    page.write_text(printed, "utf-8")
    command = [sys.executable, str(BENCHMARKS / "throughput.py")]
    command += ["--json", str(BENCHMARKS / "results.json"), "--page", str(page)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert page.read_text("utf-8") == printed
    assert "| **np6_source** |" in printed
    assert "times as fast as ingestr_1" in printed
