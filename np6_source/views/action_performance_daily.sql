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
    SELECT 'action' AS kind, a.id, a.type, a.name, a.category_id, a.requested_at
    FROM actions AS a
    UNION ALL
    SELECT 'action' AS kind, b.id, b.type, b.name, b.category_id, b.requested_at
    FROM action AS b
    UNION ALL
    SELECT
        'notification' AS kind,
        CAST(n.id AS VARCHAR) AS id,
        n.type,
        n.name,
        CAST(NULL AS BIGINT) AS category_id,
        n.requested_at
    FROM notifications AS n
),

dated AS (
    -- What was requested last is its name now.
    SELECT
        l.kind,
        l.id,
        l.type,
        l.name,
        l.category_id,
        l.requested_at,
        MAX(CASE WHEN l.type IS NOT NULL THEN l.requested_at END)
            OVER (PARTITION BY l.kind, l.id) AS typed_at,
        MAX(CASE WHEN l.name IS NOT NULL THEN l.requested_at END)
            OVER (PARTITION BY l.kind, l.id) AS named_at,
        MAX(CASE WHEN l.category_id IS NOT NULL THEN l.requested_at END)
            OVER (PARTITION BY l.kind, l.id) AS grouped_at
    FROM listed AS l
),

named AS (
    SELECT
        d.kind,
        d.id,
        MIN(CASE WHEN d.typed_at IS NULL OR d.requested_at = d.typed_at THEN d.type END) AS type,
        MIN(CASE WHEN d.named_at IS NULL OR d.requested_at = d.named_at THEN d.name END) AS name,
        MIN(
            CASE WHEN d.grouped_at IS NULL OR d.requested_at = d.grouped_at
                THEN d.category_id END
        ) AS category_id
    FROM dated AS d
    GROUP BY d.kind, d.id
),

categorized AS (
    SELECT
        h.id,
        h.name,
        h.requested_at,
        MAX(h.requested_at) OVER (PARTITION BY h.id) AS named_at
    FROM categories AS h
),

grouped AS (
    SELECT
        h.id,
        MIN(CASE WHEN h.named_at IS NULL OR h.requested_at = h.named_at THEN h.name END) AS name
    FROM categorized AS h
    GROUP BY h.id
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
