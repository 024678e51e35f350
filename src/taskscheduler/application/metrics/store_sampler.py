"""Looks at the store that many may ask for and few may cost."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context as Variables
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.queue import Backlog

EXACT_UP_TO: Final = 10_000
FRESH_S: Final = 5.0
PATIENCE_S: Final = 4.0

log = logging.getLogger("taskscheduler.metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look: at the queues and the workers, at ``taken_s`` on the monotonic clock."""

    backlog: Backlog
    workers_live: int
    workers_silent: int
    taken_s: float


class StoreSampler:
    """Keeps the last look for a few seconds; however many ask, one query is under way."""

    def __init__(self, store: Store, *, fresh_s: float = FRESH_S) -> None:
        """Look at ``store``, which must be open."""
        self._store = store
        self._fresh_s = fresh_s
        self._last: Sample | None = None
        self._looked_s: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self.store_answers = False
        """Whether the last look was answered."""

    async def latest(self) -> Sample | None:
        """Return a look of these seconds; while the store is away or slow, the last one there was.

        None if there never was one. Waits a few seconds at most.
        """
        now = self._store.clock.monotonic()
        if self._looking is None and (
            self._looked_s is None or now - self._looked_s >= self._fresh_s
        ):
            # Done for many: no log line of it belongs to the one that began it.
            self._looking = asyncio.create_task(self._look(), context=Variables())
            self._looking.add_done_callback(self._looked)
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE_S)
        return self._last

    def age_s(self, sample: Sample) -> float:
        """Return how old ``sample`` is."""
        return self._store.clock.monotonic() - sample.taken_s

    def _looked(self, _: asyncio.Task[None]) -> None:
        self._looking = None
        self._looked_s = self._store.clock.monotonic()

    async def _look(self) -> None:
        asked_s = self._store.clock.monotonic()
        try:
            backlog = await self._store.backlog_stats.backlog(exact_up_to=EXACT_UP_TO)
            registered = await self._store.workers.registered()
        except (StoreUnavailable, SchemaMismatch) as error:
            log.warning("metrics of the store are stale: %s", error)
            self.store_answers = False
            return
        except Exception:
            log.exception("metrics of the store are stale")
            self.store_answers = False
            return
        silent = sum(each.expired for each in registered)
        self._last = Sample(
            backlog=backlog,
            workers_live=len(registered) - silent,
            workers_silent=silent,
            taken_s=asked_s,
        )
        self.store_answers = True
