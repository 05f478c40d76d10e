-- One row per UTC day of sending, channel and domain of the recipients.
WITH counted AS (
    SELECT
        m.sent_on,
        m.channel,
        m.recipient_domain,
        COUNT(*) AS count_sent,
        COUNT(CASE WHEN m.was_delivered THEN 1 END) AS count_delivered,
        COUNT(CASE WHEN m.was_bounced THEN 1 END) AS count_bounced,
        COUNT(CASE WHEN m.was_hard_bounced THEN 1 END) AS count_hard_bounced,
        COUNT(CASE WHEN m.was_bounced AND NOT m.was_hard_bounced THEN 1 END) AS count_soft_bounced,
        COUNT(CASE WHEN m.was_delivered AND m.was_complained THEN 1 END) AS count_complained,
        COUNT(CASE WHEN m.was_delivered AND m.was_unsubscribed THEN 1 END) AS count_unsubscribed
    FROM messages AS m
    WHERE m.is_activation_loaded
    GROUP BY m.sent_on, m.channel, m.recipient_domain
)

SELECT
    c.sent_on,
    c.channel,
    c.recipient_domain,
    c.count_sent,
    c.count_delivered,
    c.count_bounced,
    c.count_hard_bounced,
    c.count_soft_bounced,
    c.count_complained,
    c.count_unsubscribed,
    CAST(c.count_bounced AS DOUBLE) / NULLIF(c.count_sent, 0) AS bounce_rate,
    CAST(c.count_hard_bounced AS DOUBLE) / NULLIF(c.count_sent, 0) AS hard_bounce_rate,
    CAST(c.count_complained AS DOUBLE) / NULLIF(c.count_delivered, 0) AS complaint_rate
FROM counted AS c
