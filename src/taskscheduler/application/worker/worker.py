"""The worker: claims tasks, runs their handlers, settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import TYPE_CHECKING

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.maintenance.bulkhead import Bulkhead
from taskscheduler.application.maintenance.maintenance import Maintenance
from taskscheduler.application.worker.claimer import Claimer
from taskscheduler.application.worker.completer import Completer
from taskscheduler.application.worker.executor import Executor
from taskscheduler.application.worker.forked_child import children_are_their_own
from taskscheduler.application.worker.heartbeat import Heartbeat
from taskscheduler.application.worker.limits import (
    CONCURRENCY_DEFAULT,
    LEASE_DEFAULT,
    POLL_INTERVAL_DEFAULT,
    SHUTDOWN_TIMEOUT_DEFAULT,
    check_settings,
    limit_batches,
)
from taskscheduler.application.worker.registration import Registration, profile_of_process
from taskscheduler.application.worker.shutdown import close, wind_down
from taskscheduler.application.worker.status import WorkerStatus
from taskscheduler.application.worker.threads import Threads
from taskscheduler.application.worker.traced_attempt import runner_by
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.values import QUEUE_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.maintenance.pruner import Retention
    from taskscheduler.application.metrics.observer import Observer, Ran
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.lease import Settlement
    from taskscheduler.domain.worker import Cancellation

log = logging.getLogger("taskscheduler.worker")


class Worker(WorkerStatus):
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
        result_bytes_max: int = RESULT_BYTES_MAX,
    ) -> None:
        """``scheduler`` must be open while the worker works.

        ``lease`` is how long this process may be silent before others take its tasks;
        ``poll_interval`` how often to look for work that no wake-up announced; ``retention`` drops
        old tasks now and then; ``random`` feeds the backoff's jitter; ``observer`` is told of the
        work, batch by batch; ``result_bytes_max`` how much JSON a handler may return.

        Raises:
            InvalidConfiguration: a value makes no sense.
        """
        self._queues = frozenset(queues)
        check_settings(
            self._queues, concurrency, lease, poll_interval, shutdown_timeout, result_bytes_max
        )
        self._store = scheduler.store
        self._handlers = handlers
        self._concurrency = concurrency
        self._shutdown_timeout_s = shutdown_timeout.total_seconds()
        self._threads = Threads(concurrency)
        limit_batches(handlers, concurrency)
        self._observer = observer
        self._journal: list[Ran] | None = None if observer is None else []
        self._bulkhead = Bulkhead(self._store.clock, observer)
        self._completer = Completer(
            self._store.tasks,
            on_room=self._on_room,
            on_fault=partial(self._bulkhead.report, "outcomes"),
        )
        self._registration = Registration(
            self._store.workers,
            self._store.clock,
            profile_of_process(name, self._queues, handlers, concurrency, lease),
            on_cancelled=self._on_cancelled,
            on_fenced=self._on_fenced,
            on_trusted=lambda: self._claimer.wake(),  # noqa: PLW0108 - it is made below
            abandoned=lambda: self._threads.abandoned,
        )
        self._execution = runner_by(scheduler.tracing)(
            scheduler,
            handlers,
            threads=self._threads,
            random=random,
            may_begin=self._registration.holds_its_leases,
            result_bytes_max=result_bytes_max,
        )
        self._executor = Executor(
            self._execution,
            size=concurrency,
            on_settled=self._on_settled,
            may_begin=self._registration.trusts_its_leases,
            journal=self._journal,
        )
        self._heartbeat = Heartbeat(
            self._registration, self._store.clock, self._store.heartbeat_registry
        )
        self._maintenance = Maintenance(
            self._store,
            self._registration,
            poll_interval_s=poll_interval.total_seconds(),
            retention=retention,
            observer=observer,
            bulkhead=self._bulkhead,
        )
        self._claimer = Claimer(
            scheduler,
            handlers,
            self._registration,
            self._executor,
            self._completer,
            queues=self._queues,
            concurrency=concurrency,
            poll_interval_s=poll_interval.total_seconds(),
            on_claimed=self._on_claimed,
            bulkhead=self._bulkhead,
        )
        self._forced = asyncio.Event()

    # -- one round at a time ---------------------------------------------------------------------

    async def turn(self) -> int:
        """Beat, keep house, claim once, run what was claimed, settle; return how many were run.

        Deterministic: when it returns, no handler of this worker is running and every outcome is
        stored.

        Raises:
            StoreUnavailable: the store went away; leases that are held stay held.
        """
        await self._registration.heartbeat()
        await self._maintenance.turn()
        ran = await self._claimer.turn()
        await self._executor.idle()
        await self._completer.flush()
        await self._store.followers.idle()
        self._claimer.rest()
        return ran

    async def drain(self) -> int:
        """Take turns until nothing is due; return how many attempts were run."""
        total = 0
        while ran := await self.turn():
            total += ran
        return total

    def tell_of_errors(self, told: Callable[[BaseException], None]) -> None:
        """Call ``told`` with whatever handlers raise that is no verdict. For tests."""
        self._execution.on_raised = told

    async def deregister(self) -> None:
        """Leave the registry, after the last turn."""
        await self._registration.deregister()

    # -- for ever --------------------------------------------------------------------------------

    async def run(self, *, until_drained: bool = False) -> None:
        """Work until ``stop`` is called; with ``until_drained``, until nothing is due.

        While the store is away the worker waits for it: it does not raise and does not exit.
        Cancelling the call stops the handlers and gives every lease back. Should it die all the
        same, it says so in the log, where nobody awaits it, and raises.

        Raises:
            StoreUnavailable: only with ``until_drained``: the store cannot be reached, or was away
                for so long that the worker's leases are no longer its own.
        """
        with children_are_their_own():
            try:
                async with self._handlers.opened():
                    await self._work(until_drained=until_drained)
            except Exception:
                log.critical("the worker dies; its tasks go to others", exc_info=True)
                raise

    async def _work(self, *, until_drained: bool) -> None:
        try:
            await self._join(until_drained=until_drained)
            async with self._heartbeat.beating(), asyncio.TaskGroup() as group:
                loops = [
                    group.create_task(self._completer.run()),
                    group.create_task(self._watch_lease_for_ever()),
                    *(group.create_task(loop) for loop in self._maintenance.loops()),
                ]
                async with self._store.wakeups.listen(
                    self._queues, on_cancellation=self._heartbeat.heartbeat_soon
                ) as listener:
                    self.listener = listener
                    await self._claimer.run(listener, until_drained=until_drained)
                await wind_down(
                    self._claimer,
                    self._executor,
                    forced=self._forced,
                    timeout_s=self._shutdown_timeout_s,
                )
                for loop in loops:
                    loop.cancel()
        finally:
            await asyncio.shield(self._execution.close())
            await asyncio.shield(
                close(
                    self._claimer,
                    self._executor,
                    self._completer,
                    self._registration,
                    self._threads,
                )
            )
        if until_drained and self._claimer.away is not None:
            raise self._claimer.away

    def stop(self) -> None:
        """Stop claiming, finish what runs, give the rest back; called again, stop at once."""
        if self._claimer.stopping.is_set():
            self._forced.set()
        self._claimer.stop()

    async def _join(self, *, until_drained: bool) -> None:
        backoff = Backoff()
        while not self._claimer.stopping.is_set():
            try:
                await self._registration.register()
                await self._maintenance.begin()
            except StoreUnavailable as error:
                if until_drained:
                    raise
                log.warning("waiting for the store: %s", error)
                await backoff.sleep()
            else:
                return

    async def _watch_lease_for_ever(self) -> None:
        """Fence on time: this loop asks nobody, so nothing that hangs can hold it up."""
        while True:
            await asyncio.sleep(self._registration.interval_s / 4)
            self._registration.check()

    # -- pieces ----------------------------------------------------------------------------------

    def _on_settled(self, settlement: Settlement | None) -> None:
        if settlement is not None:
            self._completer.add(settlement)
        self._claimer.wake()

    def _on_cancelled(self, cancelled: Sequence[Cancellation]) -> None:
        for task_id, token in cancelled:
            if self._executor.drop(token):
                log.info(
                    "task %s was cancelled while it ran", task_id, extra={"task_id": str(task_id)}
                )

    def _on_fenced(self) -> None:
        self._executor.drop_all(give_back=True)
        # Claims that were under way may have been heard although nobody waits for them.
        self._claimer.doubt()
        self._claimer.wake()

    def _on_claimed(self, tasks: int) -> None:
        if self._observer is not None:
            self._observer.claimed(tasks)
            self._tell()

    def _on_room(self) -> None:
        self._tell()
        self._claimer.settled()

    def _tell(self) -> None:
        if self._journal and self._observer is not None:
            self._observer.ran(self._journal)
            self._journal.clear()
