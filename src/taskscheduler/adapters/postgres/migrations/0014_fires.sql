-- Schedules are fired in sets, by any number of workers, none of which waits for another.
--
-- ruled_at     since when the rule holds: a change of the rule makes no fire of times before
-- taken_until  whoever takes a schedule has so long to fire it; then others are given it
-- zone_data    the version of the time zones that next_fire_at was reckoned by
-- problem      why it could not be fired
ALTER TABLE {schema}.schedule
    ADD COLUMN ruled_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    ADD COLUMN taken_until timestamptz,
    ADD COLUMN zone_data text COLLATE "C",
    ADD COLUMN problem text;
UPDATE {schema}.schedule SET ruled_at = created_at;
-- A schedule is taken at each fire: that changes no index, and may stay on its page.
ALTER TABLE {schema}.schedule SET (fillfactor = 70);

-- One row: since when somebody looks at schedules without an outage, and when last.
CREATE TABLE {schema}.schedule_watch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL,
    looked_at timestamptz NOT NULL
);

-- Store the tasks of schedules that are due and let these go on; see ScheduleRepository.fire.
--
-- p_names to p_zone_data have an element for each schedule, p_of to p_keys one for each task: p_of is
-- the place of its schedule. What comes back tells by the same place what was fired. It never waits
-- for a schedule that somebody else has locked, and not for long for anything else.
CREATE FUNCTION {schema}.fire_1(
    p_names text[], p_next timestamptz[], p_ruled timestamptz[], p_fired timestamptz[],
    p_following timestamptz[], p_zone_data text[],
    p_of bigint[], p_ids uuid[], p_at timestamptz[], p_keys text[], p_unique_for interval
) RETURNS TABLE (o_place bigint, o_ids uuid[], o_fresh bigint, o_overlaps boolean)
LANGUAGE plpgsql SET lock_timeout = '2s' SET enable_seqscan = off SET jit = off AS $$
BEGIN
    INSERT INTO {schema}.lane (queue, kind, priority)
    SELECT DISTINCT s.queue, s.kind COLLATE "C", s.priority FROM {schema}.schedule s
    WHERE s.name = ANY (p_names) AND NOT EXISTS (
        SELECT FROM {schema}.lane n
        WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
    )
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING;

    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(p_names, p_next, p_ruled, p_fired, p_following, p_zone_data)
            WITH ORDINALITY AS g (name, next_fire_at, ruled_at, fired_at, following, zone_data, place)
    ), held AS MATERIALIZED (
        SELECT g.place, g.name, g.fired_at, g.following, g.zone_data, s.kind,
               s.overlap = 'skip' AND EXISTS (
                   SELECT FROM {schema}.live l WHERE l.id = s.last_task_id
               ) AS overlaps
        FROM given g JOIN {schema}.schedule s
          ON s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ), wanted AS MATERIALIZED (
        SELECT f.place, f.id, f.at, f.key, h.name, h.kind
        FROM unnest(p_of, p_ids, p_at, p_keys) AS f (place, id, at, key)
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
        SELECT w.id, w.at, {schema}.clock(), s.max_attempts, s.timeout, w.key, s.payload
        FROM wanted w JOIN fresh ON fresh.id = w.id JOIN {schema}.schedule s ON s.name = w.name
    ), hot AS (
        INSERT INTO {schema}.live (id, process_at, lane)
        SELECT w.id, greatest(w.at, {schema}.clock()), n.id
        FROM wanted w JOIN fresh ON fresh.id = w.id JOIN {schema}.schedule s ON s.name = w.name
        JOIN {schema}.lane n
          ON n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
    ), told AS MATERIALIZED (
        SELECT w.place, array_agg(coalesce(fresh.id, k.id) ORDER BY w.at) AS ids,
               count(fresh.id) AS fresh
        FROM wanted w LEFT JOIN fresh ON fresh.id = w.id
        LEFT JOIN {schema}.unique_key k
          ON fresh.id IS NULL AND k.kind = w.kind COLLATE "C" AND k.key = w.key COLLATE "C"
        GROUP BY w.place
    ), gone_on AS (
        UPDATE {schema}.schedule s
        SET revision = s.revision + 1, next_fire_at = h.following, last_fire_at = h.fired_at,
            last_task_id = coalesce(t.ids[cardinality(t.ids)], s.last_task_id),
            zone_data = h.zone_data, taken_until = NULL, problem = NULL
        FROM held h LEFT JOIN told t ON t.place = h.place
        WHERE s.name = h.name
    )
    SELECT h.place, coalesce(t.ids, ARRAY[]::uuid[]), coalesce(t.fresh, 0), h.overlaps
    FROM held h LEFT JOIN told t ON t.place = h.place;
END $$;
