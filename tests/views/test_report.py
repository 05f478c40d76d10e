"""The report's figures are the views', and no chart is wider than its window."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from np6_source.loading import load
from np6_source.sandbox import account_from_events
from np6_source.views.publishing import publish
from tests.support import ROOT, Warehouse, at
from tests.views.accounts import robots_of, small
from tests.views.browser import PROGRAM, browser
from tests.views.reading import mark

pytest.importorskip("marimo", reason="the report is an extra: make test-report")
CHROMIUM = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium: apt install chromium")
NOTEBOOK = ROOT / "pipelines" / "np6_report.py"
TMake = Callable[..., Any]
CHARTS = (
    "window.all(document).filter(e => e.tagName === 'CANVAS'"
    " || (e.tagName === 'svg' && e.classList.contains('marks')))"
)


@pytest.fixture(params=["an account", "an empty account", "an account under pii=strict"])
def published(
    request: pytest.FixtureRequest, warehouse: Warehouse, serve: TMake, source_of: TMake
) -> Path:
    events = [] if request.param == "an empty account" else small(events=2000).events()
    masked = {"pii": "strict", "pii_key": "k" * 40} if "strict" in request.param else {}
    sandbox = serve(account_from_events(events), now=at("2025-03-11"))
    load(
        warehouse.pipeline,
        lambda: source_of(
            sandbox, "actions_events", start="2025-01-06", window=100 * 86_400, **masked
        ),
    )
    mark(warehouse.pipeline, robots_of(small(events=2000)) if events else {})
    file = warehouse.folder / "analysts.duckdb"
    publish(warehouse.pipeline, file)
    return file


@contextmanager
def shown(file: Path) -> Iterator[str]:
    """Runs the report; the address it is at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "marimo", "-y", "run", str(NOTEBOOK), "--headless", "--no-token",
         "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | {"NP6_REPORT_FILE": str(file)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            try:
                process.wait(timeout=0.2)
                raise AssertionError("the report ended")
            except subprocess.TimeoutExpired:
                continue
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_every_cell_of_the_notebook_runs(published: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "marimo", "-y", "export", "html", str(NOTEBOOK),
         "-o", str(tmp_path / "report.html")],
        env=os.environ | {"NP6_REPORT_FILE": str(published)},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert "error" not in result.stderr.lower()
    assert "What to know of the figures" in (tmp_path / "report.html").read_text(encoding="utf-8")


@CHROMIUM
@pytest.mark.parametrize("width", [480, 1280])
def test_it_shows_the_views_figures_in_its_window(
    published: Path, width: int, tmp_path: Path
) -> None:
    copy = Warehouse(published.parent, database=published)
    actions = copy.query(
        "SELECT action_id, count_sent, count_delivered, open_rate, open_rate_including_robots,"
        " click_rate, click_rate_including_robots FROM np6.action_performance"
    )
    masked = copy.query("SELECT count(*) FROM np6.load_windows WHERE policy IS NOT NULL") != [(0,)]
    with shown(published) as url, browser() as page:
        page.open(url, width, 4300)
        page.wait_for("document.body.innerText.includes('What to know of the figures')", 90)
        # Tables and charts are in shadow trees.
        page.evaluate(
            "window.all = (root) => [...root.querySelectorAll('*')].flatMap("
            "e => e.shadowRoot ? [e, ...window.all(e.shadowRoot)] : [e])"
        )
        page.wait_for("window.all(document).filter(e => e.tagName === 'TABLE').length >= 2", 60)
        if actions:
            # Under the policy no recipient's domain is there to draw.
            page.wait_for(f"{CHARTS}.length == {5 if masked else 6}", 60)
        cells = page.evaluate(
            "window.all(document).filter(e => e.tagName === 'TR').map("
            "r => [...r.children].map(c => c.innerText.trim()))"
        )
        widest = page.evaluate(
            f"Math.max(0, ...{CHARTS}.map(e => e.getBoundingClientRect().right))"
        )
        page_width = page.evaluate("document.documentElement.scrollWidth")
        errors = page.evaluate("document.body.innerText.includes('Traceback')")
        page.picture(tmp_path / f"report-{width}.png")

    assert not errors
    assert widest <= width
    assert page_width <= width
    by_action = {row[0]: row for row in cells if row}
    for action, sent, delivered, *rates in actions:
        shown_counts = [cell.replace(",", "") for cell in by_action[action][2:4]]
        assert shown_counts == [str(sent), str(delivered)]
        assert [float(cell) for cell in by_action[action][4:8]] == [
            round(100 * r, 1) for r in rates
        ]
    assert not actions or any(rates[0] < rates[1] for _, _, _, *rates in actions)


def notebook_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook as a module, whose cells read a file."""
    monkeypatch.setenv("NP6_REPORT_FILE", str(file))
    spec = importlib.util.spec_from_file_location("np6_report", NOTEBOOK)
    assert spec is not None
    assert spec.loader is not None
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    return notebook


@pytest.mark.parametrize("published", ["an account"], indirect=True)
def test_the_first_look_shows_every_reaction(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People open after the last message has been sent, too."""
    copy = Warehouse(published.parent, database=published)
    copy.execute("DELETE FROM np6.events WHERE message_stamped_at > '2025-02-10 00:00:00+00'")
    ((opens,),) = copy.query("SELECT sum(count_opens) FROM np6.activity_daily")
    ((late,),) = copy.query(
        "SELECT sum(count_opens) FROM np6.activity_daily"
        " WHERE happened_on > (SELECT max(sent_on) FROM np6.messages)"
    )

    _, shown = notebook_over(published, monkeypatch).app.run()

    assert late > 0
    assert sum(row["opens"] for row in shown["hours"]) == opens
    assert sum(row["hits"] for row in shown["daily"] if row["kind"] == "opens") == opens


def test_what_has_the_same_name_stays_apart(
    warehouse: Warehouse, serve: TMake, source_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = small(events=600)
    sandbox = serve(account, now=at("2025-03-11"))
    ids = account.example_ids("campaign_id")
    names = ("actions", "campaigns")
    load(
        warehouse.pipeline,
        lambda: source_of(
            sandbox, "actions_events", "campaign_events", *names, dimensions=names,
            campaign_ids=ids, start="2025-01-06", window=100 * 86_400,
        ),
    )  # fmt: skip
    for table in names:
        warehouse.execute(f"UPDATE np6.{table} SET name = 'Monthly'")
    actions = warehouse.query("SELECT action_id, count_sent FROM np6.action_performance")

    _, shown = notebook_over(warehouse.database, monkeypatch).app.run()

    sent = {row["action"]: row["messages"] for row in shown["funnel"] if row["step"] == "sent"}
    assert sent == {f"Monthly ({action})": count for action, count in actions}
    assert len(sent) > 1
    assert sorted(shown["campaigns"].values()) == sorted(ids)
    assert len(ids) > 1


@pytest.mark.parametrize("published", ["an account"], indirect=True)
def test_filters_choose_what_is_shown(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By channel, action, campaign and period, beside what ``messages`` and ``hits`` have."""
    notebook = notebook_over(published, monkeypatch)
    copy = Warehouse(published.parent, database=published)
    ((busiest,),) = copy.query(
        "SELECT action_id FROM np6.action_performance ORDER BY count_sent DESC LIMIT 1"
    )
    ((channel, first, last),) = copy.query(
        "SELECT min(channel), min(sent_on)::VARCHAR, (min(sent_on) + 9)::VARCHAR FROM np6.messages"
        f" WHERE action_id = '{busiest}'"
    )
    everything = {"channel": "all", "action": None, "campaign": None, "start": "", "end": ""}
    sent = []
    for choice, condition in (
        ({}, "TRUE"),
        ({"channel": channel}, f"channel = '{channel}'"),
        ({"action": busiest}, f"action_id = '{busiest}'"),
        ({"start": first, "end": last}, f"day BETWEEN '{first}' AND '{last}'"),
        ({"campaign": "of nobody"}, "FALSE"),
        (
            {"action": busiest, "start": first, "end": last},
            f"action_id = '{busiest}' AND day BETWEEN '{first}' AND '{last}'",
        ),
    ):
        made = {name: SimpleNamespace(value=v) for name, v in (everything | choice).items()}
        _, shown = notebook.app.run(
            defs={
                **made,
                "span": {},
                "channels": [],
                "actions": {},
                "campaigns": {},
                "named": lambda name, action: name or action,
            }
        )
        ((messages,),) = copy.query(
            "SELECT count(*) FROM (SELECT *, sent_on AS day FROM np6.messages)"
            f" WHERE is_activation_loaded AND {condition}"
        )
        ((opens,),) = copy.query(
            "SELECT count(*) FROM (SELECT *, happened_on AS day FROM np6.hits)"
            f" WHERE link_type = 'open' AND NOT is_robot AND {condition}"
        )
        sent.append(sum(row["sent"] for row in shown["performance"]))
        assert sent[-1] == messages
        assert sum(row["opens"] for row in shown["hours"]) == opens
    assert len(set(sent)) > 3
