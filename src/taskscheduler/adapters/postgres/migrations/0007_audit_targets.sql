-- What was done to one queue or one key: among a thousand times as many tasks.
CREATE INDEX audit_target ON {schema}.audit (target, id) WHERE target IS NOT NULL;
