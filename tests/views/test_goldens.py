"""What the views say of the nine documented samples, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Warehouse
from tests.views.accounts import samples
from tests.views.reading import load, reading, rows

MESSAGES = """
message   executed cancelled sent activation bounced hard delivered opened clicked domain     contact  events
007a1274  -        -         yes  -          -       -    yes       -      -       np6.com    000R4M0T 1
340adff4  yes      -         -    -          -       -    -         -      -       -          000R4M0T 1
40e7f10f  -        yes       -    -          -       -    -         -      -       -          000R4M0T 1
4d3eb218  -        -         yes  -          yes     yes  -         -      -       blabla.com 0013KDC8 1
7bb105bd  -        -         yes  -          yes     -    -         -      -       np6.com    0013KDC0 1
b967f2f1  -        -         yes  -          -       -    yes       -      -       np6.com    000R4M0T 1
d52055cd  -        yes       yes  yes        -       -    yes       -      yes     np6.com    000R4M0T 3
"""  # noqa: E501
FLAGS = {
    "executed": "was_executed",
    "cancelled": "was_cancelled",
    "sent": "was_sent",
    "activation": "is_activation_loaded",
    "bounced": "was_bounced",
    "hard": "was_hard_bounced",
    "delivered": "was_delivered",
    "opened": "was_opened",
    "clicked": "was_clicked",
}
PERFORMANCE = {
    "channel": "email",
    "count_executed": 1,
    "count_cancelled": 2,
    "count_sent": 1,
    "count_delivered": 1,
    "count_bounced": 0,
    "count_hard_bounced": 0,
    "count_decided": 2,
    "count_unique_opens": 0,
    "count_unique_clicks": 1,
    "count_unique_opens_including_robots": 0,
    "count_unique_clicks_including_robots": 1,
    "count_unique_readers": 1,
    "count_hidden_opens": 0,
    "count_opens": 0,
    "count_clicks": 1,
    "count_messages_without_activation": 4,
    "count_sent_with_execution": 0,
    "delivery_rate": 1.0,
    "bounce_rate": 0.0,
    "cancellation_rate": 1.0,
    "open_rate": 0.0,
    "click_rate": 1.0,
    "click_to_open_rate": 1.0,
    "observable_open_rate": 0.0,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The rows of the views."""
    pipeline = Warehouse(tmp_path_factory.mktemp("samples")).pipeline
    load(pipeline, samples())
    with reading(pipeline) as client:
        return {
            name: rows(client, name)
            for name in (
                "messages",
                "action_performance",
                "campaign_performance",
                "deliverability_daily",
                "bounce_reasons_daily",
                "data_quality",
            )
        }


def test_each_message_has_the_flags_computed_by_hand(
    found: dict[str, list[dict[str, Any]]],
) -> None:
    header, *lines = [line.split() for line in MESSAGES.strip().splitlines()]
    messages = sorted(found["messages"], key=lambda row: row["message_id"])

    assert len(messages) == len(lines)
    for message, values in zip(messages, lines, strict=True):
        expected = dict(zip(header, values, strict=True))
        assert message["message_id"][:8] == expected["message"]
        for flag, column in FLAGS.items():
            assert message[column] is (expected[flag] == "yes"), (message["message_id"], column)
        domain = None if expected["domain"] == "-" else expected["domain"]
        assert message["recipient_domain"] == domain
        assert message["contact_id"] == expected["contact"]
        assert message["count_events"] == int(expected["events"])


def test_the_click_came_a_hundred_days_after_the_activation(
    found: dict[str, list[dict[str, Any]]],
) -> None:
    (clicked,) = [row for row in found["messages"] if row["was_clicked"]]

    assert clicked["minutes_to_click"] == pytest.approx(9_583_594.622 / 60, abs=1e-6)


def test_the_actions_figures(found: dict[str, list[dict[str, Any]]]) -> None:
    (action,) = found["action_performance"]

    assert action["action_id"] == "000PE4"
    assert {name: action[name] for name in PERFORMANCE} == PERFORMANCE


def test_the_campaigns_figures_are_the_same(found: dict[str, list[dict[str, Any]]]) -> None:
    (campaign,) = found["campaign_performance"]

    assert {name: campaign[name] for name in PERFORMANCE} == PERFORMANCE
    assert campaign["count_actions"] == 1


def test_deliverability_and_reasons(found: dict[str, list[dict[str, Any]]]) -> None:
    (domain,) = found["deliverability_daily"]
    reasons = {
        (r["bounced_on"], r["recipient_domain"], r["verdict"], r["status_code_enhanced"])
        for r in found["bounce_reasons_daily"]
    }

    assert (domain["sent_on"], domain["channel"], domain["recipient_domain"]) == (
        "2021-02-23",
        "email",
        "np6.com",
    )
    assert (domain["count_sent"], domain["count_bounced"]) == (1, 0)
    assert reasons == {
        ("2021-02-23", "np6.com", "soft", "5.4.4"),
        ("2021-02-23", "blabla.com", "hard", "5.1.2"),
    }


def test_the_checks_find_what_was_counted_by_hand(found: dict[str, list[dict[str, Any]]]) -> None:
    checks = {
        row["check_name"]: (row["count_found"], row["count_of"]) for row in found["data_quality"]
    }

    assert checks.pop("sent messages whose activation is not loaded") == (4, 5)
    assert checks.pop("activations whose execution has the same stamp") == (0, 1)
    assert checks.pop("messages both sent and cancelled") == (1, 7)
    assert len(checks) == 9
    assert {found for found, _ in checks.values()} == {0}
