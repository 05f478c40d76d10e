"""``np6-source probe`` over HTTP: verdicts on the sandbox's variants, report, exit statuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from np6_source.__main__ import main
from np6_source.cli.probe import NAMES
from np6_source.sandbox import Account, Fault, RateLimit, Sandbox, Variants, generated_account
from np6_source.windows import DAY
from tests.support import event

TMake = Callable[..., Any]
VERDICT = ["question", "assumed", "result", "evidence", "meaning", "setting"]
REPORT = [
    *("np6-source", "dlt", "python", "day", "requests", "bytes", "statuses", "headers"),
    "verdicts",
]


END = datetime(2026, 11, 4, 9, 44, tzinfo=timezone.utc)
"""When the made-up account ends, and when it is probed. At this moment, unlike at most others, the
hits of robots around a mailing are beyond a cap of 300 rows."""


@pytest.fixture(scope="module")
def account() -> Any:
    made_up = generated_account(30_000, seed=5, start=END - timedelta(days=30), end=END)
    yield made_up
    made_up.close()


@pytest.fixture
def at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops this process's clock, the sandbox's too, at the end of the account."""
    monkeypatch.setattr("time.time", END.timestamp)
    monkeypatch.setattr("time.time_ns", lambda: int(END.timestamp()) * 10**9)


@pytest.fixture(scope="module")
def recent() -> list[dict[str, Any]]:
    """Hits of 26 hours ago, for processes with a clock of their own: on whole seconds, of messages
    made long before."""
    begin = int(time.time()) * 1_000 - 26 * 3_600_000 - 300_000
    hits = [event(n, begin - n * 30_000, type="hit") for n in range(80)]
    for hit in hits:
        hit["source"]["detail"]["activation"]["stamp"]["time"] -= 3_600_000
    return hits


@pytest.fixture
def run(
    account: Account,
    at_its_end: None,
    serve: TMake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> TMake:
    """Probes a sandbox; returns the status, the results and the sandbox."""
    monkeypatch.setattr("np6_source.cli.probe.APART", 0.0)

    def call(
        *options: str,
        variants: Variants | None = None,
        faults: tuple[Any, ...] = (),
        most_requests: int = 160,
        is_all: bool = True,
        **of_sandbox: Any,
    ) -> tuple[int, dict[str, str], Sandbox]:
        sandbox: Sandbox = serve(account, variants=variants, faults=faults, **of_sandbox)
        monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
        monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
        capsys.readouterr()
        asked = ["--campaign-ids", *account.example_ids("campaign_id", 1), "--wide"]
        limits = ["--max-requests", str(most_requests)]
        status = main(["probe", "--json", *options, *limits, *(asked if is_all else ())])
        output = capsys.readouterr().out
        document = json.loads(output)
        assert sandbox.key not in output
        assert document["exit_status"] == status
        verdicts = (document["result"] or {"verdicts": []})["verdicts"]
        assert all(list(one) == VERDICT for one in verdicts)
        # A response that was not read to its end is recorded when the sandbox notices.
        deadline = time.monotonic() + 10
        while document["requests"] != len(sandbox.requests) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert document["requests"] == len(sandbox.requests)
        return status, {one["question"]: one["result"] for one in verdicts}, sandbox

    return call


def test_nothing_is_contradicted_by_a_server_as_assumed(run: TMake, tmp_path: Path) -> None:
    status, results, sandbox = run("--report", str(tmp_path / "report.json"))
    assert status == 0
    assert set(results) == set(NAMES) - {"visible", "final", "late"}
    assert "contradicted" not in results.values()
    assert sum(result == "confirmed" for result in results.values()) >= 13
    assert len(sandbox.requests) < 130
    text = (tmp_path / "report.json").read_text("utf-8")
    report = json.loads(text)
    assert list(report) == REPORT
    held = {value for one in sandbox.account.events() for value in (one["id"],)}
    assert not any(name in text for name in held)
    for told in (sandbox.key, "127.0.0.1", "@", "T0", "T1", "T2"):
        assert told not in text


FROM_ABSENCE = {"identity", "classification"}
"""Questions that an event's absence tells; ``tests/assumptions`` has them in large accounts."""


@pytest.mark.parametrize(
    ("variants", "contradicted"),
    [
        (Variants(start_bound="exclusive"), {"bounds"}),
        (Variants(bounds_cut="minute"), {"bounds"}),
        (Variants(numbers="s", naive_bounds="paris"), {"numbers", "naive"}),
        (Variants(reactivity_end="activations"), {"reactivity-end"}),
        (Variants(mixed_sends="left_out", sort="ignored"), {"sends", "sort"}),
        (Variants(row_cap=300), {"cap"}),
        (Variants(unknown_ids="empty", no_events="204"), {"unknown-id", "empty"}),
        (Variants(selection="activation"), {"filter", "sort"}),
        (Variants(identity="timestamps", types="left_out"), {"identity", "type"}),
        (Variants(identity="ids", repeats=5), {"identity", "once"}),
        (Variants(stamps="own", unconfirmed="405"), {"stamps", "unconfirmed"}),
        (
            Variants(robots_parameter="classifications", campaign_items="required"),
            {"classification", "campaign-body"},
        ),
        (
            Variants(classified="all", campaign_names="documented"),
            {"classification", "campaign-body"},
        ),
        (Variants(default_robots="shown", default_span="day"), {"classification", "default-span"}),
        (Variants(mixed_robots="left_out", date="ahead"), {"mixed-robots", "date"}),
        (Variants(date="none", compression="never"), {"date", "gzip"}),
    ],
)
def test_other_sides_and_nothing_else_are_contradicted(
    run: TMake, variants: Variants, contradicted: set[str]
) -> None:
    status, results, _ = run(variants=variants)
    found = {name for name, result in results.items() if result == "contradicted"}
    if variants.selection == "timestamp":
        # Nothing is taken for absent from a response that a limit of bytes may have cut.
        untold = {one for one in contradicted & FROM_ABSENCE if results[one] == "cannot tell"}
        assert found == contradicted - untold
    # Where bounds act on something else, what else is so cannot be told.
    assert found
    assert found <= contradicted
    assert status == 3


@pytest.mark.parametrize(
    "variants",
    [
        Variants(delay="exponential", delay_seconds=1800, robots_parameter="neither"),
        Variants(delay="nine_days", replica_seconds=3, unknown_types=3),
        Variants(whole_seconds="yes", unknown_paths=20, compression="always"),
    ],
)
def test_what_no_question_is_about_contradicts_nothing(run: TMake, variants: Variants) -> None:
    status, results, _ = run(variants=variants)
    assert (status, "contradicted" in results.values()) == (0, False)
    assert "confirmed" in results.values()


@pytest.mark.parametrize(
    ("reset", "result"),
    [
        # That it falls by one a second does not show within a blink: see tests/assumptions.
        ("seconds", "cannot tell"),
        ("epoch", "confirmed"),
        ("epoch_ms", "confirmed"),
    ],
)
def test_a_rate_limit_is_understood(run: TMake, reset: str, result: str) -> None:
    limit = RateLimit(1000, 60, reset=reset)
    status, results, _ = run("--only", "rate-limit", rate_limit=limit)
    assert (status, results["rate-limit"]) == (0, result)


def test_campaigns_and_wide_windows_are_asked_for_where_they_are_given(run: TMake) -> None:
    status, _, sandbox = run("--only", "default-span", is_all=False)
    assert (status, len(sandbox.requests)) == (2, 0)
    # One look; another would be 15 seconds later.
    _, results, sandbox = run("--only", "visible", "--watch", "0s", is_all=False)
    assert (results, len(sandbox.requests)) == ({"visible": "cannot tell"}, 1)
    _, results, sandbox = run(is_all=False)
    assert set(NAMES) - set(results) == {
        *("default-span", "campaign-body", "visible", "final", "late")
    }
    assert {one.method for one in sandbox.requests} == {"GET"}
    for one in sandbox.requests:
        assert {"start", "reactivityStart"} & set(one.query)
        assert {"end", "reactivityEnd"} & set(one.query)


def test_events_of_an_earlier_call_are_asked_for_again(
    account: Account,
    at_its_end: None,
    serve: TMake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    sandbox: Sandbox = serve(account)
    monkeypatch.setattr("np6_source.cli.probe.APART", 0.0)
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    file, report = tmp_path / "known.json", tmp_path / "report.json"

    def asked() -> tuple[int, dict[str, str]]:
        options = ("--compare", str(file), "--report", str(report), "--json")
        status = main(["probe", "--only", "final", "late", *options])
        verdicts = (json.loads(capsys.readouterr().out)["result"] or {"verdicts": []})["verdicts"]
        return status, {one["question"]: one["result"] for one in verdicts}

    def changed(**values: Any) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    assert asked() == (0, {"final": "cannot tell", "late": "cannot tell"})
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) not in report.read_text()
    sandbox.requests.clear()
    assert asked() == (0, {"final": "cannot tell", "late": "cannot tell"})
    assert sandbox.requests == []  # Too soon.
    kept = json.loads(file.read_text())
    changed(asked_at=kept["asked_at"] - 3 * DAY)
    assert asked() == (0, {"final": "confirmed", "late": "confirmed"})
    sandbox.variants = Variants(moving=20)
    assert asked() == (3, {"final": "contradicted", "late": "cannot tell"})
    sandbox.variants = Variants()
    known = list(kept["events"])[len(kept["events"]) // 4 :]
    changed(events={name: kept["events"][name] for name in known})
    assert asked() == (3, {"final": "confirmed", "late": "contradicted"})
    sandbox.requests.clear()
    changed(account="another")
    assert asked() == (2, {})
    file.write_text("[]")
    assert asked() == (2, {})
    assert sandbox.requests == []


def test_responses_that_lack_events_prove_nothing(run: TMake) -> None:
    status, results, _ = run(variants=Variants(missing=10))
    assert status == 0
    assert set(results.values()) == {"cannot tell"}


def test_a_key_that_is_refused_ends_it_with_one_request(run: TMake) -> None:
    status, results, sandbox = run(faults=(Fault("status", 401),))
    assert (status, len(sandbox.requests)) == (1, 1)
    assert set(results.values()) == {"cannot tell"}


def test_an_api_that_goes_down_meanwhile_ends_it_with_1(run: TMake) -> None:
    status, results, sandbox = run(faults=(Fault("abort", after=20),))
    assert (status, set(results.values())) == (1, {"cannot tell"})
    assert len(sandbox.requests) == 24


def test_a_rate_limit_ends_it_with_75(run: TMake) -> None:
    status, results, sandbox = run(faults=(Fault("status", 429, retry_after="600"),))
    assert (status, len(sandbox.requests)) == (75, 1)
    assert set(results.values()) == {"cannot tell"}


def test_no_more_requests_are_sent_than_allowed(run: TMake) -> None:
    status, results, sandbox = run(most_requests=32)
    assert (status, len(sandbox.requests) <= 32) == (0, True)
    assert "confirmed" in results.values()


@pytest.mark.parametrize(
    "options",
    [("--only", "bound"), ("--max-bytes", "0"), ("--report", "/nowhere/at/all.json")],
)
def test_options_that_cannot_be_used_end_with_2(run: TMake, options: tuple[str, ...]) -> None:
    assert run(*options)[0] == 2


def test_each_status_is_that_of_the_process(
    command_line: Any, recent: list[dict[str, Any]], serve: TMake
) -> None:
    def ended(sandbox: Sandbox, *options: str) -> Any:
        return command_line.run(
            *("-m np6_source", "probe", "--base-url", sandbox.url, *options),
            SOURCES__NP6__API_KEY=sandbox.key,
        )

    well = ended(serve(recent), "--only", "unknown-id")
    assert (well.returncode, well.stderr) == (0, "")
    assert "confirmed     unknown-id" in well.stdout
    assert max(map(len, well.stdout.splitlines())) <= 100
    other = serve(recent, variants=Variants(unknown_ids="empty"))
    assert ended(other, "--only", "unknown-id", "--quiet").returncode == 3
    assert ended(other, "--only", "no-such").returncode == 2
    refused = ended(serve(recent, faults=(Fault("status", 401),)))
    assert (refused.returncode, refused.stdout.count("refused the API key")) == (1, 1)
    assert "; 1 request, " in refused.stdout


def test_settings_are_written_where_they_are_asked_for(
    command_line: Any, recent: list[dict[str, Any]], serve: TMake
) -> None:
    file = command_line.folder / ".dlt" / "config.toml"
    file.parent.mkdir()
    file.write_text("# Ours.\n[sources.np6]\nconcurrency = 4\n")
    sandbox = serve(recent, variants=Variants(bounds_cut="minute"))

    def ended(*options: str) -> Any:
        return command_line.run(
            *("-m np6_source", "probe", "--only", "bounds", "--base-url", sandbox.url, *options),
            SOURCES__NP6__API_KEY=sandbox.key,
        )

    refused = ended("--write-config")
    assert (refused.returncode, len(sandbox.requests)) == (2, 0)
    written = ended("--write-config", "--yes")
    assert written.returncode == 3, written.stderr
    assert "+widen_bounds = 60.0" in written.stderr
    assert file.read_text() == "# Ours.\n[sources.np6]\nconcurrency = 4\nwiden_bounds = 60.0\n"
    copy = file.with_name("config.toml.before-probe")
    assert copy.read_text() == "# Ours.\n[sources.np6]\nconcurrency = 4\n"
