"""Lanes: their numbers, and from where on to look for work in each.

A lane is one queue, one kind, one priority. Looking into a lane from its beginning costs more the
more dead rows lie there, and while some old transaction is open anywhere in the database none of
them can be cleared. So a claimer remembers a floor for each lane: nothing below it was left when
it last looked. Rows can still appear below a floor, from a transaction that committed late;
therefore a look from the beginning follows from time to time (see ``FullLook``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.ports import Clock
    from taskscheduler.domain.task import NewTask
    from taskscheduler.domain.worker import Subscription

ALL: Final = "SELECT id, queue, kind, priority FROM {schema}.lane"
MAKE: Final = """
INSERT INTO {schema}.lane (queue, kind, priority)
SELECT * FROM unnest(%(queues)s::text[], %(kinds)s::text[], %(priorities)s::smallint[])
ON CONFLICT DO NOTHING"""

BEGINNING: Final = datetime(1, 1, 2, tzinfo=UTC)
MARGIN: Final = timedelta(milliseconds=50)
"""How late a commit may become visible and still be found without a full look."""
RELOAD_S: Final = 1.0
FULL_LOOK_SHARE: Final = 0.05
OVERDUE_S: Final = 1.0
"""How long a late commit may stay unseen below a floor while other work keeps coming."""


class Lane(NamedTuple):
    """One queue, one kind, one priority."""

    queue: str
    kind: str
    priority: int


def lanes_of(tasks: Iterable[NewTask]) -> list[Lane]:
    """Return the lane of each of ``tasks``."""
    return [Lane(task.queue, task.kind, task.priority) for task in tasks]


class Lanes:
    """The lanes by number and the numbers by lane, as last read."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Know no lane yet."""
        self._database = database
        self._clock = clock
        self._all = database.sql(ALL)
        self._make = database.sql(MAKE)
        self._number: dict[Lane, int] = {}
        self._lane: dict[int, Lane] = {}
        self._read_at: float | None = None
        database.on_reconnect.append(self.forget)

    def forget(self) -> None:
        """Forget everything: the database may be another one now."""
        self._number.clear()
        self._lane.clear()
        self._read_at = None

    async def numbers(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """Return the numbers of ``lanes``, making those that are new.

        They are made in a transaction of their own: a number that is remembered here must not
        vanish with somebody's rollback.
        """
        wanted = set(lanes)
        if wanted <= self._number.keys():
            return {lane: self._number[lane] for lane in wanted}

        async def make(connection: Connection) -> dict[Lane, int]:
            missing = sorted(wanted - self._number.keys())
            values = {
                "queues": [lane.queue for lane in missing],
                "kinds": [lane.kind for lane in missing],
                "priorities": [lane.priority for lane in missing],
            }
            await connection.execute(self._make, values)
            await self._read(connection)
            # Taken at once: at the next await another connection may make us forget it all.
            return {lane: self._number[lane] for lane in wanted}

        return await self._database.run(make)

    @property
    def known(self) -> Mapping[tuple[str, str, int], int]:
        """The number of each lane that has been read, by queue, kind and priority."""
        # Bare tuples equal lanes, and who looks up many need not make so many lanes.
        return cast("Mapping[tuple[str, str, int], int]", self._number)

    async def of(
        self, connection: Connection, subscription: Subscription, *, anew: bool = False
    ) -> dict[int, Lane]:
        """Return the lanes of ``subscription`` by number, read ``anew`` or when that is due."""
        now = self._clock.monotonic()
        if anew or self._read_at is None or now - self._read_at >= RELOAD_S:
            await self._read(connection)
            self._read_at = now
        return {
            number: lane
            for number, lane in self._lane.items()
            if lane.kind in subscription.kinds and lane.queue in subscription.queues
        }

    async def matching(
        self,
        connection: Connection,
        *,
        kinds: Collection[str] | None,
        queues: Collection[str] | None,
        queue_prefix: str = "",
    ) -> list[int]:
        """Return the numbers of the lanes of some kinds, some queues, queues that begin so."""
        await self._read(connection)
        return [
            number
            for number, lane in self._lane.items()
            if (kinds is None or lane.kind in kinds)
            and (queues is None or lane.queue in queues)
            and lane.queue.startswith(queue_prefix)
        ]

    async def _read(self, connection: Connection) -> None:
        rows = await (await connection.execute(self._all)).fetchall()
        for number, queue, kind, priority in rows:
            lane = Lane(queue, kind, priority)
            self._number[lane] = number
            self._lane[number] = lane


class Floors:
    """From where on one claimer looks, lane by lane, and in which order it visits them."""

    def __init__(self) -> None:
        """Look everywhere from the beginning."""
        self._floor: dict[int, datetime] = {}

    def order(self, lanes: dict[int, Lane]) -> Sequence[int]:
        """Return the numbers of ``lanes``: most urgent first, then the one furthest behind."""
        return sorted(
            lanes,
            key=lambda number: (
                lanes[number].priority,
                self._floor.get(number, BEGINNING),
                number,
            ),
        )

    def of(self, numbers: Sequence[int]) -> list[datetime]:
        """Return the floors of the lanes with these ``numbers``."""
        return [self._floor.get(number, BEGINNING) for number in numbers]

    def raise_to(self, number: int, process_at: datetime) -> None:
        """Remember that a task of lane ``number`` was claimed whose time was ``process_at``."""
        floor = process_at - MARGIN
        if floor > self._floor.get(number, BEGINNING):
            self._floor[number] = floor


class FullLook:
    """Decides when to look from the beginning: always, as long as that stays cheap.

    A look that took long is not repeated before twenty times as long has passed, so that full
    looks never take more than a twentieth of the time.
    """

    def __init__(self, clock: Clock) -> None:
        """Allow the first look at once."""
        self._clock = clock
        self._next_at = clock.monotonic()
        self._began_at = 0.0

    def is_due(self) -> bool:
        """Tell whether a full look may be taken now."""
        return self._clock.monotonic() >= self._next_at

    def is_overdue(self) -> bool:
        """Tell whether a full look has been due for so long that work in hand must wait for it."""
        return self._clock.monotonic() >= self._next_at + OVERDUE_S

    def __enter__(self) -> None:
        """Begin a full look."""
        self._began_at = self._clock.monotonic()

    def __exit__(self, *error: object) -> None:
        """End it, and set the time of the next."""
        now = self._clock.monotonic()
        self._next_at = now + (now - self._began_at) / FULL_LOOK_SHARE
