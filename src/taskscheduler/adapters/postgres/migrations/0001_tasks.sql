-- Tasks, workers, and the lanes between them.
--
-- A task is three narrow facts instead of one wide row that every step rewrites:
--   task      the body, written once;
--   live      the hot row of a task that has not ended: claimed, fenced, deleted;
--   finished  the outcome, written once.
-- A task has a row in exactly one of live and finished.

-- The store's time, and nothing else, decides what is due. Tests replace this function.
CREATE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT statement_timestamp()';

CREATE TABLE {schema}.kind (
    name text COLLATE "C" PRIMARY KEY,
    max_attempts smallint NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT {schema}.clock()
);

-- A lane is what is claimed in order: one queue, one kind, one priority. Rows carry its number
-- instead of three columns.
CREATE TABLE {schema}.lane (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    UNIQUE (queue, kind, priority)
);

-- Bodies, outcomes and histories are partitioned by the day in their id (a UUID v7 begins with its
-- time), so that a day is dropped as three tables and a look-up by id opens one. Ids of other
-- versions, or of days for which nothing was prepared, go to the default partitions.
CREATE TABLE {schema}.task (
    id uuid NOT NULL PRIMARY KEY,
    execute_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    max_attempts smallint,
    timeout interval,
    unique_key text,
    expires_at timestamptz,
    payload json NOT NULL
) PARTITION BY RANGE (id);
CREATE TABLE {schema}.task_default PARTITION OF {schema}.task DEFAULT;

-- Every claim draws a new token for every row: a token names one lease, for ever.
CREATE SEQUENCE {schema}.lease_token AS bigint;

CREATE TABLE {schema}.live (
    id uuid NOT NULL PRIMARY KEY,
    process_at timestamptz NOT NULL,
    started_at timestamptz,
    token bigint,
    worker_id bigint, -- NULL: Pending
    lane integer NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    excused smallint NOT NULL DEFAULT 0 -- attempts that ended in a crash in company
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off -- truncating takes an exclusive lock
);
-- No index on worker_id: it would fill with dead entries at the rate of the claims, and only a
-- rescue would read it.
CREATE INDEX live_lane ON {schema}.live (lane, process_at, id) WHERE worker_id IS NULL;

CREATE TABLE {schema}.finished (
    id uuid NOT NULL PRIMARY KEY, -- so that no task can end twice
    process_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    token bigint,
    worker_id bigint,
    lane integer NOT NULL,
    attempt smallint NOT NULL,
    excused smallint NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 2 AND 4) -- 2 Completed, 3 Failed, 4 Cancelled
) PARTITION BY RANGE (id);
CREATE INDEX finished_status ON {schema}.finished (status, id);
CREATE INDEX finished_lane ON {schema}.finished (lane, status, id);
CREATE TABLE {schema}.finished_default PARTITION OF {schema}.finished DEFAULT;

-- The attempts that failed, were cancelled or were lost. A completed one is told by finished.
CREATE TABLE {schema}.attempt (
    id uuid NOT NULL,
    token bigint NOT NULL,
    number smallint NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    worker_id bigint,
    outcome text NOT NULL,
    error_type text,
    error_message text,
    error_traceback text,
    PRIMARY KEY (id, token)
) PARTITION BY RANGE (id);
CREATE TABLE {schema}.attempt_default PARTITION OF {schema}.attempt DEFAULT;

CREATE TABLE {schema}.unique_key (
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX unique_key_expiry ON {schema}.unique_key (expires_at);

-- Answers to requests that named themselves, so that a repeat gets the same answer.
CREATE TABLE {schema}.idempotency_key (
    key text COLLATE "C" PRIMARY KEY,
    fingerprint bytea NOT NULL,
    ids uuid[] NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX idempotency_key_expiry ON {schema}.idempotency_key (expires_at);

CREATE TABLE {schema}.worker (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    beats bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    lease interval NOT NULL,
    epoch integer NOT NULL DEFAULT 0, -- raised to void claims that are still on their way
    concurrency integer NOT NULL,
    name text NOT NULL,
    queues text[] NOT NULL,
    kinds text[] NOT NULL
) WITH (fillfactor = 50);

-- Leases taken from living workers, until those have had time to hear of it.
CREATE TABLE {schema}.cancellation (
    worker_id bigint NOT NULL,
    id uuid NOT NULL,
    token bigint NOT NULL,
    cancelled_at timestamptz NOT NULL,
    PRIMARY KEY (worker_id, token)
);
