"""Taking tasks from workers that have fallen silent. Every worker does it; there is no leader."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.maintenance.bulkhead import Bulkhead
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.values import WorkerId
    from taskscheduler.domain.worker import RegisteredWorker

ORPHANS_SHARE: Final = 0.01
"""Looking for orphans reads every task that has not ended: of all time, no more than this."""
ORPHANS_EVERY_S: Final = 10.0
"""There hardly ever are any. Where a worker's lease is shorter, it is looked as often as that."""

log = logging.getLogger("taskscheduler.rescue")


class _Watched(NamedTuple):
    beats: int
    since: float


class Rescuer:
    """Watches the other workers' heartbeats.

    A worker is taken for dead when two things hold: its lease has expired on the store's clock,
    and its count of beats has not moved for a whole lease on this process's monotonic clock. The
    first alone would kill every worker when the store's clock jumps forward.
    """

    def __init__(
        self, workers: WorkerRegistry, clock: Clock, bulkhead: Bulkhead | None = None
    ) -> None:
        """Start without having seen anyone. One whom nobody can bury is put aside."""
        self._workers = workers
        self._clock = clock
        self._bulkhead = bulkhead or Bulkhead(clock)
        self._watched: dict[WorkerId, _Watched] = {}
        self._buried: set[WorkerId] = set()
        self._orphans_at = clock.monotonic()

    def forget(self) -> None:
        """Begin to watch anew: silence is evidence only against those who could have been heard."""
        self._watched.clear()

    async def turn(self, own: WorkerId | None = None) -> int:
        """Look once at every worker but ``own``; return how many tasks were rescued.

        Raises:
            StoreUnavailable: nobody could be seen, so nobody's silence counts any more.
        """
        try:
            registered = await self._workers.registered()
        except StoreUnavailable:
            self.forget()
            raise
        now = self._clock.monotonic()
        watched: dict[WorkerId, _Watched] = {}
        rescued = 0
        for seen in registered:
            if seen.id == own:
                continue
            before = self._watched.get(seen.id)
            if before is None or before.beats != seen.beats:
                before = _Watched(seen.beats, now)
            watched[seen.id] = before
            if seen.expired and now - before.since >= seen.lease.total_seconds():
                rescued += await self._bury(seen)
        self._watched = watched
        self._buried &= watched.keys()
        shortest_s = min((seen.lease.total_seconds() for seen in registered), default=0.0)
        return rescued + await self._rescue_orphans(min(shortest_s, ORPHANS_EVERY_S))

    async def _bury(self, seen: RegisteredWorker) -> int:
        """Bury one, whom the next turn may still see if something of his is locked."""
        task_ids = await self._bulkhead.keep(
            "rescue",
            lambda: self._workers.declare_dead(seen.id, seen.beats),
            name=f"of worker {seen.id}",
        )
        if task_ids is None or (not task_ids and seen.id in self._buried):
            return 0
        self._buried.add(seen.id)
        log.warning(
            "worker %d (%s) is silent since %s; rescued %d tasks",
            seen.id,
            seen.name,
            seen.seen_at.isoformat(),
            len(task_ids),
        )
        return len(task_ids)

    async def _rescue_orphans(self, every_s: float) -> int:
        began_at = self._clock.monotonic()
        if began_at < self._orphans_at:
            return 0
        task_ids = await self._workers.rescue_orphans()
        now = self._clock.monotonic()
        self._orphans_at = now + max(every_s, (now - began_at) / ORPHANS_SHARE)
        if task_ids:
            log.warning("rescued %d tasks of workers that are in no registry", len(task_ids))
        return len(task_ids)
