-- One row per bounce: a message that came back, and why.
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
    COALESCE(b.verdict, e.subtype) AS verdict,
    b.status_type,
    b.status_code_enhanced,
    b.diagnostic,
    b.mta,
    b.subject_type,
    b.subject_detail_type,
    e.requested_at
FROM events AS e
LEFT JOIN events__bounces AS b ON b.event_id = e.id
WHERE e.type = 'bounce'
