-- A task whose time was up before an attempt could begin ends without one.

-- End leases that still hold because their tasks have expired; return the ids of the tasks. The
-- attempt that was drawn for the lease is given back. The token stays, as the witness of who did it.
CREATE FUNCTION {schema}.expire_1(p_ids uuid[], p_tokens bigint[])
RETURNS SETOF uuid LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH gone AS (
        DELETE FROM {schema}.live l WHERE l.id = ANY (p_ids)
        AND ((l.id, l.token) IN (SELECT * FROM unnest(p_ids, p_tokens))) IS TRUE
        RETURNING l.*
    )
    INSERT INTO {schema}.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused,
         status)
    SELECT g.id, g.process_at, NULL, {schema}.clock(), g.token, g.worker_id, g.lane,
           g.attempt - 1, g.excused, 3
    FROM gone g RETURNING {schema}.finished.id;
END $$;
