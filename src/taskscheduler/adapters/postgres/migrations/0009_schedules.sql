-- What fires again and again. What a cron expression means is reckoned by the program, which writes
-- the next time into next_fire_at; revision lets one of many who reckon it at once go ahead.
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
    CHECK ((cron IS NULL) <> (every IS NULL))
);
CREATE INDEX schedule_next ON {schema}.schedule (next_fire_at, name) WHERE next_fire_at IS NOT NULL;
