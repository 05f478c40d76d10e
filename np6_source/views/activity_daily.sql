-- One row per UTC day, channel and action: everything that happened, whatever message it is of.
SELECT
    UTC_DAY(e.timestamp) AS happened_on,
    e.channel,
    e.action_id,
    COUNT(*) AS count_events,
    COUNT(CASE WHEN e.type = 'execution' THEN 1 END) AS count_executions,
    COUNT(CASE WHEN e.type = 'activation' THEN 1 END) AS count_activations,
    COUNT(CASE WHEN e.type = 'cancellation' THEN 1 END) AS count_cancellations,
    COUNT(CASE WHEN e.type = 'bounce' THEN 1 END) AS count_bounces,
    COUNT(CASE WHEN e.type = 'hit' AND r.event_id IS NULL THEN 1 END) AS count_hits,
    COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'open' AND r.event_id IS NULL THEN 1 END)
        AS count_opens,
    COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'redirection' AND r.event_id IS NULL THEN 1 END)
        AS count_clicks,
    COUNT(CASE WHEN e.type = 'hit' AND e.subtype = 'unsubscribe' AND r.event_id IS NULL THEN 1 END)
        AS count_unsubscriptions,
    COUNT(CASE WHEN e.type = 'hit' AND r.event_id IS NOT NULL THEN 1 END) AS count_robot_hits,
    COUNT(CASE WHEN e.type = 'reply' THEN 1 END) AS count_replies,
    COUNT(CASE WHEN e.type = 'complaint' THEN 1 END) AS count_complaints,
    COUNT(CASE WHEN e.type = 'optout' THEN 1 END) AS count_optouts,
    COUNT(CASE WHEN e.type = 'impression' THEN 1 END) AS count_impressions
FROM events AS e
LEFT JOIN events__robots AS r ON r.event_id = e.id
GROUP BY UTC_DAY(e.timestamp), e.channel, e.action_id
