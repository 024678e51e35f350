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

-- What has ended, or is otherwise to be looked at anew, and is followed.
CREATE TABLE {schema}.ended (id uuid NOT NULL) WITH (
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
        RETURNING d.id
    )
    SELECT coalesce(array_agg(DISTINCT g.id), '{{}}') INTO v_ended FROM gone g;
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
    v_alive := ARRAY(SELECT l.id FROM {schema}.live l WHERE l.id = ANY (v_parents));
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
            SELECT o.parent, o.child, p.status, f.otherwise,
                   p.status IS NOT DISTINCT FROM 2::smallint OR NOT f.needs_success
                   OR f.otherwise = 'run' OR f.stage = 'again' AS fits
            FROM unnest(v_over_parents, v_over_children) AS o (parent, child)
            JOIN {schema}.follower f ON f.id = o.child
            LEFT JOIN {schema}.finished p ON p.id = o.parent AND p.id = ANY (v_over_parents)
            WHERE o.child = ANY (v_here)
              AND NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = o.parent)
        ), done AS (
            DELETE FROM {schema}.edge e USING judged j
            WHERE e.parent = j.parent AND e.child = j.child AND j.fits
        ), holding AS (
            UPDATE {schema}.edge e SET failed = true FROM judged j
            WHERE e.parent = j.parent AND e.child = j.child AND NOT j.fits AND j.otherwise = 'hold'
        ), doomed AS MATERIALIZED (
            SELECT DISTINCT ON (j.child) j.child, j.parent, j.status FROM judged j
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
                   format('task %s, which it waited for, %s', d.parent,
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
