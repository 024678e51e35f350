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
