"""The worker: claims tasks, runs their handlers, settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.maintenance.bulkhead import Bulkhead
from taskscheduler.application.maintenance.maintenance import Maintenance
from taskscheduler.application.worker.attempt import AttemptRunner
from taskscheduler.application.worker.claimer import Claimer
from taskscheduler.application.worker.completer import Completer
from taskscheduler.application.worker.executor import Executor
from taskscheduler.application.worker.forked_child import children_are_their_own
from taskscheduler.application.worker.heartbeat import Heartbeat
from taskscheduler.application.worker.registration import Registration
from taskscheduler.application.worker.threads import Threads
from taskscheduler.application.worker.traced_attempt import TracedAttemptRunner
from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable
from taskscheduler.domain.notes import RESULT_BYTES_LIMIT, RESULT_BYTES_MAX
from taskscheduler.domain.task import NAME, NAME_FORM, QUEUE_DEFAULT
from taskscheduler.domain.worker import WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.maintenance.pruner import Retention
    from taskscheduler.application.metrics.observer import Observer, Ran
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.lease import Settlement
    from taskscheduler.domain.ports.wakeups import Listener
    from taskscheduler.domain.values import WorkerId
    from taskscheduler.domain.worker import Cancellation

LEASE_DEFAULT: Final = timedelta(seconds=30)
LEASE_MIN: Final = timedelta(seconds=1)
CONCURRENCY_DEFAULT: Final = 50
POLL_INTERVAL_DEFAULT: Final = timedelta(seconds=1)
SHUTDOWN_TIMEOUT_DEFAULT: Final = timedelta(seconds=20)

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
        _check(self._queues, concurrency, lease, poll_interval, shutdown_timeout)
        if not 0 <= result_bytes_max <= RESULT_BYTES_LIMIT:
            message = f"result_bytes_max must be 0 to {RESULT_BYTES_LIMIT}"
            raise InvalidConfiguration(message)
        self._store = scheduler.store
        self._tracing = scheduler.tracing
        self._handlers = handlers
        self._concurrency = concurrency
        self._shutdown_timeout_s = shutdown_timeout.total_seconds()
        self._threads = Threads(concurrency)
        self._observer = observer
        self._journal: list[Ran] | None = None if observer is None else []
        self._bulkhead = Bulkhead(self._store.clock, observer)
        self._completer = Completer(
            self._store.tasks,
            on_room=self._on_room,
            on_fault=partial(self._bulkhead.told, "outcomes"),
        )
        self._registration = Registration(
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
            on_trusted=self._on_trusted,
            abandoned=lambda: self._threads.abandoned,
        )
        execution = (
            AttemptRunner if self._tracing is None else partial(TracedAttemptRunner, self._tracing)
        )
        self._execution = execution(
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
        self.listener: Listener | None = None
        """What it hears wake-ups with, once it runs."""

    @property
    def id(self) -> WorkerId | None:
        """The worker's id in the registry while it is joined."""
        return self._registration.worker_id

    @property
    def degraded(self) -> str | None:
        """Why wake-ups may be missed at present, or None."""
        return None if self.listener is None else self.listener.degraded

    @property
    def fenced(self) -> int:
        """How many outcomes came too late, because the lease had been lost."""
        return self._completer.fenced

    @property
    def refused(self) -> int:
        """How many outcomes the store refused for good, so that others were made of them."""
        return self._completer.refused

    @property
    def abandoned(self) -> int:
        """How many threads still run attempts that have ended without them."""
        return self._threads.abandoned

    @property
    def suspects(self) -> int:
        """How many due suspects the last look found; see ``Suspicion``."""
        found = self._claimer.suspects
        return 0 if found is None else found.number

    @property
    def runs_suspects(self) -> bool:
        """Whether it runs suspects at present, and so nothing else."""
        return self._claimer.runs_suspects

    @property
    def concurrency(self) -> int:
        """How many attempts may run at once."""
        return self._concurrency

    @property
    def busy(self) -> int:
        """How many attempts run at present."""
        return self._concurrency - self._executor.free

    @property
    def backlog(self) -> int:
        """How many outcomes the store does not have yet."""
        return self._completer.backlog

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
        """Strike the worker out of the registry, after the last turn."""
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
                await self._wind_down()
                for loop in loops:
                    loop.cancel()
        finally:
            await asyncio.shield(self._close())
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

    async def _wind_down(self) -> None:
        """Give back what has not begun, wait for what has, settle everything."""
        self._claimer.give_back(self._executor.take_waiting())
        finished = asyncio.create_task(self._executor.idle())
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait(
            [finished, forced],
            timeout=self._shutdown_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        forced.cancel()
        if not finished.done():
            log.warning("handlers are still running; they are stopped and their tasks given back")
            self._claimer.give_back(self._executor.drop_all())
        finished.cancel()

    async def _close(self) -> None:
        """Settle what is left and leave; if the store is away, the leases expire by themselves."""
        self._claimer.give_back(self._executor.drop_all())
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._completer.flush()
                await self._registration.deregister()
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("left without goodbye: %s", error or "the store did not answer in time")
        except Exception:
            log.exception("left without goodbye")
        self._threads.shutdown()

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

    def _on_trusted(self) -> None:
        self._claimer.wake()

    def _on_claimed(self, tasks: int) -> None:
        if self._observer is not None:
            self._observer.claimed(tasks)
            self._tell()

    def _on_room(self) -> None:
        self._tell()
        self._claimer.wake()

    def _tell(self) -> None:
        if self._journal and self._observer is not None:
            self._observer.ran(self._journal)
            self._journal.clear()


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
