-- Tags: with the body, to be shown, and as a row each, to be found. A task without tags has neither.
ALTER TABLE {schema}.task ADD COLUMN tags text[];
-- By id, so that the newest tasks of a tag come first without sorting the others.
CREATE INDEX note_tag ON {schema}.note (name, id) WHERE kind = 'tag';

-- Write down the tags of tasks that this transaction has stored; of each they come as the text of an
-- array.
CREATE FUNCTION {schema}.tag_1(p_ids uuid[], p_tags text[]) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    -- A plan for any id opens, and locks, the bodies of all days.
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    UPDATE {schema}.task t SET tags = g.tags::text[]
    FROM unnest(p_ids, p_tags) AS g (id, tags)
    WHERE t.id = g.id AND t.id = ANY (p_ids);
    INSERT INTO {schema}.note (id, kind, name, at, value)
    SELECT g.id, 'tag', n.name, {schema}.clock(), 'null'
    FROM unnest(p_ids, p_tags) AS g (id, tags) CROSS JOIN LATERAL unnest(g.tags::text[]) AS n (name);
END $$;

-- The same for those of p_ids that a fire has stored itself, p_own being the ids that it brought.
CREATE FUNCTION {schema}.tag_fired_1(p_schedule text, p_ids uuid[], p_own uuid[])
RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.tag_1(array_agg(f.id), array_agg(s.tags))
    FROM unnest(p_ids) AS f (id), (
        SELECT ARRAY(SELECT json_array_elements_text(s.options -> 'tags'))::text AS tags
        FROM {schema}.schedule s
        WHERE s.name = p_schedule AND s.options -> 'tags' IS NOT NULL
    ) AS s
    WHERE f.id = ANY (p_own) HAVING count(*) > 0;
END $$;

-- As schedule_in_group_1, with tags; what comes back is the task that is there, and a task that was there keeps
-- its own.
CREATE FUNCTION {schema}.schedule_2(
    kind text, payload json, execute_at timestamptz, queue text, priority integer,
    max_attempts integer, timeout interval, unique_key text, expires_at timestamptz, id uuid,
    unique_for interval, tags text[], "group" text
) RETURNS uuid LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_own CONSTANT uuid := coalesce(schedule_2.id, {schema}.new_id_1());
    v_tags text[];
    v_was_there boolean;
    v_id uuid;
BEGIN
    IF cardinality(schedule_2.tags) > 10 THEN
        PERFORM {schema}.refuse_1('tags', 'must be at most 10 names');
    ELSIF EXISTS (
        SELECT FROM unnest(schedule_2.tags) AS g (tag)
        WHERE (g.tag ~ '^[A-Za-z0-9_.:-]{{1,128}}$') IS NOT TRUE
    ) THEN
        PERFORM {schema}.refuse_1('tags', 'must be 1 to 128 letters, digits, or _ . : -');
    END IF;
    v_tags := ARRAY(
        SELECT g.tag FROM unnest(schedule_2.tags) WITH ORDINALITY AS g (tag, place)
        GROUP BY g.tag ORDER BY min(g.place)
    );
    v_was_there := EXISTS (SELECT FROM {schema}.task t WHERE t.id = v_own);
    v_id := {schema}.schedule_in_group_1(
        schedule_2.kind, schedule_2.payload, schedule_2.execute_at, schedule_2.queue,
        schedule_2.priority, schedule_2.max_attempts, schedule_2.timeout, schedule_2.unique_key,
        schedule_2.expires_at, v_own, schedule_2.unique_for, schedule_2."group"
    );
    IF v_id = v_own AND NOT v_was_there AND cardinality(v_tags) > 0 THEN
        PERFORM {schema}.tag_1(ARRAY[v_id], ARRAY[v_tags::text]);
    END IF;
    RETURN v_id;
END $$;

DROP FUNCTION {schema}.schedule(
    text, json, timestamptz, text, integer, integer, interval, text, timestamptz, uuid, interval
);
CREATE FUNCTION {schema}.schedule(
    kind text, payload json DEFAULT 'null', execute_at timestamptz DEFAULT NULL,
    queue text DEFAULT 'default', priority integer DEFAULT 5, max_attempts integer DEFAULT NULL,
    timeout interval DEFAULT NULL, unique_key text DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, id uuid DEFAULT NULL,
    unique_for interval DEFAULT interval '1 day', tags text[] DEFAULT NULL,
    "group" text DEFAULT NULL
) RETURNS uuid LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN $12 IS NULL
       THEN {schema}.schedule_in_group_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13)
       ELSE {schema}.schedule_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) END
$$;
COMMENT ON FUNCTION {schema}.schedule IS
    'Store a task as a part of this transaction and return its id; workers hear of it at the commit.';

-- Which tasks of an answered request were answered for by earlier ones, by their places from 0 on.
ALTER TABLE {schema}.idempotency_key ADD COLUMN earlier integer[];

-- Let those who hold unique keys become what is asked for now, one after another, and return who
-- answers for each: a holder that is Pending is replaced; of any other the key is taken over, by a
-- task that is to be stored with p_ids. The keys are locked already, by whoever asked for them, and so
-- two who ask for one are never at it at once. The hot row is replaced, not updated: see edit.py.
CREATE FUNCTION {schema}.replace_held_1(
    p_ids uuid[], p_kinds text[], p_keys text[], p_lanes integer[], p_execute_at timestamptz[],
    p_max_delays interval[], p_max_attempts smallint[], p_timeouts interval[],
    p_expires_at timestamptz[], p_payloads text[], p_tags text[], p_unique_for interval
) RETURNS TABLE (o_id uuid, o_holder uuid) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    -- A plan for any id opens, and locks, the bodies of all days.
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    v_new record;
    v_hot record;
    v_at timestamptz;
    v_tagged boolean;
BEGIN
    FOR v_new IN
        SELECT g.*, k.id AS holder
        FROM unnest(p_ids, p_kinds, p_keys, p_lanes, p_execute_at, p_max_delays, p_max_attempts,
                    p_timeouts, p_expires_at, p_payloads, p_tags) WITH ORDINALITY
            AS g (id, kind, key, lane, execute_at, max_delay, max_attempts, timeout, expires_at,
                  payload, tags, place)
        JOIN {schema}.unique_key k
            ON k.kind = g.kind COLLATE "C" AND k.key = g.key COLLATE "C"
        ORDER BY k.id, g.place
    LOOP
        DELETE FROM {schema}.live l WHERE l.id = v_new.holder AND l.worker_id IS NULL
        RETURNING l.process_at, l.attempt, l.excused, l.followed INTO v_hot;
        IF FOUND THEN
            SELECT t.tags IS NOT NULL INTO v_tagged FROM {schema}.task t WHERE t.id = v_new.holder;
            UPDATE {schema}.task t
            SET execute_at = least(coalesce(v_new.execute_at, {schema}.clock()),
                                   t.created_at + v_new.max_delay),
                max_attempts = v_new.max_attempts, timeout = v_new.timeout,
                expires_at = v_new.expires_at, payload = v_new.payload::json, tags = NULL
            WHERE t.id = v_new.holder RETURNING t.execute_at INTO v_at;
            INSERT INTO {schema}.live (id, process_at, lane, attempt, excused, followed)
            VALUES (v_new.holder,
                    -- One that waits for others waits on.
                    CASE WHEN v_hot.process_at = {schema}.waiting_at_1() THEN v_hot.process_at
                         ELSE greatest(v_at, {schema}.clock()) END,
                    (SELECT n.id FROM {schema}.lane n
                     WHERE n.id = v_new.lane AND n.retired_by IS NULL FOR KEY SHARE),
                    v_hot.attempt, v_hot.excused, v_hot.followed);
            IF v_tagged THEN
                DELETE FROM {schema}.note n WHERE n.id = v_new.holder AND n.kind = 'tag';
            END IF;
            IF v_new.tags IS NOT NULL THEN
                PERFORM {schema}.tag_1(ARRAY[v_new.holder], ARRAY[v_new.tags]);
            END IF;
            o_holder := v_new.holder;
        ELSE
            o_holder := v_new.id;
        END IF;
        UPDATE {schema}.unique_key k
        SET id = o_holder, expires_at = {schema}.clock() + p_unique_for
        WHERE k.kind = v_new.kind COLLATE "C" AND k.key = v_new.key COLLATE "C";
        o_id := v_new.id;
        RETURN NEXT;
    END LOOP;
END $$;
