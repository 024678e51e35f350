-- Claiming: which tasks a worker gets, and where it looks for them.
--
-- These functions, and those of the files after this one, must never get another plan than the one they
-- were written for. A busy hot table is empty at one moment and full at the next, so its statistics are
-- always wrong, and a plan made from them can be a thousand times slower: a sequential scan remembered
-- from when the table was empty, or a bitmap sort of a whole lane. The settings attached to each function
-- leave the planner only index scans and nested loops; they hold within the function and nowhere else,
-- behind any pooler. Each has a search path of its own, with temporary tables last, and names what it uses
-- of this schema in full, so that it means the same whoever calls it. The names end in a version: a
-- later release adds its own beside these, and workers of both releases run together.

-- A token names one lease, for ever: also when the database was set back to an earlier moment, by a
-- dump, a snapshot or a standby that had not heard everything, and the sequence with it. The upper
-- bits are the milliseconds since 2020, which are later then; the lower ones are the sequence's. It has
-- no search path of its own, so that it becomes a part of the statements that call it.
CREATE FUNCTION {schema}.new_token_1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - 1577836800) * 1000)::bigint
            << 22) | (pg_catalog.nextval({token}) & 4194303)
$$;

-- The bodies of leases, with what is known of each lease, in no particular order. To be called within
-- the statement that leased them, whose snapshot it shares.
--
-- A plan for any id opens, and locks, the bodies of all days: a year of them is hundreds of locks for
-- each claim, and a server has room for some thousands in all. So this is a function whose plan is made
-- for these very ids.
CREATE FUNCTION {schema}.leased_1(
    p_ids uuid[], p_tokens bigint[], p_lanes integer[], p_attempts smallint[],
    p_process_at timestamptz[], p_excused smallint[]
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
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

-- Lease up to p_limit due tasks, lane by lane in the order given, which is that of priorities. The rows
-- returned are in no particular order.
--
-- It is given the lanes in which tasks are known to wait, not all that there are, and for each a floor: a
-- time and an id, so that a claim passes over nothing that its worker has claimed before, also where
-- very many tasks share one moment. Lanes of paused queues are passed over; a list of them is only made
-- when there are some. So are tasks that were excused more than p_excused_max times.
--
-- A claim that finds nothing due writes nothing: it looks first, and only then locks the worker's row.
-- Such a lock is written to the log and waited for on disk at the commit, every time that an idle worker
-- polls. One that comes too late, as do all but one of the workers that a hint has woken, has written
-- that lock and nothing else, and need not wait.
--
-- The worker's row is locked in share, so that whoever strikes the worker out sees its leases. It is
-- locked by a statement of its own, so that the next one's snapshot is newer than the lock. Whoever pauses
-- a queue commits that, and then locks every worker's row once: the claims that it waited for had begun
-- before, and those that wait for it see the pause.
--
-- The count of attempts stands still where it would leave its column: one task that fails for ever must
-- not fail the claims of all others.
--
-- Nobody else changes or deletes the bodies of tasks that are leased, so they are read by a statement of
-- their own. A plan that is made once opens all days, which is quickest as long as those are few.
--
-- Where there are limits, what they let through: claim_limited_1 in 0010_limits.sql.
CREATE FUNCTION {schema}.claim_6(
    p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[], p_limit bigint, p_worker bigint,
    p_epoch integer, p_excused_max smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_ids uuid[];
    v_tokens bigint[];
    v_lanes integer[];
    v_attempts smallint[];
    v_process_at timestamptz[];
    v_excused smallint[];
BEGIN
    PERFORM FROM unnest(p_lanes, p_floors, p_floor_ids) AS lane (lane, floor, floor_id)
    CROSS JOIN LATERAL (
        SELECT FROM {schema}.live l
        WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused <= p_excused_max
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
    -- By a statement of its own, as of those paused: whoever makes a limit waits for those who saw none.
    IF EXISTS (SELECT FROM {schema}.flow_limit) THEN
        RETURN QUERY SELECT * FROM {schema}.claim_limited_1(
            p_lanes, p_floors, p_floor_ids, NULL, p_limit, p_worker, p_epoch, p_excused_max
        );
        RETURN;
    END IF;
    WITH lane AS MATERIALIZED (
        SELECT * FROM unnest(p_lanes, p_floors, p_floor_ids) AS g (lane, floor, floor_id)
        WHERE g.lane <> ALL (CASE WHEN EXISTS (SELECT FROM {schema}.paused_queue) THEN ARRAY(
            SELECT n.id FROM {schema}.lane n JOIN {schema}.paused_queue p ON p.name = n.queue
            WHERE n.id = ANY (p_lanes)
        ) ELSE '{{}}'::integer[] END)
    ), due AS MATERIALIZED (
        SELECT head.id FROM lane CROSS JOIN LATERAL (
            SELECT l.id FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused <= p_excused_max
              AND (l.process_at, l.id) >= (lane.floor, lane.floor_id)
              AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS head LIMIT p_limit
    ), leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = {schema}.new_token_1(),
            attempt = least(l.attempt, 32766) + 1, started_at = {schema}.clock()
        WHERE l.id = ANY (ARRAY(SELECT due.id FROM due))
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    )
    SELECT array_agg(d.id), array_agg(d.token), array_agg(d.lane), array_agg(d.attempt),
           array_agg(d.process_at), array_agg(d.excused)
    INTO v_ids, v_tokens, v_lanes, v_attempts, v_process_at, v_excused FROM leased d;
    IF v_ids IS NULL THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    ELSIF (
        SELECT count(*) FROM (
            SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = {task}::regclass LIMIT 33
        ) AS days
    ) <= 32 THEN
        RETURN QUERY
        SELECT g.id, g.token, g.lane, g.attempt, t.max_attempts, g.process_at, t.timeout,
               t.payload::text, g.excused, coalesce(t.expires_at <= {schema}.clock(), false)
        FROM unnest(v_ids, v_tokens, v_lanes, v_attempts, v_process_at, v_excused)
            AS g (id, token, lane, attempt, process_at, excused)
        CROSS JOIN LATERAL (
            SELECT b.max_attempts, b.timeout, b.payload, b.expires_at FROM {schema}.task b
            WHERE b.id = g.id OFFSET 0
        ) AS t;
    ELSE
        RETURN QUERY SELECT * FROM {schema}.leased_1(
            v_ids, v_tokens, v_lanes, v_attempts, v_process_at, v_excused
        );
    END IF;
END $$;

-- Where a subscription's tasks wait: lanes, each with its first task. All that an idle worker asks.
--
-- Where there are few lanes, all are returned, also those in which nothing waits, for then all may be
-- claimed from. Where there are many, most of them are empty as a rule. So up to p_steps lanes that have
-- entries in the index are found by stepping from one to the next, and each lane of the subscription is
-- looked into only where those are still more. Lanes are looked into from the floors given, others from
-- their beginning. In a paused queue nothing waits. Tasks that were excused more than p_excused_max times
-- are passed over. Each lane is told with its group, with how much that gets beside others, and with the
-- time until which limits keep it closed.
CREATE FUNCTION {schema}.look_3(
    p_queues text[], p_kinds text[], p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[],
    p_few integer, p_steps integer, p_excused_max smallint
) RETURNS TABLE (
    o_lane integer, o_queue text, o_kind text, o_priority smallint, o_process_at timestamptz,
    o_id uuid, o_group text, o_weight smallint, o_opens_at timestamptz
) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_few boolean;
    v_limited CONSTANT boolean := EXISTS (SELECT FROM {schema}.flow_limit);
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
            SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id, n."group",
           CASE WHEN v_limited THEN {schema}.weight_1(n.queue, n.kind, n."group") ELSE 1::smallint END,
           CASE WHEN v_limited AND head.process_at <= {schema}.clock()
                THEN {schema}.opens_at_1(n.queue, n.kind, n."group") END
            FROM {schema}.lane n CROSS JOIN LATERAL (
                SELECT l.process_at, l.id FROM {schema}.live l
                WHERE l.lane = n.id AND l.worker_id IS NULL AND l.excused <= p_excused_max
                ORDER BY l.process_at, l.id LIMIT 1
            ) AS head
            WHERE n.id = ANY (v_stepped) AND (n.queue = ANY (p_queues)) IS TRUE
              AND (n.kind = ANY (p_kinds)) IS TRUE
              AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue);
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id, n."group",
           CASE WHEN v_limited THEN {schema}.weight_1(n.queue, n.kind, n."group") ELSE 1::smallint END,
           CASE WHEN v_limited AND head.process_at <= {schema}.clock()
                THEN {schema}.opens_at_1(n.queue, n.kind, n."group") END
    FROM {schema}.lane n LEFT JOIN LATERAL (
        SELECT l.process_at, l.id FROM {schema}.live l
        WHERE l.lane = n.id AND l.worker_id IS NULL AND l.excused <= p_excused_max
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

-- How often the least excused of the due suspects was excused, and how many were excused so often:
-- at most p_limit are counted.
CREATE FUNCTION {schema}.suspects_1(p_queues text[], p_kinds text[], p_limit bigint)
RETURNS TABLE (o_excused smallint, o_number bigint) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT s.excused, count(*) FROM (
        SELECT l.excused FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
        WHERE l.worker_id IS NULL AND l.excused >= 2 AND l.process_at <= {schema}.clock()
          AND n.queue = ANY (p_queues) AND n.kind = ANY (p_kinds)
          AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
        LIMIT p_limit
    ) AS s GROUP BY s.excused ORDER BY s.excused LIMIT 1;
END $$;

-- Lease suspects that were excused exactly p_excused times, as claim_6 leases others. There are few.
CREATE FUNCTION {schema}.claim_suspects_2(
    p_queues text[], p_kinds text[], p_limit bigint, p_worker bigint, p_epoch integer,
    p_excused smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean, o_queue text, o_kind text, o_priority smallint,
    o_group text
) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_names text[];
    v_rooms bigint[];
    v_suspect record;
    v_ids uuid[] := '{{}}';
BEGIN
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM {schema}.flow_limit) THEN
        SELECT g.o_names, g.o_rooms INTO v_names, v_rooms FROM {schema}.gates_1(ARRAY(
            SELECT DISTINCT l.lane FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
            WHERE l.worker_id IS NULL AND l.excused >= 2 AND p_excused = l.excused
              AND l.process_at <= {schema}.clock()
              AND n.queue = ANY (p_queues) AND n.kind = ANY (p_kinds)
        )) AS g;
        FOR v_suspect IN
            SELECT l.id, ARRAY(
                SELECT coalesce(array_position(
                    v_names, f.id || '/' || CASE WHEN f.per_group THEN n."group" ELSE '' END
                ), 0) FROM {schema}.flow_limit f
                WHERE (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
                  AND (f."group" = n."group" OR f."group" IS NULL)
                  AND (f.concurrency IS NOT NULL OR f.rate IS NOT NULL)
            ) AS places
            FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
            WHERE l.worker_id IS NULL AND l.excused >= 2 AND p_excused = l.excused
              AND l.process_at <= {schema}.clock()
              AND n.queue = ANY (p_queues) AND n.kind = ANY (p_kinds)
              AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
            ORDER BY n.priority, l.process_at, l.id FOR UPDATE OF l SKIP LOCKED
        LOOP
            EXIT WHEN cardinality(v_ids) >= p_limit;
            CONTINUE WHEN EXISTS (
                SELECT FROM unnest(v_suspect.places) AS g (place)
                WHERE coalesce(v_rooms[g.place], 0) <= 0
            );
            v_ids := v_ids || v_suspect.id;
            FOR v_place IN 1 .. cardinality(v_suspect.places) LOOP
                v_rooms[v_suspect.places[v_place]] := v_rooms[v_suspect.places[v_place]] - 1;
            END LOOP;
        END LOOP;
        RETURN QUERY SELECT b.*, n.queue, n.kind, n.priority, n."group"
        FROM {schema}.lease_limited_1(v_ids, p_worker) AS b JOIN {schema}.lane n ON n.id = b.o_lane;
        RETURN;
    END IF;
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT l.id FROM {schema}.live l JOIN {schema}.lane n ON n.id = l.lane
        WHERE l.worker_id IS NULL AND l.excused >= 2 AND l.excused = p_excused
          AND l.process_at <= {schema}.clock()
          AND n.queue = ANY (p_queues) AND n.kind = ANY (p_kinds)
          AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
        ORDER BY n.priority, l.process_at, l.id LIMIT p_limit FOR UPDATE OF l SKIP LOCKED
    ), leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = {schema}.new_token_1(),
            attempt = least(l.attempt, 32766) + 1, started_at = {schema}.clock()
        WHERE l.id = ANY (ARRAY(SELECT due.id FROM due))
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    ), gathered AS (
        SELECT array_agg(d.id) AS ids, array_agg(d.token) AS tokens, array_agg(d.lane) AS lanes,
               array_agg(d.attempt) AS attempts, array_agg(d.process_at) AS process_at,
               array_agg(d.excused) AS excused
        FROM leased d
    )
    SELECT b.*, n.queue, n.kind, n.priority, n."group"
    FROM gathered g CROSS JOIN LATERAL {schema}.leased_1(
        g.ids, g.tokens, g.lanes, g.attempts, g.process_at, g.excused
    ) AS b JOIN {schema}.lane n ON n.id = b.o_lane WHERE g.ids IS NOT NULL;
END $$;
