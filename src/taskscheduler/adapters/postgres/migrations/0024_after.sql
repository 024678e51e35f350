-- Tasks that wait for other tasks to end.
--
-- Such a task is an ordinary row of live whose time lies at the end of its lane, beyond every time that
-- can be asked for: no claim comes to it. Nothing of this is read or written for other tasks.
--
-- Whoever ends a task does not look for those that wait for it: it may be in a hurry, and hold locks.
-- The mark on the hot row has its end written into ended, in the same transaction, whichever way it
-- ends; release_1 does the rest, soon after, in a transaction of its own.

-- True: somebody waits for its end.
ALTER TABLE {schema}.live ADD COLUMN followed boolean;

-- What has ended, or is otherwise to be looked at anew, and is followed; and batches that are to be looked
-- at, with the number of tasks that came to them.
CREATE TABLE {schema}.ended (id uuid NOT NULL, added bigint) WITH (
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000
);

-- Who waits for whom. A row goes as soon as it is settled.
CREATE TABLE {schema}.edge (
    parent uuid NOT NULL,
    child uuid NOT NULL,
    failed boolean, -- true: the parent has ended without success, and the child is held
    PRIMARY KEY (parent, child)
);
CREATE INDEX edge_child ON {schema}.edge (child);

-- How a task waits, while it does.
CREATE TABLE {schema}.follower (
    id uuid PRIMARY KEY,
    needs_success boolean NOT NULL,
    otherwise text NOT NULL, -- 'cancel', 'run' or 'hold'
    -- 'new': its parents are not marked yet; 'again': the same after a retry by hand, and what has ended
    -- by then does not matter any more; 'waiting'; 'held': a parent has not succeeded
    stage text NOT NULL
);
CREATE INDEX follower_new ON {schema}.follower (id) WHERE stage IN ('new', 'again');

-- Batches: named bags of tasks, open until they are sealed. Whoever adds a task holds the row in share, so
-- that it is not sealed meanwhile; what is counted is counted elsewhere.
CREATE TABLE {schema}.batch (
    id uuid PRIMARY KEY,
    name text,
    created_at timestamptz NOT NULL,
    sealed_at timestamptz,
    then_id uuid,
    then_when text,
    then_otherwise text
);
CREATE TABLE {schema}.batch_count (
    id uuid PRIMARY KEY,
    ended_at timestamptz, -- when it was sealed and its last task had ended
    total bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
-- A task belongs to one batch at most, and stays what it came to for the batch when it is dropped.
CREATE TABLE {schema}.member (
    id uuid PRIMARY KEY,
    batch uuid NOT NULL,
    status smallint NOT NULL DEFAULT 0 -- as it is counted: 0, or that of finished
) WITH (fillfactor = 90);
CREATE INDEX member_batch ON {schema}.member (batch, id);

-- The time of a task that waits.
CREATE FUNCTION {schema}.waiting_at_1() RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS 'SELECT timestamptz ''9500-01-01 00:00:00+00''';

-- Write down that a followed task has left the hot table, and tell whoever sent the statement: see
-- FOLLOWED in statements.py.
CREATE FUNCTION {schema}.followed_1() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.ended (id) VALUES (OLD.id);
    PERFORM set_config('taskscheduler.followed', 'on', true);
    RETURN NULL;
END $$;
CREATE TRIGGER followed AFTER DELETE ON {schema}.live
    FOR EACH ROW WHEN (OLD.followed) EXECUTE FUNCTION {schema}.followed_1();

-- Let tasks wait that were stored in this transaction: p_children and p_parents are the pairs. Returns
-- the parents that nobody knows; then all is to be rolled back.
CREATE FUNCTION {schema}.follow_1(
    p_ids uuid[], p_needs_success boolean[], p_otherwise text[], p_notes text[],
    p_children uuid[], p_parents uuid[]
) RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT p.id FROM unnest(p_parents) AS p (id)
    WHERE NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = p.id)
      AND NOT EXISTS (SELECT FROM {schema}.batch b WHERE b.id = p.id)
      AND p.id NOT IN (SELECT f.id FROM {schema}.finished f WHERE f.id = ANY (p_parents));
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE {schema}.live l SET process_at = {schema}.waiting_at_1() WHERE l.id = ANY (p_ids);
    INSERT INTO {schema}.follower (id, needs_success, otherwise, stage)
    SELECT g.id, g.needs_success, g.otherwise, 'new'
    FROM unnest(p_ids, p_needs_success, p_otherwise) AS g (id, needs_success, otherwise);
    INSERT INTO {schema}.edge (parent, child)
    SELECT g.parent, g.child FROM unnest(p_parents, p_children) AS g (parent, child);
    INSERT INTO {schema}.note (id, kind, at, value)
    SELECT g.id, 'after', {schema}.clock(), g.note::json FROM unnest(p_ids, p_notes) AS g (id, note);
END $$;

-- Put tasks that were stored in this transaction into batches. Returns the batches that are not there
-- ('unknown') or take no more ('sealed'), and those that such a task waits for itself ('circle'); then all
-- is to be rolled back.
CREATE FUNCTION {schema}.add_to_batch_1(p_ids uuid[], p_batches uuid[])
RETURNS TABLE (o_batch uuid, o_problem text) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    PERFORM FROM {schema}.batch b WHERE b.id = ANY (p_batches) ORDER BY b.id FOR SHARE;
    RETURN QUERY
    SELECT DISTINCT g.batch, CASE WHEN b.id IS NULL THEN 'unknown' ELSE 'sealed' END
    FROM unnest(p_batches) AS g (batch) LEFT JOIN {schema}.batch b ON b.id = g.batch
    WHERE b.id IS NULL OR b.sealed_at IS NOT NULL;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH RECURSIVE up (member, own, id) AS (
        SELECT g.id, g.batch, e.parent FROM unnest(p_ids, p_batches) AS g (id, batch)
        JOIN {schema}.edge e ON e.child = g.id
        UNION
        SELECT up.member, up.own, above.id FROM up CROSS JOIN LATERAL (
            SELECT e.parent AS id FROM {schema}.edge e WHERE e.child = up.id
            UNION ALL
            SELECT m.id FROM {schema}.member m WHERE m.batch = up.id AND m.status = 0
        ) AS above WHERE up.id <> up.own
    )
    SELECT DISTINCT up.own, 'circle' FROM up WHERE up.id = up.own;
    IF FOUND THEN
        RETURN;
    END IF;
    INSERT INTO {schema}.member (id, batch)
    SELECT g.id, g.batch FROM unnest(p_ids, p_batches) AS g (id, batch)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, status = 0;
    UPDATE {schema}.live l SET followed = true WHERE l.id = ANY (p_ids);
    INSERT INTO {schema}.ended (id, added)
    SELECT g.batch, count(*) FROM unnest(p_batches) AS g (batch) GROUP BY g.batch;
END $$;

-- Count what tasks of batches have come to, which have ended or been added, and return the batches that
-- have ended by it. p_ids and p_added are of ended. To be called under the lock of release_1.
CREATE FUNCTION {schema}.count_batches_1(p_ids uuid[], p_added bigint[])
RETURNS uuid[] LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_batches uuid[];
    v_over uuid[];
BEGIN
    -- Whoever replaced a hot row may have left out the mark.
    UPDATE {schema}.live l SET followed = true
    WHERE l.id = ANY (ARRAY(
        SELECT o.id FROM {schema}.live o JOIN {schema}.member m ON m.id = o.id
        WHERE o.id = ANY (p_ids) AND o.followed IS NOT TRUE ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
    ));
    INSERT INTO {schema}.ended (id)
    SELECT l.id FROM {schema}.live l JOIN {schema}.member m ON m.id = l.id
    WHERE l.id = ANY (p_ids) AND l.followed IS NOT TRUE;
    WITH seen AS MATERIALIZED (
        SELECT m.id, m.batch, m.status AS was,
               CASE WHEN l.id IS NOT NULL THEN 0
                    ELSE coalesce(f.status, nullif(m.status, 0), 4) END AS now
        FROM {schema}.member m LEFT JOIN {schema}.live l ON l.id = m.id
        LEFT JOIN {schema}.finished f ON f.id = m.id AND f.id = ANY (p_ids)
        WHERE m.id = ANY (p_ids)
    ), changed AS (
        UPDATE {schema}.member m SET status = s.now FROM seen s
        WHERE m.id = s.id AND s.was <> s.now
    ), delta AS (
        SELECT u.batch, sum(u.total) AS total, sum(u.completed) AS completed,
               sum(u.failed) AS failed, sum(u.cancelled) AS cancelled
        FROM (
            SELECT s.batch, 0 AS total, (s.now = 2)::integer - (s.was = 2)::integer AS completed,
                   (s.now = 3)::integer - (s.was = 3)::integer AS failed,
                   (s.now = 4)::integer - (s.was = 4)::integer AS cancelled
            FROM seen s
            UNION ALL
            SELECT g.id, coalesce(g.added, 0), 0, 0, 0 FROM unnest(p_ids, p_added) AS g (id, added)
        ) AS u GROUP BY u.batch
    ), counted AS (
        UPDATE {schema}.batch_count c
        SET total = c.total + d.total, completed = c.completed + d.completed,
            failed = c.failed + d.failed, cancelled = c.cancelled + d.cancelled
        FROM delta d WHERE c.id = d.batch RETURNING c.id
    )
    SELECT coalesce(array_agg(c.id), '{{}}') INTO v_batches FROM counted c;
    IF v_batches = '{{}}' THEN
        RETURN v_batches;
    END IF;
    -- All who added had done so before it was sealed. What they added may not be counted yet.
    v_over := ARRAY(
        SELECT c.id FROM {schema}.batch_count c JOIN {schema}.batch b ON b.id = c.id
        WHERE c.id = ANY (v_batches) AND b.sealed_at IS NOT NULL
          AND c.total = c.completed + c.failed + c.cancelled
          AND NOT EXISTS (SELECT FROM {schema}.member m WHERE m.batch = c.id AND m.status = 0)
    );
    UPDATE {schema}.batch_count c
    SET ended_at = CASE WHEN c.id = ANY (v_over) THEN coalesce(c.ended_at, {schema}.clock()) END
    WHERE c.id = ANY (v_batches) AND (c.ended_at IS NOT NULL) <> (c.id = ANY (v_over));
    UPDATE {schema}.edge e SET failed = NULL WHERE e.parent = ANY (v_over) AND e.failed;
    RETURN v_over;
END $$;

-- Settle what waits for tasks that have ended: release it, cancel it, or hold it. Returns no row if
-- there was nothing to do, and else one: how many tasks came to something, the queues of those that may
-- begin, and whether something is left, which was locked, or was too much for once.
--
-- One works at a time, and nobody else waits for it: what others have locked is left for the next time.
-- Each statement sees what was committed before it began, so that what is locked first and looked at
-- then is as it is.
CREATE FUNCTION {schema}.release_1(p_limit integer)
RETURNS TABLE (o_settled bigint, o_queues text[], o_more boolean) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_new uuid[];
    v_again uuid[];
    v_ended uuid[];
    v_added bigint[];
    v_parents uuid[];
    v_alive uuid[];
    v_over_parents uuid[];
    v_over_children uuid[];
    v_asked uuid[];
    v_mine uuid[];
    v_here uuid[];
    v_late uuid[];
    v_cancelled uuid[] := '{{}}';
    v_freed bigint := 0;
    v_more boolean := false;
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.ended)
       AND NOT EXISTS (SELECT FROM {schema}.follower f WHERE f.stage IN ('new', 'again')) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('taskscheduler followers ' || (
        SELECT c.relnamespace::regnamespace FROM pg_class c WHERE c.oid = {token}::regclass
    ), 0));

    -- Mark the parents of those that are new: whoever ends them from now on says so.
    v_new := ARRAY(
        SELECT f.id FROM {schema}.follower f WHERE f.stage IN ('new', 'again')
        ORDER BY f.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
    v_more := cardinality(v_new) = p_limit;
    -- No plan is made for an array that is empty: it would open all days.
    v_again := ARRAY(
        SELECT f.id FROM {schema}.follower f WHERE f.id = ANY (v_new) AND f.stage = 'again'
    );
    IF v_again <> '{{}}' THEN
        INSERT INTO {schema}.edge (parent, child)
        SELECT p.id::uuid, n.id FROM {schema}.note n
        CROSS JOIN LATERAL json_array_elements_text(n.value -> 'after') AS p (id)
        WHERE n.id = ANY (v_again) AND n.kind = 'after' ON CONFLICT DO NOTHING;
    END IF;
    WITH gone AS (
        DELETE FROM {schema}.ended d
        WHERE d.ctid = ANY (ARRAY(SELECT q.ctid FROM {schema}.ended q LIMIT p_limit))
        RETURNING d.id, d.added
    ), each AS (
        SELECT g.id, sum(g.added)::bigint AS added FROM gone g GROUP BY g.id
    )
    SELECT coalesce(array_agg(e.id), '{{}}'), array_agg(e.added) INTO v_ended, v_added FROM each e;
    IF v_ended <> '{{}}' AND EXISTS (SELECT FROM {schema}.batch) THEN
        v_ended := ARRAY(
            SELECT unnest(v_ended)
            EXCEPT SELECT b.id FROM {schema}.batch b WHERE b.id = ANY (v_ended)
            UNION SELECT unnest({schema}.count_batches_1(v_ended, v_added))
        );
        IF v_new = '{{}}'
           AND NOT EXISTS (SELECT FROM {schema}.edge e WHERE e.parent = ANY (v_ended)) THEN
            o_settled := 0;
            o_queues := '{{}}';
            o_more := EXISTS (SELECT FROM {schema}.ended);
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    v_parents := ARRAY(
        SELECT e.parent FROM {schema}.edge e WHERE e.child = ANY (v_new)
        UNION SELECT e.parent FROM {schema}.edge e WHERE e.parent = ANY (v_ended)
    );
    UPDATE {schema}.live l SET followed = true
    WHERE l.id = ANY (ARRAY(
        SELECT m.id FROM {schema}.live m WHERE m.id = ANY (v_parents) AND m.followed IS NOT TRUE
        ORDER BY m.id FOR UPDATE SKIP LOCKED
    ));
    v_more := v_more OR EXISTS (SELECT FROM {schema}.ended);
    -- A parent whose row was locked may be ending, and not say so: its children stay new.
    v_late := ARRAY(
        SELECT DISTINCT e.child FROM {schema}.edge e JOIN {schema}.live l ON l.id = e.parent
        WHERE e.child = ANY (v_new) AND l.followed IS NOT TRUE
    );
    v_new := ARRAY(SELECT unnest(v_new) EXCEPT SELECT unnest(v_late));
    v_more := v_more OR v_late <> '{{}}';

    -- Which waits are over; a parent may be alive again.
    v_alive := ARRAY(
        SELECT l.id FROM {schema}.live l WHERE l.id = ANY (v_parents)
        UNION ALL SELECT c.id FROM {schema}.batch_count c
        WHERE c.id = ANY (v_parents) AND c.ended_at IS NULL
    );
    SELECT coalesce(array_agg(o.parent), '{{}}'), coalesce(array_agg(o.child), '{{}}')
    INTO v_over_parents, v_over_children FROM (
        SELECT e.parent, e.child FROM {schema}.edge e
        WHERE e.child = ANY (v_new) AND e.parent <> ALL (v_alive)
        UNION
        (SELECT e.parent, e.child FROM {schema}.edge e
         WHERE e.parent = ANY (v_ended) AND e.parent <> ALL (v_alive) AND e.failed IS NOT TRUE
           AND e.child <> ALL (v_late) LIMIT p_limit)
    ) AS o;

    -- Those that wait are locked; those that do not any more are forgotten.
    v_asked := ARRAY(SELECT unnest(v_over_children) UNION SELECT unnest(v_new));
    v_mine := ARRAY(
        SELECT f.id FROM {schema}.follower f WHERE f.id = ANY (v_asked) FOR UPDATE SKIP LOCKED
    );
    v_here := ARRAY(
        SELECT l.id FROM {schema}.live l
        WHERE l.id = ANY (v_mine) AND l.worker_id IS NULL
          AND l.process_at = {schema}.waiting_at_1()
        ORDER BY l.id FOR UPDATE SKIP LOCKED
    );
    v_late := v_late || ARRAY(
        SELECT l.id FROM {schema}.live l
        WHERE l.id = ANY (v_asked) AND l.id <> ALL (v_here) AND l.worker_id IS NULL
          AND l.process_at = {schema}.waiting_at_1()
    );
    v_more := v_more OR v_late <> '{{}}' OR cardinality(v_over_parents) >= p_limit;
    DELETE FROM {schema}.edge e
    WHERE e.child = ANY (v_asked) AND e.child <> ALL (v_here) AND e.child <> ALL (v_late);
    DELETE FROM {schema}.follower f
    WHERE f.id = ANY (v_mine) AND f.id <> ALL (v_here) AND f.id <> ALL (v_late);

    -- What the parents came to. The reason of a cancellation is kept as that of an attempt.
    IF v_over_parents <> '{{}}' AND v_here <> '{{}}' THEN
        WITH judged AS MATERIALIZED (
            SELECT o.parent, o.child, s.status, c.id IS NOT NULL AS is_batch, f.otherwise,
                   s.status IS NOT DISTINCT FROM 2 OR NOT f.needs_success
                   OR f.otherwise = 'run' OR f.stage = 'again' AS fits
            FROM unnest(v_over_parents, v_over_children) AS o (parent, child)
            JOIN {schema}.follower f ON f.id = o.child
            LEFT JOIN {schema}.finished p ON p.id = o.parent AND p.id = ANY (v_over_parents)
            LEFT JOIN {schema}.batch_count c ON c.id = o.parent
            CROSS JOIN LATERAL (
                SELECT CASE WHEN c.id IS NULL THEN p.status WHEN c.failed > 0 THEN 3
                            WHEN c.cancelled > 0 THEN 4 ELSE 2 END AS status
            ) AS s
            WHERE o.child = ANY (v_here)
              AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = o.parent)
        ), done AS (
            DELETE FROM {schema}.edge e USING judged j
            WHERE e.parent = j.parent AND e.child = j.child AND j.fits
        ), holding AS (
            UPDATE {schema}.edge e SET failed = true FROM judged j
            WHERE e.parent = j.parent AND e.child = j.child AND NOT j.fits AND j.otherwise = 'hold'
        ), doomed AS MATERIALIZED (
            SELECT DISTINCT ON (j.child) j.child, j.parent, j.status, j.is_batch FROM judged j
            WHERE NOT j.fits AND j.otherwise = 'cancel' ORDER BY j.child, j.parent
        ), gone AS (
            DELETE FROM {schema}.live l USING doomed d WHERE l.id = d.child RETURNING l.*
        ), cancelled AS (
            INSERT INTO {schema}.finished
                (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
            SELECT g.id, greatest(t.execute_at, t.created_at), g.started_at, {schema}.clock(), g.token,
                   g.worker_id, g.lane, g.attempt, g.excused, 4
            FROM gone g JOIN {schema}.task t ON t.id = g.id AND t.id = ANY (v_here)
            RETURNING {schema}.finished.id
        ), told AS (
            INSERT INTO {schema}.attempt
                (id, token, number, finished_at, outcome, error_type, error_message)
            SELECT g.id, {schema}.new_token_1(), g.attempt, {schema}.clock(), 'cancel',
                   CASE d.status WHEN 3 THEN 'ParentFailed' WHEN 4 THEN 'ParentCancelled'
                        ELSE 'ParentDeleted' END,
                   format(CASE WHEN d.is_batch THEN 'a task of the batch %s, which it waited for, %s'
                               ELSE 'task %s, which it waited for, %s' END, d.parent,
                          CASE d.status WHEN 3 THEN 'failed' WHEN 4 THEN 'was cancelled'
                               ELSE 'was deleted' END)
            FROM gone g JOIN doomed d ON d.child = g.id
        )
        SELECT coalesce(array_agg(c.id), '{{}}') INTO v_cancelled FROM cancelled c;
    END IF;
    DELETE FROM {schema}.edge e WHERE e.child = ANY (v_cancelled);
    DELETE FROM {schema}.follower f WHERE f.id = ANY (v_cancelled);
    -- What was left out is looked at once more.
    INSERT INTO {schema}.ended (id)
    SELECT p.id FROM unnest(v_ended) AS p (id)
    WHERE EXISTS (SELECT FROM {schema}.edge e WHERE e.parent = p.id AND e.failed IS NOT TRUE)
      AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = p.id AND l.followed);

    v_here := ARRAY(SELECT unnest(v_here) EXCEPT SELECT unnest(v_cancelled));
    IF v_here <> '{{}}' THEN
        WITH free AS (
            DELETE FROM {schema}.follower f
            WHERE f.id = ANY (v_here) AND NOT EXISTS (SELECT FROM {schema}.edge e WHERE e.child = f.id)
            RETURNING f.id
        ), released AS (
            UPDATE {schema}.live l SET process_at = greatest(t.execute_at, {schema}.clock())
            FROM free JOIN {schema}.task t ON t.id = free.id AND t.id = ANY (v_here)
            WHERE l.id = free.id RETURNING l.id, l.lane
        )
        SELECT count(*), ARRAY(
            SELECT DISTINCT n.queue FROM {schema}.lane n WHERE n.id IN (SELECT r.lane FROM released r)
        ) INTO v_freed, o_queues FROM released;
    END IF;
    UPDATE {schema}.follower f
    SET stage = CASE WHEN EXISTS (
        SELECT FROM {schema}.edge e WHERE e.child = f.id AND e.failed
    ) THEN 'held' ELSE 'waiting' END
    WHERE f.id = ANY (v_here);
    o_settled := v_freed + cardinality(v_cancelled);
    o_more := v_more;
    RETURN NEXT;
END $$;
