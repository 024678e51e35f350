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

-- As before, but for the groups.
CREATE OR REPLACE FUNCTION {schema}.fire_2(
    p_names text[], p_next timestamptz[], p_ruled timestamptz[], p_fired timestamptz[],
    p_following timestamptz[], p_zone_data text[],
    p_of bigint[], p_ids uuid[], p_at timestamptz[], p_due timestamptz[], p_keys text[],
    p_told bigint[], p_told_at timestamptz[], p_outcomes text[], p_reasons text[],
    p_unique_for interval
) RETURNS TABLE (o_place bigint, o_ids uuid[], o_fresh bigint, o_overlaps boolean)
LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' SET enable_seqscan = off SET jit = off
    -- It knows how many there are, and joins them by hash.
    SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    INSERT INTO {schema}.lane (queue, kind, priority, "group")
    SELECT DISTINCT s.queue, s.kind COLLATE "C", s.priority, coalesce(s.options ->> 'group', '') COLLATE "C"
    FROM {schema}.schedule s
    WHERE s.name = ANY (p_names) AND NOT EXISTS (
        SELECT FROM {schema}.lane n
        WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
          AND n."group" = coalesce(s.options ->> 'group', '') COLLATE "C"
    )
    ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING;

    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT g.place, g.name, g.fired_at, g.following, g.zone_data, s.*
        FROM unnest(p_names, p_next, p_ruled, p_fired, p_following, p_zone_data)
            WITH ORDINALITY AS g (name, next_fire_at, ruled_at, fired_at, following, zone_data, place)
        CROSS JOIN LATERAL (
            SELECT s.kind, s.queue, s.max_attempts, s.timeout, s.payload, s.last_task_id,
                s.overlap = 'skip' AND EXISTS (
                    SELECT FROM {schema}.live l WHERE l.id = s.last_task_id
                ) AS overlaps, (
                SELECT n.id FROM {schema}.lane n
                WHERE n.queue = s.queue AND n.kind = s.kind COLLATE "C" AND n.priority = s.priority
                  AND n."group" = coalesce(s.options ->> 'group', '') COLLATE "C"
            ) AS lane
            FROM {schema}.schedule s
            WHERE s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ) AS s
    ), wanted AS MATERIALIZED (
        SELECT f.id, f.at, f.due, f.key, h.*
        FROM unnest(p_of, p_ids, p_at, p_due, p_keys) AS f (place, id, at, due, key)
        JOIN held h ON h.place = f.place AND NOT h.overlaps
    ), fresh AS (
        INSERT INTO {schema}.unique_key AS k (kind, key, id, expires_at)
        SELECT w.kind, w.key, w.id, {schema}.clock() + p_unique_for FROM wanted w
        ORDER BY w.kind COLLATE "C", w.key COLLATE "C"
        ON CONFLICT (kind, key) DO UPDATE SET id = excluded.id, expires_at = excluded.expires_at
        WHERE k.expires_at <= {schema}.clock()
        RETURNING k.id
    ), body AS (
        INSERT INTO {schema}.task
            (id, execute_at, created_at, max_attempts, timeout, unique_key, payload)
        SELECT w.id, w.due, {schema}.clock(), w.max_attempts, w.timeout, w.key, w.payload
        FROM wanted w WHERE (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE
    ), hot AS (
        INSERT INTO {schema}.live (id, process_at, lane)
        SELECT w.id, greatest(w.due, {schema}.clock()), w.lane
        FROM wanted w WHERE (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE
    ), kept AS MATERIALIZED (
        SELECT w.place, w.name, w.queue, w.at, w.is_fresh,
               CASE WHEN w.is_fresh THEN w.id ELSE (
                   SELECT k.id FROM {schema}.unique_key k
                   WHERE k.kind = w.kind COLLATE "C" AND k.key = w.key COLLATE "C"
               ) END AS id
        FROM (
            SELECT *, (w.id IN (SELECT fresh.id FROM fresh)) IS TRUE AS is_fresh FROM wanted w
        ) AS w
    ), told AS MATERIALIZED (
        SELECT k.place, count(*) FILTER (WHERE k.is_fresh) AS fresh, array_agg(k.id ORDER BY k.at) AS ids
        FROM kept k GROUP BY k.place
    ), noted AS (
        INSERT INTO {schema}.schedule_fire
            (schedule, at, recorded_at, queue, outcome, reason, task_id, late)
        SELECT k.name, k.at, {schema}.clock(), k.queue, 'stored',
               CASE WHEN NOT k.is_fresh THEN 'its task was there already' END, k.id,
               greatest({schema}.clock() - k.at, '0 s')
        FROM kept k
        UNION ALL
        SELECT h.name, f.at, {schema}.clock(), h.queue, 'skipped',
               'the task of the last fire had not ended: ' || h.last_task_id, NULL, NULL
        FROM unnest(p_of, p_at) AS f (place, at) JOIN held h ON h.place = f.place AND h.overlaps
        UNION ALL
        SELECT h.name, f.at, {schema}.clock(), h.queue, f.outcome, f.reason, NULL, NULL
        FROM unnest(p_told, p_told_at, p_outcomes, p_reasons) AS f (place, at, outcome, reason)
        JOIN held h ON h.place = f.place
    ), gone_on AS (
        UPDATE {schema}.schedule s
        SET revision = s.revision + 1, last_fire_at = h.fired_at,
            fire_count = s.fire_count + coalesce(cardinality(t.ids), 0),
            next_fire_at = CASE
                WHEN s.fire_count + coalesce(cardinality(t.ids), 0) >= s.max_fires THEN NULL
                ELSE h.following END,
            last_task_id = coalesce(t.ids[cardinality(t.ids)], s.last_task_id),
            zone_data = h.zone_data, taken_until = NULL, problem = NULL
        FROM held h LEFT JOIN told t ON t.place = h.place
        WHERE s.name = h.name
    )
    SELECT h.place, coalesce(t.ids, ARRAY[]::uuid[]), coalesce(t.fresh, 0), h.overlaps
    FROM held h LEFT JOIN told t ON t.place = h.place;
END $$;

-- As look_2, and of which group each lane is.
CREATE FUNCTION {schema}.look_3(
    p_queues text[], p_kinds text[], p_lanes integer[], p_floors timestamptz[], p_floor_ids uuid[],
    p_few integer, p_steps integer, p_excused_max smallint
) RETURNS TABLE (
    o_lane integer, o_queue text, o_kind text, o_priority smallint, o_process_at timestamptz,
    o_id uuid, o_group text
) LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
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
            SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id, n."group"
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
    SELECT n.id, n.queue, n.kind, n.priority, head.process_at, head.id, n."group"
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

-- As claim_suspects_1, and of which group each is.
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
    SELECT b.*, n.queue, n.kind, n.priority, n."group"
    FROM gathered g CROSS JOIN LATERAL {schema}.leased_1(
        g.ids, g.tokens, g.lanes, g.attempts, g.process_at, g.excused
    ) AS b JOIN {schema}.lane n ON n.id = b.o_lane WHERE g.ids IS NOT NULL;
END $$;
