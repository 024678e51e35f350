-- Storing a task in SQL, from any language and from triggers: a part of the caller's transaction.
--
-- schedule_1 keeps its parameters for ever. schedule is what people call: a release may add
-- parameters to it, with defaults.

-- Refuse what the library refuses, in its words. The names of the fields come first, as there.
CREATE FUNCTION {schema}.refuse_1(p_field text, p_reason text) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'invalid_parameter_value', MESSAGE = p_field || ': ' || p_reason;
END $$;

-- A new id: a UUID of version 7, whose time goes below the millisecond as PostgreSQL's own does.
CREATE FUNCTION {schema}.new_id_1() RETURNS uuid LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
SELECT encode(
    substring(int8send(us / 1000) FROM 3)
    || substring(int8send(28672 | ((us % 1000) * 4096 / 1000)) FROM 7)
    || substring(uuid_send(gen_random_uuid()) FROM 9),
    'hex'
)::uuid
FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS now
$$;

-- Return the lane of a queue, kind, priority and group, held until the end of the caller's transaction:
-- it is made if there is none, and stands again if it was being removed (adapters/postgres/lane_removal.py).
CREATE FUNCTION {schema}.held_lane_2(
    p_queue text, p_kind text, p_priority integer, p_group text
)
RETURNS integer LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lane integer;
BEGIN
    LOOP
        SELECT n.id INTO v_lane FROM {schema}.lane n
        WHERE n.queue = p_queue AND n.kind = p_kind AND n.priority = p_priority
          AND n."group" = p_group
          AND n.retired_by IS NULL
        FOR KEY SHARE;
        IF FOUND THEN
            RETURN v_lane;
        END IF;
        INSERT INTO {schema}.lane AS n (queue, kind, priority, "group")
        VALUES (p_queue, p_kind, p_priority, p_group)
        ON CONFLICT (queue, kind, priority, "group") DO UPDATE
        SET retired_by = NULL, asked_for_at = {schema}.clock() WHERE n.retired_by IS NOT NULL;
    END LOOP;
END $$;

CREATE FUNCTION {schema}.schedule_in_group_1(
    kind text, payload json, execute_at timestamptz, queue text, priority integer,
    max_attempts integer, timeout interval, unique_key text, expires_at timestamptz, id uuid,
    unique_for interval, "group" text
) RETURNS uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    -- A plan for any id opens, and locks, the bodies of all days.
    SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_name CONSTANT text := '^[A-Za-z0-9_.:-]{{1,128}}$';
    v_name_form CONSTANT text := 'must be 1 to 128 letters, digits, or _ . : -';
    v_time_form CONSTANT text := 'must be from the year 2 to 9000';
    v_earliest CONSTANT timestamptz := '0002-01-01 00:00:00+00';
    v_latest CONSTANT timestamptz := '9000-01-01 00:00:00+00';
    v_kind CONSTANT text := schedule_in_group_1.kind;
    v_payload CONSTANT json := coalesce(schedule_in_group_1.payload, 'null');
    v_execute_at CONSTANT timestamptz := schedule_in_group_1.execute_at;
    v_queue CONSTANT text := schedule_in_group_1.queue;
    v_key CONSTANT text := schedule_in_group_1.unique_key;
    v_group CONSTANT text := schedule_in_group_1."group";
    v_id uuid := schedule_in_group_1.id;
    v_new CONSTANT uuid := {schema}.new_id_1();
    v_ms bigint;
    v_holder uuid;
    v_row record;
BEGIN
    IF v_kind IS NULL OR v_kind !~ v_name THEN
        PERFORM {schema}.refuse_1('kind', v_name_form);
    ELSIF v_queue IS NULL OR v_queue !~ v_name THEN
        PERFORM {schema}.refuse_1('queue', v_name_form);
    ELSIF schedule_in_group_1.priority IS NULL OR schedule_in_group_1.priority NOT BETWEEN 0 AND 9 THEN
        PERFORM {schema}.refuse_1('priority', 'must be 0 to 9');
    ELSIF schedule_in_group_1.max_attempts NOT BETWEEN 1 AND 32767 THEN
        PERFORM {schema}.refuse_1('max_attempts', 'must be 1 to 32767');
    ELSIF schedule_in_group_1.timeout <= interval '0' OR schedule_in_group_1.timeout > interval '366 days' THEN
        PERFORM {schema}.refuse_1('timeout', 'must be above 0 and at most 366 days');
    ELSIF v_execute_at NOT BETWEEN v_earliest AND v_latest THEN
        PERFORM {schema}.refuse_1('execute_at', v_time_form);
    ELSIF schedule_in_group_1.expires_at NOT BETWEEN v_earliest AND v_latest THEN
        PERFORM {schema}.refuse_1('expires_at', v_time_form);
    ELSIF schedule_in_group_1.expires_at <= v_execute_at THEN
        PERFORM {schema}.refuse_1(
            'expires_at', 'must be after execute_at: it could never begin');
    ELSIF length(v_key) NOT BETWEEN 1 AND 512 OR left(v_key, 1) = chr(1) THEN
        PERFORM {schema}.refuse_1(
            'unique_key', 'must be 1 to 512 characters, and not begin with U+0001');
    ELSIF length(v_group) NOT BETWEEN 1 AND 256
       OR v_group ~ ('[' || chr(1) || '-' || chr(31) || chr(127) || '-' || chr(159)
                     || chr(8232) || chr(8233) || ']') THEN
        PERFORM {schema}.refuse_1('group', 'must be 1 to 256 printable characters');
    ELSIF schedule_in_group_1.unique_for IS NULL OR schedule_in_group_1.unique_for <= interval '0' THEN
        PERFORM {schema}.refuse_1('unique_for', 'must be above 0');
    ELSIF octet_length(convert_to(v_payload::text, 'UTF8')) > 1048576 THEN
        PERFORM {schema}.refuse_1('payload', 'must be at most 1048576 bytes');
    END IF;
    -- Half a character pair is JSON to this type, and text to nobody. The other type finds it; it
    -- takes no NUL, which may be meant.
    IF v_payload::text ~* (chr(92) || chr(92) || 'ud[89a-f]') THEN
        BEGIN
            PERFORM replace(v_payload::text, chr(92) || 'u0000', chr(92) || 'u0020')::jsonb;
        EXCEPTION WHEN data_exception THEN
            PERFORM {schema}.refuse_1('payload', 'has a surrogate that is not one of a pair');
        END;
    END IF;
    IF v_id IS NOT NULL THEN
        -- Those that bear a time bear one near to now; of others there are two that name nothing.
        v_ms := ('x' || left(replace(v_new::text, '-', ''), 12))::bit(48)::bigint
              - ('x' || left(replace(v_id::text, '-', ''), 12))::bit(48)::bigint;
        IF substr(v_id::text, 15, 1) = '7' AND v_ms NOT BETWEEN -59999 AND 604800000
           OR v_id IN ('00000000-0000-0000-0000-000000000000',
                       'ffffffff-ffff-ffff-ffff-ffffffffffff') THEN
            PERFORM {schema}.refuse_1('id', 'must be a UUID; one of version 7 must have been made '
                || 'within the last 7 days, and not in the future; leave it out to be given one');
        END IF;
        SELECT n.kind, n.queue, t.payload::text AS payload, t.unique_key, t.execute_at INTO v_row
        FROM {schema}.task t
        LEFT JOIN LATERAL (
            SELECT l.lane FROM {schema}.live l WHERE l.id = v_id
            UNION ALL SELECT f.lane FROM {schema}.finished f WHERE f.id = v_id
        ) AS s ON true
        LEFT JOIN {schema}.lane n ON n.id = s.lane
        WHERE t.id = v_id;
        IF FOUND THEN
            IF v_row.kind IS DISTINCT FROM v_kind OR v_row.queue IS DISTINCT FROM v_queue
               OR v_row.payload <> v_payload::text OR v_row.unique_key IS DISTINCT FROM v_key
               OR v_row.execute_at <> v_execute_at THEN
                RAISE EXCEPTION USING ERRCODE = 'unique_violation',
                    MESSAGE = format('id: task %s exists with other contents', v_id);
            END IF;
            RETURN v_id;
        END IF;
    END IF;
    v_id := coalesce(v_id, v_new);
    IF v_key IS NOT NULL THEN
        LOOP
            INSERT INTO {schema}.unique_key AS held (kind, key, id, expires_at)
            VALUES (v_kind, v_key, v_id, {schema}.clock() + schedule_in_group_1.unique_for)
            ON CONFLICT (kind, key) DO UPDATE
            SET id = excluded.id, expires_at = excluded.expires_at
            WHERE held.expires_at <= {schema}.clock()
            RETURNING held.id INTO v_holder;
            EXIT WHEN FOUND;
            -- Between the two a holder may be deleted, and its key with it.
            SELECT held.id INTO v_holder FROM {schema}.unique_key held
            WHERE held.kind = v_kind AND held.key = v_key;
            EXIT WHEN FOUND;
        END LOOP;
        IF v_holder <> v_id THEN
            RETURN v_holder;
        END IF;
    END IF;
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload)
    VALUES (v_id, coalesce(v_execute_at, {schema}.clock()), {schema}.clock(),
            schedule_in_group_1.max_attempts, schedule_in_group_1.timeout, v_key, schedule_in_group_1.expires_at, v_payload);
    INSERT INTO {schema}.live (id, process_at, lane)
    VALUES (v_id, greatest(v_execute_at, {schema}.clock()),
            {schema}.held_lane_2(
                v_queue, v_kind, schedule_in_group_1.priority, coalesce(v_group, '')));
    -- At the caller's commit. Tasks that are due later ring no bell: all workers look well before.
    IF v_execute_at IS NULL OR v_execute_at <= {schema}.clock() + interval '10 seconds' THEN
        PERFORM pg_notify('taskscheduler_' || left(encode(sha256(convert_to(
            (SELECT n.nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
             WHERE c.oid = {token}::regclass), 'UTF8')), 'hex'), 16), 'q' || v_queue);
    END IF;
    RETURN v_id;
END $$;

-- schedule_1 keeps its parameters for ever.
CREATE FUNCTION {schema}.schedule_1(
    kind text, payload json, execute_at timestamptz, queue text, priority integer,
    max_attempts integer, timeout interval, unique_key text, expires_at timestamptz, id uuid,
    unique_for interval
) RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT {schema}.schedule_in_group_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL)
$$;

CREATE FUNCTION {schema}.schedule(
    kind text, payload json DEFAULT 'null', execute_at timestamptz DEFAULT NULL,
    queue text DEFAULT 'default', priority integer DEFAULT 5, max_attempts integer DEFAULT NULL,
    timeout interval DEFAULT NULL, unique_key text DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, id uuid DEFAULT NULL,
    unique_for interval DEFAULT interval '1 day'
) RETURNS uuid LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
SELECT {schema}.schedule_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
$$;
COMMENT ON FUNCTION {schema}.schedule IS
    'Store a task as a part of this transaction and return its id; workers hear of it at the commit.';
