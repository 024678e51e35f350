"""A worker's standing in the registry: joined, beating, or fenced off."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

from taskscheduler.domain.errors import StoreUnavailable, WorkerLost
from taskscheduler.domain.worker import WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.values import WorkerId
    from taskscheduler.domain.worker import Cancellation

log = logging.getLogger("taskscheduler.worker")


def profile_of_process(
    name: str | None,
    queues: frozenset[str],
    handlers: Handlers,
    concurrency: int,
    lease: timedelta,
) -> WorkerProfile:
    """Return how a worker of this process registers; without a ``name``, by host and process."""
    host, pid = socket.gethostname(), os.getpid()
    return WorkerProfile(
        name=name or f"{host}:{pid}",
        queues=queues,
        kinds=handlers.attempts_by_kind,
        concurrency=concurrency,
        lease=lease,
        host=host,
        pid=pid,
    )


class Registration:
    """Joins, beats and leaves; says when the worker must no longer trust its leases.

    A worker that could not renew its lease for two thirds of it fences itself on its own
    monotonic clock: it stops its handlers before anybody else may take their tasks.
    """

    def __init__(
        self,
        workers: WorkerRegistry,
        clock: Clock,
        profile: WorkerProfile,
        *,
        on_cancelled: Callable[[Sequence[Cancellation]], None],
        on_fenced: Callable[[], None],
        on_trusted: Callable[[], None] = lambda: None,
        abandoned: Callable[[], int] = lambda: 0,
    ) -> None:
        """``on_cancelled`` stops single attempts, ``on_fenced`` all; after it, work may go on.

        ``on_trusted`` says so: the leases are good again, or the worker is to join anew.
        ``abandoned`` tells how many of its threads run on though their attempts have ended.
        """
        self._workers = workers
        self._clock = clock
        self._profile = profile
        self._on_cancelled = on_cancelled
        self._on_fenced = on_fenced
        self._on_trusted = on_trusted
        self.abandoned = abandoned
        self._trusted_for_s = profile.lease.total_seconds() * 2 / 3
        self._trusted_until = 0.0
        self._fenced = False
        self.worker_id: WorkerId | None = None

    @property
    def lease_s(self) -> float:
        """For how long the worker may be silent."""
        return self._profile.lease.total_seconds()

    @property
    def interval_s(self) -> float:
        """How often to beat: three times in the span after which the worker fences itself."""
        return self._profile.lease.total_seconds() * 2 / 9

    @property
    def is_fenced(self) -> bool:
        """Whether the leases are no longer to be trusted."""
        return self._fenced

    async def register(self) -> WorkerId:
        """Join unless joined already; return the worker's id."""
        if self.worker_id is None:
            asked_at = self._clock.monotonic()
            self.worker_id = await self._workers.register(self._profile)
            self._trusted_until = asked_at + self._trusted_for_s
            self._fenced = False
        return self.worker_id

    async def heartbeat(self) -> None:
        """Renew the lease once; fence, and join anew, when the store no longer knows this worker.

        Raises:
            StoreUnavailable: the beat may not have counted. When that has gone on for two thirds
                of the lease, the worker has been fenced.
        """
        worker_id = await self.register()
        # Counted from before the call: the store's lease runs from some moment within it.
        asked_at = self._clock.monotonic()
        try:
            cancelled = await self._workers.heartbeat(worker_id, abandoned=self.abandoned())
        except WorkerLost:
            self.lost(worker_id)
            await self.register()
        except StoreUnavailable:
            self.check()
            raise
        else:
            self.renewed(worker_id, asked_at, cancelled)

    def renewed(
        self, worker_id: WorkerId, asked_at: float, cancelled: Sequence[Cancellation]
    ) -> None:
        """Take note of a beat that was asked for at ``asked_at`` and answered."""
        if worker_id != self.worker_id:
            return
        # A renewal that comes late ends the leases all the same: somebody may have waited for them.
        self.check()
        self._trusted_until = asked_at + self._trusted_for_s
        if self._fenced:
            self._fenced = False
            self._on_trusted()
        if cancelled:
            self._on_cancelled(cancelled)

    def lost(self, worker_id: WorkerId) -> None:
        """Take note that the store no longer knows ``worker_id``."""
        if worker_id == self.worker_id:
            log.warning("worker %d was declared dead; other workers take its tasks", worker_id)
            self._fence()
            self.worker_id = None
            # It may have been fenced before; somebody must join anew all the same.
            self._on_trusted()

    def check(self) -> None:
        """Fence the worker if its lease was last renewed too long ago."""
        if self.worker_id is not None and self._clock.monotonic() > self._trusted_until:
            self._fence()

    def holds_its_leases(self) -> bool:
        """Tell whether attempts may begin, and do no more: callable from any thread."""
        return not self._fenced and self._clock.monotonic() <= self._trusted_until

    def trusts_its_leases(self) -> bool:
        """Tell whether attempts may begin; fence the worker first if it is time."""
        self.check()
        return not self._fenced

    async def deregister(self) -> None:
        """Strike the worker out of the registry."""
        if self.worker_id is not None:
            await self._workers.deregister(self.worker_id)
            self.worker_id = None

    def _fence(self) -> None:
        if not self._fenced:
            self._fenced = True
            log.warning("worker %s fences itself: its leases may have passed on", self.worker_id)
            self._on_fenced()
