-- Functions mean the same whoever calls them, and wherever his names lead: a path of their own, with
-- temporary tables last. What they use of this schema they name in full.
DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_class c ON c.relnamespace = p.pronamespace
        WHERE c.oid = {token}::regclass AND p.proname NOT IN ('clock', 'new_token_1')
          AND NOT EXISTS (
            SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search\_path=%'
        )
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', v_function);
    END LOOP;
END $do$;

-- Those two become a part of the statements that call them, which a setting of their own would prevent.
CREATE OR REPLACE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT pg_catalog.statement_timestamp()';
