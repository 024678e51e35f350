"""One event loop a process for callers that block, and what it asks back of a thread that waits.

A caller's connection, or his session, is used in his own thread only: some refuse another one, and
none is to be used by two. So while his thread waits for an answer it runs the errands that the loop
has for it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Answer = TypeVar("Answer")
Thing = TypeVar("Thing")
Parameters = ParamSpec("Parameters")


class Errands:
    """What one thread does for an event loop while it waits for the loop's answer."""

    def __init__(self) -> None:
        """Have nothing to do yet."""
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    async def call(
        self,
        function: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Answer:
        """Let the waiting thread call ``function``; to be awaited on the loop that it waits for."""
        answer: Future[Answer] = Future()
        self._waiting.put(partial(_do, answer, partial(function, *arguments, **options)))
        return await asyncio.wrap_future(answer)

    def wait(
        self, home: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Answer]
    ) -> Answer:
        """Run ``coroutine`` on ``home``, and errands meanwhile; return what it comes to.

        Who interrupts the wait cancels the coroutine, and waits until it has put things in order.
        """
        began: list[asyncio.Task[Answer]] = []

        def begin() -> None:
            began.append(home.create_task(coroutine))
            began[0].add_done_callback(lambda _: self._waiting.put(None))

        def cancel() -> None:
            if began:
                began[0].cancel()
            else:  # interrupted before it was handed over
                coroutine.close()
                self._waiting.put(None)

        if home.is_closed():
            coroutine.close()  # and the next line says so
        try:
            home.call_soon_threadsafe(begin)
            self._serve()
        except _Interrupted as errand:
            self._serve()  # the coroutine was told by its errand
            raise errand.by from None
        except BaseException:
            if home.is_closed():
                raise
            home.call_soon_threadsafe(cancel)
            self._serve()
            raise
        return began[0].result()

    def _serve(self) -> None:
        while (errand := self._waiting.get()) is not None:
            errand()


def _do(answer: Future[Answer], call: Callable[[], Answer]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(call())
    except Exception as error:  # noqa: BLE001 - it is the asker's
        answer.set_exception(error)
    except BaseException as error:  # noqa: BLE001 - the thread's own, and goes on below
        interrupted = _Interrupted(error)
        answer.set_exception(interrupted)
        raise interrupted from None


class _Interrupted(Exception):
    """The thread was interrupted while it did an errand."""

    def __init__(self, by: BaseException) -> None:
        super().__init__("the calling thread was interrupted")
        self.by = by


class InCallersThread(Generic[Thing]):
    """A caller's own ``thing``, which nothing but his thread may touch."""

    __slots__ = ("call", "thing")

    def __init__(self, thing: Thing, errands: Errands) -> None:
        """Let ``thing`` be used by ``call`` alone."""
        self.thing = thing
        self.call = errands.call


class Home:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        """Start it. The thread ends with the process."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="taskscheduler-home", daemon=True
        )
        self._thread.start()

    def run(self, work: Callable[[Errands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what ``work`` comes to; the calling thread waits, and runs errands meanwhile.

        Raises:
            RuntimeError: the calling thread is that of the loop, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            message = "a blocking scheduler was called on its own event loop: it would wait forever"
            raise RuntimeError(message)
        errands = Errands()
        return errands.wait(self.loop, work(errands))


_homes: list[Home] = []
_lost: list[Home] = []
"""Those of the parents of this process: their loops do not run here, and must not be closed."""
_lock = threading.Lock()


def home() -> Home:
    """Return this process's event loop for those who block; it is started when first asked for."""
    with _lock:
        if not _homes:
            _homes.append(Home())
        return _homes[0]


def _forked() -> None:
    """Begin anew: the thread stayed with the parent, and so did whoever held the lock."""
    global _lock  # noqa: PLW0603 - one a process
    _lock = threading.Lock()
    _lost.extend(_homes)
    _homes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
