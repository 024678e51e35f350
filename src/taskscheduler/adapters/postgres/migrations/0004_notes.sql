-- What is kept of tasks besides: how far attempts are, what they wait for, and how they ended.

-- Keep how far some attempts are whose leases hold; the last word counts.
CREATE FUNCTION {schema}.progress_1(p_ids uuid[], p_tokens bigint[], p_values text[])
RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    INSERT INTO {schema}.note AS n (id, kind, at, value)
    SELECT l.id, 'progress', {schema}.clock(), g.value::json
    FROM unnest(p_ids, p_tokens, p_values) AS g (id, token, value)
    CROSS JOIN LATERAL (
        SELECT l.id FROM {schema}.live l
        WHERE l.id = g.id AND l.token = g.token FOR SHARE OFFSET 0
    ) AS l
    ON CONFLICT (id, kind, name) DO UPDATE SET at = excluded.at, value = excluded.value;
END $$;

-- Put tasks back whose leases hold until a signal of a name comes, or for so long; those whose
-- signal is there are due. Their attempts do not count. A task waits while its time is that of its
-- note: whoever gives it another time ends the wait.
CREATE FUNCTION {schema}.wait_1(
    p_ids uuid[], p_tokens bigint[], p_names text[], p_delays interval[]
) RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_wait record;
    v_until timestamptz;
BEGIN
    FOR v_wait IN
        SELECT * FROM unnest(p_ids, p_tokens, p_names, p_delays) AS g (id, token, name, delay)
        ORDER BY g.id
    LOOP
        PERFORM FROM {schema}.live l
        WHERE l.id = v_wait.id AND l.token = v_wait.token FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        v_until := {schema}.clock() + v_wait.delay;
        -- Seen with a snapshot that is newer than the lock: no signal comes in between.
        UPDATE {schema}.live l
        SET worker_id = NULL, token = NULL, started_at = NULL, attempt = l.attempt - 1,
            process_at = CASE WHEN EXISTS (
                SELECT FROM {schema}.note n
                WHERE n.id = v_wait.id AND n.kind = 'signal' AND n.name = v_wait.name
            ) THEN {schema}.clock() ELSE v_until END
        WHERE l.id = v_wait.id;
        INSERT INTO {schema}.note AS n (id, kind, at, value)
        VALUES (v_wait.id, 'wait', v_until, to_json(v_wait.name))
        ON CONFLICT (id, kind, name) DO UPDATE SET at = excluded.at, value = excluded.value;
        RETURN NEXT v_wait.id;
    END LOOP;
END $$;

-- Keep a signal for a task that has not ended, and make the task due if it waits for it: 'kept' or
-- 'due'; 'gone' if there is no such task, or not any more, and 'twice' if it has come before.
CREATE FUNCTION {schema}.signal_1(p_id uuid, p_name text, p_value text)
RETURNS text LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    PERFORM FROM {schema}.live l WHERE l.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    INSERT INTO {schema}.note (id, kind, name, at, value)
    VALUES (p_id, 'signal', p_name, {schema}.clock(), p_value::json)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'twice';
    END IF;
    UPDATE {schema}.live l SET process_at = {schema}.clock()
    FROM {schema}.note n
    WHERE l.id = p_id AND l.worker_id IS NULL AND l.process_at > {schema}.clock()
      AND n.id = p_id AND n.kind = 'wait' AND n.name = '' AND n.at = l.process_at
      AND n.value #>> '{{}}' = p_name;
    RETURN CASE WHEN FOUND THEN 'due' ELSE 'kept' END;
END $$;

-- Of some tasks, those that have ended and those that are not there, whose status is NULL. The plan is
-- made for these very ids: it opens the days alone in which they lie.
CREATE FUNCTION {schema}.endings_1(p_ids uuid[])
RETURNS TABLE (
    o_id uuid, o_status smallint, o_result text, o_type text, o_message text, o_traceback text
) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT g.id, f.status, n.value::text, a.error_type, a.error_message, a.error_traceback
    FROM unnest(p_ids) AS g (id)
    LEFT JOIN {schema}.finished f ON f.id = g.id AND f.id = ANY (p_ids)
    LEFT JOIN {schema}.note n
        ON f.status = 2 AND n.id = g.id AND n.id = ANY (p_ids)
        AND n.kind = 'result' AND n.name = ''
    LEFT JOIN LATERAL (
        SELECT t.error_type, t.error_message, t.error_traceback FROM {schema}.attempt t
        WHERE f.status <> 2 AND t.id = g.id AND t.id = ANY (p_ids) AND t.error_type IS NOT NULL
        ORDER BY t.finished_at DESC, t.token DESC LIMIT 1
    ) AS a ON true
    WHERE NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = g.id);
END $$;
