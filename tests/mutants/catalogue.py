"""The mutants, by what they break."""

from __future__ import annotations

import re
from typing import Any

from tests.mutants.runner import PACKAGE, Mutant

STATUS = "domain/status.py"
TASK = "domain/task.py"
NEW_TASK = "domain/new_task.py"
RETRY = "domain/retry.py"
CLAIM = "adapters/postgres/migrations/0002_claim.sql"
CLAIMING = "FUNCTION {schema}.claim_6("
CLAIMING_SUSPECTS = "FUNCTION {schema}.claim_suspects_2("
SETTLE = "adapters/postgres/migrations/0003_settle.sql"
COMPLETING = "FUNCTION {schema}.complete_1("
SETTLING = "FUNCTION {schema}.settle_1("
WORKERS = "adapters/postgres/migrations/0005_workers.sql"
BURYING = "FUNCTION {schema}.bury_2("
FRESH = "adapters/postgres/insert_new.py"
ONCE = "adapters/postgres/insert_idempotent.py"
BULK = "adapters/postgres/bulk.py"
KEYS = "adapters/postgres/key_conflicts.py"
PACKING = "adapters/postgres/copy_format.py"
SCHEDULES = "adapters/postgres/schedules.py"
FIRES = "adapters/postgres/fires.py"
FIRE = "adapters/postgres/migrations/0026_schedules.sql"
TIMETABLE = "application/calendar/recurrence.py"
PLANNING = "application/calendar/fire_plan.py"
WALLCLOCK = "application/calendar/wall_clock.py"
STATEMENTS = "adapters/postgres/statements.py"
SLOTS = "application/worker/executor.py"
MEMBERSHIP = "application/worker/registration.py"
COMPLETER = "application/worker/completer.py"

ROW = re.compile(r"    \(TaskStatus\.(\w+), Event\.(\w+)\): TaskStatus\.(\w+),\n")


def transitions() -> list[Mutant]:
    """Leave out each row of the table, and lead each to another status."""
    made: list[Mutant] = []
    for row in ROW.finditer((PACKAGE / STATUS).read_text()):
        status, event, target = row.groups()
        wrong = "CANCELLED" if target == "FAILED" else "FAILED"
        astray = row[0].replace(f": TaskStatus.{target},", f": TaskStatus.{wrong},")
        name = f"transition {status} {event}"
        for what, text in (("missing", ""), ("astray", astray)):
            made.append(
                Mutant(
                    name=f"{name} {what}",
                    file=STATUS,
                    find=row[0],
                    put=text,
                    tests="tests/unit/test_status.py",
                )
            )
    return made


def unit(file: str, tests: str, name: str, find: str, put: str, only: str = "") -> Mutant:
    """Make a mutant that unit tests must notice."""
    return Mutant(
        name=name, file=file, find=find, put=put, tests=f"tests/unit/test_{tests}.py", only=only
    )


def sql(file: str, name: str, find: str, put: str, *only: str, within: str = "") -> Mutant:
    """Make a mutant that the contract of the PostgreSQL store must notice."""
    return Mutant(
        name=name,
        file=file,
        find=find,
        put=put,
        tests="tests/integration/test_postgres_contract.py",
        only=f"embedded and ({' or '.join(only)})",
        within=within,
    )


def described(*conditions: str) -> list[Mutant]:
    """Let ``NewTask.describes`` overlook one field."""
    return [
        unit(NEW_TASK, "task", f"describes overlooks {each}", f"self.{each} == task.{each}", "True")
        for each in conditions
    ]


TASKS = [
    unit(
        STATUS,
        "status",
        "revive of Completed",
        "    (TaskStatus.FAILED, Event.REVIVE)",
        "    (TaskStatus.COMPLETED, Event.REVIVE): TaskStatus.PENDING,\n"
        "    (TaskStatus.FAILED, Event.REVIVE)",
    ),
    unit(
        TASK,
        "task",
        "claim does not raise attempt",
        "attempt=min(self.attempt + 1, MAX_ATTEMPTS_LIMIT),",
        "attempt=self.attempt,",
    ),
    unit(
        TASK,
        "task",
        "snooze counts",
        "Event.SNOOZE, process_at=now + delay, attempt=self.attempt - 1",
        "Event.SNOOZE, process_at=now + delay, attempt=self.attempt",
    ),
    unit(
        TASK,
        "task",
        "release counts",
        "Event.RELEASE, process_at=now, attempt=self.attempt - 1",
        "Event.RELEASE, process_at=now, attempt=self.attempt",
    ),
    unit(
        TASK,
        "task",
        "retry without its delay",
        "Event.RETRY, process_at=now + delay",
        "Event.RETRY, process_at=now",
    ),
    unit(
        TASK,
        "task",
        "rescue ignores max_attempts",
        "if self.attempt - self.excused >= (self.max_attempts or max_attempts):",
        "if self.attempt - self.excused >= max_attempts:",
    ),
    unit(
        TASK,
        "memory_contract",
        "a crash in company is not excused",
        "excused=min(self.excused + 1, MAX_ATTEMPTS_LIMIT)",
        "excused=self.excused",
        "crashes_in_company",
    ),
    unit(
        TASK,
        "memory_contract",
        "excused attempts count",
        "if self.attempt - self.excused >=",
        "if self.attempt >=",
        "excused_attempt_brings",
    ),
    unit(
        TASK,
        "task",
        "revive grants no attempt",
        "max_attempts=min(used + 1, MAX_ATTEMPTS_LIMIT) if used_up else self.max_attempts",
        "max_attempts=self.max_attempts",
    ),
    unit(
        TASK,
        "memory_contract",
        "revive counts the excused",
        "used = self.attempt - self.excused",
        "used = self.attempt",
        "crashes_in_company",
    ),
    unit(TASK, "task", "run_now delays", "min(self.process_at, now)", "now"),
    unit(
        TASK,
        "task",
        "the past stays past",
        "process_at=max(execute_at, now),",
        "process_at=execute_at,",
    ),
    unit(
        TASK,
        "task",
        "a cancelled task is revived at once",
        "max(execute_at, now) if waits else now",
        "now",
    ),
    *described("id", "kind", "queue", "payload_json", "unique_key", "execute_at"),
    unit(RETRY, "retry", "the first wait is the second", "** (attempt - 1)", "** attempt"),
    unit(RETRY, "retry", "no cap", "full = min(cap, ", "full = max(0.0, "),
    unit(RETRY, "retry", "jitter adds", "(1 - self.jitter", "(1 + self.jitter"),
    unit(RETRY, "retry", "an overflow is no wait", "full = cap if base else 0.0", "full = 0.0"),
    unit(SLOTS, "slots", "more slots than its size", "len(self._executor) < self._size", "True"),
    unit(
        SLOTS,
        "slots",
        "attempts begin in spite of may_begin",
        "while self._may_begin() and self._waiting",
        "while self._waiting",
    ),
    unit(MEMBERSHIP, "membership", "fenced after two leases", "* 2 / 3", "* 2"),
    unit(
        MEMBERSHIP,
        "membership",
        "the lease counts from the answer",
        "self._trusted_until = asked_at + self._trusted_for_s\n        if",
        "self._trusted_until = self._clock.monotonic() + self._trusted_for_s\n        if",
    ),
    unit(
        COMPLETER,
        "completer",
        "the completer drops a batch",
        "await self._send(self._sending)\n            self._answer_lost = False\n"
        "            self._sending = []",
        "batch, self._sending = self._sending, []\n            await self._send(batch)",
    ),
    unit(
        COMPLETER,
        "completer",
        "a lost answer is a lost lease",
        "self._answer_lost = True",
        "self._answer_lost = False",
    ),
]

IN_COMPLETE: list[tuple[Any, ...]] = [
    (
        "complete without the token",
        "\n        AND ((l.id, l.token) IN (SELECT * FROM unnest(p_ids, p_tokens))) IS TRUE",
        "",
        "stale_worker_changes_nothing",
    ),
    (
        "complete with any of the tokens",
        "((l.id, l.token) IN (SELECT * FROM unnest(p_ids, p_tokens))) IS TRUE",
        "l.token = ANY (p_tokens)",
        "opens_its_own_task_only",
    ),
]

IN_SETTLE: list[tuple[Any, ...]] = [
    (
        "settle by id only",
        "WHERE l.id = g.id AND l.token = g.token FOR UPDATE",
        "WHERE l.id = g.id FOR UPDATE",
        "stale_worker_changes_nothing",
    ),
    (
        "settle counts a snooze",
        "IN ('snooze', 'release') THEN 1",
        "IN ('release') THEN 1",
        "attempts_are_counted",
    ),
    ("settle cancels what failed", "WHEN 'fail' THEN 3", "WHEN 'fail' THEN 4", "a_lease_is_ended"),
]

IN_CLAIM: list[tuple[Any, ...]] = [
    (
        "claim by anybody",
        "FOR KEY SHARE;\n    IF NOT FOUND THEN",
        "FOR KEY SHARE;\n    IF false THEN",
        "worker_that_is_not_registered_claims",
    ),
    (
        "claim without locking its worker",
        "AND w.epoch = p_epoch FOR KEY SHARE",
        "AND w.epoch = p_epoch",
        "claim_under_way_leaves_no_stray",
    ),
    (
        "claim from a paused queue",
        "WHERE n.id = ANY (p_lanes)\n        ) ELSE '{{}}'::integer[] END)\n    ), due",
        "WHERE false\n        ) ELSE '{{}}'::integer[] END)\n    ), due",
        "paused_queue",
    ),
    (
        "claim before its time",
        (
            "              AND l.process_at <= {schema}.clock()\n"
            "            ORDER BY l.process_at, l.id LIMIT p_limit"
        ),
        "            ORDER BY l.process_at, l.id LIMIT p_limit",
        "never_before_its_time",
    ),
    (
        "claim what is leased",
        "AND l.worker_id IS NULL AND l.excused <= p_excused_max\n              AND (l",
        "AND l.excused <= p_excused_max\n              AND (l",
        "only_pending_tasks",
    ),
    (
        "claim looks for nothing first",
        "ORDER BY l.process_at, l.id LIMIT 1",
        "ORDER BY l.process_at, l.id LIMIT 0",
        "the_earliest_first",
    ),
    (
        "claim suspects, too",
        "AND l.worker_id IS NULL AND l.excused <= p_excused_max\n              AND (l",
        "AND l.worker_id IS NULL\n              AND (l",
        "suspects_are_passed_over",
    ),
    ("claim without locking", " FOR UPDATE SKIP LOCKED", "", "no_task_is_leased_twice"),
    (
        "claim does not raise the stored attempt",
        "attempt = least(l.attempt, 32766) + 1",
        "attempt = l.attempt",
        "attempts_are_counted",
    ),
    (
        "claim more than the limit",
        "AS head LIMIT p_limit",
        "AS head",
        "no_more_than_the_limit",
        "more_urgent",
    ),
    (
        "claim in any order",
        "ORDER BY l.process_at, l.id LIMIT p_limit FOR UPDATE",
        "ORDER BY l.id LIMIT p_limit FOR UPDATE",
        "the_earliest_first",
    ),
    (
        "claim never says that time is up",
        "coalesce(t.expires_at <= {schema}.clock(), false)",
        "false",
        "when_the_tasks_time_was_up",
    ),
]

IN_PUT: list[tuple[Any, ...]] = [
    ("put without ON CONFLICT", " ON CONFLICT (id) DO NOTHING", "", "storing_again"),
    (
        "put makes a hot row again",
        " WHERE (id IN (SELECT id FROM body)) IS TRUE",
        "",
        "storing_again",
    ),
]

IN_KEYS: list[tuple[Any, ...]] = [
    (
        "a living unique key is taken",
        (
            "SET id = excluded.id, expires_at = excluded.expires_at\n"
            "WHERE held.expires_at <= {schema}.clock()"
        ),
        "SET id = excluded.id, expires_at = excluded.expires_at",
        "the_holder_answers",
    ),
    (
        "a unique key lives for ever",
        (
            "SET id = excluded.id, expires_at = excluded.expires_at\n"
            "WHERE held.expires_at <= {schema}.clock()"
        ),
        "SET id = excluded.id, expires_at = excluded.expires_at\nWHERE false",
        "let_go_when_its_time_is_up",
    ),
]

IN_ONCE: list[tuple[Any, ...]] = [
    (
        "a living request is made again",
        "WHERE held.expires_at <= {schema}.clock()\nRETURNING true",
        "RETURNING true",
        "repeated_request",
    ),
]

IN_STATEMENTS: list[tuple[Any, ...]] = [
    (
        "upkeep drops active keys",
        "SELECT kind, key FROM {schema}.unique_key WHERE expires_at <= {schema}.clock()",
        "SELECT kind, key FROM {schema}.unique_key",
        "upkeep_drops_no_living_key",
    ),
    ("any outcome is on record", " AND a.outcome = asked.event", "", "another_outcome"),
    (
        "what is known is released",
        " AND NOT (token = ANY (%(known)s::bigint[]))",
        "",
        "leases_that_nobody_knows",
    ),
    (
        "what others hold is released",
        "WHERE worker_id = %(worker_id)s AND NOT",
        "WHERE NOT",
        "reconciling_leaves_others",
    ),
    (
        "run_now of a task in progress",
        "WHERE id = %(id)s AND worker_id IS NULL\nRETURNING false",
        "WHERE id = %(id)s\nRETURNING false",
        "illegal_change",
    ),
]

IN_BULK: list[tuple[Any, ...]] = [
    (
        "cancel does not tell the worker",
        "FROM gone WHERE worker_id IS NOT NULL\n)\nINSERT",
        "FROM gone WHERE false\n)\nINSERT",
        "a_beat_tells_of_leases",
    ),
    (
        "delete does not tell the worker",
        "FROM gone WHERE worker_id IS NOT NULL\n), ended",
        "FROM gone WHERE false\n), ended",
        "a_beat_tells_of_leases",
    ),
    ("retry of a completed task", "status IN (3, 4)", "status IN (2, 3, 4)", "illegal_change"),
]

IN_SUSPECTS = [
    (
        "claim suspects however suspect",
        "AND l.excused = p_excused\n",
        "\n",
        "suspects_are_claimed_by_how",
    ),
]

IN_BURY: list[tuple[Any, ...]] = [
    (
        "strike out one that has beaten",
        "BEGIN\n    SELECT w.xmax",
        (
            "BEGIN\n"
            "    p_beats := (SELECT w.beats FROM {schema}.worker w WHERE w.id = p_worker);\n"
            "    SELECT w.xmax"
        ),
        "has_beaten_since",
    ),
    (
        "strike out one that lives",
        "AND (w.seen_at + w.lease < {schema}.clock()\n",
        "AND (true\n",
        "living_worker_is_not_buried",
    ),
    (
        "rescue from every worker",
        "WHERE l.worker_id = p_worker FOR UPDATE SKIP LOCKED",
        "WHERE l.worker_id IS NOT NULL FOR UPDATE SKIP LOCKED",
        "others_are_left_alone",
    ),
    (
        "rescue for ever",
        "(h.attempt >= 32767 OR $2 AND h.attempt - h.excused >= h.granted)",
        "h.attempt < 0",
        "the_last_attempt_is_final",
    ),
    (
        "rescue overlooks the task's own attempts",
        "coalesce(t.max_attempts, k.max_attempts, $3)",
        "coalesce(k.max_attempts, $3)",
        "the_last_attempt_is_final",
    ),
    (
        "rescue counts the excused",
        "$2 AND h.attempt - h.excused >= h.granted",
        "$2 AND h.attempt >= h.granted",
        "excused_attempt_brings",
    ),
    (
        "rescue excuses nobody",
        "THEN least(l.excused, 32766) + 1 ELSE",
        "THEN l.excused ELSE",
        "silent_workers_tasks",
    ),
    (
        "rescue takes for begun what had not",
        "SELECT l.*, l.excused = 0 OR b.id IS NOT NULL AS had_begun",
        "SELECT l.*, true AS had_begun",
        "had_begun",
    ),
]

IN_FRESH_ONE: list[tuple[Any, ...]] = [
    (
        "one task that is due in the past",
        "VALUES (%(id)s, greatest(%(execute_at)s, {schema}.clock()),",
        "VALUES (%(id)s, coalesce(%(execute_at)s, {schema}.clock()),",
        "the_past_means_now",
    ),
]

IN_FRESH_SOME: list[tuple[Any, ...]] = [
    (
        "some tasks that are due in the past",
        "SELECT id, greatest(execute_at, now), CASE",
        "SELECT id, coalesce(execute_at, now), CASE",
        "what_was_asked_for",
    ),
]

IN_PACKING: list[tuple[Any, ...]] = [
    (
        "many tasks that are due in the past",
        "max(now_us, at_us)",
        "at_us",
        "what_was_asked_for",
    ),
    (
        "many tasks lose their limits",
        "bodies += (*_limits(task), _length(len(payload)))",
        "bodies += (NULL, NULL, NULL, _length(len(payload)))",
        "what_was_asked_for",
    ),
    (
        "many tasks lose their traces",
        "            or task.trace is not None\n",
        "",
        "in_a_batch_of_any_size",
    ),
    (
        "many tasks lose the seconds of their times",
        "span.seconds * SECOND_US + span.microseconds",
        "span.microseconds",
        "what_was_asked_for",
    ),
    ("many tasks of nobody", "if task.by is not None:", "if False:", "what_was_asked_for"),
]

IN_SCHEDULES = [
    (
        "change whatever the revision",
        "WHERE name = %(name)s AND revision = %(expected)s",
        "WHERE name = %(name)s",
        "made_to_what_was_looked_at",
    ),
]

IN_FIRES = [
    (
        "due before its time",
        'DUE: Final = "next_fire_at <= {schema}.clock() AND',
        "DUE: Final = \"next_fire_at <= {schema}.clock() + interval '1 us' AND",
        "tells_what_is_due",
    ),
    (
        "what is taken is given to others too",
        "OR taken_until NOT BETWEEN {schema}.clock() AND {schema}.clock() + %(take)s::interval)",
        "OR true)",
        "taken_by_one",
    ),
    (
        "what newer zones have reckoned is taken",
        "AND (zone_data IS NULL OR zone_data <= %(zone_data)s)",
        "",
        "left_out_keeps_no_other",
    ),
    ("what is put aside is taken", "AND name <> ALL (%(aside)s::text[])", "", "left_out_keeps_no"),
]

IN_FIRE = [
    (
        "fire whatever is next by now",
        "AND s.next_fire_at = g.next_fire_at AND",
        "AND",
        "of_many_who_fire",
    ),
    ("fire whatever the rule is by now", " AND s.ruled_at = g.ruled_at", "", "changed_meanwhile"),
    (
        "overlaps are never skipped",
        "s.overlap IN ('allow', 'cancel_running') THEN",
        "true THEN",
        "overlap_is_skipped",
    ),
    (
        "a key that lives is taken over",
        "WHERE k.expires_at <= {schema}.clock()",
        "WHERE true",
        "not_stored_twice",
    ),
]

ON_TIME = [
    (TIMETABLE, "timetable", "the first fire too late", "self._first - TICK", "self._first"),
    (TIMETABLE, "timetable", "after the end", "at > self._last", "at > self._last + SECOND * 7200"),
    (WALLCLOCK, "oracle", "both passes of a fold", "fold is Fold.FIRST or", ""),
    (WALLCLOCK, "oracle", "a gap is passed over", "first = second = change", "continue"),
    (
        PLANNING,
        "firing",
        "catch up with nothing, ever",
        "now - last <= GRACE",
        "now - last < GRACE",
    ),
]

IN_CLAIMS_AT_ONCE = [
    (
        "claim in an epoch that is over",
        " AND w.epoch = p_epoch",
        "",
        "from_before_a_reconciliation",
    ),
    ("claim waits for a lock", " FOR UPDATE SKIP LOCKED", " FOR UPDATE", "does_not_hold_up"),
]

MUTANTS: list[Mutant] = [
    *transitions(),
    *TASKS,
    *(sql(SETTLE, *each, within=COMPLETING) for each in IN_COMPLETE),
    *(sql(SETTLE, *each, within=SETTLING) for each in IN_SETTLE),
    *(sql(CLAIM, *each, within=CLAIMING) for each in IN_CLAIM),
    *(sql(CLAIM, *each, within=CLAIMING_SUSPECTS) for each in IN_SUSPECTS),
    *(sql(WORKERS, *each, within=BURYING) for each in IN_BURY),
    *(sql(STATEMENTS, *each) for each in IN_STATEMENTS),
    *(sql(ONCE, *each, within="\nPUT: Final") for each in IN_PUT),
    *(sql(ONCE, *each) for each in IN_ONCE),
    *(sql(KEYS, *each) for each in IN_KEYS),
    *(sql(BULK, *each) for each in IN_BULK),
    *(sql(FRESH, *each, within="\nPUT_ONE: Final") for each in IN_FRESH_ONE),
    *(sql(FRESH, *each, within="\nPUT_SOME: Final") for each in IN_FRESH_SOME),
    *(sql(PACKING, *each) for each in IN_PACKING),
    *(sql(SCHEDULES, *each) for each in IN_SCHEDULES),
    *(sql(FIRES, *each) for each in IN_FIRES),
    *(sql(FIRE, *each) for each in IN_FIRE),
    *(unit(*each) for each in ON_TIME),
    *(
        Mutant(
            name=name,
            file=CLAIM,
            find=find,
            put=put,
            tests="tests/integration/test_worker_postgres.py",
            only=f"embedded and {only}",
            within=CLAIMING,
        )
        for name, find, put, only in IN_CLAIMS_AT_ONCE
    ),
]
