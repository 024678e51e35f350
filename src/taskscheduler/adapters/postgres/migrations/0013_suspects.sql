-- Suspects: tasks that had begun when several workers went down. Busy workers pass them over.

-- The lease under which an attempt is known to have begun. Written only of tasks that were excused
-- before; of all others a crash takes for granted that they had begun. A table of its own: one more
-- column would make every hot row wider.
CREATE TABLE {schema}.begun (
    id uuid PRIMARY KEY,
    token bigint NOT NULL
);

-- Where nobody is suspect this index is empty. Two crashes make a suspect (domain/lease.py).
CREATE INDEX live_suspect ON {schema}.live (lane, process_at, id)
    WHERE worker_id IS NULL AND excused >= 2;

-- How many threads of the worker still run attempts that have ended without them.
ALTER TABLE {schema}.worker ADD COLUMN abandoned integer NOT NULL DEFAULT 0;

-- As claim_4, but for tasks that were excused more than p_excused_max times, which are passed over;
-- for the tokens; and for the count of attempts, which stands still where it would leave its column:
-- one task that fails for ever must not fail the claims of all others.
--
-- Nobody else changes or deletes the bodies of tasks that are leased, so they are read by a statement of
-- their own. A plan that is made once opens all days, which is quickest as long as those are few.
CREATE FUNCTION {schema}.claim_5(
    p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[], p_limit bigint, p_worker bigint,
    p_epoch integer, p_excused_max smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
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

-- As look_1, but for tasks that were excused more than p_excused_max times.
CREATE FUNCTION {schema}.look_2(
    p_queues text[], p_kinds text[], p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[],
    p_few integer, p_steps integer, p_excused_max smallint
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
    SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id
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

-- As claim_5, but for suspects that were excused exactly p_excused times. There are few.
CREATE FUNCTION {schema}.claim_suspects_1(
    p_queues text[], p_kinds text[], p_limit bigint, p_worker bigint, p_epoch integer,
    p_excused smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean, o_queue text, o_kind text, o_priority smallint
) LANGUAGE plpgsql
    SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
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
    SELECT b.*, n.queue, n.kind, n.priority
    FROM gathered g CROSS JOIN LATERAL {schema}.leased_1(
        g.ids, g.tokens, g.lanes, g.attempts, g.process_at, g.excused
    ) AS b JOIN {schema}.lane n ON n.id = b.o_lane WHERE g.ids IS NOT NULL;
END $$;

-- As bury_1, but what had not begun is put back as if it had not been claimed. If one alone had begun,
-- it is to blame; if several had, any of them may be. No attempt comes after the 32,767th.
CREATE FUNCTION {schema}.bury_2(
    p_worker bigint, p_beats bigint, p_granted smallint, p_type text, p_message text
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    v_schema text;
    v_worker record;
    v_ids uuid[];
    v_lockers xid[];
    v_clear boolean;
    v_alone boolean;
BEGIN
    SELECT w.xmax AS locker, w.lease, w.buried_at INTO v_worker FROM {schema}.worker w
    WHERE w.id = p_worker AND w.beats = p_beats
      AND (w.seen_at + w.lease < {schema}.clock()
           OR w.seen_at > {schema}.clock() + interval '1 second');
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_lockers := ARRAY(SELECT {schema}.lockers_1(v_worker.locker));
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.beats = p_beats
    FOR UPDATE SKIP LOCKED;
    v_clear := FOUND;
    IF NOT v_clear THEN
        PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.beats = p_beats
        FOR NO KEY UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    SELECT count(*) = 1 AND v_worker.buried_at IS NULL INTO v_alone
    FROM {schema}.live l LEFT JOIN {schema}.begun b ON b.id = l.id AND b.token = l.token
    WHERE l.worker_id = p_worker AND (l.excused = 0 OR b.id IS NOT NULL);
    v_ids := ARRAY(
        SELECT l.id FROM {schema}.live l WHERE l.worker_id = p_worker FOR UPDATE SKIP LOCKED
    );
    IF v_ids <> ARRAY[]::uuid[] THEN
        SELECT c.relnamespace::regnamespace INTO v_schema
        FROM pg_catalog.pg_class c WHERE c.oid = {token}::regclass;
        -- Planned anew each time, with the ids at hand: days in which none of them lies are not opened.
        EXECUTE format($rescue$
WITH held AS MATERIALIZED (
    SELECT l.*, l.excused = 0 OR b.id IS NOT NULL AS had_begun,
           coalesce(t.max_attempts, k.max_attempts, $3) AS granted
    FROM %1$s.live l JOIN %1$s.task t ON t.id = l.id AND t.id = ANY ($1)
    JOIN %1$s.lane n ON n.id = l.lane LEFT JOIN %1$s.kind k ON k.name = n.kind
    LEFT JOIN %1$s.begun b ON b.id = l.id AND b.token = l.token
    WHERE l.id = ANY ($1)
), judged AS MATERIALIZED (
    SELECT h.*, h.had_begun AND (h.attempt >= 32767 OR $2 AND h.attempt - h.excused >= h.granted)
           AS used_up
    FROM held h
), back AS (
    UPDATE %1$s.live l SET worker_id = NULL, token = NULL, started_at = NULL,
        process_at = %1$s.clock(),
        attempt = l.attempt - CASE WHEN j.had_begun THEN 0 ELSE 1 END,
        excused = CASE WHEN j.had_begun AND NOT $2 THEN least(l.excused, 32766) + 1 ELSE l.excused END
    FROM judged j WHERE l.id = j.id AND NOT j.used_up
), gone AS (
    DELETE FROM %1$s.live WHERE id IN (SELECT id FROM judged WHERE used_up)
), ended AS (
    INSERT INTO %1$s.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
    SELECT id, process_at, started_at, %1$s.clock(), token, worker_id, lane, attempt, excused, 3
    FROM judged WHERE used_up
)
INSERT INTO %1$s.attempt
    (id, token, number, started_at, finished_at, worker_id, outcome, error_type, error_message)
SELECT id, token, attempt, started_at, %1$s.clock(), worker_id,
       CASE WHEN used_up THEN 'fail' ELSE 'rescue' END, $4, $5
FROM judged WHERE had_begun$rescue$, v_schema) USING v_ids, v_alone, p_granted, p_type, p_message;
    END IF;
    v_lockers := v_lockers || ARRAY(
        SELECT {schema}.lockers_1(l.xmax) FROM {schema}.live l WHERE l.worker_id = p_worker
    );
    IF v_clear AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.worker_id = p_worker) THEN
        DELETE FROM {schema}.worker w WHERE w.id = p_worker;
        DELETE FROM {schema}.cancellation c WHERE c.worker_id = p_worker;
    ELSE
        UPDATE {schema}.worker w SET epoch = w.epoch + 1, buried_at = {schema}.clock()
        WHERE w.id = p_worker AND w.buried_at IS NULL;
        PERFORM pg_catalog.pg_terminate_backend(a.pid)
        FROM pg_catalog.pg_locks k JOIN pg_catalog.pg_stat_activity a USING (pid)
        WHERE k.locktype = 'transactionid' AND k.granted AND k.transactionid = ANY (v_lockers)
          AND a.pid <> pg_catalog.pg_backend_pid() AND a.usename = current_user
          AND a.xact_start < clock_timestamp() - v_worker.lease
          AND (a.state LIKE 'idle in transaction%' OR a.wait_event_type = 'Client');
    END IF;
    DELETE FROM {schema}.begun b WHERE b.id = ANY (v_ids);
    RETURN QUERY SELECT unnest(v_ids);
END $$;

-- Rescue what is leased to workers that are in no registry, and judge it as bury_2 does.
CREATE FUNCTION {schema}.rescue_orphans_2(p_granted smallint, p_type text, p_message text)
RETURNS SETOF uuid LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_workers bigint[];
    v_ids uuid[];
BEGIN
    v_workers := ARRAY(
        SELECT DISTINCT l.worker_id FROM {schema}.live l
        WHERE l.worker_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM {schema}.worker w WHERE w.id = l.worker_id)
    );
    IF v_workers = '{{}}' THEN
        RETURN;
    END IF;
    v_ids := ARRAY(
        SELECT l.id FROM {schema}.live l
        WHERE l.worker_id = ANY (v_workers) ORDER BY l.id FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT l.*, l.excused = 0 OR b.id IS NOT NULL AS had_begun,
               coalesce(t.max_attempts, k.max_attempts, p_granted) AS granted
        FROM {schema}.live l JOIN {schema}.task t ON t.id = l.id AND t.id = ANY (v_ids)
        JOIN {schema}.lane n ON n.id = l.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
        LEFT JOIN {schema}.begun b ON b.id = l.id AND b.token = l.token
        WHERE l.id = ANY (v_ids)
    ), suspected AS MATERIALIZED (
        -- Also those that are locked at present, and are left to the next look.
        SELECT o.worker_id, count(*) AS number FROM {schema}.live o
        LEFT JOIN {schema}.begun b ON b.id = o.id AND b.token = o.token
        WHERE o.worker_id = ANY (v_workers) AND (o.excused = 0 OR b.id IS NOT NULL)
        GROUP BY o.worker_id
    ), judged AS MATERIALIZED (
        SELECT c.*, c.had_begun
               AND (c.attempt >= 32767 OR c.alone AND c.attempt - c.excused >= c.granted) AS used_up
        FROM (
            SELECT h.*, coalesce(u.number = 1, false) AS alone
            FROM held h LEFT JOIN suspected u ON u.worker_id = h.worker_id
        ) AS c
    ), back AS (
        UPDATE {schema}.live l
        SET worker_id = NULL, token = NULL, started_at = NULL, process_at = {schema}.clock(),
            attempt = l.attempt - CASE WHEN j.had_begun THEN 0 ELSE 1 END,
            excused = CASE WHEN j.had_begun AND NOT j.alone
                           THEN least(l.excused, 32766) + 1 ELSE l.excused END
        FROM judged j WHERE l.id = j.id AND NOT j.used_up
    ), gone AS (
        DELETE FROM {schema}.live l USING judged j WHERE l.id = j.id AND j.used_up
    ), ended AS (
        INSERT INTO {schema}.finished
            (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
             status)
        SELECT j.id, j.process_at, j.started_at, {schema}.clock(), j.token, j.worker_id, j.lane,
               j.attempt, j.excused, 3
        FROM judged j WHERE j.used_up
    ), told AS (
        INSERT INTO {schema}.attempt
            (id, token, number, started_at, finished_at, worker_id, outcome, error_type,
             error_message)
        SELECT j.id, j.token, j.attempt, j.started_at, {schema}.clock(), j.worker_id,
               CASE WHEN j.used_up THEN 'fail' ELSE 'rescue' END, p_type, p_message
        FROM judged j WHERE j.had_begun
    )
    SELECT j.id FROM judged j;
END $$;
