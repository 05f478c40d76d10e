from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest

from np6_source import np6_source
from np6_source.cli.documentation import parameters
from np6_source.errors import SettingError
from np6_source.parameters import classes, ids, moment_ms, span_ms
from np6_source.settings import ClientSettings, Settings

MAY = 1_714_557_600_000
"""2024-05-01T10:00:00Z."""


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(datetime(2024, 5, 1, 10, tzinfo=timezone.utc), id="datetime"),
        pytest.param(datetime(2024, 5, 1, 10), id="naive datetime"),
        pytest.param(datetime(2024, 5, 1, 12, tzinfo=ZoneInfo("Europe/Paris")), id="local time"),
        pytest.param(pendulum.datetime(2024, 5, 1, 12, tz="Europe/Paris"), id="pendulum"),
        pytest.param("2024-05-01T10:00:00Z", id="text"),
        pytest.param("2024-05-01T12:00:00+02:00", id="text with offset"),
        pytest.param("2024-05-01T10:00:00", id="naive text"),
        pytest.param(" 2024-05-01 10:00 ", id="text with blanks"),
        pytest.param(MAY, id="milliseconds"),
        pytest.param(str(MAY), id="milliseconds as text"),
    ],
)
def test_a_moment_may_be_said_in_many_ways(value: Any) -> None:
    assert moment_ms(value, "start") == MAY


@pytest.mark.parametrize("value", [date(2024, 5, 1), "2024-05-01", "20240501"])
def test_a_date_is_its_first_moment_in_utc(value: Any) -> None:
    assert moment_ms(value, "start") == MAY - 10 * 3_600_000


def test_milliseconds_of_a_text_are_kept() -> None:
    assert moment_ms("2024-05-01T10:00:00.123Z", "start") == MAY + 123


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("yesterday", id="words"),
        pytest.param("", id="empty"),
        pytest.param("P1D", id="a duration"),
        pytest.param("2024-05-01/2024-05-02", id="an interval"),
        pytest.param("2024-13-01", id="no such month"),
        pytest.param("9999-12-31T23:59:59-10:00", id="beyond the calendar"),
        pytest.param(True, id="a boolean"),
        pytest.param(1714557600000.0, id="a float"),
        pytest.param(["2024-05-01"], id="a list"),
        pytest.param(1_714_557_600, id="seconds"),
        pytest.param("1714557600", id="seconds as text"),
        pytest.param(1_714_557_600_000_000, id="microseconds"),
        pytest.param(1_714_557_600_000_000_000, id="nanoseconds"),
        pytest.param(datetime(1999, 12, 31), id="before 2000"),
        pytest.param(-1, id="negative"),
    ],
)
def test_what_says_no_moment_is_refused_by_name(value: Any) -> None:
    with pytest.raises(SettingError, match="until_when"):
        moment_ms(value, "until_when")


def test_seconds_in_place_of_milliseconds_are_explained() -> None:
    with pytest.raises(SettingError, match="milliseconds since the epoch"):
        moment_ms(1_714_557_600, "start")


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        pytest.param(60, 60_000, id="seconds"),
        pytest.param(0.25, 250, id="a fraction"),
        pytest.param(1.001, 1_001, id="a fraction no double holds"),
        pytest.param(timedelta(minutes=10), 600_000, id="timedelta"),
        pytest.param(timedelta(milliseconds=1_001), 1_001, id="timedelta of milliseconds"),
        pytest.param(0, 0, id="nothing"),
    ],
)
def test_a_span_may_be_seconds_or_a_timedelta(value: Any, ms: int) -> None:
    assert span_ms(value, "window") == ms


@pytest.mark.parametrize(
    "value",
    [-1, timedelta(seconds=-1), 0.5, True, "60", None, float("nan"), float("inf")],
    ids=repr,
)
def test_what_is_no_span_is_refused_by_name(value: Any) -> None:
    with pytest.raises(SettingError, match="some_window"):
        span_ms(value, "some_window", least=1)


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        pytest.param(None, (), id="none"),
        pytest.param([], (), id="empty"),
        pytest.param("000PE4", ("000PE4",), id="a single text"),
        pytest.param("000PE4,000PE5", ("000PE4", "000PE5"), id="commas, as in the environment"),
        pytest.param('["000PE4", 28]', ("000PE4", "28"), id="JSON, as in the environment"),
        pytest.param(156, ("156",), id="a single number"),
        pytest.param([156, "157"], ("156", "157"), id="numbers and text"),
        pytest.param((" 000PE4 ", "000PE5"), ("000PE4", "000PE5"), id="blanks around"),
        pytest.param(["b", "a", "b"], ("b", "a"), id="each once, in order"),
        pytest.param(["028", 28], ("028", "28"), id="leading zeros are kept"),
        pytest.param((i for i in ("a", "b")), ("a", "b"), id="any iterable"),
    ],
)
def test_ids_are_sent_as_text(values: Any, sent: tuple[str, ...]) -> None:
    assert ids(values, "action_ids") == sent


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, True, 1.5, ["a"], b"a"], ids=repr)
def test_what_is_no_id_is_refused_by_name(value: Any) -> None:
    with pytest.raises(SettingError, match="action_ids"):
        ids(["000PE4", value], "action_ids")


def test_a_list_that_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match="action_ids"):
        ids('["000PE4"', "action_ids")


@pytest.mark.parametrize(
    ("name", "text", "selects"),
    [
        ("ACTION_IDS", "000PO6", "action_events_bounces"),
        ("ACTION_IDS", "000PO6,000PO7", "action_events_bounces"),
        ("ACTION_IDS", '["000PO6"]', "action_events_bounces"),
        ("NOTIFICATION_IDS", "156", "notification_events_executions"),
    ],
)
def test_ids_are_taken_from_the_environment_in_any_form(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, selects: str
) -> None:
    monkeypatch.setenv(f"SOURCES__NP6__{name}", text)
    assert selects in np6_source("a-key").selected_resources


@pytest.mark.parametrize("start", ["2026-11-01", "1793491200000"])
def test_a_start_is_taken_from_the_environment_in_any_form(
    monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setenv("SOURCES__NP6__START", start)
    assert np6_source("a-key").selected_resources


def test_a_start_in_another_order_of_the_day_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__NP6__START", "01/11/2026")
    with pytest.raises(SettingError, match="start='01/11/2026' is not an ISO date"):
        np6_source("a-key")


def test_a_bytes_value_is_not_taken_for_a_list_of_numbers() -> None:
    with pytest.raises(SettingError, match="action_ids"):
        ids(b"000PE4", "action_ids")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, ("",)),
        ("mpp,gsr", ("mpp", "gsr")),
        (["mpp", "gsr"], ("mpp", "gsr")),
    ],
    ids=["none", "text", "list"],
)
def test_each_class_is_a_request_of_its_own(value: Any, sent: tuple[str, ...]) -> None:
    assert classes(value) == sent


@pytest.mark.parametrize(
    ("start", "end", "is_backfill"),
    [(None, None, False), (1, None, False), (None, 2, False), (1, 2, True)],
)
def test_only_a_start_with_an_end_is_a_backfill(
    start: int | None, end: int | None, is_backfill: bool
) -> None:
    others: dict[str, Any] = {field.name: None for field in fields(Settings)}
    settings = Settings(**others | {"start": start, "end": end})

    assert settings.is_backfill is is_backfill


@pytest.mark.parametrize("name", ["concurrency", "attempts", "largest_load", "largest_answer"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_counts_that_are_none_are_named(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"{name}={value!r}"):
        np6_source("some-key", **{name: value})


class TestClientSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("connect_timeout", 0),
            ("connect_timeout", "10"),
            ("read_timeout", -1),
            ("read_timeout", float("nan")),
            ("read_timeout", None),
            ("request_timeout", 0),
            ("request_timeout", True),
            ("backoff", -0.5),
            ("longest_wait", float("inf")),
            ("attempts", 0),
            ("attempts", 1.5),
            ("largest_answer", 0),
            ("concurrency", 0),
            ("timestamp_format", "unix"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_its_name(self, name: str, value: Any) -> None:
        with pytest.raises(SettingError, match=name):
            ClientSettings("https://x.test", "k", **{name: value})

    def test_no_wait_at_all_can_be_asked_for(self) -> None:
        settings = ClientSettings("https://x.test", "k", backoff=0, longest_wait=0)
        assert settings.deadline == 10 * settings.read_timeout

    def test_the_source_has_the_same_defaults(self) -> None:
        parameters = inspect.signature(np6_source).parameters
        for field in fields(ClientSettings):
            if field.name in parameters and field.default is not MISSING:
                assert parameters[field.name].default == field.default, field.name

    def test_parameters_are_described_in_the_order_of_the_signature(self) -> None:
        arguments = (inspect.getdoc(np6_source) or "").split("Args:")[1].split("Returns:")[0]
        described = re.findall(r"^    (\w+): ", arguments, re.MULTILINE)
        assert described == list(inspect.signature(np6_source).parameters)

    def test_the_page_has_every_parameter_below_the_heading_of_its_group(self) -> None:
        groups = [group.splitlines() for group in parameters().split("## ")[1:]]
        shown = [re.findall(r"^\| `(\w+)` \|", "\n".join(lines), re.MULTILINE) for lines in groups]
        assert [name for names in shown for name in names] == list(
            inspect.signature(np6_source).parameters
        )
        assert min(map(len, shown)) > 3
        assert {"read_timeout", "attempts", "concurrency"} <= set(
            dict(zip((lines[0] for lines in groups), shown, strict=True))["Requests"]
        )

    def test_what_is_not_an_id_or_a_date_is_given_by_its_name(self) -> None:
        with pytest.raises(TypeError, match="positional"):
            np6_source("some-key", "https://x.test", *[None] * 9, ())
