-- Schedules are fired in sets: see ScheduleRepository.

-- Pause those of the given schedules, which are due, whose last tasks failed: p_most of each, leaving out
-- those that have not ended or were cancelled, and those that were stored before the rule held. What was
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
            SELECT count(*) FILTER (WHERE e.status = 3) = g.most AS fails FROM (
                SELECT f.status FROM {schema}.schedule_fire e
                CROSS JOIN LATERAL (
                    SELECT f.status FROM {schema}.finished f WHERE f.id = e.task_id OFFSET 0
                ) AS f
                WHERE e.schedule = g.name AND e.outcome = 'stored' AND f.status IN (2, 3)
                  AND e.recorded_at >= g.ruled_at
                ORDER BY e.at DESC, e.id DESC LIMIT g.most
            ) AS e
        ) AS last
        CROSS JOIN LATERAL (
            SELECT s.queue FROM {schema}.schedule s
            WHERE s.name = g.name AND s.next_fire_at = g.next_fire_at AND s.ruled_at = g.ruled_at
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ) AS s
        WHERE last.fails
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
