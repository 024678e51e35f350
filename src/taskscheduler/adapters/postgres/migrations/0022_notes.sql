-- What is kept of a task beside its body and its outcome, by one table: its result, its progress,
-- what its steps came to, the
-- signals that came for it, and the one that it waits for. Only tasks that have something to keep have rows here. A row goes with the day, or with the task.
CREATE TABLE {schema}.note (
    id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL, -- 'result', 'progress', 'step', 'signal' or 'wait'
    name text COLLATE "C" NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (id, kind, name)
) PARTITION BY RANGE (id);
CREATE TABLE {schema}.note_default PARTITION OF {schema}.note DEFAULT;

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

-- The functions of days, which know of one more table now.
CREATE OR REPLACE FUNCTION {schema}.make_day_1(p_table text, p_day date, p_move bigint)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_schema text;
    v_name text := p_table || '_' || to_char(p_day, 'YYYYMMDD');
    v_low uuid := {schema}.first_id_1(p_day);
    v_high uuid := {schema}.first_id_1(p_day + 1);
    v_strays bigint;
BEGIN
    IF p_table NOT IN ('task', 'finished', 'attempt', 'note') OR p_day > now()::date + 31 THEN
        RAISE 'no partitions of % are made for %', p_table, p_day USING ERRCODE = '22023';
    END IF;
    SELECT c.relnamespace::regnamespace INTO v_schema
    FROM pg_class c WHERE c.oid = {token}::regclass;
    -- One at a time, in front of the tables: who waits in here is in nobody's way.
    PERFORM pg_advisory_xact_lock(hashtextextended('taskscheduler days ' || v_schema, 0));
    IF to_regclass(format('%s.%I', v_schema, v_name)) IS NOT NULL THEN
        RETURN 'there';
    END IF;
    EXECUTE format(
        'SELECT count(*) FROM (SELECT FROM %s.%I WHERE id >= $1 AND id < $2 LIMIT $3) AS strays',
        v_schema, p_table || '_default'
    ) INTO v_strays USING v_low, v_high, p_move + 1;
    IF v_strays > p_move THEN
        RETURN 'full';
    END IF;
    EXECUTE format(
        'CREATE TABLE %1$s.%2$I (LIKE %1$s.%3$I INCLUDING ALL,'
        ' CONSTRAINT of_the_day CHECK (id >= %4$L::uuid AND id < %5$L::uuid))',
        v_schema, v_name, p_table, v_low, v_high
    );
    IF v_strays > 0 THEN
        EXECUTE format(
            'WITH moved AS (DELETE FROM %1$s.%2$I WHERE id >= $1 AND id < $2 RETURNING *)'
            ' INSERT INTO %1$s.%3$I SELECT * FROM moved',
            v_schema, p_table || '_default', v_name
        ) USING v_low, v_high;
    END IF;
    EXECUTE format(
        'ALTER TABLE %1$s.%2$I ATTACH PARTITION %1$s.%3$I FOR VALUES FROM (%4$L) TO (%5$L)',
        v_schema, p_table, v_name, v_low, v_high
    );
    EXECUTE format('ALTER TABLE %s.%I DROP CONSTRAINT of_the_day', v_schema, v_name);
    EXECUTE format(
        'ALTER TABLE %s.%I DROP CONSTRAINT IF EXISTS %I',
        v_schema, p_table || '_default', 'not_' || to_char(p_day, 'YYYYMMDD')
    );
    RETURN 'made';
END $$;

CREATE OR REPLACE FUNCTION {schema}.exclude_day_1(p_step text, p_table text, p_day date)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_default text;
    v_name text := 'not_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    IF p_table NOT IN ('task', 'finished', 'attempt', 'note') OR p_day > now()::date + 31
       OR (p_step <> 'withdraw' AND p_day < now()::date + 2) THEN
        RAISE '% cannot be kept out of %', p_day, p_table USING ERRCODE = '22023';
    END IF;
    SELECT format('%s.%I', c.relnamespace::regnamespace, p_table || '_default') INTO v_default
    FROM pg_class c WHERE c.oid = {token}::regclass;
    CASE p_step
    WHEN 'promise' THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', v_default, v_name);
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT %I CHECK (id < %L::uuid OR id >= %L::uuid) NOT VALID',
            v_default, v_name, {schema}.first_id_1(p_day), {schema}.first_id_1(p_day + 1)
        );
    WHEN 'prove' THEN
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', v_default, v_name);
    WHEN 'withdraw' THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', v_default, v_name);
    END CASE;
END $$;

CREATE OR REPLACE FUNCTION {schema}.drop_day_1(
    p_day date, p_now timestamptz, p_lanes integer[], p_statuses smallint[], p_keeps interval[]
) RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_schema text;
    v_day text := to_char(p_day, 'YYYYMMDD');
    v_low uuid := {schema}.first_id_1(p_day);
    v_high uuid := {schema}.first_id_1(p_day + 1);
    v_kept boolean;
BEGIN
    SELECT c.relnamespace::regnamespace INTO v_schema
    FROM pg_catalog.pg_class c WHERE c.oid = {token}::regclass;
    EXECUTE format(
        'LOCK TABLE %1$s.%2$I, %1$s.%3$I IN SHARE ROW EXCLUSIVE MODE',
        v_schema, 'task_' || v_day, 'finished_' || v_day
    );
    IF EXISTS (SELECT FROM {schema}.live l WHERE l.id >= v_low AND l.id < v_high)
       OR EXISTS (SELECT FROM {schema}.lane n WHERE n.id <> ALL (p_lanes)) THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'SELECT EXISTS ('
        ' SELECT FROM unnest($1, $2, $3) AS r (lane, status, keep) CROSS JOIN LATERAL ('
        ' SELECT FROM %s.%I f WHERE f.lane = r.lane AND f.status = r.status'
        ' AND (r.keep IS NULL OR f.finished_at >= $4 - r.keep) LIMIT 1) AS kept)',
        v_schema, 'finished_' || v_day
    ) INTO v_kept USING p_lanes, p_statuses, p_keeps, p_now;
    IF v_kept THEN
        RETURN false;
    END IF;
    -- Of a day that is older than notes are, they are in the default partition.
    EXECUTE format('DROP TABLE IF EXISTS %s.%I', v_schema, 'note_' || v_day);
    DELETE FROM {schema}.note n WHERE n.id >= v_low AND n.id < v_high;
    DELETE FROM {schema}.unique_key u WHERE u.id >= v_low AND u.id < v_high;
    EXECUTE format(
        'DROP TABLE %1$s.%2$I, %1$s.%3$I, %1$s.%4$I',
        v_schema, 'task_' || v_day, 'finished_' || v_day, 'attempt_' || v_day
    );
    RETURN true;
END $$;
