"""docs/speed.md shows the results that are kept, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import ROOT

BENCHMARKS = ROOT / "tests" / "benchmarks"


@pytest.fixture
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks' modules, which import each other by their names alone."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def made_anew(folder: Path, script: str, results: str) -> str:
    """The page after a benchmark has written what was kept of it; seen to be as it was."""
    page = folder / "speed.md"
    printed = (ROOT / "docs" / "speed.md").read_text("utf-8")
    page.write_text(printed, "utf-8")
    command = [sys.executable, str(BENCHMARKS / script)]
    command += ["--json", str(BENCHMARKS / results), "--page", str(page)]
    subprocess.run(command, check=True, cwd=folder)
    assert page.read_text("utf-8") == printed
    return printed


def test_the_page_is_made_from_the_kept_results(tmp_path: Path) -> None:
    printed = made_anew(tmp_path, "throughput.py", "results.json")
    assert "| **np6_source** |" in printed
    assert "times as fast as ingestr_1" in printed


def test_growth_is_made_from_the_kept_results_with_its_picture(tmp_path: Path) -> None:
    assert "(growth.svg)" in made_anew(tmp_path, "growth.py", "growth.json")
    picture = (ROOT / "docs" / "growth.svg").read_text("utf-8")
    assert (tmp_path / "growth.svg").read_text("utf-8") == picture


@pytest.mark.usefixtures("benchmark_modules")
def test_what_is_drawn_out_has_its_start_once() -> None:
    from throughput import drawn_out

    names = ("seconds", "cpu_seconds", "peak_bytes", "database_bytes")
    # Two seconds to start, and a millisecond an event.
    small, large = (dict.fromkeys(names, 2.0 + events / 1000) for events in (5_000, 20_000))
    found = drawn_out(small, large, 5_000, 20_000, 200_000)
    assert [found[name] for name in names] == [202.0] * 4
    assert found["measured"] == [small, large]


@pytest.mark.usefixtures("benchmark_modules")
def test_a_picture_has_a_line_through_each_point() -> None:
    from picture import HEIGHT, WIDTH, as_svg

    lines = {"an increment": [(10.0, 2.0), (30.0, 4.0)], "gaps": [(10.0, 0.0), (30.0, 1.0)]}
    picture = ElementTree.fromstring(as_svg("title", "events", "seconds", lines))
    drawn = picture.findall("{*}polyline")
    points = [
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in drawn
    ]
    assert [len(line) for line in points] == [2, 2]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for line in points for x, y in line)
    (first, last), (low, _) = points
    assert first[0] < last[0]
    assert low[1] > first[1] > last[1]  # Upwards is less.
    assert {text.text for text in picture.findall("{*}text")} >= {"title", *lines}
