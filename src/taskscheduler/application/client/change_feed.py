"""Watching tasks change: a look from time to time, and only while somebody watches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.client.shared_look import Lookout
from taskscheduler.domain.change import WATCHED_MAX, changes, missed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.domain.change import TaskState
    from taskscheduler.domain.values import TaskId

LOOK_EVERY_S: Final = 0.5


class Changes(NamedTuple):
    """What one look found: new states, and, where ids are watched, the tasks that are gone."""

    changed: Sequence[TaskState]
    gone: Sequence[TaskId]


NOTHING: Final = Changes([], [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Which tasks: those with these ``ids``, or else the newest of some kinds, queues and groups.

    ``kind``, ``queue`` and ``group`` are as in ``TaskQuery``.
    """

    ids: tuple[TaskId, ...] = ()
    kind: str | Collection[str] | None = None
    queue: str | Collection[str] | None = None
    group: str | Collection[str] | None = None


class ChangeFeed:
    """One watcher's memory of the look before. Nothing is kept but that, however slow it is."""

    def __init__(self, store: Store, watched: Watched, shared_look: Lookout | None = None) -> None:
        """Watch ``watched`` in ``store``; by ``shared_look``, together with others."""
        self._shared_look = shared_look or Lookout(store)
        self._shares = shared_look is not None
        self._watched = watched
        self._seen: dict[TaskId, TaskState] = {}

    async def begin(self, since: datetime | None = None) -> Changes:
        """Look for the first time; tell what was missed ``since`` then.

        Without a time to come back from, tasks that are watched by their ids are all told as they
        are: one that has ended would never be told of again. Those that are not there are gone.

        Raises:
            StoreUnavailable: it cannot be looked at.
        """
        self._seen = await self._shared_look.look(self._watched)
        ids = self._watched.ids
        gone = sorted(set(ids) - self._seen.keys())
        if since is not None:
            return Changes(missed(self._seen, since), gone)
        return Changes([state for _, state in sorted(self._seen.items())] if ids else [], gone)

    async def look(self) -> Changes:
        """Tell what has changed since the last look. Raises StoreUnavailable."""
        look = self._shared_look.shared if self._shares else self._shared_look.look
        before, self._seen = self._seen, await look(self._watched)
        if before is self._seen:
            return NOTHING
        return self._shared_look.told(self._watched, before, self._seen, lambda: self._tell(before))

    def _tell(self, before: dict[TaskId, TaskState]) -> Changes:
        by_id = bool(self._watched.ids)
        gone = sorted(before.keys() - self._seen.keys()) if by_id else []
        newest_only = not by_id and len(before) == WATCHED_MAX
        return Changes(changes(before, self._seen, newest_only=newest_only), gone)

    async def looks(self, every_s: float = LOOK_EVERY_S) -> AsyncGenerator[Changes]:
        """Look for ever, at most every ``every_s`` seconds: the next look waits for the reader."""
        while True:
            await asyncio.sleep(every_s)
            yield await self.look()
