"""What makes events one message: the stamp, or for an execution its action and contact.

NP6's reference shows executions whose stamp is not the activation's. ``np6-source probe`` finds out
whether an account has such; there, with ``action_contact``, an execution whose stamp nothing else
has belongs to the next activation of its action and contact whose stamp no execution has. A
cancelled execution stays the message that was cancelled, and no other event moves: whatever the
key, the same messages were sent, opened and clicked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import sqlglot
from sqlglot import exp

from .definitions import View

TMessageKey = Literal["stamp", "action_contact"]
MESSAGE_KEYS: tuple[TMessageKey, ...] = get_args(TMessageKey)

OF_STAMP = ("message_id", "message_thread_id", "message_set_id", "message_stamped_at")
"""Columns of ``events`` that say of which stamp an event is."""

KEYED = """WITH stamps AS (
    SELECT
        e.message_id,
        COUNT(CASE WHEN e.type = 'execution' THEN 1 END) AS executions,
        COUNT(CASE WHEN e.type <> 'execution' THEN 1 END) AS others
    FROM events AS e
    WHERE e.message_id <> ''
    GROUP BY e.message_id
),

alone AS (
    SELECT
        e.message_id,
        e.type,
        MIN(e.type) OVER (
            PARTITION BY e.channel, e.action_id, e.contact_id
            ORDER BY e.timestamp, CASE WHEN e.type = 'execution' THEN 0 ELSE 1 END, e.message_id
            ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING
        ) AS next_type,
        MIN(e.message_id) OVER (
            PARTITION BY e.channel, e.action_id, e.contact_id
            ORDER BY e.timestamp, CASE WHEN e.type = 'execution' THEN 0 ELSE 1 END, e.message_id
            ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING
        ) AS next_message_id
    FROM events AS e
    LEFT JOIN stamps AS s ON s.message_id = e.message_id
    WHERE
        e.action_id IS NOT NULL
        AND e.contact_id IS NOT NULL
        AND (
            (e.type = 'execution' AND s.others = 0)
            OR (e.type = 'activation' AND s.executions = 0)
        )
),

activated AS (
    SELECT a.message_id, MIN(a.next_message_id) AS activation_id
    FROM alone AS a
    WHERE a.type = 'execution' AND a.next_type = 'activation'
    GROUP BY a.message_id
)

SELECT 1 AS one"""
"""``activated``: the message of the activation, by that of an execution with a stamp of its own."""


READ_IN = {"messages": "collected", "campaign_performance": "members"}
"""The CTE that asks which message an event is of, by view: all others ask ``messages``."""


def with_key(view: View, key: TMessageKey) -> View:
    """A view where messages have another key.

    Args:
        view: The view, as its file has it.
        key: What makes events one message.
    """
    if key == "stamp" or view.name not in READ_IN:
        return view
    query = view.query
    (asking,) = [cte for cte in query.find_all(exp.CTE) if cte.alias == READ_IN[view.name]]
    (events,) = [table for table in asking.find_all(exp.Table) if table.name == "events"]
    used = {column.name for column in asking.find_all(exp.Column) if column.table == "e"}
    events.replace(_keyed_events(sorted(used)))
    tables = sqlglot.parse_one(KEYED, read="duckdb").find(exp.With)
    ours = query.find(exp.With)
    assert tables is not None
    assert ours is not None
    ours.set("expressions", [*tables.expressions, *ours.expressions])
    return replace(view, parsed=query)


def _keyed_events(columns: list[str]) -> exp.Subquery:
    """``events``, in which an execution has its activation's message, and nothing of its own."""
    select = (
        exp.select()
        .from_("events AS o")
        .join("activated AS a", on="a.message_id = o.message_id", join_type="left")
    )
    for name in columns:
        column: exp.Expression = exp.column(name, table="o")
        if name == "message_id":
            activation = exp.column("activation_id", table="a")
            column = exp.Coalesce(this=activation, expressions=[column])
        elif name in OF_STAMP:
            is_own = exp.column("activation_id", table="a").is_(exp.null())
            column = exp.case().when(is_own, column)
        select = select.select(exp.alias_(column, name))
    return select.subquery("e")
