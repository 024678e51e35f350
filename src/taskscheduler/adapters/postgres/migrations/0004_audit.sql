-- Who did what. Written with the change itself, and never changed afterwards.
CREATE TABLE {schema}.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    actor text NOT NULL,
    key_id text,
    address text,
    request_id text,
    task uuid,
    target text
);
CREATE INDEX audit_task ON {schema}.audit (task, id) WHERE task IS NOT NULL;
CREATE INDEX audit_actor ON {schema}.audit (actor, id);
CREATE INDEX audit_key ON {schema}.audit (key_id, id) WHERE key_id IS NOT NULL;
