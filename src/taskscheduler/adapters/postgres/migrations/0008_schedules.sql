-- Schedules are fired in sets, by any number of workers, none of which waits for another.

-- Store the tasks of schedules that are due and let these go on; see ScheduleRepository.fire.
--
-- p_names to p_zone_data have an element for each schedule, p_of to p_keys one for each task: p_of is
-- the place of its schedule, p_at the time of its fire, p_due when the task is due. p_told to p_reasons
-- have an element for each fire of which is known beforehand that it comes to no task. What comes back
-- tells by the same place what was fired. It never waits for a schedule that somebody else has locked,
-- and not for long for anything else.
CREATE FUNCTION {schema}.fire_2(
    p_names text[], p_next timestamptz[], p_ruled timestamptz[], p_fired timestamptz[],
    p_following timestamptz[], p_zone_data text[],
    p_of bigint[], p_ids uuid[], p_at timestamptz[], p_due timestamptz[], p_keys text[],
    p_told bigint[], p_told_at timestamptz[], p_outcomes text[], p_reasons text[],
    p_unique_for interval
) RETURNS TABLE (o_place bigint, o_ids uuid[], o_fresh bigint, o_overlaps boolean)
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
        SELECT g.place, g.name, g.fired_at, g.following, g.zone_data, s.*
        FROM unnest(p_names, p_next, p_ruled, p_fired, p_following, p_zone_data)
            WITH ORDINALITY AS g (name, next_fire_at, ruled_at, fired_at, following, zone_data, place)
        CROSS JOIN LATERAL (
            SELECT s.kind, s.queue, s.max_attempts, s.timeout, s.payload, s.last_task_id,
                s.overlap = 'skip' AND EXISTS (
                    SELECT FROM {schema}.live l WHERE l.id = s.last_task_id
                ) AS overlaps, (
                SELECT n.id FROM {schema}.lane n
                WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
                  AND n."group" = coalesce(s.options ->> 'group', '') COLLATE "C"
            ) AS lane
            FROM {schema}.schedule s
            WHERE s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ) AS s
    ), wanted AS MATERIALIZED (
        SELECT f.id, f.at, f.due, f.key, h.*
        FROM unnest(p_of, p_ids, p_at, p_due, p_keys) AS f (place, id, at, due, key)
        JOIN held h ON h.place = f.place AND NOT h.overlaps
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
        SELECT w.place, w.name, w.queue, w.at, w.is_fresh,
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
    ), noted AS (
        INSERT INTO {schema}.schedule_fire
            (schedule, at, recorded_at, queue, outcome, reason, task_id, late)
        SELECT k.name, k.at, {schema}.clock(), k.queue, 'stored',
               CASE WHEN NOT k.is_fresh THEN 'its task was there already' END, k.id,
               greatest({schema}.clock() - k.at, '0 s')
        FROM kept k
        UNION ALL
        SELECT h.name, f.at, {schema}.clock(), h.queue, 'skipped',
               'the task of the last fire had not ended: ' || h.last_task_id, NULL, NULL
        FROM unnest(p_of, p_at) AS f (place, at) JOIN held h ON h.place = f.place AND h.overlaps
        UNION ALL
        SELECT h.name, f.at, {schema}.clock(), h.queue, f.outcome, f.reason, NULL, NULL
        FROM unnest(p_told, p_told_at, p_outcomes, p_reasons) AS f (place, at, outcome, reason)
        JOIN held h ON h.place = f.place
    ), gone_on AS (
        UPDATE {schema}.schedule s
        SET revision = s.revision + 1, last_fire_at = h.fired_at,
            fire_count = s.fire_count + coalesce(cardinality(t.ids), 0),
            next_fire_at = CASE
                WHEN s.fire_count + coalesce(cardinality(t.ids), 0) >= s.max_fires THEN NULL
                ELSE h.following END,
            last_task_id = coalesce(t.ids[cardinality(t.ids)], s.last_task_id),
            zone_data = h.zone_data, taken_until = NULL, problem = NULL
        FROM held h LEFT JOIN told t ON t.place = h.place
        WHERE s.name = h.name
    )
    SELECT h.place, coalesce(t.ids, ARRAY[]::uuid[]), coalesce(t.fresh, 0), h.overlaps
    FROM held h LEFT JOIN told t ON t.place = h.place;
END $$;
