-- Queues that can be paused, what they hold, and where workers are.

CREATE TABLE {schema}.paused_queue (
    name text COLLATE "C" PRIMARY KEY,
    paused_at timestamptz NOT NULL
);

-- NULL: a worker of an earlier release, or one that was given a name of its own.
ALTER TABLE {schema}.worker ADD COLUMN host text, ADD COLUMN pid integer;

-- As claim_1, but for paused queues, whose lanes are passed over.
--
-- The worker's row is locked by a statement of its own, so that the next one's snapshot is newer
-- than the lock. Whoever pauses a queue commits that, and then locks every worker's row once: the
-- claims that it waited for had begun before, and those that wait for it see the pause.
CREATE FUNCTION {schema}.claim_2(
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
END $$;

-- As next_due_1, but for paused queues: nothing of theirs is ever due.
CREATE FUNCTION {schema}.next_due_2(p_lanes integer[], p_floors timestamptz[])
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
        WHERE lane.lane <> ALL (ARRAY(
            SELECT n.id FROM {schema}.paused_queue p JOIN {schema}.lane n ON n.queue = p.name
        ))
    ) - {schema}.clock();
END $$;

-- What each queue holds, or the one named: at most p_limit are counted of those that wait.
--
-- Those in progress have no index (see 0001), so they are counted in the first p_pages pages of
-- the hot table, which are all of them unless the backlog is long.
CREATE FUNCTION {schema}.queues_1(p_queue text, p_limit bigint, p_pages bigint)
RETURNS TABLE (
    o_name text, o_paused_at timestamptz, o_due bigint, o_later bigint, o_running bigint,
    o_oldest_due_at timestamptz
) LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH running AS MATERIALIZED (
        SELECT n.queue, count(*) AS number FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
        WHERE l.ctid < ('(' || p_pages || ',0)')::tid AND l.worker_id IS NOT NULL
        GROUP BY n.queue
    ), known AS (
        SELECT n.queue AS name FROM {schema}.lane n
        UNION SELECT p.name FROM {schema}.paused_queue p
        UNION SELECT unnest(w.queues) COLLATE "C" FROM {schema}.worker w
        UNION SELECT p_queue COLLATE "C" WHERE p_queue IS NOT NULL
    )
    SELECT q.name, (SELECT p.paused_at FROM {schema}.paused_queue p WHERE p.name = q.name),
           due.number, later.number,
           coalesce((SELECT r.number FROM running r WHERE r.queue = q.name), 0), oldest.due_at
    FROM known q CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM {schema}.lane n CROSS JOIN LATERAL (
                SELECT FROM {schema}.live l
                WHERE l.lane = n.id AND l.worker_id IS NULL AND l.process_at <= {schema}.clock()
                ORDER BY l.process_at, l.id LIMIT p_limit
            ) AS head
            WHERE n.queue = q.name LIMIT p_limit
        ) AS each
    ) AS due CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM {schema}.lane n CROSS JOIN LATERAL (
                SELECT FROM {schema}.live l
                WHERE l.lane = n.id AND l.worker_id IS NULL AND l.process_at > {schema}.clock()
                ORDER BY l.process_at, l.id LIMIT p_limit
            ) AS head
            WHERE n.queue = q.name LIMIT p_limit
        ) AS each
    ) AS later CROSS JOIN LATERAL (
        SELECT min(head.process_at) AS due_at FROM {schema}.lane n CROSS JOIN LATERAL (
            SELECT l.process_at FROM {schema}.live l
            WHERE l.lane = n.id AND l.worker_id IS NULL AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT 1
        ) AS head
        WHERE n.queue = q.name
    ) AS oldest
    WHERE p_queue IS NULL OR q.name = p_queue;
END $$;

-- How many tasks each worker holds, and how many that is, by the same rule.
CREATE FUNCTION {schema}.running_1(p_pages bigint) RETURNS TABLE (o_worker bigint, o_number bigint)
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT l.worker_id, count(*) FROM {schema}.live l
    WHERE l.ctid < ('(' || p_pages || ',0)')::tid AND l.worker_id IS NOT NULL
    GROUP BY l.worker_id
$$;
