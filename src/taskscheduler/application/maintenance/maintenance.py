"""What every worker does beside its tasks, so that nobody else has to: there is no leader.

It takes tasks from workers that have fallen silent, lets go what waits for tasks that have ended,
fires schedules, prepares the store for the days ahead, and drops what has been kept long enough.
Any number of workers may do so at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final, Protocol

from taskscheduler.application.maintenance.bulkhead import Bulkhead
from taskscheduler.application.maintenance.rescuer import Rescuer
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import timedelta

    from taskscheduler.application.maintenance.pruner import Retention
    from taskscheduler.application.metrics.observer import Observer
    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import WorkerId

RELEASE_S: Final = 10.0
"""How long what waits for a task may wait longer, if whoever has ended that died at once."""
LOOK_AROUND_S: Final = 2.0
"""How often, at least, to look for silent workers: their lease may be shorter than ours."""

log = logging.getLogger("taskscheduler.worker")


class Holder(Protocol):
    """The worker for whom the maintenance is done: how long its lease is, and its id."""

    @property
    def lease_s(self) -> float:
        """The lease in seconds."""
        ...

    @property
    def worker_id(self) -> WorkerId | None:
        """The worker's id while it is registered."""
        ...


class Maintenance:
    """The rounds of one worker. ``turn`` does one; ``loops`` go on for ever."""

    def __init__(
        self,
        store: Store,
        registration: Holder,
        *,
        poll_interval_s: float,
        retention: Retention | None = None,
        observer: Observer | None = None,
        bulkhead: Bulkhead | None = None,
    ) -> None:
        """Keep ``store`` in order; look for new schedules every ``poll_interval_s``.

        What fails is put aside by ``bulkhead``, and the rest is done.
        """
        self._store = store
        self._registration = registration
        self._poll_interval_s = poll_interval_s
        self._retention = retention
        self._observer = observer
        self._bulkhead = bulkhead or Bulkhead(store.clock, observer)
        self._rescue = Rescuer(store.workers, store.clock, self._bulkhead)
        self._firing = ScheduleRunner(store, observer)
        self._release_at = store.clock.monotonic()
        self._every_s = min(max(registration.lease_s / 4, 0.25), LOOK_AROUND_S)

    async def begin(self) -> None:
        """Do what the first claim builds on: room for today, and the tasks of what is due.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self._keep_up()
        await self._fire()

    async def turn(self) -> None:
        """Look once for all of it, but for what has been kept long enough.

        Raises:
            StoreUnavailable: the store went away; what was left is found the next time.
        """
        await self._keep()
        await self._fire()

    def loops(self) -> Sequence[Coroutine[None, None, None]]:
        """Return what is to run while the worker does. A store that is away is waited for."""
        return self._keep_for_ever(), self._fire_for_ever(), self._retire_for_ever()

    async def _keep(self) -> None:
        own = self._registration.worker_id
        rescued = await self._bulkhead.keep("rescue", lambda: self._rescue.turn(own))
        if rescued and self._observer is not None:
            self._observer.rescued(rescued)
        await self._release(at_once=bool(rescued))
        await self._keep_up()

    async def _release(self, *, at_once: bool) -> None:
        """Let go what waited for tasks whose end nobody followed up: now and then, if at all."""
        now = self._store.clock.monotonic()
        if at_once or now >= self._release_at:
            self._release_at = now + RELEASE_S
            await self._bulkhead.keep("followers", self._store.followers.release)

    async def _keep_up(self) -> None:
        for complaint in await self._bulkhead.keep("upkeep", self._store.upkeep.turn) or ():
            self._bulkhead.complain("upkeep", complaint)

    async def _fire(self) -> timedelta | None:
        return await self._bulkhead.keep("schedules", self._firing.turn)

    async def _keep_for_ever(self) -> None:
        clock = self._store.clock
        looked_at = clock.monotonic()
        while True:
            await asyncio.sleep(_about(self._every_s))
            if clock.monotonic() - looked_at > self._registration.lease_s / 2:
                # This process was stopped, and perhaps all of them were: they may beat now.
                self._rescue.forget()
            try:
                await self._keep()
            except (StoreUnavailable, SchemaMismatch) as error:
                log.warning("maintenance waits for the store: %s", error)
            looked_at = clock.monotonic()

    async def _fire_for_ever(self) -> None:
        """On time, by a timer; a schedule that is new is found within a poll interval."""
        while True:
            wait_s = _about(self._poll_interval_s)
            try:
                due = await self._fire()
                if due is not None:
                    wait_s = min(wait_s, due.total_seconds())
            except (StoreUnavailable, SchemaMismatch) as error:
                log.warning("schedules wait for the store: %s", error)
            await asyncio.sleep(wait_s)

    async def _retire_for_ever(self) -> None:
        """Apart from the rest: what is exported takes its time, and rescues must not wait."""
        while self._retention is not None:
            try:
                await self._bulkhead.keep("retention", self._retention.turn)
            except (StoreUnavailable, SchemaMismatch) as error:
                log.warning("retention waits for the store: %s", error)
            await asyncio.sleep(self._every_s)


def _about(seconds: float) -> float:
    """Return a little less, at random, so that workers that began together do not look together."""
    return seconds * random.uniform(0.8, 1.0)  # noqa: S311 - not a secret
