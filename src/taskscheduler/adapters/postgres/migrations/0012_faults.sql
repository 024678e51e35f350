-- What keeps one fault from becoming everybody's: tokens that no restored dump gives again, burials
-- and departures that wait for nobody, partitions that are made and dropped in one statement each.
-- Whatever a program does in several statements of one transaction, it can be stopped in between,
-- and hold its locks for as long as it stands.

-- A token names one lease, for ever: also when the database was set back to an earlier moment, by a
-- dump, a snapshot or a standby that had not heard everything, and the sequence with it. The upper
-- bits are the milliseconds since 2020, which are later then; the lower ones are the sequence's.
CREATE FUNCTION {schema}.new_token_1() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - 1577836800) * 1000)::bigint
            << 22) | (pg_catalog.nextval({token}) & 4194303)
$$;

-- As before, but for the tokens, and for the count of attempts, which stands still where it would
-- leave its column: one task that fails for ever must not fail the claims of all others.
CREATE OR REPLACE FUNCTION {schema}.claim_3(
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
        SET worker_id = p_worker, token = {schema}.new_token_1(),
            attempt = least(l.attempt, 32766) + 1, started_at = {schema}.clock()
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

-- Where the schema is: which server, which database, which table. A dump brings the rows elsewhere,
-- and the workers that they speak of are not there.
CREATE TABLE {schema}.place (name text NOT NULL);

CREATE FUNCTION {schema}.place_1() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_server text := '';
BEGIN
    IF has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') THEN
        SELECT s.system_identifier::text INTO v_server FROM pg_catalog.pg_control_system() AS s;
    END IF;
    RETURN (
        SELECT concat_ws('/', v_server, d.oid, p.tableoid, pg_relation_filenode(p.tableoid))
        FROM {schema}.place p, pg_catalog.pg_database d WHERE d.datname = current_database()
        LIMIT 1 -- a dump that was read into a new schema brings a second row
    );
END $$;
INSERT INTO {schema}.place VALUES ('');
UPDATE {schema}.place SET name = {schema}.place_1();

-- NULL: a worker of an earlier release.
ALTER TABLE {schema}.worker ADD COLUMN place text, ADD COLUMN buried_at timestamptz;

-- After a restore, let the ids of workers go on from somewhere else: those that were attached
-- before may bear the next ones. By the owner's rights: who may join may not set a sequence.
CREATE FUNCTION {schema}.move_in_1() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ids text;
BEGIN
    UPDATE {schema}.place SET name = {schema}.place_1() WHERE name <> {schema}.place_1();
    IF FOUND THEN
        SELECT pg_get_serial_sequence(c.relnamespace::regnamespace || '.worker', 'id')
        INTO v_ids FROM pg_class c WHERE c.oid = {token}::regclass;
        PERFORM setval(v_ids, nextval(v_ids) + 1000 + floor(random() * 1000000)::bigint);
    END IF;
END $$;

-- Register a worker and make its kinds known. In one statement: one that is stopped halfway would
-- else hold the kinds that all others register.
CREATE FUNCTION {schema}.join_1(
    p_name text, p_queues text[], p_kinds text[], p_max_attempts smallint[], p_concurrency integer,
    p_lease interval, p_host text, p_pid integer
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    PERFORM {schema}.move_in_1();
    INSERT INTO {schema}.kind AS known (name, max_attempts)
    SELECT * FROM unnest(p_kinds, p_max_attempts)
    ON CONFLICT (name) DO UPDATE SET max_attempts = excluded.max_attempts
    WHERE known.max_attempts <> excluded.max_attempts;
    INSERT INTO {schema}.worker
        (name, queues, kinds, concurrency, lease, host, pid, place, started_at, seen_at)
    VALUES (p_name, p_queues, p_kinds, p_concurrency, p_lease, p_host, p_pid, {schema}.place_1(),
            {schema}.clock(), {schema}.clock())
    RETURNING id INTO v_id;
    RETURN v_id;
END $$;

-- Who holds a lock on a row, by the row's xmax: a transaction, or several under one number.
CREATE FUNCTION {schema}.lockers_1(p_xmax xid) RETURNS SETOF xid LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT p_xmax;
    BEGIN
        RETURN QUERY SELECT m.xid FROM pg_catalog.pg_get_multixact_members(p_xmax) AS m;
    EXCEPTION WHEN OTHERS THEN
        NULL; -- it is one transaction, or was
    END;
END $$;

-- Rescue what a silent worker holds, and strike it out; return the ids of the tasks.
--
-- Nobody is waited for. Where a transaction still holds the worker's row (a claim, whose leases are
-- to be seen once it has ended), the row stays, marked, and so it does where a task is locked: the
-- next burial finds the rest. Its epoch voids claims that are still to come. The sessions that are
-- in the way are ended, if they do nothing but wait for a program that has been silent for a lease.
CREATE FUNCTION {schema}.bury_1(
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
    FROM {schema}.live l WHERE l.worker_id = p_worker;
    v_ids := ARRAY(
        SELECT l.id FROM {schema}.live l WHERE l.worker_id = p_worker FOR UPDATE SKIP LOCKED
    );
    IF v_ids <> ARRAY[]::uuid[] THEN
        SELECT c.relnamespace::regnamespace INTO v_schema
        FROM pg_catalog.pg_class c WHERE c.oid = {token}::regclass;
        -- Planned anew each time, with the ids at hand: days in which none of them lies are not opened.
        EXECUTE format($rescue$
WITH held AS MATERIALIZED (
    SELECT l.*, $2 AND l.attempt - l.excused
           >= coalesce(t.max_attempts, k.max_attempts, $3) AS used_up
    FROM %1$s.live l JOIN %1$s.task t ON t.id = l.id AND t.id = ANY ($1)
    JOIN %1$s.lane n ON n.id = l.lane LEFT JOIN %1$s.kind k ON k.name = n.kind
    WHERE l.id = ANY ($1)
), back AS (
    UPDATE %1$s.live SET worker_id = NULL, token = NULL, started_at = NULL,
        process_at = %1$s.clock(),
        excused = CASE WHEN $2 THEN excused ELSE least(excused, 32766) + 1 END
    WHERE id IN (SELECT id FROM held WHERE NOT used_up)
), gone AS (
    DELETE FROM %1$s.live WHERE id IN (SELECT id FROM held WHERE used_up)
), ended AS (
    INSERT INTO %1$s.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
    SELECT id, process_at, started_at, %1$s.clock(), token, worker_id, lane, attempt, excused, 3
    FROM held WHERE used_up
)
INSERT INTO %1$s.attempt
    (id, token, number, started_at, finished_at, worker_id, outcome, error_type, error_message)
SELECT id, token, attempt, started_at, %1$s.clock(), worker_id,
       CASE WHEN used_up THEN 'fail' ELSE 'rescue' END, $4, $5
FROM held$rescue$, v_schema) USING v_ids, v_alone, p_granted, p_type, p_message;
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
    RETURN QUERY SELECT unnest(v_ids);
END $$;

-- Strike a worker out and release what it holds. Claims of its own that are under way end before
-- this does, unless they hang, and then its lease ends by itself.
CREATE FUNCTION {schema}.leave_1(p_worker bigint) RETURNS void LANGUAGE plpgsql
    SET lock_timeout = '3s' AS $$
BEGIN
    DELETE FROM {schema}.worker w WHERE w.id = p_worker;
    UPDATE {schema}.live l
    SET worker_id = NULL, token = NULL, started_at = NULL, attempt = l.attempt - 1,
        process_at = {schema}.clock()
    WHERE l.worker_id = p_worker;
    DELETE FROM {schema}.cancellation c WHERE c.worker_id = p_worker;
END $$;

-- Wait for the claims of one worker that are under way, but not for long.
CREATE FUNCTION {schema}.await_claims_1(p_worker bigint) RETURNS void LANGUAGE plpgsql
    SET lock_timeout = '500ms' AS $$
BEGIN
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker FOR UPDATE;
END $$;

-- The smallest UUID v7 of a day (UTC).
CREATE FUNCTION {schema}.first_id_1(p_day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((p_day - DATE '1970-01-01')::bigint * 86400000), 12, '0')
            || repeat('0', 20))::uuid
$$;

-- Make the partition of one table for one day: 'made', 'there', or 'full': more than p_move rows of
-- that day are in the default partition. Fewer are moved, so that
-- one id of a future day does not keep that day from being dropped as a table one day.
--
-- It is made apart and attached: the tables go on being used meanwhile, but for the default
-- partitions. By the owner's rights, which a worker need not have.
CREATE FUNCTION {schema}.make_day_1(p_table text, p_day date, p_move bigint)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_schema text;
    v_name text := p_table || '_' || to_char(p_day, 'YYYYMMDD');
    v_low uuid := {schema}.first_id_1(p_day);
    v_high uuid := {schema}.first_id_1(p_day + 1);
    v_strays bigint;
BEGIN
    IF p_table NOT IN ('task', 'finished', 'attempt') OR p_day > now()::date + 31 THEN
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

-- Promise that no row of a day is in a default partition, prove it, or take it back.
--
-- To attach a partition, the server looks through the whole default partition while nobody may use
-- it, unless a constraint that holds already says that there is nothing to be found. 'promise' and
-- 'prove' are two statements: only the second one looks, and it is in nobody's way.
CREATE FUNCTION {schema}.exclude_day_1(p_step text, p_table text, p_day date)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_default text;
    v_name text := 'not_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    IF p_table NOT IN ('task', 'finished', 'attempt') OR p_day > now()::date + 31
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

-- Drop the three tables of a day, if nothing in it is to be kept; tell whether that was done.
--
-- Nobody may write into the day while it is judged. What ended since p_now is kept, so whatever is
-- dropped was there to be exported at p_now.
CREATE FUNCTION {schema}.drop_day_1(
    p_day date, p_now timestamptz, p_lanes integer[], p_statuses smallint[], p_keeps interval[]
) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
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
    DELETE FROM {schema}.unique_key u WHERE u.id >= v_low AND u.id < v_high;
    EXECUTE format(
        'DROP TABLE %1$s.%2$I, %1$s.%3$I, %1$s.%4$I',
        v_schema, 'task_' || v_day, 'finished_' || v_day, 'attempt_' || v_day
    );
    RETURN true;
END $$;
