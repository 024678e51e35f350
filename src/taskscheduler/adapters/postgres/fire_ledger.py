"""The ledger of schedules in PostgreSQL. What is fired is written by ``fire_5`` itself."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.domain.ledger import LedgerEntry, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.ledger import NewEntry, Place
    from taskscheduler.domain.schedule import Schedule

FIRES: Final = """
SELECT at, id, recorded_at, outcome, reason, task_id, late FROM {schema}.schedule_fire
WHERE schedule = %(name)s AND starts_with(queue, %(prefix)s)
  AND (at, id) < (coalesce(%(at)s, 'infinity'::timestamptz), coalesce(%(number)s, 0))
ORDER BY at DESC, id DESC LIMIT %(limit)s"""
NOTE: Final = """
INSERT INTO {schema}.schedule_fire
    (schedule, at, recorded_at, queue, outcome, reason, task_id, late)
VALUES (%(name)s, %(at)s, {schema}.clock(), %(queue)s, %(outcome)s, %(reason)s, %(task_id)s,
        CASE WHEN %(task_id)s::uuid IS NOT NULL
             THEN greatest({schema}.clock() - %(at)s::timestamptz, '0 s') END)"""
HAVE_TASKS: Final = """
SELECT at FROM {schema}.schedule_fire
WHERE schedule = %(name)s AND at = ANY (%(times)s::timestamptz[])
  AND outcome = ANY (%(outcomes)s)"""
NOTE_ALL: Final = """
INSERT INTO {schema}.schedule_fire
    (schedule, at, recorded_at, queue, outcome, reason, task_id, late)
SELECT %(name)s, f.at, {schema}.clock(), %(queue)s, %(outcome)s, %(reason)s, f.id,
       greatest({schema}.clock() - f.at, '0 s')
FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[]) AS f (id, at)"""
PRUNE: Final = """
DELETE FROM {schema}.schedule_fire WHERE (schedule, at, id) IN (
    SELECT schedule, at, id FROM {schema}.schedule_fire
    WHERE recorded_at < %(limit)s ORDER BY recorded_at LIMIT %(batch)s
)"""


class Ledger:
    """What became of the fires of schedules."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._fires = database.sql(FIRES)
        self._note = database.sql(NOTE)

    async def fires(
        self, name: str, *, queue_prefix: str | None, before: Place | None, limit: int
    ) -> Sequence[LedgerEntry]:
        """See ``ScheduleRepository.fires``."""
        values = {
            "name": name,
            "prefix": queue_prefix or "",
            "at": None if before is None else before.at,
            "number": None if before is None else before.number,
            "limit": limit,
        }

        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(self._fires, values)).fetchall()

        return [entry_of(row) for row in await self._database.run(work)]

    async def note(self, schedule: Schedule, entry: NewEntry) -> None:
        """See ``ScheduleRepository.note``."""
        values = {
            "name": schedule.name,
            "queue": schedule.definition.queue,
            "at": entry.at,
            "outcome": entry.outcome.value,
            "reason": entry.reason,
            "task_id": entry.task_id,
        }

        async def work(connection: Connection) -> None:
            await connection.execute(self._note, values)

        await self._database.run(work)


def entry_of(row: tuple[Any, ...]) -> LedgerEntry:
    """Return the entry of a row."""
    return LedgerEntry(
        at=row[0].astimezone(UTC),
        number=row[1],
        recorded_at=row[2].astimezone(UTC),
        outcome=Outcome(row[3]),
        reason=row[4],
        task_id=row[5],
        late=row[6],
    )
