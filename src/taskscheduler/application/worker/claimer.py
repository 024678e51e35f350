"""The claim loop: when a worker looks for work, how much of it, and which it leaves alone."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.worker.executor import released
from taskscheduler.application.worker.prefetch import Prefetch
from taskscheduler.application.worker.suspects import Suspicion
from taskscheduler.application.worker.traced_attempt import with_traces
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable
from taskscheduler.domain.worker import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.maintenance.bulkhead import Bulkhead
    from taskscheduler.application.worker.completer import Completer
    from taskscheduler.application.worker.executor import Executor
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.application.worker.registration import Registration
    from taskscheduler.domain.lease import Lease, Suspects
    from taskscheduler.domain.ports.wakeups import Listener

BACKLOG_MAX: Final = 5_000
"""With so many outcomes unsettled the worker claims no more: the store is behind, or away."""

log = logging.getLogger("taskscheduler.worker")


class Claimer:
    """Claims for the free slots of one worker, and a little ahead for those soon free."""

    def __init__(  # noqa: PLR0913 - each is a part of the worker
        self,
        scheduler: Scheduler,
        handlers: Handlers,
        registration: Registration,
        slots: Executor,
        completer: Completer,
        *,
        queues: frozenset[str],
        concurrency: int,
        poll_interval_s: float,
        on_claimed: Callable[[int], None],
        bulkhead: Bulkhead,
    ) -> None:
        """Claim from ``queues`` what ``handlers`` can run, and hand it to ``slots``.

        ``on_claimed`` is told of every claim how much it brought; ``bulkhead`` of errors that
        nobody foresaw.
        """
        self._store = scheduler.store
        self._tracing = scheduler.tracing
        self._handlers = handlers
        self._registration = registration
        self._executor = slots
        self._completer = completer
        self._queues = queues
        self._concurrency = concurrency
        self._poll_interval_s = poll_interval_s
        self._on_claimed = on_claimed
        self._bulkhead = bulkhead
        self._prefetch = Prefetch(self._store.clock)
        self._suspicion = Suspicion(self._store.clock)
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._draining = False
        self._unsure = False
        self.stopping = asyncio.Event()
        self.away: StoreUnavailable | SchemaMismatch | None = None
        """Why the last claim failed, if it did."""

    @property
    def suspects(self) -> Suspects | None:
        """The due suspects that the last look found."""
        return self._suspicion.found

    @property
    def runs_suspects(self) -> bool:
        """Whether suspects run here, and so nothing else."""
        return self._suspicion.at_work

    def settled(self) -> None:
        """Look again: outcomes were written, and limits may let something begin."""
        self._settled.set()
        self.wake()

    def wake(self) -> None:
        """Look again: something has changed."""
        self._changed.set()

    def stop(self) -> None:
        """Claim no more."""
        self.stopping.set()
        self.wake()

    def doubt(self) -> None:
        """Reconcile before the next claim: the store may hold leases that nobody here knows of."""
        self._unsure = True

    def rest(self) -> None:
        """Take note that nothing runs any more: after a turn."""
        self._suspicion.end()

    def give_back(self, leases: Iterable[Lease]) -> None:
        """Return ``leases`` to the store, as if they had never been claimed."""
        for lease in leases:
            self._completer.add(released(lease))

    async def turn(self) -> int:
        """Claim once, and hand what was claimed to the slots; return how much that was.

        Raises:
            StoreUnavailable: the store went away; leases that are held stay held.
        """
        if self._unsure:
            await self._reconcile()
        # A claim whose answer is lost leaves leases that nobody knows of.
        self._unsure = True
        leases = await self._claim(self._concurrency)
        if not leases and await self._is_due():
            leases = await self._claim(self._concurrency)
        if not leases and (found := await self._look_for_suspects()) is not None:
            leases = await self._claim_suspects(found)
        self._unsure = False
        self._submit(leases)
        return len(leases)

    async def run(self, listener: Listener, *, until_drained: bool = False) -> None:
        """Claim until stopped, or until nothing is due; while the store is away, wait for it."""
        self._draining = until_drained
        backoff = Backoff()
        while not self.stopping.is_set():
            self._changed.clear()
            self._settled.clear()
            if until_drained and self.away is not None and self._registration.is_fenced:
                return
            try:
                await self._go_on(listener)
            except (StoreUnavailable, SchemaMismatch) as error:
                # The claim may have been heard although its answer was not.
                self._unsure = True
                self.away = error
                log.warning("cannot claim: %s", error)
                await backoff.sleep()
            except Exception as error:  # noqa: BLE001 - whatever it is, what runs goes on
                self._unsure = True
                self._bulkhead.failed("claim", error)
                await backoff.sleep()
            else:
                self.away = None
                backoff.reset()

    async def _go_on(self, listener: Listener) -> None:
        """Claim once; where there is no room, or nothing to claim, wait for that to change."""
        await self._registration.register()
        if self._suspicion.at_work and not self._holds_something():
            self._suspicion.end()
        room = 0 if self._suspicion.at_work else self._room()
        if room <= 0:
            await self._changed.wait()
            return
        if self._unsure:
            await self._reconcile()
        if self._suspicion.should_look():
            await self._look_for_suspects()
        leases = await self._claim_some(room)
        if self.stopping.is_set():
            self.give_back(leases)
        elif leases:
            self._submit(leases)
            # Let the handlers begin before the next claim takes the loop.
            await asyncio.sleep(0)
        elif (hold_s := self._suspicion.hold_left_s) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(hold_s):
                    await self._changed.wait()
        else:
            await self._wait_for_work(listener)

    async def _claim_some(self, room: int) -> Sequence[Lease]:
        """Claim what is no suspect, or where there is nothing else to do, what is."""
        leases: Sequence[Lease] = []
        if self._suspicion.hold_left_s <= 0:
            leases = await self._claim(room)
        if not leases and self.suspects is not None and not self._holds_something():
            leases = await self._claim_suspects(self.suspects)
        return leases

    async def _wait_for_work(self, listener: Listener) -> None:
        """Return when there is something to claim, or another reason to go on; poll meanwhile."""
        while True:
            # Draining ends on the whole truth only, and that is looked for once nothing is held.
            ends = self._draining and not self._holds_something()
            if ends:
                await self._store.followers.idle()
                await self._store.followers.release()
            due = await self._store.tasks.next_due(self._subscription, roughly=not self._draining)
            wait_s = self._poll_interval_s * random.uniform(0.8, 1.0)  # noqa: S311 - not a secret
            is_timed = due is not None and due.total_seconds() <= wait_s
            if due is not None and is_timed:
                wait_s = due.total_seconds()
            if wait_s <= 0:
                return
            is_held_back = self._store.tasks.are_held_back(self._subscription)
            if ends and not is_held_back:
                if await self._look_for_suspects() is None:
                    self.stopping.set()
                return
            heard = await self._wait(listener, wait_s, is_held_back=is_held_back)
            if is_held_back and self._settled.is_set():
                return
            if self._suspicion.should_look():
                await self._look_for_suspects()
            # After a poll interval it is asked again, and claimed only if something is due.
            if heard or is_timed or self._has_reason_to_go_on():
                return

    def _has_reason_to_go_on(self) -> bool:
        return (
            self._draining
            or self._unsure
            or self.stopping.is_set()
            or self.suspects is not None
            or self._registration.worker_id is None
        )

    async def _wait(self, listener: Listener, wait_s: float, *, is_held_back: bool) -> bool:
        """Wait for a hint, or to be stopped, or for the last handler; tell whether a hint came.

        Where limits keep back what is due, wait for outcomes that were written, too.
        """
        heard = asyncio.create_task(listener.wait(wait_s))
        waiters: list[asyncio.Task[bool]] = [heard, asyncio.create_task(self.stopping.wait())]
        if is_held_back:
            waiters.append(asyncio.create_task(self._settled.wait()))
        elif self._draining or self.suspects is not None:
            # Then it matters when the last handler ends.
            waiters.append(asyncio.create_task(self._changed.wait()))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            return heard.done() and heard.result()
        finally:
            for waiter in waiters:
                waiter.cancel()
            with suppress(asyncio.CancelledError):
                await heard

    # -- pieces ----------------------------------------------------------------------------------

    @property
    def _subscription(self) -> Subscription:
        kinds = frozenset(self._handlers)
        return Subscription(queues=self._queues, kinds=kinds, suspects=False)

    def _holds_something(self) -> bool:
        return bool(self._executor.tokens or self._completer.backlog)

    def _room(self) -> int:
        """Return how many leases to claim now: for free slots, and ahead for those soon free."""
        if self._registration.is_fenced or self._completer.backlog > BACKLOG_MAX:
            return 0
        waiting = self._executor.waiting
        ahead = self._prefetch.ahead(self._executor.begun)
        if self._store.tasks.are_tight(self._subscription):
            ahead = 0
        room = self._executor.free + ahead - waiting
        # While some wait, claiming can wait too, until it is worth a round trip.
        return 0 if waiting and room < ahead / 2 else room

    async def _claim(self, limit: int) -> Sequence[Lease]:
        worker_id = await self._registration.register()
        leases = await self._store.tasks.claim(worker_id, self._subscription, limit)
        return await self._claimed(leases)

    async def _look_for_suspects(self) -> Suspects | None:
        return self._suspicion.take(await self._store.tasks.suspects(self._subscription))

    async def _claim_suspects(self, found: Suspects) -> Sequence[Lease]:
        """Claim as many suspects as may run together. There must be nothing else in hand."""
        worker_id = await self._registration.register()
        limit = self._suspicion.begin(found, self._concurrency)
        leases = await self._store.tasks.claim_suspects(
            worker_id, self._subscription, found.excused, limit
        )
        if not leases:
            self._suspicion.end()
            return leases
        log.info(
            "%d tasks that were there when %d workers went down run here, and nothing beside them",
            len(leases),
            found.excused,
        )
        return await self._claimed(leases)

    async def _claimed(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        if self._tracing is not None and leases:
            leases = await with_traces(self._store.tasks, leases)
        self._on_claimed(len(leases))
        return leases

    async def _is_due(self) -> bool:
        due = await self._store.tasks.next_due(self._subscription)
        return due is not None and due <= timedelta(0)

    async def _reconcile(self) -> None:
        """Give back leases that the store holds for this worker and the worker knows nothing of."""
        worker_id = await self._registration.register()
        known: Collection[int] = {*self._executor.tokens, *self._completer.tokens}
        released_ = await self._store.tasks.reconcile(worker_id, known)
        self._unsure = False
        if released_:
            log.info("released %d leases whose claim was never answered", released_)

    def _submit(self, leases: Sequence[Lease]) -> None:
        worker_id = self._registration.worker_id
        if worker_id is None or not self._registration.trusts_its_leases():
            self._unsure = True
            return
        self._executor.submit(leases, worker_id)
