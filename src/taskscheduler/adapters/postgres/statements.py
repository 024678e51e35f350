"""Every statement that the repository sends, by name. Values are parameters, always.

Those whose plan matters are functions of the schema (``migrations/0002_claim.sql`` and the files
after it).
"""

from __future__ import annotations

from typing import Final

# What a repeated call finds here may have been committed by this server alone, its wait for a
# synchronous standby cut short: visible, and lost at a failover. A commit that writes waits for a
# standby which has all that went before it.
AWAIT_STANDBY: Final = "SELECT pg_logical_emit_message(true, 'taskscheduler', '')"

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
SELECT * FROM {schema}.claim_6(%(lanes)s::integer[], %(floors)s::timestamptz[],
                               %(floor_ids)s::uuid[], %(limit)s::bigint, %(worker_id)s::bigint,
                               %(epoch)s::integer, %(excused_max)s::smallint)"""

LOOK: Final = """
SELECT o_lane, o_queue, o_kind, o_priority, o_process_at, o_id, {schema}.clock(),
       o_group, o_weight, o_opens_at
FROM {schema}.look_3(%(queues)s::text[], %(kinds)s::text[], %(lanes)s::integer[],
                     %(floors)s::timestamptz[], %(floor_ids)s::uuid[], %(few)s::integer,
                     %(steps)s::integer, %(excused_max)s::smallint)"""

CLAIM_IN_TURNS: Final = """
SELECT * FROM {schema}.claim_limited_1(
    %(lanes)s::integer[], %(floors)s::timestamptz[], %(floor_ids)s::uuid[], %(rooms)s::bigint[],
    %(limit)s::bigint, %(worker_id)s::bigint, %(epoch)s::integer, %(excused_max)s::smallint)"""

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

# One more row, with the id that names nothing, where the statement has ended a task that others
# wait for: the trigger on the hot table says so (``migrations/0024_after.sql``). Read last.
FOLLOWED: Final = """
UNION ALL SELECT '00000000-0000-0000-0000-000000000000'::uuid
WHERE current_setting('taskscheduler.followed', true) = 'on'"""

COMPLETE: Final = "SELECT {schema}.complete_1(%(ids)s::uuid[], %(tokens)s::bigint[])" + FOLLOWED

EXPIRE: Final = "SELECT {schema}.expire_1(%(ids)s::uuid[], %(tokens)s::bigint[])" + FOLLOWED

COMPLETE_WITH_RESULTS: Final = (
    "SELECT {schema}.complete_2(%(ids)s::uuid[], %(tokens)s::bigint[], %(results)s::text[])"
    + FOLLOWED
)

WAIT: Final = """
SELECT {schema}.wait_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(names)s::text[],
                       %(delays)s::interval[])"""

SETTLE: Final = (
    """
SELECT {schema}.settle_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(events)s::text[],
                         %(delays)s::interval[], %(types)s::text[], %(messages)s::text[],
                         %(tracebacks)s::text[])"""
    + FOLLOWED
)

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
RETURNING worker_id IS NOT NULL, (SELECT followed FROM gone)"""

# A Cancelled task (4) waits for its own time, and for those of its parents that have not ended; a
# Failed one for nothing; see ``Task.revive``. Whoever is held for its failure may hope again. The
# body is read as it was before this statement, so a time that is given is taken from the values.
RETRY: Final = """
WITH gone AS (
    DELETE FROM {schema}.finished WHERE id = %(id)s AND status IN (3, 4)
    RETURNING id, lane, attempt, excused, status
), used AS (
    SELECT gone.*, t.execute_at, status = 4 AND EXISTS (
               SELECT FROM {schema}.note n WHERE n.id = %(id)s AND n.kind = 'after'
           ) AS waits,
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
), again AS (
    INSERT INTO {schema}.follower AS f (id, needs_success, otherwise, stage)
    SELECT n.id, n.value ->> 'when' = 'succeeded', n.value ->> 'otherwise', 'again'
    FROM used JOIN {schema}.note n ON n.id = %(id)s AND n.kind = 'after' WHERE used.waits
    ON CONFLICT (id) DO UPDATE SET stage = excluded.stage
), hoped AS (
    UPDATE {schema}.edge e SET failed = NULL FROM used WHERE e.parent = used.id AND e.failed
), anew AS (
    INSERT INTO {schema}.ended (id)
    SELECT used.id FROM used JOIN {schema}.member m ON m.id = used.id
)
INSERT INTO {schema}.live (id, process_at, lane, attempt, excused, followed)
SELECT id, CASE WHEN waits THEN {schema}.waiting_at_1() ELSE
               greatest(coalesce(%(at)s::timestamptz, CASE status WHEN 4 THEN execute_at END),
                        {schema}.clock()) END,
       lane, least(attempt, 32766), excused,
       EXISTS (SELECT FROM {schema}.edge e WHERE e.parent = %(id)s)
           OR EXISTS (SELECT FROM {schema}.member m WHERE m.id = %(id)s) OR NULL
FROM used
RETURNING process_at = {schema}.waiting_at_1()"""

RUN_NOW: Final = """
UPDATE {schema}.live SET process_at = least(process_at, {schema}.clock())
WHERE id = %(id)s AND worker_id IS NULL
RETURNING false"""

DELETE: Final = """
WITH gone AS (
    DELETE FROM {schema}.live WHERE id = %(id)s AND (worker_id IS NULL OR %(force)s) RETURNING *
), told AS (
    INSERT INTO {schema}.cancellation (worker_id, id, token, cancelled_at)
    SELECT worker_id, id, token, {schema}.clock() FROM gone WHERE worker_id IS NOT NULL
), ended AS (
    DELETE FROM {schema}.finished WHERE id = %(id)s RETURNING id
), known AS (
    SELECT id, worker_id IS NOT NULL AS leased, followed FROM gone
    UNION ALL SELECT id, false, NULL FROM ended
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
SELECT leased, followed FROM known"""

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
