-- Schedules are fired in sets: see ScheduleRepository.

-- Whether the last p_most tasks of a schedule failed, leaving out those that have not ended or were
-- cancelled, and those that were stored before the rule held. It walks back some fires at a time, whose ids
-- are constants of the plan: it opens the days of those tasks alone.
CREATE FUNCTION {schema}.fails_1(p_schedule text, p_since timestamptz, p_most bigint)
RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
    SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_at timestamptz := 'infinity';
    v_id bigint := 0;
    v_ids uuid[];
    v_failed bigint := 0;
    v_ended record;
BEGIN
    LOOP
        SELECT array_agg(e.task_id ORDER BY e.at DESC, e.id DESC), min(e.at), (array_agg(e.id ORDER BY e.at, e.id))[1]
        INTO v_ids, v_at, v_id
        FROM (
            SELECT e.at, e.id, e.task_id FROM {schema}.schedule_fire e
            WHERE e.schedule = p_schedule AND (e.at, e.id) < (v_at, v_id)
              AND e.outcome = 'stored' AND e.recorded_at >= p_since
            ORDER BY e.at DESC, e.id DESC LIMIT 20
        ) AS e;
        IF v_ids IS NULL THEN
            RETURN false;
        END IF;
        FOR v_ended IN
            SELECT f.status FROM {schema}.finished f
            WHERE f.id = ANY (v_ids) AND f.status IN (2, 3)
            ORDER BY array_position(v_ids, f.id)
        LOOP
            IF v_ended.status = 2 THEN
                RETURN false;
            END IF;
            v_failed := v_failed + 1;
            IF v_failed = p_most THEN
                RETURN true;
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- Pause those of the given schedules, which are due, whose last tasks failed: p_most of each. What was
-- due is written down as skipped.
CREATE FUNCTION {schema}.pause_failing_1(
    p_names text[], p_next timestamptz[], p_ruled timestamptz[], p_most bigint[]
) RETURNS SETOF text LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
    SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    RETURN QUERY
    WITH failing AS MATERIALIZED (
        SELECT g.name, g.next_fire_at, g.ruled_at, s.queue,
               format('the last %s failed', CASE g.most WHEN 1 THEN 'task'
                                            ELSE g.most || ' tasks' END) AS reason
        FROM unnest(p_names, p_next, p_ruled, p_most) AS g (name, next_fire_at, ruled_at, most)
        CROSS JOIN LATERAL (
            SELECT s.queue FROM {schema}.schedule s
            WHERE s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ) AS s
        WHERE {schema}.fails_1(g.name, g.ruled_at, g.most)
    ), noted AS (
        INSERT INTO {schema}.schedule_fire (schedule, at, recorded_at, queue, outcome, reason)
        SELECT f.name, f.next_fire_at, {schema}.clock(), f.queue, 'skipped',
               'the schedule was paused: ' || f.reason
        FROM failing f
    )
    UPDATE {schema}.schedule s
    SET revision = s.revision + 1, changed_at = {schema}.clock(), paused_at = {schema}.clock(),
        next_fire_at = NULL, taken_until = NULL, pause_reason = f.reason
    FROM failing f WHERE s.name = f.name
    RETURNING s.name;
END $$;
