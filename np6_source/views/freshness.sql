-- One row per resource, id and robot class: what the ledger proves to be loaded, and how fresh it is.
WITH completed AS (
    SELECT p.load_id
    FROM _dlt_loads AS p
    WHERE p.status = 0
    GROUP BY p.load_id
),

removed AS (
    SELECT MAX(r.cutoff) AS cutoff
    FROM _np6_removals AS r
),

proven AS (
    SELECT
        w.resource,
        w.scope_id,
        COALESCE(w.classification, '') AS classification,
        CASE WHEN r.cutoff > w.window_start THEN r.cutoff ELSE w.window_start END AS window_start,
        w.window_end,
        w.event_count,
        w.requested_at
    FROM load_windows AS w
    LEFT JOIN completed AS p ON p.load_id = w._dlt_load_id
    CROSS JOIN removed AS r
    WHERE p.load_id IS NOT NULL AND (r.cutoff IS NULL OR w.window_end > r.cutoff)
),

reached AS (
    SELECT
        w.resource,
        w.scope_id,
        w.classification,
        w.window_start,
        w.window_end,
        w.event_count,
        w.requested_at,
        MAX(w.window_end) OVER (
            PARTITION BY w.resource, w.scope_id, w.classification
            ORDER BY w.window_start, w.window_end
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS covered_before
    FROM proven AS w
),

numbered AS (
    SELECT
        w.resource,
        w.scope_id,
        w.classification,
        w.window_start,
        w.window_end,
        w.event_count,
        w.requested_at,
        SUM(
            CASE WHEN w.covered_before IS NOT NULL AND w.window_start <= w.covered_before
                THEN 0 ELSE 1 END
        ) OVER (
            PARTITION BY w.resource, w.scope_id, w.classification
            ORDER BY w.window_start, w.window_end
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS island
    FROM reached AS w
),

islands AS (
    SELECT
        w.resource,
        w.scope_id,
        w.classification,
        w.island,
        MIN(w.window_start) AS covered_from,
        MAX(w.window_end) AS covered_until,
        COUNT(*) AS count_windows,
        SUM(COALESCE(w.event_count, 0)) AS count_events_answered,
        MAX(w.requested_at) AS last_requested_at
    FROM numbered AS w
    GROUP BY w.resource, w.scope_id, w.classification, w.island
),

covered AS (
    SELECT
        i.resource,
        i.scope_id,
        i.classification,
        MIN(i.covered_from) AS covered_from,
        MAX(i.covered_from) AS complete_from,
        MAX(i.covered_until) AS complete_until,
        COUNT(*) - 1 AS count_gaps,
        CAST(SUM(i.count_windows) AS BIGINT) AS count_windows,
        CAST(SUM(i.count_events_answered) AS BIGINT) AS count_events_answered,
        MAX(i.last_requested_at) AS last_requested_at
    FROM islands AS i
    GROUP BY i.resource, i.scope_id, i.classification
),

latest AS (
    SELECT MAX(e.timestamp) AS happened_at
    FROM events AS e
),

refreshed AS (
    SELECT r.load_id
    FROM _np6_refreshes AS r
    GROUP BY r.load_id
),

packages AS (
    SELECT
        COUNT(r.load_id) AS count_refreshed,
        COUNT(CASE WHEN r.load_id IS NULL THEN 1 END) AS count_waiting
    FROM completed AS p
    LEFT JOIN refreshed AS r ON r.load_id = p.load_id
)

SELECT
    c.resource,
    c.scope_id,
    c.classification,
    c.scope_id = '' AS is_account_wide,
    c.covered_from,
    c.complete_from,
    c.complete_until,
    c.count_gaps,
    c.count_windows,
    c.count_events_answered,
    c.last_requested_at,
    SECONDS_BETWEEN(c.complete_until, NOW_UTC()) / 60 AS lag_minutes,
    l.happened_at AS last_event_at,
    CASE WHEN p.count_refreshed > 0 THEN p.count_waiting END AS count_packages_not_in_messages
FROM covered AS c
CROSS JOIN latest AS l
CROSS JOIN packages AS p
