-- One row per UTC day of bouncing, channel, domain and reason.
SELECT
    b.happened_on AS bounced_on,
    b.channel,
    b.recipient_domain,
    b.verdict,
    b.status_code_enhanced,
    b.subject_type,
    b.subject_detail_type,
    COUNT(*) AS count_bounces,
    COUNT(DISTINCT b.message_id) AS count_unique_messages,
    COUNT(CASE WHEN b.status_type = 'async' THEN 1 END) AS count_async,
    MIN(b.diagnostic) AS example_diagnostic
FROM bounces AS b
GROUP BY
    b.happened_on,
    b.channel,
    b.recipient_domain,
    b.verdict,
    b.status_code_enhanced,
    b.subject_type,
    b.subject_detail_type
