-- Days: partitions are made and dropped in one statement each, by the owner's rights where a worker
-- need not have them.

-- The smallest UUID v7 of a day (UTC).
CREATE FUNCTION {schema}.first_id_1(p_day date) RETURNS uuid LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT (lpad(to_hex((p_day - DATE '1970-01-01')::bigint * 86400000), 12, '0')
            || repeat('0', 20))::uuid
$$;

-- Make the partition of one table for one day: 'made', 'there', or 'full': more than p_move rows of
-- that day are in the default partition. Fewer are moved, so that
-- one id of a future day does not keep that day from being dropped as a table one day.
--
-- It is made apart and attached: the tables go on being used meanwhile, but for the default
-- partitions.
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

-- Drop the four tables of a day, if nothing in it is to be kept; tell whether that was done.
--
-- Nobody may write into the day while it is judged. What ended since p_now is kept, so whatever is
-- dropped was there to be exported at p_now.
CREATE FUNCTION {schema}.drop_day_1(
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
