"""Unique keys of tasks that are being stored: who holds them, and what becomes of the holders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taskscheduler.adapters.postgres.audit import RECORD_ALL, columns
from taskscheduler.adapters.postgres.lanes import lanes_of
from taskscheduler.adapters.postgres.mapping import if_any, texts
from taskscheduler.domain.audit import Action
from taskscheduler.domain.conflict import changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.adapters.postgres.lanes import Lane
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

    Name = tuple[str, str]

STORED: Final = "SELECT id FROM {schema}.task WHERE id = ANY(%(ids)s::uuid[])"

# A key whose time is up is taken over; one that lives keeps its holder.
TAKE_KEYS: Final = """
INSERT INTO {schema}.unique_key AS held (kind, key, id, expires_at)
SELECT kind, key, id, {schema}.clock() + %(unique_for)s
FROM unnest(%(kinds)s::text[], %(keys)s::text[], %(ids)s::uuid[]) AS g (kind, key, id)
ON CONFLICT (kind, key) DO UPDATE SET id = excluded.id, expires_at = excluded.expires_at
WHERE held.expires_at <= {schema}.clock()"""

HOLDERS: Final = """
SELECT held.kind, held.key, held.id
FROM unnest(%(kinds)s::text[], %(keys)s::text[]) AS g (kind, key)
JOIN {schema}.unique_key held USING (kind, key)"""

REPLACE_HELD: Final = """
SELECT o_id, o_holder FROM {schema}.replace_held_1(
    %(ids)s::uuid[], %(kinds)s::text[], %(keys)s::text[], %(lanes)s::integer[],
    %(execute_at)s::timestamptz[], %(max_delays)s::interval[], %(max_attempts)s::smallint[],
    %(timeouts)s::interval[], %(expires_at)s::timestamptz[], %(payloads)s::text[],
    %(tags)s::text[], %(unique_for)s::interval)"""


class Held(NamedTuple):
    """Who holds the key of each of some tasks, by the task's id.

    ``waiting`` are tasks that change others of the same request, once those are stored.
    """

    holders: Mapping[TaskId, TaskId]
    waiting: Sequence[NewTask]


class UniqueKeys:
    """Takes the keys of tasks within a transaction, which has them to itself until its end."""

    def __init__(self, database: Database, unique_for: timedelta) -> None:
        """``unique_for`` is how long they live."""
        self._unique_for = unique_for
        self._stored = database.sql(STORED)
        self._take = database.sql(TAKE_KEYS)
        self._holders = database.sql(HOLDERS)
        self._replace = database.sql(REPLACE_HELD)
        self._record_all = database.sql(RECORD_ALL)

    async def take(
        self, connection: Executing, tasks: Sequence[NewTask], lanes: Mapping[Lane, int]
    ) -> Held:
        """Take the keys of ``tasks``; earlier holders are changed, or lose them, if so asked."""
        keyed = [task for task in tasks if task.unique_key is not None]
        if keyed:
            # One that is stored already asks for nothing: its key may be another's by now.
            ids = [task.id for task in keyed]
            cursor = await connection.execute(self._stored, {"ids": ids}, prepare=False)
            stored = {row[0] for row in await cursor.fetchall()}
            keyed = [task for task in keyed if task.id not in stored]
        if not keyed:
            return Held({}, ())
        holder = await self._hold(connection, keyed)
        new = {task.id for task in keyed}
        at_once: dict[Name, NewTask] = {}
        waiting: list[NewTask] = []
        for task in keyed:
            name = _name_of(task)
            if not changes(task) or holder[name] == task.id:
                continue
            if holder[name] in new or name in at_once:
                waiting.append(task)
            else:
                at_once[name] = task
        if at_once:
            answers = await self.replace(connection, list(at_once.values()), lanes)
            holder |= {name: answers[task.id] for name, task in at_once.items()}
        return Held({task.id: holder[_name_of(task)] for task in keyed}, waiting)

    async def _hold(self, connection: Executing, keyed: Sequence[NewTask]) -> dict[Name, TaskId]:
        first: dict[Name, NewTask] = {}
        for task in keyed:
            first.setdefault(_name_of(task), task)
        # In one order everywhere, so that two transactions cannot wait for each other.
        names = sorted(first)
        values: dict[str, Any] = {
            "kinds": [kind for kind, _ in names],
            "keys": [key for _, key in names],
        }
        ids = [first[name].id for name in names]
        taking = {**values, "ids": ids, "unique_for": self._unique_for}
        holder: dict[Name, TaskId] = {}
        # Between the two statements a holder may be deleted, and its key with it.
        while len(holder) < len(names):
            await connection.execute(self._take, taking)
            rows = await (await connection.execute(self._holders, values)).fetchall()
            holder = {(kind, key): task_id for kind, key, task_id in rows}
        return holder

    async def replace(
        self, connection: Executing, tasks: Sequence[NewTask], lanes: Mapping[Lane, int]
    ) -> Mapping[TaskId, TaskId]:
        """Let the holders of the keys of ``tasks`` become them; return who holds each key then.

        Where it is the task itself, that must be stored.
        """
        values: dict[str, Any] = {
            "ids": [task.id for task in tasks],
            "kinds": [task.kind for task in tasks],
            "keys": [str(task.unique_key) for task in tasks],
            "lanes": [lanes[lane] for lane in lanes_of(tasks)],
            "execute_at": if_any([task.execute_at for task in tasks]),
            "max_delays": if_any([task.max_delay for task in tasks]),
            "max_attempts": if_any([task.max_attempts for task in tasks]),
            "timeouts": if_any([task.timeout for task in tasks]),
            "expires_at": if_any([task.expires_at for task in tasks]),
            "payloads": [task.payload_json.decode() for task in tasks],
            "tags": if_any([texts(task.tags) if task.tags else None for task in tasks]),
            "unique_for": self._unique_for,
        }
        # Unprepared, so that the driver keeps no plan of what few ask for.
        cursor = await connection.execute(self._replace, values, prepare=False)
        answers: dict[TaskId, TaskId] = dict(await cursor.fetchall())
        changed: dict[Caller, list[TaskId]] = {}
        for task in tasks:
            if task.by is not None and answers[task.id] != task.id:
                changed.setdefault(task.by, []).append(answers[task.id])
        for by, ids in changed.items():
            told = {**columns(by), "action": Action.CHANGED.value, "tasks": ids}
            await connection.execute(self._record_all, told)
        return answers


def _name_of(task: NewTask) -> Name:
    return task.kind, str(task.unique_key)
