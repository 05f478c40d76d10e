-- One row per campaign and channel. A message is in every campaign that one of its events was
-- loaded through: campaigns are not to be added up.
WITH members AS (
    SELECT
        k.campaign_id,
        e.message_id
    FROM events__campaigns AS k
    LEFT JOIN events AS e ON e.id = k.event_id
    WHERE e.message_id <> ''
    GROUP BY k.campaign_id, e.message_id
),

counted AS (
    SELECT
        b.campaign_id,
        m.channel,
        COUNT(DISTINCT m.action_id) AS count_actions,
        MIN(m.sent_at) AS first_sent_at,
        MAX(m.sent_at) AS last_sent_at,
        MAX(m.last_event_at) AS last_event_at,
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
    FROM members AS b
    LEFT JOIN messages AS m ON m.message_id = b.message_id
    WHERE m.message_id IS NOT NULL
    GROUP BY b.campaign_id, m.channel
),

listed AS (
    SELECT a.id, a.name, a.requested_at
    FROM campaigns AS a
    UNION ALL
    SELECT b.id, b.name, b.requested_at
    FROM campaign AS b
),

dated AS (
    -- What was requested last is its name now.
    SELECT
        l.id,
        l.name,
        l.requested_at,
        MAX(CASE WHEN l.name IS NOT NULL THEN l.requested_at END)
            OVER (PARTITION BY l.id) AS named_at
    FROM listed AS l
),

named AS (
    SELECT
        d.id,
        MIN(CASE WHEN d.named_at IS NULL OR d.requested_at = d.named_at THEN d.name END) AS name
    FROM dated AS d
    GROUP BY d.id
)

SELECT
    c.campaign_id,
    c.channel,
    n.name AS campaign_name,
    c.count_actions,
    c.first_sent_at,
    c.last_sent_at,
    c.last_event_at,
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
LEFT JOIN named AS n ON n.id = c.campaign_id
