-- Settling: what becomes of leases that still hold. Who no longer holds one changes nothing.

-- Complete the tasks whose leases still hold; return their ids.
--
-- IS TRUE keeps the pairs from being joined: they are hashed once, whatever their number.
CREATE FUNCTION {schema}.complete_1(p_ids uuid[], p_tokens bigint[])
RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
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

-- Complete leases that still hold, as complete_1 does, and keep what their handlers returned.
CREATE FUNCTION {schema}.complete_2(p_ids uuid[], p_tokens bigint[], p_results text[])
RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT l.*, g.result
        FROM unnest(p_ids, p_tokens, p_results) AS g (id, token, result)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.live l
            WHERE l.id = g.id AND l.token = g.token FOR UPDATE OFFSET 0
        ) AS l
    ), gone AS (
        DELETE FROM {schema}.live l USING held h WHERE l.id = h.id
    ), kept AS (
        INSERT INTO {schema}.note (id, kind, at, value)
        SELECT h.id, 'result', {schema}.clock(), h.result::json FROM held h
    )
    INSERT INTO {schema}.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
         status)
    SELECT h.id, h.process_at, h.started_at, {schema}.clock(), h.token, h.worker_id, h.lane,
           h.attempt, h.excused, 2
    FROM held h RETURNING {schema}.finished.id;
END $$;

-- End leases that still hold in any other way; return the ids of their tasks.
CREATE FUNCTION {schema}.settle_1(
    p_ids uuid[], p_tokens bigint[], p_events text[], p_delays interval[],
    p_types text[], p_messages text[], p_tracebacks text[]
) RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
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

-- End leases that still hold because their tasks have expired; return the ids of the tasks. The
-- attempt that was drawn for the lease is given back. The token stays, as the witness of who did it.
CREATE FUNCTION {schema}.expire_1(p_ids uuid[], p_tokens bigint[])
RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
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
    SELECT g.id, g.process_at, NULL, {schema}.clock(), g.token, g.worker_id, g.lane,
           g.attempt - 1, g.excused, 3
    FROM gone g RETURNING {schema}.finished.id;
END $$;
