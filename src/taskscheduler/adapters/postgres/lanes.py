"""Lanes: their numbers. A lane is one queue, one kind, one priority, one group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

import psycopg

from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.new_task import NewTask

MAKE: Final = """
INSERT INTO {schema}.lane (queue, kind, priority, "group")
SELECT * FROM unnest(%(queues)s::text[], %(kinds)s::text[], %(priorities)s::smallint[],
                     %(groups)s::text[])
ON CONFLICT (queue, kind, priority, "group") DO UPDATE
SET retired_by = NULL, asked_for_at = {schema}.clock() WHERE lane.retired_by IS NOT NULL"""
NUMBERS: Final = """
SELECT n.id, n.queue, n.kind, n.priority, n."group"
FROM unnest(%(queues)s::text[], %(kinds)s::text[], %(priorities)s::smallint[], %(groups)s::text[])
    AS g (queue, kind, priority, "group")
JOIN {schema}.lane n USING (queue, kind, priority, "group")"""
MATCHING: Final = """
SELECT id FROM {schema}.lane
WHERE (queue = ANY (%(queues)s::text[]) OR %(queues)s::text[] IS NULL)
  AND (kind = ANY (%(kinds)s::text[]) OR %(kinds)s::text[] IS NULL)
  AND ("group" = ANY (%(groups)s::text[]) OR %(groups)s::text[] IS NULL)
  AND queue >= %(prefix)s AND starts_with(queue, %(prefix)s)"""
REFUSALS_MAX: Final = 5
_VANISHING: Final = "a lane was removed again and again while tasks were stored into it; try again"
KNOWN_MAX: Final = 100_000
"""With so many numbers known all are forgotten: those that are needed are soon known again."""

Answer = TypeVar("Answer")


class LaneGone(psycopg.errors.NotNullViolation):
    """As it is raised where the driver does not tell of which column: of the lane's."""


class Lane(NamedTuple):
    """One queue, one kind, one priority, one group; that of tasks without one is empty."""

    queue: str
    kind: str
    priority: int
    group: str = ""

    @property
    def whose(self) -> tuple[str, str]:
        """The queue and the group."""
        return self.queue, self.group


def lanes_of(tasks: Iterable[NewTask]) -> list[Lane]:
    """Return the lane of each of ``tasks``."""
    return [Lane(task.queue, task.kind, task.priority, task.group or "") for task in tasks]


class Lanes:
    """The numbers of the lanes that tasks were stored into."""

    def __init__(self, database: Database) -> None:
        """Know no lane yet."""
        self._database = database
        self._make = database.sql(MAKE)
        self._numbers = database.sql(NUMBERS)
        self._matching = database.sql(MATCHING)
        self._known: dict[Lane, int] = {}
        self.on_new: list[Callable[[], None]] = []
        """Called when tasks are to be stored into lanes that were not known here."""
        database.on_reconnect.append(self._known.clear)

    @property
    def known(self) -> Mapping[tuple[str, str, int, str], int]:
        """The number of each lane that has been read, by queue, kind, priority and group."""
        # Bare tuples equal lanes, and who looks up many need not make so many lanes.
        return cast("Mapping[tuple[str, str, int, str], int]", self._known)

    async def numbers(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """Return the numbers of ``lanes``, making those that are new.

        They are made in a transaction of their own: a number that is remembered here must not
        vanish with somebody's rollback.
        """
        wanted = set(lanes)
        if wanted <= self._known.keys():
            return {lane: self._known[lane] for lane in wanted}

        async def make(connection: Connection) -> dict[Lane, int]:
            missing = sorted(wanted - self._known.keys())
            found = {lane: self._known[lane] for lane in wanted if lane in self._known}
            values = {
                "queues": [lane.queue for lane in missing],
                "kinds": [lane.kind for lane in missing],
                "priorities": [lane.priority for lane in missing],
                "groups": [lane.group for lane in missing],
            }
            await connection.execute(self._make, values)
            rows = await (await connection.execute(self._numbers, values)).fetchall()
            found |= {Lane(*name): number for number, *name in rows}
            if len(self._known) > KNOWN_MAX:
                self._known.clear()
            self._known.update(found)
            for tell in self.on_new:
                tell()
            # Returned at once: at the next await another connection may make us forget it all.
            return found

        return await self._database.run(make)

    async def queue_position(
        self, lanes: Iterable[Lane], store: Callable[[Mapping[Lane, int]], Awaitable[Answer]]
    ) -> Answer:
        """Let ``store`` store into ``lanes`` by their numbers; once more if one had been removed.

        It must be safe to repeat. It raises ``NotNullViolation`` when it is refused.
        """
        wanted = set(lanes)
        for _ in range(REFUSALS_MAX):
            try:
                return await store(await self.numbers(wanted))
            except psycopg.errors.NotNullViolation as error:
                if error.diag.column_name != "lane" and not isinstance(error, LaneGone):
                    raise
                self.forget(wanted)
        raise StoreUnavailable(_VANISHING)

    def forget(self, lanes: Iterable[Lane]) -> None:
        """Ask for ``lanes`` anew the next time: one of them is not there any more."""
        for lane in set(lanes):
            self._known.pop(lane, None)

    async def matching(
        self,
        connection: Connection,
        *,
        kinds: Collection[str] | None,
        queues: Collection[str] | None,
        groups: Collection[str] | None = None,
        queue_prefix: str = "",
    ) -> list[int]:
        """Return the numbers of the lanes of some kinds, queues, groups, queues that begin so."""
        values = {
            "kinds": None if kinds is None else list(kinds),
            "queues": None if queues is None else list(queues),
            "groups": None if groups is None else list(groups),
            "prefix": queue_prefix,
        }
        # Unprepared, so that the plan is made for what is asked.
        cursor = await connection.execute(self._matching, values, prepare=False)
        return [number for (number,) in await cursor.fetchall()]
