-- Workers: how they join and leave, and what becomes of the tasks of those that fall silent.
--
-- Burials and departures wait for nobody. Whatever a program does in several statements of one
-- transaction, it can be stopped in between, and hold its locks for as long as it stands.

-- Where the schema is: see the table place.
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
) RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
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

-- Strike a worker out and release what it holds. Claims of its own that are under way end before
-- this does, unless they hang, and then its lease ends by itself.
CREATE FUNCTION {schema}.leave_1(p_worker bigint) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
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
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '500ms' AS $$
BEGIN
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker FOR UPDATE;
END $$;

-- Who holds a lock on a row, by the row's xmax: a transaction, or several under one number.
CREATE FUNCTION {schema}.lockers_1(p_xmax xid) RETURNS SETOF xid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
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
-- What had not begun is put back as if it had not been claimed. If one alone had begun, it is to blame;
-- if several had, any of them may be. No attempt comes after the 32,767th.
--
-- Nobody is waited for. Where a transaction still holds the worker's row (a claim, whose leases are
-- to be seen once it has ended), the row stays, marked, and so it does where a task is locked: the
-- next burial finds the rest. Its epoch voids claims that are still to come. The sessions that are
-- in the way are ended, if they do nothing but wait for a program that has been silent for a lease.
CREATE FUNCTION {schema}.bury_2(
    p_worker bigint, p_beats bigint, p_granted smallint, p_type text, p_message text
) RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
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
--
-- Nobody is waited for: what another is changing is found by the next look for orphans. A lease that
-- has passed on by then is another worker's, and is left alone.
CREATE FUNCTION {schema}.rescue_orphans_2(p_granted smallint, p_type text, p_message text)
RETURNS SETOF uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
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
