-- Flow control: the groups of tasks, and limits on how many run and how fast they begin.
--
-- Programs before 0023 cannot work with this.

-- A lane is one queue, one kind, one priority, one group: so the tasks of a group are claimed in order,
-- and none of the hot rows is wider. Tasks without a group have the empty one.
ALTER TABLE {schema}.lane ADD COLUMN "group" text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE {schema}.lane DROP CONSTRAINT lane_queue_kind_priority_key;
ALTER TABLE {schema}.lane ADD CONSTRAINT lane_name UNIQUE (queue, kind, priority, "group");
CREATE INDEX lane_group ON {schema}.lane ("group") WHERE "group" <> '';

-- As held_lane_1, but of a group; of none that is the empty one.
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

CREATE OR REPLACE FUNCTION {schema}.held_lane_1(p_queue text, p_kind text, p_priority integer)
RETURNS integer LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT {schema}.held_lane_2(p_queue, p_kind, p_priority, '')
$$;

-- As schedule_1, of a group.
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

CREATE OR REPLACE FUNCTION {schema}.schedule_1(
    kind text, payload json, execute_at timestamptz, queue text, priority integer,
    max_attempts integer, timeout interval, unique_key text, expires_at timestamptz, id uuid,
    unique_for interval
) RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT {schema}.schedule_in_group_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL)
$$;

-- Limits on the tasks of a queue, a kind, a group; NULL stands for all of them. With per_group each
-- group has one of its own.
--
-- counted   whether the leases that were there when it was made are in flow_lease, too
CREATE TABLE {schema}.flow_limit (
    name text COLLATE "C" PRIMARY KEY,
    id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    revision bigint NOT NULL,
    queue text COLLATE "C",
    kind text COLLATE "C",
    "group" text COLLATE "C",
    per_group boolean NOT NULL,
    concurrency integer CHECK (concurrency > 0),
    rate integer CHECK (rate > 0),
    period_s integer,
    burst integer CHECK (burst > 0),
    burst_given boolean NOT NULL,
    weight smallint CHECK (weight BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    counted boolean NOT NULL,
    CHECK ((rate IS NULL) = (period_s IS NULL) AND (rate IS NULL) = (burst IS NULL))
);

-- Whoever leases tasks under a limit locks its gate first, so there is one at a time. With per_group
-- there is a gate for each group, made when it is first asked for; else there is one, whose key is
-- empty. free_at is when all that its rate grants is granted again (GCRA's theoretical arrival time).
CREATE TABLE {schema}.flow_gate (
    limit_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    free_at timestamptz,
    PRIMARY KEY (limit_id, key)
) WITH (fillfactor = 50);

-- The leases under limits of concurrency. A row counts as long as the hot row has its token, so none of
-- those who end leases need know of it, and a lease can neither be lost nor be given back twice.
-- Rows that count no more are removed by the next who has the gate.
CREATE TABLE {schema}.flow_lease (
    limit_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    token bigint NOT NULL,
    PRIMARY KEY (limit_id, key, number)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

-- How many a gate lets through now, and when to look again at one that lets nothing through.
CREATE FUNCTION {schema}.room_1(
    p_concurrency integer, p_running bigint, p_rate integer, p_period_s integer, p_burst integer,
    p_free_at timestamptz, p_now timestamptz, OUT o_room bigint, OUT o_opens_at timestamptz
) LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_step numeric := p_period_s::numeric / p_rate;
    v_ahead numeric;
BEGIN
    IF p_concurrency IS NOT NULL THEN
        o_room := greatest(p_concurrency - p_running, 0);
        IF o_room = 0 THEN
            o_opens_at := p_now + interval '500 ms';
        END IF;
    END IF;
    IF p_rate IS NOT NULL THEN
        v_ahead := greatest(extract(epoch FROM coalesce(p_free_at, p_now) - p_now), 0);
        o_room := least(o_room, greatest(p_burst - ceil(v_ahead / v_step), 0)::bigint);
        IF p_burst <= ceil(v_ahead / v_step) THEN
            o_opens_at := greatest(o_opens_at, p_now + make_interval(
                secs => (ceil((v_ahead - (p_burst - 1) * v_step) * 1000000) / 1000000)::float8));
        END IF;
    END IF;
END $$;

-- When a lane that limits keep closed is to be looked at again; NULL: it is open. Nothing is locked, so
-- it is a guess that costs little.
CREATE FUNCTION {schema}.opens_at_1(p_queue text, p_kind text, p_group text)
RETURNS timestamptz LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN (
        SELECT max(r.o_opens_at) FROM (
            SELECT f.*, CASE WHEN f.per_group THEN p_group ELSE '' END AS key
            FROM {schema}.flow_limit f
            WHERE (f.queue = p_queue OR f.queue IS NULL) AND (f.kind = p_kind OR f.kind IS NULL)
              AND (f."group" = p_group OR f."group" IS NULL)
              AND (f.concurrency IS NOT NULL OR f.rate IS NOT NULL)
        ) AS f CROSS JOIN LATERAL {schema}.room_1(
            f.concurrency, CASE WHEN f.concurrency IS NOT NULL THEN (
                SELECT count(*) FROM {schema}.flow_lease e
                JOIN {schema}.live l ON l.id = e.id AND l.token = e.token
                WHERE e.limit_id = f.id AND e.key = f.key
            ) END, f.rate, f.period_s, f.burst, (
                SELECT g.free_at FROM {schema}.flow_gate g WHERE g.limit_id = f.id AND g.key = f.key
            ), {schema}.clock()
        ) AS r
    );
END $$;

-- How much of its queue a group gets beside others: by the limit that names most of what it is.
CREATE FUNCTION {schema}.weight_1(p_queue text, p_kind text, p_group text)
RETURNS smallint LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN coalesce((
        SELECT f.weight FROM {schema}.flow_limit f
        WHERE f.weight IS NOT NULL AND (f.queue = p_queue OR f.queue IS NULL)
          AND (f.kind = p_kind OR f.kind IS NULL) AND (f."group" = p_group OR f."group" IS NULL)
        ORDER BY f."group" IS NOT NULL DESC, f.queue IS NOT NULL DESC, f.kind IS NOT NULL DESC, f.name
        LIMIT 1
    ), 1);
END $$;

-- Write down the leases that are there under a limit: those from before it was made. Claims that had
-- begun before are to have ended.
CREATE FUNCTION {schema}.count_limit_1(p_id integer) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    PERFORM FROM {schema}.flow_limit f WHERE f.id = p_id AND NOT f.counted FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO {schema}.flow_lease (limit_id, key, id, token)
    SELECT f.id, CASE WHEN f.per_group THEN n."group" ELSE '' END, l.id, l.token
    FROM {schema}.flow_limit f JOIN {schema}.lane n
        ON (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
           AND (f."group" = n."group" OR f."group" IS NULL)
    JOIN {schema}.live l ON l.lane = n.id
    WHERE f.id = p_id AND f.concurrency IS NOT NULL AND l.worker_id IS NOT NULL
      AND NOT EXISTS (
        SELECT FROM {schema}.flow_lease e WHERE e.limit_id = f.id AND e.id = l.id AND e.token = l.token
    );
    UPDATE {schema}.flow_limit f SET counted = true WHERE f.id = p_id;
END $$;

-- Lock the gates of some lanes, and return how many each lets through. Those that cannot be had are left
-- out: of a group's gate another who claims has it, and goes on at once; any other is waited for.
CREATE FUNCTION {schema}.gates_1(
    p_lanes integer[], OUT o_names text[], OUT o_rooms bigint[], OUT o_opens_at timestamptz[]
) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_limits integer[];
    v_keys text[];
BEGIN
    SELECT array_agg(w.id ORDER BY w.id, w.key), array_agg(w.key ORDER BY w.id, w.key)
    INTO v_limits, v_keys FROM (
        SELECT DISTINCT f.id, CASE WHEN f.per_group THEN n."group" ELSE '' END AS key
        FROM {schema}.lane n JOIN {schema}.flow_limit f
            ON (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
               AND (f."group" = n."group" OR f."group" IS NULL)
        WHERE n.id = ANY (p_lanes) AND (f.concurrency IS NOT NULL OR f.rate IS NOT NULL)
    ) AS w;
    IF v_limits IS NULL THEN
        RETURN;
    END IF;
    PERFORM {schema}.count_limit_1(f.id) FROM {schema}.flow_limit f
    WHERE f.id = ANY (v_limits) AND NOT f.counted
      AND f.changed_at < {schema}.clock() - interval '2 seconds';
    BEGIN
        INSERT INTO {schema}.flow_gate (limit_id, key)
        SELECT w.id, w.key FROM unnest(v_limits, v_keys) AS w (id, key)
        WHERE NOT EXISTS (
            SELECT FROM {schema}.flow_gate g WHERE g.limit_id = w.id AND g.key = w.key
        ) ON CONFLICT DO NOTHING;
        PERFORM FROM {schema}.flow_gate g JOIN {schema}.flow_limit f ON f.id = g.limit_id
        WHERE g.limit_id = ANY (v_limits) AND g.key = '' AND NOT f.per_group
        ORDER BY g.limit_id FOR UPDATE OF g;
    EXCEPTION WHEN lock_not_available THEN
        RETURN;
    END;
    SELECT array_agg(m.id), array_agg(m.key) INTO v_limits, v_keys FROM (
        SELECT w.id, w.key FROM unnest(v_limits, v_keys) AS w (id, key)
        JOIN {schema}.flow_gate g ON g.limit_id = w.id AND g.key = w.key
        FOR UPDATE OF g SKIP LOCKED
    ) AS m;
    -- Seen with a snapshot that is newer than the locks: whoever had them before has committed.
    WITH held AS MATERIALIZED (
        SELECT e.limit_id, e.key, e.number, EXISTS (
            SELECT FROM {schema}.live l WHERE l.id = e.id AND l.token = e.token
        ) AS holds
        FROM unnest(v_limits, v_keys) AS m (id, key)
        JOIN {schema}.flow_lease e ON e.limit_id = m.id AND e.key = m.key
    ), gone AS (
        DELETE FROM {schema}.flow_lease e USING held h
        WHERE NOT h.holds AND e.limit_id = h.limit_id AND e.key = h.key AND e.number = h.number
    )
    SELECT array_agg(f.id || '/' || m.key), array_agg(r.o_room), array_agg(r.o_opens_at)
    INTO o_names, o_rooms, o_opens_at
    FROM unnest(v_limits, v_keys) AS m (id, key) JOIN {schema}.flow_limit f ON f.id = m.id
    JOIN {schema}.flow_gate g ON g.limit_id = m.id AND g.key = m.key
    -- One whose leases are still to be counted lets nothing through.
    CROSS JOIN LATERAL {schema}.room_1(
        CASE WHEN f.counted THEN f.concurrency ELSE 0 END, (
            SELECT count(*) FROM held h WHERE h.limit_id = m.id AND h.key = m.key AND h.holds
        ), f.rate, f.period_s, f.burst, g.free_at, {schema}.clock()
    ) AS r;
END $$;

-- Lease tasks whose gates are locked, and count them there.
CREATE FUNCTION {schema}.lease_limited_1(p_ids uuid[], p_worker bigint) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_ids uuid[];
    v_tokens bigint[];
    v_lanes integer[];
    v_attempts smallint[];
    v_process_at timestamptz[];
    v_excused smallint[];
BEGIN
    WITH leased AS (
        UPDATE {schema}.live l
        SET worker_id = p_worker, token = {schema}.new_token_1(),
            attempt = least(l.attempt, 32766) + 1, started_at = {schema}.clock()
        WHERE l.id = ANY (p_ids)
        RETURNING l.id, l.token, l.lane, l.attempt, l.process_at, l.excused
    )
    SELECT array_agg(d.id), array_agg(d.token), array_agg(d.lane), array_agg(d.attempt),
           array_agg(d.process_at), array_agg(d.excused)
    INTO v_ids, v_tokens, v_lanes, v_attempts, v_process_at, v_excused FROM leased d;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    WITH limited AS MATERIALIZED (
        SELECT f.id AS limit_id, CASE WHEN f.per_group THEN n."group" ELSE '' END AS key,
               f.concurrency, f.rate, f.period_s, d.id, d.token
        FROM unnest(v_ids, v_tokens, v_lanes) AS d (id, token, lane)
        JOIN {schema}.lane n ON n.id = d.lane JOIN {schema}.flow_limit f
            ON (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
               AND (f."group" = n."group" OR f."group" IS NULL)
    ), counted AS (
        INSERT INTO {schema}.flow_lease (limit_id, key, id, token)
        SELECT e.limit_id, e.key, e.id, e.token FROM limited e WHERE e.concurrency IS NOT NULL
    )
    UPDATE {schema}.flow_gate g
    SET free_at = greatest(coalesce(g.free_at, {schema}.clock()), {schema}.clock()) + make_interval(
        secs => (ceil(t.number * t.period_s::numeric / t.rate * 1000000) / 1000000)::float8)
    FROM (
        SELECT e.limit_id, e.key, e.rate, e.period_s, count(*) AS number FROM limited e
        WHERE e.rate IS NOT NULL GROUP BY e.limit_id, e.key, e.rate, e.period_s
    ) AS t WHERE g.limit_id = t.limit_id AND g.key = t.key;
    RETURN QUERY SELECT * FROM {schema}.leased_1(
        v_ids, v_tokens, v_lanes, v_attempts, v_process_at, v_excused
    );
END $$;

-- As claim_5, but no more than p_rooms from each lane (NULL: as many as there is room for), and no more
-- than limits let through. A lane that they keep closed is told of by a row without a task: its
-- o_process_at is when to look again, and o_expired tells that another claim stands in its gate.
CREATE FUNCTION {schema}.claim_limited_1(
    p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[], p_rooms bigint[], p_limit bigint,
    p_worker bigint, p_epoch integer, p_excused_max smallint
) RETURNS TABLE (
    o_id uuid, o_token bigint, o_lane integer, o_attempt smallint, o_max_attempts smallint,
    o_process_at timestamptz, o_timeout interval, o_payload text, o_excused smallint,
    o_expired boolean
) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_due integer[];
    v_left bigint := p_limit;
    v_room bigint;
    v_opens_at timestamptz;
    v_names text[];
    v_rooms bigint[];
    v_opens timestamptz[];
    v_lane record;
    v_place integer;
    v_these uuid[];
    v_ids uuid[] := '{{}}';
BEGIN
    v_due := ARRAY(
        SELECT lane.lane
        FROM unnest(p_lanes, p_floors, p_floor_ids) WITH ORDINALITY AS lane (lane, floor, floor_id, place)
        JOIN {schema}.lane n ON n.id = lane.lane CROSS JOIN LATERAL (
            SELECT FROM {schema}.live l
            WHERE l.lane = lane.lane AND l.worker_id IS NULL AND l.excused <= p_excused_max
              AND (l.process_at, l.id) >= (lane.floor, lane.floor_id)
              AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT 1
        ) AS head
        WHERE NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
    );
    IF v_due = '{{}}' THEN
        RETURN;
    END IF;
    PERFORM FROM {schema}.worker w WHERE w.id = p_worker AND w.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT g.o_names, g.o_rooms, g.o_opens_at INTO v_names, v_rooms, v_opens
    FROM {schema}.gates_1(v_due) AS g;
    FOR v_lane IN
        SELECT u.lane, u.floor, u.floor_id, u.room, coalesce((
            SELECT array_agg(coalesce(array_position(
                v_names, f.id || '/' || CASE WHEN f.per_group THEN n."group" ELSE '' END
            ), 0)) FROM {schema}.flow_limit f
            WHERE (f.queue = n.queue OR f.queue IS NULL) AND (f.kind = n.kind OR f.kind IS NULL)
              AND (f."group" = n."group" OR f."group" IS NULL)
              AND (f.concurrency IS NOT NULL OR f.rate IS NOT NULL)
        ), '{{}}') AS places
        FROM unnest(p_lanes, p_floors, p_floor_ids, p_rooms)
            WITH ORDINALITY AS u (lane, floor, floor_id, room, place)
        JOIN {schema}.lane n ON n.id = u.lane
        WHERE u.lane = ANY (v_due)
          AND NOT EXISTS (SELECT FROM {schema}.paused_queue p WHERE p.name = n.queue)
        ORDER BY u.place
    LOOP
        v_room := least(v_lane.room, v_left);
        v_opens_at := NULL;
        o_expired := false;
        FOREACH v_place IN ARRAY v_lane.places LOOP
            IF v_place = 0 THEN -- another who claims has it, and goes on at once
                o_expired := true;
                v_opens_at := greatest(v_opens_at, {schema}.clock() + interval '20 ms');
            ELSIF v_rooms[v_place] <= 0 THEN
                v_opens_at := greatest(v_opens_at, coalesce(
                    v_opens[v_place], {schema}.clock() + interval '500 ms'));
            ELSE
                v_room := least(v_room, v_rooms[v_place]);
            END IF;
        END LOOP;
        IF v_opens_at IS NOT NULL THEN
            o_lane := v_lane.lane;
            o_process_at := v_opens_at;
            RETURN NEXT;
            CONTINUE;
        END IF;
        v_these := ARRAY(
            SELECT l.id FROM {schema}.live l
            WHERE l.lane = v_lane.lane AND l.worker_id IS NULL AND l.excused <= p_excused_max
              AND (l.process_at, l.id) >= (v_lane.floor, v_lane.floor_id)
              AND l.process_at <= {schema}.clock()
            ORDER BY l.process_at, l.id LIMIT v_room FOR UPDATE SKIP LOCKED
        );
        FOREACH v_place IN ARRAY v_lane.places LOOP
            v_rooms[v_place] := v_rooms[v_place] - cardinality(v_these);
        END LOOP;
        v_ids := v_ids || v_these;
        v_left := v_left - cardinality(v_these);
        EXIT WHEN v_left <= 0;
    END LOOP;
    IF v_ids = '{{}}' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    ELSE
        RETURN QUERY SELECT * FROM {schema}.lease_limited_1(v_ids, p_worker);
    END IF;
END $$;

-- As claim_5. Where there are limits, what they let through.
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

-- As look_2, and of which group each lane is, how much that gets beside others, and until when limits
-- keep it closed.
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

-- As claim_suspects_1, and of which group each is. Where there are limits, what they let through.
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
