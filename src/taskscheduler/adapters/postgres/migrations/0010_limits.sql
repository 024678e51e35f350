-- Limits: how many tasks run, how fast they begin, and whose turn it is.

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

-- As claim_6, but no more than p_rooms from each lane (NULL: as many as there is room for), and no more
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
