-- One row per action, channel, kind of hit, device, system and browser; people's hits only.
SELECT
    h.action_id,
    h.channel,
    COALESCE(h.link_type, 'unknown') AS link_type,
    COALESCE(h.device_type, 'unknown') AS device_type,
    COALESCE(h.os_family, 'unknown') AS os_family,
    COALESCE(h.browser_type, 'unknown') AS browser_type,
    COALESCE(h.browser_name, 'unknown') AS browser_name,
    COUNT(*) AS count_hits,
    COUNT(DISTINCT h.message_id) AS count_unique_messages,
    COUNT(DISTINCT h.contact_id) AS count_unique_contacts
FROM hits AS h
WHERE NOT h.is_robot
GROUP BY
    h.action_id,
    h.channel,
    COALESCE(h.link_type, 'unknown'),
    COALESCE(h.device_type, 'unknown'),
    COALESCE(h.os_family, 'unknown'),
    COALESCE(h.browser_type, 'unknown'),
    COALESCE(h.browser_name, 'unknown')
