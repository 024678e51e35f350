"""The heartbeat: a thread with an event loop and a connection of its own.

Handlers cannot starve it: neither by keeping the worker's loop busy for a moment nor by taking
every pooled connection. Yet it must not lie either: when the worker's loop has not answered for a
while, its handlers cannot be told to stop, so the heartbeats stop too, and others take its tasks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.domain.errors import WorkerLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.application.worker.registration import Registration
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.worker import Cancellation

GIVE_UP_S: Final = 1.0
"""How long a cancelled beat may take to end: one that asks a silent server takes long."""

log = logging.getLogger("taskscheduler.worker")


class Heartbeat:
    """Beats for one worker from a thread, and reports to the worker's own loop."""

    def __init__(
        self,
        registration: Registration,
        clock: Clock,
        heartbeat_registry: Callable[[], AbstractAsyncContextManager[WorkerRegistry]],
    ) -> None:
        """``heartbeat_registry`` opens a registry that shares nothing with the worker's."""
        self._registration = registration
        self._clock = clock
        self._own_registry = heartbeat_registry
        self._worker_loop: asyncio.AbstractEventLoop | None = None
        self._pulse_loop: asyncio.AbstractEventLoop | None = None
        self._soon: asyncio.Event | None = None
        self._stopped: asyncio.Event | None = None
        self._ended = False
        self._asked: set[asyncio.Task[Sequence[Cancellation]]] = set()

    @asynccontextmanager
    async def beating(self) -> AsyncGenerator[None]:
        """Beat as long as the block lasts."""
        self._worker_loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._live_on, name="taskscheduler-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended = True
            self._tell(self._stopped)
            await asyncio.to_thread(thread.join, 5.0)

    def heartbeat_soon(self) -> None:
        """Beat without waiting for the interval to pass: there is news. Callable in any thread."""
        self._tell(self._soon)

    def _tell(self, event: asyncio.Event | None) -> None:
        if self._pulse_loop is not None and event is not None:
            with suppress(RuntimeError):  # the loop has closed already
                self._pulse_loop.call_soon_threadsafe(event.set)

    def _live_on(self) -> None:
        """Live until the block ends: a worker without a heartbeat would never work again."""
        while not self._ended:
            try:
                asyncio.run(self._live())
            except Exception:
                log.exception("the heartbeat failed; it starts again")
                time.sleep(min(self._registration.interval_s, GIVE_UP_S))

    async def _live(self) -> None:
        self._soon = asyncio.Event()
        self._stopped = asyncio.Event()
        self._pulse_loop = asyncio.get_running_loop()
        if self._ended:  # before there was a loop to tell
            return
        async with AsyncExitStack() as stack:
            registry = await stack.enter_async_context(self._own_registry())
            beating = asyncio.create_task(self._beat_for_ever(registry, self._soon))
            await self._stopped.wait()
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            await self._give_up_asking()

    async def _beat_for_ever(self, registry: WorkerRegistry, soon: asyncio.Event) -> None:
        interval_s = self._registration.interval_s
        backoff = Backoff(last_s=interval_s / 2)
        while True:
            if await self._worker_answers() and not await self._beat(registry):
                await backoff.sleep()
                continue
            backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await soon.wait()
            soon.clear()

    async def _beat(self, registry: WorkerRegistry) -> bool:
        """Beat once, and report; return whether the store answered."""
        worker_id = self._registration.worker_id
        if worker_id is None:
            return True
        # Counted from before the call: the store's lease runs from some moment within it.
        asked_at = self._clock.monotonic()
        try:
            cancelled = await self._answer_in_time(
                registry.heartbeat(worker_id, abandoned=self._registration.abandoned())
            )
        except WorkerLost:
            self._report(lambda: self._registration.lost(worker_id))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may work
            log.warning("heartbeat failed: %s", error or "no answer in time")
            self._report(self._registration.check)
            return False
        else:
            self._report(lambda: self._registration.renewed(worker_id, asked_at, cancelled))
        return True

    async def _answer_in_time(
        self, call: Coroutine[Any, Any, Sequence[Cancellation]]
    ) -> Sequence[Cancellation]:
        """Return what ``call`` returns, or raise TimeoutError when the interval is over.

        A call to a server that has gone silent takes long even to be cancelled: it is left to
        itself, on a connection that nobody else uses.
        """
        asked = asyncio.create_task(call)
        self._asked.add(asked)
        asked.add_done_callback(self._forget)
        await asyncio.wait([asked], timeout=self._registration.interval_s)
        if not asked.done():
            asked.cancel()
            raise TimeoutError
        return asked.result()

    async def _give_up_asking(self) -> None:
        """Cancel beats that nobody waits for, while the registry that they ask is still open."""
        if self._asked:
            for asked in self._asked:
                asked.cancel()
            await asyncio.wait(set(self._asked), timeout=GIVE_UP_S)

    def _forget(self, asked: asyncio.Task[Sequence[Cancellation]]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # looked at, so that asyncio does not report it as unseen

    async def _worker_answers(self) -> bool:
        """Tell whether the worker's loop answers within an interval."""
        answered = asyncio.Event()
        self._report(lambda: self._tell(answered))
        try:
            async with asyncio.timeout(self._registration.interval_s):
                await answered.wait()
        except TimeoutError:
            log.warning("the worker's event loop does not answer: no heartbeat")
            return False
        return True

    def _report(self, what: Callable[[], None]) -> None:
        if self._worker_loop is not None:
            with suppress(RuntimeError):  # the worker's loop has closed
                self._worker_loop.call_soon_threadsafe(what)
