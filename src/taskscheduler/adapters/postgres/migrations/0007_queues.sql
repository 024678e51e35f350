-- Queues: what they hold, and where tasks wait.

-- How many tasks wait in each group of lanes: those that are due, of them the first, and those that are
-- later. All that tell how much waits, /queues, /metrics and why, count by this.
--
-- p_groups says which group each of p_lanes is in; NULL: all are one. A lane that is NULL has no tasks.
-- Due is what comes before a time and an id, each lane's own or, where they are NULL, now. At most
-- p_limit are counted as due in each group, and p_later_limit as later; so a group costs the same with
-- ten thousand tasks as with ten million.
CREATE FUNCTION {schema}.count_waiting_1(
    p_groups integer[], p_lanes integer[], p_until timestamptz[], p_until_ids uuid[], p_limit bigint,
    p_later_limit bigint
) RETURNS TABLE (o_group integer, o_due bigint, o_later bigint, o_oldest_due_at timestamptz)
LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT g.number, array_agg(g.lane) AS lanes,
               array_agg(coalesce(g.until, {schema}.clock())) AS until,
               array_agg(coalesce(g.until_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')) AS until_ids
        FROM unnest(p_groups, p_lanes, p_until, p_until_ids) AS g (number, lane, until, until_id)
        GROUP BY g.number
    )
    SELECT asked.number, due.number, later.number, oldest.due_at
    FROM asked CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM unnest(asked.lanes, asked.until, asked.until_ids) AS g (lane, until, until_id)
            CROSS JOIN LATERAL (
                SELECT FROM {schema}.live l
                WHERE l.lane = g.lane AND l.worker_id IS NULL
                  AND (l.process_at, l.id) < (g.until, g.until_id)
                ORDER BY l.process_at, l.id LIMIT p_limit
            ) AS head LIMIT p_limit
        ) AS each
    ) AS due CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (
            SELECT FROM unnest(asked.lanes) AS g (lane) CROSS JOIN LATERAL (
                SELECT FROM {schema}.live l
                WHERE l.lane = g.lane AND l.worker_id IS NULL AND l.process_at > {schema}.clock()
                ORDER BY l.process_at, l.id LIMIT p_later_limit
            ) AS head LIMIT p_later_limit
        ) AS each
    ) AS later CROSS JOIN LATERAL (
        SELECT min(head.process_at) AS due_at
        FROM unnest(asked.lanes) AS g (lane) CROSS JOIN LATERAL (
            SELECT l.process_at FROM {schema}.live l
            WHERE l.lane = g.lane AND l.worker_id IS NULL AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT 1
        ) AS head
    ) AS oldest;
END $$;

-- A page of the queues that somebody names, by name, or the one named, with what each holds: at most
-- p_limit are counted of those that wait. A page costs what is on it, however many queues there are.
--
-- Those in progress have no index (see live in 0001), so they are counted in the first p_pages pages of
-- the hot table, which are all of them unless the backlog is long.
CREATE FUNCTION {schema}.queues_2(
    p_queue text, p_after text, p_number bigint, p_limit bigint, p_pages bigint
) RETURNS TABLE (
    o_name text, o_paused_at timestamptz, o_due bigint, o_later bigint, o_running bigint,
    o_oldest_due_at timestamptz
) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
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
    SELECT v_names[c.o_group], (
               SELECT p.paused_at FROM {schema}.paused_queue p WHERE p.name = v_names[c.o_group]
           ), c.o_due, c.o_later,
           coalesce((SELECT r.number FROM running r WHERE r.queue = v_names[c.o_group]), 0),
           c.o_oldest_due_at
    FROM (
        SELECT array_agg(q.place::integer) AS groups, array_agg(n.id) AS lanes
        FROM unnest(v_names) WITH ORDINALITY AS q (name, place)
        LEFT JOIN {schema}.lane n ON n.queue = q.name
    ) AS asked CROSS JOIN LATERAL {schema}.count_waiting_1(
        asked.groups, asked.lanes, NULL, NULL, p_limit, p_limit
    ) AS c;
END $$;

-- How many tasks each worker holds, and how many that is, by the same rule.
CREATE FUNCTION {schema}.running_1(p_pages bigint) RETURNS TABLE (o_worker bigint, o_number bigint)
LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT l.worker_id, count(*) FROM {schema}.live l
    WHERE l.ctid < ('(' || p_pages || ',0)')::tid AND l.worker_id IS NOT NULL
    GROUP BY l.worker_id
$$;

-- Up to p_number lanes in which tasks wait, each with its first task, those that were made first before
-- others, and one more if there are more.
CREATE FUNCTION {schema}.waiting_1(p_number integer)
RETURNS TABLE (o_lane integer, o_process_at timestamptz)
LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
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
