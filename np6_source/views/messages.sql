-- One row per message (stamp id): what was sent to whom, and what came of it; people by default.
WITH collected AS (
    SELECT
        e.message_id,
        MIN(e.message_thread_id) AS message_thread_id,
        MIN(e.message_set_id) AS message_set_id,
        MIN(e.channel) AS channel,
        MIN(e.action_id) AS action_id,
        MIN(e.action_kind) AS action_kind,
        MIN(e.action_version) AS action_version,
        MIN(e.contact_id) AS contact_id,
        MIN(e.contact_hash) AS contact_hash,
        MIN(e.recipient) AS recipient,
        MIN(e.recipient_domain) AS recipient_domain,
        MIN(e.message_stamped_at) AS stamped_at,
        MIN(CASE WHEN e.type = 'execution' THEN e.timestamp END) AS executed_at,
        MIN(CASE WHEN e.type = 'activation' THEN e.timestamp END) AS sent_at,
        MIN(CASE WHEN e.type = 'cancellation' THEN e.timestamp END) AS cancelled_at,
        MIN(CASE WHEN e.type = 'bounce' THEN e.timestamp END) AS bounced_at,
        MIN(CASE WHEN e.type = 'complaint' THEN e.timestamp END) AS complained_at,
        MIN(CASE WHEN e.type = 'reply' THEN e.timestamp END) AS replied_at,
        MIN(CASE WHEN e.type = 'optout' THEN e.timestamp END) AS opted_out_at,
        MIN(CASE WHEN e.type = 'impression' THEN e.timestamp END) AS first_seen_at,
        MIN(CASE WHEN e.type = 'hit' AND e.subtype = 'open' AND r.event_id IS NULL
            THEN e.timestamp END) AS first_opened_at,
        MAX(CASE WHEN e.type = 'hit' AND e.subtype = 'open' AND r.event_id IS NULL
            THEN e.timestamp END) AS last_opened_at,
        MIN(CASE WHEN e.type = 'hit' AND e.subtype = 'redirection' AND r.event_id IS NULL
            THEN e.timestamp END) AS first_clicked_at,
        MAX(CASE WHEN e.type = 'hit' AND e.subtype = 'redirection' AND r.event_id IS NULL
            THEN e.timestamp END) AS last_clicked_at,
        MIN(CASE WHEN e.type = 'hit' AND e.subtype = 'mirror' AND r.event_id IS NULL
            THEN e.timestamp END) AS first_mirrored_at,
        MIN(CASE WHEN e.type = 'hit' AND e.subtype = 'form' AND r.event_id IS NULL
            THEN e.timestamp END) AS first_form_at,
        MIN(CASE WHEN e.type = 'hit' AND e.subtype = 'unsubscribe' AND r.event_id IS NULL
            THEN e.timestamp END) AS unsubscribed_at,
        MIN(e.timestamp) AS first_event_at,
        MAX(e.timestamp) AS last_event_at,
        MAX(e.requested_at) AS requested_at,
        COUNT(*) AS count_events,
        COUNT(CASE WHEN e.type <> 'execution' AND e.type <> 'cancellation' THEN 1 END)
            AS count_after_activation,
        COUNT(CASE WHEN e.type = 'bounce' AND e.subtype = 'hard' THEN 1 END) AS count_hard_bounces,
        COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'open' AND r.event_id IS NULL THEN 1 END)
            AS count_opens,
        COUNT(
            CASE WHEN e.type = 'hit' AND e.subtype = 'redirection' AND r.event_id IS NULL THEN 1 END
        ) AS count_clicks,
        COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'open' THEN 1 END)
            AS count_opens_including_robots,
        COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'redirection' THEN 1 END)
            AS count_clicks_including_robots,
        COUNT(CASE WHEN e.type = 'hit' AND r.event_id IS NOT NULL THEN 1 END) AS count_robot_hits,
        COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'open' AND r.robot_class = 'mpp' THEN 1 END)
            AS count_mpp_opens,
        MIN(CASE WHEN e.type = 'cancellation' THEN e.subtype END) AS cancellation_type,
        MAX(e.action_id) AS last_action_id
    FROM events AS e
    LEFT JOIN events__robots AS r ON r.event_id = e.id
    WHERE
        e.message_id <> ''
        AND e.type IN (
            'execution', 'activation', 'cancellation', 'bounce', 'hit', 'reply', 'complaint',
            'optout', 'impression'
        )
    GROUP BY e.message_id
)

SELECT
    c.message_id,
    c.message_thread_id,
    c.message_set_id,
    c.channel,
    c.action_id,
    c.action_kind,
    c.action_version,
    c.contact_id,
    c.contact_hash,
    c.recipient,
    c.recipient_domain,
    c.stamped_at,
    c.executed_at,
    c.sent_at,
    UTC_DAY(c.sent_at) AS sent_on,
    c.cancelled_at,
    c.bounced_at,
    c.complained_at,
    c.replied_at,
    c.opted_out_at,
    c.first_seen_at,
    c.first_opened_at,
    c.last_opened_at,
    c.first_clicked_at,
    c.last_clicked_at,
    c.first_mirrored_at,
    c.first_form_at,
    c.unsubscribed_at,
    c.first_event_at,
    c.last_event_at,
    c.requested_at,
    c.count_events,
    c.executed_at IS NOT NULL AS was_executed,
    c.count_after_activation > 0 AS was_sent,
    c.sent_at IS NOT NULL AS is_activation_loaded,
    c.cancelled_at IS NOT NULL AS was_cancelled,
    c.count_after_activation > 0 AND c.bounced_at IS NULL AS was_delivered,
    c.bounced_at IS NOT NULL AS was_bounced,
    c.count_hard_bounces > 0 AS was_hard_bounced,
    c.complained_at IS NOT NULL AS was_complained,
    c.replied_at IS NOT NULL AS was_replied,
    c.opted_out_at IS NOT NULL AS was_opted_out,
    c.unsubscribed_at IS NOT NULL AS was_unsubscribed,
    c.count_opens > 0 AS was_opened,
    c.count_clicks > 0 AS was_clicked,
    c.count_opens_including_robots > 0 AS was_opened_including_robots,
    c.count_clicks_including_robots > 0 AS was_clicked_including_robots,
    c.count_opens = 0 AND c.count_mpp_opens > 0 AS is_open_hidden,
    c.count_opens,
    c.count_clicks,
    c.count_opens_including_robots,
    c.count_clicks_including_robots,
    c.count_robot_hits,
    SECONDS_BETWEEN(c.sent_at, c.first_opened_at) / 60 AS minutes_to_open,
    SECONDS_BETWEEN(c.sent_at, c.first_clicked_at) / 60 AS minutes_to_click,
    SECONDS_BETWEEN(c.sent_at, c.bounced_at) / 60 AS minutes_to_bounce,
    c.cancellation_type,
    COALESCE(c.action_id <> c.last_action_id, FALSE) AS is_ambiguous
FROM collected AS c
