-- Schedules are fired in sets, by any number of workers, none of which waits for another.

-- Store the tasks of schedules that are due and let these go on; see ScheduleRepository.fire.
--
-- p_names to p_zone_data have an element for each schedule, p_of to p_keys one for each task: p_of is
-- the place of its schedule, p_at the time of its fire, p_due when the task is due. p_told to p_reasons
-- have an element for each fire of which is known beforehand that it comes to no task. What comes back
-- tells by the same place what was fired. p_why is what the ledger says of the tasks of each schedule,
-- p_nth counts the tasks of one schedule from 1, and p_buffered has how many fires may wait under which
-- policy. Where fires may wait, and the last task has not ended or others wait already, they wait.
--
-- It never waits for a schedule that somebody else has locked,
-- and not for long for anything else.
CREATE FUNCTION {schema}.fire_5(
    p_names text[], p_next timestamptz[], p_ruled timestamptz[], p_fired timestamptz[],
    p_following timestamptz[], p_zone_data text[], p_why text[],
    p_of bigint[], p_nth bigint[], p_ids uuid[], p_at timestamptz[], p_due timestamptz[], p_keys text[],
    p_told bigint[], p_told_at timestamptz[], p_outcomes text[], p_reasons text[],
    p_unique_for interval, p_buffered json
) RETURNS TABLE (o_place bigint, o_ids uuid[], o_fresh bigint, o_overlaps boolean, o_buffered bigint)
LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' SET enable_seqscan = off SET jit = off
    -- It knows how many there are, and joins them by hash.
    SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    INSERT INTO {schema}.lane (queue, kind, priority, "group")
    SELECT DISTINCT s.queue, s.kind COLLATE "C", s.priority, coalesce(s.options ->> 'group', '') COLLATE "C"
    FROM {schema}.schedule s
    WHERE s.name = ANY (p_names) AND NOT EXISTS (
        SELECT FROM {schema}.lane n
        WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
          AND n."group" = coalesce(s.options ->> 'group', '') COLLATE "C"
    )
    ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING;

    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT g.place, g.name, g.fired_at, g.following, g.zone_data, g.why, s.*
        FROM unnest(p_names, p_next, p_ruled, p_fired, p_following, p_zone_data, p_why)
            WITH ORDINALITY
            AS g (name, next_fire_at, ruled_at, fired_at, following, zone_data, why, place)
        CROSS JOIN LATERAL (
            SELECT s.kind, s.queue, s.max_attempts, s.timeout, s.payload, s.last_task_id,
                CASE WHEN s.overlap IN ('allow', 'cancel_running') THEN false ELSE EXISTS (
                    SELECT FROM {schema}.live l WHERE l.id = s.last_task_id
                ) OR s.overlap <> 'skip' AND EXISTS (
                    SELECT FROM {schema}.schedule_buffered b WHERE b.schedule = g.name
                ) END AS overlaps,
                (p_buffered ->> s.overlap)::bigint AS most,
                CASE WHEN s.overlap IN ('buffer_one', 'buffer_all') THEN (
                    SELECT count(*) FROM {schema}.schedule_buffered b WHERE b.schedule = g.name
                ) END AS waiting, (
                SELECT n.id FROM {schema}.lane n
                WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
                  AND n."group" = coalesce(s.options ->> 'group', '') COLLATE "C"
            ) AS lane
            FROM {schema}.schedule s
            WHERE s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ) AS s
    ), given AS MATERIALIZED (
        SELECT f.id, f.at, f.due, f.key, h.*, NOT h.overlaps AND (h.most IS NULL OR f.nth = 1) AS goes,
               (h.waiting + f.nth - (NOT h.overlaps)::integer <= h.most) IS TRUE AS waits
        FROM unnest(p_of, p_nth, p_ids, p_at, p_due, p_keys) AS f (place, nth, id, at, due, key)
        JOIN held h ON h.place = f.place
    ), wanted AS MATERIALIZED (
        SELECT * FROM given WHERE goes
    ), buffered AS (
        INSERT INTO {schema}.schedule_buffered (schedule, at)
        SELECT g.name, g.at FROM given g WHERE g.waits AND NOT g.goes
        ON CONFLICT DO NOTHING
    ), fresh AS (
        INSERT INTO {schema}.unique_key AS k (kind, key, id, expires_at)
        SELECT w.kind, w.key, w.id, {schema}.clock() + p_unique_for FROM wanted w
        ORDER BY w.kind COLLATE "C", w.key COLLATE "C"
        ON CONFLICT (kind, key) DO UPDATE SET id = excluded.id, expires_at = excluded.expires_at
        WHERE k.expires_at <= {schema}.clock()
        RETURNING k.id
    ), body AS (
        INSERT INTO {schema}.task
            (id, execute_at, created_at, max_attempts, timeout, unique_key, payload)
        SELECT w.id, w.due, {schema}.clock(), w.max_attempts, w.timeout, w.key, w.payload
        FROM wanted w WHERE (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE
    ), hot AS (
        INSERT INTO {schema}.live (id, process_at, lane)
        SELECT w.id, greatest(w.due, {schema}.clock()), w.lane
        FROM wanted w WHERE (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE
    ), kept AS MATERIALIZED (
        SELECT w.place, w.name, w.queue, w.at, w.is_fresh, w.why,
               CASE WHEN w.is_fresh THEN w.id ELSE (
                   SELECT k.id FROM {schema}.unique_key k
                   WHERE k.kind = w.kind COLLATE "C" AND k.key = w.key COLLATE "C"
               ) END AS id
        FROM (
            SELECT *, (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE AS is_fresh FROM wanted w
        ) AS w
    ), told AS MATERIALIZED (
        SELECT k.place, count(*) FILTER (WHERE k.is_fresh) AS fresh, array_agg(k.id ORDER BY k.at) AS ids
        FROM kept k GROUP BY k.place
    ), waiting AS MATERIALIZED (
        SELECT g.place, count(*) AS number FROM given g WHERE g.waits AND NOT g.goes GROUP BY g.place
    ), noted AS (
        INSERT INTO {schema}.schedule_fire
            (schedule, at, recorded_at, queue, outcome, reason, task_id, late)
        SELECT k.name, k.at, {schema}.clock(), k.queue, 'stored',
               CASE WHEN k.is_fresh THEN k.why ELSE 'its task was there already' END, k.id,
               greatest({schema}.clock() - k.at, '0 s')
        FROM kept k
        UNION ALL
        SELECT g.name, g.at, {schema}.clock(), g.queue,
               CASE WHEN g.waits THEN 'buffered' ELSE 'skipped' END,
               CASE WHEN g.waits OR g.most IS NULL
                    THEN CASE WHEN g.overlaps
                              THEN 'the task of the last fire had not ended: ' || g.last_task_id
                              ELSE 'the fire before was stored at the same moment' END
                    ELSE 'as many fires as may wait did: ' || g.most END, NULL, NULL
        FROM given g WHERE NOT g.goes
        UNION ALL
        SELECT h.name, f.at, {schema}.clock(), h.queue, f.outcome, f.reason, NULL, NULL
        FROM unnest(p_told, p_told_at, p_outcomes, p_reasons) AS f (place, at, outcome, reason)
        JOIN held h ON h.place = f.place
    ), gone_on AS (
        UPDATE {schema}.schedule s
        SET revision = s.revision + 1, last_fire_at = h.fired_at,
            fire_count = s.fire_count + coalesce(cardinality(t.ids), 0) + coalesce(b.number, 0),
            next_fire_at = CASE
                WHEN s.fire_count + coalesce(cardinality(t.ids), 0) + coalesce(b.number, 0)
                     >= s.max_fires THEN NULL
                ELSE h.following END,
            last_task_id = coalesce(t.ids[cardinality(t.ids)], s.last_task_id),
            zone_data = h.zone_data, taken_until = NULL, problem = NULL
        FROM held h LEFT JOIN told t ON t.place = h.place LEFT JOIN waiting b ON b.place = h.place
        WHERE s.name = h.name
    )
    SELECT h.place, coalesce(t.ids, ARRAY[]::uuid[]), coalesce(t.fresh, 0), h.overlaps,
           coalesce(b.number, 0)
    FROM held h LEFT JOIN told t ON t.place = h.place LEFT JOIN waiting b ON b.place = h.place;
END $$;
