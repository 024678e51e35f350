-- As claim_2, but a claim that finds nothing due writes nothing: it looks first, and only then locks
-- the worker's row. Such a lock is written to the log and waited for on disk at the commit, every time
-- that an idle worker polls. One that comes too late, as do all but one of the workers that a hint has
-- woken, has written that lock and nothing else, and need not wait.
CREATE FUNCTION {schema}.claim_3(
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
