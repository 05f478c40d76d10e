-- One row per check: how many were found, of how many.
WITH names AS (
    SELECT 'sent messages whose activation is not loaded' AS check_name
    UNION ALL
    SELECT 'activations whose execution has the same stamp' AS check_name
    UNION ALL
    SELECT 'messages both sent and cancelled' AS check_name
    UNION ALL
    SELECT 'messages bounced and opened by people' AS check_name
    UNION ALL
    SELECT 'messages whose first reaction precedes their activation' AS check_name
    UNION ALL
    SELECT 'messages of several actions' AS check_name
    UNION ALL
    SELECT 'events without a message id' AS check_name
    UNION ALL
    SELECT 'events without a contact id' AS check_name
    UNION ALL
    SELECT 'hits marked as robots' AS check_name
    UNION ALL
    SELECT 'events of an unknown type' AS check_name
    UNION ALL
    SELECT 'event ids that occur twice' AS check_name
    UNION ALL
    SELECT 'events of a second account' AS check_name
),

removed AS (
    SELECT MAX(r.cutoff) AS cutoff
    FROM _np6_removals AS r
),

of_messages AS (
    SELECT
        COUNT(*) AS messages,
        COUNT(CASE WHEN m.was_sent THEN 1 END) AS sent,
        COUNT(CASE WHEN m.is_activation_loaded THEN 1 END) AS activated,
        COUNT(CASE WHEN m.was_bounced THEN 1 END) AS bounced,
        COUNT(
            CASE WHEN
                m.was_sent AND NOT m.is_activation_loaded
                AND (r.cutoff IS NULL OR m.stamped_at IS NULL OR m.stamped_at >= r.cutoff)
                THEN 1 END
        ) AS without_activation,
        COUNT(CASE WHEN m.is_activation_loaded AND m.was_executed THEN 1 END) AS with_execution,
        COUNT(CASE WHEN m.was_sent AND m.was_cancelled THEN 1 END) AS sent_and_cancelled,
        COUNT(CASE WHEN m.was_bounced AND m.was_opened THEN 1 END) AS bounced_and_opened,
        COUNT(
            CASE WHEN
                m.bounced_at < m.sent_at
                OR m.complained_at < m.sent_at
                OR m.replied_at < m.sent_at
                OR m.opted_out_at < m.sent_at
                OR m.first_seen_at < m.sent_at
                OR m.first_opened_at < m.sent_at
                OR m.first_clicked_at < m.sent_at
                OR m.first_mirrored_at < m.sent_at
                OR m.first_form_at < m.sent_at
                OR m.unsubscribed_at < m.sent_at
                THEN 1 END
        ) AS reacted_before,
        COUNT(CASE WHEN m.is_ambiguous THEN 1 END) AS ambiguous
    FROM messages AS m
    CROSS JOIN removed AS r
),

first_account AS (
    SELECT
        MIN(e.agency) AS agency,
        MIN(e.customer) AS customer
    FROM events AS e
),

of_events AS (
    SELECT
        COUNT(*) AS events,
        COUNT(*) - COUNT(NULLIF(e.message_id, '')) AS without_message,
        COUNT(*) - COUNT(e.contact_id) AS without_contact,
        COUNT(
            CASE WHEN COALESCE(e.type, '') NOT IN (
                'execution', 'activation', 'cancellation', 'bounce', 'hit', 'reply', 'complaint',
                'optout', 'impression'
            ) THEN 1 END
        ) AS of_unknown_type,
        COUNT(*) - COUNT(DISTINCT e.id) AS twice,
        COUNT(CASE WHEN e.agency <> f.agency OR e.customer <> f.customer THEN 1 END)
            AS of_second_account
    FROM events AS e
    CROSS JOIN first_account AS f
),

of_hits AS (
    SELECT
        COUNT(*) AS hits,
        COUNT(CASE WHEN h.is_robot THEN 1 END) AS robots
    FROM hits AS h
)

SELECT
    n.check_name,
    CASE n.check_name
        WHEN 'sent messages whose activation is not loaded' THEN m.without_activation
        WHEN 'activations whose execution has the same stamp' THEN m.with_execution
        WHEN 'messages both sent and cancelled' THEN m.sent_and_cancelled
        WHEN 'messages bounced and opened by people' THEN m.bounced_and_opened
        WHEN 'messages whose first reaction precedes their activation' THEN m.reacted_before
        WHEN 'messages of several actions' THEN m.ambiguous
        WHEN 'events without a message id' THEN e.without_message
        WHEN 'events without a contact id' THEN e.without_contact
        WHEN 'hits marked as robots' THEN h.robots
        WHEN 'events of an unknown type' THEN e.of_unknown_type
        WHEN 'event ids that occur twice' THEN e.twice
        WHEN 'events of a second account' THEN e.of_second_account
    END AS count_found,
    CASE n.check_name
        WHEN 'sent messages whose activation is not loaded' THEN m.sent
        WHEN 'activations whose execution has the same stamp' THEN m.activated
        WHEN 'messages both sent and cancelled' THEN m.messages
        WHEN 'messages bounced and opened by people' THEN m.bounced
        WHEN 'messages whose first reaction precedes their activation' THEN m.activated
        WHEN 'messages of several actions' THEN m.messages
        WHEN 'hits marked as robots' THEN h.hits
        ELSE e.events
    END AS count_of
FROM names AS n
CROSS JOIN of_messages AS m
CROSS JOIN of_events AS e
CROSS JOIN of_hits AS h
