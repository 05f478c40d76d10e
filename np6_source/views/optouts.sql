-- One row per opt-out: a contact who refuses further notifications.
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
    e.requested_at
FROM events AS e
WHERE e.type = 'optout'
