-- One row per cancellation: a message that was not sent, and why.
SELECT
    e.id AS event_id,
    e.timestamp AS happened_at,
    UTC_DAY(e.timestamp) AS happened_on,
    e.channel,
    e.action_id,
    e.action_kind,
    e.action_version,
    NULLIF(e.message_id, '') AS message_id,
    e.message_thread_id,
    e.message_set_id,
    e.contact_id,
    e.contact_hash,
    e.recipient,
    e.recipient_domain,
    e.message_stamped_at AS stamped_at,
    COALESCE(c.cancellation_type, e.subtype) AS cancellation_type,
    c.value_type,
    c.value_message,
    e.requested_at
FROM events AS e
LEFT JOIN events__cancellations AS c ON c.event_id = e.id
WHERE e.type = 'cancellation'
