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

-- Rescue what is leased to workers that have been struck out; return the ids of the tasks.
--
-- Nobody is waited for: what another is changing is found by the next look for orphans. A lease that
-- has passed on by then is another worker's, and is left alone.
CREATE FUNCTION {schema}.rescue_1(
    p_workers bigint[], p_granted smallint, p_type text, p_message text
) RETURNS SETOF uuid LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_ids uuid[];
BEGIN
    v_ids := ARRAY(
        SELECT l.id FROM {schema}.live l
        WHERE l.worker_id = ANY (p_workers) ORDER BY l.id FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT l.*, c.number = 1 AS alone, c.number = 1
               AND l.attempt - l.excused >= coalesce(t.max_attempts, k.max_attempts, p_granted)
               AS used_up
        FROM {schema}.live l JOIN {schema}.task t ON t.id = l.id AND t.id = ANY (v_ids)
        JOIN {schema}.lane n ON n.id = l.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
        JOIN (
            SELECT o.worker_id, count(*) AS number FROM {schema}.live o
            WHERE o.worker_id = ANY (p_workers) GROUP BY o.worker_id
        ) AS c ON c.worker_id = l.worker_id
        WHERE l.id = ANY (v_ids)
    ), back AS (
        UPDATE {schema}.live l
        SET worker_id = NULL, token = NULL, started_at = NULL, process_at = {schema}.clock(),
            excused = l.excused + CASE WHEN h.alone THEN 0 ELSE 1 END
        FROM held h WHERE l.id = h.id AND NOT h.used_up
    ), gone AS (
        DELETE FROM {schema}.live l USING held h WHERE l.id = h.id AND h.used_up
    ), ended AS (
        INSERT INTO {schema}.finished
            (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
             status)
        SELECT h.id, h.process_at, h.started_at, {schema}.clock(), h.token, h.worker_id, h.lane,
               h.attempt, h.excused, 3
        FROM held h WHERE h.used_up
    ), told AS (
        INSERT INTO {schema}.attempt
            (id, token, number, started_at, finished_at, worker_id, outcome, error_type,
             error_message)
        SELECT h.id, h.token, h.attempt, h.started_at, {schema}.clock(), h.worker_id,
               CASE WHEN h.used_up THEN 'fail' ELSE 'rescue' END, p_type, p_message
        FROM held h
    )
    SELECT h.id FROM held h;
END $$;
