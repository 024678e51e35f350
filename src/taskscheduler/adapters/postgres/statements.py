"""Every statement that the repository sends, by name. Values are parameters, always.

Those whose plan matters are functions of the schema (``migrations/0002_claim.sql`` and the files
after it).
"""

from __future__ import annotations

from typing import Final

# Whether all lanes that are stored into stand. If not, NULL is inserted in place of a lane, and so
# the whole statement is refused. It is seen with a snapshot that is newer than the
# statement's lock on the hot table: whoever removes lanes relies on it (``lane_removal.py``).
STANDING: Final = """
(SELECT count(*) FROM {schema}.lane n
 WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL)
    = cardinality(%(used)s::integer[])"""
# Somebody else's transaction may have a snapshot that is older, so its lanes are locked as well.
STANDING_HELD: Final = """
(SELECT count(*) FROM (
    SELECT FROM {schema}.lane n
    WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL FOR KEY SHARE
 ) AS held) = cardinality(%(used)s::integer[])"""

PUT_BODIES: Final = """
WITH given AS MATERIALIZED (
    SELECT g.*, {schema}.clock() AS now
    FROM unnest(%(ids)s::uuid[], %(lanes)s::integer[], %(execute_at)s::timestamptz[],
                %(max_attempts)s::smallint[], %(timeouts)s::interval[], %(unique_keys)s::text[],
                %(expires_at)s::timestamptz[], %(payloads)s::text[]::json[])
        AS g (id, lane, execute_at, max_attempts, timeout, unique_key, expires_at, payload)
), body AS (
    INSERT INTO {schema}.task
        (id, execute_at, created_at, max_attempts, timeout, unique_key, expires_at, payload)
    SELECT id, coalesce(execute_at, now), now, max_attempts, timeout, unique_key, expires_at,
           payload
    FROM given ON CONFLICT (id) DO NOTHING RETURNING id
)"""
PUT_LIVE_BEGIN: Final = """
INSERT INTO {schema}.live (id, process_at, lane)
SELECT id, greatest(execute_at, now), CASE WHEN """
PUT_LIVE_END: Final = """ THEN lane END FROM given
WHERE (id IN (SELECT id FROM body)) IS TRUE
RETURNING id"""
PUT_LIVE: Final = PUT_LIVE_BEGIN + STANDING + PUT_LIVE_END
PUT_LIVE_HELD: Final = PUT_LIVE_BEGIN + STANDING_HELD + PUT_LIVE_END
PUT_TOLD_BODIES: Final = (
    PUT_BODIES  # noqa: S608 - constants only
    + """, told AS (
    INSERT INTO {schema}.audit (at, action, actor, key_id, address, request_id, task)
    SELECT {schema}.clock(), 'created', actor, key_id, address, request_id, id
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(actor_keys)s::text[],
                %(addresses)s::text[], %(request_ids)s::text[])
        AS g (id, actor, key_id, address, request_id)
    WHERE actor IS NOT NULL AND (id IN (SELECT id FROM body)) IS TRUE
)"""
)
PUT: Final = PUT_BODIES + PUT_LIVE
PUT_HELD: Final = PUT_BODIES + PUT_LIVE_HELD
PUT_TOLD: Final = PUT_TOLD_BODIES + PUT_LIVE
PUT_TOLD_HELD: Final = PUT_TOLD_BODIES + PUT_LIVE_HELD

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
    l.started_at, l.finished_at, t.expires_at, l.excused, t.tags,
    n."group"
"""

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
SELECT * FROM {schema}.claim_5(%(lanes)s::integer[], %(floors)s::timestamptz[],
                               %(floor_ids)s::uuid[], %(limit)s::bigint, %(worker_id)s::bigint,
                               %(epoch)s::integer, %(excused_max)s::smallint)"""

LOOK: Final = """
SELECT o_lane, o_queue, o_kind, o_priority, o_process_at, o_id, {schema}.clock(),
       o_group
FROM {schema}.look_3(%(queues)s::text[], %(kinds)s::text[], %(lanes)s::integer[],
                     %(floors)s::timestamptz[], %(floor_ids)s::uuid[], %(few)s::integer,
                     %(steps)s::integer, %(excused_max)s::smallint)"""

SUSPECTS: Final = """
SELECT * FROM {schema}.suspects_1(%(queues)s::text[], %(kinds)s::text[], %(limit)s::bigint)"""

CLAIM_SUSPECTS: Final = """
SELECT * FROM {schema}.claim_suspects_2(%(queues)s::text[], %(kinds)s::text[], %(limit)s::bigint,
                                        %(worker_id)s::bigint, %(epoch)s::integer,
                                        %(excused)s::smallint)"""

BEGIN: Final = """
INSERT INTO {schema}.begun
SELECT l.id, l.token FROM {schema}.live l WHERE l.id = %(id)s AND l.token = %(token)s
ON CONFLICT (id) DO UPDATE SET token = excluded.token RETURNING true"""

# A task that has ended, or was deleted, is suspect no more.
FORGET_BEGUN: Final = """
DELETE FROM {schema}.begun b
WHERE NOT EXISTS (SELECT FROM {schema}.live l WHERE l.id = b.id)"""

COMPLETE: Final = "SELECT {schema}.complete_1(%(ids)s::uuid[], %(tokens)s::bigint[])"

EXPIRE: Final = "SELECT {schema}.expire_1(%(ids)s::uuid[], %(tokens)s::bigint[])"

COMPLETE_WITH_RESULTS: Final = """
SELECT {schema}.complete_2(%(ids)s::uuid[], %(tokens)s::bigint[], %(results)s::text[])"""

WAIT: Final = """
SELECT {schema}.wait_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(names)s::text[],
                       %(delays)s::interval[])"""

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
    SET max_attempts = CASE WHEN up THEN least(used.attempt - used.excused, 32766) + 1
                            ELSE t.max_attempts END,
        execute_at = CASE WHEN %(at)s::timestamptz IS NULL THEN t.execute_at
                          ELSE greatest(%(at)s::timestamptz, {schema}.clock()) END
    FROM used WHERE t.id = %(id)s AND (up OR %(at)s::timestamptz IS NOT NULL)
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused)
SELECT id, greatest(coalesce(%(at)s::timestamptz, CASE status WHEN 4 THEN execute_at END),
                    {schema}.clock()), lane, least(attempt, 32766), excused
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
), noted AS (
    DELETE FROM {schema}.note WHERE id = %(id)s AND EXISTS (SELECT FROM known)
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
SELECT {schema}.join_1(%(name)s, %(queues)s::text[], %(kinds)s::text[],
                       %(max_attempts)s::smallint[], %(concurrency)s::integer,
                       %(lease)s::interval, %(host)s, %(pid)s::integer)"""

REGISTER_KINDS: Final = """
INSERT INTO {schema}.kind AS known (name, max_attempts)
SELECT * FROM unnest(%(names)s::text[], %(max_attempts)s::smallint[])
ON CONFLICT (name) DO UPDATE SET max_attempts = excluded.max_attempts
WHERE known.max_attempts <> excluded.max_attempts"""

KNOWN_KINDS: Final = "SELECT name FROM {schema}.kind"

# Not for one that was buried and is there only because something of it is locked, nor for one that
# came with a dump: what it holds was given out in another history.
BEAT: Final = """
UPDATE {schema}.worker SET beats = beats + 1, seen_at = {schema}.clock(), abandoned = %(abandoned)s
WHERE id = %(worker_id)s AND buried_at IS NULL
  AND (place IS NULL OR place = {schema}.place_1()) RETURNING id"""

# Told again with every beat of a whole lease, so that a lost answer loses none.
CANCELLATIONS: Final = """
WITH old AS (
    DELETE FROM {schema}.cancellation c USING {schema}.worker w
    WHERE w.id = c.worker_id AND c.worker_id = %(worker_id)s
      AND c.cancelled_at + w.lease < {schema}.clock()
)
SELECT id, token FROM {schema}.cancellation WHERE worker_id = %(worker_id)s"""

LEAVE: Final = "SELECT {schema}.leave_1(%(worker_id)s::bigint)"

# A beat that lies in the future was made before the clock was set back, and proves nothing.
WORKERS_SEEN: Final = """
SELECT id, name, queues, kinds, concurrency, started_at, seen_at, lease, beats,
       seen_at + lease < {schema}.clock() OR seen_at > {schema}.clock() + interval '1 second',
       host, pid, abandoned
FROM {schema}.worker ORDER BY id"""

BURY: Final = """
SELECT {schema}.bury_2(%(worker_id)s::bigint, %(beats)s::bigint, %(granted)s::smallint,
                       %(error_type)s, %(error_message)s)"""

# A worker's row and its leases go together, so there are none, unless something else than a worker
# had its hands in the tables: a claim above READ COMMITTED, which did not see that its worker had
# been struck out, or a table that was restored alone. Numbers of workers are not given twice.
RESCUE_ORPHANS: Final = """
SELECT {schema}.rescue_orphans_2(%(granted)s::smallint, %(error_type)s, %(error_message)s)"""

DROP_EXPIRED_REQUESTS: Final = """
DELETE FROM {schema}.idempotency_key WHERE key IN (
    SELECT key FROM {schema}.idempotency_key WHERE expires_at <= {schema}.clock()
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)"""

DROP_EXPIRED_KEYS: Final = """
DELETE FROM {schema}.unique_key WHERE (kind, key) IN (
    SELECT kind, key FROM {schema}.unique_key WHERE expires_at <= {schema}.clock()
    ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)"""
