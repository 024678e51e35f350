-- The tables, with their reasons. The functions that work on them come after, by trade.
--
-- A task is three narrow facts instead of one wide row that every step rewrites:
--   task      the body, written once;
--   live      the hot row of a task that has not ended: claimed, fenced, deleted;
--   finished  the outcome, written once.
-- A task has a row in exactly one of live and finished.

-- The store's time, and nothing else, decides what is due. Tests replace this function. It becomes a
-- part of the statements that call it, which a search path of its own would prevent.
CREATE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT pg_catalog.statement_timestamp()';

-- Every kind that was ever registered, and the attempts that it grants.
CREATE TABLE {schema}.kind (
    name text COLLATE "C" PRIMARY KEY,
    max_attempts smallint NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT {schema}.clock()
);

-- A lane is what is claimed in order: one queue, one kind, one priority, one group. Rows carry its
-- number instead of four columns. Tasks without a group have the empty one.
--
-- A lane in which no task is left goes, some time after it was last asked for. First it is retired: then
-- whoever stores a task into it is refused, and asks for it again. Once all who may have stored before
-- that have ended, it is looked at a last time (adapters/postgres/lane_removal.py).
CREATE TABLE {schema}.lane (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    retired_by bigint, -- the transaction that retired it; NULL: it stands
    asked_for_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    "group" text COLLATE "C" NOT NULL DEFAULT '',
    CONSTRAINT lane_name UNIQUE (queue, kind, priority, "group")
);
CREATE INDEX lane_kind ON {schema}.lane (kind);
CREATE INDEX lane_group ON {schema}.lane ("group") WHERE "group" <> '';

-- Bodies, outcomes, histories and notes are partitioned by the day in their id (a UUID v7 begins with
-- its time), so that a day is dropped as four tables and a look-up by id opens one. Ids of other
-- versions, or of days for which nothing was prepared, go to the default partitions.
CREATE TABLE {schema}.task (
    id uuid NOT NULL PRIMARY KEY,
    execute_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    max_attempts smallint,
    timeout interval,
    unique_key text,
    expires_at timestamptz,
    payload json NOT NULL,
    -- Where in a trace the task was asked for, as W3C Trace Context says; NULL unless tracing is on.
    traceparent text,
    tracestate text
) PARTITION BY RANGE (id);
CREATE TABLE {schema}.task_default PARTITION OF {schema}.task DEFAULT;

-- Every claim draws a new token for every row: see new_token_1.
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
-- Suspects are tasks that had begun when several workers went down. Two crashes make a suspect
-- (domain/lease.py). Where nobody is suspect this index is empty.
CREATE INDEX live_suspect ON {schema}.live (lane, process_at, id)
    WHERE worker_id IS NULL AND excused >= 2;

-- The lease under which an attempt is known to have begun. Written only of tasks that were excused
-- before; of all others a crash takes for granted that they had begun. A table of its own: one more
-- column would make every hot row wider.
CREATE TABLE {schema}.begun (
    id uuid PRIMARY KEY,
    token bigint NOT NULL
);

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

-- What is kept of a task beside its body and its outcome, by one table: its result, its progress, what
-- its steps came to, the signals that came for it, and the one that it waits for. Only tasks that have
-- something to keep have rows here. A row goes with the day, or with the task.
CREATE TABLE {schema}.note (
    id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL, -- 'result', 'progress', 'step', 'signal' or 'wait'
    name text COLLATE "C" NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (id, kind, name)
) PARTITION BY RANGE (id);
CREATE TABLE {schema}.note_default PARTITION OF {schema}.note DEFAULT;

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
    kinds text[] NOT NULL,
    host text, -- NULL: it was given a name of its own
    pid integer,
    place text, -- where it joined: see the table of that name
    buried_at timestamptz, -- since when it is taken for dead; its row stays while somebody holds it
    -- How many threads of the worker still run attempts that have ended without them.
    abandoned integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Leases taken from living workers, until those have had time to hear of it.
CREATE TABLE {schema}.cancellation (
    worker_id bigint NOT NULL,
    id uuid NOT NULL,
    token bigint NOT NULL,
    cancelled_at timestamptz NOT NULL,
    PRIMARY KEY (worker_id, token)
);

-- Where the schema is: which server, which database, which table. A dump brings the rows elsewhere,
-- and the workers that they speak of are not there.
CREATE TABLE {schema}.place (name text NOT NULL);

-- The queues from which nothing is claimed.
CREATE TABLE {schema}.paused_queue (
    name text COLLATE "C" PRIMARY KEY,
    paused_at timestamptz NOT NULL
);

-- What is stored again and again. What a rule means is reckoned by the program, which writes the next
-- time into next_fire_at; revision lets one of many who reckon it at once go ahead.
--
-- ruled_at     since when the rule holds: a change of the rule makes no fire of times before
-- taken_until  whoever takes a schedule has so long to fire it; then others are given it
-- zone_data    the version of the time zones that next_fire_at was reckoned by
-- problem      why it could not be fired
-- pause_reason why it was paused, where nobody did it by hand
-- options      what few schedules ask for, as JSON; null where nothing is asked for
-- max_fires    the schedule ends with so many tasks
-- fire_count   so many tasks it has stored by itself
CREATE TABLE {schema}.schedule (
    name text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    kind text NOT NULL,
    cron text,
    every interval,
    time_zone text NOT NULL,
    payload json NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    max_attempts smallint,
    timeout interval,
    starts_at timestamptz,
    ends_at timestamptz,
    catch_up text NOT NULL,
    overlap text NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    paused_at timestamptz,
    next_fire_at timestamptz,
    last_fire_at timestamptz,
    last_task_id uuid,
    ruled_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    taken_until timestamptz,
    zone_data text COLLATE "C",
    problem text,
    pause_reason text,
    options json,
    max_fires bigint,
    fire_count bigint NOT NULL DEFAULT 0,
    CHECK (cron IS NULL OR every IS NULL)
) WITH (
    fillfactor = 70 -- it is taken at each fire: that changes no index, and may stay on its page
);
CREATE INDEX schedule_next ON {schema}.schedule (next_fire_at, name) WHERE next_fire_at IS NOT NULL;

-- One row: since when somebody looks at schedules without an outage, and when last.
CREATE TABLE {schema}.schedule_watch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL,
    looked_at timestamptz NOT NULL
);

-- Fires that wait until the task of the one before has ended. There are few, and mostly none.
CREATE TABLE {schema}.schedule_buffered (
    schedule text COLLATE "C" NOT NULL REFERENCES {schema}.schedule ON DELETE CASCADE,
    at timestamptz NOT NULL,
    PRIMARY KEY (schedule, at)
);

-- One row for each fire, once it is known what became of it. The ledger outlives its schedule.
CREATE TABLE {schema}.schedule_fire (
    schedule text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    recorded_at timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    outcome text NOT NULL,
    reason text,
    task_id uuid,
    late interval,
    PRIMARY KEY (schedule, at, id)
);
-- By it what is over age is found.
CREATE INDEX schedule_fire_recorded ON {schema}.schedule_fire (recorded_at);

-- The keys that open the REST service. Of a secret only its digest is here.
--
-- queues_max to schedules_max are the most that the queues which a key reaches may hold; NULL: as much
-- as there is room for.
CREATE TABLE {schema}.api_key (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    queue_prefix text COLLATE "C",
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    queues_max bigint,
    waiting_max bigint,
    waiting_bytes_max bigint,
    schedules_max bigint
);

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
-- What was done to one queue or one key: among a thousand times as many tasks.
CREATE INDEX audit_target ON {schema}.audit (target, id) WHERE target IS NOT NULL;

-- Limits on the tasks of a queue, a kind, a group; NULL stands for all of them. With per_group each
-- group has one of its own.
--
-- counted   whether the leases that were there when it was made are in flow_lease, too
CREATE TABLE {schema}.flow_limit (
    name text COLLATE "C" PRIMARY KEY,
    id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    revision bigint NOT NULL,
    queue text COLLATE "C",
    kind text COLLATE "C",
    "group" text COLLATE "C",
    per_group boolean NOT NULL,
    concurrency integer CHECK (concurrency > 0),
    rate integer CHECK (rate > 0),
    period_s integer,
    burst integer CHECK (burst > 0),
    burst_given boolean NOT NULL,
    weight smallint CHECK (weight BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    counted boolean NOT NULL,
    CHECK ((rate IS NULL) = (period_s IS NULL) AND (rate IS NULL) = (burst IS NULL))
);

-- Whoever leases tasks under a limit locks its gate first, so there is one at a time. With per_group
-- there is a gate for each group, made when it is first asked for; else there is one, whose key is
-- empty. free_at is when all that its rate grants is granted again (GCRA's theoretical arrival time).
CREATE TABLE {schema}.flow_gate (
    limit_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    free_at timestamptz,
    PRIMARY KEY (limit_id, key)
) WITH (fillfactor = 50);

-- The leases under limits of concurrency. A row counts as long as the hot row has its token, so none of
-- those who end leases need know of it, and a lease can neither be lost nor be given back twice.
-- Rows that count no more are removed by the next who has the gate.
CREATE TABLE {schema}.flow_lease (
    limit_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    token bigint NOT NULL,
    PRIMARY KEY (limit_id, key, number)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
