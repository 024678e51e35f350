"""The worker: claims tasks, runs their handlers, settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.execution import Execution
from taskscheduler.application.housekeeping import Housekeeping
from taskscheduler.application.membership import Membership
from taskscheduler.application.outbox import Outbox
from taskscheduler.application.pace import Pace
from taskscheduler.application.pulse import Pulse
from taskscheduler.application.slots import Slots, released
from taskscheduler.application.tracing import TracedExecution, with_traces
from taskscheduler.domain.errors import InvalidConfiguration, SchemaMismatch, StoreUnavailable
from taskscheduler.domain.task import NAME, NAME_FORM, QUEUE_DEFAULT
from taskscheduler.domain.worker import Subscription, WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from taskscheduler.application.handlers import Handlers
    from taskscheduler.application.observer import Observer, Ran
    from taskscheduler.application.retention import Retention
    from taskscheduler.application.scheduler import Scheduler
    from taskscheduler.domain.lease import Lease, Settlement
    from taskscheduler.domain.ports import Listener
    from taskscheduler.domain.task import WorkerId
    from taskscheduler.domain.worker import Cancellation

LEASE_DEFAULT: Final = timedelta(seconds=30)
LEASE_MIN: Final = timedelta(seconds=1)
CONCURRENCY_DEFAULT: Final = 50
POLL_INTERVAL_DEFAULT: Final = timedelta(seconds=1)
SHUTDOWN_TIMEOUT_DEFAULT: Final = timedelta(seconds=20)
BACKLOG_MAX: Final = 5_000
"""With so many outcomes unsettled the worker claims no more: the store is behind, or away."""

log = logging.getLogger("taskscheduler.worker")


class Worker:
    """Runs the tasks of some queues, as many at once as ``concurrency`` allows.

    ``run`` works until it is stopped. ``turn`` does one round, claim to settlement, and returns:
    tests and scripts drive the worker with it, and nothing happens between two turns.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        scheduler: Scheduler,
        handlers: Handlers,
        *,
        queues: Iterable[str] = (QUEUE_DEFAULT,),
        concurrency: int = CONCURRENCY_DEFAULT,
        lease: timedelta = LEASE_DEFAULT,
        poll_interval: timedelta = POLL_INTERVAL_DEFAULT,
        shutdown_timeout: timedelta = SHUTDOWN_TIMEOUT_DEFAULT,
        name: str | None = None,
        retention: Retention | None = None,
        random: Callable[[], float] = random.random,
        observer: Observer | None = None,
    ) -> None:
        """``scheduler`` must be open while the worker works.

        ``lease`` is how long this process may be silent before others take its tasks;
        ``poll_interval`` how often to look for work that no wake-up announced; ``retention`` drops
        old tasks now and then; ``random`` feeds the backoff's jitter; ``observer`` is told of the
        work, batch by batch.

        Raises:
            InvalidConfiguration: a value makes no sense.
        """
        self._queues = frozenset(queues)
        _check(self._queues, concurrency, lease, poll_interval, shutdown_timeout)
        self._store = scheduler.store
        self._tracing = scheduler.tracing
        self._handlers = handlers
        self._concurrency = concurrency
        self._poll_interval_s = poll_interval.total_seconds()
        self._shutdown_timeout_s = shutdown_timeout.total_seconds()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="taskscheduler")
        self._observer = observer
        self._journal: list[Ran] | None = None if observer is None else []
        self._outbox = Outbox(self._store.tasks, on_room=self._on_room)
        self._pace = Pace(self._store.clock)
        self._membership = Membership(
            self._store.workers,
            self._store.clock,
            WorkerProfile(
                name=name or f"{socket.gethostname()}:{os.getpid()}",
                queues=self._queues,
                kinds=handlers.attempts_by_kind,
                concurrency=concurrency,
                lease=lease,
                host=socket.gethostname(),
                pid=os.getpid(),
            ),
            on_cancelled=self._on_cancelled,
            on_fenced=self._on_fenced,
            on_trusted=self._wake,
        )
        execution = Execution if self._tracing is None else partial(TracedExecution, self._tracing)
        self._slots = Slots(
            execution(
                scheduler,
                handlers,
                threads=self._threads,
                random=random,
                may_begin=self._membership.holds_its_leases,
            ),
            size=concurrency,
            on_settled=self._on_settled,
            may_begin=self._membership.trusts_its_leases,
            journal=self._journal,
        )
        self._pulse = Pulse(self._membership, self._store.clock, self._store.own_registry)
        self._housekeeping = Housekeeping(
            self._store,
            self._membership,
            poll_interval_s=self._poll_interval_s,
            retention=retention,
            observer=observer,
        )
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._draining = False
        self._unsure = False
        self._cautious = False
        self.listener: Listener | None = None
        """What it hears wake-ups with, once it runs."""

    @property
    def id(self) -> WorkerId | None:
        """The worker's id in the registry while it is joined."""
        return self._membership.worker_id

    @property
    def degraded(self) -> str | None:
        """Why wake-ups may be missed at present, or None."""
        return None if self.listener is None else self.listener.degraded

    @property
    def fenced(self) -> int:
        """How many outcomes came too late, because the lease had been lost."""
        return self._outbox.fenced

    @property
    def concurrency(self) -> int:
        """How many attempts may run at once."""
        return self._concurrency

    @property
    def busy(self) -> int:
        """How many attempts run at present."""
        return self._concurrency - self._slots.free

    @property
    def backlog(self) -> int:
        """How many outcomes the store does not have yet."""
        return self._outbox.backlog

    # -- one round at a time ---------------------------------------------------------------------

    async def turn(self) -> int:
        """Beat, keep house, claim once, run what was claimed, settle; return how many were run.

        Deterministic: when it returns, no handler of this worker is running and every outcome is
        stored.

        Raises:
            StoreUnavailable: the store went away; leases that are held stay held.
        """
        await self._membership.beat()
        await self._housekeeping.turn()
        if self._unsure:
            await self._reconcile()
        # A claim whose answer is lost leaves leases that nobody knows of.
        self._unsure = True
        leases = await self._claim(self._concurrency)
        if not leases and await self._is_due():
            leases = await self._claim(self._concurrency)
        self._unsure = False
        if any(lease.is_suspect for lease in leases):
            leases = self._set_apart(leases)
            await self._outbox.flush()
        self._submit(leases)
        await self._slots.idle()
        await self._outbox.flush()
        return len(leases)

    async def drain(self) -> int:
        """Take turns until nothing is due; return how many attempts were run."""
        total = 0
        while ran := await self.turn():
            total += ran
        return total

    async def leave(self) -> None:
        """Strike the worker out of the registry, after the last turn."""
        await self._membership.leave()

    # -- for ever --------------------------------------------------------------------------------

    async def run(self, *, until_drained: bool = False) -> None:
        """Work until ``stop`` is called; with ``until_drained``, until nothing is due.

        While the store is away the worker waits for it: it does not raise and does not exit.
        Cancelling the call stops the handlers and gives every lease back.
        """
        self._draining = until_drained
        try:
            await self._join()
            async with self._pulse.beating(), asyncio.TaskGroup() as group:
                loops = [
                    group.create_task(self._outbox.run()),
                    group.create_task(self._watch_lease_for_ever()),
                    *(group.create_task(loop) for loop in self._housekeeping.loops()),
                ]
                async with self._store.wakeups.listen(
                    self._queues, on_cancellation=self._pulse.beat_soon
                ) as listener:
                    self.listener = listener
                    await self._claim_until_stopped(listener)
                await self._wind_down()
                for loop in loops:
                    loop.cancel()
        finally:
            await asyncio.shield(self._close())

    def stop(self) -> None:
        """Stop claiming, finish what runs, give the rest back; called again, stop at once."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()
        self._wake()

    async def _join(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                await self._membership.join()
                await self._housekeeping.begin()
            except StoreUnavailable as error:
                log.warning("waiting for the store: %s", error)
                await backoff.sleep()
            else:
                return

    async def _claim_until_stopped(self, listener: Listener) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                await self._membership.join()
                room = self._room()
                if room <= 0:
                    await self._changed.wait()
                    continue
                if self._unsure:
                    await self._reconcile()
                leases = await self._claim(room)
                if self._stopping.is_set():
                    self._release(leases)
                    break
                if any(lease.is_suspect for lease in leases):
                    await self._run_suspect(leases)
                    continue
                self._submit(leases)
                if leases:
                    # Let the handlers begin before the next claim takes the loop.
                    await asyncio.sleep(0)
                    continue
                await self._wait_for_work(listener)
            except (StoreUnavailable, SchemaMismatch) as error:
                # The claim may have been heard although its answer was not.
                self._unsure = True
                log.warning("cannot claim: %s", error)
                await backoff.sleep()
            else:
                backoff.reset()

    async def _run_suspect(self, leases: Sequence[Lease]) -> None:
        """Run one task that may bring this process down, with nothing else in hand."""
        alone = self._set_apart(leases)
        self._release(self._slots.take_waiting())
        await self._slots.idle()
        while self._outbox.backlog and not self._stopping.is_set():
            self._changed.clear()
            await self._changed.wait()
        self._submit(alone)
        await self._slots.idle()

    def _set_apart(self, leases: Sequence[Lease]) -> list[Lease]:
        """Return the first suspect of ``leases`` and give the others back."""
        suspect = next(lease for lease in leases if lease.is_suspect)
        self._cautious = True
        self._release(lease for lease in leases if lease is not suspect)
        return [suspect]

    async def _wait_for_work(self, listener: Listener) -> None:
        """Return when there is something to claim, or another reason to go on; poll meanwhile."""
        while True:
            # Draining ends on the whole truth only.
            due = await self._store.tasks.next_due(self._subscription, roughly=not self._draining)
            wait_s = self._poll_interval_s * random.uniform(0.8, 1.0)  # noqa: S311 - not a secret
            is_timed = due is not None and due.total_seconds() <= wait_s
            if due is not None and is_timed:
                wait_s = due.total_seconds()
            if wait_s <= 0:
                return
            if self._draining and not self._slots.tokens and not self._outbox.backlog:
                self._stopping.set()
                return
            heard = await self._wait(listener, wait_s)
            # After a poll interval it is asked again, and claimed only if something is due.
            if heard or is_timed or self._draining or self._stopping.is_set():
                return
            if self._unsure or self._membership.worker_id is None:
                return

    async def _wait(self, listener: Listener, wait_s: float) -> bool:
        """Wait for a hint, or to be stopped, or drained; tell whether a hint came."""
        heard = asyncio.create_task(listener.wait(wait_s))
        stopped = asyncio.create_task(self._stopping.wait())
        drained = [asyncio.create_task(self._changed.wait())] if self._draining else []
        try:
            await asyncio.wait([heard, stopped, *drained], return_when=asyncio.FIRST_COMPLETED)
            return heard.done() and heard.result()
        finally:
            for waiter in (heard, stopped, *drained):
                waiter.cancel()
            with suppress(asyncio.CancelledError):
                await heard

    async def _watch_lease_for_ever(self) -> None:
        """Fence on time: this loop asks nobody, so nothing that hangs can hold it up."""
        while True:
            await asyncio.sleep(self._membership.interval_s / 4)
            self._membership.check()

    async def _wind_down(self) -> None:
        """Give back what has not begun, wait for what has, settle everything."""
        self._release(self._slots.take_waiting())
        finished = asyncio.create_task(self._slots.idle())
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait(
            [finished, forced],
            timeout=self._shutdown_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        forced.cancel()
        if not finished.done():
            log.warning("handlers are still running; they are stopped and their tasks given back")
            self._release(self._slots.drop_all())
        finished.cancel()

    async def _close(self) -> None:
        """Settle what is left and leave; if the store is away, the leases expire by themselves."""
        self._release(self._slots.drop_all())
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._outbox.flush()
                await self._membership.leave()
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("left without goodbye: %s", error or "the store did not answer in time")
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- pieces ----------------------------------------------------------------------------------

    @property
    def _subscription(self) -> Subscription:
        return Subscription(queues=self._queues, kinds=frozenset(self._handlers))

    def _room(self) -> int:
        """Return how many leases to claim now: for free slots, and ahead for those soon free."""
        if self._membership.is_fenced or self._outbox.backlog > BACKLOG_MAX:
            return 0
        waiting = self._slots.waiting
        ahead = self._pace.ahead(self._slots.begun)
        room = self._slots.free + ahead - waiting
        # While some wait, claiming can wait too, until it is worth a round trip.
        return 0 if waiting and room < ahead / 2 else room

    async def _claim(self, limit: int) -> Sequence[Lease]:
        worker_id = await self._membership.join()
        # After a suspect another may follow: one at a time, lest all others be given back again.
        limit = 1 if self._cautious else limit
        leases = await self._store.tasks.claim(worker_id, self._subscription, limit)
        if self._tracing is not None and leases:
            leases = await with_traces(self._store.tasks, leases)
        self._cautious = any(lease.is_suspect for lease in leases)
        if self._observer is not None:
            self._observer.claimed(len(leases))
            self._tell()
        return leases

    async def _is_due(self) -> bool:
        due = await self._store.tasks.next_due(self._subscription)
        return due is not None and due <= timedelta(0)

    async def _reconcile(self) -> None:
        """Give back leases that the store holds for this worker and the worker knows nothing of."""
        worker_id = await self._membership.join()
        known = {*self._slots.tokens, *self._outbox.tokens}
        released = await self._store.tasks.reconcile(worker_id, known)
        self._unsure = False
        if released:
            log.info("released %d leases whose claim was never answered", released)

    def _submit(self, leases: Sequence[Lease]) -> None:
        worker_id = self._membership.worker_id
        if worker_id is None or not self._membership.trusts_its_leases():
            self._unsure = True
            return
        self._slots.submit(leases, worker_id)

    def _release(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._outbox.add(released(lease))

    def _on_settled(self, settlement: Settlement | None) -> None:
        if settlement is not None:
            self._outbox.add(settlement)
        self._wake()

    def _on_cancelled(self, cancelled: Sequence[Cancellation]) -> None:
        for task_id, token in cancelled:
            if self._slots.drop(token):
                log.info(
                    "task %s was cancelled while it ran", task_id, extra={"task_id": str(task_id)}
                )

    def _on_fenced(self) -> None:
        self._slots.drop_all(give_back=True)
        # Claims that were under way may have been heard although nobody waits for them.
        self._unsure = True
        self._wake()

    def _on_room(self) -> None:
        self._tell()
        self._wake()

    def _tell(self) -> None:
        if self._journal and self._observer is not None:
            self._observer.ran(self._journal)
            self._journal.clear()

    def _wake(self) -> None:
        self._changed.set()


CLOSE_TIMEOUT_S: Final = 5.0


def _check(
    queues: frozenset[str],
    concurrency: int,
    lease: timedelta,
    poll_interval: timedelta,
    shutdown_timeout: timedelta,
) -> None:
    if not queues or any(NAME.fullmatch(queue) is None for queue in queues):
        message = f"queues must be at least one name of {NAME_FORM}"
        raise InvalidConfiguration(message)
    if concurrency < 1:
        message = "concurrency must be at least 1"
        raise InvalidConfiguration(message)
    if lease < LEASE_MIN:
        message = f"lease must be at least {LEASE_MIN.total_seconds():g} s"
        raise InvalidConfiguration(message)
    if poll_interval <= timedelta(0):
        message = "poll_interval must be above 0"
        raise InvalidConfiguration(message)
    if shutdown_timeout < timedelta(0):
        message = "shutdown_timeout must not be negative"
        raise InvalidConfiguration(message)
