-- The keys that open the REST service. Of a secret only its digest is here.
CREATE TABLE {schema}.api_key (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    queue_prefix text COLLATE "C",
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
