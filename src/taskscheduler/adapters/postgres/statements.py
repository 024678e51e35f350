"""Every statement that the repository sends, by name. Values are parameters, always.

Those whose plan matters are functions of the schema (``migrations/0002_functions.sql``).
"""

from __future__ import annotations

from typing import Final

PUT_BODIES: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::json[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
)"""
PUT_LIVE: Final = """
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), lane FROM given
WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""
PUT: Final = PUT_BODIES + PUT_LIVE
PUT_TOLD: Final = (
    PUT_BODIES  # noqa: S608 - constants only
    + """, told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL AND (id IN (SELECT id FROM body)) IS TRUE
)"""
    + PUT_LIVE
)

# What a repeated call finds here may have been committed by this server alone, its wait for a
# synchronous standby cut short: visible, and lost at a failover. A commit that writes waits for a
# standby which has all that went before it.
AWAIT_STANDBY: Final = "SELECT pg_logical_emit_message(true, 'taskscheduler', '')"

STORED: Final = "SELECT id FROM {schema}.task WHERE id = ANY(%(ids)s::uuid[])"

# A key whose time is up is taken over; one that lives keeps its holder.
TAKE_KEYS: Final = """
INSERT INTO {schema}.unique_key AS held (kind, key, id, expires_at)
SELECT kind, key, id, {schema}.clock() + %(unique_for)s
FROM unnest(%(kinds)s::text[], %(keys)s::text[], %(ids)s::uuid[]) AS g (kind, key, id)
ON CONFLICT (kind, key) DO UPDATE SET id = excluded.id, expires_at = excluded.expires_at
WHERE held.expires_at <= {schema}.clock()"""

# Of two at once the second waits here for the first, and then finds its answer.
TAKE_REQUEST: Final = """
INSERT INTO {schema}.idempotency_key AS held (key, fingerprint, ids, expires_at)
VALUES (%(key)s, %(fingerprint)s, %(ids)s, {schema}.clock() + %(unique_for)s)
ON CONFLICT (key) DO UPDATE
SET fingerprint = excluded.fingerprint, ids = excluded.ids, expires_at = excluded.expires_at
WHERE held.expires_at <= {schema}.clock()
RETURNING true"""

ANSWERED: Final = "SELECT fingerprint, ids FROM {schema}.idempotency_key WHERE key = %(key)s"

ANSWER_REQUEST: Final = "UPDATE {schema}.idempotency_key SET ids = %(ids)s WHERE key = %(key)s"

HOLDERS: Final = """
SELECT held.kind, held.key, held.id
FROM unnest(%(kinds)s::text[], %(keys)s::text[]) AS g (kind, key)
JOIN {schema}.unique_key held USING (kind, key)"""

TASK_COLUMNS: Final = """
    t.id, n.kind, n.queue, n.priority, t.payload::text, t.execute_at, l.process_at, t.created_at,
    l.status, l.attempt, t.max_attempts, t.timeout, t.unique_key, l.worker_id, l.token,
    l.started_at, l.finished_at, t.expires_at, l.excused"""

# 0 and 1 are Pending and InProgress, which follow from the row; finished keeps the rest.
LIVE: Final = """
    SELECT id, process_at, started_at, NULL::timestamptz AS finished_at, token, worker_id, lane,
           attempt, excused, (worker_id IS NOT NULL)::integer AS status
    FROM {schema}.live"""

FINISHED: Final = """
    SELECT id, process_at, started_at, finished_at, NULL::bigint AS token,
           NULL::bigint AS worker_id, lane, attempt, excused, status
    FROM {schema}.finished"""

GET: Final = (
    "SELECT"
    + TASK_COLUMNS
    + " FROM ("
    + LIVE
    + " WHERE id = ANY(%(ids)s) UNION ALL"
    + FINISHED
    + " WHERE id = ANY(%(ids)s)) AS l"
    " JOIN {schema}.task t ON t.id = l.id AND t.id = ANY(%(ids)s)"
    " JOIN {schema}.lane n ON n.id = l.lane"
)

CLAIM: Final = """
SELECT * FROM {schema}.claim_3(%(lanes)s::integer[], %(floors)s::timestamptz[], %(limit)s::bigint,
                               %(worker_id)s::bigint, %(epoch)s::integer)"""

NEXT_DUE: Final = """
SELECT {schema}.next_due_2(%(lanes)s::integer[], %(floors)s::timestamptz[])"""

COMPLETE: Final = "SELECT {schema}.complete_1(%(ids)s::uuid[], %(tokens)s::bigint[])"

EXPIRE: Final = "SELECT {schema}.expire_1(%(ids)s::uuid[], %(tokens)s::bigint[])"

SETTLE: Final = """
SELECT {schema}.settle_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(events)s::text[],
                         %(delays)s::interval[], %(types)s::text[], %(messages)s::text[],
                         %(tracebacks)s::text[])"""

# By event, too: a lease that others ended, by cancelling or rescuing, was not settled.
OUTCOMES: Final = """
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(events)s::text[])
        AS g (id, token, event)
)
SELECT f.id FROM {schema}.finished f JOIN asked USING (id, token)
WHERE f.id = ANY(%(ids)s::uuid[])
  AND (f.status = 2 AND asked.event = 'complete'
       OR f.status = 3 AND f.started_at IS NULL AND asked.event = 'expire')
UNION
SELECT a.id FROM {schema}.attempt a JOIN asked USING (id, token)
WHERE a.id = ANY(%(ids)s::uuid[]) AND a.outcome = asked.event"""

# Whoever claims for this worker holds its row in share: this waits for them, and those that come
# after it carry an epoch that is over.
NEXT_EPOCH: Final = """
UPDATE {schema}.worker SET epoch = epoch + 1
WHERE id = (SELECT id FROM {schema}.worker WHERE id = %(worker_id)s FOR UPDATE)
RETURNING epoch"""

RELEASE_UNKNOWN: Final = """
UPDATE {schema}.live
SET worker_id = NULL, token = NULL, started_at = NULL, attempt = attempt - 1,
    process_at = {schema}.clock()
WHERE worker_id = %(worker_id)s AND NOT (token = ANY (%(known)s::bigint[]))"""

CANCEL: Final = """
WITH gone AS (
    DELETE FROM {schema}.live WHERE id = %(id)s RETURNING *
), tried AS (
    INSERT INTO {schema}.attempt
        (id, token, number, started_at, finished_at, worker_id, outcome)
    SELECT id, token, attempt, started_at, {schema}.clock(), worker_id, 'cancel'
    FROM gone WHERE worker_id IS NOT NULL
), told AS (
    INSERT INTO {schema}.cancellation (worker_id, id, token, cancelled_at)
    SELECT worker_id, id, token, {schema}.clock() FROM gone WHERE worker_id IS NOT NULL
)
INSERT INTO {schema}.finished
    (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
SELECT id, process_at, started_at, {schema}.clock(), token, worker_id, lane, attempt, excused, 4
FROM gone
RETURNING worker_id IS NOT NULL"""

# A Cancelled task (4) waits for its own time, a Failed one for nothing; see ``Task.revive``. The
# body is read as it was before this statement, so a time that is given is taken from the values.
RETRY: Final = """
WITH gone AS (
    DELETE FROM {schema}.finished WHERE id = %(id)s AND status IN (3, 4)
    RETURNING id, lane, attempt, excused, status
), used AS (
    SELECT gone.*, t.execute_at,
           attempt - excused >= coalesce(t.max_attempts, k.max_attempts, %(granted)s) AS up
    FROM gone JOIN {schema}.task t ON t.id = gone.id AND t.id = %(id)s
    JOIN {schema}.lane n ON n.id = gone.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
), body AS (
    UPDATE {schema}.task t
    SET max_attempts = CASE WHEN up THEN used.attempt - used.excused + 1 ELSE t.max_attempts END,
        execute_at = CASE WHEN %(at)s::timestamptz IS NULL THEN t.execute_at
                          ELSE greatest(%(at)s::timestamptz, {schema}.clock()) END
    FROM used WHERE t.id = %(id)s AND (up OR %(at)s::timestamptz IS NOT NULL)
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused)
SELECT id, greatest(coalesce(%(at)s::timestamptz, CASE status WHEN 4 THEN execute_at END),
                    {schema}.clock()), lane, attempt, excused
FROM used
RETURNING true"""

RUN_NOW: Final = """
UPDATE {schema}.live SET process_at = least(process_at, {schema}.clock())
WHERE id = %(id)s AND worker_id IS NULL
RETURNING true"""

DELETE: Final = """
WITH gone AS (
    DELETE FROM {schema}.live WHERE id = %(id)s AND (worker_id IS NULL OR %(force)s) RETURNING *
), told AS (
    INSERT INTO {schema}.cancellation (worker_id, id, token, cancelled_at)
    SELECT worker_id, id, token, {schema}.clock() FROM gone WHERE worker_id IS NOT NULL
), ended AS (
    DELETE FROM {schema}.finished WHERE id = %(id)s RETURNING id
), known AS (
    SELECT id, worker_id IS NOT NULL AS leased FROM gone UNION ALL SELECT id, false FROM ended
), tried AS (
    DELETE FROM {schema}.attempt WHERE id = %(id)s AND EXISTS (SELECT FROM known)
), body AS (
    DELETE FROM {schema}.task WHERE id = %(id)s AND EXISTS (SELECT FROM known)
), key AS (
    DELETE FROM {schema}.unique_key WHERE id = %(id)s AND EXISTS (SELECT FROM known)
        AND (kind, key) IN (
            SELECT n.kind, t.unique_key FROM {schema}.task t, {schema}.lane n WHERE t.id = %(id)s
        )
)
SELECT leased FROM known"""

# The newest first, as many as are asked for.
ATTEMPTS: Final = """
SELECT * FROM (
    SELECT number, started_at, finished_at, outcome, worker_id, error_type, error_message,
           error_traceback
    FROM {schema}.attempt WHERE id = %(id)s
    UNION ALL
    SELECT attempt, started_at, finished_at, 'complete', worker_id, NULL, NULL, NULL
    FROM {schema}.finished WHERE id = %(id)s AND status = 2
    UNION ALL
    SELECT attempt, started_at, NULL, NULL, worker_id, NULL, NULL, NULL
    FROM {schema}.live WHERE id = %(id)s AND worker_id IS NOT NULL
) AS a (number, started_at, finished_at, outcome, worker_id, error_type, message, traceback)
WHERE number < %(before)s::integer OR %(before)s::integer IS NULL
ORDER BY number DESC LIMIT %(limit)s::bigint"""

JOIN: Final = """
INSERT INTO {schema}.worker
    (name, queues, kinds, concurrency, lease, host, pid, started_at, seen_at)
VALUES (%(name)s, %(queues)s, %(kinds)s, %(concurrency)s, %(lease)s, %(host)s, %(pid)s,
        {schema}.clock(), {schema}.clock())
RETURNING id"""

REGISTER_KINDS: Final = """
INSERT INTO {schema}.kind AS known (name, max_attempts)
SELECT * FROM unnest(%(names)s::text[], %(max_attempts)s::smallint[])
ON CONFLICT (name) DO UPDATE SET max_attempts = excluded.max_attempts
WHERE known.max_attempts <> excluded.max_attempts"""

KNOWN_KINDS: Final = "SELECT name FROM {schema}.kind"

BEAT: Final = """
UPDATE {schema}.worker SET beats = beats + 1, seen_at = {schema}.clock()
WHERE id = %(worker_id)s RETURNING id"""

# Told again with every beat of a whole lease, so that a lost answer loses none.
CANCELLATIONS: Final = """
WITH old AS (
    DELETE FROM {schema}.cancellation c USING {schema}.worker w
    WHERE w.id = c.worker_id AND c.worker_id = %(worker_id)s
      AND c.cancelled_at + w.lease < {schema}.clock()
)
SELECT id, token FROM {schema}.cancellation WHERE worker_id = %(worker_id)s"""

STRIKE_OUT: Final = "DELETE FROM {schema}.worker WHERE id = %(worker_id)s"

# A beat that lies in the future was made before the clock was set back, and proves nothing.
STRIKE_OUT_SILENT: Final = """
DELETE FROM {schema}.worker
WHERE id = %(worker_id)s AND beats = %(beats)s
  AND (seen_at + lease < {schema}.clock() OR seen_at > {schema}.clock() + interval '1 second')
RETURNING id"""

FORGET_CANCELLATIONS: Final = "DELETE FROM {schema}.cancellation WHERE worker_id = %(worker_id)s"

SIGHTINGS: Final = """
SELECT id, name, queues, kinds, concurrency, started_at, seen_at, lease, beats,
       seen_at + lease < {schema}.clock() OR seen_at > {schema}.clock() + interval '1 second',
       host, pid
FROM {schema}.worker ORDER BY id"""

RESCUE: Final = """
WITH held AS MATERIALIZED (
    SELECT l.*, a.alone, a.alone AND l.attempt - l.excused
           >= coalesce(t.max_attempts, k.max_attempts, %(granted)s) AS used_up
    FROM (
        SELECT count(*) = 1 AS alone FROM {schema}.live WHERE worker_id = %(worker_id)s
    ) AS a CROSS JOIN {schema}.live l JOIN {schema}.task t ON t.id = l.id
    JOIN {schema}.lane n ON n.id = l.lane LEFT JOIN {schema}.kind k ON k.name = n.kind
    WHERE l.worker_id = %(worker_id)s
    FOR UPDATE OF l
), back AS (
    UPDATE {schema}.live SET worker_id = NULL, token = NULL, started_at = NULL,
        process_at = {schema}.clock(),
        excused = excused + CASE WHEN (SELECT alone FROM held LIMIT 1) THEN 0 ELSE 1 END
    WHERE id IN (SELECT id FROM held WHERE NOT used_up)
), gone AS (
    DELETE FROM {schema}.live WHERE id IN (SELECT id FROM held WHERE used_up)
), ended AS (
    INSERT INTO {schema}.finished
        (id, process_at, started_at, finished_at, token, worker_id, lane, attempt, excused, status)
    SELECT id, process_at, started_at, {schema}.clock(), token, worker_id, lane, attempt, excused,
           3
    FROM held WHERE used_up
), told AS (
    INSERT INTO {schema}.attempt
        (id, token, number, started_at, finished_at, worker_id, outcome, error_type, error_message)
    SELECT id, token, attempt, started_at, {schema}.clock(), worker_id,
           CASE WHEN used_up THEN 'fail' ELSE 'rescue' END, %(error_type)s, %(error_message)s
    FROM held
)
SELECT id FROM held"""

DROP_EXPIRED_REQUESTS: Final = """
DELETE FROM {schema}.idempotency_key WHERE key IN (
    SELECT key FROM {schema}.idempotency_key WHERE expires_at <= {schema}.clock()
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)"""

DROP_EXPIRED_KEYS: Final = """
DELETE FROM {schema}.unique_key WHERE (kind, key) IN (
    SELECT kind, key FROM {schema}.unique_key WHERE expires_at <= {schema}.clock()
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)"""
