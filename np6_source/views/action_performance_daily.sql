-- One row per action, channel and UTC day of sending; its counts add up to action_performance.
WITH counted AS (
    SELECT
        m.action_id,
        m.channel,
        UTC_DAY(COALESCE(m.sent_at, m.cancelled_at, m.executed_at, m.stamped_at)) AS sent_on,
        COUNT(CASE WHEN m.was_executed THEN 1 END) AS count_executed,
        COUNT(CASE WHEN m.was_cancelled THEN 1 END) AS count_cancelled,
        COUNT(CASE WHEN m.is_activation_loaded THEN 1 END) AS count_sent,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered THEN 1 END) AS count_delivered,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_bounced THEN 1 END) AS count_bounced,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_hard_bounced THEN 1 END)
            AS count_hard_bounced,
        COUNT(CASE WHEN m.is_activation_loaded OR m.was_cancelled THEN 1 END) AS count_decided,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_opened THEN 1 END)
            AS count_unique_opens,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_clicked THEN 1 END)
            AS count_unique_clicks,
        COUNT(
            CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_opened_including_robots
                THEN 1 END
        ) AS count_unique_opens_including_robots,
        COUNT(
            CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_clicked_including_robots
                THEN 1 END
        ) AS count_unique_clicks_including_robots,
        COUNT(
            CASE WHEN m.is_activation_loaded AND m.was_delivered AND (m.was_opened OR m.was_clicked)
                THEN 1 END
        ) AS count_unique_readers,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.is_open_hidden THEN 1 END)
            AS count_hidden_opens,
        COUNT(
            CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_unsubscribed THEN 1 END
        ) AS count_unsubscribed,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_complained THEN 1 END)
            AS count_complained,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_delivered AND m.was_replied THEN 1 END)
            AS count_replied,
        CAST(SUM(CASE WHEN m.is_activation_loaded THEN m.count_opens ELSE 0 END) AS BIGINT)
            AS count_opens,
        CAST(SUM(CASE WHEN m.is_activation_loaded THEN m.count_clicks ELSE 0 END) AS BIGINT)
            AS count_clicks,
        COUNT(CASE WHEN m.was_sent AND NOT m.is_activation_loaded THEN 1 END)
            AS count_messages_without_activation,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_executed THEN 1 END)
            AS count_sent_with_execution
    FROM messages AS m
    GROUP BY
        m.action_id,
        m.channel,
        UTC_DAY(COALESCE(m.sent_at, m.cancelled_at, m.executed_at, m.stamped_at))
),

listed AS (
    SELECT a.id, a.type, a.name, a.category_id
    FROM actions AS a
    UNION ALL
    SELECT b.id, b.type, b.name, b.category_id
    FROM action AS b
),

named AS (
    SELECT
        'action' AS kind,
        l.id,
        MIN(l.type) AS type,
        MIN(l.name) AS name,
        MIN(l.category_id) AS category_id
    FROM listed AS l
    GROUP BY l.id
    UNION ALL
    SELECT
        'notification' AS kind,
        CAST(n.id AS VARCHAR) AS id,
        MIN(n.type) AS type,
        MIN(n.name) AS name,
        CAST(NULL AS BIGINT) AS category_id
    FROM notifications AS n
    GROUP BY CAST(n.id AS VARCHAR)
),

grouped AS (
    SELECT
        g.id,
        MIN(g.name) AS name
    FROM categories AS g
    GROUP BY g.id
)

SELECT
    c.action_id,
    c.channel,
    c.sent_on,
    n.name AS action_name,
    n.type AS action_type,
    g.name AS category_name,
    c.count_executed,
    c.count_cancelled,
    c.count_sent,
    c.count_delivered,
    c.count_bounced,
    c.count_hard_bounced,
    c.count_decided,
    c.count_unique_opens,
    c.count_unique_clicks,
    c.count_unique_opens_including_robots,
    c.count_unique_clicks_including_robots,
    c.count_unique_readers,
    c.count_hidden_opens,
    c.count_unsubscribed,
    c.count_complained,
    c.count_replied,
    c.count_opens,
    c.count_clicks,
    c.count_messages_without_activation,
    c.count_sent_with_execution,
    CAST(c.count_delivered AS DOUBLE) / NULLIF(c.count_sent, 0) AS delivery_rate,
    CAST(c.count_bounced AS DOUBLE) / NULLIF(c.count_sent, 0) AS bounce_rate,
    CAST(c.count_hard_bounced AS DOUBLE) / NULLIF(c.count_sent, 0) AS hard_bounce_rate,
    CAST(c.count_cancelled AS DOUBLE) / NULLIF(c.count_decided, 0) AS cancellation_rate,
    CAST(c.count_unique_opens AS DOUBLE) / NULLIF(c.count_delivered, 0) AS open_rate,
    CAST(c.count_unique_clicks AS DOUBLE) / NULLIF(c.count_delivered, 0) AS click_rate,
    CAST(c.count_unique_clicks AS DOUBLE) / NULLIF(c.count_unique_readers, 0)
        AS click_to_open_rate,
    CAST(c.count_unsubscribed AS DOUBLE) / NULLIF(c.count_delivered, 0) AS unsubscribe_rate,
    CAST(c.count_complained AS DOUBLE) / NULLIF(c.count_delivered, 0) AS complaint_rate,
    CAST(c.count_unique_opens AS DOUBLE) / NULLIF(c.count_delivered - c.count_hidden_opens, 0)
        AS observable_open_rate,
    CAST(c.count_unique_opens_including_robots AS DOUBLE) / NULLIF(c.count_delivered, 0)
        AS open_rate_including_robots,
    CAST(c.count_unique_clicks_including_robots AS DOUBLE) / NULLIF(c.count_delivered, 0)
        AS click_rate_including_robots
FROM counted AS c
LEFT JOIN named AS n
    ON n.id = c.action_id
    AND n.kind = CASE
        WHEN c.channel IN ('email', 'sms') THEN 'action'
        WHEN c.channel = 'notification' THEN 'notification'
    END
LEFT JOIN grouped AS g ON g.id = n.category_id
