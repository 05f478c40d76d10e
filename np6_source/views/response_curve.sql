-- One row per action, channel and hours since sending: rates at equal age, whenever a message went.
WITH ages AS (
    SELECT CAST(1 AS BIGINT) AS hours
    UNION ALL
    SELECT 6 AS hours
    UNION ALL
    SELECT 24 AS hours
    UNION ALL
    SELECT 72 AS hours
    UNION ALL
    SELECT 168 AS hours
    UNION ALL
    SELECT 720 AS hours
),

latest AS (
    SELECT MAX(e.timestamp) AS happened_at
    FROM events AS e
),

counted AS (
    SELECT
        m.action_id,
        m.channel,
        a.hours AS hours_since_sending,
        COUNT(*) AS count_delivered,
        COUNT(CASE WHEN m.minutes_to_open <= a.hours * 60 THEN 1 END) AS count_unique_opens,
        COUNT(CASE WHEN m.minutes_to_click <= a.hours * 60 THEN 1 END) AS count_unique_clicks
    FROM messages AS m
    CROSS JOIN ages AS a
    CROSS JOIN latest AS l
    WHERE
        m.is_activation_loaded
        AND m.was_delivered
        AND SECONDS_BETWEEN(m.sent_at, l.happened_at) >= a.hours * 3600
    GROUP BY m.action_id, m.channel, a.hours
)

SELECT
    c.action_id,
    c.channel,
    c.hours_since_sending,
    c.count_delivered,
    c.count_unique_opens,
    c.count_unique_clicks,
    CAST(c.count_unique_opens AS DOUBLE) / NULLIF(c.count_delivered, 0) AS open_rate,
    CAST(c.count_unique_clicks AS DOUBLE) / NULLIF(c.count_delivered, 0) AS click_rate
FROM counted AS c
