-- One row per action, channel and link, opens left out; people's hits, robots beside.
SELECT
    h.action_id,
    h.channel,
    h.link_type,
    h.link_label,
    h.link_destination,
    h.form_id,
    COUNT(CASE WHEN NOT h.is_robot THEN 1 END) AS count_hits,
    COUNT(DISTINCT CASE WHEN NOT h.is_robot THEN h.message_id END) AS count_unique_messages,
    COUNT(DISTINCT CASE WHEN NOT h.is_robot THEN h.contact_id END) AS count_unique_contacts,
    COUNT(*) AS count_hits_including_robots,
    COUNT(DISTINCT h.message_id) AS count_unique_messages_including_robots,
    MIN(CASE WHEN NOT h.is_robot THEN h.happened_at END) AS first_hit_at,
    MAX(CASE WHEN NOT h.is_robot THEN h.happened_at END) AS last_hit_at
FROM hits AS h
WHERE COALESCE(h.link_type, '') <> 'open'
GROUP BY h.action_id, h.channel, h.link_type, h.link_label, h.link_destination, h.form_id
