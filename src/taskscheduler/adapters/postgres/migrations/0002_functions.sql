-- The statements that must never get another plan than the one they were written for.
--
-- A busy hot table is empty at one moment and full at the next, so its statistics are always
-- wrong, and a plan made from them can be a thousand times slower: a sequential scan remembered
-- from when the table was empty, or a bitmap sort of a whole lane. The settings attached to each
-- function leave the planner only index scans and nested loops; they hold within the function
-- and nowhere else, behind any pooler. The names end in a version: a later release adds its own
-- beside these, and workers of both releases run together.

-- Lease up to p_limit due tasks, lane by lane in the order given.
--
-- The worker's row is locked in share, so that whoever strikes the worker out waits for this claim
-- and sees its leases. The rows returned are in no particular order.
CREATE FUNCTION {schema}.claim_1(
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
    RETURN QUERY
    WITH alive AS MATERIALIZED (
        SELECT w.id FROM {schema}.worker w
        WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE
    ), lane AS MATERIALIZED (
        SELECT * FROM unnest(p_lanes, p_floors) AS l (lane, floor)
    ), due AS MATERIALIZED (
        SELECT head.id FROM alive CROSS JOIN lane CROSS JOIN LATERAL (
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
    )
    SELECT d.id, d.token, d.lane, d.attempt, t.max_attempts, d.process_at, t.timeout,
           t.payload::text, d.excused, coalesce(t.expires_at <= {schema}.clock(), false)
    FROM leased d CROSS JOIN LATERAL (
        SELECT b.max_attempts, b.timeout, b.payload, b.expires_at FROM {schema}.task b WHERE b.id = d.id OFFSET 0
    ) AS t;
END $$;

-- How long until the next task of these lanes is due; NULL if there is none.
CREATE FUNCTION {schema}.next_due_1(p_lanes integer[], p_floors timestamptz[])
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
            ORDER BY l.process_at, l.id LIMIT 1
        ) AS head
    ) - {schema}.clock();
END $$;

-- Complete the tasks whose leases still hold; return their ids.
--
-- IS TRUE keeps the pairs from being joined: they are hashed once, whatever their number.
CREATE FUNCTION {schema}.complete_1(p_ids uuid[], p_tokens bigint[])
RETURNS SETOF uuid LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH gone AS (
        DELETE FROM {schema}.live l WHERE l.id = ANY (p_ids)
        AND ((l.id, l.token) IN (SELECT * FROM unnest(p_ids, p_tokens))) IS TRUE
        RETURNING l.*
    )
    INSERT INTO {schema}.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
         status)
    SELECT g.id, g.process_at, g.started_at, {schema}.clock(), g.token, g.worker_id, g.lane,
           g.attempt, g.excused, 2
    FROM gone g RETURNING {schema}.finished.id;
END $$;

-- End leases that still hold in any other way; return the ids of their tasks.
CREATE FUNCTION {schema}.settle_1(
    p_ids uuid[], p_tokens bigint[], p_events text[], p_delays interval[],
    p_types text[], p_messages text[], p_tracebacks text[]
) RETURNS SETOF uuid LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT l.*, g.event, g.delay, g.type, g.message, g.traceback
        FROM unnest(p_ids, p_tokens, p_events, p_delays, p_types, p_messages, p_tracebacks)
            AS g (id, token, event, delay, type, message, traceback)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.live l
            WHERE l.id = g.id AND l.token = g.token FOR UPDATE OFFSET 0
        ) AS l
    ), back AS (
        UPDATE {schema}.live l
        SET worker_id = NULL, token = NULL, started_at = NULL,
            process_at = {schema}.clock() + h.delay,
            attempt = l.attempt - CASE WHEN h.event IN ('snooze', 'release') THEN 1 ELSE 0 END
        FROM held h WHERE l.id = h.id AND h.event IN ('retry', 'snooze', 'release')
    ), gone AS (
        DELETE FROM {schema}.live l USING held h
        WHERE l.id = h.id AND h.event IN ('fail', 'cancel')
    ), ended AS (
        INSERT INTO {schema}.finished
            (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
         status)
        SELECT h.id, h.process_at, h.started_at, {schema}.clock(), h.token, h.worker_id, h.lane,
               h.attempt, h.excused, CASE h.event WHEN 'fail' THEN 3 ELSE 4 END
        FROM held h WHERE h.event IN ('fail', 'cancel')
    ), told AS (
        INSERT INTO {schema}.attempt
            (id, token, number, started_at, finished_at, worker_id, outcome,
             error_type, error_message, error_traceback)
        SELECT h.id, h.token, h.attempt, h.started_at, {schema}.clock(), h.worker_id, h.event,
               h.type, h.message, h.traceback
        FROM held h WHERE h.event IN ('retry', 'fail', 'cancel')
    )
    SELECT h.id FROM held h;
END $$;
