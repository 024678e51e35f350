-- Claims that know where tasks wait, and lanes that go when they are empty.

-- As claim_3, but a floor is a time and an id, so that a claim passes over nothing that its worker has
-- claimed before, also where very many tasks share one moment. It is given the lanes in which tasks
-- are known to wait, not all that there are. A list of paused queues is only made when there are some.
CREATE FUNCTION {schema}.claim_4(
    p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[], p_limit bigint, p_worker bigint,
    p_epoch integer
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    PERFORM FROM unnest(p_lanes, p_floors, p_floor_ids) AS lane (lane, floor, floor_id)
    CROSS JOIN LATERAL (
        SELECT FROM {schema}.live l
        WHERE l.lane = lane.lane AND l.worker_id IS NULL
          AND (l.process_at, l.id) >= (lane.floor, lane.floor_id)
          AND l.process_at <= {schema}.clock()
        ORDER BY l.process_at, l.id LIMIT 1
    ) AS head
    WHERE lane.lane <> ALL (CASE WHEN EXISTS (SELECT FROM {schema}.paused_queue) THEN ARRAY(
        SELECT n.id FROM {schema}.lane n JOIN {schema}.paused_queue p ON p.name = n.queue
        WHERE n.id = ANY (p_lanes)
    ) ELSE '{{}}'::integer[] END) LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH lane AS MATERIALIZED (
        SELECT * FROM unnest(p_lanes, p_floors, p_floor_ids) AS g (lane, floor, floor_id)
        WHERE g.lane <> ALL (CASE WHEN EXISTS (SELECT FROM {schema}.paused_queue) THEN ARRAY(
            SELECT n.id FROM {schema}.lane n JOIN {schema}.paused_queue p ON p.name = n.queue
            WHERE n.id = ANY (p_lanes)
        ) ELSE '{{}}'::integer[] END)
    ), due AS MATERIALIZED (
        SELECT head.id FROM lane CROSS JOIN LATERAL (
            SELECT l.id FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL
              AND (l.process_at, l.id) >= (lane.floor, lane.floor_id)
              AND l.process_at <= {schema}.clock()
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

-- Where a subscription's tasks wait: lanes, each with its first task. All that an idle worker asks.
--
-- Where there are few lanes, all are returned, also those in which nothing waits, for then all may be
-- claimed from. Where there are many, most of them are empty as a rule. So up to p_steps lanes that have
-- entries in the index are found by stepping from one to the next, and each lane of the subscription is
-- looked into only where those are still more. Lanes are looked into from the floors given, others from
-- their beginning. In a paused queue nothing waits.
CREATE FUNCTION {schema}.look_1(
    p_queues text[], p_kinds text[], p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[],
    p_few integer, p_steps integer
) RETURNS TABLE (
    o_lane integer, o_queue text, o_kind text, o_priority smallint, o_process_at timestamptz,
    o_id uuid
) LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_few boolean;
    v_stepped integer[];
BEGIN
    v_few := (
        SELECT count(*) FROM (
            SELECT FROM {schema}.lane n
            WHERE n.queue = ANY (p_queues) AND (n.kind = ANY (p_kinds)) IS TRUE LIMIT p_few + 1
        ) AS each
    ) <= p_few;
    IF NOT v_few AND p_steps > 0 THEN
        WITH RECURSIVE step (number, lane) AS (
            SELECT 1, (
                SELECT l.lane FROM {schema}.live l WHERE l.worker_id IS NULL
                ORDER BY l.lane, l.process_at, l.id LIMIT 1
            )
            UNION ALL
            SELECT step.number + 1, (
                SELECT l.lane FROM {schema}.live l WHERE l.worker_id IS NULL AND l.lane > step.lane
                ORDER BY l.lane, l.process_at, l.id LIMIT 1
            ) FROM step WHERE step.lane IS NOT NULL AND step.number <= p_steps
        )
        SELECT coalesce(array_agg(step.lane) FILTER (WHERE step.lane IS NOT NULL), '{{}}')
        INTO v_stepped FROM step;
        IF cardinality(v_stepped) <= p_steps THEN
            RETURN QUERY
            SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id
            FROM {schema}.lane n CROSS JOIN LATERAL (
                SELECT l.process_at, l.id FROM {schema}.live l
                WHERE l.lane = n.id AND l.worker_id IS NULL
                ORDER BY l.process_at, l.id LIMIT 1
            ) AS head
            WHERE n.id = ANY (v_stepped) AND (n.queue = ANY (p_queues)) IS TRUE
              AND (n.kind = ANY (p_kinds)) IS TRUE
              AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue);
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id
    FROM {schema}.lane n LEFT JOIN LATERAL (
        SELECT l.process_at, l.id FROM {schema}.live l
        WHERE l.lane = n.id AND l.worker_id IS NULL
          AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
          AND (l.process_at, l.id) >= (
              coalesce(p_floors[array_position(p_lanes, n.id)], '-infinity'),
              coalesce(p_floor_ids[array_position(p_lanes, n.id)],
                       '00000000-0000-0000-0000-000000000000')
          )
        ORDER BY l.process_at, l.id LIMIT 1
    ) AS head ON true
    WHERE n.queue = ANY (p_queues) AND (n.kind = ANY (p_kinds)) IS TRUE
      AND (v_few OR head.process_at IS NOT NULL);
END $$;

-- A lane in which no task is left goes, some time after it was last asked for. First it is retired: then
-- whoever stores a task into it is refused, and asks for it anew. Once all who may have stored before
-- that have ended, it is looked at a last time (adapters/postgres/sweeping.py).
ALTER TABLE {schema}.lane
    ADD COLUMN retired_by bigint, -- the transaction that retired it; NULL: it stands
    ADD COLUMN asked_for_at timestamptz NOT NULL DEFAULT {schema}.clock();
CREATE INDEX lane_kind ON {schema}.lane (kind);

-- A page of the queues that somebody names, by name, or the one named, with what each holds: at most
-- p_limit are counted of those that wait. A page costs what is on it, however many queues there are.
--
-- Those in progress have no index (see 0001), so they are counted in the first p_pages pages of the hot
-- table, which are all of them unless the backlog is long.
CREATE FUNCTION {schema}.queues_2(
    p_queue text, p_after text, p_number bigint, p_limit bigint, p_pages bigint
) RETURNS TABLE (
    o_name text, o_paused_at timestamptz, o_due bigint, o_later bigint, o_running bigint,
    o_oldest_due_at timestamptz
) LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_names text[];
BEGIN
    v_names := CASE WHEN p_queue IS NOT NULL THEN ARRAY[p_queue] ELSE (
        WITH RECURSIVE step (number, name) AS (
            SELECT 1, (
                SELECT n.queue FROM {schema}.lane n WHERE n.queue > p_after AND n.retired_by IS NULL
                ORDER BY n.queue, n.kind, n.priority LIMIT 1
            )
            UNION ALL
            SELECT step.number + 1, (
                SELECT n.queue FROM {schema}.lane n WHERE n.queue > step.name AND n.retired_by IS NULL
                ORDER BY n.queue, n.kind, n.priority LIMIT 1
            ) FROM step WHERE step.name IS NOT NULL AND step.number < p_number
        )
        SELECT array_agg(first.name) FROM (
            SELECT every.name FROM (
                SELECT step.name COLLATE "C" FROM step WHERE step.name IS NOT NULL
                UNION SELECT p.name FROM {schema}.paused_queue p WHERE p.name > p_after
                UNION SELECT u.name COLLATE "C" FROM {schema}.worker w
                CROSS JOIN unnest(w.queues) AS u (name) WHERE u.name COLLATE "C" > p_after
            ) AS every (name) ORDER BY every.name LIMIT p_number
        ) AS first
    ) END;
    RETURN QUERY
    WITH running AS MATERIALIZED (
        SELECT n.queue, sum(r.number)::bigint AS number
        FROM (
            SELECT l.lane, count(*) AS number FROM {schema}.live l
            WHERE l.ctid < ('(' || p_pages || ',0)')::tid AND l.worker_id IS NOT NULL
            GROUP BY l.lane
        ) AS r JOIN {schema}.lane n ON n.id = r.lane
        GROUP BY n.queue
    )
    SELECT q.name, (SELECT p.paused_at FROM {schema}.paused_queue p WHERE p.name = q.name),
           due.number, later.number,
           coalesce((SELECT r.number FROM running r WHERE r.queue = q.name), 0), oldest.due_at
    FROM unnest(v_names) AS q (name) CROSS JOIN LATERAL (
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
    ) AS oldest;
END $$;

-- Up to p_number lanes in which tasks wait, each with its first task, those that were made first before
-- others, and one more if there are more.
CREATE FUNCTION {schema}.waiting_1(p_number integer)
RETURNS TABLE (o_lane integer, o_process_at timestamptz)
LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE step (number, lane, process_at) AS (
        (SELECT 1, l.lane, l.process_at FROM {schema}.live l WHERE l.worker_id IS NULL
         ORDER BY l.lane, l.process_at, l.id LIMIT 1)
        UNION ALL
        SELECT step.number + 1, next.lane, next.process_at FROM step CROSS JOIN LATERAL (
            SELECT l.lane, l.process_at FROM {schema}.live l
            WHERE l.worker_id IS NULL AND l.lane > step.lane
            ORDER BY l.lane, l.process_at, l.id LIMIT 1
        ) AS next WHERE step.number <= p_number
    )
    SELECT step.lane, step.process_at FROM step;
END $$;

-- The most that the queues which a key reaches may hold; NULL: as much as there is room for.
ALTER TABLE {schema}.api_key
    ADD COLUMN queues_max bigint,
    ADD COLUMN waiting_max bigint,
    ADD COLUMN waiting_bytes_max bigint,
    ADD COLUMN schedules_max bigint;
