-- One row per contact: what they were sent, and when they last read; people only.
WITH counted AS (
    SELECT
        m.contact_id,
        MIN(m.contact_hash) AS contact_hash,
        MIN(m.sent_at) AS first_sent_at,
        MAX(m.sent_at) AS last_sent_at,
        MIN(m.first_opened_at) AS first_opened_at,
        MAX(m.last_opened_at) AS last_opened_at,
        MAX(m.last_clicked_at) AS last_clicked_at,
        MIN(m.first_event_at) AS first_event_at,
        MAX(m.last_event_at) AS last_event_at,
        COUNT(CASE WHEN m.is_activation_loaded THEN 1 END) AS count_sent,
        COUNT(CASE WHEN m.was_bounced THEN 1 END) AS count_bounced,
        COUNT(CASE WHEN m.was_hard_bounced THEN 1 END) AS count_hard_bounced,
        COUNT(CASE WHEN m.was_cancelled THEN 1 END) AS count_cancelled,
        COUNT(CASE WHEN m.was_opened THEN 1 END) AS count_messages_opened,
        COUNT(CASE WHEN m.was_clicked THEN 1 END) AS count_messages_clicked,
        CAST(SUM(m.count_opens) AS BIGINT) AS count_opens,
        CAST(SUM(m.count_clicks) AS BIGINT) AS count_clicks,
        COUNT(CASE WHEN m.was_unsubscribed OR m.was_complained OR m.was_opted_out THEN 1 END)
            AS count_refusals
    FROM messages AS m
    WHERE m.contact_id IS NOT NULL
    GROUP BY m.contact_id
)

SELECT
    c.contact_id,
    c.contact_hash,
    c.first_sent_at,
    c.last_sent_at,
    c.first_opened_at,
    c.last_opened_at,
    c.last_clicked_at,
    c.first_event_at,
    c.last_event_at,
    c.count_sent,
    c.count_bounced,
    c.count_hard_bounced,
    c.count_cancelled,
    c.count_messages_opened,
    c.count_messages_clicked,
    c.count_opens,
    c.count_clicks,
    c.count_refusals,
    CAST(FLOOR(SECONDS_BETWEEN(c.last_opened_at, NOW_UTC()) / 86400) AS BIGINT) AS days_since_open,
    CAST(FLOOR(SECONDS_BETWEEN(c.last_clicked_at, NOW_UTC()) / 86400) AS BIGINT)
        AS days_since_click
FROM counted AS c
