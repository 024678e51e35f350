-- A plan for any id opens, and locks, the bodies of all days: a year of them is hundreds of locks for
-- each claim, and a server has room for some thousands in all. So what reads bodies by ids that a
-- statement has found itself is a function whose plan is made for those very ids.

-- The bodies of leases, with what is known of each lease, in no particular order. To be called within
-- the statement that leased them, whose snapshot it shares.
CREATE FUNCTION {schema}.leased_1(
    p_ids uuid[], p_tokens bigint[], p_lanes integer[], p_attempts smallint[],
    p_process_at timestamptz[], p_excused smallint[]
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = on SET enable_nestloop = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT g.id, g.token, g.lane, g.attempt, t.max_attempts, g.process_at, t.timeout,
           t.payload::text, g.excused, coalesce(t.expires_at <= {schema}.clock(), false)
    FROM (
        SELECT b.id, b.max_attempts, b.timeout, b.payload, b.expires_at FROM {schema}.task b
        WHERE b.id = ANY (p_ids) OFFSET 0
    ) AS t JOIN unnest(p_ids, p_tokens, p_lanes, p_attempts, p_process_at, p_excused)
        AS g (id, token, lane, attempt, process_at, excused) ON g.id = t.id;
END $$;

-- As before, but for the bodies.
CREATE OR REPLACE FUNCTION {schema}.claim_3(
    p_lanes integer[], p_floors timestamptz[], p_limit bigint, p_worker bigint, p_epoch integer
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
        WHERE l.lane = lane.lane AND l.worker_id IS NULL
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
            WHERE l.lane = lane.lane AND l.worker_id IS NULL
              AND l.process_at >= lane.floor AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS head LIMIT p_limit
    ), leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = nextval({token}), attempt = l.attempt + 1,
            started_at = {schema}.clock()
        WHERE l.id = ANY (ARRAY(SELECT due.id FROM due))
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    ), gathered AS (
        SELECT array_agg(d.id) AS ids, array_agg(d.token) AS tokens, array_agg(d.lane) AS lanes,
               array_agg(d.attempt) AS attempts, array_agg(d.process_at) AS process_at,
               array_agg(d.excused) AS excused
        FROM leased d
    )
    SELECT b.* FROM gathered g CROSS JOIN LATERAL {schema}.leased_1(
        g.ids, g.tokens, g.lanes, g.attempts, g.process_at, g.excused
    ) AS b WHERE g.ids IS NOT NULL;
    IF NOT FOUND THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
END $$;
