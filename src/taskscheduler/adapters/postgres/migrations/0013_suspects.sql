-- Suspects: tasks that were there when several workers went down. Busy workers pass them over.

-- The token of the lease under which the attempt is known to have begun. Written only of tasks that
-- were there when a worker went down: of all others a crash takes for granted that they had begun.
ALTER TABLE {schema}.live ADD COLUMN begun bigint;

-- Where nobody is suspect this index is empty. Two crashes make a suspect (domain/lease.py).
CREATE INDEX live_suspect ON {schema}.live (lane, process_at, id)
    WHERE worker_id IS NULL AND excused >= 2;

-- How many threads of the worker still run attempts that have ended without them.
ALTER TABLE {schema}.worker ADD COLUMN abandoned integer NOT NULL DEFAULT 0;

-- As claim_3, but for tasks that were excused p_excused_below times or more, which are passed over.
CREATE FUNCTION {schema}.claim_13(
    p_lanes integer[], p_floors timestamptz[], p_limit bigint, p_worker bigint, p_epoch integer,
    p_excused_below smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    PERFORM FROM unnest(p_lanes, p_floors) AS lane (lane, floor) CROSS JOIN LATERAL (
        SELECT FROM {schema}.live l
        WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused < p_excused_below
          AND l.process_at >= lane.floor AND l.process_at <= {schema}.clock()
        ORDER BY l.process_at, l.id LIMIT 1
    ) AS head
    WHERE lane.lane <> ALL (ARRAY(
        SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
    )) LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH lane AS MATERIALIZED (
        SELECT * FROM unnest(p_lanes, p_floors) AS g (lane, floor)
        WHERE g.lane <> ALL (ARRAY(
            SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
        ))
    ), due AS MATERIALIZED (
        SELECT head.id FROM lane CROSS JOIN LATERAL (
            SELECT l.id FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused < p_excused_below
              AND l.process_at >= lane.floor AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS head LIMIT p_limit
    ), leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = nextval({token}), attempt = l.attempt + 1,
            started_at = {schema}.clock()
        WHERE l.id = ANY (ARRAY(SELECT due.id FROM due))
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    )
    SELECT d.id, d.token, d.lane, d.attempt, t.max_attempts, d.process_at, t.timeout,
           t.payload::text, d.excused, coalesce(t.expires_at <= {schema}.clock(), false)
    FROM leased d CROSS JOIN LATERAL (
        SELECT b.max_attempts, b.timeout, b.payload, b.expires_at FROM {schema}.task b WHERE b.id = d.id OFFSET 0
    ) AS t;
    IF NOT FOUND THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
END $$;

-- As next_due_2, but for tasks that were excused p_excused_below times or more.
CREATE FUNCTION {schema}.next_due_13(
    p_lanes integer[], p_floors timestamptz[], p_excused_below smallint
)
RETURNS interval LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN (
        SELECT min(head.process_at)
        FROM unnest(p_lanes, p_floors) AS lane (lane, floor) CROSS JOIN LATERAL (
            SELECT l.process_at FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.process_at >= lane.floor
              AND l.excused < p_excused_below
            ORDER BY l.process_at, l.id LIMIT 1
        ) AS head
        WHERE lane.lane <> ALL (ARRAY(
            SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
        ))
    ) - {schema}.clock();
END $$;

-- How often the least excused of the due suspects was excused, and how many were excused so often:
-- at most p_limit are counted.
CREATE FUNCTION {schema}.suspects_1(p_lanes integer[], p_limit bigint)
RETURNS TABLE (o_excused smallint, o_number bigint) LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT s.excused, count(*) FROM unnest(p_lanes) AS lane (lane) CROSS JOIN LATERAL (
        SELECT l.excused FROM {schema}.live l
        WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused >= 2
          AND l.process_at <= {schema}.clock()
        ORDER BY l.process_at, l.id LIMIT p_limit
    ) AS s
    WHERE lane.lane <> ALL (ARRAY(
        SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
    ))
    GROUP BY s.excused ORDER BY s.excused LIMIT 1;
END $$;

-- As claim_13, but for suspects that were excused exactly p_excused times.
CREATE FUNCTION {schema}.claim_suspects_1(
    p_lanes integer[], p_limit bigint, p_worker bigint, p_epoch integer, p_excused smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH lane AS MATERIALIZED (
        SELECT * FROM unnest(p_lanes) AS g (lane)
        WHERE g.lane <> ALL (ARRAY(
            SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
        ))
    ), due AS MATERIALIZED (
        SELECT head.id FROM lane CROSS JOIN LATERAL (
            SELECT l.id FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL
              AND l.excused >= 2 AND l.excused = p_excused AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS head LIMIT p_limit
    ), leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = nextval({token}), attempt = l.attempt + 1,
            started_at = {schema}.clock()
        WHERE l.id = ANY (ARRAY(SELECT due.id FROM due))
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    )
    SELECT d.id, d.token, d.lane, d.attempt, t.max_attempts, d.process_at, t.timeout,
           t.payload::text, d.excused, coalesce(t.expires_at <= {schema}.clock(), false)
    FROM leased d CROSS JOIN LATERAL (
        SELECT b.max_attempts, b.timeout, b.payload, b.expires_at FROM {schema}.task b WHERE b.id = d.id OFFSET 0
    ) AS t;
END $$;
