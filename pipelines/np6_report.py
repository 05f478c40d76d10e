"""A picture of what is loaded: a marimo notebook over the views for analysts.

``make report`` opens it. The file is ``NP6_REPORT_FILE``, by default ``demo.duckdb``; give it the
file that ``--publish`` writes. The dataset is ``NP6_REPORT_DATASET``, by default ``np6``.
"""

import marimo

app = marimo.App(width="medium", app_title="NP6 report")


@app.cell
def _():
    import os
    from pathlib import Path

    import altair as alt
    import duckdb
    import marimo as mo

    file = Path(os.environ.get("NP6_REPORT_FILE", "demo.duckdb"))
    dataset = os.environ.get("NP6_REPORT_DATASET", "np6").replace('"', '""')
    mo.stop(
        not file.exists(),
        mo.md(f"**There is no file `{file}`.** Run `make demo`, or name one in `NP6_REPORT_FILE`."),
    )

    # Okabe and Ito's colours, which colour-blind people can tell apart.
    blue, orange, green, grey = "#0072B2", "#E69F00", "#009E73", "#999999"

    def ask(sql, *values):
        """Rows of a query as dicts; times as UTC text, which charts read."""
        with duckdb.connect(str(file), read_only=True) as connection:
            connection.execute(f"SET TimeZone = 'UTC'; SET search_path = '\"{dataset}\"'")
            found = connection.execute(sql, list(values))
            names = [column[0] for column in found.description]
            return [
                {
                    n: v.isoformat() if hasattr(v, "isoformat") else v
                    for n, v in zip(names, row, strict=True)
                }
                for row in found.fetchall()
            ]

    return blue, green, grey, orange, alt, ask, file, mo


@app.cell
def _(ask, file, mo):
    # People react long after the last message is sent.
    span = ask(
        "SELECT MIN(day) AS first, MAX(day) AS last FROM (SELECT sent_on AS day"
        " FROM action_performance_daily UNION ALL SELECT happened_on FROM activity_daily)"
    )[0]
    channels = [
        r["channel"] for r in ask("SELECT DISTINCT channel FROM action_performance ORDER BY 1")
    ]

    def named(name, key):
        """What a choice is called: several may have one name."""
        return f"{name} ({key})" if name else f"{key}"

    actions = {
        named(r["action_name"], r["action_id"]): r["action_id"]
        for r in ask(
            "SELECT action_id, action_name FROM action_performance"
            " WHERE action_id IS NOT NULL ORDER BY count_sent DESC"
        )
    }
    campaigns = {
        named(r["campaign_name"], r["campaign_id"]): r["campaign_id"]
        for r in ask(
            "SELECT DISTINCT campaign_id, campaign_name FROM campaign_performance ORDER BY ALL"
        )
    }
    channel = mo.ui.dropdown(["all", *[c for c in channels if c]], value="all", label="channel")
    action = mo.ui.dropdown({"all": None, **actions}, value="all", label="action")
    campaign = mo.ui.dropdown({"all": None, **campaigns}, value="all", label="actions of campaign")
    start = mo.ui.text(value=span["first"] or "", label="from")
    end = mo.ui.text(value=span["last"] or "", label="to")
    mo.vstack(
        [
            mo.md(f"# NP6 report\n\nOf `{file}`. People by default, robots beside. Days are UTC."),
            mo.hstack([channel, action, campaign, start, end], wrap=True, justify="start"),
        ]
    )
    return action, campaign, channel, end, named, start


@app.cell
def _(action, campaign, channel, end, start):
    def chosen(day=None, campaigns=True):
        """A condition for the filters, and its values."""
        conditions, values = ["1 = 1"], []
        if channel.value != "all":
            conditions.append("channel = ?")
            values.append(channel.value)
        if action.value is not None:
            conditions.append("action_id = ?")
            values.append(action.value)
        if campaign.value is not None and campaigns:
            conditions.append(
                "action_id IN (SELECT e.action_id FROM events__campaigns AS c"
                " LEFT JOIN events AS e ON e.id = c.event_id WHERE c.campaign_id = ?)"
            )
            values.append(campaign.value)
        if day:
            for text, sign in ((start.value, ">="), (end.value, "<=")):
                if text:
                    conditions.append(f"{day} {sign} TRY_CAST(? AS DATE)")
                    values.append(text)
        return " AND ".join(conditions), values

    return (chosen,)


@app.cell
def _(blue, green, grey, orange, alt, ask, chosen, mo, named):
    def titled(title, rows, make, empty="Nothing to show for this choice."):
        """A chart under its title, or a sentence where there is nothing."""
        shown = (
            mo.ui.altair_chart(
                make(alt.Data(values=rows)), chart_selection=False, legend_selection=False
            )
            if rows
            else mo.md(f"*{empty}*")
        )
        return mo.vstack([mo.md(f"### {title}"), shown])

    where, values = chosen("sent_on")
    performance = ask(
        "SELECT action_id, channel, MAX(action_name) AS action_name,"
        " CAST(SUM(count_sent) AS BIGINT) AS sent,"
        " CAST(SUM(count_delivered) AS BIGINT) AS delivered,"
        " CAST(SUM(count_unique_opens) AS BIGINT) AS opened,"
        " CAST(SUM(count_unique_opens_including_robots) AS BIGINT) AS opened_with_robots,"
        " CAST(SUM(count_unique_clicks) AS BIGINT) AS clicked,"
        " CAST(SUM(count_unique_clicks_including_robots) AS BIGINT) AS clicked_with_robots"
        f" FROM action_performance_daily WHERE {where} GROUP BY ALL ORDER BY sent DESC",
        *values,
    )

    _ids = [row["action_id"] for row in performance]

    def label(row):
        """Of an action: its name and id, and its channel where several have the id."""
        if row["action_id"] is None:
            return "no action"
        shown = named(row["action_name"], row["action_id"])
        return f"{shown}, {row['channel']}" if _ids.count(row["action_id"]) > 1 else shown

    def rates(row):
        whole = row["delivered"]
        return {
            "action": label(row),
            "channel": row["channel"],
            "sent": row["sent"],
            "delivered": whole,
            **{
                title: round(100 * row[name] / whole, 1) if whole else None
                for title, name in {
                    "opened %": "opened",
                    "opened + robots %": "opened_with_robots",
                    "clicked %": "clicked",
                    "clicked + robots %": "clicked_with_robots",
                }.items()
            },
        }

    steps = ("sent", "delivered", "opened", "clicked")
    funnel = [
        {
            "action": label(row),
            "step": step,
            "messages": row[step],
        }
        for row in performance[:12]
        for step in steps
    ]
    mo.vstack(
        [
            mo.md("## How did each action do?"),
            mo.ui.table([rates(row) for row in performance], selection=None, page_size=12)
            if performance
            else mo.md("*No messages in this choice.*"),
            titled(
                "Funnel per action (the twelve largest)",
                funnel,
                lambda data: (
                    alt.Chart(data, width="container", height=alt.Step(9))
                    .mark_bar()
                    .encode(
                        x=alt.X("messages:Q", title="messages"),
                        y=alt.Y("action:N", sort="-x", title=None),
                        yOffset=alt.YOffset("step:N", sort=list(steps)),
                        color=alt.Color(
                            "step:N",
                            sort=list(steps),
                            legend=alt.Legend(orient="top", title=None),
                            scale=alt.Scale(domain=list(steps), range=[grey, blue, orange, green]),
                        ),
                    )
                ),
            ),
        ]
    )
    return performance, titled


@app.cell
def _(blue, orange, alt, ask, chosen, mo, titled):
    _where, _values = chosen("happened_on")
    daily = ask(
        "SELECT happened_on AS day, kind, CAST(SUM(n) AS BIGINT) AS hits FROM ("
        " SELECT happened_on, channel, action_id, 'opens' AS kind, count_opens AS n"
        " FROM activity_daily"
        " UNION ALL SELECT happened_on, channel, action_id, 'clicks', count_clicks"
        " FROM activity_daily)"
        f" WHERE {_where} GROUP BY ALL ORDER BY day",
        *_values,
    )
    _where, _values = chosen("happened_on")
    hours = ask(
        "SELECT isodow(happened_at AT TIME ZONE 'UTC') AS weekday,"
        " hour(happened_at AT TIME ZONE 'UTC')"
        " AS hour, COUNT(*) AS opens FROM hits WHERE link_type = 'open' AND NOT is_robot"
        f" AND {_where} GROUP BY ALL",
        *_values,
    )
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    # An hour without opens has a colour too: that of none.
    _opens = {(names[r["weekday"] - 1], r["hour"]): r["opens"] for r in hours}
    hours = [
        {"weekday": weekday, "hour": hour, "opens": _opens.get((weekday, hour), 0)}
        for weekday in names
        for hour in range(24 if _opens else 0)
    ]
    _where, _values = chosen()
    curve = ask(
        "SELECT hours_since_sending AS hours,"
        " 100.0 * SUM(count_unique_opens) / SUM(count_delivered)"
        ' AS "opened %", 100.0 * SUM(count_unique_clicks) / SUM(count_delivered) AS "clicked %"'
        f" FROM response_curve WHERE {_where} GROUP BY ALL ORDER BY 1",
        *_values,
    )
    curve = [
        {"hours": str(r["hours"]), "kind": kind, "percent": round(r[kind], 2)}
        for r in curve
        for kind in ("opened %", "clicked %")
    ]
    two = alt.Scale(range=[blue, orange])
    top = alt.Legend(orient="top", title=None)
    mo.vstack(
        [
            mo.md("## When do people read?"),
            titled(
                "Opens and clicks of people, by UTC day",
                daily,
                lambda data: (
                    alt.Chart(data, width="container", height=220)
                    .mark_line(point=True)
                    .encode(
                        x=alt.X("day:T", title=None),
                        y=alt.Y("hits:Q", title="hits"),
                        color=alt.Color("kind:N", sort=["opens", "clicks"], scale=two, legend=top),
                        strokeDash=alt.StrokeDash("kind:N", sort=["opens", "clicks"], legend=None),
                    )
                ),
            ),
            titled(
                "Opens of people, by hour of the week (UTC)",
                hours,
                lambda data: (
                    alt.Chart(data, width="container", height=180)
                    .mark_rect()
                    .encode(
                        x=alt.X("hour:O", title="hour"),
                        y=alt.Y("weekday:O", sort=names, title=None),
                        color=alt.Color("opens:Q", scale=alt.Scale(scheme="cividis"), legend=top),
                    )
                ),
            ),
            titled(
                "Response curve (all days): opened and clicked within hours, of messages as old",
                curve,
                lambda data: (
                    alt.Chart(data, width="container", height=220)
                    .mark_line(point=True)
                    .encode(
                        x=alt.X("hours:O", sort=None, title="hours since sending"),
                        y=alt.Y("percent:Q", title="% of delivered"),
                        color=alt.Color(
                            "kind:N", sort=["opened %", "clicked %"], scale=two, legend=top
                        ),
                        strokeDash=alt.StrokeDash(
                            "kind:N", sort=["opened %", "clicked %"], legend=None
                        ),
                    )
                ),
                "No message is old enough yet.",
            ),
        ]
    )
    return


@app.cell
def _(blue, orange, alt, ask, channel, chosen, end, mo, start, titled):
    _conditions, _values = ["recipient_domain IS NOT NULL"], []
    if channel.value != "all":
        _conditions.append("channel = ?")
        _values.append(channel.value)
    for _text, _sign in ((start.value, ">="), (end.value, "<=")):
        if _text:
            _conditions.append(f"sent_on {_sign} TRY_CAST(? AS DATE)")
            _values.append(_text)
    domains = ask(
        "SELECT recipient_domain AS domain, CAST(SUM(count_sent) AS BIGINT) AS sent,"
        " CAST(SUM(count_hard_bounced) AS BIGINT) AS hard,"
        " CAST(SUM(count_soft_bounced) AS BIGINT) AS soft"
        f" FROM deliverability_daily WHERE {' AND '.join(_conditions)} GROUP BY ALL"
        " ORDER BY sent DESC LIMIT 12",
        *_values,
    )
    domains = [
        {"domain": r["domain"], "kind": kind, "percent": round(100 * r[kind] / r["sent"], 2)}
        for r in domains
        for kind in ("hard", "soft")
    ]
    _where, _values = chosen()
    devices = ask(
        "SELECT device_type AS device, CAST(SUM(count_hits) AS BIGINT) AS hits"
        " FROM device_breakdown"
        f" WHERE {_where} GROUP BY ALL ORDER BY hits DESC LIMIT 8",
        *_values,
    )
    mo.vstack(
        [
            mo.md("## Who rejects us, and on what are we read?"),
            titled(
                "Bounced, of messages sent, by domain (for the channel and period)",
                domains,
                lambda data: (
                    alt.Chart(data, width="container", height=alt.Step(20))
                    .mark_bar()
                    .encode(
                        x=alt.X("percent:Q", title="% of sent"),
                        y=alt.Y("domain:N", sort="-x", title=None),
                        color=alt.Color(
                            "kind:N",
                            sort=["hard", "soft"],
                            scale=alt.Scale(range=[orange, blue]),
                            legend=alt.Legend(orient="top", title=None),
                        ),
                    )
                ),
                "No recipient's domain is known.",
            ),
            titled(
                "Hits of people, by device (all days)",
                devices,
                lambda data: (
                    alt.Chart(data, width="container", height=alt.Step(20))
                    .mark_bar(color=blue)
                    .encode(x=alt.X("hits:Q"), y=alt.Y("device:N", sort="-x", title=None))
                ),
            ),
        ]
    )
    return


@app.cell
def _(ask, mo):
    mo.vstack(
        [
            mo.md("## How fresh and how whole is this?"),
            mo.ui.table(
                ask(
                    "SELECT resource, scope_id, complete_from, complete_until, count_gaps,"
                    " round(lag_minutes) AS lag_minutes FROM freshness"
                    " WHERE classification = '' ORDER BY ALL"
                ),
                selection=None,
            ),
            mo.md("## What to know of the figures"),
            mo.ui.table(ask("FROM data_quality ORDER BY ALL"), selection=None, page_size=12),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
