"""Reading bodies and outcomes of all days a window of days at a time.

Whatever plan reads the tables of all days opens, and locks, each of them and its indexes. Within a
year that is thousands of locks for one page of a list, and the server has room for some thousands
in all. The newest days come first, and nearly always the page is full before the second window.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from taskscheduler.adapters.postgres.partitions import EXISTING, first_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from taskscheduler.adapters.postgres.database import Connection, Database

DAYS: Final = 16
"""So many days are read at once: about as many as there are while tasks are kept for a week."""
READ_AGAIN_S: Final = 300.0
"""Windows cover all ids whatever days there are, so what is known of those may be old."""


class Windows:
    """Cuts a span of ids, newest first, where so many days have tables of their own."""

    def __init__(self, database: Database) -> None:
        """Know no day yet."""
        self._schema = database.schema
        self._days: Sequence[date] = ()
        self._read_at: float | None = None
        database.on_reconnect.append(self._forget)

    def _forget(self) -> None:
        self._read_at = None

    async def of(
        self, connection: Connection, low: UUID, high: UUID, days_at_once: int = DAYS
    ) -> Iterator[tuple[UUID, UUID]]:
        """Return spans that make up the one from ``low`` to ``high``, both included."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at > READ_AGAIN_S:
            rows = await connection.execute(EXISTING, [self._schema], prepare=False)
            names = {str(name).rpartition("_")[2] for (name,) in await rows.fetchall()}
            self._days = [datetime.strptime(n, "%Y%m%d").date() for n in sorted(names)]  # noqa: DTZ007 - a day
            self._read_at = now
        return cut(low, high, self._days, days_at_once)


def cut(
    low: UUID, high: UUID, days: Sequence[date], at_once: int = DAYS
) -> Iterator[tuple[UUID, UUID]]:
    """Yield spans from ``high`` down to ``low`` that hold ``at_once`` of ``days`` each."""
    inside = [day for day in days if first_id(day + timedelta(days=1)) > low]
    inside = [day for day in inside if first_id(day) <= high]
    while len(inside) > at_once:
        begins = first_id(inside[-at_once])
        yield begins, high
        high, inside = UUID(int=begins.int - 1), inside[:-at_once]
    yield low, high
